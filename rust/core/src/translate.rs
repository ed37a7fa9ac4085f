//! Virtual addresses to physical ones, many at a time.
//!
//! Addresses go down the tables in step, a batch at a time, so that the reads of one
//! depth, which do not depend on each other, wait for memory together.

use crate::addr::Pa;
use crate::entries::Entries;
use crate::image::{PhysicalMemory, RawBytes, ReadError};
use crate::plan::{Action, Label, Plan, leaf_address};
use crate::scan::prefetch;
use crate::spec::EntryFormat;
use crate::visit::Span;
use rayon::prelude::*;

/// Addresses that go down together: enough reads in flight to hide memory's latency.
const BATCH: usize = 64;
/// Addresses that a thread takes at a time.
const CHUNK: usize = 1 << 14;

/// What an address came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// There is a physical address.
    Mapped = 0,
    /// No valid entry.
    Hole = 1,
    /// An entry that is neither empty nor walkable.
    Other = 2,
    /// A table that is needed is not in the image.
    Absent = 3,
    /// No address of this address space.
    NonCanonical = 4,
}

/// What the tables say of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Physical address; 0 where there is none.
    pub pa: u64,
    /// What became of it.
    pub status: Status,
    /// Depth of the entry that ended the walk.
    pub depth: u8,
    /// Attributes of a leaf.
    pub attributes: u64,
    /// Effective permissions of a leaf.
    pub effective: u8,
}

/// One table on the way of an address.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Depth of the table.
    pub depth: usize,
    /// Where it is.
    pub table: u64,
    /// Which entry.
    pub index: u64,
    /// Its value; None where it is not in the image.
    pub entry: Option<u64>,
}

/// Columns of translations.
#[derive(Debug, Default)]
pub struct Translations {
    /// See [`Translation`].
    pub pa: Vec<u64>,
    /// See [`Translation`].
    pub status: Vec<u8>,
    /// See [`Translation`].
    pub depth: Vec<u8>,
    /// See [`Translation`].
    pub attributes: Vec<u64>,
    /// See [`Translation`].
    pub effective: Vec<u8>,
}

/// Address translation through one root.
pub struct Translator<'a> {
    plan: &'a Plan,
    image: &'a dyn PhysicalMemory,
    root: u64,
    spans: &'a [Span],
}

/// An address on its way.
#[derive(Clone, Copy)]
struct Walker {
    offset: u64,
    table: u64,
    low: u64,
    high: u64,
    path: u8,
    done: bool,
}

impl Walker {
    /// All that the next step depends on: the entry, `index` of the table, and what came
    /// from above.
    fn at(&self, index: u64) -> (u64, u64, u64, u64, u8) {
        (self.table, self.low, self.high, index, self.path)
    }
}

impl<'a> Translator<'a> {
    /// Through `root`, for addresses within `spans`.
    pub fn new(plan: &'a Plan, image: &'a dyn PhysicalMemory, root: Pa, spans: &'a [Span]) -> Self {
        Self {
            plan,
            image,
            root: root.0,
            spans,
        }
    }

    /// Translates addresses, over the threads of the current pool.
    ///
    /// # Errors
    /// [`ReadError`] where the image is damaged; absent tables are no error.
    pub fn translate(&self, vas: &[u64]) -> Result<Translations, ReadError> {
        let mut out = Translations {
            pa: vec![0; vas.len()],
            status: vec![0; vas.len()],
            depth: vec![0; vas.len()],
            attributes: vec![0; vas.len()],
            effective: vec![0; vas.len()],
        };
        vas.par_chunks(CHUNK)
            .zip(out.pa.par_chunks_mut(CHUNK))
            .zip(out.status.par_chunks_mut(CHUNK))
            .zip(out.depth.par_chunks_mut(CHUNK))
            .zip(out.attributes.par_chunks_mut(CHUNK))
            .zip(out.effective.par_chunks_mut(CHUNK))
            .try_for_each(|(((((vas, pa), status), depth), attributes), effective)| {
                for (batch, vas) in vas.chunks(BATCH).enumerate() {
                    let first = batch * BATCH;
                    self.batch(vas, |i, translation| {
                        pa[first + i] = translation.pa;
                        status[first + i] = translation.status as u8;
                        depth[first + i] = translation.depth;
                        attributes[first + i] = translation.attributes;
                        effective[first + i] = translation.effective;
                    })?;
                }
                Ok(())
            })?;
        Ok(out)
    }

