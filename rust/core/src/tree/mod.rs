//! The unique tables below some roots, each read and scanned once.
//!
//! Depth by depth: the tables that the depth above points to are sorted by physical
//! address and made unique, then read in that order, over threads, the next one
//! prefetched while this one is compared. What is kept of a table is where its runs
//! end (a bitmap, or nothing where it is one run) and what joining it to its
//! neighbours needs; values are read again when they are wanted.

mod ahead;
mod blocks;
mod build;
mod nearby;
mod note;
mod references;
mod runs;
mod sift;
mod tally;

pub(crate) use runs::stretch;
pub use runs::{Run, Runs};

use self::build::scan_level;
use self::references::{Reference, number};
use self::tally::Tally;
use crate::addr::Pa;
use crate::entries::Entries;
use crate::error::WalkError;
use crate::image::{PhysicalMemory, RawBytes, ReadError};
use crate::memory::Buffer;
use crate::plan::{Action, Decode, Edge, Label, Plan, PlanDepth};
use crate::scan::{Isa, prefetch};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// A child slot whose table is not in the image.
const ABSENT: u32 = u32::MAX;
/// A table that is one run has no bitmap.
const UNIFORM: u32 = u32::MAX;
/// Tables that a thread takes at a time: enough to make the hand-over cheap, few
/// enough to balance skewed trees.
const CHUNK: usize = 256;

/// How many tables ahead they are asked for: enough for memory to answer, few enough for
/// the nearest cache. First comes what is known of one, then what that points to.
const NODES_AHEAD: usize = 8;
const ROWS_AHEAD: usize = 4;

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
    /// The rows will be written, not only counted: what they start with is kept, as far
    /// as there is room for it, so that no table has to be read twice.
    pub keep_rows: bool,
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
    /// Offset of the bitmap of the runs' ends, in the chunk's block.
    bitmap: u32,
    /// Offset of the bitmap of the atoms, where they are some of the entries only.
    atoms: u32,
    /// Offset of the first entry of each row, where they are kept.
    rows: u32,
    leaves: u32,
    others: u32,
    /// Ends of rows inside, not counting the last one.
    breaks: u32,
    /// The breaks depend on the inherited path state and have to be counted anew.
    irregular: bool,
    /// No entry is of kind table.
    flat: bool,
}

impl Node<'_> {
    /// A table that was not read yet, of which the entries `low` to `high` exist.
    fn new(pa: u64, low: u16, high: u16) -> Self {
        Self {
            pa,
            source: Source::Absent,
            first_entry: 0,
            last_entry: 0,
            first: 0,
            last: 0,
            low,
            high,
            child: 0,
            bitmap: UNIFORM,
            atoms: UNIFORM,
            rows: UNIFORM,
            leaves: 0,
            others: 0,
            breaks: 0,
            irregular: false,
            flat: true,
        }
    }
}

/// What the scan of a chunk of tables leaves beside the nodes.
#[derive(Default)]
struct Chunk {
    /// Number of the block that it wrote to.
    block: u32,
    copies: Vec<u8>,
    /// How many table entries that lead to tables.
    children: u32,
    references: Vec<Reference>,
    damage: Vec<ReadError>,
    /// How many rows' first entries may still be kept.
    room: usize,
}

/// The tables of one depth.
struct Level<'a> {
    nodes: Buffer<Node<'a>>,
    /// By node: 1 where it has what the one before it has, and where their rows are one
    /// if they lie behind each other under the same path.
    follows: Vec<u8>,
    chunks: Vec<Chunk>,
    /// What nodes' offsets point into; each chunk has one of them.
    blocks: Vec<Buffer<u64>>,
    /// By chunk: where its children start in `children`.
    child_bases: Vec<usize>,
    /// Nodes of the next depth, in the order of the entries that point there.
    children: Vec<u32>,
}

