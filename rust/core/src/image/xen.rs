//! Xen's core files of a domain (`xl dump-core`): ELF without segments, the pages in a
//! section and their frame numbers in another.
//!
//! `docs/misc/dump-core-format.txt` of Xen. The frame numbers are those that the
//! guest's page tables hold: machine frames for a PV guest (`.xen_p2m`), the guest's
//! own for others (`.xen_pfn`).

use super::describe::{Description, Register};
use super::elf::{self, Header, Section};
use super::error::{ImageError, ImageErrorKind};
use super::fields::Fields;
use super::flat::{Flat, Piece, Place};
use super::source::Store;
use super::{Input, OpenOptions, Opened, notes};

/// Note with the number and size of pages (`XEN_ELFNOTE_DUMPCORE_HEADER`).
const NOTE_HEADER: u32 = 0x0200_0001;
/// Tables are read in pieces of this size, a multiple of every entry's.
const CHUNK: u64 = 64 << 10;
/// Runs of pages; a PV guest's memory may be scattered.
const MAX_PIECES: usize = 1 << 22;

/// `vcpu_guest_context` of x86_64 (`xen/include/public/arch-x86/xen.h`): its size, and
/// where control register 0 is.
const X86_64_CONTEXT: u64 = 5168;
const X86_64_CR0: usize = 4984;
const EM_X86_64: u16 = 62;

/// True for an ELF file with a section of Xen's pages.
pub(super) fn recognize(input: &Input) -> bool {
    elf::recognize(input)
        && Header::read(&input.store)
            .and_then(|header| elf::sections(&input.store, &header))
            .is_ok_and(|sections| find(&sections, ".xen_pages").is_some())
}

fn find<'a>(sections: &'a [Section], name: &str) -> Option<&'a Section> {
    sections.iter().find(|section| section.name == name)
}

/// Opens a domain's core.
pub(super) fn open(input: Input, _options: &OpenOptions) -> Opened {
    let mut description = Description::new("xen", &input);
    let store = input.store;
    let header = Header::read(&store)?;
    header.check_core(store.name())?;
    description.machine = Some(header.machine());
    let sections = elf::sections(&store, &header)?;
    let missing = |what: &str| {
        ImageError::new(
            ImageErrorKind::Malformed,
            store.name(),
            format!("Xen core without {what}"),
        )
    };
    let pages = find(&sections, ".xen_pages").ok_or_else(|| missing("section .xen_pages"))?;
    let p2m = find(&sections, ".xen_p2m");
    let table = p2m
        .or_else(|| find(&sections, ".xen_pfn"))
        .ok_or_else(|| missing("sections .xen_p2m and .xen_pfn"))?;
    let page_size = read_notes(&store, &header, &sections, &mut description)?;
    let table = Table {
        section: table,
        // pfn and gmfn, or pfn alone.
        entry_size: if p2m.is_some() { 16 } else { 8 },
        big_endian: header.big_endian,
    };
    let pieces = table.pieces(&store, pages, page_size)?;
    if pieces.is_empty() {
        return Err(missing("pages"));
    }
    read_registers(&store, &header, &sections, &mut description)?;
    let frames = if p2m.is_some() {
        "machine addresses (PV guest)"
    } else {
        "guest-physical addresses"
    };
    description.detail("addresses are", frames);
    description.detail("page size", format!("{page_size:#x}"));
    description.detail("access", store.access());
    Ok(Box::new(Flat::new(vec![store], pieces, description)))
}

