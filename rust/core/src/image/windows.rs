//! Complete and bitmap crash dumps of 64-bit Windows, as containers of pages.
//!
//! `DUMP_HEADER64` of 8 KiB, with the runs of physical memory; then the pages of the
//! runs (type 1), or a `SUMMARY_DUMP` header with a bitmap of the pages that follow
//! (types 5 to 7). Layout: Windows debugger documentation, "Crash dump headers";
//! volatility3 `crash64.json` and `crash_common.json`.

use super::describe::{Description, Machine, Register};
use super::error::{ImageError, ImageErrorKind};
use super::fields::Fields;
use super::flat::{Flat, Piece, Place};
use super::source::Store;
use super::{Input, OpenOptions, Opened};

const MAGIC: &[u8; 8] = b"PAGEDU64";
const HEADER_SIZE: u64 = 0x2000;
const PAGE_SIZE: u64 = 0x1000;
/// Runs that fit the header's 700 bytes.
const MAX_RUNS: u32 = 42;
/// Runs of pages in a bitmap: more than a machine of a TiB has.
const MAX_PIECES: usize = 1 << 22;
/// Pages of 64 TiB.
const MAX_PAGES: u64 = 1 << 34;
/// The bitmap is read in pieces of this size.
const CHUNK: u64 = 64 << 10;

/// True for 64-bit dumps.
pub(super) fn recognize(input: &Input) -> bool {
    input.starts_with(MAGIC)
}

/// Opens a dump.
pub(super) fn open(input: Input, _options: &OpenOptions) -> Opened {
    let mut description = Description::new("windows", &input);
    let store = input.store;
    let bytes = store.bytes(0, HEADER_SIZE, "crash dump header")?;
    let fields = Fields {
        file: store.name(),
        start: 0,
        bytes: &bytes,
        big_endian: false,
    };
    let kind = fields.u32(0xf98, "DumpType")?;
    let pieces = match kind {
        1 => runs(&fields)?,
        2 | 5..=7 => bitmap(&store)?,
        _ => {
            let what = format!(
                "a Windows crash dump of type {kind}, which does not hold physical memory by page"
            );
            return Err(
                ImageError::new(ImageErrorKind::Unsupported, store.name(), what)
                    .at(0xf98)
                    .hint("set the machine to write a complete or active memory dump"),
            );
        }
    };
    describe(&fields, kind, &mut description)?;
    description.detail("access", store.access());
    if pieces.is_empty() {
        return Err(ImageError::malformed(
            store.name(),
            0x88,
            "the dump names no memory",
        ));
    }
    Ok(Box::new(Flat::new(vec![store], pieces, description)))
}

fn describe(
    fields: &Fields<'_>,
    kind: u32,
    description: &mut Description,
) -> Result<(), ImageError> {
    let name = match kind {
        1 => "complete",
        5 => "complete (bitmap)",
        _ => "kernel (bitmap): user pages are absent",
    };
    description.detail("dump type", name);
    let build = fields.u32(0xc, "MinorVersion")?;
    description.detail("Windows build", build);
    let image_type = fields.u32(0x30, "MachineImageType")?;
    // IMAGE_FILE_MACHINE_AMD64 and _ARM64 (PE format, "Machine Types").
    let (e_machine, register) = match image_type {
        0x8664 => (62, "cr3"),
        0xaa64 => (183, "ttbr"),
        _ => (0, "directory_table_base"),
    };
    description.machine = Some(Machine {
        e_machine,
        class_bits: 64,
        big_endian: false,
    });
    let value = fields.u64(0x10, "DirectoryTableBase")?;
    description.detail("directory table base", format!("{value:#x}"));
    description.registers.push(Register {
        cpu: 0,
        name: register.to_owned(),
        value,
    });
    description.detail("processors", fields.u32(0x34, "NumberProcessors")?);
    Ok(())
}

/// The runs of `PHYSICAL_MEMORY_DESCRIPTOR`, whose pages follow the header in order.
fn runs(fields: &Fields<'_>) -> Result<Vec<Piece>, ImageError> {
    let count = fields.u32(0x88, "NumberOfRuns")?;
    if count > MAX_RUNS {
        let what = format!("{count} runs of memory; the header has room for {MAX_RUNS}");
        return Err(fields.malformed(0x88, what));
    }
    let mut offset = HEADER_SIZE;
    let mut pieces = Vec::new();
    for run in 0..count as usize {
        let at = 0x98 + run * 16;
        let (first, pages) = (
            fields.u64(at, "BasePage")?,
            fields.u64(at + 8, "PageCount")?,
        );
        if first > MAX_PAGES || pages > MAX_PAGES {
            let what = format!("a run of {pages:#x} pages from page {first:#x} on is impossible");
            return Err(fields.malformed(at, what));
        }
        if pages > 0 {
            pieces.push(page_run(first, pages, offset));
        }
        offset += pages * PAGE_SIZE;
    }
    Ok(pieces)
}

fn page_run(first: u64, pages: u64, offset: u64) -> Piece {
    Piece {
        pa: first * PAGE_SIZE,
        len: pages * PAGE_SIZE,
        place: Place::File { file: 0, offset },
    }
}

/// The runs of a bitmap, whose pages follow its header in order.
fn bitmap(store: &Store) -> Result<Vec<Piece>, ImageError> {
    let bytes = store.bytes(HEADER_SIZE, 0x38, "bitmap header")?;
    let fields = Fields {
        file: store.name(),
        start: HEADER_SIZE,
        bytes: &bytes,
        big_endian: false,
    };
    let signature = fields.slice(0, 8, "signature")?;
    if signature != b"SDMPDUMP" && signature != b"FDMPDUMP" {
        return Err(fields.malformed(0, "no bitmap header (SDMP or FDMP)"));
    }
    let mut offset = fields.u64(0x20, "HeaderSize")?;
    let bits = fields.u64(0x30, "BitmapSize")?;
    if bits > MAX_PAGES {
        let what = format!("a bitmap of {bits:#x} pages; at most {MAX_PAGES:#x} are read");
        return Err(
            ImageError::new(ImageErrorKind::Limit, store.name(), what).at(HEADER_SIZE + 0x30)
        );
    }
    if offset > store.len() {
        return Err(fields.malformed(
            0x20,
            format!("the pages begin at {offset:#x}, beyond the end"),
        ));
    }
    let mut pieces: Vec<Piece> = Vec::new();
    let mut at = 0;
    let end = bits.div_ceil(8);
    while at < end {
        let len = CHUNK.min(end - at);
        let chunk = store.bytes(HEADER_SIZE + 0x38 + at, len, "bitmap of pages")?;
        for (byte, first) in chunk.iter().zip((at * 8..).step_by(8)) {
            for page in
                (first..(first + 8).min(bits)).filter(|page| byte >> (page - first) & 1 != 0)
            {
                let full = pieces.len() == MAX_PIECES;
                match pieces.last_mut() {
                    Some(last) if last.pa + last.len == page * PAGE_SIZE => last.len += PAGE_SIZE,
                    _ if full => {
                        let what = format!("more than {MAX_PIECES} runs of pages");
                        return Err(ImageError::new(ImageErrorKind::Limit, store.name(), what));
                    }
                    _ => pieces.push(page_run(page, 1, offset)),
                }
                offset += PAGE_SIZE;
            }
        }
        at += len;
    }
    Ok(pieces)
}
