//! The walk as the kernel does it (the shape of mm/pagewalk.c with mm/ptdump.c, 6.12):
//! depth first in order of virtual address, an entry at a time, each handed to a
//! callback through a function pointer, which compares it with the open run.

use crate::map::Map;
use std::hint::black_box;
use std::time::Instant;

const PRESENT: u64 = 1;
const PSE: u64 = 1 << 7;
const NX: u64 = 1 << 63;
/// Not compared, as fastwalk does not under its attributes key.
const ACCESSED_DIRTY: u64 = 0x60;
const PERMISSIONS: u64 = 6;
const PFN: u64 = 0x000f_ffff_ffff_f000;

/// The open run, and what the closed ones came to.
struct State {
    open: bool,
    start: u64,
    end: u64,
    attributes: u64,
    effective: u64,
    depth: u32,
    rows: u64,
    leaves: u64,
    checksum: u64,
    keep: bool,
    columns: [Vec<u64>; 3],
}

impl State {
    fn close(&mut self) {
        if !self.open {
            return;
        }
        self.rows += 1;
        self.checksum = self
            .checksum
            .wrapping_add(self.start)
            .wrapping_add(self.end - self.start)
            .wrapping_add(self.attributes);
        if self.keep {
            self.columns[0].push(self.start);
            self.columns[1].push(self.end - self.start);
            self.columns[2].push(self.attributes);
        }
        self.open = false;
    }
}

/// What a walk calls for every entry that maps something, and for every empty one.
type Note = fn(&mut State, va: u64, depth: u32, entry: u64, effective: u64);

fn note(state: &mut State, va: u64, depth: u32, entry: u64, effective: u64) {
    if entry & PRESENT == 0 {
        state.close();
        return;
    }
    state.leaves += 1;
    let attributes = entry & !(PFN | ACCESSED_DIRTY);
    if !state.open
        || attributes != state.attributes
        || effective != state.effective
        || depth != state.depth
    {
        state.close();
        state.open = true;
        state.start = va;
        state.attributes = attributes;
        state.effective = effective;
        state.depth = depth;
    }
    state.end = va + (1 << (39 - 9 * depth));
}

fn combine(above: u64, entry: u64) -> u64 {
    (above & entry & PERMISSIONS) | ((above | entry) & NX)
}

fn table(map: &Map, state: &mut State, note: Note, pa: u64, va: u64, depth: u32, above: u64) {
    entries(map, state, note, pa, va, depth, above, 0, 511);
}

#[allow(clippy::too_many_arguments)]
fn entries(
    map: &Map,
    state: &mut State,
    note: Note,
    pa: u64,
    va: u64,
    depth: u32,
    above: u64,
    first: usize,
    last: usize,
) {
    if !map.has(pa, 4096) {
        return;
    }
    let words = map.at(pa).cast::<u64>();
    let shift = 39 - 9 * depth;
    for index in first..=last {
        // SAFETY: checked above.
        let entry = unsafe { words.add(index).read_unaligned() };
        let at = va + ((index as u64) << shift);
        let effective = combine(above, entry);
        if depth < 3 && entry & PRESENT != 0 && entry & PSE == 0 {
            table(map, state, note, entry & PFN, at, depth + 1, effective);
        } else {
            note(state, at, depth, entry, effective);
        }
    }
}

pub fn walk(map: &Map, root: u64, first: usize, last: usize, keep: bool) -> (u64, u64, u64, f64) {
    let mut state = State {
        open: false,
        start: 0,
        end: 0,
        attributes: 0,
        effective: 0,
        depth: 0,
        rows: 0,
        leaves: 0,
        checksum: 0,
        keep,
        columns: [Vec::new(), Vec::new(), Vec::new()],
    };
    // Opaque, so that the call stays a call through a pointer.
    let note: Note = black_box(note);
    let base = if first >= 256 { !0 << 48 } else { 0 };
    let start = Instant::now();
    entries(
        map,
        &mut state,
        note,
        root,
        base,
        0,
        PERMISSIONS,
        first,
        last,
    );
    state.close();
    let seconds = start.elapsed().as_secs_f64();
    black_box(&state.columns);
    (state.rows, state.leaves, state.checksum, seconds)
}
