//! Images whose bytes lie in their files as they were in memory: runs of physical
//! addresses at file offsets, and runs that read as zeros.

use super::describe::Description;
use super::mmap::RawBytes;
use super::source::Store;
use super::{PhysicalMemory, ReadError, Segment, Stored, raw};
use crate::addr::Pa;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// Where the bytes of a run are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the file of this number, at this offset.
    File {
        /// Index into the image's files.
        file: u16,
        /// Offset of the first byte.
        offset: u64,
    },
    /// Nowhere: all zeros.
    Zero,
}

impl Place {
    fn advanced(self, by: u64) -> Self {
        match self {
            Self::File { file, offset } => Self::File {
                file,
                offset: offset.wrapping_add(by),
            },
            Self::Zero => Self::Zero,
        }
    }
}

/// A run of physical addresses as a format's headers give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// First address.
    pub(crate) pa: u64,
    /// Length, at least 1, with `pa + len` at most 2^64.
    pub(crate) len: u64,
    /// Where it is.
    pub(crate) place: Place,
}

impl Piece {
    /// Where the byte after the last would be.
    pub(crate) fn end_place(&self) -> Place {
        self.place.advanced(self.len)
    }

    /// The address after the last, which may be 2^64.
    fn end(&self) -> u128 {
        u128::from(self.pa) + u128::from(self.len)
    }
}

/// An image of runs in files.
#[derive(Debug)]
pub(crate) struct Flat {
    stores: Arc<[Store]>,
    segments: Vec<Segment>,
    /// File of each segment; empty if there is only one file.
    file_of: Vec<u16>,
    description: Description,
}

/// In-place zeros for runs without bytes; longer requests have to be read.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl Flat {
    /// An image of `pieces`, in any order, overlapping or not.
    ///
    /// Where pieces overlap, file bytes win over zeros, and among file bytes the piece
    /// that comes first in `pieces` wins. What lies beyond the end of its file is
    /// absent, and a warning tells how much.
    pub(crate) fn new(
        stores: Vec<Store>,
        mut pieces: Vec<Piece>,
        mut description: Description,
    ) -> Self {
        cut_at_end_of_file(&stores, &mut pieces, &mut description);
        let before = pieces.len();
        let (pieces, overlapped) = lay_out(pieces);
        if overlapped {
            description.warn(format!(
                "some of the {before} segments overlap: where they do, the one that the file names first is used"
            ));
        }
        let several = stores.len() > 1;
        let file_of = pieces
            .iter()
            .filter(|_| several)
            .map(|piece| match piece.place {
                Place::File { file, .. } => file,
                Place::Zero => 0,
            })
            .collect();
        let segments: Vec<Segment> = pieces
            .iter()
            .map(|piece| Segment {
                pa: Pa(piece.pa),
                len: piece.len,
                stored: match piece.place {
                    Place::File { offset, .. } => Stored::At(offset),
                    Place::Zero => Stored::Nowhere,
                },
            })
            .collect();
        Self {
            stores: stores.into(),
            segments,
            file_of,
            description,
        }
    }

    /// The same bytes from another physical address on; None where they would reach past
    /// the last one.
    fn moved(&self, base: Pa, description: Description) -> Option<Self> {
        let first = self.segments.first()?.pa.0;
        let segments = self.segments.iter().map(|segment| {
            let pa = base.0.checked_add(segment.pa.0 - first)?;
            pa.checked_add(segment.len - 1)?;
            Some(Segment {
                pa: Pa(pa),
                ..*segment
            })
        });
        Some(Self {
            stores: self.stores.clone(),
            segments: segments.collect::<Option<_>>()?,
            file_of: self.file_of.clone(),
            description,
        })
    }

    /// The segment of `pa`, its number, and how far into it `pa` is.
    #[inline]
    fn find(&self, pa: u64) -> Option<(usize, &Segment, u64)> {
        let index = self
            .segments
            .partition_point(|segment| segment.pa.0 <= pa)
            .checked_sub(1)?;
        let segment = self.segments.get(index)?;
        let within = pa - segment.pa.0;
        (within < segment.len).then_some((index, segment, within))
    }

    #[inline]
    fn store_of(&self, index: usize) -> Option<&Store> {
        let file = self.file_of.get(index).copied().unwrap_or(0);
        self.stores.get(usize::from(file))
    }
}

