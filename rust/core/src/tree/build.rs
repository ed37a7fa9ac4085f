//! Reading and scanning the tables of a depth, and numbering those of the next.

use super::blocks::Blocks;
use super::runs::{Run, bits, end_changes, join, last_bit, next_end, stretch};
use super::tally::Tally;
use super::{
    ABSENT, CHUNK, Chunk, Control, Level, Node, Options, Reference, Source, UNIFORM, descent,
    high_index, node_runs, source_entries,
};
use crate::addr::Pa;
use crate::entries::Entries;
use crate::error::WalkError;
use crate::image::{PhysicalMemory, RawBytes, ReadError, is_resident, will_need};
use crate::memory::Buffer;
use crate::plan::{Action, Label, Plan, PlanDepth, leaf_address};
use crate::scan::{Isa, Scan, Work, prefetch};
use crate::spec::Pairs;
use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Gives each different table of `references` a node, in order of address, and its
/// number to every slot that refers to it.
pub(super) fn number<'a>(references: &mut [Reference], slots: &mut [u32]) -> Buffer<Node<'a>> {
    // Direct maps come sorted; anything else is worth the threads.
    if !references.is_sorted() {
        references.par_sort_unstable();
    }
    let unique = references.chunk_by(|a, b| a.table() == b.table()).count();
    let mut nodes = Buffer::with_capacity(unique);
    let mut previous = None;
    for reference in references.iter() {
        if previous != Some(reference.table()) {
            previous = Some(reference.table());
            nodes.push(Node {
                pa: reference.pa,
                source: Source::Absent,
                first_entry: 0,
                last_entry: 0,
                first: 0,
                last: 0,
                low: reference.low,
                high: reference.high,
                child: 0,
                bitmap: UNIFORM,
                atoms: UNIFORM,
                rows: UNIFORM,
                leaves: 0,
                others: 0,
                breaks: 0,
                irregular: false,
                flat: true,
            });
        }
        slots[reference.slot as usize] = (nodes.len() - 1) as u32;
    }
    nodes
}

/// Scans the tables of a depth; returns them and the nodes of the next depth.
pub(super) fn scan_level<'a>(
    plan: &'a Plan,
    depth: usize,
    image: &'a dyn PhysicalMemory,
    mut nodes: Buffer<Node<'a>>,
    options: Options,
    control: &Control,
    damage: &mut Vec<ReadError>,
) -> Result<(Level<'a>, Buffer<Node<'a>>), WalkError> {
    let scan = Scan::new(
        options.isa,
        plan.depths[depth].format,
        plan.depths[depth].masks,
    );
    let of = &plan.depths[depth];
    let keeps = options.keep_rows && of.distinct && !plan.is_separate();
    // Two bitmaps a table, and its rows if they are kept.
    let bitmaps = 2 * of.entries().div_ceil(64);
    let each = CHUNK.min(nodes.len()) * (bitmaps + if keeps { of.entries() } else { 0 });
    let work = ChunkScan {
        blocks: Blocks::new(each, nodes.len().div_ceil(CHUNK) * each),
        block_words: each,
        plan,
        depth,
        image,
        isa: options.isa,
        scan,
        room: AtomicUsize::new(if keeps { ROWS_KEPT / 8 } else { 0 }),
    };
    let mut chunks: Vec<Chunk> = nodes
        .par_chunks_mut(CHUNK)
        .map(|nodes| {
            control.check()?;
            let chunk = work.run(nodes);
            control.tables.fetch_add(nodes.len() as u64, Relaxed);
            Ok(chunk)
        })
        .collect::<Result<_, WalkError>>()?;
    let mut child_bases = Vec::with_capacity(chunks.len());
    let count = chunks.iter().map(|chunk| chunk.children.len()).sum();
    let mut children = Vec::with_capacity(count);
    let mut references = Buffer::with_capacity(count);
    for chunk in &mut chunks {
        let base = children.len();
        child_bases.push(base);
        children.append(&mut chunk.children);
        for reference in &chunk.references {
            references.push(Reference {
                slot: reference.slot + base as u32,
                ..*reference
            });
        }
        chunk.children = Vec::new();
        chunk.references = Vec::new();
        damage.append(&mut chunk.damage);
    }
    let next = number(&mut references, &mut children);
    Ok((
        Level {
            nodes,
            chunks,
            blocks: work.blocks.finish(),
            child_bases,
            children,
        },
        next,
    ))
}

