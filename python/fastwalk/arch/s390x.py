"""s390x: region, segment and page tables.

Sources: *z/Architecture Principles of Operation* (SA22-7832-13), chapter 3 "Storage",
section "Dynamic Address Translation" ("Translation Tables", "Translation Process"), named
[PoO] here; Linux 6.12 and 6.1, ``arch/s390/include/asm/pgtable.h`` and
``arch/s390/mm/dump_pagetables.c``. The manual counts bits from the left (bit 63 is 1);
the masks here are values.

The designation type of the address-space-control element (ASCE, control register 1, 7 or
13) says which table a root is, so each type is a mode of its own. A designation's table
length is not looked at: Linux gives every table its full length (_ASCE_TABLE_LENGTH).
The enhanced-DAT facility 1 is taken as installed; without it the P bit of region entries
and all large frames do not exist.
"""

from __future__ import annotations

from collections.abc import Callable

from ..layout import Layout, Root, View
from ._common import P4D, PGD, PMD, PTE, PUD, Shadow, early_shadow, fixed, shadow_value
from .dialect import (
    Dialect,
    Flag,
    Level,
    MarkerPolicy,
    NoteDepth,
    NoteRule,
    Style,
    TextField,
)
from .spec import EXEC, READ, WRITE, Depth, Field, Length, PathBit, Rule, Spec, whole

# [PoO] "Region-Table Entries", "Segment-Table Entries".
TL = 0x003
"""Table length of the next table, in units of 512 entries, less one."""
TT = 0x00C
"""Table type: 3 region first, 2 region second, 1 region third, 0 segment."""
INVALID = 0x020
"""I: bit 58 of region- and segment-table entries."""
TF = 0x0C0
"""Table offset: where the next table begins, in units of 512 entries."""
NOEXEC = 0x100
"""IEP: instruction-execution protection; bit 55 of a large entry and of a page-table entry."""
PROTECT = 0x200
"""P: DAT protection, bit 54."""
LARGE = 0x400
"""FC: format control, bit 53 of region-third- and segment-table entries."""
PAGE_INVALID = 0x400
"""I: bit 53 of page-table entries."""
PAGE_RESERVED = 0x800
"""Bit 52 of a page-table entry must be zero: translation-specification exception."""
TABLE_ORIGIN = ~0xFFF & (1 << 64) - 1
PAGE_TABLE_ORIGIN = ~0x7FF & (1 << 64) - 1
"""Page tables have 256 entries and lie on 2 KiB boundaries."""
REGION_FRAME = ~0x7FFF_FFFF & (1 << 64) - 1
SEGMENT_FRAME = ~0xF_FFFF & (1 << 64) - 1
ALL = (1 << 64) - 1

# Software bits (pgtable.h). Young, dirty and soft-dirty change as memory is used, so they are
# no attributes.
PAGE_PRESENT = 0x001
PAGE_READ = 0x010
PAGE_WRITE = 0x020
PAGE_SPECIAL = 0x040
LARGE_WRITE = 0x002
"""_SEGMENT_ENTRY_WRITE; _READ is 0x001, where a pte has _PAGE_PRESENT."""
# [PoO] of a large entry: bit 47 (AV) makes ACC and F (bits 48:52) mean something. Linux keeps
# AV zero and its software bits young, dirty and soft-dirty at 0x1000 to 0x4000.
LARGE_AV = 0x1_0000

PAGE_ATTRIBUTES = (
    PAGE_PRESENT | PAGE_READ | PAGE_WRITE | PAGE_SPECIAL | NOEXEC | PROTECT | PAGE_INVALID
)
LARGE_ATTRIBUTES = PAGE_PRESENT | LARGE_WRITE | NOEXEC | PROTECT | LARGE | LARGE_AV

# Read access is what DAT protection leaves; supervisor and problem state are told apart by
# their address spaces, not by the tables.
_TABLE_PATH = (PathBit(WRITE, PROTECT, PROTECT),)
_LEAF_PATH = (PathBit(WRITE, PROTECT, PROTECT), PathBit(EXEC, NOEXEC, NOEXEC))

_TABLE_LENGTH = Length(first=Field(TF, 3), last=Field(TL, 9), last_add=511)

_TYPES = {"region1": 3, "region2": 2, "region3": 1, "segment": 0}
"""The DT field of the ASCE, and of the TT field of the entries of the table that it designates."""


