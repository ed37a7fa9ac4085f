//! One file of a kdump: which pages are in it, and where their descriptors are.

use super::INCOMPLETE;
use super::header::{Header, SubHeader};
use crate::image::error::{ImageError, ImageErrorKind};
use crate::image::source::{Store, StoreError};

pub(super) const DESCRIPTOR_SIZE: u64 = 24;
/// 64 TiB of 4 KiB pages.
const MAX_PAGES: u64 = 1 << 34;
/// Beyond this many runs, segments get coarser than the memory is.
const MAX_RUNS: usize = 1 << 20;
/// Bytes of bitmap for which one count of set bits is kept.
const GROUP: u64 = 512;
/// Descriptors and bitmaps are read in pieces of this size when all are looked at; a
/// multiple of a descriptor and of a word.
const CHUNK: u64 = 96 << 10;

/// One file of a dump.
pub(super) struct Part {
    pub(super) store: Store,
    pub(super) header: Header,
    pub(super) sub: SubHeader,
    /// The frames whose descriptors are in this file: start, and the one after the end.
    pub(super) pages: (u64, u64),
    pub(super) memory_bitmap: u64,
    pub(super) dumped_bitmap: u64,
    pub(super) descriptors: u64,
    /// Bits of the dumped bitmap, from `pages.0` on, before each group.
    counts: Vec<u64>,
}

impl Part {
    pub(super) fn open(store: Store) -> Result<Self, ImageError> {
        let mut header = Header::read(&store)?;
        let sub = SubHeader::read(&store, &header)?;
        if header.version >= 6 && sub.max_mapnr_64 != 0 {
            header.max_mapnr = sub.max_mapnr_64;
        }
        let block_size = u64::from(header.block_size);
        let half = u64::from(header.bitmap_blocks / 2) * block_size;
        if header.max_mapnr > MAX_PAGES || header.max_mapnr > half.saturating_mul(8) {
            let what = format!(
                "{:#x} pages are more than its bitmaps tell of, or than can be read",
                header.max_mapnr
            );
            return Err(ImageError::new(ImageErrorKind::Limit, store.name(), what).at(block_size));
        }
        let memory_bitmap = (1 + u64::from(header.sub_header_blocks)) * block_size;
        let pages = if sub.split {
            (sub.start_pfn, sub.end_pfn.min(header.max_mapnr))
        } else {
            (0, header.max_mapnr)
        };
        if pages.0 > pages.1 {
            let what = format!("a part from page {:#x} to page {:#x}", pages.0, pages.1);
            return Err(ImageError::malformed(store.name(), block_size, what));
        }
        Ok(Self {
            memory_bitmap,
            dumped_bitmap: memory_bitmap + half,
            descriptors: memory_bitmap + u64::from(header.bitmap_blocks) * block_size,
            pages,
            counts: Vec::new(),
            store,
            header,
            sub,
        })
    }

    /// Looks at the bitmaps once: counts the pages before each group, collects what is
    /// covered, and says how many pages of an incomplete dump are lost.
    pub(super) fn survey(
        &mut self,
        excluded_are_zeros: bool,
        runs: &mut Runs,
    ) -> Result<u64, ImageError> {
        let mut counts = Vec::new();
        let (mut total, mut lost) = (0, 0);
        let first_byte = self.pages.0 / 64 * 8;
        let incomplete = self.header.status & INCOMPLETE != 0;
        let mut descriptors = Descriptors::new(self);
        self.for_each_bitmap_word(|byte, memory, dumped| {
            // Groups are counted from the first byte that is looked at.
            if (byte - first_byte).is_multiple_of(GROUP) {
                counts.push(total);
            }
            total += u64::from(dumped.count_ones());
            let mut there = dumped;
            if incomplete {
                there = descriptors.stored(dumped)?;
                lost += u64::from((dumped ^ there).count_ones());
            }
            if excluded_are_zeros {
                there |= memory & !dumped;
            }
            runs.add_word(byte * 8, there);
            Ok(())
        })?;
        self.counts = counts;
        Ok(lost)
    }

    /// Calls `each` with the words of the two bitmaps (memory, dumped) that hold this
    /// part's pages, other bits cleared, and their byte offset in the bitmaps.
    fn for_each_bitmap_word(
        &self,
        mut each: impl FnMut(u64, u64, u64) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let (from, to) = self.pages;
        let mut at = from / 64 * 8;
        let end = to.div_ceil(8);
        while at < end {
            let len = CHUNK.min(end - at);
            let chunk = |bitmap: u64| self.store.bytes(bitmap + at, len, "bitmaps of pages");
            let (memory, dumped) = (chunk(self.memory_bitmap)?, chunk(self.dumped_bitmap)?);
            for (memory, dumped) in memory.chunks(8).zip(dumped.chunks(8)) {
                let first = at * 8;
                let mut mask = u64::MAX;
                if from > first {
                    mask <<= from - first;
                }
                if to - first < 64 {
                    mask &= (1 << (to - first)) - 1;
                }
                each(at, bitmap_word(memory) & mask, bitmap_word(dumped) & mask)?;
                at += 8;
            }
        }
        Ok(())
    }

