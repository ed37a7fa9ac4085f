//! ELF core files: QEMU's `dump-guest-memory`, `/proc/vmcore`, `/proc/kcore`,
//! makedumpfile `-E`, VirtualBox.
//!
//! Layout: System V gABI, "Object Files" and "Program Loading". Extended numbering
//! (PN_XNUM) as in `include/uapi/linux/elf.h` (Linux 6.12). `e_ehsize` is not looked
//! at: QEMU writes 8 (`dump/dump.c`).

use super::describe::{Description, Machine};
use super::error::{ImageError, ImageErrorKind};
use super::fields::Fields;
use super::flat::{Flat, Piece, Place};
use super::source::Store;
use super::{Input, OpenOptions, Opened, notes};

const ET_CORE: u16 = 4;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// `e_phnum` of a file whose number of program headers is in section header 0.
const PN_XNUM: u16 = 0xffff;
/// More program headers than any machine has runs of memory.
const MAX_SEGMENTS: u64 = 1 << 21;
/// Most that is read of the names of sections.
const MAX_NAMES: u64 = 1 << 20;
/// Program headers are read this many at a time.
const CHUNK: u64 = 4096;

/// The fields of an ELF header that say where things are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) wide: bool,
    pub(super) big_endian: bool,
    e_type: u16,
    pub(super) e_machine: u16,
    e_phoff: u64,
    e_phentsize: u16,
    e_phnum: u16,
    e_shoff: u64,
    e_shentsize: u16,
    e_shnum: u16,
    e_shstrndx: u16,
}

/// A section of an ELF file.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) offset: u64,
    pub(super) size: u64,
}

struct ProgramHeader {
    p_type: u32,
    p_offset: u64,
    p_paddr: u64,
    p_filesz: u64,
    p_memsz: u64,
}

/// True for any ELF file.
pub(super) fn recognize(input: &Input) -> bool {
    input.starts_with(b"\x7fELF")
}

/// Opens an ELF core file.
pub(super) fn open(input: Input, _options: &OpenOptions) -> Opened {
    let mut description = Description::new("elf", &input);
    let store = input.store;
    let header = Header::read(&store)?;
    header.check_core(store.name())?;
    description.machine = Some(header.machine());
    let mut loads = Loads::default();
    for_each_program_header(&store, &header, |program_header, at| {
        match program_header.p_type {
            PT_LOAD => loads.add(&store, &program_header, at)?,
            PT_NOTE => read_notes(&store, &header, &program_header, at, &mut description)?,
            _ => {}
        }
        Ok(())
    })?;
    loads.check(&store)?;
    describe(&store, &header, &loads, &mut description);
    Ok(Box::new(Flat::new(vec![store], loads.pieces, description)))
}

impl Header {
    pub(super) fn read(store: &Store) -> Result<Self, ImageError> {
        let ident = store.bytes(0, 16, "ELF header")?;
        let fields = Fields {
            file: store.name(),
            start: 0,
            bytes: &ident,
            big_endian: false,
        };
        if fields.array::<4>(0, "ELF magic")? != *b"\x7fELF" {
            return Err(fields.malformed(0, "not an ELF file"));
        }
        let wide = match fields.u8(4, "EI_CLASS")? {
            1 => false,
            2 => true,
            class => {
                return Err(fields.malformed(4, format!("ELF class {class} is neither 32 nor 64")));
            }
        };
        let big_endian = match fields.u8(5, "EI_DATA")? {
            1 => false,
            2 => true,
            data => return Err(fields.malformed(5, format!("ELF byte order {data} is unknown"))),
        };
        let bytes = store.bytes(0, if wide { 64 } else { 52 }, "ELF header")?;
        let fields = Fields {
            bytes: &bytes,
            big_endian,
            ..fields
        };
        // The fields after e_entry come at these places, e_ehsize among them.
        let (phoff, shoff, tail) = if wide { (32, 40, 54) } else { (28, 32, 42) };
        Ok(Self {
            wide,
            big_endian,
            e_type: fields.u16(16, "e_type")?,
            e_machine: fields.u16(18, "e_machine")?,
            e_phoff: fields.word(phoff, wide, "e_phoff")?,
            e_shoff: fields.word(shoff, wide, "e_shoff")?,
            e_phentsize: fields.u16(tail, "e_phentsize")?,
            e_phnum: fields.u16(tail + 2, "e_phnum")?,
            e_shentsize: fields.u16(tail + 4, "e_shentsize")?,
            e_shnum: fields.u16(tail + 6, "e_shnum")?,
            e_shstrndx: fields.u16(tail + 8, "e_shstrndx")?,
        })
    }

    pub(super) fn machine(&self) -> Machine {
        Machine {
            e_machine: self.e_machine,
            class_bits: if self.wide { 64 } else { 32 },
            big_endian: self.big_endian,
        }
    }

