//! Where table entries point, and the numbers that the tables there get.

use super::Node;
use crate::memory::Buffer;
use rayon::prelude::*;

/// The targets of some table entries, one behind the other, until the tables of the next
/// depth are numbered: one for the whole of a direct map's table, or of a shadow's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    /// Of the first table.
    pub(super) pa: u64,
    /// The entries of the table that exist, inclusive; low > high: none.
    pub(super) low: u16,
    pub(super) high: u16,
    /// Number of the first of these table entries among those of their depth.
    pub(super) slot: u32,
    /// How many table entries.
    pub(super) count: u32,
    /// From each one's table to the next one's: the bytes of a table, or 0.
    pub(super) step: u32,
}

impl Reference {
    pub(super) fn new(pa: u64, low: u16, high: u16, slot: u32) -> Self {
        Self {
            pa,
            low,
            high,
            slot,
            count: 1,
            step: 0,
        }
    }

    fn table(&self) -> (u64, u16, u16) {
        (self.pa, self.low, self.high)
    }

    /// Address of the last table.
    fn last(&self) -> u64 {
        self.pa + u64::from(self.count - 1) * u64::from(self.step)
    }

    /// Takes in what the entry behind refers to, where that is the same table or the one
    /// behind it, which are `bytes` long and whole.
    #[inline]
    pub(super) fn take(&mut self, next: &Self, bytes: u32) -> bool {
        let Some(step) = next.pa.checked_sub(self.last()) else {
            return false;
        };
        let fits = if self.count == 1 {
            step == 0 || step == u64::from(bytes)
        } else {
            step == u64::from(self.step)
        };
        let alike = (self.low, self.high) == (next.low, next.high);
        if !fits || !alike || self.slot + self.count != next.slot {
            return false;
        }
        self.count += 1;
        self.step = step as u32;
        true
    }

    fn each(self) -> impl Iterator<Item = Self> {
        (0..self.count).map(move |i| {
            let pa = self.pa + u64::from(i) * u64::from(self.step);
            Self::new(pa, self.low, self.high, self.slot + i)
        })
    }
}

/// Gives each different table of `references` a node, in order of address, and its
/// number to every slot that refers to it.
pub(super) fn number<'a>(mut references: Buffer<Reference>, slots: &mut [u32]) -> Buffer<Node<'a>> {
    sort(&mut references);
    // One table is referred to from here and from there: take all of them one by one.
    let overlaps = |pair: &[Reference]| pair[0].step != 0 && pair[1].pa <= pair[0].last();
    if references.windows(2).any(overlaps) {
        let count = references.iter().map(|r| r.count as usize).sum();
        let mut each = Buffer::with_capacity(count);
        for reference in references.iter().flat_map(|r| r.each()) {
            each.push(reference);
        }
        references = each;
        sort(&mut references);
    }
    let tables = |r: &Reference| if r.step == 0 { 1 } else { r.count };
    let most = references.iter().map(|r| tables(r) as usize).sum();
    let mut nodes = Buffer::with_capacity(most);
    let mut previous = None;
    for reference in references.iter() {
        let new = previous != Some(reference.table());
        previous = Some(reference.table());
        let first = nodes.len() as u32 - u32::from(!new);
        for i in u32::from(!new)..tables(reference) {
            let pa = reference.pa + u64::from(i) * u64::from(reference.step);
            nodes.push(Node::new(pa, reference.low, reference.high));
        }
        let slots = &mut slots[reference.slot as usize..][..reference.count as usize];
        let step = u32::from(reference.step != 0);
        for (slot, i) in slots.iter_mut().zip(0..) {
            *slot = first + i * step;
        }
    }
    nodes
}

fn sort(references: &mut [Reference]) {
    // Direct maps come sorted; anything else is worth the threads.
    if !references.is_sorted() {
        references.par_sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: u64 = 0x1000;

    /// What each slot refers to, in a made-up order with stretches, repetitions, overlaps
    /// and gaps.
    fn targets(seed: u64) -> Vec<(u64, u16, u16)> {
        let mut random = seed;
        let mut next = |limit: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) % limit
        };
        let mut out = Vec::new();
        while out.len() < 300 {
            let first = next(60);
            let step = next(3);
            let high = if next(8) == 0 { 7 } else { 511 };
            for i in 0..next(20) {
                out.push(((first + i * step) * BYTES, 0, high));
            }
        }
        out
    }

    fn refer(references: &mut Vec<Reference>, next: Reference) {
        let last = references.last_mut();
        if !last.is_some_and(|last| last.take(&next, BYTES as u32)) {
            references.push(next);
        }
    }

    #[test]
    fn every_table_gets_one_number_in_order_of_address() {
        let mut stretches = 0;
        for seed in 0..200 {
            let targets = targets(seed);
            let mut references = Vec::new();
            for (&(pa, low, high), slot) in targets.iter().zip(0..) {
                let next = Reference::new(pa, low, high, slot);
                refer(&mut references, next);
            }
            stretches += references.iter().filter(|r| r.step != 0).count();
            let mut slots = vec![u32::MAX; targets.len()];
            let nodes = number(references.into(), &mut slots);
            let mut unique = targets.clone();
            unique.sort_unstable();
            unique.dedup();
            let numbered: Vec<_> = nodes.iter().map(|n| (n.pa, n.low, n.high)).collect();
            assert_eq!(numbered, unique, "seed {seed}");
            for (target, slot) in targets.iter().zip(slots) {
                assert_eq!(unique[slot as usize], *target, "seed {seed}");
            }
        }
        assert!(stretches > 100);
    }

    #[test]
    fn a_stretch_ends_where_addresses_do() {
        let mut references = Vec::new();
        for (slot, pa) in [u64::MAX - 0xfff, 0].into_iter().enumerate() {
            let next = Reference::new(pa, 0, 511, slot as u32);
            refer(&mut references, next);
        }
        assert_eq!(references.len(), 2);
    }
}
