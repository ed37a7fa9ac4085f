"""arm64: every translation granule and VA size of stage 1, EL1&0, with its ptdump.

"Arm ARM" is the Arm Architecture Reference Manual for A-profile (DDI 0487), chapter D8,
the VMSAv8-64 translation system: D8.2 gives table and block sizes for each granule, D8.3
the descriptor formats, D8.4 the permissions. Kernel paths are those of Linux 6.12 and,
where said, 6.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..errors import SpecError
from ..layout import Layout, Root, View
from ._common import Shadow, same_types, shadow_of_top
from .dialect import (
    Dialect,
    EarlyShadow,
    Flag,
    Level,
    MarkerPolicy,
    NoteDepth,
    NoteRule,
    Style,
)
from .spec import (
    EXEC,
    READ,
    USER,
    USER_EXEC,
    WRITE,
    Depth,
    Exclusion,
    Field,
    Half,
    PathBit,
    Rule,
    Spec,
    Window,
)

# Bits of block and page descriptors: Arm ARM D8.3.1; names as in
# arch/arm64/include/asm/pgtable-hwdef.h:140 and pgtable-prot.h:17.
VALID = 1 << 0
TABLE = 1 << 1  # a table, or a page at the last level; clear: a block
TYPE = VALID | TABLE
ATTR_INDEX = 7 << 2  # index into MAIR_EL1
NS = 1 << 5
AP_USER = 1 << 6  # AP[1]
AP_READ_ONLY = 1 << 7  # AP[2]
SH = 3 << 8  # shareability; PA 51:50 with LPA2
AF = 1 << 10
NG = 1 << 11  # not global; Linux: PTE_PRESENT_INVALID where VALID is clear
GP = 1 << 50  # guarded page (BTI)
DBM = 1 << 51  # dirty bit modifier; Linux: PTE_WRITE
CONT = 1 << 52
PXN = 1 << 53
UXN = 1 << 54
SOFT = 7 << 56  # PTE_SPECIAL, PTE_DEVMAP, PTE_UFFD_WP (6.1: PTE_PROT_NONE)
OVERLAY = 7 << 60  # permission overlay index (FEAT_S1POE)

# The attributes of a leaf. The access flag is left out: the processor (or the kernel)
# sets it as memory is used, so it says nothing of what is allowed; so is Linux's software
# dirty bit (55). DBM is in: it says that a read-only page may become writable by itself.
# ptdump compares AF and not DBM; its dialects have masks of their own.
ATTRIBUTE_BITS = (
    TYPE | ATTR_INDEX | NS | AP_USER | AP_READ_ONLY | NG | GP | DBM | CONT | PXN | UXN | SOFT
) | OVERLAY

# Arm ARM D8.4.1: direct permissions. EL0 may execute without AP[1] (execute-only pages),
# so the two are independent.
LEAF_PATH = (
    PathBit(USER, AP_USER, 0),
    PathBit(WRITE, AP_READ_ONLY, AP_READ_ONLY),
    PathBit(EXEC, PXN, PXN),
    PathBit(USER_EXEC, UXN, UXN),
)
# Arm ARM D8.4.2, hierarchical permissions: PXNTable 59, UXNTable 60, APTable 62:61. They
# count unless TCR_EL1.HPD0/1 turns them off, which Linux does not.
TABLE_PATH = (
    PathBit(EXEC, 1 << 59, 1 << 59),
    PathBit(USER_EXEC, 1 << 60, 1 << 60),
    PathBit(USER, 1 << 61, 1 << 61),
    PathBit(WRITE, 1 << 62, 1 << 62),
)
# Arm ARM D8.4.1: what EL0 can write, EL1 does not execute, whatever PXN says.
EXCLUSIONS = (Exclusion(USER | WRITE, EXEC),)
PERMISSIONS = READ | WRITE | EXEC | USER | USER_EXEC

WORD = (1 << 64) - 1
NAMES = ("PGD", "P4D", "PUD", "PMD", "PTE")


class Mode(NamedTuple):
    """What a mode's name says."""

    page_bits: int
    va_bits: int
    lpa2: bool

    @property
    def name(self) -> str:
        return f"arm64-{1 << self.page_bits - 10}k-{self.va_bits}{'-lpa2' if self.lpa2 else ''}"

    @property
    def levels(self) -> int:
        """Tables from the root to a page (ARM64_HW_PGTABLE_LEVELS, pgtable-hwdef.h:25)."""
        return (self.va_bits - 4) // (self.page_bits - 3)

    def index_bits(self, root_va_bits: int) -> tuple[int, ...]:
        """Index bits of each depth: page-sized tables below, the rest at the top (a short
        table: D8.2, no concatenation at stage 1)."""
        bits = self.page_bits - 3
        below = (self.levels - 1) * bits
        return (root_va_bits - self.page_bits - below, *(bits,) * (self.levels - 1))


