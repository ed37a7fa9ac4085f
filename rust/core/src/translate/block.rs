//! Addresses a block at a time: from the deepest table that is known of each down to what
//! the tables say of it.

use super::cache::Level;
use super::ordered::Left;
use super::outcome::{Columns, Looked, Outcome};
use super::way::{Next, Place, ended};
use super::{Part, Status, Translator};
use crate::entries::{Entries, Places};
use crate::visit::Span;

/// Addresses of a block: enough reads in flight to hide memory's latency, few enough for
/// the nearest cache.
pub(super) const BLOCK: usize = 64;

/// Slots for tables of one depth: at least, and at most, which is 512 GiB of 4K pages.
const SLOTS: (usize, usize) = (1 << 8, 1 << 18);
/// How many blocks ahead addresses are asked for: they come in order, but between them memory
/// is kept busy with entries.
const AHEAD: usize = 2;
/// Tables of a block that are looked for one after the other. More wait for memory together.
const FEW: usize = 4;
/// Addresses to a slot: fewer do not meet as many tables.
const SHARING: usize = 16;

/// Translates blocks of addresses.
pub(super) struct Blocks<'t, 'a> {
    translator: &'t Translator<'a>,
    /// Tables that were met, by depth.
    levels: Vec<Level<'a>>,
    /// Where the tables of whole blocks are expected.
    usual: usize,
    /// By depth: the addresses of the block whose deepest known table is there.
    found: Vec<List>,
    /// Addresses that are left for the end.
    left: Vec<Left>,
    lookup: Lookup<'a>,
    entries: [u64; BLOCK],
    outcome: Outcome,
}

/// A block of addresses.
struct Block<'a> {
    /// Number of the first one among those that are translated.
    first: usize,
    count: usize,
    /// Where they are in the root's span.
    offsets: [u64; BLOCK],
    /// Which of them are in it: 1.
    inside: [u8; BLOCK],
    /// What is looked up for all of them, if the tables of one depth are known.
    ahead: Option<usize>,
    lookup: Lookup<'a>,
}

/// Some addresses that are looked up in tables of one depth.
struct Lookup<'a> {
    offsets: [u64; BLOCK],
    keys: [u64; BLOCK],
    indexes: [u32; BLOCK],
    /// The path state above the tables.
    inherited: [u8; BLOCK],
    /// Where the entries are.
    places: Places<'a>,
}

/// Some of a block's addresses.
struct List {
    items: [u16; BLOCK],
    len: usize,
}

impl List {
    fn new() -> Self {
        Self {
            items: [0; BLOCK],
            len: 0,
        }
    }

    /// Of the first `count` addresses.
    fn all(count: usize) -> Self {
        let mut list = Self::new();
        (0..count).for_each(|position| list.push(position as u16));
        list
    }

    #[inline(always)]
    fn items(&self) -> &[u16] {
        &self.items[..self.len]
    }

    #[inline(always)]
    fn push(&mut self, item: u16) {
        self.items[self.len] = item;
        self.len += 1;
    }
}

impl<'a> Lookup<'a> {
    fn new() -> Self {
        Self {
            offsets: [0; BLOCK],
            keys: [0; BLOCK],
            indexes: [0; BLOCK],
            inherited: [0; BLOCK],
            places: Places::with_capacity(BLOCK),
        }
    }

    /// Asks for the entries that translate the first `count` offsets; false where a table is
    /// not known.
    #[inline(always)]
    fn ask(&mut self, level: &Level<'a>, count: usize, paths: bool) -> bool {
        let (keys, indexes) = (&mut self.keys[..count], &mut self.indexes[..count]);
        let offsets = &self.offsets[..count];
        if !level.ask(offsets, keys, indexes, &mut self.places) {
            return false;
        }
        if paths {
            level.inherited(keys, &mut self.inherited[..count]);
        }
        true
    }
}