def _region(name: str, table_type: int, large: bool) -> Depth:
    own = table_type << 2
    head = (
        Rule(ALL, own | INVALID, "none"),  # _REGIONn_ENTRY_EMPTY
        Rule(INVALID, INVALID, "other"),
    )
    leaves: tuple[Rule, ...] = ()
    if large:
        # Enhanced DAT 2. Low bits of the frame's address are other fields.
        leaves = (Rule(TT | LARGE, own | LARGE, "leaf", (Field(REGION_FRAME),)),)
    return Depth(
        name=name,
        index_bits=11,
        rules=(
            *head,
            *leaves,
            Rule(TT, own, "table", (Field(TABLE_ORIGIN),)),
            Rule(0, 0, "other"),  # a wrong TT: translation-specification exception
        ),
        attributes=LARGE_ATTRIBUTES,
        table_path=_TABLE_PATH,
        leaf_path=_LEAF_PATH if large else (),
        byte_order="big",
        length=_TABLE_LENGTH,
    )


_SEGMENT = Depth(
    name="PMD",
    index_bits=11,
    rules=(
        Rule(ALL, INVALID, "none"),  # _SEGMENT_ENTRY_EMPTY
        Rule(INVALID, INVALID, "other"),
        Rule(TT | LARGE, LARGE, "leaf", (Field(SEGMENT_FRAME),)),
        Rule(TT, 0, "table", (Field(PAGE_TABLE_ORIGIN),)),
        Rule(0, 0, "other"),
    ),
    attributes=LARGE_ATTRIBUTES,
    table_path=_TABLE_PATH,
    leaf_path=_LEAF_PATH,
    byte_order="big",
)

_PAGE = Depth(
    name="PTE",
    index_bits=8,
    rules=(
        Rule(ALL, PAGE_INVALID, "none"),  # pte_none
        Rule(PAGE_INVALID, PAGE_INVALID, "other"),  # swap, PROT_NONE, old
        Rule(PAGE_RESERVED, PAGE_RESERVED, "other"),
        Rule(0, 0, "leaf", (Field(TABLE_ORIGIN),)),
    ),
    attributes=PAGE_ATTRIBUTES,
    leaf_path=_LEAF_PATH,
    byte_order="big",
)

_DEPTHS = (
    _region("PGD", 3, large=False),
    _region("P4D", 2, large=False),
    _region("PUD", 1, large=True),
    _SEGMENT,
    _PAGE,
)


def _mode(designation: str) -> Spec:
    table_type = _TYPES[designation]
    va_bits = 31 + 11 * table_type
    return Spec(
        name=f"s390x-{designation}",
        arch="s390x",
        va_bits=va_bits,
        pa_bits=64,
        page_bits=12,
        depths=_DEPTHS[3 - table_type :],
        halves=(whole(va_bits),),
        permissions=READ | WRITE | EXEC,
        root_align=4096,
    )


def _factory(designation: str) -> Callable[[int | None], Spec]:
    return fixed(lambda: _mode(designation))


MODES = {f"s390x-{designation}": _factory(designation) for designation in _TYPES}


def _attributes() -> tuple[tuple[str, int, int], ...]:
    """P and IEP are the same in entries of all kinds. Where a page-table entry and a large
    entry keep different things, the former's name stands first."""
    names = (
        ("present/large-read", PAGE_PRESENT), ("large-write", LARGE_WRITE), ("read", PAGE_READ),
        ("write", PAGE_WRITE), ("special", PAGE_SPECIAL), ("IEP", NOEXEC), ("P", PROTECT),
        ("invalid/large", LARGE), ("large-AV", LARGE_AV),
    )  # fmt: skip
    return tuple((name, bit, bit) for name, bit in names)


ATTRIBUTES = dict.fromkeys(MODES, _attributes)


def shadows(spec: Spec) -> tuple[Shadow, ...]:
    """asm/kasan.h (6.12): at KASAN_SHADOW_OFFSET, for all that a region-second table spans."""
    start, size = 0x1C_0000_0000_0000, 1 << 53 - 3
    return (Shadow(start, start + size, 3, 0),) if spec.va_bits >= 53 else ()


MACHINES = (22,)
"""ELF machine numbers of images: include/uapi/linux/elf-em.h (6.12)."""

# ---- ptdump: arch/s390/mm/dump_pagetables.c ---------------------------------------------

DIALECTS = ("6.12.117", "6.1.192")

