//! The unique tables below some roots, each read and scanned once.
//!
//! Depth by depth: the tables that the depth above points to are sorted by physical
//! address and made unique, then read in that order, over threads, the next one
//! prefetched while this one is compared. What is kept of a table is where its runs
//! end (a bitmap, or nothing where it is one run) and what joining it to its
//! neighbours needs; values are read again when they are wanted.

use crate::addr::Pa;
use crate::entries::Entries;
use crate::error::WalkError;
use crate::image::{PhysicalMemory, RawBytes, ReadError};
use crate::plan::{Action, Edge, Label, Plan, PlanDepth, leaf_address};
use crate::scan::{Isa, Scan};
use crate::spec::Pairs;
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// A child slot whose table is not in the image.
const ABSENT: u32 = u32::MAX;
/// A table that is one run has no bitmap.
const UNIFORM: u32 = u32::MAX;
/// Tables that a thread takes at a time: enough to make the hand-over cheap, few
/// enough to balance skewed trees.
const CHUNK: usize = 256;

/// What others see and say of a walk while it runs.
#[derive(Debug, Default)]
pub struct Control {
    /// Set to end the walk early.
    pub cancel: AtomicBool,
    /// Tables scanned so far.
    pub tables: AtomicU64,
    /// Rows written so far.
    pub rows: AtomicU64,
}

impl Control {
    /// Fails once the walk was cancelled.
    ///
    /// # Errors
    /// [`WalkError::Cancelled`].
    pub fn check(&self) -> Result<(), WalkError> {
        if self.cancel.load(Relaxed) {
            Err(WalkError::Cancelled)
        } else {
            Ok(())
        }
    }
}

/// How to walk, beside the plan.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Instruction set of the scan.
    pub isa: Isa,
}

/// Where a table's bytes are.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// Not in the image.
    Absent,
    /// In the image, to be read there.
    InPlace(RawBytes<'a>),
    /// Copied, at this offset of the chunk's copies.
    Copied(u32),
}

/// A unique table.
#[derive(Clone, Copy)]
struct Node<'a> {
    pa: u64,
    source: Source<'a>,
    /// The first entry of the first atom's run and the last entry of the last one's.
    first_entry: u64,
    last_entry: u64,
    /// Their indexes.
    first: u16,
    last: u16,
    /// The entries that exist, inclusive; more than u16 can say wraps (2^16 entries).
    low: u16,
    high: u16,
    /// First child, in the chunk's children.
    child: u32,
    /// Offset of the bitmap, in the chunk's words.
    bitmap: u32,
    leaves: u32,
    others: u32,
    /// Ends of rows inside, not counting the last one.
    breaks: u32,
    /// The breaks depend on the inherited path state and have to be counted anew.
    irregular: bool,
}

/// What the scan of a chunk of tables leaves beside the nodes.
#[derive(Default)]
struct Chunk {
    words: Vec<u64>,
    copies: Vec<u8>,
    children: Vec<u32>,
    references: Vec<Reference>,
    damage: Vec<ReadError>,
}

/// A table entry's target, until the tables of the next depth are numbered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Reference {
    pa: u64,
    low: u16,
    high: u16,
    slot: u32,
}

impl Reference {
    fn table(&self) -> (u64, u16, u16) {
        (self.pa, self.low, self.high)
    }
}

/// The tables of one depth.
struct Level<'a> {
    nodes: Vec<Node<'a>>,
    chunks: Vec<Chunk>,
    /// By chunk: where its children start in `children`.
    child_bases: Vec<usize>,
    /// Nodes of the next depth, in the order of the entries that point there.
    children: Vec<u32>,
}

/// The unique tables below some roots.
pub struct Tree<'a> {
    plan: &'a Plan,
    levels: Vec<Level<'a>>,
    /// Node of each root, in the order they were given.
    roots: Vec<u32>,
    damage: Vec<ReadError>,
}

