//! Addresses in order, table by table: each table is read once, copied first where it does
//! not lie in memory.

use super::way::{Next, Place, ended};
use super::{Part, Status, Translator};
use crate::entries::Entries;
use crate::image::{RawBytes, ReadError};

/// An address that is left: its offset from the start of the root's span, and which it is.
pub(super) type Left = (u64, u32);

/// Addresses from which on it is better to copy all of a table than what they need.
const MANY: usize = 32;

/// Translates into some columns.
pub(super) struct Ordered<'t, 'a, 'c> {
    translator: &'t Translator<'a>,
    part: Part<'c>,
    /// A table of each depth, copied.
    copies: Vec<Vec<u8>>,
}

/// Where the entries of a table come from.
enum Table<'e> {
    Entries(Entries<'e>),
    /// One at a time.
    Single,
    Absent,
}

impl<'t, 'a, 'c> Ordered<'t, 'a, 'c> {
    pub(super) fn new(translator: &'t Translator<'a>, part: Part<'c>) -> Self {
        Self {
            translator,
            part,
            copies: vec![Vec::new(); translator.plan.depths.len()],
        }
    }

    /// Translates what is left, in any order.
    pub(super) fn translate(&mut self, mut left: Vec<Left>) -> Result<(), ReadError> {
        left.sort_unstable();
        self.below(&self.translator.top(), 0, &left)
    }

    /// The addresses that one table translates.
    fn below(&mut self, place: &Place, depth: usize, left: &[Left]) -> Result<(), ReadError> {
        if left.is_empty() {
            return Ok(());
        }
        if place.is_empty() {
            self.end(Status::Hole, depth, left);
            return Ok(());
        }
        let mut copy = std::mem::take(&mut self.copies[depth]);
        let done = self.table(place, depth, left, &mut copy);
        self.copies[depth] = copy;
        done
    }

    fn table(
        &mut self,
        place: &Place,
        depth: usize,
        left: &[Left],
        copy: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let translator = self.translator;
        let of = &translator.plan.depths[depth];
        let table = self.read(place, depth, left.len(), copy);
        if matches!(table, Table::Absent) {
            self.end(Status::Absent, depth, left);
            return Ok(());
        }
        for alike in left.chunk_by(|a, b| of.index_of(a.0) == of.index_of(b.0)) {
            let index = of.index_of(alike[0].0);
            let asked = if place.has(index) { index } else { place.low };
            let entry = match &table {
                Table::Entries(entries) => Some(entries.get((asked - place.low) as usize)),
                _ => translator.entry(place, depth, asked)?,
            };
            let Some(entry) = entry else {
                self.end(Status::Absent, depth, alike);
                continue;
            };
            if !place.has(index) {
                self.end(Status::Hole, depth, alike);
                continue;
            }
            for (i, &(offset, row)) in alike.iter().enumerate() {
                match translator.next(place, depth, offset, entry) {
                    Next::End(translation) => self.part.set(row as usize, &translation),
                    Next::Table(next) => {
                        self.below(&next, depth + 1, &alike[i..])?;
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Finds the entries of a table that `count` addresses need.
    fn read<'e>(
        &self,
        place: &Place,
        depth: usize,
        count: usize,
        copy: &'e mut Vec<u8>,
    ) -> Table<'e>
    where
        'a: 'e,
    {
        let translator = self.translator;
        let format = translator.plan.depths[depth].format;
        if let Some(bytes) = translator.in_place(place, format) {
            return Table::Entries(Entries::new(bytes, format));
        }
        if !translator.covers(place, format) {
            return Table::Absent;
        }
        let (first, size) = place.extent(format);
        if count < MANY {
            return Table::Single;
        }
        copy.resize(size as usize, 0);
        match translator.image.read(first, copy) {
            Ok(()) => Table::Entries(Entries::new(RawBytes::from_slice(copy), format)),
            // Perhaps nobody needs what is damaged.
            Err(_) => Table::Single,
        }
    }

    fn end(&mut self, status: Status, depth: usize, left: &[Left]) {
        for &(_, row) in left {
            self.part.set(row as usize, &ended(status, depth));
        }
    }
}
