//! Flat tables one behind the other, below one path state: their rows are gathered until
//! there are enough of them to write each column in one long loop.

use crate::columns::ColumnsMut;
use crate::fill::{Block, leaf_of};
use crate::plan::{Atom, Edge, Plan, PlanDepth};
use crate::rows::Rows;
use crate::scan::Isa;
use crate::visit::Flat;

/// Rows that are worth writing: memory takes long stretches of one column after the other
/// faster than short ones, and what these are made from stays in the second cache.
const ENOUGH: usize = 4096;

/// What all tables of a chain have in common.
#[derive(Clone, Copy)]
pub struct Common<'p> {
    pub plan: &'p Plan,
    pub depth: &'p PlanDepth,
    /// The rule that all their atoms fit.
    pub atom: &'p Atom,
    /// State that they inherit.
    pub inherited: u8,
    /// Virtual address of the first table's first entry.
    pub va: u64,
}

impl<'p> Common<'p> {
    /// That of a table alone. None where its atoms fit more than one rule.
    pub fn of(plan: &'p Plan, table: &Flat<'_>) -> Option<Self> {
        let depth = &plan.depths[table.depth];
        let atom = leaf_of(depth).filter(|_| table.all_leaves)?;
        Some(Self {
            plan,
            depth,
            atom,
            inherited: table.inherited,
            va: table.va,
        })
    }
}

/// Rows that are not written yet. The last one may go on in the next table.
pub struct Chain<'p> {
    plan: &'p Plan,
    isa: Isa,
    common: Option<Common<'p>>,
    rows: Rows,
    /// The first entry of each.
    entries: Vec<u64>,
    /// The last entry of all, and the virtual address behind it.
    last_entry: u64,
    end: u64,
}

impl<'p> Chain<'p> {
    /// None yet.
    pub fn new(plan: &'p Plan, isa: Isa) -> Self {
        Self {
            plan,
            isa,
            common: None,
            rows: Rows::default(),
            entries: Vec::new(),
            last_entry: 0,
            end: 0,
        }
    }

    /// How many rows are waiting.
    #[inline]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// How many of them to write now: none, until there are enough.
    #[inline]
    pub fn ready(&self) -> usize {
        if self.rows.len() > ENOUGH {
            self.rows.len() - 1
        } else {
            0
        }
    }

    /// Begins with a table. False where its atoms fit more than one rule.
    pub fn begin(&mut self, table: &Flat<'_>) -> bool {
        self.common = Common::of(self.plan, table);
        if self.common.is_some() {
            self.gather(table, 0, false);
        }
        self.common.is_some()
    }

    /// Adds a table. False where it does not belong to those that are waiting.
    #[inline]
    pub fn add(&mut self, table: &Flat<'_>) -> bool {
        let Some(common) = self.common.filter(|_| self.len() > 0) else {
            return false;
        };
        let base = table.va.wrapping_sub(common.va) >> common.depth.shift;
        let belongs = std::ptr::eq(common.depth, &self.plan.depths[table.depth])
            && common.inherited == table.inherited
            && table.all_leaves
            && base < u64::from(u32::MAX) / 2;
        if belongs {
            let start = table
                .va
                .wrapping_add((table.limits.0 as u64) << common.depth.shift);
            let joined = self.end == start
                && self
                    .plan
                    .goes_on(common.depth, self.last_entry, table.edges.0);
            self.gather(table, base as u32, joined);
        }
        belongs
    }

    #[inline]
    fn gather(&mut self, table: &Flat<'_>, base: u32, joined: bool) {
        let depth = &self.plan.depths[table.depth];
        let before = self.rows.len();
        self.rows.add(table, base, joined);
        self.last_entry = table.edges.1;
        self.end = table
            .va
            .wrapping_add((table.limits.1 as u64 + 1) << depth.shift);
        match table.row_entries {
            Some(entries) => self
                .entries
                .extend_from_slice(&entries[usize::from(joined)..]),
            None if table.rows == 1 => self.entries.extend((!joined).then_some(table.edges.0)),
            None => {
                let new = &self.rows.starts()[before..];
                let entries = &table.entries;
                self.entries
                    .extend(new.iter().map(|index| entries.get((index - base) as usize)));
            }
        }
    }

    /// Writes the first rows, as many as there is room for, and drops them.
    pub fn write(&mut self, columns: ColumnsMut<'_>) {
        let count = columns.len();
        if let Some(common) = self.common {
            self.isa.run(Block {
                common,
                entries: &self.entries[..count],
                starts: &self.rows.starts()[..count],
                ends: &self.rows.ends()[..count],
                columns,
            });
        }
        self.drop_first(count);
    }

    /// The first row.
    pub fn first(&self) -> Option<Edge> {
        let common = self.common?;
        let entry = *self.entries.first()?;
        let run = self.rows.run(0);
        let mut edge = common.plan.edge(
            common.depth,
            common.atom,
            common.inherited,
            run.start,
            entry,
        );
        edge.at = edge.at.wrapping_add(common.va);
        edge.len = edge.len.wrapping_mul(run.count() as u64);
        Some(edge)
    }

    /// Drops the first rows.
    pub fn drop_first(&mut self, count: usize) {
        self.rows.drop_first(count);
        self.entries.drain(..count);
    }
}
