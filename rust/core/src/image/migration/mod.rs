//! QEMU migration streams and `savevm` files: the RAM section.
//!
//! Magic `QEVM` and version 3, then sections (`migration/savevm.c`). The section "ram"
//! (`migration/ram.c`) lists the RAM blocks, then gives pages by block and offset, some
//! of them more than once: the last one counts. With the capability `mapped-ram` each
//! block has a bitmap and its pages at fixed places instead. Everything is big-endian.
//! Reading ends with the RAM: device state, registers included, has no form that could
//! be read without QEMU.

mod mapped;
mod pages;

use super::blocks::Blocks;
use super::cursor::Cursor;
use super::describe::Description;
use super::error::{ImageError, ImageErrorKind};
use super::flat::Flat;
use super::ram_blocks::{self, RamBlock};
use super::{Input, OpenOptions, Opened};
use mapped::MappedBlock;
use pages::{PageEntry, PagePlace, PageWord, Pages};

pub(super) const MAGIC: &[u8; 4] = b"QEVM";

/// Section types (`migration/savevm.h`).
const EOF: u8 = 0;
const SECTION_START: u8 = 1;
const SECTION_PART: u8 = 2;
const SECTION_END: u8 = 3;
const SECTION_FULL: u8 = 4;
const SUBSECTION: u8 = 5;
const CONFIGURATION: u8 = 7;
const COMMAND: u8 = 8;
const SECTION_FOOTER: u8 = 0x7e;

/// Flags in the low bits of a page's offset (`migration/ram.c`, `RAM_SAVE_FLAG_*`).
const FILL: u64 = 0x02;
const MEM_SIZE: u64 = 0x04;
const PAGE: u64 = 0x08;
const END_OF_SECTION: u64 = 0x10;
const CONTINUE: u64 = 0x20;
const XBZRLE: u64 = 0x40;
const COMPRESSED: u64 = 0x100;
const MULTIFD_FLUSH: u64 = 0x200;

/// Pages of 1 TiB; each takes 16 bytes of memory here.
const MAX_PAGES: usize = 1 << 28;
const MAX_BLOCKS: usize = 1 << 16;
/// True for a stream.
pub(super) fn recognize(input: &Input) -> bool {
    input.starts_with(MAGIC)
}

/// Opens a file that is a stream.
pub(super) fn open(input: Input, _options: &OpenOptions) -> Opened {
    open_at(input, 0)
}

/// Opens the stream at an offset of a file. Offsets in it count from the file's start.
pub(super) fn open_at(input: Input, start: u64) -> Opened {
    let mut description = Description::new("migration", &input);
    let store = input.store;
    let mut stream = Stream {
        cursor: Cursor {
            store: &store,
            at: start,
        },
        machine: String::new(),
        page_size: 4096,
        mapped: false,
        ignore_shared: false,
        blocks: Vec::new(),
        mapped_blocks: Vec::new(),
        last_block: None,
        pages: Vec::new(),
        warnings: Vec::new(),
    };
    match stream.read() {
        Ok(()) => {}
        // What was read of the RAM up to there is good.
        Err(error) if error.kind == ImageErrorKind::Truncated && !stream.blocks.is_empty() => {
            let offset = error.offset.unwrap_or(0);
            stream.warnings.push(format!(
                "{} (offset {offset:#x}): pages after that are absent",
                error.what
            ));
        }
        Err(error) => return Err(error),
    }
    let Stream {
        machine,
        page_size,
        mapped,
        blocks,
        mapped_blocks,
        pages,
        warnings,
        ..
    } = stream;
    if blocks.is_empty() {
        let what = "the stream has no RAM section";
        return Err(
            ImageError::new(ImageErrorKind::Unsupported, store.name(), what)
                .at(start)
                .hint("was the machine saved with its memory?"),
        );
    }
    description.warnings.extend(warnings);
    description.detail(
        "machine",
        if machine.is_empty() {
            "not named"
        } else {
            &machine
        },
    );
    for block in &blocks {
        for part in &block.parts {
            let value = format!("{} at {:#x}, {:#x} bytes", block.name, part.pa, part.len);
            description.detail("RAM block", value);
        }
    }
    description.detail("access", store.access());
    if mapped {
        let pieces = mapped::pieces(&store, &blocks, &mapped_blocks)?;
        description.detail("mapped-ram", "yes");
        return Ok(Box::new(Flat::new(vec![store], pieces, description)));
    }
    let image = Pages::new(store, page_size, pages, description);
    Ok(Box::new(Blocks::new(image, page_size as usize)))
}