/// Tables that are read one right after the other: as many as the nearest cache has room
/// for, which holds them until it is known what they have.
const GROUP: usize = 8;

/// How many tables ahead one is asked for while another is read.
const AHEAD: usize = 2;

/// Bytes of rows' first entries that are kept at a depth. More of them would speed up walks
/// of more than some hundred MiB of tables, but nodes and bitmaps take 6 % of those.
const ROWS_KEPT: usize = 16 << 20;

/// What scanning a chunk of tables needs.
struct ChunkScan<'a> {
    plan: &'a Plan,
    depth: usize,
    image: &'a dyn PhysicalMemory,
    isa: Isa,
    scan: Scan,
    blocks: Blocks,
    /// What a chunk may need of a block.
    block_words: usize,
    /// How many rows' first entries may still be kept.
    room: AtomicUsize,
}

impl<'a> ChunkScan<'a> {
    fn run(&self, nodes: &mut [Node<'a>]) -> Chunk {
        let depth = &self.plan.depths[self.depth];
        let mut chunk = Chunk::default();
        let room = self.room.load(Relaxed);
        chunk.room = room;
        let mut words;
        (chunk.block, words) = self.blocks.take(self.block_words);
        for node in nodes.iter_mut() {
            node.source = self.locate(node, depth, &mut chunk);
        }
        read_ahead(nodes);
        let mut scratch = Scratch::new(depth);
        let copies = std::mem::take(&mut chunk.copies);
        let mut present = Presence {
            image: self.image,
            known: (1, 0),
        };
        let map = depth.entries().div_ceil(64);
        let mut ends = vec![0; GROUP * map];
        let mut jumps = vec![0; GROUP * map];
        let mut uniform = [false; GROUP];
        for first in (0..nodes.len()).step_by(GROUP) {
            let group = first..nodes.len().min(first + GROUP);
            // The first byte of each table of the next group, so that where they are in
            // memory is found out for all of them at once.
            for node in nodes.iter().take(first + 2 * GROUP).skip(first + GROUP) {
                if let Source::InPlace(bytes) = node.source {
                    prefetch(bytes.as_ptr(), 1);
                }
            }
            // All of a group are read before anything is made of them, so that the
            // processor has the next table to read while it waits for this one.
            for i in group.clone() {
                let Some(entries) = source_entries(depth, nodes[i].source, &copies) else {
                    continue;
                };
                let ahead = nodes
                    .get(i + AHEAD)
                    .and_then(|next| source_entries(depth, next.source, &copies))
                    .unwrap_or(entries);
                let place = (i - first) * map;
                uniform[i - first] = self.scan.run(
                    &entries,
                    &ahead,
                    &mut ends[place..place + map],
                    &mut jumps[place..place + map],
                );
            }
            for i in group {
                let node = &mut nodes[i];
                let Some(entries) = source_entries(depth, node.source, &copies) else {
                    continue;
                };
                if node.low > node.high {
                    continue;
                }
                node.child = chunk.children.len() as u32;
                if uniform[i - first] && !self.needs_settling(node, &entries) {
                    self.note_uniform(node, &entries, &mut chunk, &mut present);
                    continue;
                }
                let place = (i - first) * map;
                let ends = &mut ends[place..place + map];
                let jumps = &jumps[place..place + map];
                self.sift(node, &entries, ends, jumps, &mut scratch);
                self.note_mixed(
                    node,
                    &entries,
                    ends,
                    &mut scratch,
                    &mut words,
                    &mut chunk,
                    &mut present,
                );
            }
        }
        chunk.copies = copies;
        self.blocks.give(chunk.block, words);
        // Chunks that are scanned at the same time may each take what is left; there are
        // no more of them than threads.
        let taken = room - chunk.room;
        let _ = self
            .room
            .fetch_update(Relaxed, Relaxed, |room| Some(room.saturating_sub(taken)));
        chunk
    }

    fn locate(&self, node: &Node<'_>, depth: &PlanDepth, chunk: &mut Chunk) -> Source<'a> {
        let (pa, len) = (node.pa, depth.table_bytes());
        if depth.pairs.is_none()
            && let Some(bytes) = self.image.in_place(Pa(pa), len)
        {
            return Source::InPlace(bytes);
        }
        let offset = chunk.copies.len();
        chunk.copies.resize(offset + len, 0);
        let copy = &mut chunk.copies[offset..];
        let mut outcome = self.image.read(Pa(pa), copy);
        if matches!(outcome, Err(ReadError::Absent { .. }))
            && (node.low, node.high) != (0, high_index(depth))
        {
            // Only what the parent's length leaves of the table has to be there.
            copy.fill(0);
            let size = len / depth.entries();
            let first = usize::from(node.low) * size;
            let after = (usize::from(node.high) + 1) * size;
            outcome = match copy.get_mut(first..after) {
                Some(part) if !part.is_empty() => {
                    self.image.read(Pa(pa.wrapping_add(first as u64)), part)
                }
                _ => Ok(()),
            };
        }
        match outcome {
            Ok(()) => {
                if let Some(pairs) = depth.pairs {
                    settle_pairs(depth, pairs, &mut chunk.copies[offset..]);
                }
                Source::Copied(offset as u32)
            }
            Err(error) => {
                chunk.copies.truncate(offset);
                if !matches!(error, ReadError::Absent { .. }) {
                    chunk.damage.push(error);
                }
                Source::Absent
            }
        }
    }

    /// Takes down what a table of one run has.
    fn note_uniform(
        &self,
        node: &mut Node<'a>,
        entries: &Entries<'_>,
        chunk: &mut Chunk,
        present: &mut Presence<'_>,
    ) {
        let depth = &self.plan.depths[self.depth];
        let (low, high) = (usize::from(node.low), usize::from(node.high));
        let entry = entries.get(low);
        match depth.action(entry) {
            Action::Gap => {}
            Action::Atom(atom) => {
                let count = (high - low + 1) as u32;
                if atom.label == Label::Other {
                    node.others = count;
                } else {
                    node.leaves = count;
                }
                node.breaks = if self.plan.is_separate() {
                    count - 1
                } else {
                    0
                };
                (node.first, node.first_entry) = (node.low, entry);
                (node.last, node.last_entry) = (node.high, entries.get(high));
            }
            Action::Table(_) => {
                node.flat = false;
                for index in low..=high {
                    self.note_table(entries.get(index), chunk, present);
                }
            }
        }
    }

    /// Takes down what a table has, while it is in the cache.
    #[allow(clippy::too_many_arguments)]
    fn note_mixed(
        &self,
        node: &mut Node<'a>,
        entries: &Entries<'_>,
        ends: &[u64],
        scratch: &mut Scratch,
        words: &mut Buffer<u64>,
        chunk: &mut Chunk,
        present: &mut Presence<'_>,
    ) {
        let depth = &self.plan.depths[self.depth];
        let Scratch {
            atoms,
            others,
            tables,
            rows: kept,
            ..
        } = scratch;
        node.bitmap = words.len() as u32;
        words.extend_from_slice(ends);
        node.flat = tables.iter().all(|&word| word == 0);
        if depth.distinct {
            self.isa.run(CountBits {
                node,
                entries,
                ends,
                atoms,
                others,
                separate: self.plan.is_separate(),
            });
            let existing = usize::from(node.high) - usize::from(node.low) + 1;
            if node.breaks > 0 && (node.leaves + node.others) as usize != existing {
                node.atoms = words.len() as u32;
                words.extend_from_slice(atoms);
            }
            let rows = node.breaks as usize + 1;
            if node.flat && (2..=chunk.room).contains(&rows) {
                chunk.room -= rows;
                kept.clear();
                self.isa.run(KeepRows {
                    low: node.low.into(),
                    entries,
                    ends,
                    atoms,
                    out: kept,
                });
                node.rows = words.len() as u32;
                words.extend_from_slice(kept);
            }
        } else {
            let mut tally = Tally::default();
            for run in node_runs(depth, node, words) {
                tally.run(self.plan, depth, entries, run, 0);
            }
            tally.store(node);
        }
        if !node.flat {
            for index in bits(tables) {
                self.note_table(entries.get(index), chunk, present);
            }
        }
    }

    /// Lets runs end before and after leaves at marked addresses.
    fn settle_marks(&self, entries: &Entries<'_>, run: Run, ends: &mut [u64]) {
        if self.plan.marks().is_empty() {
            return;
        }
        let mut start = run.start;
        while start <= run.last {
            let last = next_end(ends, start).min(run.last);
            for index in self.marked(entries, Run { start, last }) {
                for end in [index.checked_sub(1), Some(index)].into_iter().flatten() {
                    if (start..last).contains(&end) {
                        ends[end / 64] |= 1 << (end % 64);
                    }
                }
            }
            start = last + 1;
        }
    }

    /// Tells which entries of a table are what, and turns what the scan compared into
    /// where runs end: takes jumps for leaves only, and adds changes of a rule that
    /// reads what was not compared.
    fn sift(
        &self,
        node: &Node<'_>,
        entries: &Entries<'_>,
        ends: &mut [u64],
        jumps: &[u64],
        scratch: &mut Scratch,
    ) {
        let depth = &self.plan.depths[self.depth];
        let Scratch {
            atoms,
            others,
            tables,
            free,
            hits,
            ..
        } = scratch;
        let (low, high) = (usize::from(node.low), usize::from(node.high));
        for (word, free) in free.iter_mut().enumerate() {
            *free = stretch(word, low, high);
        }
        atoms.fill(0);
        others.fill(0);
        tables.fill(0);
        ends[high / 64] |= 1 << (high % 64);
        for (number, rule) in depth.rules.iter().enumerate() {
            let (mask, value) = rule.test();
            if mask == 0 {
                hits.copy_from_slice(free);
            } else {
                self.scan.sift(entries, mask, value, hits);
            }
            let mut left = 0;
            for (hits, free) in hits.iter_mut().zip(free.iter_mut()) {
                *hits &= *free;
                *free &= !*hits;
                left |= *free;
            }
            if !depth.refine.is_empty() {
                end_changes(hits, ends);
            }
            match &rule.action {
                Action::Gap => {}
                Action::Table(_) => join(tables, hits),
                Action::Atom(atom) => {
                    join(atoms, hits);
                    if atom.label == Label::Other {
                        join(others, hits);
                    }
                    if atom.label == Label::Leaf && self.plan.compares_addresses() {
                        if depth.stepped == Some(number) {
                            for ((ends, jumps), hits) in ends.iter_mut().zip(jumps).zip(&*hits) {
                                *ends |= jumps & hits;
                            }
                        } else {
                            join(ends, hits);
                        }
                    }
                }
            }
            if left == 0 {
                break;
            }
        }
        let whole = Run {
            start: low,
            last: high,
        };
        self.settle_marks(entries, whole, ends);
    }

    fn note_table(&self, entry: u64, chunk: &mut Chunk, present: &mut Presence<'_>) {
        let (pa, _, walked) = descent(self.plan, &self.plan.depths[self.depth], entry);
        if walked {
            self.refer(
                entry,
                pa,
                &mut chunk.children,
                &mut chunk.references,
                present,
            );
        }
    }

    fn refer(
        &self,
        entry: u64,
        pa: u64,
        children: &mut Vec<u32>,
        references: &mut Vec<Reference>,
        present: &mut Presence<'_>,
    ) {
        let next = &self.plan.depths[self.depth + 1];
        let slot = children.len() as u32;
        children.push(ABSENT);
        let (low, high) = match self.plan.depths[self.depth].length {
            None => (0, high_index(next)),
            Some(length) => {
                let first = length.first.of(entry);
                let last = length.last.of(entry).wrapping_add(length.last_add);
                let high = u64::from(high_index(next));
                // An empty range is written as 1 .. 0.
                if first > last.min(high) {
                    (1, 0)
                } else {
                    (first as u16, last.min(high) as u16)
                }
            }
        };
        let size = (next.table_bytes() / next.entries()) as u64;
        if low <= high && !present.at(pa.wrapping_add(u64::from(low) * size)) {
            return;
        }
        references.push(Reference {
            pa,
            low,
            high,
            slot,
        });
    }

    /// True where the entries of a uniform table have to be looked at one by one.
    fn needs_settling(&self, node: &Node<'_>, entries: &Entries<'_>) -> bool {
        let depth = &self.plan.depths[self.depth];
        let whole = Run {
            start: node.low.into(),
            last: node.high.into(),
        };
        let entry = entries.get(whole.start);
        let refined = depth
            .refine
            .iter()
            .any(|&(mask, value)| entry & mask == value);
        refined || self.unstepped(entry) || self.marked(entries, whole).next().is_some()
    }

    /// The entries of a run of leaves one after the other that are at marked addresses.
    fn marked(&self, entries: &Entries<'_>, run: Run) -> impl Iterator<Item = usize> {
        let depth = &self.plan.depths[self.depth];
        let entry = entries.get(run.start);
        let first = match depth.action(entry) {
            Action::Atom(atom) if atom.label == Label::Leaf => {
                Some(leaf_address(depth, atom, run.start, entry))
            }
            _ => None,
        };
        self.plan.marks().iter().filter_map(move |mark| {
            let offset = mark.wrapping_sub(first?);
            let index = usize::try_from(offset >> depth.shift).ok()?;
            let there = offset & (depth.span() - 1) == 0 && index < run.count();
            there.then_some(run.start + index)
        })
    }

    /// True for leaves that the scan's address test does not hold for.
    fn unstepped(&self, entry: u64) -> bool {
        let depth = &self.plan.depths[self.depth];
        if !self.plan.compares_addresses() {
            return false;
        }
        let rule = depth.rule(entry);
        let leaf = depth.is_leaf(entry);
        leaf && depth.stepped != Some(rule)
    }
}

/// Counts the rows of a table by the ends of runs, where each run of atoms is one.
struct CountBits<'r, 'n, 'e> {
    node: &'r mut Node<'n>,
    entries: &'r Entries<'e>,
    ends: &'r [u64],
    atoms: &'r [u64],
    /// The atoms of kind other.
    others: &'r [u64],
    /// Each atom is a row.
    separate: bool,
}

impl Work for CountBits<'_, '_, '_> {
    #[inline(always)]
    fn run(self) {
        let Self {
            node,
            entries,
            ends,
            atoms,
            others,
            separate,
        } = self;
        let (mut count, mut of_other, mut rows) = (0, 0, 0);
        for ((&ends, &atoms), &others) in ends.iter().zip(atoms).zip(others) {
            count += atoms.count_ones();
            of_other += others.count_ones();
            rows += (ends & atoms).count_ones();
        }
        if count == 0 {
            return;
        }
        if separate {
            rows = count;
        }
        node.leaves = count - of_other;
        node.others = of_other;
        node.breaks = rows - 1;
        let first = bits(atoms).next().unwrap_or(0);
        let last = last_bit(atoms);
        (node.first, node.first_entry) = (first as u16, entries.get(first));
        (node.last, node.last_entry) = (last as u16, entries.get(last));
    }
}

