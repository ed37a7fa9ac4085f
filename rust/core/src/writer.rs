//! Writing the rows of one part of an address space, in order.

use crate::chain::{Chain, Common};
use crate::columns::{ColumnsMut, Row};
use crate::fill::{ENTRIES, Entrywise};
use crate::fold::Summary;
use crate::plan::{Edge, Plan};
use crate::rows::Rows;
use crate::tree::Tree;
use crate::visit::{Atoms, Flat, Visitor};

/// Writes the rows of one part.
pub struct Writer<'p, 'c> {
    plan: &'p Plan,
    columns: ColumnsMut<'c>,
    /// Rows written.
    row: usize,
    open: Option<Edge>,
    /// While the open row is another part's: how much of `open` was there before.
    borrowed: Option<u64>,
    /// How much this part adds to another part's row.
    carried: u64,
    /// There is no room for everything, and that is known.
    truncated: bool,
    /// More rows came than were counted.
    overflow: bool,
    /// Rows of whole tables; while there are any, `open` is none: the last of them is open.
    chain: Chain<'p>,
}

impl<'p, 'c> Writer<'p, 'c> {
    /// For the rows that `columns` have room for. `goes_on`: the last atom so far of the row
    /// that an earlier part has begun; `truncated`: there is no room for everything, and
    /// that is known.
    pub fn new(
        tree: &Tree<'p>,
        columns: ColumnsMut<'c>,
        goes_on: Option<Edge>,
        truncated: bool,
    ) -> Self {
        let plan = tree.plan();
        Self {
            plan,
            columns,
            row: 0,
            open: goes_on,
            borrowed: goes_on.map(|edge| edge.len),
            carried: 0,
            truncated,
            overflow: false,
            chain: Chain::new(plan, tree.isa()),
        }
    }

    /// Adds an atom, or some that are joined.
    #[inline]
    fn push(&mut self, edge: Edge) {
        self.end_chain();
        if let Some(open) = &mut self.open {
            if self.plan.joins(open, &edge) {
                open.len = open.len.wrapping_add(edge.len);
                return;
            }
            self.close();
        }
        self.open = Some(edge);
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        if let Some(before) = self.borrowed.take() {
            self.carried = open.len.wrapping_sub(before);
            return;
        }
        self.write(&open);
    }

    #[inline]
    fn write(&mut self, edge: &Edge) {
        if self.row == self.columns.len() {
            self.overflow = true;
            return;
        }
        self.columns.set(
            self.row,
            &Row {
                start: edge.at,
                size: edge.len,
                pa: edge.pa,
                attributes: edge.key,
                effective: edge.path,
                depth: edge.level,
                kind: edge.label as u8,
            },
        );
        self.row += 1;
    }

    /// Writes the first rows of the chain.
    fn write_chain(&mut self, rows: usize) {
        let room = rows.min(self.columns.len() - self.row);
        self.chain.write(self.columns.part(self.row, room));
        self.row += room;
        self.overflow |= room < rows;
        self.chain.drop_first(rows - room);
    }

    /// Writes all of the chain but for its last row, which is the open one then.
    #[inline]
    fn end_chain(&mut self) {
        let rows = self.chain.len();
        if rows > 0 {
            self.write_chain(rows - 1);
            self.open = self.chain.first();
            self.chain.drop_first(1);
        }
    }

    /// Begins a chain with a table; false where it cannot be written column by column.
    fn begin_chain(&mut self, table: &Flat<'_>) -> bool {
        self.end_chain();
        if !self.chain.begin(table) {
            return false;
        }
        if let (Some(open), Some(first)) = (&mut self.open, self.chain.first())
            && self.plan.joins(open, &first)
        {
            open.len = open.len.wrapping_add(first.len);
            self.chain.drop_first(1);
        }
        if self.chain.len() > 0 {
            self.close();
        }
        true
    }

    /// Writes a table each of whose entries is a row.
    fn write_entries(&mut self, common: Common<'_>, table: &Flat<'_>) {
        self.end_chain();
        self.close();
        let (low, high) = table.limits;
        for first in (low..=high).step_by(ENTRIES) {
            let rows = (high + 1 - first).min(ENTRIES);
            let room = rows.min(self.columns.len() - self.row);
            table.isa.run(Entrywise {
                common,
                table,
                first,
                columns: self.columns.part(self.row, room),
            });
            self.row += room;
            self.overflow |= room < rows;
        }
    }

    /// Adds the rows of a table one after the other.
    fn push_rows(&mut self, table: &Flat<'_>) {
        let mut rows = Rows::default();
        rows.add(table, 0, false);
        for row in 0..rows.len() {
            if let Some(edge) = table.row(row, rows.run(row)) {
                self.push(edge);
            }
        }
    }

    /// How much was added to an earlier part's row. None: the counts were exact, so the
    /// tables are not what they were.
    pub fn finish(mut self) -> Option<u64> {
        self.end_chain();
        self.close();
        let exact = self.row == self.columns.len() && (self.truncated || !self.overflow);
        exact.then_some(self.carried)
    }
}

impl Visitor for Writer<'_, '_> {
    #[inline]
    fn whole(&mut self, va: u64, summary: &Summary) -> bool {
        let Some((mut first, last)) = summary.edges else {
            return true;
        };
        if summary.breaks > 0 {
            return false;
        }
        first.len = last.at.wrapping_add(last.len).wrapping_sub(first.at);
        first.at = first.at.wrapping_add(va);
        self.push(first);
        true
    }

    #[inline]
    fn atoms(&mut self, atoms: &Atoms<'_>) {
        if !self.plan.is_separate() {
            self.push(atoms.joined());
            return;
        }
        for index in atoms.run.start..=atoms.run.last {
            self.push(atoms.edge(index));
        }
    }

    fn atom(&mut self, edge: Edge) {
        self.push(edge);
    }

    fn flat(&mut self, table: &Flat<'_>) -> bool {
        if self.chain.add(table) {
            let rows = self.chain.ready();
            if rows > 0 {
                self.write_chain(rows);
            }
            return true;
        }
        if table.rows == 1 {
            return false;
        }
        if self.plan.is_separate()
            && table.atoms.is_none()
            && let Some(common) = Common::of(self.plan, table)
        {
            self.write_entries(common, table);
        } else if !self.begin_chain(table) {
            self.push_rows(table);
        }
        true
    }

    fn is_done(&self) -> bool {
        self.overflow
    }
}