/// The unique tables below some roots.
pub struct Tree<'a> {
    plan: &'a Plan,
    image: &'a dyn PhysicalMemory,
    isa: Isa,
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
        let high = high_index(&plan.depths[0]);
        let references: Vec<Reference> = roots
            .iter()
            .zip(0..)
            .map(|(root, slot)| Reference::new(root.0, 0, high, slot))
            .collect();
        let mut slots = vec![0; roots.len()];
        let mut nodes = number(references.into(), &mut slots);
        let mut tree = Self {
            plan,
            image,
            isa: options.isa,
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
                return Err(tree.changed());
            }
        }
        Ok(tree)
    }

    /// The instruction set that it was scanned with.
    #[inline]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The plan it was built by.
    #[inline]
    pub fn plan(&self) -> &'a Plan {
        self.plan
    }

    /// What to say where its tables are not what they were.
    pub fn changed(&self) -> WalkError {
        let what = self.image.change();
        WalkError::Changed { what }
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

    /// The block that a table's bitmaps are in.
    #[inline]
    fn words(&self, table: Table) -> &[u64] {
        let block = self.chunk(table).block;
        &self.levels[table.depth].blocks[block as usize]
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
        node_runs(&self.plan.depths[table.depth], node, self.words(table))
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
        usize::from(a.last) == depth.entries() - 1
            && b.first == 0
            && self.plan.goes_on(depth, a.last_entry, b.first_entry)
    }

    /// The atoms of a flat table whose depth is [distinct](PlanDepth::distinct), row by
    /// row: bitmaps of the ends of runs and of the atoms; None: one run, and all.
    #[inline]
    pub fn rows(&self, table: Table) -> (Option<&[u64]>, Option<&[u64]>) {
        let node = self.node(table);
        let words = self.words(table);
        let count = self.plan.depths[table.depth].entries().div_ceil(64);
        let map = |at: u32| {
            let first = at as usize;
            (at != UNIFORM).then(|| &words[first..first + count])
        };
        (map(node.bitmap), map(node.atoms))
    }

    /// The first entry of each row of such a table, where they were kept.
    #[inline]
    pub fn row_entries(&self, table: Table) -> Option<&[u64]> {
        let node = self.node(table);
        let first = node.rows as usize;
        (node.rows != UNIFORM).then(|| &self.words(table)[first..=first + node.breaks as usize])
    }

    /// Index of the first and the last atom of a flat table that has any.
    #[inline]
    pub fn atom_limits(&self, table: Table) -> (usize, usize) {
        let node = self.node(table);
        (node.first.into(), node.last.into())
    }

    /// The first and the last atom of a flat table that has any, as entries.
    #[inline]
    pub fn atom_edges(&self, table: Table) -> (u64, u64) {
        let node = self.node(table);
        (node.first_entry, node.last_entry)
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
        let children = &self.tree.levels[self.depth].children;
        let node = children.get(self.slot).copied().unwrap_or(ABSENT);
        self.slot += 1;
        let table = Table {
            depth: self.depth + 1,
            node,
        };
        (node != ABSENT && !self.tree.is_absent(table)).then_some(table)
    }

    /// Goes on over tables that each have what the one before has, and join it: `table`,
    /// the one that was given last, and `most` more at most. Gives how many.
    #[inline]
    pub fn pass_followers(&mut self, table: Table, most: usize) -> usize {
        let children = self.tree.levels[self.depth].children.get(self.slot..);
        let follows = &self.tree.levels[self.depth + 1].follows[table.node as usize + 1..];
        let count = children
            .unwrap_or(&[])
            .iter()
            .take(most)
            .zip(follows)
            .zip(table.node + 1..)
            .take_while(|&((&child, &follows), node)| child == node && follows != 0)
            .count();
        self.slot += count;
        count
    }

    /// Goes on over entries that lead to `table`, as the last one did: `most` at most. Gives
    /// how many.
    #[inline]
    pub fn pass_same(&mut self, table: Table, most: usize) -> usize {
        let children = self.tree.levels[self.depth].children.get(self.slot..);
        let same = |&&child: &&u32| child == table.node;
        let count = children
            .unwrap_or(&[])
            .iter()
            .take(most)
            .take_while(same)
            .count();
        self.slot += count;
        count
    }

    /// The table `count` further on.
    #[inline]
    fn ahead(&self, count: usize) -> Option<Table> {
        let tree = self.tree;
        if tree.is_last(self.depth) {
            return None;
        }
        match tree.levels[self.depth].children.get(self.slot + count) {
            None | Some(&ABSENT) => None,
            Some(&node) => Some(Table {
                depth: self.depth + 1,
                node,
            }),
        }
    }

    /// Asks for what is known of the tables further on.
    #[inline]
    pub fn prefetch_node(&self) {
        if let Some(table) = self.ahead(NODES_AHEAD) {
            let node = std::ptr::from_ref(self.tree.node(table));
            prefetch(node.cast(), size_of::<Node<'_>>());
        }
    }

    /// Asks for what writing the rows of the tables further on will need.
    #[inline]
    pub fn prefetch(&self) {
        let tree = self.tree;
        self.prefetch_node();
        let Some(table) = self.ahead(ROWS_AHEAD) else {
            return;
        };
        let node = tree.node(table);
        if node.rows != UNIFORM {
            let words = &tree.words(table)[node.bitmap as usize..];
            let count = (node.rows - node.bitmap) as usize + node.breaks as usize + 1;
            prefetch(words.as_ptr().cast(), count * 8);
        } else if node.breaks > 0 {
            let entries = tree.entries(table);
            prefetch(entries.as_ptr(), entries.len() * entries.format().bytes);
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
    match depth.action(entry) {
        Action::Table(decode) => target(plan, depth, decode, entry),
        _ => (0, false, false),
    }
}

/// The same of an entry that is known to lead to a table, and where its address is.
#[inline]
fn target(plan: &Plan, depth: &PlanDepth, decode: &Decode, entry: u64) -> (u64, bool, bool) {
    let pa = decode.address(entry);
    let (shadow, walked) = shadowed(plan, depth, pa);
    (pa, shadow, walked)
}

/// Whether a table is early shadow, and whether it is walked.
#[inline]
fn shadowed(plan: &Plan, depth: &PlanDepth, pa: u64) -> (bool, bool) {
    match depth.early_shadow {
        Some(early) if pa >> plan.page_bits == early.pa >> plan.page_bits => (true, early.descends),
        _ => (false, true),
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