    /// The way of one address, table by table.
    ///
    /// # Errors
    /// [`ReadError`] where the image is damaged.
    pub fn path(&self, va: u64) -> Result<(Vec<Step>, Translation), ReadError> {
        let mut steps = Vec::new();
        let mut end = None;
        let mut walker = self.start(va);
        if walker.done {
            return Ok((steps, ended(Status::NonCanonical, 0)));
        }
        for depth in 0..self.plan.depths.len() {
            let of = &self.plan.depths[depth];
            let index = self.index(&walker, depth);
            let entry = if walker.low > walker.high {
                Some(0)
            } else if (walker.low..=walker.high).contains(&index) {
                self.entry(&walker, depth, index)?
            } else {
                self.entry(&walker, depth, walker.low)?.map(|_| 0)
            };
            steps.push(Step {
                depth,
                table: walker.table,
                index,
                entry,
            });
            end = self.step(&mut walker, depth, None)?;
            if end.is_some() {
                break;
            }
            debug_assert!(of.shift > self.plan.depths[depth + 1].shift);
        }
        Ok((steps, end.unwrap_or(ended(Status::Hole, 0))))
    }

    fn start(&self, va: u64) -> Walker {
        let offset = self.spans.iter().find_map(|span| {
            let offset = va.wrapping_sub(span.base);
            (span.first..=span.last).contains(&offset).then_some(offset)
        });
        Walker {
            offset: offset.unwrap_or(0),
            table: self.root,
            low: 0,
            high: self.plan.depths[0].entries() as u64 - 1,
            path: 0,
            done: offset.is_none(),
        }
    }