/// A table of a [`Tree`]: depth and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Table {
    /// Its depth.
    pub depth: usize,
    /// Its number among those of that depth.
    pub node: u32,
}

/// A maximal stretch of a table's entries that one rule and one key fit.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Index of the first entry.
    pub start: usize,
    /// Index of the last one.
    pub last: usize,
}

impl Run {
    /// How many entries it has.
    #[inline]
    pub fn count(self) -> usize {
        self.last - self.start + 1
    }
}

/// The runs of a table, in order.
pub struct Runs<'t> {
    words: Option<&'t [u64]>,
    next: usize,
    last: usize,
}

impl Iterator for Runs<'_> {
    type Item = Run;

    #[inline]
    fn next(&mut self) -> Option<Run> {
        if self.next > self.last {
            return None;
        }
        let start = self.next;
        let last = self
            .words
            .map_or(self.last, |words| next_end(words, start).min(self.last));
        self.next = last + 1;
        Some(Run { start, last })
    }
}

/// Index of the first set bit from `from` on; past the end where there is none.
#[inline]
fn next_end(words: &[u64], from: usize) -> usize {
    let mut word = from / 64;
    let mut bits = words[word] & (!0 << (from % 64));
    while bits == 0 {
        word += 1;
        match words.get(word) {
            Some(&next) => bits = next,
            None => return words.len() * 64,
        }
    }
    word * 64 + bits.trailing_zeros() as usize
}

/// What a table entry leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Child {
    /// A table of the next depth.
    Table(Table),
    /// A table that is not in the image, at this address.
    Absent(u64),
}

/// What a table entry leads to, and the early-shadow note before it.
#[derive(Clone, Copy, Debug)]
pub struct Descent {
    /// It is noted as early shadow.
    pub shadow: bool,
    /// What is walked below; None where the note is all.
    pub child: Option<Child>,
}

impl<'a> Tree<'a> {
    /// Reads and scans all tables below `roots`.
    ///
    /// # Errors
    /// [`WalkError`]: cancelled, or the image changed.
    pub fn build(
        plan: &'a Plan,
        image: &'a dyn PhysicalMemory,
        roots: &[Pa],
        options: Options,
        control: &Control,
    ) -> Result<Self, WalkError> {
        let mut references: Vec<Reference> = roots
            .iter()
            .enumerate()
            .map(|(slot, root)| Reference {
                pa: root.0,
                low: 0,
                high: high_index(&plan.depths[0]),
                slot: slot as u32,
            })
            .collect();
        let mut slots = vec![0; roots.len()];
        let mut nodes = number(&mut references, &mut slots);
        let mut tree = Self {
            plan,
            levels: Vec::new(),
            roots: slots,
            damage: Vec::new(),
        };
        for depth in 0..plan.depths.len() {
            let level = scan_level(
                plan,
                depth,
                image,
                nodes,
                options,
                control,
                &mut tree.damage,
            )?;
            nodes = level.1;
            tree.levels.push(level.0);
            if image.changed() {
                return Err(WalkError::Changed);
            }
        }
        Ok(tree)
    }

