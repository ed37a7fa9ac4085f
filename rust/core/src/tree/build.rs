//! Reading and scanning the tables of a depth, and numbering those of the next.

use super::ahead::Ahead;
use super::blocks::Blocks;
use super::nearby::Nearby;
use super::note::Noted;
use super::references::{Reference, number};
use super::sift::Sifted;
use super::{
    ABSENT, CHUNK, Chunk, Control, Level, Node, Options, Source, high_index, source_entries,
};
use crate::addr::Pa;
use crate::entries::Entries;
use crate::error::WalkError;
use crate::image::{PhysicalMemory, RawBytes, ReadError};
use crate::memory::Buffer;
use crate::plan::{Action, Plan, PlanDepth, PlanRule};
use crate::scan::{Bitmaps, Isa, Masks, Scan, prefetch};
use crate::spec::Pairs;
use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

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
    let of = &plan.depths[depth];
    let scan = |masks| Scan::new(options.isa, of.format, masks);
    let again = |rule: &PlanRule| {
        rule.told_by.map(|key| {
            scan(Masks {
                key,
                ..Masks::default()
            })
        })
    };
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
        scan: scan(of.masks),
        again: of.rules.iter().map(again).collect(),
        room: AtomicUsize::new(if keeps { ROWS_KEPT / 8 } else { 0 }),
        ahead: Ahead::new(nodes.len()),
    };
    let mut follows = vec![0; nodes.len()];
    let mut chunks: Vec<Chunk> = nodes
        .par_chunks_mut(CHUNK)
        .zip(follows.par_chunks_mut(CHUNK))
        .enumerate()
        .map_init(
            || Scratch::new(of),
            |scratch, (number, (nodes, follows))| {
                control.check()?;
                let chunk = work.run(number, nodes, follows, scratch);
                control.tables.fetch_add(nodes.len() as u64, Relaxed);
                Ok(chunk)
            },
        )
        .collect::<Result<_, WalkError>>()?;
    let mut child_bases = Vec::with_capacity(chunks.len());
    let count = chunks.iter().map(|chunk| chunk.references.len()).sum();
    let mut references = Buffer::with_capacity(count);
    let mut slots = 0;
    for chunk in &mut chunks {
        child_bases.push(slots as usize);
        for reference in std::mem::take(&mut chunk.references) {
            references.push(Reference {
                slot: reference.slot + slots,
                ..reference
            });
        }
        slots += chunk.children;
        damage.append(&mut chunk.damage);
    }
    let mut children = vec![ABSENT; slots as usize];
    let next = number(references, &mut children);
    Ok((
        Level {
            nodes,
            follows,
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

/// How many tables ahead one is asked for while another is read: of tables of one run, and
/// where there is more to be done with each.
const AHEAD: usize = 1;
const AHEAD_OF_MIXED: usize = 2;

/// How many tables ahead the place of one in memory is asked for.
const FOUND_AHEAD: usize = 3;

/// Bytes of rows' first entries that are kept at a depth. More of them would speed up walks
/// of more than some hundred MiB of tables, but nodes and bitmaps take 6 % of those.
const ROWS_KEPT: usize = 16 << 20;

/// What scanning a chunk of tables needs.
pub(super) struct ChunkScan<'a> {
    pub(super) plan: &'a Plan,
    pub(super) depth: usize,
    image: &'a dyn PhysicalMemory,
    pub(super) isa: Isa,
    pub(super) scan: Scan,
    /// By rule: compares what counts for its entries, where that is less.
    pub(super) again: Vec<Option<Scan>>,
    blocks: Blocks,
    /// What a chunk may need of a block.
    block_words: usize,
    /// How many rows' first entries may still be kept.
    room: AtomicUsize,
    ahead: Ahead,
}

/// What a thread uses for one table after the other.
struct Scratch {
    /// What the scan found in a table that is not one run.
    compared: Vec<u64>,
    /// The same of one that is, where it has to be known.
    settled: Vec<u64>,
    sifted: Sifted,
}

impl Scratch {
    fn new(depth: &PlanDepth) -> Self {
        let bitmaps = || vec![0; 3 * depth.entries().div_ceil(64)];
        Self {
            compared: bitmaps(),
            settled: bitmaps(),
            sifted: Sifted::new(depth),
        }
    }
}

impl<'a> ChunkScan<'a> {
    fn run(
        &self,
        number: usize,
        nodes: &mut [Node<'a>],
        follows: &mut [u8],
        scratch: &mut Scratch,
    ) -> Chunk {
        let depth = &self.plan.depths[self.depth];
        let mut chunk = Chunk::default();
        let room = self.room.load(Relaxed);
        chunk.room = room;
        let words;
        (chunk.block, words) = self.blocks.take(self.block_words);
        let mut nearby = Nearby::new(self.image);
        self.locate(nodes, &mut nearby, &mut chunk);
        let faults = self
            .ahead
            .prepare(number, nodes, depth.table_bytes(), &mut nearby);
        let Scratch {
            compared,
            settled,
            sifted,
        } = scratch;
        let copies = std::mem::take(&mut chunk.copies);
        let mut out = Noted {
            chunk,
            words,
            kept: Vec::new(),
            below: Nearby::new(self.image),
        };
        let mut like = None;
        let mut first = 0;
        let mut mixed = false;
        while first < nodes.len() {
            let end;
            (end, mixed) = self.compare(nodes, first, mixed, &copies, &mut nearby, compared);
            let uniform = end - usize::from(mixed);
            while first < end {
                if let Some(like) = &mut like
                    && first < uniform
                {
                    let (nodes, follows) = (&mut nodes[first..uniform], &mut follows[first..]);
                    first += self.note_alike(like, first, nodes, follows, &copies);
                    if first == end {
                        break;
                    }
                }
                let number = first;
                first += 1;
                let node = &mut nodes[number];
                let Some(entries) = source_entries(depth, node.source, &copies) else {
                    continue;
                };
                if node.low > node.high {
                    continue;
                }
                node.child = out.chunk.children;
                let mut found = if number == uniform {
                    Bitmaps::of(compared)
                } else if self.needs_settling(node, &entries) {
                    let mut none = Bitmaps::of(settled);
                    self.no_ends(&entries, &mut none);
                    none
                } else {
                    self.note_uniform(node, &entries, &mut out);
                    like = self.likeness(number, node);
                    continue;
                };
                self.sift(node, &entries, &mut found, sifted);
                self.note_mixed(node, &entries, found.ends, sifted, &mut out);
            }
        }
        self.ahead.learn(faults, nodes.len());
        let Noted {
            mut chunk, words, ..
        } = out;
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

    /// Compares the entries of tables from number `first` on: a group, or up to one that is
    /// not one run, whose bitmaps are `compared` then. Returns the number behind the last one,
    /// and whether that is such a table; `mixed`: the one before `first` was.
    ///
    /// Tables of one run are read on before anything is made of them, so that the processor
    /// has the next one to read while it waits for this one. A mixed one has enough to be
    /// done meanwhile.
    fn compare<'c>(
        &self,
        nodes: &[Node<'a>],
        first: usize,
        mixed: bool,
        copies: &'c [u8],
        nearby: &mut Nearby<'a>,
        compared: &mut [u64],
    ) -> (usize, bool)
    where
        'a: 'c,
    {
        let depth = &self.plan.depths[self.depth];
        let group = nodes.len().min(first + GROUP);
        let ahead = if mixed { AHEAD_OF_MIXED } else { AHEAD };
        let mut end = first;
        while end < group {
            self.find(nodes, end + FOUND_AHEAD);
            let Some(entries) = source_entries(depth, nodes[end].source, copies) else {
                end += 1;
                continue;
            };
            let (count, tables) = if mixed {
                (1, entries)
            } else {
                strip(depth, &nodes[end..group], entries, nearby)
            };
            let next = nodes
                .get(end + count - 1 + ahead)
                .and_then(|next| source_entries(depth, next.source, copies))
                .unwrap_or(entries);
            let mut bitmaps = Bitmaps::of(compared);
            let alike = self.scan.run(&tables, count, &next, &mut bitmaps);
            if alike == 0 {
                return (end + 1, true);
            }
            end += alike;
        }
        (end, false)
    }

    /// Asks for the first byte of a table that lies apart from the one before it, so that
    /// where it is in memory is known when it is read.
    #[inline]
    fn find(&self, nodes: &[Node<'_>], number: usize) {
        let bytes = self.plan.depths[self.depth].table_bytes() as u64;
        if let Some([before, node]) = nodes.get(number.saturating_sub(1)..=number)
            && let Source::InPlace(at) = node.source
            && node.pa.wrapping_sub(before.pa) != bytes
        {
            prefetch(at.as_ptr(), 1);
        }
    }

    /// Says of each table where it is.
    fn locate(&self, nodes: &mut [Node<'a>], nearby: &mut Nearby<'a>, chunk: &mut Chunk) {
        let depth = &self.plan.depths[self.depth];
        let in_place = depth.pairs.is_none();
        let bytes = depth.table_bytes();
        for node in nodes {
            node.source = match nearby.table(node.pa, bytes) {
                Some(bytes) if in_place => Source::InPlace(bytes),
                _ => self.copy(node, depth, chunk),
            };
        }
    }

    /// Copies a table that cannot be read where it is.
    #[cold]
    fn copy(&self, node: &Node<'_>, depth: &PlanDepth, chunk: &mut Chunk) -> Source<'a> {
        let (pa, len) = (node.pa, depth.table_bytes());
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
}

/// How many of `nodes` lie one behind the other from the first one on, and their entries.
#[inline]
fn strip<'t, 'a: 't>(
    depth: &PlanDepth,
    nodes: &[Node<'a>],
    first: Entries<'t>,
    nearby: &mut Nearby<'a>,
) -> (usize, Entries<'t>) {
    let bytes = depth.table_bytes();
    let count = nodes
        .iter()
        .zip(0..)
        .take_while(|&(node, i)| node.pa == nodes[0].pa.wrapping_add(i * bytes as u64))
        .count();
    if count > 1
        && matches!(nodes[0].source, Source::InPlace(_))
        && let Some(tables) = nearby.table(nodes[0].pa, count * bytes)
    {
        return (count, Entries::new(tables, depth.format));
    }
    (1, first)
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