impl<'a> Block<'a> {
    fn new() -> Box<Self> {
        Box::new(Self {
            first: 0,
            count: 0,
            offsets: [0; BLOCK],
            inside: [0; BLOCK],
            ahead: None,
            lookup: Lookup::new(),
        })
    }

    fn row(&self, position: u16) -> u32 {
        self.first as u32 + u32::from(position)
    }
}

impl<'t, 'a> Blocks<'t, 'a> {
    /// For about `count` addresses.
    pub(super) fn new(translator: &'t Translator<'a>, count: usize) -> Self {
        let slots = (count / SHARING)
            .next_power_of_two()
            .clamp(SLOTS.0, SLOTS.1);
        let depths = &translator.plan.depths;
        let mut levels: Vec<Level<'a>> = depths
            .iter()
            .enumerate()
            .map(|(depth, of)| Level::new(of, if depth == 0 { 1 } else { slots }))
            .collect();
        let (root, format) = (translator.top(), depths[0].format);
        if let Some(bytes) = translator.in_place(&root, format) {
            levels[0].keep(0, &root, &Entries::new(bytes, format));
        }
        Self {
            translator,
            usual: levels.len() - 1,
            levels,
            found: depths.iter().map(|_| List::new()).collect(),
            left: Vec::new(),
            lookup: Lookup::new(),
            entries: [0; BLOCK],
            outcome: Outcome::new(),
        }
    }

    /// What was not translated.
    pub(super) fn left(self) -> Vec<Left> {
        self.left
    }

    /// Translates the addresses from `first` on, as many as there is room for. While the
    /// entries of one block are looked at, memory is busy with those of the next one.
    #[inline(always)]
    pub(super) fn translate(&mut self, vas: &Entries<'_>, first: usize, part: &mut Part<'_>) {
        let count = part.pa.len();
        let (mut block, mut next) = (Block::new(), Block::new());
        let mut begun = 0;
        loop {
            next.count = BLOCK.min(count - begun);
            next.first = begun;
            if next.count > 0 {
                self.begin(&mut next, vas, first, part.details.is_some());
            }
            if block.count > 0 {
                self.finish(&mut block, part);
            }
            if next.count == 0 {
                break;
            }
            begun += next.count;
            std::mem::swap(&mut block, &mut next);
        }
    }

    /// Finds out where a block's addresses are in the root's span, and asks for their entries
    /// if the tables are known.
    #[inline(always)]
    fn begin(&mut self, block: &mut Block<'a>, vas: &Entries<'_>, first: usize, detailed: bool) {
        let count = block.count;
        let mut copy = [0; BLOCK];
        vas.copy(first + block.first, &mut copy[..count]);
        vas.ask(first + block.first + AHEAD * BLOCK, BLOCK);
        // Loops over whole blocks are better code: the last one is filled up.
        let last = copy[count - 1];
        copy[count..].fill(last);
        block.inside.fill(0);
        // The first span that has an address counts.
        for span in self.translator.spans.iter().rev() {
            within(span, &copy, &mut block.offsets, &mut block.inside);
        }
        block.ahead = None;
        if block.inside.iter().fold(1, |all, &one| all & one) == 0 {
            return;
        }
        block.lookup.offsets = block.offsets;
        let usual = self.usual;
        let paths = detailed || usual + 1 < self.levels.len();
        if block.lookup.ask(&self.levels[usual], BLOCK, paths)
            || self.learn(&block.offsets, usual)
                && block.lookup.ask(&self.levels[usual], BLOCK, paths)
        {
            block.ahead = Some(usual);
        }
    }

    /// Finds the tables of a depth that are missing, if it is a few: in order, addresses come
    /// to a new one now and then.
    #[inline(never)]
    fn learn(&mut self, offsets: &[u64], depth: usize) -> bool {
        let mut few = FEW;
        for &offset in offsets {
            if self.levels[depth].has(offset) {
                continue;
            }
            if few == 0 || !self.go_down(offset, depth) {
                return false;
            }
            few -= 1;
        }
        true
    }

