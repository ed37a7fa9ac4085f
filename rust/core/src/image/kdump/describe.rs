//! What a kdump says about itself.

use super::part::Part;
use super::{CODECS, EXCLUDED_VMEMMAP};
use crate::image::describe::{Description, Machine};
use crate::image::error::ImageError;
use crate::image::notes;

/// Tells what the headers say, and takes over notes and VMCOREINFO.
pub(super) fn fill(
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
