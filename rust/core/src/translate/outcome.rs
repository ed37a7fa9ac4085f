//! What entries come to, a block of them at a time: short loops over columns, which
//! compilers turn into vector code.

use super::block::BLOCK;
use super::{DetailsPart, Part, Status};
use crate::plan::{Action, Atom, Label, Plan, PlanDepth};

/// The rules that entries match.
pub(super) struct Outcome {
    /// By their number among the depth's.
    rules: [u8; BLOCK],
    /// Their lowest and highest number.
    range: (u8, u8),
    /// By number: whether the rule leads to a table.
    tables: Vec<bool>,
}

/// Columns of a block.
pub(super) struct Columns {
    pa: [u64; BLOCK],
    attributes: [u64; BLOCK],
    status: [u8; BLOCK],
    depth: [u8; BLOCK],
    effective: [u8; BLOCK],
}

impl Columns {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self {
            pa: [0; BLOCK],
            attributes: [0; BLOCK],
            status: [0; BLOCK],
            depth: [0; BLOCK],
            effective: [0; BLOCK],
        }
    }

    #[inline(always)]
    pub(super) fn part(&mut self, count: usize, detailed: bool) -> Part<'_> {
        Part {
            pa: &mut self.pa[..count],
            status: &mut self.status[..count],
            details: detailed.then_some(DetailsPart {
                depth: &mut self.depth[..count],
                attributes: &mut self.attributes[..count],
                effective: &mut self.effective[..count],
            }),
        }
    }
}

impl Part<'_> {
    /// Copies one row of another part.
    #[inline(always)]
    pub(super) fn copy(&mut self, row: usize, from: &Part<'_>, other: usize) {
        self.pa[row] = from.pa[other];
        self.status[row] = from.status[other];
        if let (Some(to), Some(from)) = (&mut self.details, &from.details) {
            to.depth[row] = from.depth[other];
            to.attributes[row] = from.attributes[other];
            to.effective[row] = from.effective[other];
        }
    }

    /// Takes over the rows of another part where `rules` says `rule`.
    #[inline(always)]
    fn take(&mut self, from: &Part<'_>, rules: &[u8], rule: u8) {
        choose(self.pa, from.pa, rules, rule);
        choose(self.status, from.status, rules, rule);
        if let (Some(to), Some(from)) = (&mut self.details, &from.details) {
            choose(to.attributes, from.attributes, rules, rule);
            choose(to.effective, from.effective, rules, rule);
        }
    }

    /// All of them end with `status` at `depth`, nowhere.
    #[inline(always)]
    fn end(&mut self, status: Status, depth: usize) {
        self.pa.fill(0);
        self.status.fill(status as u8);
        if let Some(details) = &mut self.details {
            details.depth.fill(depth as u8);
            details.attributes.fill(0);
            details.effective.fill(0);
        }
    }
}

#[inline(always)]
fn choose<T: Copy>(to: &mut [T], from: &[T], rules: &[u8], rule: u8) {
    for ((to, &from), &is) in to.iter_mut().zip(from).zip(rules) {
        *to = if is == rule { from } else { *to };
    }
}

impl Outcome {
    pub(super) fn new() -> Self {
        Self {
            rules: [0; BLOCK],
            range: (0, 0),
            tables: Vec::new(),
        }
    }

    /// Finds the rules that entries of a depth match; true where some lead to tables.
    #[inline(always)]
    pub(super) fn find(&mut self, of: &PlanDepth, entries: &[u64]) -> bool {
        let found = &mut self.rules[..entries.len()];
        // Applied last to first: the first one that matches stays.
        found.fill(of.rules.len() as u8 - 1);
        for (number, rule) in of.rules.iter().enumerate().rev().skip(1) {
            let (mask, value) = rule.test();
            for (out, entry) in found.iter_mut().zip(entries) {
                *out = if entry & mask == value {
                    number as u8
                } else {
                    *out
                };
            }
        }
        self.range = found.iter().fold((u8::MAX, 0), |(low, high), &rule| {
            (low.min(rule), high.max(rule))
        });
        let is_table = |rule: u8| matches!(of.rules[usize::from(rule)].action, Action::Table(_));
        let some = (self.range.0..=self.range.1).any(is_table);
        if some {
            self.tables.clear();
            self.tables
                .extend((0..of.rules.len()).map(|rule| is_table(rule as u8)));
        }
        some
    }

