"""x86: 4-level and 5-level paging, PAE, and 32-bit paging, with their ptdump.

"SDM" is Intel's Software Developer's Manual, volume 3, chapter 4 (paging): 4.3 is 32-bit
paging, 4.4 PAE, 4.5 4-level and 5-level paging. Kernel paths are those of Linux 6.12
and, where said, 6.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from ..layout import Layout, Root, View
from ._common import Shadow, fixed, shadow_of_top
from .dialect import (
    Dialect,
    EarlyShadow,
    Flag,
    Level,
    MarkerPolicy,
    NoteDepth,
    NoteRule,
    Style,
    TextField,
)
from .spec import (
    EXEC,
    READ,
    USER,
    USER_EXEC,
    WRITE,
    Depth,
    Field,
    PathBit,
    Rule,
    Spec,
    sign_extended,
    whole,
)

# Bits of an entry: SDM tables 4-14 to 4-20 (4- and 5-level), 4-8 to 4-12 (PAE), 4-3 to
# 4-6 (32-bit). arch/x86/include/asm/pgtable_types.h has the same and says what Linux
# uses the ignored ones for.
P = 1 << 0
RW = 1 << 1
US = 1 << 2
PWT = 1 << 3
PCD = 1 << 4
A = 1 << 5
D = 1 << 6
PS = 1 << 7  # page size, in entries above the pte
PAT = 1 << 7  # the same bit, in a pte
G = 1 << 8
SOFT1 = 1 << 9  # _PAGE_SPECIAL, _PAGE_CPA_TEST
SOFT2 = 1 << 10  # _PAGE_UFFD_WP
PAT_LARGE = 1 << 12  # PAT of a large page
SOFT4 = 1 << 57  # _PAGE_DEVMAP
PKEY = 0xF << 59  # SDM 4.6.2; means something with CR4.PKE or CR4.PKS only
NX = 1 << 63  # SDM 4.6; means something with IA32_EFER.NXE only

PFN = 0x000F_FFFF_FFFF_F000
"""Bits 51:12. With SME or TDX one of them encrypts; which one, no entry says."""
PFN32 = 0xFFFF_F000

# The attributes of a leaf. Accessed and Dirty are left out: the processor sets them as
# memory is used, so they say nothing of what is allowed and would cut runs into pieces;
# so are the software bits that stand in for Dirty (11 soft-dirty, 58 saved-dirty). The
# ptdump dialects compare all of them, as the kernel does.
LOW = P | RW | US | PWT | PCD | G | SOFT1 | SOFT2
HIGH = SOFT4 | PKEY | NX

# SDM 4.6.1: an access needs R/W and U/S in every entry of the path, and XD in any of them
# forbids execution. SMEP, SMAP and CR0.WP are the processor's state, not the tables'.
RESTRICT = (
    PathBit(WRITE, RW, 0),
    PathBit(USER | USER_EXEC, US, 0),
)
RESTRICT_NX = (*RESTRICT, PathBit(EXEC | USER_EXEC, NX, NX))

PERMISSIONS = READ | WRITE | EXEC | USER | USER_EXEC


WORD = (1 << 64) - 1

NONE = Rule(WORD & ~(A | D), 0, "none")
"""p?d_none and pte_none: zero but for A and D (_PAGE_KNL_ERRATUM_MASK). To the processor
it is one of the entries that are not present."""


def _upper(name: str, leaf: int = 0, reserved: int = 0, high: int = HIGH) -> Depth:
    """A table of 512 8-byte entries above the ptes; `leaf` is the log2 of its large
    pages, `reserved` the bits that have to be 0 in a present entry."""
    rules = [NONE, Rule(P, 0, "other")]
    if leaf:
        below = PFN & ((1 << leaf) - 1)
        # The PFN bits below a large page, but for PAT, are reserved (SDM tables 4-9,
        # 4-16, 4-18).
        bad = below & ~PAT_LARGE | reserved
        rules.append(Rule(PS | bad, PS, "leaf", (Field(PFN & ~below),)))
    # PS is reserved where there are no large pages (SDM tables 4-14 and 4-15).
    rules.append(Rule(PS, PS, "other"))
    rules.append(Rule(reserved, 0, "table", (Field(PFN),)))
    if reserved:
        rules.append(Rule(0, 0, "other"))
    return Depth(
        name,
        9,
        tuple(rules),
        attributes=LOW | PS | (PAT_LARGE if leaf else 0) | high,
        table_path=RESTRICT_NX,
        leaf_path=RESTRICT_NX,
    )


def _pte(reserved: int = 0, high: int = HIGH) -> Depth:
    return Depth(
        "PTE",
        9,
        (NONE, Rule(P | reserved, P, "leaf", (Field(PFN),)), Rule(0, 0, "other")),
        attributes=LOW | PAT | high,
        leaf_path=RESTRICT_NX,
    )


def _long_mode(levels: int) -> Spec:
    # SDM 4.5.4: 1 GB pages in the page-directory-pointer table, 2 MB ones below it.
    tops = (_upper("PGD"), _upper("P4D"))[: levels - 3]
    va_bits = 12 + 9 * levels
    return Spec(
        name=f"x86_64-{levels}level",
        arch="x86_64",
        va_bits=va_bits,
        pa_bits=52,
        page_bits=12,
        depths=(*tops, _upper("PUD", 30), _upper("PMD", 21), _pte()),
        halves=(sign_extended(va_bits),),
        permissions=PERMISSIONS,
    )


def _pae() -> Spec:
    # SDM table 4-8: bits 2:1, 8:5 and 63:52 of a PDPTE are reserved; no permissions in it
    # (4.6.1 combines those of PDE and PTE). Bit 5 is not tested: QEMU marks PDPTEs accessed as
    # if they were entries of other depths.
    pdpte = Depth(
        "PGD",
        2,
        (
            NONE,
            Rule(P, 0, "other"),
            Rule(0x1C6 | 0xFFF << 52, 0, "table", (Field(PFN),)),
            Rule(0, 0, "other"),
        ),
        attributes=P | PWT | PCD | SOFT1 | SOFT2,
    )
    reserved = 0x7FF << 52  # bits 62:52: SDM tables 4-9 to 4-11
    return Spec(
        name="i386-pae",
        arch="i386",
        va_bits=32,
        pa_bits=52,
        page_bits=12,
        depths=(pdpte, _upper("PMD", 21, reserved, NX), _pte(reserved, NX)),
        halves=(whole(32),),
        permissions=PERMISSIONS,
        root_align=32,  # SDM 4.4.1: CR3 bits 31:5
    )


def _two_level() -> Spec:
    none = Rule(0xFFFF_FFFF, 0, "none")  # _PAGE_KNL_ERRATUM_MASK is 0 without PAE
    pde = Depth(
        "PGD",
        10,
        (
            none,
            Rule(P, 0, "other"),
            # PSE-36 (SDM table 4-4): bits 20:13 are PA 39:32, bit 21 is reserved.
            Rule(PS | 1 << 21, PS, "leaf", (Field(0xFFC0_0000), Field(0x001F_E000, 19))),
            Rule(PS, PS, "other"),
            Rule(0, 0, "table", (Field(PFN32),)),
        ),
        attributes=LOW | PS | PAT_LARGE,
        table_path=RESTRICT,
        leaf_path=RESTRICT,
        entry_bytes=4,
    )
    pte = Depth(
        "PTE",
        10,
        (none, Rule(P, P, "leaf", (Field(PFN32),)), Rule(0, 0, "other")),
        attributes=LOW | PAT,
        leaf_path=RESTRICT,
        entry_bytes=4,
    )
    return Spec(
        name="i386-2level",
        arch="i386",
        va_bits=32,
        pa_bits=40,
        page_bits=12,
        depths=(pde, pte),
        halves=(whole(32),),
        permissions=PERMISSIONS,
    )


MODES: dict[str, Callable[[int | None], Spec]] = {
    "x86_64-4level": fixed(lambda: _long_mode(4)),
    "x86_64-5level": fixed(lambda: _long_mode(5)),
    "i386-pae": fixed(_pae),
    "i386-2level": fixed(_two_level),
}


def _attributes(wide: int) -> Callable[[], tuple[tuple[str, int, int], ...]]:
    names = (
        ("P", P), ("RW", RW), ("US", US), ("PWT", PWT), ("PCD", PCD), ("PS/PAT", PS), ("G", G),
        ("SOFT1", SOFT1), ("SOFT2", SOFT2), ("PAT-large", PAT_LARGE), ("SOFT4", SOFT4),
        *((f"PKEY{bit}", 1 << 59 + bit) for bit in range(4)), ("NX", NX),
    )  # fmt: skip
    return lambda: tuple((name, bit, bit) for name, bit in names if bit < 1 << 32 or bit & wide)


ATTRIBUTES = {
    "x86_64-4level": _attributes(HIGH),
    "x86_64-5level": _attributes(HIGH),
    "i386-pae": _attributes(NX),
    "i386-2level": _attributes(0),
}

# The page attribute table as Linux programs it (arch/x86/mm/pat/memtype.c, pat_bp_init of
# 6.12), by the index PAT:PCD:PWT (SDM 4.9.2).
_PAT = ("WB", "WC", "UC-", "UC", "WB", "WP", "UC-", "WT")


def _memory(pat: int) -> tuple[tuple[str, int, int], ...]:
    bits = (pat, PCD, PWT)
    return tuple(
        (name, sum(bits), sum(bit for place, bit in enumerate(bits) if index & 4 >> place))
        for index, name in enumerate(_PAT)
    )


def _memory_of(mode: str) -> Callable[[], tuple[tuple[tuple[str, int, int], ...], ...]]:
    def factory() -> tuple[tuple[tuple[str, int, int], ...], ...]:
        upper = len(MODES[mode](None).depths) - 1
        return (*(_memory(PAT_LARGE),) * upper, _memory(PAT))

    return factory


MEMORY = {mode: _memory_of(mode) for mode in MODES}

PRESENT_ENTRY = dict.fromkeys(MODES, (P, P))
"""An entry is present where ``attributes & mask == value``."""


def shadows(spec: Spec) -> tuple[Shadow, ...]:
    """asm/kasan.h (6.12): KASAN_SHADOW_OFFSET 0xdffffc0000000000, for the upper half."""
    if spec.arch != "x86_64":
        return ()
    end = 0xFFFF_FC00_0000_0000
    return (shadow_of_top(end - (1 << spec.va_bits - 1 - 3), end),)


MACHINES = (3, 62)
"""EM_386 or EM_X86_64, as the processor that runs the kernel is. ELF machine numbers of
images: include/uapi/linux/elf-em.h (6.12)."""

# ---- ptdump: arch/x86/mm/dump_pagetables.c ----------------------------------------------

DIALECTS = ("6.12.117", "6.1.192")

# Path state of a note: what effective_prot (dump_pagetables.c:257) would have, turned so
# that it is collected by OR: RW and USER are lost on the way down, NX is gained.
NOT_RW = 1
NOT_USER = 2
EFFECTIVE_NX = 4
EFFECTIVE = (
    PathBit(NOT_RW, RW, 0),
    PathBit(NOT_USER, US, 0),
    PathBit(EFFECTIVE_NX, NX, NX),
)

KERNPG_TABLE = P | RW | A | D  # _KERNPG_TABLE, pgtable_types.h

# Level numbers of note_page: pgd 0, p4d 1, pud 2, pmd 3, pte 4. Where upper levels fold, an
# empty entry is a hole of the topmost real table, level 0 (real_depth, mm/pagewalk.c:15).

NOTE_PTE = (NoteRule(0, 0, "note", 4),)


def _pgd_notes(table: tuple[Field, ...]) -> tuple[NoteRule, ...]:
    """The top table of 5 levels: pgd_none, pgd_bad (asm/pgtable.h:1209,1222; NX is
    ignored with page-table isolation compiled in, as distributions do), pgd_leaf never."""
    return (
        NoteRule(WORD & ~PFN & ~(US | NX), KERNPG_TABLE, "descend", pa=table),
        NoteRule(0, 0, "hole", 0),
    )


def _p4d_notes(level: int, table: tuple[Field, ...]) -> tuple[NoteRule, ...]:
    """p4d_none, p4d_bad (asm/pgtable.h:1145,1166), p4d_leaf never. The walk goes down
    without looking at the present bit (mm/pagewalk.c:218)."""
    return (
        NoteRule(NONE.mask, 0, "hole", level),
        NoteRule(WORD & ~PFN & ~(KERNPG_TABLE | US | NX), 0, "descend", pa=table),
        NoteRule(0, 0, "hole", level),
    )


def _pud_notes(level: int, series: str, table: tuple[Field, ...]) -> tuple[NoteRule, ...]:
    """pud_none, pud_leaf, pud_present (asm/pgtable.h:1111,1133,1116). 6.1's pud_leaf wants
    P beside PSE (6.1 asm/pgtable.h:851). What is neither is passed over silently."""
    leaf = PS | P if series == "6.1" else PS
    return (
        NoteRule(NONE.mask, 0, "hole", level),
        NoteRule(leaf, leaf, "note", 2),
        NoteRule(P, 0, "silent"),
        NoteRule(0, 0, "descend", pa=table),
    )


def _pmd_notes(level: int, none: int, table: tuple[Field, ...]) -> tuple[NoteRule, ...]:
    """pmd_none, pmd_leaf, pmd_present (asm/pgtable.h:1064,305,1035): _PAGE_PROTNONE is the
    global bit and makes a pmd present, so that it is walked as a table."""
    return (
        NoteRule(none, 0, "hole", level),
        NoteRule(PS, PS, "note", 3),
        NoteRule(P | G, 0, "silent"),
        NoteRule(0, 0, "descend", pa=table),
    )


def _depths(mode: str, series: str, shadow: Mapping[str, int]) -> tuple[NoteDepth, ...]:
    table = (Field(PFN),)

    def early(level: str, descends: bool = False) -> EarlyShadow | None:
        return EarlyShadow(shadow[level], descends) if level in shadow else None

    if mode == "i386-2level":
        word = 0xFFFF_FFFF
        return (
            NoteDepth(10, _pmd_notes(0, word, (Field(PFN32),)), EFFECTIVE[:2], entry_bytes=4),
            NoteDepth(10, NOTE_PTE, EFFECTIVE[:2], entry_bytes=4),
        )
    pte = NoteDepth(9, NOTE_PTE, EFFECTIVE)
    if mode == "i386-pae":
        # pmd_none looks at the low word only (asm/pgtable.h:1066).
        pmd = _pmd_notes(3, 0xFFFF_FFFF & NONE.mask, table)
        return (
            NoteDepth(2, _pud_notes(0, series, table), EFFECTIVE),
            NoteDepth(9, pmd, EFFECTIVE),
            pte,
        )
    lower = (
        NoteDepth(9, _pud_notes(2, series, table), EFFECTIVE, early("pmd")),
        NoteDepth(9, _pmd_notes(3, NONE.mask, table), EFFECTIVE, early("pte")),
        pte,
    )
    if mode == "x86_64-4level":
        return (NoteDepth(9, _p4d_notes(0, table), EFFECTIVE, early("pud", True)), *lower)
    return (
        NoteDepth(9, _pgd_notes(table), EFFECTIVE, early("p4d", True)),
        NoteDepth(9, _p4d_notes(1, table), EFFECTIVE, early("pud", True)),
        *lower,
    )


def _flags(level: int) -> tuple[TextField, ...]:
    """printk_prot, dump_pagetables.c:180. PAT of large pages is bit 12, a PFN bit to
    PTE_FLAGS_MASK, and so never shows."""
    return (
        Flag(US, US, "USR ", "    "),
        Flag(RW, RW, "RW ", "ro "),
        Flag(PWT, PWT, "PWT ", "    "),
        Flag(PCD, PCD, "PCD ", "    "),
        Flag(PS, PS, "PSE ", "    ") if level <= 3 else Flag(0, 0, "    "),
        Flag(PAT, PAT, "PAT ", "    ") if level == 4 else Flag(0, 0, "    "),
        Flag(G, G, "GLB ", "    "),
        Flag(NX, NX, "NX ", "x  "),
    )


@cache
def _levels(flags_mask: int) -> tuple[Level, ...]:
    names = ("pgd", "p4d", "pud", "pmd", "pte")
    return tuple(Level(name, flags_mask, _flags(level)) for level, name in enumerate(names))


def dialect(layout: Layout, root: Root, view: View, version: str) -> Dialect:
    """ptdump of Linux on x86; the views of `page_tables/` differ in their root only."""
    mode = layout.mode_of(root)
    spec = MODES[mode](root.index_va_bits)
    kasan = layout.kasan
    wide = spec.arch == "x86_64"
    return Dialect(
        arch=spec.arch,
        version=version,
        page_bits=12,
        depths=_depths(mode, ".".join(version.split(".")[:2]), kasan.early_shadow if kasan else {}),
        half=spec.halves[0],
        # PTE_FLAGS_MASK, pgtable_types.h: all that is not the page frame number.
        levels=_levels(0xFFF if mode == "i386-2level" else WORD & ~PFN),
        markers=MarkerPolicy(first=0, flush=1, note=0),
        style=Style(
            line="{start}-{end}   {size} {tail}",
            tail="{flags}{name}",
            address="0x%016x" if wide else "0x%08x",
            address_bits=64 if wide else 32,
            units="BKMGTPE",
            unit_bytes=1,
            separator="",
            flags_if=P,
            no_flags=" " * 30,
        ),
        final=0,
        # effective_prot of a value 0 is 0: neither RW nor USER nor NX (note_page,
        # dump_pagetables.c:289).
        zero_path=NOT_RW | NOT_USER,
        shadow_value=(kasan.pte0 or 0) if kasan else 0,
        shadow_level=4,
        shadow_path_stale=True,
    )
