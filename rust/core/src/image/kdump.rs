//! kdump-compressed dumps of makedumpfile and QEMU.
//!
//! In blocks of the page size: a header; a sub-header; two bitmaps over page frame
//! numbers (which frames are memory, which of them are in the dump); a descriptor of 24
//! bytes for each page in the dump, in order of its number; the pages, each compressed
//! on its own. Layout: makedumpfile `diskdump_mod.h` and `IMPLEMENTATION`, QEMU
//! `include/sysemu/dump.h`; both write the byte order and word size of the dumping
//! machine.

use super::blocks::{Block, BlockFormat, Blocks};
use super::codec::Codec;
use super::describe::{Description, Machine};
use super::error::{ImageError, ImageErrorKind};
use super::fields::Fields;
use super::mmap::RawBytes;
use super::source::{Source, Store, StoreError};
use super::{Input, OpenOptions, Opened, ReadError, Segment, kdump_parts, notes};
use crate::addr::Pa;

const SIGNATURE: &[u8] = b"KDUMP   ";

/// Bits of a descriptor's flags and of the header's status (`diskdump_mod.h`).
const COMPRESSED_ZLIB: u32 = 0x1;
const COMPRESSED_LZO: u32 = 0x2;
const COMPRESSED_SNAPPY: u32 = 0x4;
const INCOMPLETE: u32 = 0x8;
const EXCLUDED_VMEMMAP: u32 = 0x10;
const COMPRESSED_ZSTD: u32 = 0x20;
/// The codecs by flag.
const CODECS: &[(u32, Codec)] = &[
    (COMPRESSED_ZLIB, Codec::Zlib),
    (COMPRESSED_LZO, Codec::Lzo),
    (COMPRESSED_SNAPPY, Codec::Snappy),
    (COMPRESSED_ZSTD, Codec::Zstd),
];

/// Bit of the dump level: pages of zeros were left out (makedumpfile(8), `-d`).
const LEVEL_ZERO_PAGES: u32 = 1;

const DESCRIPTOR_SIZE: u64 = 24;
/// 64 TiB of 4 KiB pages.
const MAX_PAGES: u64 = 1 << 34;
const MAX_BLOCK_SIZE: u32 = 1 << 20;
/// Beyond this many runs, segments get coarser than the memory is.
const MAX_RUNS: usize = 1 << 20;
/// Bytes of bitmap for which one count of set bits is kept.
const GROUP: u64 = 512;
/// Descriptors and bitmaps are read in pieces of this size when all are looked at.
const CHUNK: u64 = 96 << 10;

/// True for kdump-compressed dumps.
pub(super) fn recognize(input: &Input) -> bool {
    input.starts_with(SIGNATURE)
}

/// Opens a dump, with the other parts of a split one.
pub(super) fn open(input: Input, options: &OpenOptions) -> Opened {
    let mut description = Description::new("kdump", &input);
    let path = input.path;
    let first = Part::open(input.store)?;
    let mut parts = vec![first];
    for source in kdump_parts::sources(&parts[0], path.as_deref(), options) {
        let part = Part::open(open_part(&source, options)?)?;
        kdump_parts::check(&parts[0], &part)?;
        parts.push(part);
    }
    kdump_parts::finish(&mut parts, &mut description)?;
    let dump = Dump::new(parts, description)?;
    let page_size = dump.page_size;
    Ok(Box::new(Blocks::new(dump, page_size)))
}

/// A further part may be flattened or not, whatever the first one is.
fn open_part(source: &Source, options: &OpenOptions) -> Result<Store, ImageError> {
    let store = Store::open(source, !options.no_map)?;
    let input = Input::new(store, Vec::new(), None)?;
    if super::flattened::recognize(&input) {
        return Ok(super::flattened::rearrange(input)?.store);
    }
    Ok(input.store)
}

/// Word size and byte order of the machine that wrote the dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    wide: bool,
    big_endian: bool,
}