    /// The plan it was built by.
    #[inline]
    pub fn plan(&self) -> &'a Plan {
        self.plan
    }

    /// The table of root number `root`.
    pub fn root(&self, root: usize) -> Table {
        Table {
            depth: 0,
            node: self.roots[root],
        }
    }

    /// How many unique tables there are at a depth.
    pub fn tables(&self, depth: usize) -> usize {
        self.levels[depth].nodes.len()
    }

    /// What could not be read although the image claims to have it.
    pub fn damage(&self) -> &[ReadError] {
        &self.damage
    }

    /// True for the last depth, whose tables point to no others.
    #[inline]
    pub fn is_last(&self, depth: usize) -> bool {
        depth + 1 == self.levels.len()
    }

    #[inline]
    fn node(&self, table: Table) -> &Node<'a> {
        &self.levels[table.depth].nodes[table.node as usize]
    }

    #[inline]
    fn chunk(&self, table: Table) -> &Chunk {
        &self.levels[table.depth].chunks[table.node as usize / CHUNK]
    }

    /// Where a table is.
    #[inline]
    pub fn pa(&self, table: Table) -> u64 {
        self.node(table).pa
    }

    /// True where the table could not be read.
    #[inline]
    pub fn is_absent(&self, table: Table) -> bool {
        matches!(self.node(table).source, Source::Absent)
    }

    /// The entries of a table; none where it is absent.
    #[inline]
    pub fn entries(&self, table: Table) -> Entries<'_> {
        let format = self.plan.depths[table.depth].format;
        source_entries(
            &self.plan.depths[table.depth],
            self.node(table).source,
            &self.chunk(table).copies,
        )
        .unwrap_or_else(|| Entries::new(RawBytes::from_slice(&[]), format))
    }

    /// The entries of a table that exist, as indexes of the first and the last one;
    /// first > last where none does.
    pub fn limits(&self, table: Table) -> (usize, usize) {
        let node = self.node(table);
        (node.low.into(), node.high.into())
    }

    /// The runs of a table; none where it is absent.
    #[inline]
    pub fn runs(&self, table: Table) -> Runs<'_> {
        let node = self.node(table);
        if matches!(node.source, Source::Absent) {
            return Runs {
                words: None,
                next: 1,
                last: 0,
            };
        }
        node_runs(
            &self.plan.depths[table.depth],
            node,
            &self.chunk(table).words,
        )
    }

    /// Leaves and other entries of a table itself.
    pub fn atoms(&self, table: Table) -> (u64, u64) {
        let node = self.node(table);
        (u64::from(node.leaves), u64::from(node.others))
    }

    /// Children of a table's entries of kind table, to be asked for in order.
    #[inline]
    pub fn children(&self, table: Table) -> Children<'_, 'a> {
        let level = &self.levels[table.depth];
        let slot = if self.is_last(table.depth) {
            0
        } else {
            level.child_bases[table.node as usize / CHUNK] + self.node(table).child as usize
        };
        Children {
            tree: self,
            depth: table.depth,
            slot,
        }
    }

    /// What a table of the last depth comes to below `inherited`: breaks, and its
    /// first and last atom. None where it has no atom.
    #[inline]
    pub fn leaf_edges(&self, table: Table, inherited: u8) -> Option<(u64, Edge, Edge)> {
        let node = self.node(table);
        if node.leaves + node.others == 0 {
            return None;
        }
        let depth = &self.plan.depths[table.depth];
        let (first, last) = (usize::from(node.first), usize::from(node.last));
        let edge = |index, entry| {
            let Action::Atom(atom) = depth.action(entry) else {
                return absent_edge(0, 0, 0, 0);
            };
            self.plan.edge(depth, atom, inherited, index, entry)
        };
        let breaks = if node.irregular {
            self.count_breaks(table, inherited)
        } else {
            node.breaks.into()
        };
        Some((
            breaks,
            edge(first, node.first_entry),
            edge(last, node.last_entry),
        ))
    }

    fn count_breaks(&self, table: Table, inherited: u8) -> u64 {
        let depth = &self.plan.depths[table.depth];
        let entries = self.entries(table);
        let mut tally = Tally::default();
        for run in self.runs(table) {
            tally.run(self.plan, depth, &entries, run, inherited);
        }
        tally.breaks
    }

    /// Path state that a table of the last depth leaves behind for early-shadow notes,
    /// where the dialect has them carry one.
    #[inline]
    pub fn stale_after(&self, table: Table, inherited: u8) -> Option<u8> {
        let notes = self.plan.notes.as_ref()?;
        let node = self.node(table);
        let last = self.plan.depths[table.depth].atom_state(node.last_entry);
        notes.shadow_path_stale.then_some(inherited | last)
    }
}

