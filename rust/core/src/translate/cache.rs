//! Tables that addresses led to, kept by the addresses that they translate, as processors
//! keep them in their paging-structure caches.

use super::way::Place;
use crate::entries::{Entries, Places, Scattered};
use crate::memory::Buffer;
use crate::plan::PlanDepth;

/// Tables of one depth that were met last. The key of each is its number among all that
/// there can be, in order of address.
pub(super) struct Level<'a> {
    /// log2 of what one of the tables translates, less one: all that there is can be 2^64.
    half_shift: u32,
    /// log2 of what one of their entries does.
    entry_shift: u32,
    tables: Scattered<'a>,
    /// By slot: the path state above the table.
    paths: Buffer<u8>,
}

impl<'a> Level<'a> {
    /// Without any tables. `slots`: a power of two.
    pub(super) fn new(of: &PlanDepth, slots: usize) -> Self {
        Self {
            half_shift: of.shift + of.index_bits - 1,
            entry_shift: of.shift,
            tables: Scattered::new(of.format, of.index_bits, slots),
            paths: Buffer::unwritten(slots),
        }
    }

    #[inline(always)]
    fn key(&self, offset: u64) -> u64 {
        offset >> self.half_shift >> 1
    }

    /// Whether the table that translates an offset is here.
    #[inline(always)]
    pub(super) fn has(&self, offset: u64) -> bool {
        self.tables.has(self.key(offset))
    }

    /// The entry that translates an offset, and the path state above its table; None where
    /// the table is not here.
    pub(super) fn entry(&self, offset: u64) -> Option<(u64, u8)> {
        let key = self.key(offset);
        let index = (offset >> self.entry_shift) as usize;
        let entry = self.tables.get(key, index)?;
        Some((entry, self.paths[self.tables.slot(key)]))
    }

    /// Keeps a whole table.
    pub(super) fn keep(&mut self, offset: u64, place: &Place, table: &Entries<'a>) {
        let key = self.key(offset);
        self.tables.set(key, table);
        self.paths[self.tables.slot(key)] = place.path;
    }

    /// Finds the entries that translate some offsets, and asks for them; false where a table
    /// is not here. `keys` and `indexes`: room for as many.
    #[inline(always)]
    pub(super) fn ask(
        &self,
        offsets: &[u64],
        keys: &mut [u64],
        indexes: &mut [u32],
        places: &mut Places<'a>,
    ) -> bool {
        for (key, &offset) in keys.iter_mut().zip(offsets) {
            *key = self.key(offset);
        }
        for (index, offset) in indexes.iter_mut().zip(offsets) {
            *index = (offset >> self.entry_shift) as u32;
        }
        self.tables.ask(keys, indexes, places)
    }

    /// The path state above the tables of some keys.
    #[inline(always)]
    pub(super) fn inherited(&self, keys: &[u64], paths: &mut [u8]) {
        for (path, &key) in paths.iter_mut().zip(keys) {
            *path = self.paths[self.tables.slot(key)];
        }
    }
}