    /// Finds the tables on the way of an address, down to a depth; false where there is none.
    fn go_down(&mut self, offset: u64, to: usize) -> bool {
        let known = |&depth: &usize| self.levels[depth].has(offset);
        let Some(deepest) = (0..=to).rev().find(known) else {
            return false;
        };
        (deepest..to).all(|depth| {
            self.levels[depth]
                .entry(offset)
                .is_some_and(|(entry, path)| {
                    let level = &mut self.levels[depth + 1];
                    keep(self.translator, level, depth, offset, (entry, path))
                })
        })
    }

    /// Writes what a block's addresses come to.
    #[inline(always)]
    fn finish(&mut self, block: &mut Block<'a>, all: &mut Part<'_>) {
        let mut pending = List::new();
        let mut from = 0;
        let mut kept = false;
        if let Some(depth) = block.ahead {
            block.lookup.places.read(&mut self.entries);
            let of = &self.translator.plan.depths[depth];
            let tables = self.outcome.find(of, &self.entries);
            let entries = Looked {
                plan: self.translator.plan,
                depth,
                offsets: &block.offsets,
                entries: &self.entries,
                inherited: &block.lookup.inherited,
            };
            if block.count == BLOCK {
                let mut whole = all.part(block.first, BLOCK);
                self.outcome.write(&entries, &mut whole);
            } else {
                let mut columns = Columns::new();
                let mut whole = columns.part(BLOCK, all.details.is_some());
                self.outcome.write(&entries, &mut whole);
                for row in 0..block.count {
                    all.copy(block.first + row, &whole, row);
                }
            }
            if !tables {
                return;
            }
            std::mem::swap(&mut self.lookup, &mut block.lookup);
            for found in &mut self.found {
                found.len = 0;
            }
            self.found[depth] = List::all(block.count);
            kept = self.go_on(depth, block);
            from = depth + 1;
            self.usual = from;
        } else {
            let part = &mut all.part(block.first, block.count);
            self.pend(block, &mut pending, part);
            self.look_up(block, &mut pending);
        }
        let part = &mut all.part(block.first, block.count);
        loop {
            // What is put into a slot meanwhile can take the place of what somebody found
            // there: they come again.
            for depth in from..self.levels.len() {
                if kept {
                    self.still_found(depth, block, &mut pending);
                }
                kept = self.found[depth].len > 0 && self.level(depth, block, part);
            }
            if pending.len == 0 {
                break;
            }
            self.look_up(block, &mut pending);
            (from, kept) = (0, false);
        }
    }

    /// Lists the addresses that are in the root's span.
    #[inline(never)]
    fn pend(&self, block: &Block<'_>, pending: &mut List, part: &mut Part<'_>) {
        for (position, &inside) in block.inside[..block.count].iter().enumerate() {
            if inside != 0 {
                pending.push(position as u16);
            } else {
                part.set(position, &ended(Status::NonCanonical, 0));
            }
        }
    }

    /// Finds the deepest known table of each address that is pending.
    #[inline(always)]
    fn look_up(&mut self, block: &Block<'_>, pending: &mut List) {
        for depth in (1..self.levels.len()).rev() {
            let (level, found) = (&self.levels[depth], &mut self.found[depth]);
            found.len = 0;
            let mut rest = 0;
            for i in 0..pending.len {
                let position = pending.items[i];
                if level.has(block.offsets[usize::from(position)]) {
                    found.push(position);
                } else {
                    pending.items[rest] = position;
                    rest += 1;
                }
            }
            pending.len = rest;
        }
        self.found[0].len = pending.len;
        self.found[0].items[..pending.len].copy_from_slice(pending.items());
        pending.len = 0;
        let most = (0..self.levels.len()).max_by_key(|&depth| self.found[depth].len);
        self.usual = most.unwrap_or(0);
    }

