//! ELF notes (System V gABI, "Note Section"): name size, description size, type, then
//! name and description, each padded.

use super::describe::Note;

/// Most that is read as notes. A processor's note is some KiB; this allows for tens of
/// thousands of processors.
pub(crate) const LIMIT: u64 = 64 << 20;

/// The notes in `bytes`; and false if the last one runs past the end.
///
/// Names and descriptions are padded to 4 bytes in core files of either class, as the
/// kernel and QEMU write them, though the gABI says 8 for ELF64.
pub(crate) fn parse(bytes: &[u8], big_endian: bool) -> (Vec<Note>, bool) {
    let mut notes = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some((note, after)) = parse_one(rest, big_endian) else {
            // Zeros at the end are padding, not a damaged note.
            return (notes, rest.iter().all(|&byte| byte == 0));
        };
        // An all-zero header ends the notes (kdump leaves its buffer zeroed).
        if note.name.is_empty() && note.desc.is_empty() && note.kind == 0 {
            break;
        }
        notes.push(note);
        rest = after;
    }
    (notes, true)
}

fn parse_one(bytes: &[u8], big_endian: bool) -> Option<(Note, &[u8])> {
    let word = |at: usize| {
        let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(if big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    };
    let (name_size, desc_size, kind) = (word(0)?, word(4)?, word(8)?);
    let name_end = 12usize.checked_add(usize::try_from(name_size).ok()?)?;
    let name = bytes.get(12..name_end)?;
    let desc_start = name_end.checked_next_multiple_of(4)?;
    let desc_end = desc_start.checked_add(usize::try_from(desc_size).ok()?)?;
    let desc = bytes.get(desc_start..desc_end)?;
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    let note = Note {
        name: String::from_utf8_lossy(name).into_owned(),
        kind,
        desc: desc.to_vec(),
    };
    let next = desc_end.checked_next_multiple_of(4)?.min(bytes.len());
    Some((note, bytes.get(next..)?))
}

/// The machine that `NT_PRSTATUS` notes of this size belong to, as `e_machine`.
///
/// Sizes of `struct elf_prstatus` (`include/linux/elfcore.h`, Linux 6.12) with each
/// architecture's `elf_gregset_t`.
pub(crate) fn machine(notes: &[Note], wide: bool, big_endian: bool) -> Option<u16> {
    const SIZES: &[(usize, bool, Option<bool>, u16)] = &[
        (336, true, Some(false), 62), // x86_64
        (336, true, Some(true), 22),  // s390x
        (392, true, None, 183),       // arm64
        (376, true, None, 243),       // riscv64
        (504, true, None, 21),        // ppc64
        (144, false, None, 3),        // i386
        (148, false, None, 40),       // arm
    ];
    const NT_PRSTATUS: u32 = 1;
    let status = notes
        .iter()
        .find(|note| note.name == "CORE" && note.kind == NT_PRSTATUS)?;
    SIZES
        .iter()
        .find(|&&(size, of_wide, of_big, _)| {
            size == status.desc.len()
                && of_wide == wide
                && of_big.is_none_or(|big| big == big_endian)
        })
        .map(|&(.., machine)| machine)
}