/// Adds the first entry of each row of a flat table to `out`.
struct KeepRows<'r, 'e> {
    /// The first entry that exists.
    low: usize,
    entries: &'r Entries<'e>,
    ends: &'r [u64],
    atoms: &'r [u64],
    out: &'r mut Vec<u64>,
}

impl Work for KeepRows<'_, '_> {
    #[inline(always)]
    fn run(self) {
        // What lies before the first entry that exists ends there.
        let mut ended = 1;
        let words = self.ends.iter().zip(self.atoms).enumerate();
        for (word, (&ends, &atoms)) in words.skip(self.low / 64) {
            let mut starts = ends << 1 | ended;
            if word == self.low / 64 {
                starts |= 1 << (self.low % 64);
            }
            ended = ends >> 63;
            self.entries.select(word * 64, starts & atoms, self.out);
        }
    }
}

/// Has tables that are not in memory read from the disk, all at once and only they: a
/// page fault waits for one, and brings in what lies around it. Asking is not free, so a
/// few of the tables tell for all of them.
fn read_ahead(nodes: &[Node<'_>]) {
    fn in_place<'a>(node: &Node<'a>) -> Option<RawBytes<'a>> {
        match node.source {
            Source::InPlace(bytes) => Some(bytes),
            _ => None,
        }
    }
    let mut asked = nodes.iter().step_by(CHUNK / 4).filter_map(in_place);
    if asked.all(is_resident) {
        return;
    }
    for bytes in nodes.iter().filter_map(in_place) {
        will_need(bytes);
    }
}

