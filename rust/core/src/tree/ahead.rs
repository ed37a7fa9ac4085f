//! What is asked of the operating system before tables are read: to bring them into
//! memory, and to map them. A page at a time, as faults do it, takes longer.

use super::nearby::Nearby;
use super::{CHUNK, Node, Source};
use crate::image::{RawBytes, is_resident, map_now, page_faults, will_need};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// About how many chunks of a depth tell for all of them: asking is not free.
const CHUNKS_ASKED: usize = 16;

/// Where all is in memory, one chunk of this many is asked at most.
const SELDOM: usize = 4;

/// Tables that lie one right behind the other are mapped at once if they are so many: Linux
/// maps 64 KiB at a fault (`fault_around_bytes`, mm/memory.c).
const MAPPED_TOGETHER: usize = 16;

/// What is known of the tables of a depth.
pub(super) struct Ahead {
    /// Some were not in memory, so others may not be either.
    cold: AtomicBool,
    /// Some had to be mapped.
    unmapped: AtomicBool,
    /// A chunk was read without a fault, so that others may be in memory, too.
    settled: AtomicBool,
    /// One chunk of this many is asked, until then.
    asked_every: usize,
}

impl Ahead {
    pub(super) fn new(tables: usize) -> Self {
        Self {
            cold: AtomicBool::new(false),
            unmapped: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            asked_every: (tables / (CHUNK * CHUNKS_ASKED)).max(1),
        }
    }

    fn asks(&self, number: usize) -> bool {
        number.is_multiple_of(self.asked_every)
    }

    /// Prepares for reading the tables of a chunk, whose number among all of the depth is
    /// given. Returns what [`Ahead::learn`] wants to know.
    pub(super) fn prepare(
        &self,
        number: usize,
        nodes: &[Node<'_>],
        bytes: usize,
        nearby: &mut Nearby<'_>,
    ) -> Option<u64> {
        let cold = self.cold.load(Relaxed);
        if cold || self.asks(number) && !self.settled.load(Relaxed) {
            self.read(nodes);
        }
        if self.unmapped.load(Relaxed) {
            map(nodes, bytes, nearby);
            return None;
        }
        let settled = self.settled.load(Relaxed);
        let asks = self.asks(number) && (!settled || number.is_multiple_of(SELDOM));
        asks.then(page_faults)
    }

    /// Takes a look at how a chunk of `tables` tables was read; `before`: from
    /// [`Ahead::prepare`].
    pub(super) fn learn(&self, before: Option<u64>, tables: usize) {
        let Some(before) = before else { return };
        let faults = page_faults() - before;
        self.settled.store(faults == 0, Relaxed);
        if faults > (tables / MAPPED_TOGETHER / 2) as u64 {
            self.unmapped.store(true, Relaxed);
        }
    }

    /// Has tables that are not in memory read from the disk, all at once and only they: a
    /// page fault waits for one, and brings in what lies around it.
    fn read(&self, nodes: &[Node<'_>]) {
        let mut asked = nodes.iter().step_by(CHUNK / 4).filter_map(in_place);
        if asked.all(is_resident) {
            return;
        }
        self.cold.store(true, Relaxed);
        for bytes in nodes.iter().filter_map(in_place) {
            will_need(bytes);
        }
    }
}

fn in_place<'a>(node: &Node<'a>) -> Option<RawBytes<'a>> {
    match node.source {
        Source::InPlace(bytes) => Some(bytes),
        Source::Absent | Source::Copied(_) => None,
    }
}

/// Maps tables of `bytes` bytes that lie one behind the other.
fn map(nodes: &[Node<'_>], bytes: usize, nearby: &mut Nearby<'_>) {
    let behind = |a: &Node<'_>, b: &Node<'_>| b.pa.wrapping_sub(a.pa) == bytes as u64;
    for row in nodes.chunk_by(behind) {
        if row.len() >= MAPPED_TOGETHER
            && let Some(tables) = nearby.table(row[0].pa, row.len() * bytes)
        {
            map_now(tables);
        }
    }
}