    pub(super) fn check_core(&self, file: &str) -> Result<(), ImageError> {
        let (what, hint) = match self.e_type {
            ET_CORE => return Ok(()),
            1 => (
                "an ELF object file (ET_REL)",
                "give the memory image, not a module",
            ),
            2 => (
                "an ELF executable (ET_EXEC), such as vmlinux",
                "give the memory image (vmcore), not the kernel",
            ),
            3 => (
                "an ELF shared object or PIE (ET_DYN)",
                "give the memory image (vmcore), not a program",
            ),
            _ => (
                "an ELF file of an unknown type",
                "if it is memory after all, --image-format raw --base PA",
            ),
        };
        Err(ImageError::new(
            ImageErrorKind::Unsupported,
            file,
            format!(
                "{what}, not a core file of a machine (e_type {})",
                self.e_type
            ),
        )
        .at(16)
        .hint(hint))
    }

    fn section_header_size(&self) -> u16 {
        if self.wide { 64 } else { 40 }
    }

    /// The number of program headers, from section header 0 if it is too large for
    /// `e_phnum`.
    fn program_headers(&self, store: &Store) -> Result<u64, ImageError> {
        if self.e_phnum != PN_XNUM || self.e_shoff == 0 {
            return Ok(u64::from(self.e_phnum));
        }
        if self.e_shentsize < self.section_header_size() {
            return Err(ImageError::malformed(
                store.name(),
                0,
                format!(
                    "e_shentsize {} is too small, and the number of program headers is in section header 0",
                    self.e_shentsize
                ),
            ));
        }
        let size = u64::from(self.section_header_size());
        let bytes = store.bytes(self.e_shoff, size, "section header 0")?;
        let fields = Fields {
            file: store.name(),
            start: self.e_shoff,
            bytes: &bytes,
            big_endian: self.big_endian,
        };
        let at = if self.wide { 44 } else { 28 };
        Ok(u64::from(fields.u32(at, "sh_info")?))
    }
}

/// The sections with their names.
pub(super) fn sections(store: &Store, header: &Header) -> Result<Vec<Section>, ImageError> {
    let stride = u64::from(header.e_shentsize);
    if header.e_shnum == 0 || header.e_shentsize < header.section_header_size() {
        return Ok(Vec::new());
    }
    let size = u64::from(header.e_shnum) * stride;
    let bytes = store.bytes(header.e_shoff, size, "section headers")?;
    let wide = header.wide;
    let (offset_at, size_at) = if wide { (24, 32) } else { (16, 20) };
    let mut sections = Vec::new();
    let mut names = Vec::new();
    for (index, bytes) in (0..).zip(bytes.chunks_exact(usize::from(header.e_shentsize))) {
        let fields = Fields {
            file: store.name(),
            start: header.e_shoff + index * stride,
            bytes,
            big_endian: header.big_endian,
        };
        names.push(fields.u32(0, "sh_name")?);
        sections.push(Section {
            name: String::new(),
            offset: fields.word(offset_at, wide, "sh_offset")?,
            size: fields.word(size_at, wide, "sh_size")?,
        });
    }
    let Some(table) = sections.get(usize::from(header.e_shstrndx)) else {
        return Ok(sections);
    };
    let len = table.size.min(MAX_NAMES);
    let table = store.bytes(table.offset, len, "names of sections")?;
    for (section, name) in sections.iter_mut().zip(names) {
        let name = table.get(name as usize..).unwrap_or_default();
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        section.name = String::from_utf8_lossy(name).into_owned();
    }
    Ok(sections)
}

/// Calls `each` with every program header and its file offset.
fn for_each_program_header(
    store: &Store,
    header: &Header,
    mut each: impl FnMut(ProgramHeader, u64) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    let count = header.program_headers(store)?;
    if count == 0 {
        return Ok(());
    }
    let (size, wide) = (if header.wide { 56 } else { 32 }, header.wide);
    let stride = u64::from(header.e_phentsize);
    if stride < size {
        let what = format!("e_phentsize {stride} is smaller than a program header ({size})");
        return Err(ImageError::malformed(store.name(), 0, what));
    }
    if count > MAX_SEGMENTS {
        let what = format!("it claims {count} program headers; at most {MAX_SEGMENTS} are read");
        return Err(ImageError::new(ImageErrorKind::Limit, store.name(), what));
    }
    // Fits: 2^21 headers of at most 2^16 bytes.
    let table_size = count * stride;
    let end = header.e_phoff.checked_add(table_size);
    if end.is_none_or(|end| end > store.len()) {
        let what = format!("table of {count} program headers");
        return Err(ImageError::truncated(store.name(), header.e_phoff, &what));
    }
    let mut first = 0;
    while first < count {
        let chunk = CHUNK.min(count - first);
        let start = header.e_phoff + first * stride;
        let bytes = store.bytes(start, chunk * stride, "program headers")?;
        for (index, bytes) in (first..).zip(bytes.chunks_exact(usize::from(header.e_phentsize))) {
            let at = header.e_phoff + index * stride;
            let fields = Fields {
                file: store.name(),
                start: at,
                bytes,
                big_endian: header.big_endian,
            };
            let (offset, paddr, filesz, memsz) = if wide {
                (8, 24, 32, 40)
            } else {
                (4, 12, 16, 20)
            };
            let program_header = ProgramHeader {
                p_type: fields.u32(0, "p_type")?,
                p_offset: fields.word(offset, wide, "p_offset")?,
                p_paddr: fields.word(paddr, wide, "p_paddr")?,
                p_filesz: fields.word(filesz, wide, "p_filesz")?,
                p_memsz: fields.word(memsz, wide, "p_memsz")?,
            };
            each(program_header, at)?;
        }
        first += chunk;
    }
    Ok(())
}