def _address(mode: Mode, low: int) -> tuple[Field, ...]:
    """The output address of a descriptor, down to bit `low` (D8.3.1)."""
    if mode.page_bits == 16:
        # FEAT_LPA: PA 51:48 in bits 15:12, zero on processors without it.
        return Field(_mask(47, low)), Field(0xF000, 36)
    if mode.lpa2:
        # TCR_EL1.DS = 1: PA 51:50 in bits 9:8, where SH was.
        return Field(_mask(49, low)), Field(0x300, 42)
    return (Field(_mask(47, low)),)


def _mask(high: int, low: int) -> int:
    return (2 << high) - (1 << low)


def _block_level(mode: Mode) -> int:
    """The first level that may hold blocks (D8.2: 1 GB with 4K pages, 32 MB with 16K,
    512 MB with 64K; one level more with 52-bit addresses: 512 GB, 64 GB, 4 TB)."""
    first = {12: 1, 14: 2, 16: 2}[mode.page_bits]
    return first - 1 if mode.lpa2 or mode.page_bits == 16 else first


def _spec(mode: Mode, index_va_bits: int | None) -> Spec:
    root_bits = mode.va_bits if index_va_bits is None else index_va_bits
    index_bits = mode.index_bits(root_bits)
    most = mode.page_bits + mode.levels * (mode.page_bits - 3)
    if not mode.va_bits <= root_bits <= most:
        raise SpecError(
            f"{mode.name}: a root cannot be indexed with {root_bits} bits; use {mode.va_bits} "
            f"(leave index_va_bits out) to {most}"
        )
    attributes = ATTRIBUTE_BITS | (0 if mode.lpa2 else SH)
    names = (NAMES[0], *NAMES[6 - mode.levels :])
    none = Rule(WORD, 0, "none")  # p?d_none, pte_none: pgtable.h:95,703,807,899,1023
    depths = []
    for depth, name in enumerate(names):
        level = 4 - mode.levels + depth  # as the Arm ARM counts: -1 .. 3
        shift = mode.page_bits + (3 - level) * (mode.page_bits - 3)
        if level == 3:
            rules = [none, Rule(TYPE, TYPE, "leaf", _address(mode, shift))]
        else:
            rules = [none, Rule(TYPE, TYPE, "table", _address(mode, mode.page_bits))]
            if level >= _block_level(mode):
                rules.append(Rule(TYPE, VALID, "leaf", _address(mode, shift)))
        rules.append(Rule(0, 0, "other"))
        depths.append(
            Depth(
                name,
                index_bits[depth],
                tuple(rules),
                attributes=attributes,
                table_path=() if level == 3 else TABLE_PATH,
                leaf_path=LEAF_PATH,
            )
        )
    size = 1 << mode.va_bits
    return Spec(
        name=mode.name,
        arch="arm64",
        va_bits=mode.va_bits,
        pa_bits=52 if mode.lpa2 or mode.page_bits == 16 else 48,
        page_bits=mode.page_bits,
        depths=tuple(depths),
        halves=(
            # TTBR1 has the last entries of a root that is indexed with more bits.
            Half("high", (Window((1 << root_bits) - size, size, (1 << 64) - size),)),
            Half("low", (Window(0, size, 0),)),
        ),
        permissions=PERMISSIONS,
        exclusions=EXCLUSIONS,
        # TTBR_EL1.BADDR: a root is aligned to its size.
        root_align=8 << mode.index_bits(mode.va_bits)[0],
    )


# 4K and 16K pages have more than 48 bits with LPA2 only, 64K pages by FEAT_LVA (D8.2).
_ALL = (
    *(Mode(page_bits, va_bits, False) for page_bits in (12, 14) for va_bits in range(36, 49)),
    *(Mode(16, va_bits, False) for va_bits in range(36, 53)),
    *(Mode(page_bits, va_bits, True) for page_bits in (12, 14) for va_bits in range(36, 53)),
)
_MODES = {mode.name: mode for mode in _ALL}


def _factory(mode: Mode) -> Callable[[int | None], Spec]:
    return lambda index_va_bits: _spec(mode, index_va_bits)


MODES: dict[str, Callable[[int | None], Spec]] = {
    name: _factory(mode) for name, mode in _MODES.items()
}


def _attributes(mode: Mode) -> tuple[tuple[str, int, int], ...]:
    return (
        ("VALID", VALID, VALID),
        ("BLOCK", TYPE, VALID),
        *((f"ATTR{index}", ATTR_INDEX, index << 2) for index in range(8)),
        ("NS", NS, NS),
        ("USER", AP_USER, AP_USER),
        ("RDONLY", AP_READ_ONLY, AP_READ_ONLY),
        *(() if mode.lpa2 else (("OUTER", SH, 2 << 8), ("INNER", SH, SH))),
        ("NG", NG, NG),
        ("GP", GP, GP),
        ("DBM", DBM, DBM),
        ("CONT", CONT, CONT),
        ("PXN", PXN, PXN),
        ("UXN", UXN, UXN),
        *((f"SOFT{bit}", 1 << bit, 1 << bit) for bit in (56, 57, 58)),
        *((f"PO{bit - 60}", 1 << bit, 1 << bit) for bit in (60, 61, 62)),
    )


