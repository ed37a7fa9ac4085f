//! kdump-compressed dumps of makedumpfile and QEMU.
//!
//! In blocks of the page size: a header; a sub-header; two bitmaps over page frame
//! numbers (which frames are memory, which of them are in the dump); a descriptor of 24
//! bytes for each page in the dump, in order of its number; the pages, each compressed
//! on its own. Layout: makedumpfile `diskdump_mod.h` and `IMPLEMENTATION`, QEMU
//! `include/sysemu/dump.h`; both write the byte order and word size of the dumping
//! machine.

mod describe;
mod header;
mod part;
mod split;

use super::blocks::{Block, BlockFormat, Blocks};
use super::codec::Codec;
use super::describe::Description;
use super::error::ImageError;
use super::mmap::RawBytes;
use super::source::{Source, Store, StoreError};
use super::{Input, OpenOptions, Opened, ReadError, Segment, Stored};
use crate::addr::Pa;
use part::{DESCRIPTOR_SIZE, Part, Runs};

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
    for source in split::sources(&parts[0], path.as_deref(), options) {
        let part = Part::open(open_part(&source, options)?)?;
        split::check(&parts[0], &part)?;
        parts.push(part);
    }
    split::finish(&mut parts, &mut description)?;
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

/// Where a page of the dump is.
#[derive(Debug, Clone, Copy)]
enum PagePlace {
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
        describe::fill(&parts, excluded_are_zeros, &mut description)?;
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
                stored: Stored::Encoded,
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
        let failed = |error| part.store.memory_error(pa, part.dumped_bitmap, error);
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
            Err(error) => return Err(part.store.memory_error(pa, at, error)),
        }
        let descriptor = part.descriptor(&bytes);
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
            let what = format!(
                "{kind} page of {size:#x} bytes is impossible with pages of {:#x}",
                self.page_size
            );
            return Err(part.store.damaged(pa, at, &what));
        }
        Ok(PagePlace::Stored {
            part: index,
            offset: descriptor.offset,
            size: descriptor.size,
            codec,
        })
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
        let Some(codec) = codec else {
            return part.store.read_memory(pa, offset, buf);
        };
        // At most a page: `place` looked.
        let mut compressed = vec![0; size as usize];
        part.store.read_memory(pa, offset, &mut compressed)?;
        codec
            .decompress(&compressed, buf)
            .map_err(|what| part.store.damaged(pa, offset, &what))
    }

    fn segments(&self) -> &[Segment] {
        &self.segments
    }

    fn changed(&self) -> bool {
        self.parts.iter().any(|part| part.store.changed())
    }

    fn change(&self) -> Option<String> {
        self.parts.iter().find_map(|part| part.store.change())
    }

    fn description(&self) -> &Description {
        &self.description
    }
}
