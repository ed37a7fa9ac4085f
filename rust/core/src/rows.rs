//! Where the rows of flat tables start and end, listed from the bitmaps of their runs.

use crate::scan::{ROOM, WORDS};
use crate::tree::{Run, stretch};
use crate::visit::Flat;

/// Rows of tables one behind the other. Kept from table to table, for its memory.
#[derive(Default)]
pub struct Rows {
    /// The first entry of each row and the one behind its last, both counted from the
    /// first entry of the first table. There is [`ROOM`] behind them.
    starts: Vec<u32>,
    ends: Vec<u32>,
    count: usize,
}

impl Rows {
    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Their first entries.
    #[inline]
    pub fn starts(&self) -> &[u32] {
        &self.starts[..self.count]
    }

    /// The entries behind their last ones.
    #[inline]
    pub fn ends(&self) -> &[u32] {
        &self.ends[..self.count]
    }

    /// The entries of one.
    #[inline]
    pub fn run(&self, row: usize) -> Run {
        Run {
            start: self.starts[row] as usize,
            last: self.ends[row] as usize - 1,
        }
    }

    /// Drops the first `count` of them.
    pub fn drop_first(&mut self, count: usize) {
        for list in [&mut self.starts, &mut self.ends] {
            list.copy_within(count..self.count, 0);
        }
        self.count -= count;
    }

    /// Adds those of a table whose first entry is number `base`. `joined`: its first row
    /// is the end of the last one so far.
    pub fn add(&mut self, table: &Flat<'_>, base: u32, joined: bool) {
        let most = self.count + usize::try_from(table.rows).unwrap_or(0);
        if self.starts.len() < most + ROOM {
            self.starts.resize(2 * most + ROOM, 0);
            self.ends.resize(2 * most + ROOM, 0);
        }
        let (low, high) = table.limits;
        let (mut starts, mut ends) = (self.count, self.count - usize::from(joined));
        let mut ended = 0;
        for part in (low / 64..=high / 64).step_by(WORDS) {
            let mut starting = [0; WORDS];
            let mut ending = [0; WORDS];
            for word in part..=(high / 64).min(part + WORDS - 1) {
                let atoms = table.atoms.map_or(!0, |atoms| atoms[word]) & stretch(word, low, high);
                let ends = match table.ends {
                    _ if table.plan.is_separate() => !0,
                    Some(ends) => ends[word],
                    None => stretch(word, high, high),
                };
                let mut starts = atoms & (ends << 1 | ended);
                if word == low / 64 {
                    let bit = 1 << (low % 64);
                    starts = if joined { starts & !bit } else { starts | bit };
                }
                ended = ends >> 63;
                starting[word - part] = starts;
                ending[word - part] = atoms & ends;
            }
            let first = base + part as u32 * 64;
            starts = table.isa.list(&starting, first, &mut self.starts, starts);
            ends = table.isa.list(&ending, first + 1, &mut self.ends, ends);
        }
        self.count = starts.min(ends);
    }
}