# note_page: val 0 above the last level and the I bit at it both mean _PAGE_INVALID, while
# 0x400 in a large entry is FC. So a hole's value has one bit more, which a large entry never
# has (TT is 0 or 1 there), and which stands for "I" above the last level.
_HOLE_BIT = 0x008
HOLE = PAGE_INVALID | _HOLE_BIT


def _fields(invalid: int) -> tuple[TextField, ...]:
    """print_prot: `I` alone, or RO/RW and NX/X. A key of 0 is `RW X`: Style.no_flags."""
    return (
        Flag(invalid, invalid, "I"),
        Flag(invalid | PROTECT, PROTECT, "RO"),
        Flag(invalid | PROTECT, 0, "RW"),
        Flag(invalid | NOEXEC, NOEXEC, "NX"),
        Flag(invalid | NOEXEC, 0, "X"),
    )


_UPPER_FIELDS = _fields(_HOLE_BIT)
_PTE_FIELDS = _fields(PAGE_INVALID)
_KEY = PROTECT | NOEXEC

_TT_REGION1, _TT_REGION2, _TT_REGION3 = 3 << 2, 2 << 2, 1 << 2
# pgtable.h, _REGION_ENTRY_BITS: what p4d_bad and pgd_bad do not allow.
_REGION_BAD = (0x010, 0x040, 0x080, NOEXEC, LARGE, 0x800)


def _note_depth(layout: Layout, level: int) -> NoteDepth:
    """mm/pagewalk.c over arch/s390/include/asm/pgtable.h. Nothing folds for the level numbers
    (PTRS_PER_* are constants), whatever the ASCE's type."""
    bad = tuple(NoteRule(bit, bit, "hole", level) for bit in _REGION_BAD)
    table = NoteRule(0, 0, "descend", level, (Field(TABLE_ORIGIN),))
    rules: tuple[NoteRule, ...]
    if level == PTE:
        rules = (
            NoteRule(PAGE_INVALID, PAGE_INVALID, "hole", PTE),
            NoteRule(0, 0, "note", PTE),
        )
    elif level == PMD:
        rules = (
            NoteRule(ALL, INVALID, "hole", PMD),
            NoteRule(LARGE, LARGE, "note", PMD),
            NoteRule(0, 0, "descend", PMD, (Field(PAGE_TABLE_ORIGIN),)),
        )
    elif level == PUD:
        rules = (
            NoteRule(ALL, _TT_REGION3 | INVALID, "hole", PUD),
            NoteRule(TT | LARGE, _TT_REGION3 | LARGE, "note", PUD),
            NoteRule(TABLE_ORIGIN, 0, "silent"),  # pud_present
            table,
        )
    elif level == P4D:
        rules = (
            NoteRule(ALL, _TT_REGION2 | INVALID, "hole", P4D),
            NoteRule(TT, _TT_REGION1, "hole", P4D),  # p4d_bad
            *bad,
            table,
        )
    else:
        rules = (NoteRule(INVALID, INVALID, "hole", PGD), *bad, table)
    return NoteDepth(
        index_bits=8 if level == PTE else 11,
        rules=rules,
        early_shadow=early_shadow(layout, level),
        byte_order="big",
    )


def dialect(layout: Layout, root: Root, view: View, version: str) -> Dialect:
    """kernel_page_tables of Linux on s390x."""
    mode = layout.mode_of(root)
    spec = MODES[mode](root.index_va_bits)
    old = version.startswith("6.1.")
    return Dialect(
        arch="s390x",
        version=version,
        page_bits=12,
        depths=tuple(
            _note_depth(layout, level) for level in range(PTE + 1 - len(spec.depths), PTE + 1)
        ),
        half=spec.halves[0],
        levels=(
            *(
                Level(name, _KEY | _HOLE_BIT, _UPPER_FIELDS)
                for name in ("ASCE", "PGD", "PUD", "PMD")
            ),
            Level("PTE", _KEY | PAGE_INVALID, _PTE_FIELDS),
        ),
        # 6.12, note_page_update_state: a loop, at the first note too, after a heading of its
        # own. 6.1 prints the first marker and loops at a run's end only.
        markers=MarkerPolicy(first=0 if old else -1, flush=-1),
        style=Style(line="{start}-{end} {size} {tail}", tail="{name}{flags}", no_flags=" RW X"),
        final=None,  # note_page: `addr = max_addr` at level -1
        hole_value=HOLE,
        shadow_value=shadow_value(layout),
        first_heading=None if old else "Kernel Virtual Address Space",
    )
