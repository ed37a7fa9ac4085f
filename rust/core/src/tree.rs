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
use crate::scan::{Isa, Scan, prefetch};
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
    /// Offset of the bitmap of the runs' ends, in the chunk's words.
    bitmap: u32,
    /// Offset of the bitmap of the atoms, where they are some of the entries only.
    atoms: u32,
    leaves: u32,
    others: u32,
    /// Ends of rows inside, not counting the last one.
    breaks: u32,
    /// The breaks depend on the inherited path state and have to be counted anew.
    irregular: bool,
    /// No entry is of kind table.
    flat: bool,
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

/// Indexes of the set bits, ascending.
#[inline]
pub(crate) fn bits(words: &[u64]) -> impl Iterator<Item = usize> {
    words.iter().enumerate().flat_map(|(word, &bits)| {
        let mut rest = bits;
        std::iter::from_fn(move || {
            let bit = rest.trailing_zeros() as usize;
            rest &= rest.checked_sub(1)?;
            Some(word * 64 + bit)
        })
    })
}

/// Index of the last set bit; 0 where there is none.
fn last_bit(words: &[u64]) -> usize {
    words.iter().rposition(|&word| word != 0).map_or(0, |word| {
        word * 64 + 63 - words[word].leading_zeros() as usize
    })
}

