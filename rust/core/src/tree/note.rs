//! Taking down what a table has: a node, the rows it starts, where its entries lead.

use super::build::ChunkScan;
use super::nearby::Nearby;
use super::references::Reference;
use super::runs::{bits, last_bit, stretch};
use super::sift::Sifted;
use super::tally::Tally;
use super::{Chunk, Node, descent, high_index, node_runs, shadowed, source_entries};
use crate::entries::Entries;
use crate::memory::Buffer;
use crate::plan::{Action, Label, PlanDepth};
use crate::scan::Work;

impl<'a> ChunkScan<'a> {
    /// What a table of one run tells of others like it, of which most of the tables of a
    /// direct map are.
    pub(super) fn likeness(&self, number: usize, node: &Node<'a>) -> Option<Like> {
        let depth = &self.plan.depths[self.depth];
        let whole = (node.low, node.high) == (0, high_index(depth));
        let atoms = node.flat && node.leaves + node.others > 0;
        (whole && atoms && depth.distinct && self.plan.marks().is_empty()).then(|| Like {
            number,
            bits: depth.alike_by(node.first_entry),
            first: node.first_entry,
            last: node.last_entry,
            leaves: node.leaves,
            others: node.others,
            breaks: node.breaks,
        })
    }

    /// Takes down what tables of one run have, as long as that is what another one had.
    /// Returns how many; `number` is that of the first one.
    #[inline(never)]
    pub(super) fn note_alike(
        &self,
        like: &mut Like,
        number: usize,
        nodes: &mut [Node<'a>],
        follows: &mut [u8],
        copies: &[u8],
    ) -> usize {
        let depth = &self.plan.depths[self.depth];
        let high = high_index(depth);
        let mut behind = like.number + 1 == number;
        for (count, (node, follows)) in nodes.iter_mut().zip(follows).enumerate() {
            let Some(entries) = source_entries(depth, node.source, copies) else {
                return count;
            };
            let entry = entries.get(0);
            if (entry ^ like.first) & like.bits != 0 || (node.low, node.high) != (0, high) {
                return count;
            }
            (node.first, node.last) = (0, high);
            node.first_entry = entry;
            node.last_entry = entries.get(usize::from(high));
            (node.leaves, node.others, node.breaks) = (like.leaves, like.others, like.breaks);
            *follows = u8::from(behind && self.plan.goes_on(depth, like.last, entry));
            (like.number, like.last) = (number + count, node.last_entry);
            behind = true;
        }
        nodes.len()
    }

    /// Takes down what a table of one run has.
    pub(super) fn note_uniform(
        &self,
        node: &mut Node<'a>,
        entries: &Entries<'_>,
        out: &mut Noted<'a>,
    ) {
        let depth = &self.plan.depths[self.depth];
        let (low, high) = (usize::from(node.low), usize::from(node.high));
        let entry = entries.get(low);
        match depth.action(entry) {
            Action::Gap => {}
            Action::Atom(atom) => {
                let count = (high - low + 1) as u32;
                if atom.label == Label::Other {
                    node.others = count;
                } else {
                    node.leaves = count;
                }
                node.breaks = if self.plan.is_separate() {
                    count - 1
                } else {
                    0
                };
                (node.first, node.first_entry) = (node.low, entry);
                (node.last, node.last_entry) = (node.high, entries.get(high));
            }
            Action::Table(_) => {
                node.flat = false;
                let words = (0..entries.len().div_ceil(64)).map(|word| stretch(word, low, high));
                self.note_tables(entries, words, out);
            }
        }
    }

    /// Takes down what a table has, while it is in the cache.
    pub(super) fn note_mixed(
        &self,
        node: &mut Node<'a>,
        entries: &Entries<'_>,
        ends: &[u64],
        sifted: &Sifted,
        out: &mut Noted<'a>,
    ) {
        let depth = &self.plan.depths[self.depth];
        let Sifted {
            atoms,
            others,
            tables,
            ..
        } = sifted;
        node.bitmap = out.words.len() as u32;
        out.words.extend_from_slice(ends);
        node.flat = tables.iter().all(|&word| word == 0);
        if depth.distinct {
            self.isa.run(CountBits {
                node,
                entries,
                ends,
                atoms,
                others,
                separate: self.plan.is_separate(),
            });
            let existing = usize::from(node.high) - usize::from(node.low) + 1;
            if node.breaks > 0 && (node.leaves + node.others) as usize != existing {
                node.atoms = out.words.len() as u32;
                out.words.extend_from_slice(atoms);
            }
            let rows = node.breaks as usize + 1;
            if node.flat && (2..=out.chunk.room).contains(&rows) {
                out.chunk.room -= rows;
                out.kept.clear();
                self.isa.run(KeepRows {
                    low: node.low.into(),
                    entries,
                    ends,
                    atoms,
                    out: &mut out.kept,
                });
                node.rows = out.words.len() as u32;
                out.words.extend_from_slice(&out.kept);
            }
        } else {
            let mut tally = Tally::default();
            for run in node_runs(depth, node, &out.words) {
                tally.run(self.plan, depth, entries, run, 0);
            }
            tally.store(node);
        }
        if !node.flat {
            self.note_tables(entries, tables.iter().copied(), out);
        }
    }

    /// Takes down where entries lead to that a rule says lead to tables: those whose bits
    /// are set, by word.
    fn note_tables(
        &self,
        entries: &Entries<'_>,
        words: impl Iterator<Item = u64>,
        out: &mut Noted<'_>,
    ) {
        let depth = &self.plan.depths[self.depth];
        let next = &self.plan.depths[self.depth + 1];
        let only = depth.only_table();
        // The last one is kept at hand: most go on where it ends.
        let mut open = out.chunk.references.pop();
        let (mut values, mut addresses) = ([0; 64], [0; 64]);
        for (word, tables) in words.enumerate().filter(|&(_, tables)| tables != 0) {
            let first = word * 64;
            let values = &mut values[..64.min(entries.len() - first)];
            entries.copy(first, values);
            if let Some(decode) = only {
                decode.addresses(values, &mut addresses);
            }
            for bit in bits(&[tables]) {
                let entry = values[bit];
                let (pa, walked) = if only.is_some() {
                    (addresses[bit], shadowed(self.plan, depth, addresses[bit]).1)
                } else {
                    let (pa, _, walked) = descent(self.plan, depth, entry);
                    (pa, walked)
                };
                if !walked {
                    continue;
                }
                let slot = out.chunk.children;
                out.chunk.children += 1;
                let (low, high) = below(depth, next, entry);
                let there = u64::from(low) * next.format.bytes as u64;
                if low <= high && !out.below.has(pa.wrapping_add(there)) {
                    continue;
                }
                let reference = Reference::new(pa, low, high, slot);
                let taken = open
                    .as_mut()
                    .is_some_and(|open| open.take(&reference, next.table_bytes() as u32));
                if !taken {
                    out.chunk.references.extend(open.replace(reference));
                }
            }
        }
        out.chunk.references.extend(open);
    }
}

/// The entries that exist of the table that an entry of `depth` leads to; first > last:
/// none.
#[inline]
fn below(depth: &PlanDepth, next: &PlanDepth, entry: u64) -> (u16, u16) {
    let Some(length) = depth.length else {
        return (0, high_index(next));
    };
    let first = length.first.of(entry);
    let last = length.last.of(entry).wrapping_add(length.last_add);
    let high = u64::from(high_index(next));
    // An empty range is written as 1 .. 0.
    if first > last.min(high) {
        (1, 0)
    } else {
        (first as u16, last.min(high) as u16)
    }
}

/// What was taken down of a chunk, beside its nodes.
pub(super) struct Noted<'a> {
    pub(super) chunk: Chunk,
    /// The block that bitmaps and rows are added to.
    pub(super) words: Buffer<u64>,
    /// The first entry of each row of the last table.
    pub(super) kept: Vec<u64>,
    /// Where the tables of the next depth are.
    pub(super) below: Nearby<'a>,
}