/// Bitmaps of one table, used for one after the other.
struct Scratch {
    /// Entries that are atoms; those of them of kind other; entries of kind table.
    atoms: Vec<u64>,
    others: Vec<u64>,
    tables: Vec<u64>,
    /// Entries that no rule has matched so far, and those that the last one did.
    free: Vec<u64>,
    hits: Vec<u64>,
    /// The first entry of each row.
    rows: Vec<u64>,
}

impl Scratch {
    fn new(depth: &PlanDepth) -> Self {
        let map = || vec![0; depth.entries().div_ceil(64)];
        Self {
            atoms: map(),
            others: map(),
            tables: map(),
            free: map(),
            hits: map(),
            rows: Vec::new(),
        }
    }
}

/// Puts what the dumper takes for the second entry of each pair in its place.
fn settle_pairs(depth: &PlanDepth, pairs: Pairs, table: &mut [u8]) {
    let size = depth.format.bytes;
    for pair in table.chunks_exact_mut(2 * size) {
        let (first, second) = {
            let entries = Entries::new(RawBytes::from_slice(pair), depth.format);
            (entries.get(0), entries.get(1))
        };
        if second & pairs.mask == pairs.value {
            continue;
        }
        let entry = match depth.action(first) {
            Action::Table(_) => first.wrapping_add(pairs.step),
            _ => pairs.nothing,
        };
        let bytes = if depth.format.big_endian {
            &entry.to_be_bytes()[8 - size..]
        } else {
            &entry.to_le_bytes()[..size]
        };
        pair[size..].copy_from_slice(bytes);
    }
}

/// Whether the image says anything of an address, remembering the last segment.
struct Presence<'a> {
    image: &'a dyn PhysicalMemory,
    /// First and last address of the segment that was looked at last; first > last:
    /// none was.
    known: (u64, u64),
}

impl Presence<'_> {
    #[inline]
    fn at(&mut self, pa: u64) -> bool {
        if (self.known.0..=self.known.1).contains(&pa) {
            return true;
        }
        let segments = self.image.segments();
        let after = segments.partition_point(|segment| segment.pa.0 <= pa);
        let Some(segment) = after.checked_sub(1).map(|i| segments[i]) else {
            return false;
        };
        if pa - segment.pa.0 >= segment.len {
            return false;
        }
        self.known = (segment.pa.0, segment.pa.0 + (segment.len - 1));
        true
    }
}
