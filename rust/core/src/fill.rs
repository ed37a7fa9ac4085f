//! Rows of one table, column by column: each column is a short loop over the rows'
//! entries, which compilers turn into vector code.

use crate::columns::ColumnsMut;
use crate::plan::{Action, Atom, Label, PlanDepth};
use crate::tree::{Run, stretch};
use crate::visit::Flat;

/// Rows that are written at a time; their entries stay in the nearest cache.
const BLOCK: usize = 512;

/// Where the rows of a table start and end. Kept from table to table, for its memory.
#[derive(Default)]
pub struct Rows {
    starts: Vec<u32>,
    lasts: Vec<u32>,
}

impl Rows {
    /// Finds those of a table.
    pub fn find(&mut self, table: &Flat<'_>) {
        let count = usize::try_from(table.rows).unwrap_or(0);
        // A word's worth more, so that whole words can be written.
        self.starts.resize(count + 64, 0);
        self.lasts.resize(count + 64, 0);
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
            starts = list(first, word, &mut self.starts, starts);
            lasts = list(atoms & ends, word, &mut self.lasts, lasts);
        }
        self.starts.truncate(starts.min(count));
        self.lasts.truncate(lasts.min(count));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.starts.len().min(self.lasts.len())
    }

    /// The entries of one.
    pub fn run(&self, row: usize) -> Run {
        Run {
            start: self.starts[row] as usize,
            last: self.lasts[row] as usize,
        }
    }

    /// Writes those from `first` on, as many as there is room for; for tables of
    /// [one kind](of_one_kind) only.
    pub fn write(&self, table: &Flat<'_>, atom: &Atom, first: usize, mut columns: ColumnsMut<'_>) {
        let mut done = 0;
        while done < columns.len() {
            let count = BLOCK.min(columns.len() - done);
            let rows = first + done..first + done + count;
            write_block(
                table,
                atom,
                &self.starts[rows.clone()],
                &self.lasts[rows],
                columns.part(done, count),
            );
            done += count;
        }
    }
}

/// Writes the indexes of the set bits to `out` from `at` on; returns where they end. A
/// table that changed may have more than there is room for: they are dropped.
#[inline]
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

fn write_block(
    table: &Flat<'_>,
    atom: &Atom,
    starts: &[u32],
    lasts: &[u32],
    columns: ColumnsMut<'_>,
) {
    let count = starts.len();
    let shift = table.depth.shift;
    let mut entries = [0; BLOCK];
    let entries = &mut entries[..count];
    table.entries.gather(starts, entries);
    for (start, &first) in columns.start.iter_mut().zip(starts) {
        *start = table.va.wrapping_add(u64::from(first) << shift);
    }
    for ((size, &first), &last) in columns.size.iter_mut().zip(starts).zip(lasts) {
        *size = u64::from(last.wrapping_sub(first).wrapping_add(1)) << shift;
    }
    match &atom.pa {
        Some(pa) => pa.addresses(entries, columns.pa),
        None => columns.pa.fill(0),
    }
    for (attributes, entry) in columns.attributes.iter_mut().zip(&*entries) {
        *attributes = entry & atom.key_mask;
    }
    table
        .plan
        .paths(table.depth, table.inherited, entries, columns.effective);
    columns.depth.fill(atom.level);
    columns.kind.fill(atom.label as u8);
}
