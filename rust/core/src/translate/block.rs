//! Addresses a block at a time: from the deepest table that is known of each down to what
//! the tables say of it.

use super::cache::Level;
use super::ordered::Left;
use super::outcome::{Columns, Looked, Outcome};
use super::way::Next;
use super::{Part, Status, Translator};
use crate::entries::Entries;
use crate::plan::PlanDepth;
use crate::visit::Span;

/// Addresses of a block: enough reads in flight to hide memory's latency, few enough for
/// the nearest cache.
pub(super) const BLOCK: usize = 256;

/// Slots for tables of one depth: at least, and at most, which is 512 GiB of 4K pages.
const SLOTS: (usize, usize) = (1 << 8, 1 << 18);
/// Addresses to a slot: fewer do not meet as many tables.
const SHARING: usize = 16;

/// Translates blocks of addresses.
pub(super) struct Blocks<'t, 'a> {
    translator: &'t Translator<'a>,
    /// Tables that were met, by depth.
    levels: Vec<Level<'a>>,
    /// By depth: the addresses of the block whose deepest known table is there.
    found: Vec<List>,
    /// Addresses that are left for the end.
    left: Vec<Left>,
    offsets: [u64; BLOCK],
    /// Of those that a table is looked up for.
    asked: [u64; BLOCK],
    slots: [u32; BLOCK],
    indexes: [u32; BLOCK],
    entries: [u64; BLOCK],
    inherited: [u8; BLOCK],
    outcome: Outcome,
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

impl<'t, 'a> Blocks<'t, 'a> {
    /// For about `count` addresses.
    pub(super) fn new(translator: &'t Translator<'a>, count: usize) -> Self {
        let slots = (count / SHARING)
            .next_power_of_two()
            .clamp(SLOTS.0, SLOTS.1);
        let depths = &translator.plan.depths;
        let above = std::iter::once(None).chain(depths.iter().map(Some));
        let mut levels: Vec<Level<'a>> = depths
            .iter()
            .zip(above)
            .map(|(of, above)| Level::new(of, above, slots))
            .collect();
        let (root, format) = (translator.top(), depths[0].format);
        if let Some(bytes) = translator.in_place(&root, format) {
            levels[0].keep(0, &root, &Entries::new(bytes, format));
        }
        Self {
            translator,
            levels,
            found: depths.iter().map(|_| List::new()).collect(),
            left: Vec::new(),
            offsets: [0; BLOCK],
            asked: [0; BLOCK],
            slots: [0; BLOCK],
            indexes: [0; BLOCK],
            entries: [0; BLOCK],
            inherited: [0; BLOCK],
            outcome: Outcome::new(),
        }
    }

    /// What was not translated.
    pub(super) fn left(self) -> Vec<Left> {
        self.left
    }

    /// Translates the addresses from `first` on, as many as there is room for.
    #[inline(always)]
    pub(super) fn translate(&mut self, vas: &Entries<'_>, first: usize, part: &mut Part<'_>) {
        let count = part.pa.len();
        let mut done = 0;
        while done < count {
            let len = BLOCK.min(count - done);
            let mut copy = [0; BLOCK];
            vas.copy(first + done, &mut copy[..len]);
            self.block(&copy[..len], done as u32, &mut part.part(done, len));
            done += len;
        }
    }

    /// Translates a block, whose first address is number `first` of those that this
    /// translates.
    #[inline(always)]
    fn block(&mut self, vas: &[u64], first: u32, part: &mut Part<'_>) {
        let mut pending = List::new();
        self.find_offsets(vas, &mut pending, part);
        while pending.len > 0 {
            self.look_up(&mut pending);
            // What is put into a slot meanwhile can take the place of what somebody found
            // there: they come again.
            pending.len = 0;
            let mut kept = false;
            for depth in 0..self.levels.len() {
                if kept {
                    self.still_found(depth, &mut pending);
                }
                // Without that a list of the whole block is in order.
                let whole = !kept && self.found[depth].len == vas.len();
                kept = self.found[depth].len > 0 && self.level(depth, first, whole, part);
            }
        }
    }

    /// Finds out where the addresses are in the root's span; `pending`: those that are in
    /// it.
    #[inline(always)]
    fn find_offsets(&mut self, vas: &[u64], pending: &mut List, part: &mut Part<'_>) {
        let offsets = &mut self.offsets[..vas.len()];
        let mut inside = [0; BLOCK];
        let inside = &mut inside[..vas.len()];
        // The first span that has an address counts.
        for span in self.translator.spans.iter().rev() {
            within(span, vas, offsets, inside);
        }
        if inside.iter().fold(u8::MAX, |all, &one| all & one) != 0 {
            for (position, item) in pending.items[..vas.len()].iter_mut().enumerate() {
                *item = position as u16;
            }
            pending.len = vas.len();
            return;
        }
        for (position, &inside) in inside.iter().enumerate() {
            if inside != 0 {
                pending.push(position as u16);
            } else {
                part.set(position, &super::way::ended(Status::NonCanonical, 0));
            }
        }
    }