/// The header's fields (`struct disk_dump_header`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) form: Form,
    version: u32,
    release: String,
    machine: String,
    /// All of utsname and the time: what parts of one dump have in common.
    pub(super) identity: Vec<u8>,
    status: u32,
    pub(super) block_size: u32,
    sub_header_blocks: u32,
    bitmap_blocks: u32,
    pub(super) max_mapnr: u64,
}

/// The sub-header's fields (`struct kdump_sub_header`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SubHeader {
    phys_base: u64,
    dump_level: u32,
    pub(super) split: bool,
    pub(super) start_pfn: u64,
    pub(super) end_pfn: u64,
    offset_vmcoreinfo: u64,
    size_vmcoreinfo: u64,
    offset_note: u64,
    size_note: u64,
    max_mapnr_64: u64,
}

/// One file of a dump.
pub(super) struct Part {
    pub(super) store: Store,
    pub(super) header: Header,
    pub(super) sub: SubHeader,
    /// The frames whose descriptors are in this file: start, and the one after the end.
    pub(super) pages: (u64, u64),
    memory_bitmap: u64,
    dumped_bitmap: u64,
    descriptors: u64,
    /// Bits of the dumped bitmap, from `pages.0` on, before each group.
    counts: Vec<u64>,
}

impl Header {
    fn read(store: &Store) -> Result<Self, ImageError> {
        let bytes = store.bytes(0, 464, "kdump header")?;
        let mut error = None;
        for form in FORMS {
            let fields = Fields {
                file: store.name(),
                start: 0,
                bytes: &bytes,
                big_endian: form.big_endian,
            };
            let header = Self::parse(&fields, form)?;
            match header.check(&fields) {
                Ok(()) => return Ok(header),
                // Of the four refusals, the one that got furthest is the likeliest.
                Err(refusal) => {
                    if error
                        .as_ref()
                        .is_none_or(|old: &ImageError| old.offset < refusal.offset)
                    {
                        error = Some(refusal);
                    }
                }
            }
        }
        Err(error.unwrap_or_else(|| ImageError::malformed(store.name(), 0, "no kdump header")))
    }

    fn parse(fields: &Fields<'_>, form: Form) -> Result<Self, ImageError> {
        // After utsname (6 strings of 65 bytes at 12) comes a struct timeval, aligned to
        // its word.
        let (time, status) = if form.wide { (408, 424) } else { (404, 412) };
        let text = |at: usize, field: &str| -> Result<String, ImageError> {
            let bytes = fields.slice(at, 65, field)?;
            let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
            Ok(String::from_utf8_lossy(bytes).into_owned())
        };
        Ok(Self {
            form,
            version: fields.u32(8, "header_version")?,
            release: text(12 + 2 * 65, "utsname.release")?,
            machine: text(12 + 4 * 65, "utsname.machine")?,
            identity: [
                fields.slice(12, 390, "utsname")?,
                fields.slice(time, status - time, "timestamp")?,
            ]
            .concat(),
            status: fields.u32(status, "status")?,
            block_size: fields.u32(status + 4, "block_size")?,
            sub_header_blocks: fields.u32(status + 8, "sub_hdr_size")?,
            bitmap_blocks: fields.u32(status + 12, "bitmap_blocks")?,
            max_mapnr: u64::from(fields.u32(status + 16, "max_mapnr")?),
        })
    }