/// The edge of an absent table that spans `len` bytes.
pub fn absent_edge(at: u64, len: u64, pa: u64, level: u8) -> Edge {
    Edge {
        at,
        len,
        key: 0,
        pa,
        value: 0,
        path: 0,
        level,
        label: Label::Absent,
    }
}

/// See [`Tree::children`].
pub struct Children<'t, 'a> {
    tree: &'t Tree<'a>,
    depth: usize,
    slot: usize,
}

impl Children<'_, '_> {
    /// What the next entry of kind table, which is `entry`, leads to.
    #[inline]
    pub fn next(&mut self, entry: u64) -> Descent {
        let plan = self.tree.plan;
        let (pa, shadow, walked) = descent(plan, &plan.depths[self.depth], entry);
        if !walked {
            return Descent {
                shadow,
                child: None,
            };
        }
        // More entries lead to tables than when they were counted, if the image changed
        // meanwhile; the walk notices at its end.
        let children = &self.tree.levels[self.depth].children;
        let node = children.get(self.slot).copied().unwrap_or(ABSENT);
        self.slot += 1;
        let child = if node == ABSENT {
            Child::Absent(pa)
        } else {
            let table = Table {
                depth: self.depth + 1,
                node,
            };
            if self.tree.is_absent(table) {
                Child::Absent(pa)
            } else {
                Child::Table(table)
            }
        };
        Descent {
            shadow,
            child: Some(child),
        }
    }
}

/// Where a table entry points, whether that is early shadow, whether it is walked.
#[inline]
fn descent(plan: &Plan, depth: &PlanDepth, entry: u64) -> (u64, bool, bool) {
    let Action::Table(decode) = depth.action(entry) else {
        return (0, false, false);
    };
    let pa = decode.address(entry);
    match depth.early_shadow {
        Some(early) if pa >> plan.page_bits == early.pa >> plan.page_bits => {
            (pa, true, early.descends)
        }
        _ => (pa, false, true),
    }
}

fn high_index(depth: &PlanDepth) -> u16 {
    (depth.entries() - 1) as u16
}

fn source_entries<'t>(
    depth: &PlanDepth,
    source: Source<'t>,
    copies: &'t [u8],
) -> Option<Entries<'t>> {
    let bytes = match source {
        Source::Absent => return None,
        Source::InPlace(bytes) => bytes,
        Source::Copied(offset) => {
            RawBytes::from_slice(&copies[offset as usize..offset as usize + depth.table_bytes()])
        }
    };
    Some(Entries::new(bytes, depth.format))
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

fn node_runs<'t>(depth: &PlanDepth, node: &Node<'_>, words: &'t [u64]) -> Runs<'t> {
    let words = (node.bitmap != UNIFORM).then(|| {
        let first = node.bitmap as usize;
        &words[first..first + depth.entries().div_ceil(64)]
    });
    Runs {
        words,
        next: node.low.into(),
        last: node.high.into(),
    }
}

/// Gives each different table of `references` a node, in order of address, and its
/// number to every slot that refers to it.
fn number<'a>(references: &mut [Reference], slots: &mut [u32]) -> Vec<Node<'a>> {
    // Direct maps come sorted; anything else is worth the threads.
    if !references.is_sorted() {
        references.par_sort_unstable();
    }
    let mut nodes: Vec<Node<'a>> = Vec::new();
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
                leaves: 0,
                others: 0,
                breaks: 0,
                irregular: false,
            });
        }
        slots[reference.slot as usize] = (nodes.len() - 1) as u32;
    }
    nodes
}

