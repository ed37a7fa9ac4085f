//! Images of blocks that have to be decompressed before they can be read.

use super::describe::Description;
use super::mmap::RawBytes;
use super::{PhysicalMemory, ReadError, Segment};
use crate::addr::Pa;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Memory that the decompressed blocks of one image may take.
const CACHE_SIZE: usize = 16 << 20;

/// A block of memory, as its format finds it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block<P> {
    /// First address.
    pub(crate) pa: u64,
    /// Length in bytes, at least 1; small enough to be held in memory.
    pub(crate) len: usize,
    /// Where its bytes are, in the terms of the format.
    pub(crate) place: P,
}

/// A format of blocks.
pub(crate) trait BlockFormat: Send + Sync {
    /// Where a block is.
    type Place: Copy;

    /// The block that holds an address.
    fn find(&self, pa: u64) -> Result<Block<Self::Place>, ReadError>;

    /// The bytes of a block that is stored as it was.
    fn in_place(&self, block: &Block<Self::Place>) -> Option<RawBytes<'_>>;

    /// Fills `buf`, which has the block's length.
    fn load(&self, block: &Block<Self::Place>, buf: &mut [u8]) -> Result<(), ReadError>;

    fn segments(&self) -> &[Segment];

    fn changed(&self) -> bool;

    /// How a file changed, if one did.
    fn change(&self) -> Option<String>;

    fn description(&self) -> &Description;
}

/// An image of blocks, with a cache of those that were asked for in parts.
pub(crate) struct Blocks<F> {
    format: F,
    slots: usize,
    /// Made when the first block is asked for in parts.
    cache: OnceLock<Vec<Mutex<Option<Cached>>>>,
    loaded: AtomicU64,
}

struct Cached {
    pa: u64,
    bytes: Vec<u8>,
}

impl<F: BlockFormat> Blocks<F> {
    /// `block_len` is the usual length of a block: it bounds the number in the cache.
    pub(crate) fn new(format: F, block_len: usize) -> Self {
        Self {
            format,
            slots: (CACHE_SIZE / block_len.max(1)).clamp(16, 1 << 14),
            cache: OnceLock::new(),
            loaded: AtomicU64::new(0),
        }
    }

    fn load(&self, block: &Block<F::Place>, buf: &mut [u8]) -> Result<(), ReadError> {
        self.loaded.fetch_add(1, Relaxed);
        self.format.load(block, buf)
    }

    /// Copies a part of a block out of the cache, after filling it if need be.
    fn copy_part(
        &self,
        block: &Block<F::Place>,
        within: usize,
        buf: &mut [u8],
    ) -> Result<(), ReadError> {
        // Blocks lie at multiples of their length, more or less: spread them evenly.
        let cache = self
            .cache
            .get_or_init(|| (0..self.slots).map(|_| Mutex::new(None)).collect());
        let slot = (block.pa / block.len as u64 % cache.len() as u64) as usize;
        let mut slot = cache[slot].lock().unwrap_or_else(PoisonError::into_inner);
        let cached = match slot.take() {
            Some(cached) if cached.pa == block.pa => cached,
            old => {
                let mut bytes = old.map_or_else(Vec::new, |cached| cached.bytes);
                bytes.resize(block.len, 0);
                self.load(block, &mut bytes)?;
                Cached {
                    pa: block.pa,
                    bytes,
                }
            }
        };
        buf.copy_from_slice(&cached.bytes[within..within + buf.len()]);
        *slot = Some(cached);
        Ok(())
    }
}

/// The same error, about the address that was asked for and not its block's first.
fn at(error: ReadError, pa: u64) -> ReadError {
    match error {
        ReadError::Absent { .. } => ReadError::Absent { pa: Pa(pa) },
        ReadError::Damaged { offset, what, .. } => ReadError::Damaged {
            pa: Pa(pa),
            offset,
            what,
        },
        ReadError::Changed { what } => ReadError::Changed { what },
    }
}

impl<F: BlockFormat> PhysicalMemory for Blocks<F> {
    fn in_place(&self, pa: Pa, len: usize) -> Option<RawBytes<'_>> {
        let block = self.format.find(pa.0).ok()?;
        let within = usize::try_from(pa.0.checked_sub(block.pa)?).ok()?;
        if len > block.len.checked_sub(within)? {
            return None;
        }
        self.format.in_place(&block)?.get(within, len)
    }

    fn read(&self, pa: Pa, buf: &mut [u8]) -> Result<(), ReadError> {
        let mut done = 0;
        while done < buf.len() {
            let here = pa
                .checked_add(done as u64)
                .ok_or(ReadError::Absent { pa: Pa(u64::MAX) })?
                .0;
            let block = self.format.find(here).map_err(|error| at(error, here))?;
            let within = usize::try_from(here - block.pa).unwrap_or(usize::MAX);
            let left = block.len.saturating_sub(within);
            let part = left.min(buf.len() - done);
            let part = &mut buf[done..done + part];
            done += part.len();
            if part.len() == block.len {
                self.load(&block, part)
            } else {
                self.copy_part(&block, within, part)
            }
            .map_err(|error| at(error, here))?;
        }
        Ok(())
    }

    fn segments(&self) -> &[Segment] {
        self.format.segments()
    }

    fn loaded(&self) -> u64 {
        self.loaded.load(Relaxed)
    }

    fn changed(&self) -> bool {
        self.format.changed()
    }

    fn change(&self) -> String {
        let change = self.format.change();
        change.unwrap_or_else(|| self.format.description().changed())
    }

    fn describe(&self) -> &Description {
        self.format.description()
    }
}