/// The PT_LOAD segments met so far.
#[derive(Default)]
struct Loads {
    pieces: Vec<Piece>,
    count: u64,
    /// Segments of virtual memory only: `/proc/kcore` gives them p_paddr -1
    /// (`fs/proc/kcore.c`, Linux 6.12).
    without_address: u64,
    any_address: bool,
    zeros: u64,
}

impl Loads {
    fn add(
        &mut self,
        store: &Store,
        program_header: &ProgramHeader,
        at: u64,
    ) -> Result<(), ImageError> {
        let &ProgramHeader {
            p_offset,
            p_paddr,
            p_filesz,
            p_memsz,
            ..
        } = program_header;
        self.count += 1;
        // A segment cannot hold less memory than it has bytes; QEMU and the kernel
        // write equal sizes, and old makedumpfile versions a memory size of 0.
        let len = p_memsz.max(p_filesz);
        if len == 0 {
            return Ok(());
        }
        if p_paddr == u64::MAX || p_paddr == u64::from(u32::MAX) {
            self.without_address += 1;
            return Ok(());
        }
        self.any_address |= p_paddr != 0;
        if u128::from(p_paddr) + u128::from(len) > 1 << 64 {
            let what = format!(
                "a segment of {len:#x} bytes at {p_paddr:#x} reaches past the end of the physical addresses"
            );
            return Err(ImageError::malformed(store.name(), at, what));
        }
        if p_filesz > 0 {
            self.pieces.push(Piece {
                pa: p_paddr,
                len: p_filesz,
                place: Place::File {
                    file: 0,
                    offset: p_offset,
                },
            });
        }
        if len > p_filesz {
            self.zeros = self.zeros.saturating_add(len - p_filesz);
            self.pieces.push(Piece {
                // p_paddr + len is at most 2^64, and p_filesz is less than len.
                pa: p_paddr.wrapping_add(p_filesz),
                len: len - p_filesz,
                place: Place::Zero,
            });
        }
        Ok(())
    }

    fn check(&self, store: &Store) -> Result<(), ImageError> {
        if self.pieces.is_empty() {
            return Err(ImageError::new(
                ImageErrorKind::Unsupported,
                store.name(),
                "the ELF core file has no segments with physical addresses (PT_LOAD)",
            )
            .hint("is it a dump of the whole machine?"));
        }
        if self.count > 1 && !self.any_address {
            return Err(ImageError::new(
                ImageErrorKind::Unsupported,
                store.name(),
                "all segments of the ELF core file are at physical address 0: the core of a process, not of a machine",
            )
            .hint("give an image of physical memory, such as /proc/vmcore or a VM's dump"));
        }
        Ok(())
    }
}

fn read_notes(
    store: &Store,
    header: &Header,
    program_header: &ProgramHeader,
    at: u64,
    description: &mut Description,
) -> Result<(), ImageError> {
    let &ProgramHeader {
        p_offset, p_filesz, ..
    } = program_header;
    if p_filesz > notes::LIMIT {
        let what = format!(
            "its notes claim {p_filesz:#x} bytes; at most {:#x} are read",
            notes::LIMIT
        );
        return Err(ImageError::new(ImageErrorKind::Limit, store.name(), what).at(at));
    }
    let there = p_filesz.min(store.len().saturating_sub(p_offset));
    let bytes = store.bytes(p_offset.min(store.len()), there, "notes")?;
    let (notes, whole) = notes::parse(&bytes, header.big_endian);
    if !whole || there < p_filesz {
        description.warn(format!(
            "the notes are cut short (offset {p_offset:#x}): {} could be read",
            notes.len()
        ));
    }
    description.add_notes(notes);
    Ok(())
}

fn describe(store: &Store, header: &Header, loads: &Loads, description: &mut Description) {
    let writer = if description.notes.iter().any(|note| note.name == "VBCORE") {
        Some("VirtualBox")
    } else if description.notes.iter().any(|note| note.name == "QEMU") {
        Some("QEMU dump-guest-memory")
    } else {
        None
    };
    if let Some(writer) = writer {
        description.detail("written by", writer);
    }
    description.detail("ELF class", if header.wide { 64 } else { 32 });
    let order = if header.big_endian { "big" } else { "little" };
    description.detail("ELF byte order", order);
    description.detail("ELF machine", header.e_machine);
    description.detail("segments", loads.count);
    if loads.without_address > 0 {
        description.detail("segments without physical address", loads.without_address);
    }
    if loads.zeros > 0 {
        description.detail(
            "bytes read as zeros (p_memsz > p_filesz)",
            format!("{:#x}", loads.zeros),
        );
    }
    description.detail("notes", description.notes.len());
    description.detail("access", store.access());
}