    pub(super) fn bit(&self, bitmap: u64, pfn: u64) -> Result<bool, StoreError> {
        let mut byte = [0];
        self.store.read_at(bitmap + pfn / 8, &mut byte)?;
        Ok(byte[0] >> (pfn % 8) & 1 != 0)
    }

    /// How many pages of this part come before `pfn`.
    pub(super) fn rank(&self, pfn: u64) -> Result<u64, StoreError> {
        let first_byte = self.pages.0 / 64 * 8;
        let byte = pfn / 8;
        let group = (byte - first_byte) / GROUP;
        let start = first_byte + group * GROUP;
        let mut bytes = [0; GROUP as usize];
        let bytes = &mut bytes[..(byte - start + 1) as usize];
        self.store.read_at(self.dumped_bitmap + start, bytes)?;
        if let Some(last) = bytes.last_mut() {
            *last &= (1u16 << (pfn % 8)).wrapping_sub(1) as u8;
        }
        if group == 0 {
            // Pages before the part's first are counted by another part.
            let skip = self.pages.0 - first_byte * 8;
            for (index, byte) in bytes.iter_mut().take(8).enumerate() {
                let before = skip.saturating_sub(index as u64 * 8).min(8);
                *byte &= !((1u16 << before).wrapping_sub(1) as u8);
            }
        }
        let count = usize::try_from(group)
            .ok()
            .and_then(|group| self.counts.get(group));
        let ones: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
        Ok(count.copied().unwrap_or(0) + u64::from(ones))
    }
}

/// Bit n of byte m is page 8m + n on every machine, so up to 8 bytes are little-endian.
fn bitmap_word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// All descriptors of a part, in order.
struct Descriptors<'a> {
    part: &'a Part,
    next: u64,
    chunk: Vec<u8>,
    used: usize,
}

impl<'a> Descriptors<'a> {
    fn new(part: &'a Part) -> Self {
        Self {
            part,
            next: part.descriptors,
            chunk: Vec::new(),
            used: 0,
        }
    }

    /// Those of the set bits whose pages are not lost.
    fn stored(&mut self, dumped: u64) -> Result<u64, ImageError> {
        let mut stored = 0;
        let mut left = dumped;
        while left != 0 {
            let bit = left & left.wrapping_neg();
            left ^= bit;
            if self
                .next()?
                .is_some_and(|descriptor| descriptor.offset != 0)
            {
                stored |= bit;
            }
        }
        Ok(stored)
    }

    fn next(&mut self) -> Result<Option<Descriptor>, ImageError> {
        if self.used == self.chunk.len() {
            let store = &self.part.store;
            let there = store.len().saturating_sub(self.next) / DESCRIPTOR_SIZE;
            let len = CHUNK.min(there * DESCRIPTOR_SIZE);
            self.chunk = store.bytes(self.next.min(store.len()), len, "page descriptors")?;
            self.next += len;
            self.used = 0;
        }
        let bytes = self.chunk.get(self.used..).unwrap_or_default();
        let Some(bytes) = bytes.first_chunk() else {
            return Ok(None);
        };
        self.used += bytes.len();
        Ok(Some(self.part.descriptor(bytes)))
    }
}

/// Where a page's data is (`struct page_desc`).
pub(super) struct Descriptor {
    pub(super) offset: u64,
    pub(super) size: u32,
    pub(super) flags: u32,
}

impl Part {
    pub(super) fn descriptor(&self, bytes: &[u8; DESCRIPTOR_SIZE as usize]) -> Descriptor {
        let [
            offset @ ..,
            s0,
            s1,
            s2,
            s3,
            f0,
            f1,
            f2,
            f3,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
        ] = *bytes;
        let (size, flags) = ([s0, s1, s2, s3], [f0, f1, f2, f3]);
        if self.header.form.big_endian {
            Descriptor {
                offset: u64::from_be_bytes(offset),
                size: u32::from_be_bytes(size),
                flags: u32::from_be_bytes(flags),
            }
        } else {
            Descriptor {
                offset: u64::from_le_bytes(offset),
                size: u32::from_le_bytes(size),
                flags: u32::from_le_bytes(flags),
            }
        }
    }
}

/// Collects runs of pages that come in order.
#[derive(Default)]
pub(super) struct Runs {
    pub(super) runs: Vec<(u64, u64)>,
}

impl Runs {
    fn add_word(&mut self, first: u64, mut word: u64) {
        if word == u64::MAX {
            return self.add(first, 64);
        }
        let mut at = 0;
        while word != 0 {
            let zeros = word.trailing_zeros();
            word >>= zeros;
            let ones = word.trailing_ones();
            self.add(first + at + u64::from(zeros), u64::from(ones));
            at += u64::from(zeros + ones);
            word = word.checked_shr(ones).unwrap_or(0);
        }
    }

    fn add(&mut self, first: u64, count: u64) {
        let full = self.runs.len() >= MAX_RUNS;
        match self.runs.last_mut() {
            Some((start, len)) if *start + *len == first || full => *len = first + count - *start,
            _ => self.runs.push((first, count)),
        }
    }
}