def _attributes_of(mode: Mode) -> Callable[[], tuple[tuple[str, int, int], ...]]:
    return lambda: _attributes(mode)


ATTRIBUTES = {name: _attributes_of(mode) for name, mode in _MODES.items()}


# MT_*, asm/memory.h:172 of 6.12: what Linux puts into MAIR_EL1.
_TYPES = ("normal", "tagged", "normal-nc", "device-nGnRnE", "device-nGnRE")

MEMORY = same_types(
    MODES, tuple((name, ATTR_INDEX, index << 2) for index, name in enumerate(_TYPES))
)

# Entries that the contiguous bit makes one, from the last depth up: arch/arm64/Kconfig,
# ARM64_CONT_PTE_SHIFT and ARM64_CONT_PMD_SHIFT of 6.12.
_CONTIGUOUS = {12: (16, 16), 14: (128, 32), 16: (32, 32)}


def _groups_of(mode: Mode) -> Callable[[], tuple[tuple[int, int, int] | None, ...]]:
    last, above = ((CONT, CONT, entries) for entries in _CONTIGUOUS[mode.page_bits])
    depths = len(_spec(mode, None).depths)
    return lambda: (*(None,) * (depths - 2), *((above,) if depths > 1 else ()), last)


GROUPS = {name: _groups_of(mode) for name, mode in _MODES.items()}

PRESENT_ENTRY = dict.fromkeys(_MODES, (VALID, VALID))
"""An entry is present where ``attributes & mask == value``."""


def shadows(spec: Spec) -> tuple[Shadow, ...]:
    """asm/memory.h and KASAN_SHADOW_OFFSET of Kconfig (6.12): generic KASAN, and software
    tags. The end depends on the configured width, of which 52 bits share one with 48 (47
    with 16K pages); the start on the width in force."""
    width = min(spec.va_bits, 47 if spec.page_bits == 14 and spec.va_bits > 48 else 48)
    end = (1 << 64) - (1 << width - 1)
    return tuple(shadow_of_top(end - (1 << spec.va_bits - scale), end, scale) for scale in (3, 4))


MACHINES = (183,)
"""ELF machine numbers of images: include/uapi/linux/elf-em.h (6.12)."""

# ---- ptdump: arch/arm64/mm/ptdump.c -----------------------------------------------------

DIALECTS = ("6.12.117", "6.1.192")

# pte_bits, ptdump.c:41. PTE_SHARED is looked at even where LPA2 has made an address of it.
FLAGS = (
    Flag(VALID, VALID, " ", "F"),
    Flag(AP_USER, AP_USER, "USR", "   "),
    Flag(AP_READ_ONLY, AP_READ_ONLY, "ro", "RW"),
    Flag(PXN, PXN, "NX", "x "),
    Flag(SH, SH, "SHD", "   "),
    Flag(AF, AF, "AF", "  "),
    Flag(NG, NG, "NG", "  "),
    Flag(CONT, CONT, "CON", "   "),
    Flag(TABLE, TABLE, "   ", "BLK"),
    Flag(UXN, UXN, "UXN", "   "),
    Flag(GP, GP, "GP", "  "),
    # MT_*, asm/memory.h:172
    Flag(ATTR_INDEX, 3 << 2, "DEVICE/nGnRnE"),
    Flag(ATTR_INDEX, 4 << 2, "DEVICE/nGnRE"),
    Flag(ATTR_INDEX, 2 << 2, "MEM/NORMAL-NC"),
    Flag(ATTR_INDEX, 0 << 2, "MEM/NORMAL"),
    Flag(ATTR_INDEX, 1 << 2, "MEM/NORMAL-TAGGED"),
)
MASK = VALID | AP_USER | AP_READ_ONLY | PXN | SH | AF | NG | CONT | TABLE | UXN | GP | ATTR_INDEX

PTE_PROT_NONE = 1 << 58  # 6.1 pgtable-prot.h:21
PMD_PRESENT_INVALID = 1 << 59  # 6.1 pgtable-prot.h:28


