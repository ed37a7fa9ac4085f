//! Rows of one table, column by column: each column is a short loop over the rows'
//! entries, which compilers turn into vector code.

use crate::columns::ColumnsMut;
use crate::plan::{Action, Atom, Label, PlanDepth};
use crate::scan::Work;
use crate::tree::{Run, stretch};
use crate::visit::Flat;

/// Rows that are written at a time; their entries stay in the nearest cache.
const BLOCK: usize = 512;

/// Where the rows of a table start and end. Kept from table to table, for its memory.
#[derive(Default)]
pub struct Rows {
    /// Room for as many as any table had so far.
    starts: Vec<u32>,
    lasts: Vec<u32>,
    count: usize,
    /// The first entry, where each entry from it on is a row: the lists are not made then.
    each_from: Option<usize>,
}

impl Rows {
    /// Finds those of a table.
    pub fn find(&mut self, table: &Flat<'_>) {
        let (low, high) = table.limits;
        self.each_from = (table.plan.is_separate() && table.atoms.is_none()).then_some(low);
        if self.each_from.is_some() {
            self.count = high + 1 - low;
        } else {
            table.isa.run(Find { rows: self, table });
        }
    }

    /// Writes those from `first` on, as many as there is room for; for tables of
    /// [one kind](of_one_kind) only.
    pub fn write(&self, table: &Flat<'_>, atom: &Atom, first: usize, mut columns: ColumnsMut<'_>) {
        let mut done = 0;
        while done < columns.len() {
            let count = BLOCK.min(columns.len() - done);
            let rows = first + done..first + done + count;
            let columns = columns.part(done, count);
            done += count;
            if let Some(low) = self.each_from {
                table.isa.run(Entrywise {
                    table,
                    atom,
                    first: low + rows.start,
                    columns,
                });
                continue;
            }
            let mut gathered;
            let entries = match table.row_entries {
                Some(entries) => &entries[rows.clone()],
                None => {
                    gathered = [0; BLOCK];
                    let entries = &mut gathered[..count];
                    table.entries.gather(&self.starts[rows.clone()], entries);
                    entries
                }
            };
            let (starts, lasts) = (&self.starts[rows.clone()], &self.lasts[rows]);
            table.isa.run(Block {
                table,
                atom,
                entries,
                starts,
                lasts,
                columns,
            });
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The entries of one.
    pub fn run(&self, row: usize) -> Run {
        if let Some(low) = self.each_from {
            return Run {
                start: low + row,
                last: low + row,
            };
        }
        Run {
            start: self.starts[row] as usize,
            last: self.lasts[row] as usize,
        }
    }
}

/// Finds where the rows of a table start and end.
struct Find<'r, 'v> {
    rows: &'r mut Rows,
    table: &'r Flat<'v>,
}

impl Work for Find<'_, '_> {
    #[inline(always)]
    fn run(self) {
        let Self { rows, table } = self;
        let count = usize::try_from(table.rows).unwrap_or(0);
        if rows.starts.len() < count {
            rows.starts.resize(count, 0);
            rows.lasts.resize(count, 0);
        }
        let (low, high) = table.limits;
        let each = table.plan.is_separate();
        let (mut starts, mut lasts) = (0, 0);
        let mut ended = 0;
        for word in low / 64..=high / 64 {
            let atoms = table.atoms.map_or(!0, |atoms| atoms[word]) & stretch(word, low, high);
            let ends = match table.ends {
                Some(ends) if !each => ends[word],
                _ => !0,
            };
            let mut first = atoms & (ends << 1 | ended);
            if word == low / 64 {
                first |= 1 << (low % 64);
            }
            ended = ends >> 63;
            starts = list(first, word, &mut rows.starts, starts);
            lasts = list(atoms & ends, word, &mut rows.lasts, lasts);
        }
        rows.count = starts.min(lasts).min(count);
    }
}

/// Writes the indexes of the set bits to `out` from `at` on; returns where they end. A
/// table that changed may have more than there is room for: they are dropped.
#[inline(always)]
fn list(mut bits: u64, word: usize, out: &mut [u32], at: usize) -> usize {
    let count = bits.count_ones() as usize;
    let Some(out) = out.get_mut(at..at + count) else {
        return at;
    };
    for slot in out {
        *slot = word as u32 * 64 + bits.trailing_zeros();
        bits &= bits.wrapping_sub(1);
    }
    at + count
}

/// The rule that all atoms of a table fit, where that can be known: the depth has one
/// rule for leaves, and they are all that there is.
pub fn of_one_kind<'v>(table: &Flat<'v>) -> Option<&'v Atom> {
    let depth: &'v PlanDepth = table.depth;
    let mut leaves = depth.rules.iter().filter_map(|rule| match &rule.action {
        Action::Atom(atom) if atom.label == Label::Leaf => Some(atom),
        _ => None,
    });
    let only = leaves.next()?;
    (table.all_leaves && leaves.next().is_none() && only.replicated == 1 && only.fixed.is_none())
        .then_some(only)
}

/// Writes some rows.
struct Block<'r, 'v, 'c> {
    table: &'r Flat<'v>,
    atom: &'r Atom,
    /// The first entry of each.
    entries: &'r [u64],
    starts: &'r [u32],
    lasts: &'r [u32],
    columns: ColumnsMut<'c>,
}

impl Work for Block<'_, '_, '_> {
    #[inline(always)]
    fn run(self) {
        let Self {
            table,
            atom,
            entries,
            starts,
            lasts,
            columns,
        } = self;
        let shift = table.depth.shift;
        for (start, &first) in columns.start.iter_mut().zip(starts) {
            *start = table.va.wrapping_add(u64::from(first) << shift);
        }
        for ((size, &first), &last) in columns.size.iter_mut().zip(starts).zip(lasts) {
            *size = u64::from(last.wrapping_sub(first).wrapping_add(1)) << shift;
        }
        write_values(table, atom, entries, columns);
    }
}

/// Writes one row for each entry from `first` on, as many as there is room for, which is
/// [`BLOCK`] at most.
struct Entrywise<'r, 'v, 'c> {
    table: &'r Flat<'v>,
    atom: &'r Atom,
    first: usize,
    columns: ColumnsMut<'c>,
}

impl Work for Entrywise<'_, '_, '_> {
    #[inline(always)]
    fn run(self) {
        let Self {
            table,
            atom,
            first,
            columns,
        } = self;
        let mut entries = [0; BLOCK];
        let entries = &mut entries[..columns.len()];
        table.entries.copy(first, entries);
        let shift = table.depth.shift;
        for (i, start) in columns.start.iter_mut().enumerate() {
            *start = table.va.wrapping_add(((first + i) as u64) << shift);
        }
        columns.size.fill(table.depth.span());
        write_values(table, atom, entries, columns);
    }
}

/// Writes the columns that come from the entries alone.
#[inline(always)]
fn write_values(table: &Flat<'_>, atom: &Atom, entries: &[u64], columns: ColumnsMut<'_>) {
    match &atom.pa {
        Some(pa) => pa.addresses(entries, columns.pa),
        None => columns.pa.fill(0),
    }
    for (attributes, entry) in columns.attributes.iter_mut().zip(entries) {
        *attributes = entry & atom.key_mask;
    }
    table
        .plan
        .paths(table.depth, table.inherited, entries, columns.effective);
    columns.depth.fill(atom.level);
    columns.kind.fill(atom.label as u8);
}