/// Scans the tables of a depth; returns them and the nodes of the next depth.
fn scan_level<'a>(
    plan: &'a Plan,
    depth: usize,
    image: &'a dyn PhysicalMemory,
    mut nodes: Vec<Node<'a>>,
    options: Options,
    control: &Control,
    damage: &mut Vec<ReadError>,
) -> Result<(Level<'a>, Vec<Node<'a>>), WalkError> {
    let scan = Scan::new(
        options.isa,
        plan.depths[depth].format,
        plan.depths[depth].masks,
    );
    let work = ChunkScan {
        plan,
        depth,
        image,
        scan,
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
    let mut children = Vec::new();
    let mut references = Vec::new();
    for chunk in &mut chunks {
        let base = children.len();
        child_bases.push(base);
        children.append(&mut chunk.children);
        references.extend(chunk.references.drain(..).map(|r| Reference {
            slot: r.slot + base as u32,
            ..r
        }));
        chunk.children = Vec::new();
        chunk.references = Vec::new();
        damage.append(&mut chunk.damage);
    }
    let next = number(&mut references, &mut children);
    Ok((
        Level {
            nodes,
            chunks,
            child_bases,
            children,
        },
        next,
    ))
}

/// What scanning a chunk of tables needs.
struct ChunkScan<'a> {
    plan: &'a Plan,
    depth: usize,
    image: &'a dyn PhysicalMemory,
    scan: Scan,
}