/// A word of the bitmap whose bits from `low` to `high` are set.
#[inline]
pub(crate) fn stretch(word: usize, low: usize, high: usize) -> u64 {
    let (first, last) = (word * 64, word * 64 + 63);
    if low > last || high < first {
        return 0;
    }
    !0 << low.saturating_sub(first) & !0 >> last.saturating_sub(high)
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

    /// What a flat table comes to below `inherited`: breaks, and its first and last
    /// atom. None where it has no atom.
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

    /// True for tables without entries of kind table.
    #[inline]
    pub fn is_flat(&self, table: Table) -> bool {
        self.node(table).flat
    }

    /// Ends of rows inside a flat table whose depth is [distinct](PlanDepth::distinct).
    #[inline]
    pub fn breaks(&self, table: Table) -> u64 {
        self.node(table).breaks.into()
    }

    /// Whether the last atom of a flat table and the first one of the flat table behind
    /// it are one row, if both inherit the same. Both have atoms, and their depth is
    /// [distinct](PlanDepth::distinct).
    #[inline]
    pub fn continues(&self, this: Table, next: Table) -> bool {
        let depth = &self.plan.depths[this.depth];
        let (a, b) = (self.node(this), self.node(next));
        let masks = &depth.masks;
        !self.plan.is_separate()
            && usize::from(a.last) == depth.entries() - 1
            && b.first == 0
            && (a.last_entry ^ b.first_entry) & masks.key == 0
            && (!self.plan.compares_addresses()
                || (b.first_entry & masks.address).wrapping_sub(a.last_entry & masks.address)
                    == masks.step
                || !depth.is_leaf(a.last_entry))
    }

    /// The atoms of a flat table whose depth is [distinct](PlanDepth::distinct), row by
    /// row: bitmaps of the ends of runs and of the atoms; None: one run, and all.
    #[inline]
    pub fn rows(&self, table: Table) -> (Option<&[u64]>, Option<&[u64]>) {
        let node = self.node(table);
        let words = &self.chunk(table).words;
        let count = self.plan.depths[table.depth].entries().div_ceil(64);
        let map = |at: u32| {
            let first = at as usize;
            (at != UNIFORM).then(|| &words[first..first + count])
        };
        (map(node.bitmap), map(node.atoms))
    }

    /// Index of the first and the last atom of a flat table that has any.
    #[inline]
    pub fn atom_limits(&self, table: Table) -> (usize, usize) {
        let node = self.node(table);
        (node.first.into(), node.last.into())
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
    /// The next table; None where it is not in the image. For plans without notes,
    /// which walk every entry of kind table.
    #[inline]
    pub fn next_table(&mut self) -> Option<Table> {
        let node = self.tree.levels[self.depth].children[self.slot];
        self.slot += 1;
        let table = Table {
            depth: self.depth + 1,
            node,
        };
        (node != ABSENT && !self.tree.is_absent(table)).then_some(table)
    }

    /// Asks for the table `count` further on, if its rows will have to be read.
    #[inline]
    pub fn prefetch(&self, count: usize) {
        let tree = self.tree;
        if tree.is_last(self.depth) {
            return;
        }
        match tree.levels[self.depth].children.get(self.slot + count) {
            None | Some(&ABSENT) => {}
            Some(&node) => {
                let table = Table {
                    depth: self.depth + 1,
                    node,
                };
                if tree.node(table).bitmap != UNIFORM {
                    prefetch(&tree.entries(table));
                }
            }
        }
    }

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
                atoms: UNIFORM,
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
        let mut scratch = Scratch::new(depth);
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
            let uniform = self
                .scan
                .run(&entries, &ahead, &mut scratch.ends, &mut scratch.jumps);
            let node = &mut nodes[i];
            if node.low > node.high {
                continue;
            }
            node.child = chunk.children.len() as u32;
            if uniform && !self.needs_settling(node, &entries) {
                self.note_uniform(node, &entries, &mut chunk, &mut present);
            } else {
                self.note_mixed(node, &entries, &mut scratch, &mut chunk, &mut present);
            }
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
    fn note_mixed(
        &self,
        node: &mut Node<'a>,
        entries: &Entries<'_>,
        scratch: &mut Scratch,
        chunk: &mut Chunk,
        present: &mut Presence<'_>,
    ) {
        let depth = &self.plan.depths[self.depth];
        self.sift(node, entries, scratch);
        let Scratch {
            ends,
            atoms,
            others,
            tables,
            ..
        } = scratch;
        node.bitmap = chunk.words.len() as u32;
        chunk.words.extend_from_slice(ends);
        node.flat = tables.iter().all(|&word| word == 0);
        if depth.distinct {
            self.count_bits(node, entries, ends, atoms, others);
            let entries = usize::from(node.high) - usize::from(node.low) + 1;
            if node.breaks > 0 && (node.leaves + node.others) as usize != entries {
                node.atoms = chunk.words.len() as u32;
                chunk.words.extend_from_slice(atoms);
            }
        } else {
            let mut tally = Tally::default();
            for run in node_runs(depth, node, &chunk.words) {
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

    /// Counts rows by the ends of runs, where each run of atoms is one.
    fn count_bits(
        &self,
        node: &mut Node<'_>,
        entries: &Entries<'_>,
        ends: &[u64],
        atoms: &[u64],
        others: &[u64],
    ) {
        let (mut count, mut of_other, mut rows) = (0, 0, 0);
        for ((&ends, &atoms), &others) in ends.iter().zip(atoms).zip(others) {
            count += atoms.count_ones();
            of_other += others.count_ones();
            rows += (ends & atoms).count_ones();
        }
        if count == 0 {
            return;
        }
        if self.plan.is_separate() {
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
    fn sift(&self, node: &Node<'_>, entries: &Entries<'_>, scratch: &mut Scratch) {
        let depth = &self.plan.depths[self.depth];
        let Scratch {
            ends,
            jumps,
            atoms,
            others,
            tables,
            free,
            hits,
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
                            for ((ends, jumps), hits) in ends.iter_mut().zip(&*jumps).zip(&*hits) {
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

/// Bitmaps of one table, used for one after the other.
struct Scratch {
    ends: Vec<u64>,
    jumps: Vec<u64>,
    /// Entries that are atoms; those of them of kind other; entries of kind table.
    atoms: Vec<u64>,
    others: Vec<u64>,
    tables: Vec<u64>,
    /// Entries that no rule has matched so far, and those that the last one did.
    free: Vec<u64>,
    hits: Vec<u64>,
}

impl Scratch {
    fn new(depth: &PlanDepth) -> Self {
        let map = || vec![0; depth.entries().div_ceil(64)];
        Self {
            ends: map(),
            jumps: map(),
            atoms: map(),
            others: map(),
            tables: map(),
            free: map(),
            hits: map(),
        }
    }
}

fn join(to: &mut [u64], from: &[u64]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to |= from;
    }
}

/// Sets the bit of each entry whose next one is not alike in being in `map`.
fn end_changes(map: &[u64], ends: &mut [u64]) {
    for word in 0..map.len() {
        let above = map.get(word + 1).map_or(map[word] >> 63, |next| next & 1);
        ends[word] |= map[word] ^ (map[word] >> 1 | above << 63);
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