impl PhysicalMemory for Flat {
    #[inline]
    fn in_place(&self, pa: Pa, len: usize) -> Option<RawBytes<'_>> {
        let (index, segment, within) = self.find(pa.0)?;
        if len as u64 > segment.len - within {
            return None;
        }
        match segment.stored.file_offset() {
            Some(offset) => self
                .store_of(index)?
                .in_place(offset.checked_add(within)?, len),
            None => RawBytes::from_slice(&ZEROS).get(0, len),
        }
    }

    fn read(&self, pa: Pa, buf: &mut [u8]) -> Result<(), ReadError> {
        let mut done = 0;
        while done < buf.len() {
            let absent = |pa| ReadError::Absent { pa };
            let here = pa.checked_add(done as u64).ok_or(absent(Pa(u64::MAX)))?;
            let (index, segment, within) = self.find(here.0).ok_or(absent(here))?;
            let wanted = buf.len() - done;
            let left = usize::try_from(segment.len - within).unwrap_or(usize::MAX);
            let part = &mut buf[done..done + wanted.min(left)];
            done += part.len();
            let (Some(offset), Some(store)) = (segment.stored.file_offset(), self.store_of(index))
            else {
                part.fill(0);
                continue;
            };
            store.read_memory(here, offset.saturating_add(within), part)?;
        }
        Ok(())
    }

    fn segments(&self) -> &[Segment] {
        &self.segments
    }

    fn changed(&self) -> bool {
        self.stores.iter().any(Store::changed)
    }

    fn change(&self) -> String {
        let change = self.stores.iter().find_map(Store::change);
        change.unwrap_or_else(|| self.description.changed())
    }

    fn describe(&self) -> &Description {
        &self.description
    }

    fn moved(&self, base: Pa) -> Option<Box<dyn PhysicalMemory>> {
        let description = raw::moved(&self.description, base)?;
        Some(Box::new(self.moved(base, description)?))
    }
}

fn cut_at_end_of_file(stores: &[Store], pieces: &mut Vec<Piece>, description: &mut Description) {
    let mut lost = 0u128;
    let mut damaged = 0u64;
    let mut first: Option<(u64, u64)> = None;
    let total = pieces.len();
    pieces.retain_mut(|piece| {
        let Place::File { file, offset } = piece.place else {
            return true;
        };
        let file_len = stores.get(usize::from(file)).map_or(0, Store::len);
        let there = piece.len.min(file_len.saturating_sub(offset));
        if there < piece.len {
            lost += u128::from(piece.len - there);
            damaged += 1;
            let place = (piece.pa.wrapping_add(there), offset.saturating_add(there));
            first = Some(first.map_or(place, |first| first.min(place)));
            piece.len = there;
        }
        piece.len > 0
    });
    if let Some((pa, offset)) = first {
        description.warn(format!(
            "{lost:#x} bytes of {damaged} of {total} segments lie beyond the end of the file and are absent, \
             first at physical address {pa:#x} (offset {offset:#x}): the file is truncated"
        ));
    }
}

/// Sorts pieces by address, removes overlaps (file bytes win over zeros, then earlier
/// pieces over later ones) and joins what is contiguous in memory and file; true if
/// there were overlaps.
pub(crate) fn lay_out(mut pieces: Vec<Piece>) -> (Vec<Piece>, bool) {
    let disjoint = |pieces: &[Piece]| {
        pieces
            .windows(2)
            .all(|pair| pair[0].end() <= u128::from(pair[1].pa))
    };
    if disjoint(&pieces) {
        return (join(pieces), false);
    }
    // The sweep needs the order of the file as well as that of the addresses.
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by_key(|&index| (pieces[index].pa, index));
    if order
        .windows(2)
        .all(|pair| pieces[pair[0]].end() <= u128::from(pieces[pair[1]].pa))
    {
        pieces.sort_by_key(|piece| piece.pa);
        return (join(pieces), false);
    }
    (join(sweep(&pieces, &order)), true)
}