fn read_notes(
    store: &Store,
    header: &Header,
    sections: &[Section],
    description: &mut Description,
) -> Result<u64, ImageError> {
    let Some(section) = find(sections, ".note.Xen") else {
        return Ok(4096);
    };
    let bytes = store.bytes(section.offset, section.size.min(notes::LIMIT), "Xen notes")?;
    let (notes, whole) = notes::parse(&bytes, header.big_endian);
    if !whole {
        description.warn("the notes are cut short");
    }
    let mut page_size = 4096;
    if let Some(note) = notes.iter().find(|note| note.kind == NOTE_HEADER) {
        let fields = Fields {
            file: store.name(),
            start: section.offset,
            bytes: &note.desc,
            big_endian: header.big_endian,
        };
        page_size = fields.u64(24, "xch_page_size")?;
        if !page_size.is_power_of_two() || !(4096..=1 << 20).contains(&page_size) {
            return Err(fields.malformed(0, format!("Xen pages of {page_size:#x} bytes")));
        }
        description.detail("processors", fields.u64(8, "xch_nr_vcpus")?);
    }
    description.add_notes(notes);
    Ok(page_size)
}

/// The table of frame numbers.
struct Table<'a> {
    section: &'a Section,
    entry_size: u64,
    big_endian: bool,
}

impl Table<'_> {
    fn pieces(
        &self,
        store: &Store,
        pages: &Section,
        page_size: u64,
    ) -> Result<Vec<Piece>, ImageError> {
        let mut pieces: Vec<Piece> = Vec::new();
        let count = (self.section.size / self.entry_size).min(pages.size / page_size);
        let (mut at, end) = (0, count * self.entry_size);
        let mut offset = pages.offset;
        while at < end {
            let len = CHUNK.min(end - at);
            let start = self.section.offset.saturating_add(at);
            let bytes = store.bytes(start, len, "table of page frames")?;
            for (index, entry) in (0..).zip(bytes.chunks_exact(self.entry_size as usize)) {
                let fields = Fields {
                    file: store.name(),
                    start: start + index * self.entry_size,
                    bytes: entry,
                    big_endian: self.big_endian,
                };
                // The last word: gmfn, or pfn where it is the only one. All ones: none.
                let frame = fields.u64(self.entry_size as usize - 8, "page frame")?;
                if frame != u64::MAX {
                    let pa = frame
                        .checked_mul(page_size)
                        .filter(|pa| pa.checked_add(page_size - 1).is_some())
                        .ok_or_else(|| fields.malformed(0, format!("page frame {frame:#x}")))?;
                    add(&mut pieces, pa, page_size, offset).ok_or_else(|| {
                        let what = format!("more than {MAX_PIECES} runs of pages");
                        ImageError::new(ImageErrorKind::Limit, store.name(), what)
                    })?;
                }
                offset = offset.saturating_add(page_size);
            }
            at += len;
        }
        Ok(pieces)
    }
}

fn add(pieces: &mut Vec<Piece>, pa: u64, len: u64, offset: u64) -> Option<()> {
    let place = Place::File { file: 0, offset };
    if let Some(last) = pieces.last_mut()
        && last.pa.checked_add(last.len) == Some(pa)
        && last.end_place() == place
    {
        last.len += len;
        return Some(());
    }
    if pieces.len() == MAX_PIECES {
        return None;
    }
    pieces.push(Piece { pa, len, place });
    Some(())
}

fn read_registers(
    store: &Store,
    header: &Header,
    sections: &[Section],
    description: &mut Description,
) -> Result<(), ImageError> {
    let Some(section) = find(sections, ".xen_prstatus") else {
        return Ok(());
    };
    if header.e_machine != EM_X86_64 || !section.size.is_multiple_of(X86_64_CONTEXT) {
        return Ok(());
    }
    for cpu in 0..(section.size / X86_64_CONTEXT).min(8192) {
        let start = section.offset.saturating_add(cpu * X86_64_CONTEXT);
        let bytes = store.bytes(start, X86_64_CONTEXT, "processor context")?;
        let fields = Fields {
            file: store.name(),
            start,
            bytes: &bytes,
            big_endian: false,
        };
        for number in [0, 3, 4] {
            description.registers.push(Register {
                cpu: cpu as u32,
                name: format!("cr{number}"),
                value: fields.u64(X86_64_CR0 + number * 8, "control register")?,
            });
        }
    }
    Ok(())
}
