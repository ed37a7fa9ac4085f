//! From what the scan compared in a table to which of its entries are what, and where its
//! runs end.

use super::Node;
use super::build::ChunkScan;
use super::runs::{Run, end_changes, join, next_end, settle_ends, stretch};
use crate::entries::Entries;
use crate::plan::{Action, Label, PlanDepth, leaf_address};
use crate::scan::{Bitmaps, Work};

impl ChunkScan<'_> {
    /// Lets runs end before and after leaves at marked addresses.
    fn settle_marks(&self, entries: &Entries<'_>, run: Run, ends: &mut [u64]) {
        if self.plan.marks().is_empty() {
            return;
        }
        let mut start = run.start;
        while start <= run.last {
            let last = next_end(ends, start).min(run.last);
            for index in self.marked(entries, Run { start, last }) {
                for end in [index.checked_sub(1), Some(index)].into_iter().flatten() {
                    if (start..last).contains(&end) {
                        ends[end / 64] |= 1 << (end % 64);
                    }
                }
            }
            start = last + 1;
        }
    }

    /// Tells which entries of a table are what, and turns what the scan compared into
    /// where runs end.
    #[inline]
    pub(super) fn sift(
        &self,
        node: &Node<'_>,
        entries: &Entries<'_>,
        compared: &mut Bitmaps<'_>,
        found: &mut Sifted,
    ) {
        self.isa.run(Sift {
            with: self,
            low: node.low.into(),
            high: node.high.into(),
            entries,
            compared,
            found,
        });
        let whole = Run {
            start: node.low.into(),
            last: node.high.into(),
        };
        self.settle_marks(entries, whole, compared.ends);
    }

    /// What the scan finds in a table of one run, which it does not write down.
    pub(super) fn no_ends(&self, entries: &Entries<'_>, out: &mut Bitmaps<'_>) {
        out.ends.fill(0);
        out.jumps.fill(0);
        let zero = self.plan.depths[self.depth].masks.zero;
        let is_zero = zero != 0 && entries.get(0) & zero == 0;
        for (word, zeros) in out.zeros.iter_mut().enumerate() {
            *zeros = if is_zero {
                stretch(word, 0, entries.len() - 1)
            } else {
                0
            };
        }
    }

    /// True where the entries of a uniform table have to be looked at one by one.
    pub(super) fn needs_settling(&self, node: &Node<'_>, entries: &Entries<'_>) -> bool {
        let depth = &self.plan.depths[self.depth];
        let whole = Run {
            start: node.low.into(),
            last: node.high.into(),
        };
        let entry = entries.get(whole.start);
        let refined = depth
            .refine
            .iter()
            .any(|&(mask, value)| entry & mask == value);
        refined || self.unstepped(entry) || self.marked(entries, whole).next().is_some()
    }

    /// The entries of a run of leaves one after the other that are at marked addresses.
    fn marked(&self, entries: &Entries<'_>, run: Run) -> impl Iterator<Item = usize> {
        let depth = &self.plan.depths[self.depth];
        let entry = entries.get(run.start);
        let first = match depth.action(entry) {
            Action::Atom(atom) if atom.label == Label::Leaf => {
                Some(leaf_address(depth, atom, run.start, entry))
            }
            _ => None,
        };
        self.plan.marks().iter().filter_map(move |mark| {
            let offset = mark.wrapping_sub(first?);
            let index = usize::try_from(offset >> depth.shift).ok()?;
            let there = offset & (depth.span() - 1) == 0 && index < run.count();
            there.then_some(run.start + index)
        })
    }

    /// True for leaves that the scan's address test does not hold for.
    fn unstepped(&self, entry: u64) -> bool {
        let depth = &self.plan.depths[self.depth];
        if !self.plan.compares_addresses() {
            return false;
        }
        let rule = depth.rule(entry);
        let leaf = depth.is_leaf(entry);
        leaf && depth.stepped != Some(rule)
    }
}

/// Which entries of a table are what, a bit an entry; used for one table after the other.
pub(super) struct Sifted {
    /// What ends up in rows.
    pub(super) atoms: Vec<u64>,
    /// Those of them of kind other.
    pub(super) others: Vec<u64>,
    /// What leads to tables.
    pub(super) tables: Vec<u64>,
    /// Entries that no rule has matched so far, and those that the last one did.
    free: Vec<u64>,
    hits: Vec<u64>,
    /// Where entries change that the rule tells apart, and what is not asked for there.
    told: Vec<u64>,
    nothing: Vec<u64>,
}

impl Sifted {
    pub(super) fn new(depth: &PlanDepth) -> Self {
        let map = || vec![0; depth.entries().div_ceil(64)];
        Self {
            atoms: map(),
            others: map(),
            tables: map(),
            free: map(),
            hits: map(),
            told: map(),
            nothing: map(),
        }
    }
}

/// See [`ChunkScan::sift`].
struct Sift<'r, 'e, 'b, 'a> {
    with: &'r ChunkScan<'a>,
    /// The entries that exist, inclusive.
    low: usize,
    high: usize,
    entries: &'r Entries<'e>,
    compared: &'r mut Bitmaps<'b>,
    found: &'r mut Sifted,
}

impl Work for Sift<'_, '_, '_, '_> {
    #[inline(always)]
    fn run(self) {
        let Self {
            with,
            low,
            high,
            entries,
            compared,
            found,
        } = self;
        let Sifted {
            atoms,
            others,
            tables,
            free,
            hits,
            told,
            nothing,
        } = found;
        let Bitmaps { ends, jumps, zeros } = compared;
        let depth = &with.plan.depths[with.depth];
        for (word, free) in free.iter_mut().enumerate() {
            *free = stretch(word, low, high);
        }
        atoms.fill(0);
        others.fill(0);
        tables.fill(0);
        ends[high / 64] |= 1 << (high % 64);
        for (number, rule) in depth.rules.iter().enumerate() {
            let (mask, value) = rule.test();
            if (mask, value) == (0, 0) {
                hits.copy_from_slice(free);
            } else if (mask, value) == (depth.masks.zero, 0) {
                hits.copy_from_slice(zeros);
            } else {
                with.scan.sift(entries, mask, value, hits);
            }
            let (mut any, mut left) = (0, 0);
            for (hits, free) in hits.iter_mut().zip(free.iter_mut()) {
                *hits &= *free;
                *free &= !*hits;
                any |= *hits;
                left |= *free;
            }
            if any == 0 {
                continue;
            }
            // A rule may read what was not compared.
            if !depth.refine.is_empty() {
                end_changes(hits, ends);
            }
            if let Some(again) = &with.again[number] {
                let mut out = Bitmaps {
                    ends: told,
                    jumps: nothing,
                    zeros,
                };
                if again.run(entries, 1, entries, &mut out) > 0 {
                    told.fill(0);
                }
                settle_ends(hits, told, ends);
            }
            match &rule.action {
                Action::Gap => {}
                Action::Table(_) => join(tables, hits),
                Action::Atom(atom) => {
                    join(atoms, hits);
                    if atom.label == Label::Other {
                        join(others, hits);
                    }
                    if atom.label == Label::Leaf && with.plan.compares_addresses() {
                        if depth.stepped == Some(number) {
                            for ((ends, jumps), hits) in ends.iter_mut().zip(&**jumps).zip(&*hits) {
                                *ends |= jumps & hits;
                            }
                        } else {
                            join(ends, hits);
                        }
                    }
                }
            }
            if left == 0 {
                break;
            }
        }
    }
}
