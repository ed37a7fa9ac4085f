//! Virtual addresses to physical ones, many at a time.
//!
//! Most of the way is the same for many addresses: a block of addresses starts from the
//! tables that earlier ones led to ([`cache`]), entries are asked for long before they are
//! looked at, and what they come to is worked out for all of a block at once
//! ([`outcome`]). What that is not fit for - tables that have to be decompressed, short and
//! absent ones - is left for the end and done in order of address, so that each table is
//! read once ([`ordered`]).

mod block;
mod cache;
mod ordered;
mod outcome;
mod way;

pub use way::Step;

use self::block::Blocks;
use self::ordered::Ordered;
use crate::addr::Pa;
use crate::entries::Entries;
use crate::image::{PhysicalMemory, ReadError};
use crate::memory::Buffer;
use crate::plan::Plan;
use crate::scan::{Isa, Work};
use crate::visit::Span;
use rayon::prelude::*;

/// Addresses that are worth another thread.
const SHARE: usize = 1 << 14;
/// Addresses that a thread takes at a time at most: what is left for the end of them takes
/// memory.
const MOST: usize = 1 << 23;

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

/// Columns of translations.
#[derive(Debug, Default)]
pub struct Translations {
    /// See [`Translation`].
    pub pa: Buffer<u64>,
    /// See [`Translation`].
    pub status: Buffer<u8>,
    /// What else there is to say, if it was asked for.
    pub details: Option<Details>,
}

/// More columns of translations.
#[derive(Debug, Default)]
pub struct Details {
    /// See [`Translation`].
    pub depth: Buffer<u8>,
    /// See [`Translation`].
    pub attributes: Buffer<u64>,
    /// See [`Translation`].
    pub effective: Buffer<u8>,
}

/// Part of some [`Translations`], to be written by one thread.
struct Part<'c> {
    pa: &'c mut [u64],
    status: &'c mut [u8],
    details: Option<DetailsPart<'c>>,
}

/// Part of some [`Details`].
struct DetailsPart<'c> {
    depth: &'c mut [u8],
    attributes: &'c mut [u64],
    effective: &'c mut [u8],
}

impl Translations {
    /// For `count` addresses, each of which has to be written.
    fn new(count: usize, detailed: bool) -> Self {
        Self {
            pa: Buffer::unwritten(count),
            status: Buffer::unwritten(count),
            details: detailed.then(|| Details {
                depth: Buffer::unwritten(count),
                attributes: Buffer::unwritten(count),
                effective: Buffer::unwritten(count),
            }),
        }
    }

    fn as_part(&mut self) -> Part<'_> {
        Part {
            pa: &mut self.pa,
            status: &mut self.status,
            details: self.details.as_mut().map(|details| DetailsPart {
                depth: &mut details.depth,
                attributes: &mut details.attributes,
                effective: &mut details.effective,
            }),
        }
    }
}

impl<'c> Part<'c> {
    /// Parts of `count` addresses; the last one may be shorter.
    fn cut(mut self, count: usize) -> Vec<Self> {
        let mut parts = Vec::new();
        while self.pa.len() > count {
            let (pa, pa2) = self.pa.split_at_mut(count);
            let (status, status2) = self.status.split_at_mut(count);
            let (details, details2) = self.details.map(|all| all.split_at(count)).unzip();
            parts.push(Self {
                pa,
                status,
                details,
            });
            self = Self {
                pa: pa2,
                status: status2,
                details: details2,
            };
        }
        parts.push(self);
        parts
    }

    /// Those of `count` addresses from `first` on.
    #[inline(always)]
    fn part(&mut self, first: usize, count: usize) -> Part<'_> {
        let rows = first..first + count;
        Part {
            pa: &mut self.pa[rows.clone()],
            status: &mut self.status[rows.clone()],
            details: self.details.as_mut().map(|details| DetailsPart {
                depth: &mut details.depth[rows.clone()],
                attributes: &mut details.attributes[rows.clone()],
                effective: &mut details.effective[rows],
            }),
        }
    }

    #[inline(always)]
    fn set(&mut self, row: usize, value: &Translation) {
        self.pa[row] = value.pa;
        self.status[row] = value.status as u8;
        if let Some(details) = &mut self.details {
            details.depth[row] = value.depth;
            details.attributes[row] = value.attributes;
            details.effective[row] = value.effective;
        }
    }
}

impl<'c> DetailsPart<'c> {
    fn split_at(self, count: usize) -> (Self, Self) {
        let (depth, depth2) = self.depth.split_at_mut(count);
        let (attributes, attributes2) = self.attributes.split_at_mut(count);
        let (effective, effective2) = self.effective.split_at_mut(count);
        (
            Self {
                depth,
                attributes,
                effective,
            },
            Self {
                depth: depth2,
                attributes: attributes2,
                effective: effective2,
            },
        )
    }
}

/// Address translation through one root.
pub struct Translator<'a> {
    plan: &'a Plan,
    image: &'a dyn PhysicalMemory,
    root: u64,
    spans: &'a [Span],
    isa: Isa,
}

impl<'a> Translator<'a> {
    /// Through `root`, for addresses within `spans`.
    pub fn new(plan: &'a Plan, image: &'a dyn PhysicalMemory, root: Pa, spans: &'a [Span]) -> Self {
        Self {
            plan,
            image,
            root: root.0,
            spans,
            isa: Isa::best(),
        }
    }

    /// With this instruction set instead of the widest.
    #[must_use]
    pub fn with_isa(self, isa: Isa) -> Self {
        Self { isa, ..self }
    }

    /// Translates addresses, given as entries of 8 bytes, over the threads of the current
    /// pool; `detailed`: [`Details`] are wanted, too.
    ///
    /// # Errors
    /// [`ReadError`] where the image is damaged; absent tables are no error.
    pub fn translate(&self, vas: &Entries<'_>, detailed: bool) -> Result<Translations, ReadError> {
        let mut out = Translations::new(vas.len(), detailed);
        let share = vas.len().div_ceil(rayon::current_num_threads());
        let share = share.clamp(SHARE, MOST);
        out.as_part()
            .cut(share)
            .into_par_iter()
            .enumerate()
            .try_for_each(|(number, part)| self.share(vas, number * share, part))?;
        Ok(out)
    }

    /// Translates the addresses from `first` on, as many as there is room for.
    fn share(&self, vas: &Entries<'_>, first: usize, mut part: Part<'_>) -> Result<(), ReadError> {
        let mut blocks = Blocks::new(self, part.pa.len());
        self.isa.run(Share {
            blocks: &mut blocks,
            vas,
            first,
            part: &mut part,
        });
        Ordered::new(self, part).translate(blocks.left())
    }
}

/// What one thread does, compiled for an instruction set.
struct Share<'w, 't, 'a, 'v, 'c> {
    blocks: &'w mut Blocks<'t, 'a>,
    vas: &'w Entries<'v>,
    first: usize,
    part: &'w mut Part<'c>,
}

impl Work for Share<'_, '_, '_, '_, '_> {
    #[inline(always)]
    fn run(self) {
        self.blocks.translate(self.vas, self.first, self.part);
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