impl<'a> ChunkScan<'a> {
    fn run(&self, nodes: &mut [Node<'a>]) -> Chunk {
        let depth = &self.plan.depths[self.depth];
        let mut chunk = Chunk::default();
        for node in nodes.iter_mut() {
            node.source = self.locate(node, depth, &mut chunk);
        }
        let words = depth.entries().div_ceil(64);
        let (mut ends, mut jumps) = (vec![0; words], vec![0; words]);
        let copies = std::mem::take(&mut chunk.copies);
        let mut present = Presence {
            image: self.image,
            known: (1, 0),
        };
        for i in 0..nodes.len() {
            let Some(entries) = source_entries(depth, nodes[i].source, &copies) else {
                continue;
            };
            let ahead = nodes
                .get(i + 1)
                .and_then(|next| source_entries(depth, next.source, &copies))
                .unwrap_or(entries);
            let uniform = self.scan.run(&entries, &ahead, &mut ends, &mut jumps);
            self.note_table(
                &mut nodes[i],
                &entries,
                (!uniform).then_some((&mut ends[..], &jumps[..])),
                &mut chunk,
                &mut present,
            );
        }
        chunk.copies = copies;
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

    /// Takes down what a table has, while it is in the cache.
    fn note_table(
        &self,
        node: &mut Node<'a>,
        entries: &Entries<'_>,
        bitmaps: Option<(&mut [u64], &[u64])>,
        chunk: &mut Chunk,
        present: &mut Presence<'_>,
    ) {
        let depth = &self.plan.depths[self.depth];
        let words = depth.entries().div_ceil(64);
        if let Some((ends, jumps)) = bitmaps {
            self.settle(node, entries, ends, jumps);
            node.bitmap = chunk.words.len() as u32;
            chunk.words.extend_from_slice(ends);
        } else if self.needs_settling(node, entries) {
            let mut ends = vec![0; words];
            ends[(entries.len() - 1) / 64] |= 1 << ((entries.len() - 1) % 64);
            self.settle(node, entries, &mut ends, &vec![0; words]);
            node.bitmap = chunk.words.len() as u32;
            chunk.words.extend_from_slice(&ends);
        }
        node.child = chunk.children.len() as u32;
        let mut tally = Tally::default();
        let runs = node_runs(depth, node, &chunk.words);
        for run in runs {
            if !matches!(depth.action(entries.get(run.start)), Action::Table(_)) {
                tally.run(self.plan, depth, entries, run, 0);
                continue;
            }
            for index in run.start..=run.last {
                let entry = entries.get(index);
                let (pa, _, walked) = descent(self.plan, depth, entry);
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
        }
        tally.store(node);
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
        let leaf = matches!(&depth.rules[rule].action, Action::Atom(a) if a.label == Label::Leaf);
        leaf && depth.stepped != Some(rule)
    }

    /// Turns what the scan compared into where runs end: takes jumps for leaves only,
    /// and looks at entries one by one where a rule reads what was not compared.
    fn settle(&self, node: &Node<'_>, entries: &Entries<'_>, ends: &mut [u64], jumps: &[u64]) {
        let depth = &self.plan.depths[self.depth];
        if depth.refine.is_empty() && !self.plan.compares_addresses() {
            return;
        }
        let mut start = usize::from(node.low);
        let stop = usize::from(node.high);
        while start <= stop {
            let last = next_end(ends, start).min(stop);
            let entry = entries.get(start);
            if depth
                .refine
                .iter()
                .any(|&(mask, value)| entry & mask == value)
            {
                let mut rule = depth.rule(entry);
                for index in start..last {
                    let next = depth.rule(entries.get(index + 1));
                    if next != rule {
                        ends[index / 64] |= 1 << (index % 64);
                    }
                    rule = next;
                }
            }
            if self.plan.compares_addresses() {
                self.settle_jumps(entries, Run { start, last }, ends, jumps);
            }
            start = last + 1;
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

    fn settle_jumps(&self, entries: &Entries<'_>, run: Run, ends: &mut [u64], jumps: &[u64]) {
        let depth = &self.plan.depths[self.depth];
        let mut start = run.start;
        while start <= run.last {
            let last = next_end(ends, start).min(run.last);
            let entry = entries.get(start);
            let leaf = matches!(depth.action(entry), Action::Atom(a) if a.label == Label::Leaf);
            let all = self.unstepped(entry);
            if leaf {
                for word in start / 64..=last / 64 {
                    let from = if word == start / 64 {
                        !0 << (start % 64)
                    } else {
                        !0
                    };
                    let to = if word == last / 64 {
                        !0 >> (63 - last % 64)
                    } else {
                        !0
                    };
                    ends[word] |= (if all { !0 } else { jumps[word] }) & from & to;
                }
                self.settle_marks(entries, Run { start, last }, ends);
            }
            start = last + 1;
        }
    }
}

/// Counts of a table's own atoms, run by run.
#[derive(Default)]
struct Tally {
    leaves: u64,
    others: u64,
    breaks: u64,
    irregular: bool,
    first: Option<(usize, u64)>,
    last: Option<(usize, u64, Edge)>,
}

impl Tally {
    /// Adds a run, if it consists of atoms.
    #[inline]
    fn run(&mut self, plan: &Plan, depth: &PlanDepth, entries: &Entries<'_>, run: Run, above: u8) {
        let entry = entries.get(run.start);
        let Action::Atom(atom) = depth.action(entry) else {
            return;
        };
        let first = plan.edge(depth, atom, above, run.start, entry);
        if let Some((_, last_entry, last)) = &self.last {
            self.breaks += u64::from(!plan.joins(last, &first));
            // Equal but for the path: what lies above decides whether they are joined.
            self.irregular |= last.key == first.key
                && last.level == first.level
                && last.label == first.label
                && plan.own_state(depth, *last_entry) != plan.own_state(depth, entry);
        }
        let count = run.count() as u64;
        if plan.is_separate() {
            self.breaks += count - 1;
        }
        if atom.label == Label::Other {
            self.others += count;
        } else {
            self.leaves += count;
        }
        self.first.get_or_insert((run.start, entry));
        self.last = Some(if run.count() == 1 {
            (run.last, entry, first)
        } else {
            let entry = entries.get(run.last);
            (
                run.last,
                entry,
                plan.edge(depth, atom, above, run.last, entry),
            )
        });
    }

    fn store(&self, node: &mut Node<'_>) {
        node.leaves = self.leaves as u32;
        node.others = self.others as u32;
        node.breaks = self.breaks as u32;
        node.irregular = self.irregular;
        if let (Some((first, first_entry)), Some((last, last_entry, _))) = (self.first, self.last) {
            node.first = first as u16;
            node.first_entry = first_entry;
            node.last = last as u16;
            node.last_entry = last_entry;
        }
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