    /// Takes the addresses off a depth's list whose table is not there any more.
    #[inline(never)]
    fn still_found(&mut self, depth: usize, block: &Block<'_>, pending: &mut List) {
        let (level, found) = (&self.levels[depth], &mut self.found[depth]);
        let mut rest = 0;
        for i in 0..found.len {
            let position = found.items[i];
            if level.has(block.offsets[usize::from(position)]) {
                found.items[rest] = position;
                rest += 1;
            } else {
                pending.push(position);
            }
        }
        found.len = rest;
    }

    /// Looks up the entries of a depth's list, and writes what they come to; true where some
    /// led to tables of the next depth.
    #[inline(always)]
    fn level(&mut self, depth: usize, block: &Block<'_>, part: &mut Part<'_>) -> bool {
        let found = &self.found[depth];
        let count = found.len;
        for (offset, &position) in self.lookup.offsets.iter_mut().zip(found.items()) {
            *offset = block.offsets[usize::from(position)];
        }
        // All are asked for before the first one is waited for.
        if !self.lookup.ask(&self.levels[depth], count, true) {
            // Only the root may be missing.
            for (&offset, &position) in self.lookup.offsets.iter().zip(found.items()) {
                self.left.push((offset, block.row(position)));
            }
            return false;
        }
        let entries = &mut self.entries[..count];
        self.lookup.places.read(entries);
        let tables = self
            .outcome
            .find(&self.translator.plan.depths[depth], entries);
        let mut columns = Columns::new();
        let mut compact = columns.part(count, part.details.is_some());
        self.outcome.write(
            &Looked {
                plan: self.translator.plan,
                depth,
                offsets: &self.lookup.offsets[..count],
                entries,
                inherited: &self.lookup.inherited[..count],
            },
            &mut compact,
        );
        for (i, &position) in found.items().iter().enumerate() {
            part.copy(usize::from(position), &compact, i);
        }
        tables && self.go_on(depth, block)
    }

    /// Finds the tables that entries of a depth's list, which was looked up last, lead to;
    /// true where there are any.
    #[inline(never)]
    fn go_on(&mut self, depth: usize, block: &Block<'_>) -> bool {
        let translator = self.translator;
        let mut some = false;
        let (above, below) = self.found.split_at_mut(depth + 1);
        let level = &mut self.levels[depth + 1];
        for (i, &position) in above[depth].items().iter().enumerate() {
            if !self.outcome.is_table(i) {
                continue;
            }
            let offset = self.lookup.offsets[i];
            let above = (self.entries[i], self.lookup.inherited[i]);
            // Another address of the block may have led there.
            if !level.has(offset) && !keep(translator, level, depth, offset, above) {
                self.left.push((offset, block.row(position)));
                continue;
            }
            below[0].push(position);
            some = true;
        }
        some
    }
}

/// Keeps the table that an entry of a depth leads to, for which the path state above its own
/// table is given; false where it leads to none, or to one that is not fit.
fn keep<'a>(
    translator: &Translator<'a>,
    level: &mut Level<'a>,
    depth: usize,
    offset: u64,
    (entry, path): (u64, u8),
) -> bool {
    let place = Place {
        path,
        ..translator.top()
    };
    let Next::Table(next) = translator.next(&place, depth, offset, entry) else {
        return false;
    };
    let of = &translator.plan.depths[depth + 1];
    if !next.is_whole(of.entries()) {
        return false;
    }
    let Some(bytes) = translator.in_place(&next, of.format) else {
        return false;
    };
    level.keep(offset, &next, &Entries::new(bytes, of.format));
    true
}

/// Finds the addresses that are in a span.
#[inline(always)]
fn within(span: &Span, vas: &[u64], offsets: &mut [u64], inside: &mut [u8]) {
    let last = span.last - span.first;
    for ((&va, offset), inside) in vas.iter().zip(offsets).zip(inside) {
        let at = va.wrapping_sub(span.base);
        let is = at.wrapping_sub(span.first) <= last;
        *offset = if is { at } else { *offset };
        *inside |= u8::from(is);
    }
}