/// The last table of a chunk that was one run of atoms, and all of it there.
pub(super) struct Like {
    number: usize,
    /// Tables of one run whose first entry is alike in these bits come to the same.
    bits: u64,
    first: u64,
    last: u64,
    leaves: u32,
    others: u32,
    breaks: u32,
}

/// Counts the rows of a table by the ends of runs, where each run of atoms is one.
struct CountBits<'r, 'n, 'e> {
    node: &'r mut Node<'n>,
    entries: &'r Entries<'e>,
    ends: &'r [u64],
    atoms: &'r [u64],
    /// The atoms of kind other.
    others: &'r [u64],
    /// Each atom is a row.
    separate: bool,
}

impl Work for CountBits<'_, '_, '_> {
    #[inline(always)]
    fn run(self) {
        let Self {
            node,
            entries,
            ends,
            atoms,
            others,
            separate,
        } = self;
        let (mut count, mut of_other, mut rows) = (0, 0, 0);
        for ((&ends, &atoms), &others) in ends.iter().zip(atoms).zip(others) {
            count += atoms.count_ones();
            of_other += others.count_ones();
            rows += (ends & atoms).count_ones();
        }
        if count == 0 {
            return;
        }
        if separate {
            rows = count;
        }
        node.leaves = count - of_other;
        node.others = of_other;
        node.breaks = rows - 1;
        let first = bits(atoms).next().unwrap_or(0);
        let last = last_bit(atoms);
        (node.first, node.first_entry) = (first as u16, entries.get(first));
        (node.last, node.last_entry) = (last as u16, entries.get(last));
    }
}

/// Adds the first entry of each row of a flat table to `out`.
struct KeepRows<'r, 'e> {
    /// The first entry that exists.
    low: usize,
    entries: &'r Entries<'e>,
    ends: &'r [u64],
    atoms: &'r [u64],
    out: &'r mut Vec<u64>,
}

impl Work for KeepRows<'_, '_> {
    #[inline(always)]
    fn run(self) {
        // What lies before the first entry that exists ends there.
        let mut ended = 1;
        let words = self.ends.iter().zip(self.atoms).enumerate();
        for (word, (&ends, &atoms)) in words.skip(self.low / 64) {
            let mut starts = ends << 1 | ended;
            if word == self.low / 64 {
                starts |= 1 << (self.low % 64);
            }
            ended = ends >> 63;
            self.entries.select(word * 64, starts & atoms, self.out);
        }
    }
}
