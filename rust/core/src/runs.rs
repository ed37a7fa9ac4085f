//! What an image covers, for scans of all of it.

use crate::addr::Pa;
use crate::image::{PhysicalMemory, Segment, Stored};

/// So many bytes of zeros beside what is stored are looked at, too: the largest table that
/// a mode has may begin or end in them.
const MARGIN: u64 = 1 << 16;

/// Physical addresses that an image has, adjacent segments made one.
pub(crate) struct Runs {
    /// (first, last), ascending.
    all: Vec<(u64, u64)>,
    /// Those worth reading: not the inside of zeros that are stored nowhere, of any size
    /// that a header claims.
    stored: Vec<(u64, u64)>,
}

impl Runs {
    pub(crate) fn new(memory: &dyn PhysicalMemory) -> Self {
        Self::of(memory.segments())
    }

    /// Of segments in order of address.
    fn of(segments: &[Segment]) -> Self {
        let mut all = Vec::new();
        let mut stored = Vec::new();
        for segment in segments {
            let (first, last) = (segment.pa.0, segment.pa.0 + (segment.len - 1));
            join(&mut all, (first, last));
            if segment.stored == Stored::Nowhere && segment.len > 2 * MARGIN {
                join(&mut stored, (first, first + (MARGIN - 1)));
                join(&mut stored, (last - (MARGIN - 1), last));
            } else {
                join(&mut stored, (first, last));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_that_are_stored_nowhere_are_read_at_their_ends_only() {
        let segment = |pa, len, stored| Segment {
            pa: Pa(pa),
            len,
            stored,
        };
        let runs = Runs::of(&[
            segment(0x1000, 0x1000, Stored::At(0)),
            segment(0x2000, 0x1000, Stored::Nowhere),
            segment(0x3000, 0x1000, Stored::Encoded),
            segment(0x4000, 1 << 40, Stored::Nowhere),
        ]);
        let end = 0x4000 + (1 << 40);
        assert_eq!(runs.all, [(0x1000, end - 1)]);
        assert_eq!(
            runs.stored,
            [(0x1000, 0x4000 + MARGIN - 1), (end - MARGIN, end - 1)]
        );
    }
}