/// Cuts overlapping pieces: at each address the best of the pieces that hold it.
fn sweep(pieces: &[Piece], order: &[usize]) -> Vec<Piece> {
    let rank = |index: usize| (pieces[index].place == Place::Zero, index);
    let mut result = Vec::with_capacity(pieces.len());
    let mut active = BinaryHeap::new();
    let mut coming = order.iter().copied().peekable();
    let mut here = 0u128;
    loop {
        if active.is_empty() {
            let Some(&next) = coming.peek() else { break };
            here = u128::from(pieces[next].pa);
        }
        while let Some(next) = coming.next_if(|&next| u128::from(pieces[next].pa) <= here) {
            active.push(Reverse(rank(next)));
        }
        let Some(&Reverse((_, best))) = active.peek() else {
            continue;
        };
        let piece = pieces[best];
        if piece.end() <= here {
            active.pop();
            continue;
        }
        let next_start = coming
            .peek()
            .map_or(u128::MAX, |&next| u128::from(pieces[next].pa));
        let end = piece.end().min(next_start);
        // here < end <= piece.end(), so both differences fit 64 bits.
        let (pa, len) = (here as u64, (end - here) as u64);
        result.push(Piece {
            pa,
            len,
            place: piece.place.advanced(pa - piece.pa),
        });
        here = end;
    }
    result
}

/// Joins neighbours (sorted, disjoint) that continue each other.
fn join(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut result: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match result.last_mut() {
            Some(last) if continues(last, &piece) => last.len += piece.len,
            _ => result.push(piece),
        }
    }
    result
}

/// True if `next` continues `last` in memory and file, and the two have a length.
fn continues(last: &Piece, next: &Piece) -> bool {
    last.end() == u128::from(next.pa)
        && last.end_place() == next.place
        && last.len.checked_add(next.len).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(pa: u64, len: u64, offset: u64) -> Piece {
        Piece {
            pa,
            len,
            place: Place::File { file: 0, offset },
        }
    }

    fn zero(pa: u64, len: u64) -> Piece {
        Piece {
            pa,
            len,
            place: Place::Zero,
        }
    }

    #[test]
    fn joins_what_is_contiguous_in_both() {
        let (pieces, overlapped) = lay_out(vec![file(0x2000, 0x1000, 0x1000), file(0, 0x2000, 0)]);
        // Sorted they lie side by side in memory, but not in the file.
        assert!(!overlapped);
        assert_eq!(pieces.len(), 2);
        let (pieces, _) = lay_out(vec![file(0x2000, 0x1000, 0x2000), file(0, 0x2000, 0)]);
        assert_eq!(pieces, [file(0, 0x3000, 0)]);
    }

    #[test]
    fn first_piece_wins_and_file_beats_zeros() {
        let (pieces, overlapped) = lay_out(vec![
            zero(0, 0x4000),
            file(0x1000, 0x1000, 0x100),
            file(0, 0x3000, 0x8000),
        ]);
        assert!(overlapped);
        assert_eq!(
            pieces,
            [
                file(0, 0x1000, 0x8000),
                file(0x1000, 0x1000, 0x100),
                file(0x2000, 0x1000, 0xa000),
                zero(0x3000, 0x1000),
            ]
        );
    }

    #[test]
    fn sweep_agrees_with_byte_by_byte() {
        // A small generator is enough here: all that matters is variety.
        let mut state = 1u64;
        let mut next = |bound: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % bound
        };
        for _ in 0..300 {
            let pieces: Vec<Piece> = (0..next(8) + 1)
                .map(|number| {
                    let (pa, len) = (next(60), next(20) + 1);
                    if next(3) == 0 {
                        zero(pa, len)
                    } else {
                        file(pa, len, number * 1000)
                    }
                })
                .collect();
            let (laid_out, _) = lay_out(pieces.clone());
            for pa in 0..100 {
                let holds = |piece: &&Piece| piece.pa <= pa && u128::from(pa) < piece.end();
                let best = pieces
                    .iter()
                    .filter(holds)
                    .min_by_key(|piece| piece.place == Place::Zero);
                let found: Vec<_> = laid_out.iter().filter(holds).collect();
                assert!(found.len() <= 1);
                assert_eq!(
                    found
                        .first()
                        .map(|piece| piece.place.advanced(pa - piece.pa)),
                    best.map(|piece| piece.place.advanced(pa - piece.pa)),
                );
            }
        }
    }

    #[test]
    fn reaches_the_end_of_the_address_space() {
        let (pieces, _) = lay_out(vec![
            file(u64::MAX - 0xfff, 0x1000, 0),
            file(u64::MAX - 0x1fff, 0x1800, 0x4000),
        ]);
        assert_eq!(pieces[0], file(u64::MAX - 0x1fff, 0x1000, 0x4000));
        assert_eq!(pieces[1], file(u64::MAX - 0xfff, 0x1000, 0));
    }
}
