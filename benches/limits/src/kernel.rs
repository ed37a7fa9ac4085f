//! The walk as the kernel does it (the shape of mm/pagewalk.c with mm/ptdump.c and x86's
//! arch/x86/mm/dump_pagetables.c, 6.12): depth first in order of virtual address, an entry
//! at a time. Each is handed to the callback of its depth through a pointer, which tells the
//! dumper through two more: one works out what the entry permits below those above it, one
//! compares it with the open run.

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

/// The dumper: what it is told through, the open run, and what the closed ones came to.
struct State {
    effective_prot: fn(&mut State, depth: usize, entry: u64),
    note_page: fn(&mut State, va: u64, depth: usize, entry: u64),
    /// By depth: what the entry that was met last permits.
    levels: [u64; 4],
    open: bool,
    start: u64,
    end: u64,
    attributes: u64,
    effective: u64,
    depth: usize,
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

fn effective_prot(state: &mut State, depth: usize, entry: u64) {
    let above = match depth {
        0 => PERMISSIONS,
        _ => state.levels[depth - 1],
    };
    state.levels[depth] = (above & entry & PERMISSIONS) | ((above | entry) & NX);
}

fn note_page(state: &mut State, va: u64, depth: usize, entry: u64) {
    if entry & PRESENT == 0 {
        state.close();
        return;
    }
    state.leaves += 1;
    let attributes = entry & !(PFN | ACCESSED_DIRTY);
    let effective = state.levels[depth];
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

/// What a walk calls for an entry; tells whether to go on below it.
type Callback = fn(&mut State, entry: u64, va: u64) -> bool;

/// What it calls, by depth, and for entries that are empty.
struct Ops {
    entry: [Callback; 4],
    hole: fn(&mut State, va: u64, depth: usize),
}

fn upper_entry<const DEPTH: usize>(state: &mut State, entry: u64, va: u64) -> bool {
    (state.effective_prot)(state, DEPTH, entry);
    let leaf = entry & PSE != 0;
    if leaf {
        (state.note_page)(state, va, DEPTH, entry);
    }
    !leaf
}

fn last_entry(state: &mut State, entry: u64, va: u64) -> bool {
    (state.effective_prot)(state, 3, entry);
    (state.note_page)(state, va, 3, entry);
    false
}

fn hole(state: &mut State, va: u64, depth: usize) {
    (state.note_page)(state, va, depth, 0);
}

struct Walk<'m> {
    map: &'m Map,
    ops: Ops,
    state: State,
}

impl Walk<'_> {
    fn table(&mut self, pa: u64, va: u64, depth: usize) {
        self.entries(pa, va, depth, 0, 511);
    }

    fn entries(&mut self, pa: u64, va: u64, depth: usize, first: usize, last: usize) {
        if !self.map.has(pa, 4096) {
            return;
        }
        let words = self.map.at(pa).cast::<u64>();
        let shift = 39 - 9 * depth;
        for index in first..=last {
            // SAFETY: checked above.
            let entry = unsafe { words.add(index).read_unaligned() };
            let at = va + ((index as u64) << shift);
            // The last depth's callback is told of empty entries, too.
            if depth < 3 && entry & PRESENT == 0 {
                (self.ops.hole)(&mut self.state, at, depth);
            } else if (self.ops.entry[depth])(&mut self.state, entry, at) {
                self.table(entry & PFN, at, depth + 1);
            }
        }
    }
}

pub fn walk(map: &Map, root: u64, first: usize, last: usize, keep: bool) -> (u64, u64, u64, f64) {
    // Opaque, so that calls stay calls through a pointer.
    let state = black_box(State {
        effective_prot,
        note_page,
        levels: [0; 4],
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
    });
    let entry = [
        upper_entry::<0>,
        upper_entry::<1>,
        upper_entry::<2>,
        last_entry,
    ];
    let ops = black_box(Ops { entry, hole });
    let mut walk = Walk { map, ops, state };
    let base = if first >= 256 { !0 << 48 } else { 0 };
    let start = Instant::now();
    walk.entries(root, base, 0, first, last);
    walk.state.close();
    let seconds = start.elapsed().as_secs_f64();
    let state = black_box(walk.state);
    (state.rows, state.leaves, state.checksum, seconds)
}
