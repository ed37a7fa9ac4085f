//! What an image covers, for scans of all of it.

use crate::addr::Pa;
use crate::image::PhysicalMemory;

/// Physical addresses that an image has, adjacent segments made one.
pub(crate) struct Runs {
    /// (first, last), ascending.
    all: Vec<(u64, u64)>,
    /// Those with contents: an ELF segment without a place in the file is zeros, of any
    /// size that its header claims.
    stored: Vec<(u64, u64)>,
}

impl Runs {
    pub(crate) fn new(memory: &dyn PhysicalMemory) -> Self {
        let zeros_only = memory.describe().format == "elf";
        let mut all = Vec::new();
        let mut stored = Vec::new();
        for segment in memory.segments() {
            let run = (segment.pa.0, segment.pa.0 + (segment.len - 1));
            join(&mut all, run);
            if segment.file_offset.is_some() || !zeros_only {
                join(&mut stored, run);
            }
        }
        Self { all, stored }
    }

    pub(crate) fn has(&self, pa: u64) -> bool {
        let after = self.all.partition_point(|run| run.0 <= pa);
        after > 0 && pa <= self.all[after - 1].1
    }

    /// Whether it has everything from the first to the last address, or nothing; None: some
    /// of it.
    pub(crate) fn have(&self, first: u64, last: u64) -> Option<bool> {
        let after = self.all.partition_point(|run| run.0 <= first);
        let before = after.checked_sub(1).map(|index| self.all[index].1);
        if before.is_some_and(|end| last <= end) {
            return Some(true);
        }
        let next = self.all.get(after);
        let apart = before.is_none_or(|end| end < first) && next.is_none_or(|run| last < run.0);
        apart.then_some(false)
    }

    /// What is stored between two addresses, in pieces: (first, last, last of the run).
    /// Each begins at a multiple of `align` and all but the last of a run are of
    /// `size` bytes, a multiple of it.
    pub(crate) fn pieces(
        &self,
        low: u64,
        high: u64,
        align: u64,
        size: u64,
    ) -> Vec<(u64, u64, u64)> {
        let mut out = Vec::new();
        for &(first, end) in &self.stored {
            let last = end.min(high);
            let mut start = first.max(low).checked_next_multiple_of(align);
            while let Some(at) = start.filter(|at| *at <= last) {
                out.push((at, last.min(at.saturating_add(size - 1)), end));
                start = at.checked_add(size);
            }
        }
        out
    }
}

fn join(runs: &mut Vec<(u64, u64)>, run: (u64, u64)) {
    match runs.last_mut() {
        Some(before) if before.1.checked_add(1) == Some(run.0) => before.1 = run.1,
        _ => runs.push(run),
    }
}

/// Fills `buffer` with `len` bytes at `pa`; false where any of them is absent.
pub(crate) fn read(memory: &dyn PhysicalMemory, pa: u64, len: u64, buffer: &mut Vec<u8>) -> bool {
    let Ok(len) = usize::try_from(len) else {
        return false;
    };
    buffer.resize(len, 0);
    memory.read(Pa(pa), buffer).is_ok()
}
