//! Tables that addresses led to, kept by the addresses that they translate, as processors
//! keep them in their paging-structure caches.

use super::way::Place;
use crate::entries::{Entries, Scattered};
use crate::memory::Buffer;
use crate::plan::PlanDepth;

/// Tables of one depth that were met last: one of those whose addresses share a slot.
pub(super) struct Level<'a> {
    /// log2 of what one of the tables translates; None for the root, which is the only one.
    shift: Option<u32>,
    /// By slot: one more than the number of the table among all that there can be, in order
    /// of address; 0 where there is none.
    tags: Buffer<u64>,
    /// What stands above the tables that there are.
    paths: Buffer<u8>,
    tables: Scattered<'a>,
}

impl<'a> Level<'a> {
    /// Without any tables. `slots`: a power of two. `above`: None for the root.
    pub(super) fn new(of: &PlanDepth, above: Option<&PlanDepth>, slots: usize) -> Self {
        let shift = above.map(|above| above.shift);
        // No more than there can be tables.
        let slots = match shift {
            Some(shift) => slots.min(1 << (64 - shift).min(40)),
            None => 1,
        };
        let mut tags = Buffer::unwritten(slots);
        tags.fill(0);
        Self {
            shift,
            tags,
            paths: Buffer::unwritten(slots),
            tables: Scattered::new(of.format, of.index_bits, slots),
        }
    }

    /// The number of the table that translates an offset, and its slot.
    #[inline(always)]
    fn slot(&self, offset: u64) -> (u64, usize) {
        let number = match self.shift {
            Some(shift) => offset >> shift,
            None => 0,
        };
        (number, number as usize & (self.tags.len() - 1))
    }

    /// Whether the table that translates an offset is here.
    #[inline(always)]
    pub(super) fn has(&self, offset: u64) -> bool {
        let (number, slot) = self.slot(offset);
        self.tags[slot] == number + 1
    }

    /// Keeps a whole table.
    pub(super) fn keep(&mut self, offset: u64, place: &Place, table: &Entries<'a>) {
        let (number, slot) = self.slot(offset);
        self.tags[slot] = number + 1;
        self.paths[slot] = place.path;
        self.tables.set(slot, table);
    }

    /// The slots of the tables that translate some offsets.
    #[inline(always)]
    pub(super) fn slots(&self, offsets: &[u64], slots: &mut [u32]) {
        let Some(shift) = self.shift else {
            slots.fill(0);
            return;
        };
        let last = self.tags.len() as u64 - 1;
        for (slot, offset) in slots.iter_mut().zip(offsets) {
            *slot = (offset >> shift & last) as u32;
        }
    }

    /// The path state above the tables of some slots.
    #[inline(always)]
    pub(super) fn inherited(&self, slots: &[u32], paths: &mut [u8]) {
        let known = &*self.paths;
        for (path, &slot) in paths.iter_mut().zip(slots) {
            *path = known[slot as usize];
        }
    }

    /// The tables themselves, by slot.
    #[inline(always)]
    pub(super) fn tables(&self) -> &Scattered<'a> {
        &self.tables
    }
}