    fn batch(&self, vas: &[u64], mut put: impl FnMut(usize, Translation)) -> Result<(), ReadError> {
        let mut walkers = [Walker {
            offset: 0,
            table: 0,
            low: 0,
            high: 0,
            path: 0,
            done: true,
        }; BATCH];
        for (i, &va) in vas.iter().enumerate() {
            walkers[i] = self.start(va);
            if walkers[i].done {
                put(i, ended(Status::NonCanonical, 0));
            }
        }
        let walkers = &mut walkers[..vas.len()];
        for depth in 0..self.plan.depths.len() {
            // All of a depth's entries are asked for before the first one is waited for.
            let mut places = [None; BATCH];
            let mut last = None;
            for (walker, place) in walkers.iter().zip(&mut places) {
                if walker.done {
                    continue;
                }
                let here = walker.at(self.index(walker, depth));
                if last != Some(here) {
                    *place = self.place(walker, depth);
                }
                last = Some(here);
            }
            // Addresses near each other, as sorted ones are, share most of the way: the
            // step of the one before is theirs, too.
            let mut known = None;
            for (i, walker) in walkers.iter_mut().enumerate() {
                if walker.done {
                    continue;
                }
                let here = walker.at(self.index(walker, depth));
                if let Some((there, next)) = known
                    && there == here
                {
                    *walker = Walker {
                        offset: walker.offset,
                        ..next
                    };
                    continue;
                }
                if let Some(translation) = self.step(walker, depth, places[i])? {
                    walker.done = true;
                    put(i, translation);
                } else {
                    known = Some((here, *walker));
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn index(&self, walker: &Walker, depth: usize) -> u64 {
        let of = &self.plan.depths[depth];
        walker.offset >> of.shift & (of.entries() as u64 - 1)
    }

    #[inline]
    fn entry(&self, walker: &Walker, depth: usize, index: u64) -> Result<Option<u64>, ReadError> {
        let format = self.plan.depths[depth].format;
        let width = format.bytes as u64;
        if let Some(bytes) = self.whole(walker, format) {
            let entries = Entries::new(bytes, format);
            return Ok(Some(entries.get((index - walker.low) as usize)));
        }
        let (first, size) = extent(walker, format);
        if !covers(self.image, first, size) {
            return Ok(None);
        }
        let at = Pa(walker.table.wrapping_add(index * width));
        let mut copy = [0; 8];
        match self.image.read(at, &mut copy[..format.bytes]) {
            Ok(()) => {
                let bytes = RawBytes::from_slice(&copy[..format.bytes]);
                Ok(Some(Entries::new(bytes, format).get(0)))
            }
            Err(ReadError::Absent { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The table that comes next, if it can be read in place. One that is not wholly in
    /// the image is absent, as it is to a walk.
    #[inline]
    fn whole(&self, walker: &Walker, format: EntryFormat) -> Option<RawBytes<'a>> {
        let (first, size) = extent(walker, format);
        self.image.in_place(first, usize::try_from(size).ok()?)
    }

    /// Where the next entry on the way lies in memory, which it is asked for.
    #[inline]
    fn place(&self, walker: &Walker, depth: usize) -> Option<Entries<'a>> {
        let format = self.plan.depths[depth].format;
        let index = self.index(walker, depth);
        if !(walker.low..=walker.high).contains(&index) {
            return None;
        }
        let bytes = self.whole(walker, format)?;
        let offset = (index - walker.low) as usize * format.bytes;
        let entry = Entries::new(bytes.get(offset, format.bytes)?, format);
        prefetch(entry.as_ptr(), entry.format().bytes);
        Some(entry)
    }

    /// One table further; Some where the way ends. `place`: where the entry was found
    /// to lie.
    #[inline]
    fn step(
        &self,
        walker: &mut Walker,
        depth: usize,
        place: Option<Entries<'_>>,
    ) -> Result<Option<Translation>, ReadError> {
        let of = &self.plan.depths[depth];
        if walker.low > walker.high {
            return Ok(Some(ended(Status::Hole, depth)));
        }
        let index = self.index(walker, depth);
        let exists = (walker.low..=walker.high).contains(&index);
        let asked = if exists { index } else { walker.low };
        let entry = match place {
            Some(entry) if exists => Some(entry.get(0)),
            _ => self.entry(walker, depth, asked)?,
        };
        let Some(entry) = entry else {
            return Ok(Some(ended(Status::Absent, depth)));
        };
        if !exists {
            return Ok(Some(ended(Status::Hole, depth)));
        }
        Ok(match of.action(entry) {
            Action::Gap => Some(ended(Status::Hole, depth)),
            Action::Atom(atom) if atom.label != Label::Leaf => Some(Translation {
                attributes: atom.key(entry),
                ..ended(Status::Other, depth)
            }),
            Action::Atom(atom) => {
                let base = leaf_address(of, atom, index as usize, entry);
                let within = walker.offset & (of.span() - 1);
                Some(Translation {
                    pa: base.wrapping_add(within),
                    status: Status::Mapped,
                    depth: depth as u8,
                    attributes: atom.key(entry),
                    effective: self.plan.atom_path(of, atom, walker.path, entry),
                })
            }
            Action::Table(decode) => {
                walker.path |= of.table_state(entry);
                walker.table = decode.address(entry);
                let last = self.plan.depths[depth + 1].entries() as u64 - 1;
                (walker.low, walker.high) = match of.length {
                    None => (0, last),
                    Some(length) => (
                        length.first.of(entry),
                        length
                            .last
                            .of(entry)
                            .wrapping_add(length.last_add)
                            .min(last),
                    ),
                };
                None
            }
        })
    }
}

/// True where the image says something of each of `size` bytes.
fn covers(image: &dyn PhysicalMemory, pa: Pa, size: u64) -> bool {
    let segments = image.segments();
    let mut at = pa.0;
    let mut left = size;
    let mut next = segments.partition_point(|segment| segment.pa.0 <= at);
    while let Some(segment) = next.checked_sub(1).map(|i| segments[i]) {
        let Some(rest) = segment
            .len
            .checked_sub(at - segment.pa.0)
            .filter(|&rest| rest > 0)
        else {
            return false;
        };
        if rest >= left {
            return true;
        }
        left -= rest;
        let Some(after) = at.checked_add(rest) else {
            return false;
        };
        at = after;
        next += 1;
        if segments
            .get(next - 1)
            .is_none_or(|segment| segment.pa.0 != at)
        {
            return false;
        }
    }
    false
}

/// Where the existing entries of the table that comes next are, and how many bytes.
#[inline]
fn extent(walker: &Walker, format: EntryFormat) -> (Pa, u64) {
    let width = format.bytes as u64;
    let first = Pa(walker.table.wrapping_add(walker.low * width));
    (first, (walker.high - walker.low + 1) * width)
}

fn ended(status: Status, depth: usize) -> Translation {
    Translation {
        pa: 0,
        status,
        depth: depth as u8,
        attributes: 0,
        effective: 0,
    }
}

/// The kind of each entry of an array, as [`crate::spec::Kind`] numbers them.
///
/// Rules are applied last to first over the whole array, which compilers turn into
/// vector code.
pub fn classify(plan: &Plan, depth: usize, entries: &[u64], kinds: &mut [u8]) {
    for rule in plan.depths[depth].rules.iter().rev() {
        let (mask, value) = rule.test();
        let kind = rule.kind as u8;
        for (out, entry) in kinds.iter_mut().zip(entries) {
            *out = if entry & mask == value { kind } else { *out };
        }
    }
}