class Build(NamedTuple):
    """What of a kernel's configuration its dumper depends on."""

    series: str
    mode: Mode
    config_levels: int
    config_pa_bits: int

    @property
    def table(self) -> tuple[Field, ...]:
        """__pte_to_phys (pgtable.h:76; 6.1 pgtable.h:79) as compiled."""
        page_bits = self.mode.page_bits
        low = Field(_mask(47 if self.series == "6.1" else 49, page_bits))
        if self.config_pa_bits <= 48:
            return (low,)
        if page_bits == 16:
            return Field(_mask(47, page_bits)), Field(0xF000, 36)
        return low, Field(0x300, 42)

    def level(self, level: int) -> int:
        """note_page counts a folded p4d and pud as the pgd (ptdump.c:199), folded when
        compiled or when booted. 6.1 has no such lines."""
        folded = 5 - self.mode.levels
        return 0 if self.series != "6.1" and level in (1, 2) and level <= folded else level

    def hole(self, level: int) -> int:
        """The level of an empty entry: real_depth (mm/pagewalk.c:15) undoes compiled
        folding, for PTRS_PER_* are constants, and note_page the other."""
        return 0 if level <= 5 - self.config_levels else self.level(level)


def _notes(build: Build, level: int) -> tuple[NoteRule, ...]:
    """What the walk does with entries of a level: 0 pgd .. 4 pte."""
    hole = NoteRule(WORD, 0, "hole", build.hole(level))
    if level == 4:
        return (NoteRule(0, 0, "note", 4),)
    if level < 2:
        # pgd_none, pgd_bad, p4d_none, p4d_bad (pgtable.h:899,1023): all but tables are
        # holes, 512 GB blocks too; bit 0 is not looked at.
        return (
            hole,
            NoteRule(TABLE, TABLE, "descend", pa=build.table),
            NoteRule(0, 0, "hole", hole.level),
        )
    own = build.level(level)
    if build.series == "6.1":
        # pte_present, pmd_present: 6.1 pgtable.h:102,464
        present = [VALID, PTE_PROT_NONE, *([PMD_PRESENT_INVALID] if level == 3 else [])]
        tests = [(bit, bit) for bit in present]
    else:
        # pte_present: pgtable.h:101,128
        tests = [(VALID, VALID), (VALID | NG, NG)]
    if level == 2 and build.mode.page_bits == 16:
        # pud_table is true with 64K pages (pgtable.h:729), so nothing is a leaf.
        return (
            hole,
            *(NoteRule(mask, value, "descend", pa=build.table) for mask, value in tests),
            NoteRule(0, 0, "silent"),
        )
    return (
        hole,
        NoteRule(TYPE, TYPE, "descend", pa=build.table),
        *(NoteRule(mask, value, "note", own) for mask, value in tests),
        NoteRule(0, 0, "silent"),
    )


def _depths(build: Build, spec: Spec, shadow: Mapping[str, int]) -> tuple[NoteDepth, ...]:
    names = ("p4d", "pud", "pmd", "pte")
    depths = []
    for depth in range(build.mode.levels):
        # The level that does something: where upper levels fold, the lowest of them.
        level = 5 - build.mode.levels + depth
        early = None
        if level < 4 and names[level] in shadow:
            early = EarlyShadow(shadow[names[level]], descends=level < 2)
        depths.append(NoteDepth(spec.depths[depth].index_bits, _notes(build, level), (), early))
    return tuple(depths)


def _levels(build: Build) -> tuple[Level, ...]:
    names = list(NAMES)
    if build.series == "6.1":
        # 6.1 ptdump.c:184: names depend on the configured levels, numbers do not.
        names[2] = "PUD" if build.config_levels > 3 else "PGD"
        names[3] = "PMD" if build.config_levels > 2 else "PGD"
    return tuple(Level(name, MASK, FLAGS) for name in names)


def dialect(layout: Layout, root: Root, view: View, version: str) -> Dialect:
    """ptdump of Linux on arm64: `kernel_page_tables`, and user tables dumped alike."""
    mode = _MODES[layout.mode_of(root)]
    spec = _spec(mode, root.index_va_bits)
    paging, kasan = layout.paging, layout.kasan
    build = Build(
        series=".".join(version.split(".")[:2]),
        mode=mode,
        config_levels=paging.config_levels or mode.levels,
        config_pa_bits=paging.config_pa_bits or spec.pa_bits,
    )
    high, low = spec.halves
    return Dialect(
        arch="arm64",
        version=version,
        page_bits=mode.page_bits,
        depths=_depths(build, spec, kasan.early_shadow if kasan else {}),
        half=high if view.ranges[0][0] >> 63 else low,
        levels=_levels(build),
        # ptdump.c:247,259: after a run, and again at the end of every note.
        markers=MarkerPolicy(first=0, flush=1, note=1),
        style=Style(line="{start}-{end}   {size} {tail}", tail="{name}{flags}"),
        # note_page_flush (ptdump.c:279) ends at the end of the range; 6.1 at 0.
        final=0 if build.series == "6.1" else None,
        shadow_value=(kasan.pte0 or 0) if kasan else 0,
        shadow_level=4,
    )