    /// Whether the fields make sense together; in the wrong form they do not.
    fn check(&self, fields: &Fields<'_>) -> Result<(), ImageError> {
        let status = if self.form.wide { 424 } else { 412 };
        if self.version == 0 || self.version > 0xff {
            let what = format!("kdump header version {:#x} is unknown", self.version);
            return Err(fields.malformed(8, what));
        }
        if !self.block_size.is_power_of_two() || !(512..=MAX_BLOCK_SIZE).contains(&self.block_size)
        {
            let what = format!("block size {:#x} is impossible", self.block_size);
            return Err(fields.malformed(status + 4, what));
        }
        if self.sub_header_blocks == 0 || self.sub_header_blocks > 1 << 16 {
            let what = format!(
                "a sub-header of {} blocks is impossible",
                self.sub_header_blocks
            );
            return Err(fields.malformed(status + 8, what));
        }
        // Two bitmaps of equal length, a bit a page. (max_mapnr may be cut to 32 bits.)
        let bits = u64::from(self.bitmap_blocks / 2) * u64::from(self.block_size) * 8;
        if self.bitmap_blocks < 2 || bits < self.max_mapnr {
            let what = format!(
                "{} blocks of bitmaps are too few for {} pages",
                self.bitmap_blocks, self.max_mapnr
            );
            return Err(fields.malformed(status + 12, what));
        }
        Ok(())
    }
}

const FORMS: [Form; 4] = [
    Form {
        wide: true,
        big_endian: false,
    },
    Form {
        wide: true,
        big_endian: true,
    },
    Form {
        wide: false,
        big_endian: false,
    },
    Form {
        wide: false,
        big_endian: true,
    },
];

impl SubHeader {
    fn read(store: &Store, header: &Header) -> Result<Self, ImageError> {
        let start = u64::from(header.block_size);
        let size = u64::from(header.sub_header_blocks) * start;
        let bytes = store.bytes(start, size.min(4096), "kdump sub-header")?;
        let fields = Fields {
            file: store.name(),
            start,
            bytes: &bytes,
            big_endian: header.form.big_endian,
        };
        let wide = header.form.wide;
        // 32-bit machines either align off_t to 8 bytes (arm) or not (i386, and QEMU).
        let padded = Self::parse(&fields, wide, header.version, true)?;
        if wide || padded.fits(store, header) {
            return Ok(padded);
        }
        let packed = Self::parse(&fields, wide, header.version, false)?;
        Ok(if packed.fits(store, header) {
            packed
        } else {
            padded
        })
    }

    fn parse(
        fields: &Fields<'_>,
        wide: bool,
        version: u32,
        padded: bool,
    ) -> Result<Self, ImageError> {
        let word = if wide { 8 } else { 4 };
        let mut at = 0usize;
        let mut next = |size: usize, since: u32, field: &str| -> Result<u64, ImageError> {
            if size == 8 && padded {
                at = at.next_multiple_of(8);
            }
            let here = at;
            at += size;
            if version < since {
                return Ok(0);
            }
            fields.word(here, size == 8, field)
        };
        let mut sub = Self {
            phys_base: next(word, 0, "phys_base")?,
            dump_level: next(4, 1, "dump_level")? as u32,
            split: next(4, 2, "split")? != 0,
            start_pfn: next(word, 2, "start_pfn")?,
            end_pfn: next(word, 2, "end_pfn")?,
            offset_vmcoreinfo: next(8, 3, "offset_vmcoreinfo")?,
            size_vmcoreinfo: next(word, 3, "size_vmcoreinfo")?,
            offset_note: next(8, 4, "offset_note")?,
            size_note: next(word, 4, "size_note")?,
            max_mapnr_64: 0,
        };
        next(8, 5, "offset_eraseinfo")?;
        next(word, 5, "size_eraseinfo")?;
        if version >= 6 {
            sub.start_pfn = next(8, 6, "start_pfn_64")?;
            sub.end_pfn = next(8, 6, "end_pfn_64")?;
            sub.max_mapnr_64 = next(8, 6, "max_mapnr_64")?;
        }
        Ok(sub)
    }

    /// Whether the fields agree with the header and the file.
    fn fits(&self, store: &Store, header: &Header) -> bool {
        let inside = |offset: u64, size: u64| {
            (offset == 0 && size == 0)
                || (offset >= u64::from(header.block_size)
                    && offset
                        .checked_add(size)
                        .is_some_and(|end| end <= store.len()))
        };
        let pages = self.max_mapnr_64;
        inside(self.offset_vmcoreinfo, self.size_vmcoreinfo)
            && inside(self.offset_note, self.size_note)
            && (header.version < 6 || pages.min(u64::from(u32::MAX)) == header.max_mapnr)
    }
}

