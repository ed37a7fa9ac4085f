//! The result of a walk: whole columns, allocated once at the counted size.

use crate::memory::Buffer;

/// A row, before it is put into columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// First virtual address.
    pub start: u64,
    /// Length in bytes; 0 means 2^64.
    pub size: u64,
    /// Physical address of the first byte; of the missing table for absent rows.
    pub pa: u64,
    /// Attribute bits of the entries, as they are.
    pub attributes: u64,
    /// Permissions after everything above was taken into account.
    pub effective: u8,
    /// Depth of the entries.
    pub depth: u8,
    /// [`crate::plan::Label`].
    pub kind: u8,
}

/// Columns of one length.
#[derive(Debug, Default)]
pub struct Columns {
    /// See [`Row`].
    pub start: Buffer<u64>,
    /// See [`Row`].
    pub size: Buffer<u64>,
    /// See [`Row`].
    pub pa: Buffer<u64>,
    /// See [`Row`].
    pub attributes: Buffer<u64>,
    /// See [`Row`].
    pub effective: Buffer<u8>,
    /// See [`Row`].
    pub depth: Buffer<u8>,
    /// See [`Row`].
    pub kind: Buffer<u8>,
}

impl Columns {
    /// `rows` rows to be written: see [`Buffer::unwritten`].
    pub fn new(rows: usize) -> Self {
        Self {
            start: Buffer::unwritten(rows),
            size: Buffer::unwritten(rows),
            pa: Buffer::unwritten(rows),
            attributes: Buffer::unwritten(rows),
            effective: Buffer::unwritten(rows),
            depth: Buffer::unwritten(rows),
            kind: Buffer::unwritten(rows),
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.start.len()
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.start.is_empty()
    }

    /// A view that rows can be written through.
    pub fn as_mut(&mut self) -> ColumnsMut<'_> {
        ColumnsMut {
            start: &mut self.start,
            size: &mut self.size,
            pa: &mut self.pa,
            attributes: &mut self.attributes,
            effective: &mut self.effective,
            depth: &mut self.depth,
            kind: &mut self.kind,
        }
    }
}

/// Part of some [`Columns`], to be written by one thread.
#[derive(Debug)]
pub struct ColumnsMut<'c> {
    /// See [`Row`].
    pub start: &'c mut [u64],
    /// See [`Row`].
    pub size: &'c mut [u64],
    /// See [`Row`].
    pub pa: &'c mut [u64],
    /// See [`Row`].
    pub attributes: &'c mut [u64],
    /// See [`Row`].
    pub effective: &'c mut [u8],
    /// See [`Row`].
    pub depth: &'c mut [u8],
    /// See [`Row`].
    pub kind: &'c mut [u8],
}

impl<'c> ColumnsMut<'c> {
    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.start.len()
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.start.is_empty()
    }

    /// The first `rows` rows, and the others.
    pub fn split_at(self, rows: usize) -> (Self, Self) {
        let (start, start2) = self.start.split_at_mut(rows);
        let (size, size2) = self.size.split_at_mut(rows);
        let (pa, pa2) = self.pa.split_at_mut(rows);
        let (attributes, attributes2) = self.attributes.split_at_mut(rows);
        let (effective, effective2) = self.effective.split_at_mut(rows);
        let (depth, depth2) = self.depth.split_at_mut(rows);
        let (kind, kind2) = self.kind.split_at_mut(rows);
        (
            Self {
                start,
                size,
                pa,
                attributes,
                effective,
                depth,
                kind,
            },
            Self {
                start: start2,
                size: size2,
                pa: pa2,
                attributes: attributes2,
                effective: effective2,
                depth: depth2,
                kind: kind2,
            },
        )
    }

    /// `count` rows from `row` on.
    ///
    /// # Panics
    /// Where there are not so many.
    pub fn part(&mut self, row: usize, count: usize) -> ColumnsMut<'_> {
        let rows = row..row + count;
        ColumnsMut {
            start: &mut self.start[rows.clone()],
            size: &mut self.size[rows.clone()],
            pa: &mut self.pa[rows.clone()],
            attributes: &mut self.attributes[rows.clone()],
            effective: &mut self.effective[rows.clone()],
            depth: &mut self.depth[rows.clone()],
            kind: &mut self.kind[rows],
        }
    }

    /// Writes a row.
    ///
    /// # Panics
    /// Where there is no such row.
    #[inline]
    pub fn set(&mut self, row: usize, value: &Row) {
        self.start[row] = value.start;
        self.size[row] = value.size;
        self.pa[row] = value.pa;
        self.attributes[row] = value.attributes;
        self.effective[row] = value.effective;
        self.depth[row] = value.depth;
        self.kind[row] = value.kind;
    }
}