    /// Whether entry `i` leads to a table; only where [`find`](Self::find) said that some do.
    #[inline]
    pub(super) fn is_table(&self, i: usize) -> bool {
        self.tables[usize::from(self.rules[i])]
    }

    /// Writes what entries come to, those of the last [`find`](Self::find); of those that
    /// lead to tables, anything.
    #[inline(always)]
    pub(super) fn write(&self, entries: &Looked<'_>, out: &mut Part<'_>) {
        let (low, high) = self.range;
        if low == high {
            if !entries.write(low, out) {
                out.end(Status::Hole, entries.depth);
            }
            return;
        }
        out.end(Status::Hole, entries.depth);
        let rules = &self.rules[..entries.entries.len()];
        let mut columns = Columns::new();
        let mut those = columns.part(rules.len(), out.details.is_some());
        for rule in low..=high {
            if rules.contains(&rule) && entries.write(rule, &mut those) {
                out.take(&those, rules, rule);
            }
        }
    }
}

/// Entries of one depth that were looked up.
pub(super) struct Looked<'b> {
    pub(super) plan: &'b Plan,
    pub(super) depth: usize,
    /// For which addresses.
    pub(super) offsets: &'b [u64],
    pub(super) entries: &'b [u64],
    /// The path state above each; only read where there are details to write.
    pub(super) inherited: &'b [u8],
}

impl Looked<'_> {
    /// Writes what the entries come to if all of them match this rule of an atom; false where
    /// it makes none.
    #[inline(always)]
    fn write(&self, rule: u8, out: &mut Part<'_>) -> bool {
        let of = &self.plan.depths[self.depth];
        let Action::Atom(atom) = &of.rules[usize::from(rule)].action else {
            return false;
        };
        let leaf = atom.label == Label::Leaf;
        if leaf {
            out.status.fill(Status::Mapped as u8);
            self.write_addresses(of, atom, out.pa);
        } else {
            out.status.fill(Status::Other as u8);
            out.pa.fill(0);
        }
        let Some(details) = &mut out.details else {
            return true;
        };
        details.depth.fill(self.depth as u8);
        match atom.fixed {
            Some(key) => details.attributes.fill(key),
            None => {
                for (attributes, entry) in details.attributes.iter_mut().zip(self.entries) {
                    *attributes = entry & atom.key_mask;
                }
            }
        }
        if leaf {
            self.write_paths(of, atom, details.effective);
        } else {
            details.effective.fill(0);
        }
        true
    }

    #[inline(always)]
    fn write_addresses(&self, of: &PlanDepth, atom: &Atom, out: &mut [u64]) {
        let mut within = of.span() - 1;
        match &atom.pa {
            Some(pa) => {
                pa.addresses(self.entries, out);
                // Which one an entry is of those that repeat a descriptor is part of the
                // offset in the leaf.
                within |= (atom.replicated - 1) << of.shift;
            }
            None => out.fill(0),
        }
        for (pa, offset) in out.iter_mut().zip(self.offsets) {
            *pa = pa.wrapping_add(offset & within);
        }
    }

    #[inline(always)]
    fn write_paths(&self, of: &PlanDepth, atom: &Atom, out: &mut [u8]) {
        if atom.path && self.plan.notes.is_none() {
            out.copy_from_slice(self.inherited);
            self.plan.add_paths(of, self.entries, out);
            return;
        }
        for ((out, &entry), &path) in out.iter_mut().zip(self.entries).zip(self.inherited) {
            *out = self.plan.atom_path(of, atom, path, entry);
        }
    }
}