impl Part {
    fn open(store: Store) -> Result<Self, ImageError> {
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
    fn survey(&mut self, excluded_are_zeros: bool, runs: &mut Runs) -> Result<u64, ImageError> {
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

    fn bit(&self, bitmap: u64, pfn: u64) -> Result<bool, StoreError> {
        let mut byte = [0];
        self.store.read_at(bitmap + pfn / 8, &mut byte)?;
        Ok(byte[0] >> (pfn % 8) & 1 != 0)
    }

    /// How many pages of this part come before `pfn`.
    fn rank(&self, pfn: u64) -> Result<u64, StoreError> {
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

/// Collects runs of pages that come in order.
#[derive(Default)]
struct Runs {
    runs: Vec<(u64, u64)>,
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

/// Where a page of the dump is.
#[derive(Debug, Clone, Copy)]
pub(super) enum PagePlace {
    /// Left out because it was all zeros.
    Zeros,
    /// In this part, as its descriptor says.
    Stored {
        part: usize,
        offset: u64,
        size: u32,
        codec: Option<Codec>,
    },
}

/// A whole dump.
struct Dump {
    parts: Vec<Part>,
    page_size: usize,
    /// Left-out pages read as zeros.
    excluded_are_zeros: bool,
    segments: Vec<Segment>,
    description: Description,
}

impl Dump {
    fn new(mut parts: Vec<Part>, mut description: Description) -> Result<Self, ImageError> {
        let page_size = parts[0].header.block_size;
        let excluded_are_zeros = parts
            .iter()
            .all(|part| part.sub.dump_level & LEVEL_ZERO_PAGES != 0);
        describe(&parts, excluded_are_zeros, &mut description)?;
        let mut runs = Runs::default();
        for part in &mut parts {
            let lost = part.survey(excluded_are_zeros, &mut runs)?;
            if part.header.status & INCOMPLETE != 0 {
                description.warn(format!(
                    "{}: the dump is marked as incomplete: {lost} of its pages are lost, and absent",
                    part.store.name()
                ));
            }
        }
        let segments = runs
            .runs
            .iter()
            .map(|&(first, count)| Segment {
                // At most 2^34 pages of 2^20 bytes.
                pa: Pa(first * u64::from(page_size)),
                len: count * u64::from(page_size),
                file_offset: None,
            })
            .collect();
        Ok(Self {
            page_size: page_size as usize,
            excluded_are_zeros,
            segments,
            description,
            parts,
        })
    }

    fn part_of(&self, pfn: u64) -> Option<(usize, &Part)> {
        let index = self
            .parts
            .partition_point(|part| part.pages.0 <= pfn)
            .checked_sub(1)?;
        let part = self.parts.get(index)?;
        (pfn < part.pages.1).then_some((index, part))
    }

    fn place(&self, pfn: u64) -> Result<PagePlace, ReadError> {
        let pa = Pa(pfn.saturating_mul(self.page_size as u64));
        let absent = ReadError::Absent { pa };
        let Some((index, part)) = self.part_of(pfn) else {
            return Err(absent);
        };
        let failed = |error| part.failure(error, pa, part.dumped_bitmap);
        if !part.bit(part.dumped_bitmap, pfn).map_err(failed)? {
            let zeros =
                self.excluded_are_zeros && part.bit(part.memory_bitmap, pfn).map_err(failed)?;
            return if zeros {
                Ok(PagePlace::Zeros)
            } else {
                Err(absent)
            };
        }
        let at = part.descriptors + part.rank(pfn).map_err(failed)? * DESCRIPTOR_SIZE;
        let mut bytes = [0; DESCRIPTOR_SIZE as usize];
        match part.store.read_at(at, &mut bytes) {
            Ok(()) => {}
            // The descriptors themselves were cut off: lost like the page.
            Err(StoreError::End) => return Err(absent),
            Err(error) => return Err(part.failure(error, pa, at)),
        }
        let descriptor = part.descriptor(&bytes);
        let damaged = |what: String| ReadError::Damaged {
            pa,
            offset: at,
            what: format!("{}: {what}", part.store.name()),
        };
        if descriptor.offset == 0 {
            return Err(absent);
        }
        let codec = CODECS
            .iter()
            .find(|(flag, _)| descriptor.flags & flag != 0)
            .map(|&(_, codec)| codec);
        let size = descriptor.size as usize;
        if size > self.page_size || (codec.is_none() && size != self.page_size) {
            let kind = codec.map_or("an uncompressed", |_| "a compressed");
            return Err(damaged(format!(
                "{kind} page of {size:#x} bytes is impossible with pages of {:#x}",
                self.page_size
            )));
        }
        Ok(PagePlace::Stored {
            part: index,
            offset: descriptor.offset,
            size: descriptor.size,
            codec,
        })
    }
}

struct Descriptor {
    offset: u64,
    size: u32,
    flags: u32,
}

impl Part {
    fn descriptor(&self, bytes: &[u8; DESCRIPTOR_SIZE as usize]) -> Descriptor {
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

    fn failure(&self, error: StoreError, pa: Pa, offset: u64) -> ReadError {
        let what = match error {
            StoreError::End if self.store.changed() => return ReadError::Changed,
            StoreError::End => "the file ends before the page".to_owned(),
            StoreError::Io(error) => error,
        };
        ReadError::Damaged {
            pa,
            offset,
            what: format!("{}: {what}", self.store.name()),
        }
    }
}

impl BlockFormat for Dump {
    type Place = PagePlace;

    fn find(&self, pa: u64) -> Result<Block<PagePlace>, ReadError> {
        let pfn = pa / self.page_size as u64;
        Ok(Block {
            pa: pfn * self.page_size as u64,
            len: self.page_size,
            place: self.place(pfn)?,
        })
    }

    fn in_place(&self, block: &Block<PagePlace>) -> Option<RawBytes<'_>> {
        match block.place {
            PagePlace::Stored {
                part,
                offset,
                size,
                codec: None,
            } => self
                .parts
                .get(part)?
                .store
                .in_place(offset, usize::try_from(size).ok()?),
            _ => None,
        }
    }

    fn load(&self, block: &Block<PagePlace>, buf: &mut [u8]) -> Result<(), ReadError> {
        let PagePlace::Stored {
            part,
            offset,
            size,
            codec,
        } = block.place
        else {
            buf.fill(0);
            return Ok(());
        };
        let part = &self.parts[part];
        let pa = Pa(block.pa);
        let failed = |error| part.failure(error, pa, offset);
        let Some(codec) = codec else {
            return part.store.read_at(offset, buf).map_err(failed);
        };
        // At most a page: `place` looked.
        let mut compressed = vec![0; size as usize];
        part.store
            .read_at(offset, &mut compressed)
            .map_err(failed)?;
        codec
            .decompress(&compressed, buf)
            .map_err(|what| ReadError::Damaged {
                pa,
                offset,
                what: format!("{}: {what}", part.store.name()),
            })
    }

    fn segments(&self) -> &[Segment] {
        &self.segments
    }

    fn changed(&self) -> bool {
        self.parts.iter().any(|part| part.store.changed())
    }

    fn description(&self) -> &Description {
        &self.description
    }
}

fn describe(
    parts: &[Part],
    excluded_are_zeros: bool,
    description: &mut Description,
) -> Result<(), ImageError> {
    let (header, sub) = (&parts[0].header, &parts[0].sub);
    for part in parts {
        read_vmcoreinfo(part, description)?;
        read_notes(part, description)?;
    }
    let big_endian = header.form.big_endian;
    let from_uname = || MACHINES.iter().find(|(name, _)| *name == header.machine);
    // QEMU writes "x86_64" or "i686" for every machine, and no release.
    let e_machine = notes::machine(&description.notes, header.form.wide, big_endian)
        .or_else(|| {
            from_uname()
                .filter(|_| !header.release.is_empty())
                .map(|&(_, machine)| machine)
        })
        .unwrap_or(0);
    description.machine = Some(Machine {
        e_machine,
        class_bits: if header.form.wide { 64 } else { 32 },
        big_endian,
    });
    let writer = if header.release.is_empty() {
        "QEMU, or makedumpfile without utsname"
    } else {
        "makedumpfile"
    };
    description.detail("written by", writer);
    if !header.release.is_empty() {
        description.detail("kernel release", &header.release);
        description.detail("machine", &header.machine);
    }
    description.detail("header version", header.version);
    description.detail("word size", if header.form.wide { 64 } else { 32 });
    description.detail("byte order", if big_endian { "big" } else { "little" });
    description.detail("page size", format!("{:#x}", header.block_size));
    description.detail("pages (highest number)", format!("{:#x}", header.max_mapnr));
    description.detail("phys_base", format!("{:#x}", sub.phys_base));
    description.detail("dump level", sub.dump_level);
    description.detail(
        "excluded pages",
        if excluded_are_zeros {
            "read as zeros (the dump level says that pages of zeros were left out)"
        } else {
            "are absent"
        },
    );
    let codecs: Vec<&str> = CODECS
        .iter()
        .filter(|(flag, _)| header.status & flag != 0)
        .map(|(_, codec)| codec.name())
        .collect();
    if !codecs.is_empty() {
        description.detail("compression", codecs.join(", "));
    }
    if header.status & EXCLUDED_VMEMMAP != 0 {
        description.detail("unused vmemmap pages", "left out");
    }
    if parts.len() > 1 {
        description.detail("parts", parts.len());
    }
    description.detail("notes", description.notes.len());
    description.detail("access", parts[0].store.access());
    Ok(())
}

/// `utsname.machine` to `e_machine`.
const MACHINES: &[(&str, u16)] = &[
    ("x86_64", 62),
    ("i386", 3),
    ("i486", 3),
    ("i586", 3),
    ("i686", 3),
    ("aarch64", 183),
    ("armv7l", 40),
    ("armv8l", 40),
    ("riscv64", 243),
    ("s390x", 22),
    ("ppc64", 21),
    ("ppc64le", 21),
];

fn read_vmcoreinfo(part: &Part, description: &mut Description) -> Result<(), ImageError> {
    let (offset, size) = (part.sub.offset_vmcoreinfo, part.sub.size_vmcoreinfo);
    if offset == 0 || size == 0 {
        return Ok(());
    }
    let there = size
        .min(part.store.len().saturating_sub(offset))
        .min(notes::LIMIT);
    if there < size {
        description.warn(format!("VMCOREINFO is cut short (offset {offset:#x})"));
    }
    if there > 0 && description.vmcoreinfo.is_none() {
        let bytes = part.store.bytes(offset, there, "VMCOREINFO")?;
        description.set_vmcoreinfo(&bytes);
    }
    Ok(())
}

fn read_notes(part: &Part, description: &mut Description) -> Result<(), ImageError> {
    let (offset, size) = (part.sub.offset_note, part.sub.size_note);
    if offset == 0 || size == 0 {
        return Ok(());
    }
    let there = size
        .min(part.store.len().saturating_sub(offset))
        .min(notes::LIMIT);
    let mut whole = there == size;
    if there > 0 {
        let bytes = part.store.bytes(offset, there, "notes")?;
        let (notes, all) = notes::parse(&bytes, part.header.form.big_endian);
        whole &= all;
        description.add_notes(notes);
    }
    if !whole {
        description.warn(format!("the notes are cut short (offset {offset:#x})"));
    }
    Ok(())
}