struct Stream<'a> {
    cursor: Cursor<'a>,
    machine: String,
    page_size: u64,
    mapped: bool,
    ignore_shared: bool,
    blocks: Vec<RamBlock>,
    mapped_blocks: Vec<MappedBlock>,
    last_block: Option<usize>,
    /// In the order of the stream.
    pages: Vec<PageEntry>,
    warnings: Vec<String>,
}

impl Stream<'_> {
    fn error(&self, kind: ImageErrorKind, what: impl Into<String>) -> ImageError {
        ImageError::new(kind, self.cursor.store.name(), what).at(self.cursor.at)
    }

    fn read(&mut self) -> Result<(), ImageError> {
        let magic = self.cursor.array::<4>("stream magic")?;
        let version = self.cursor.be32("stream version")?;
        if magic != *MAGIC || version != 3 {
            let what = format!("QEMU stream version {version}; only 3 is known");
            return Err(self.error(ImageErrorKind::Unsupported, what));
        }
        // Iterative sections go on under the number that they began with.
        let mut begun: Vec<(u32, String)> = Vec::new();
        loop {
            match self.cursor.u8("section type")? {
                EOF => return Ok(()),
                CONFIGURATION => self.configuration()?,
                COMMAND => {
                    self.cursor.be16("command")?;
                    let len = self.cursor.be16("command length")?;
                    self.cursor.skip(len.into(), "command")?;
                }
                SECTION_START | SECTION_FULL => {
                    let id = self.cursor.be32("section id")?;
                    let name = self.cursor.short_text("section name")?;
                    self.cursor.be32("section instance")?;
                    self.cursor.be32("section version")?;
                    if !self.section(&name)? {
                        return Ok(());
                    }
                    begun.push((id, name));
                }
                kind @ (SECTION_PART | SECTION_END) => {
                    let id = self.cursor.be32("section id")?;
                    let name = begun.iter().rfind(|begun| begun.0 == id);
                    let name = name.map_or("", |(_, name)| name);
                    if !self.section(name)? || (name == "ram" && kind == SECTION_END) {
                        return Ok(());
                    }
                }
                kind => {
                    let what = format!("a section of unknown type {kind:#x}");
                    return Err(self.error(ImageErrorKind::Malformed, what));
                }
            }
        }
    }

    /// Reads the RAM's section, or passes over another one. False: that cannot be done,
    /// and the RAM was listed before.
    fn section(&mut self, name: &str) -> Result<bool, ImageError> {
        match name {
            "ram" => self.ram()?,
            "s390-storage_attributes" => self.storage_attributes()?,
            // A radix guest's pseries machine has no hash table and says -1
            // (`hw/ppc/spapr.c`, htab_save_setup).
            "spapr/htab" if self.cursor.be32("hash table size")? == u32::MAX => {}
            _ if self.blocks.is_empty() => {
                let what =
                    format!("section {name:?} comes before the RAM and cannot be passed over");
                return Err(self
                    .error(ImageErrorKind::Unsupported, what)
                    .hint("save the guest with dump-guest-memory"));
            }
            _ => {
                let at = self.cursor.at;
                self.warnings.push(format!(
                    "section {name:?} is not RAM and cannot be passed over (offset {at:#x}): \
                     pages after that are absent; save the guest with dump-guest-memory"
                ));
                return Ok(false);
            }
        }
        self.footer()?;
        Ok(true)
    }

    /// A byte for each page's use by the guest (`hw/s390x/s390-stattrib.c`, cmma_save):
    /// records of an address with flags, a length and as many bytes, up to an end mark.
    fn storage_attributes(&mut self) -> Result<(), ImageError> {
        const END: u64 = 0x01;
        const MORE: u64 = 0x02;
        loop {
            let record = self.cursor.be64("storage attributes")?;
            if record & MORE != 0 {
                let len = self.cursor.be64("length of storage attributes")?;
                self.cursor.skip(len, "storage attributes")?;
            }
            if record & END != 0 {
                return Ok(());
            }
        }
    }

    fn footer(&mut self) -> Result<(), ImageError> {
        let mut byte = [0];
        let there = self.cursor.store.read_at(self.cursor.at, &mut byte).is_ok();
        if there && byte[0] == SECTION_FOOTER {
            self.cursor.skip(5, "section footer")?;
        }
        Ok(())
    }

    /// `vmstate_configuration`: the machine's name, then subsections.
    fn configuration(&mut self) -> Result<(), ImageError> {
        let len = self.cursor.be32("length of the machine's name")?;
        if len > 4096 {
            let what = format!("a machine's name of {len:#x} bytes");
            return Err(self.error(ImageErrorKind::Malformed, what));
        }
        self.machine = self.cursor.text(len.into(), "machine's name")?;
        loop {
            let mut byte = [0];
            let there = self.cursor.store.read_at(self.cursor.at, &mut byte).is_ok();
            if !there || byte[0] != SUBSECTION {
                return Ok(());
            }
            self.cursor.skip(1, "subsection")?;
            let name = self.cursor.short_text("subsection name")?;
            self.cursor.be32("subsection version")?;
            match name.as_str() {
                "configuration/target-page-bits" => {
                    let bits = self.cursor.be32("target-page-bits")?;
                    if !(10..=20).contains(&bits) {
                        let what = format!("pages of 2^{bits} bytes");
                        return Err(self.error(ImageErrorKind::Malformed, what));
                    }
                    self.page_size = 1 << bits;
                }
                "configuration/capabilities" => {
                    for _ in 0..self.cursor.be32("number of capabilities")? {
                        match self.cursor.short_text("capability")?.as_str() {
                            "mapped-ram" => self.mapped = true,
                            "x-ignore-shared" => self.ignore_shared = true,
                            _ => {}
                        }
                    }
                }
                "configuration/uuid" => self.cursor.skip(16, "uuid")?,
                _ => {
                    let what = format!("the unknown subsection {name:?}");
                    return Err(self.error(ImageErrorKind::Unsupported, what));
                }
            }
        }
    }

    /// Records of the RAM section up to its end mark.
    fn ram(&mut self) -> Result<(), ImageError> {
        loop {
            let record = self.cursor.be64("RAM record")?;
            // The smallest page size leaves 10 bits for flags.
            let flags = record & 0x3ff & (self.page_size - 1);
            let offset = record & !(self.page_size - 1);
            match flags & !CONTINUE {
                END_OF_SECTION => return Ok(()),
                MEM_SIZE => self.block_list(offset)?,
                MULTIFD_FLUSH => {}
                kind @ (FILL | PAGE | XBZRLE | COMPRESSED) => {
                    let block = self.block(flags)?;
                    let place = self.page(kind)?;
                    self.add(block, offset, &place)?;
                }
                _ => {
                    let what = format!("a RAM record with the unknown flags {flags:#x}");
                    return Err(self.error(ImageErrorKind::Unsupported, what));
                }
            }
        }
    }

    fn block(&mut self, flags: u64) -> Result<usize, ImageError> {
        let index = if flags & CONTINUE != 0 {
            self.last_block
        } else {
            let name = self.cursor.short_text("RAM block name")?;
            self.blocks.iter().position(|block| block.name == name)
        };
        self.last_block = index;
        index.ok_or_else(|| {
            let what = "a page of a RAM block that was not listed";
            self.error(ImageErrorKind::Malformed, what)
        })
    }

    /// Passes over a page's data and says where it is.
    fn page(&mut self, kind: u64) -> Result<PagePlace, ImageError> {
        let at = self.cursor.at;
        match kind {
            FILL => self.cursor.u8("fill byte").map(PagePlace::Fill),
            PAGE => {
                self.cursor.skip(self.page_size, "page")?;
                Ok(PagePlace::Stored(at))
            }
            COMPRESSED => {
                let len = self.cursor.be32("length of a compressed page")?;
                self.cursor.skip(len.into(), "compressed page")?;
                Ok(PagePlace::Compressed(at))
            }
            _ => {
                self.cursor.u8("XBZRLE kind")?;
                let len = self.cursor.be16("length of an XBZRLE page")?;
                self.cursor.skip(len.into(), "XBZRLE page")?;
                Ok(PagePlace::Difference(at))
            }
        }
    }

    fn add(&mut self, block: usize, offset: u64, place: &PagePlace) -> Result<(), ImageError> {
        let block = &self.blocks[block];
        if offset >= block.len {
            let what = format!(
                "a page at {offset:#x} of a RAM block of {:#x} bytes",
                block.len
            );
            return Err(self.error(ImageErrorKind::Malformed, what));
        }
        if self.pages.len() == MAX_PAGES {
            let what = format!("more than {MAX_PAGES} pages");
            return Err(self.error(ImageErrorKind::Limit, what));
        }
        if let Some(pa) = block.pa(offset) {
            self.pages.push((pa / self.page_size, PageWord::new(place)));
        }
        Ok(())
    }

    /// The list of RAM blocks, which hold `total` bytes together.
    fn block_list(&mut self, total: u64) -> Result<(), ImageError> {
        let mut left = total;
        let mut blocks = Vec::new();
        while left > 0 {
            let name = self.cursor.short_text("RAM block name")?;
            let len = self.cursor.be64("RAM block length")?;
            if len == 0 || len > left || blocks.len() == MAX_BLOCKS {
                let what = format!("a RAM block of {len:#x} bytes, with {left:#x} left of all");
                return Err(self.error(ImageErrorKind::Malformed, what));
            }
            left -= len;
            if self.ignore_shared {
                self.cursor.be64("RAM block address")?;
            }
            if self.mapped {
                self.mapped_header(&name, len)?;
            }
            blocks.push(RamBlock {
                name,
                len,
                parts: Vec::new(),
            });
        }
        self.warnings
            .extend(ram_blocks::place(&self.machine, &mut blocks));
        self.blocks = blocks;
        self.last_block = None;
        Ok(())
    }

    /// `MappedRamHeader`; the stream goes on after the block's pages.
    fn mapped_header(&mut self, name: &str, len: u64) -> Result<(), ImageError> {
        let version = self.cursor.be32("mapped-ram version")?;
        let page_size = self.cursor.be64("mapped-ram page size")?;
        let bitmap_offset = self.cursor.be64("mapped-ram bitmap offset")?;
        let pages_offset = self.cursor.be64("mapped-ram pages offset")?;
        if version != 1 || !page_size.is_power_of_two() || !(1 << 10..=1 << 20).contains(&page_size)
        {
            let what = format!("mapped-ram version {version} with pages of {page_size:#x} bytes");
            return Err(self.error(ImageErrorKind::Unsupported, what));
        }
        // A block that is not in the file (ignored as shared) has zeros here.
        if pages_offset == 0 {
            return Ok(());
        }
        match pages_offset.checked_add(len) {
            Some(end) if pages_offset >= self.cursor.at => self.cursor.at = end,
            _ => {
                let what = format!("mapped-ram pages at {pages_offset:#x} are impossible");
                return Err(self.error(ImageErrorKind::Malformed, what));
            }
        }
        self.mapped_blocks.push(MappedBlock {
            name: name.to_owned(),
            page_size,
            bitmap_offset,
            pages_offset,
        });
        Ok(())
    }
}