    /// Finds the deepest known table of each address that is pending.
    #[inline(always)]
    fn look_up(&mut self, pending: &mut List) {
        for depth in (1..self.levels.len()).rev() {
            let (level, found) = (&self.levels[depth], &mut self.found[depth]);
            found.len = 0;
            let mut rest = 0;
            for i in 0..pending.len {
                let position = pending.items[i];
                if level.has(self.offsets[usize::from(position)]) {
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
    }

    /// Takes the addresses off a depth's list whose table is not there any more.
    #[inline(never)]
    fn still_found(&mut self, depth: usize, pending: &mut List) {
        let (level, found) = (&self.levels[depth], &mut self.found[depth]);
        let mut rest = 0;
        for i in 0..found.len {
            let position = found.items[i];
            if level.has(self.offsets[usize::from(position)]) {
                found.items[rest] = position;
                rest += 1;
            } else {
                pending.push(position);
            }
        }
        found.len = rest;
    }

    /// Looks up the entries of a depth's list, and writes what they come to; true where some
    /// led to tables of the next depth that were not known. `whole`: the list is the block, in
    /// order.
    #[inline(always)]
    fn level(&mut self, depth: usize, first: u32, whole: bool, part: &mut Part<'_>) -> bool {
        let of: &PlanDepth = &self.translator.plan.depths[depth];
        let level = &self.levels[depth];
        let found = &self.found[depth];
        let count = found.len;
        if depth == 0 && !level.has(0) {
            for &position in found.items() {
                let row = first + u32::from(position);
                self.left.push((self.offsets[usize::from(position)], row));
            }
            return false;
        }
        let asked = &mut self.asked[..count];
        if whole {
            asked.copy_from_slice(&self.offsets[..count]);
        } else {
            for (asked, &position) in asked.iter_mut().zip(found.items()) {
                *asked = self.offsets[usize::from(position)];
            }
        }
        let slots = &mut self.slots[..count];
        level.slots(asked, slots);
        let indexes = &mut self.indexes[..count];
        for (index, offset) in indexes.iter_mut().zip(&*asked) {
            *index = (offset >> of.shift) as u32;
        }
        // All are asked for before the first one is waited for.
        level.tables().prefetch(slots, indexes);
        let inherited = &mut self.inherited[..count];
        if part.details.is_some() || depth + 1 < self.levels.len() {
            level.inherited(slots, inherited);
        }
        let entries = &mut self.entries[..count];
        level.tables().gather(slots, indexes, entries);
        let tables = self.outcome.find(of, entries);
        let entries = Looked {
            plan: self.translator.plan,
            depth,
            offsets: asked,
            entries,
            inherited,
        };
        if whole {
            self.outcome.write(&entries, part);
        } else {
            let mut columns = Columns::new();
            let mut compact = columns.part(count, part.details.is_some());
            self.outcome.write(&entries, &mut compact);
            for (i, &position) in found.items().iter().enumerate() {
                part.copy(usize::from(position), &compact, i);
            }
        }
        tables && self.go_on(depth, first)
    }

    /// Finds the tables that entries of a depth's list lead to; true where there are any.
    #[inline(never)]
    fn go_on(&mut self, depth: usize, first: u32) -> bool {
        let translator = self.translator;
        let mut some = false;
        let (above, below) = self.found.split_at_mut(depth + 1);
        let level = &mut self.levels[depth + 1];
        for (i, &position) in above[depth].items().iter().enumerate() {
            if !self.outcome.is_table(i) {
                continue;
            }
            let offset = self.asked[i];
            // Another address of the block may have led there.
            if !level.has(offset) {
                let mut place = translator.top();
                place.path = self.inherited[i];
                let Next::Table(next) = translator.next(&place, depth, offset, self.entries[i])
                else {
                    continue;
                };
                let of = &translator.plan.depths[depth + 1];
                let bytes = next
                    .is_whole(of.entries())
                    .then(|| translator.in_place(&next, of.format));
                match bytes.flatten() {
                    Some(bytes) => level.keep(offset, &next, &Entries::new(bytes, of.format)),
                    None => {
                        self.left.push((offset, first + u32::from(position)));
                        continue;
                    }
                }
            }
            below[0].push(position);
            some = true;
        }
        some
    }
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
