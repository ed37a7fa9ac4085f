//! Rows, column by column: each column is a short loop over the rows' entries, which
//! compilers turn into vector code.

use crate::chain::Common;
use crate::columns::ColumnsMut;
use crate::plan::{Action, Atom, Label, PlanDepth};
use crate::scan::Work;
use crate::visit::Flat;

/// Entries that are written at a time where each is a row; they stay in the nearest cache.
pub const ENTRIES: usize = 512;

/// The rule that all leaves of a depth fit, if there is one whose rows can be written
/// column by column.
pub fn leaf_of(depth: &PlanDepth) -> Option<&Atom> {
    let mut leaves = depth.rules.iter().filter_map(|rule| match &rule.action {
        Action::Atom(atom) if atom.label == Label::Leaf => Some(atom),
        _ => None,
    });
    let only = leaves.next()?;
    (leaves.next().is_none() && only.replicated == 1 && only.fixed.is_none()).then_some(only)
}

/// Writes some rows.
pub struct Block<'r, 'c> {
    pub common: Common<'r>,
    /// The first entry of each.
    pub entries: &'r [u64],
    /// Its number, and that of the entry behind the last one.
    pub starts: &'r [u32],
    pub ends: &'r [u32],
    pub columns: ColumnsMut<'c>,
}

impl Work for Block<'_, '_> {
    #[inline(always)]
    fn run(self) {
        let Self {
            common,
            entries,
            starts,
            ends,
            columns,
        } = self;
        let shift = common.depth.shift;
        for (start, &first) in columns.start.iter_mut().zip(starts) {
            *start = common.va.wrapping_add(u64::from(first) << shift);
        }
        for ((size, &first), &end) in columns.size.iter_mut().zip(starts).zip(ends) {
            *size = u64::from(end.wrapping_sub(first)) << shift;
        }
        write_values(common, entries, columns);
    }
}

/// Writes one row for each entry from `first` on, as many as there is room for, which is
/// [`ENTRIES`] at most.
pub struct Entrywise<'r, 'v, 'c> {
    pub common: Common<'r>,
    pub table: &'r Flat<'v>,
    pub first: usize,
    pub columns: ColumnsMut<'c>,
}

impl Work for Entrywise<'_, '_, '_> {
    #[inline(always)]
    fn run(self) {
        let Self {
            common,
            table,
            first,
            columns,
        } = self;
        let mut entries = [0; ENTRIES];
        let entries = &mut entries[..columns.len()];
        table.entries.copy(first, entries);
        let shift = common.depth.shift;
        for (i, start) in columns.start.iter_mut().enumerate() {
            *start = common.va.wrapping_add(((first + i) as u64) << shift);
        }
        columns.size.fill(common.depth.span());
        write_values(common, entries, columns);
    }
}

/// Writes the columns that come from the entries alone.
#[inline(always)]
fn write_values(common: Common<'_>, entries: &[u64], columns: ColumnsMut<'_>) {
    let Common { atom, .. } = common;
    match &atom.pa {
        Some(pa) => pa.addresses(entries, columns.pa),
        None => columns.pa.fill(0),
    }
    for (attributes, entry) in columns.attributes.iter_mut().zip(entries) {
        *attributes = entry & atom.key_mask;
    }
    common
        .plan
        .paths(common.depth, common.inherited, entries, columns.effective);
    columns.depth.fill(atom.level);
    columns.kind.fill(atom.label as u8);
}
