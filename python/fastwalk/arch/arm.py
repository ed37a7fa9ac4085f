"""32-bit Arm: short descriptors and the Long-descriptor format (LPAE).

Sources: *Arm Architecture Reference Manual, ARMv7-A and ARMv7-R edition* (DDI 0406C.d),
chapter B3: B3.5 "Short-descriptor translation table format", B3.6 "Long-descriptor
translation table format", B3.7 "Memory access control", named [ARM] here; Linux 6.12 and
6.1, ``arch/arm/include/asm/pgtable-{2,3}level{,-hwdef}.h`` and ``arch/arm/mm/dump.c``.

The access permissions are those of ARMv6 and later with SCTLR.AFE = 0 (short descriptors),
as Linux sets it. Domains of type Manager (DACR) ignore them, and SCTLR.WXN and UWXN forbid
the execution of what is writable; those are no properties of the tables.
"""

from __future__ import annotations

from ..layout import Layout, Root, View
from ._common import fixed, key_mask
from .dialect import (
    Dialect,
    Flag,
    Level,
    MarkerPolicy,
    NoteDepth,
    NoteRule,
    Pairs,
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
    whole,
)

ALL32 = (1 << 32) - 1
ALL64 = (1 << 64) - 1
PERMISSIONS = READ | WRITE | EXEC | USER | USER_EXEC

# --- short descriptors -------------------------------------------------------------------

# [ARM] B3.5.1, figure B3-4: first level. Bits 1:0 are 00 fault, 01 page table, 1x section
# (bit 0 is PXN then, reserved before it existed).
TYPE = 0x3
TABLE = 0x1
SECTION = 0x2
TABLE_PXN = 0x4
TABLE_BASE = 0xFFFF_FC00
SECTION_PXN = 0x1
B = 0x4
C = 0x8
SECTION_XN = 0x10
DOMAIN = 0x1E0
"""Bits 8:5; of a supersection PA 39:36."""
SECTION_AP0 = 0x400
SECTION_AP1 = 0x800
SECTION_AP2 = 0x8000
SECTION_S = 0x1_0000
SECTION_NG = 0x2_0000
SUPERSECTION = 0x4_0000
SECTION_NS = 0x8_0000

# [ARM] B3.5.1, figure B3-5: second level. 00 fault, 01 large page, 1x small page (bit 0 XN).
LARGE_PAGE = 0x1
SMALL_PAGE = 0x2
SMALL_XN = 0x1
PAGE_AP0 = 0x10
PAGE_AP1 = 0x20
PAGE_AP2 = 0x200
PAGE_S = 0x400
PAGE_NG = 0x800
LARGE_XN = 0x8000


def _access(ap0: int, ap1: int, ap2: int) -> tuple[PathBit, ...]:
    """[ARM] table B3-8, AP[2:0]: 000 none, 001 privileged only, 010 user reads, 011 all,
    1xx the same without writing (100 reserved). USER does not say that a user may write:
    010 lets the privileged mode alone."""
    every = ap0 | ap1 | ap2
    return (
        PathBit(PERMISSIONS, ap0 | ap1, 0),
        PathBit(WRITE, ap2, ap2),
        PathBit(USER | USER_EXEC, ap1 & every, 0),
    )


_SHORT_FIRST = Depth(
    name="PGD",
    index_bits=12,
    rules=(
        Rule(ALL32, 0, "none"),
        Rule(TYPE, 0, "other"),
        Rule(TYPE, TABLE, "table", (Field(TABLE_BASE),)),
        Rule(
            SECTION | SUPERSECTION,
            SECTION | SUPERSECTION,
            "leaf",
            # PA 31:24, 35:32 and 39:36.
            (Field(0xFF00_0000), Field(0x00F0_0000, 12), Field(DOMAIN, 31)),
            replicated=16,
        ),
        Rule(0, 0, "leaf", (Field(0xFFF0_0000),)),
    ),
    attributes=0xF_FFFF,
    table_path=(PathBit(EXEC, TABLE_PXN, TABLE_PXN),),
    leaf_path=(
        *_access(SECTION_AP0, SECTION_AP1, SECTION_AP2),
        PathBit(EXEC | USER_EXEC, SECTION_XN, SECTION_XN),
        PathBit(EXEC, SECTION_PXN, SECTION_PXN),
    ),
    entry_bytes=4,
)

_SHORT_SECOND = Depth(
    name="PTE",
    index_bits=8,
    rules=(
        Rule(ALL32, 0, "none"),
        Rule(TYPE, 0, "other"),
        Rule(TYPE, LARGE_PAGE, "leaf", (Field(0xFFFF_0000),), replicated=16),
        Rule(0, 0, "leaf", (Field(0xFFFF_F000),)),
    ),
    # XN and TEX of a large page (bits 15:12) stand where a small page has address bits, so
    # they are not among the attributes; `effective` knows XN all the same.
    attributes=0xFFF,
    leaf_path=(
        *_access(PAGE_AP0, PAGE_AP1, PAGE_AP2),
        PathBit(EXEC | USER_EXEC, SMALL_PAGE | SMALL_XN, SMALL_PAGE | SMALL_XN),
        PathBit(EXEC | USER_EXEC, TYPE | LARGE_XN, LARGE_PAGE | LARGE_XN),
    ),
    entry_bytes=4,
)


def _short() -> Spec:
    return Spec(
        name="arm-short",
        arch="arm",
        va_bits=32,
        pa_bits=40,
        page_bits=12,
        depths=(_SHORT_FIRST, _SHORT_SECOND),
        halves=(whole(32),),
        permissions=PERMISSIONS,
        root_align=1 << 14,
    )


# --- Long descriptors --------------------------------------------------------------------

# [ARM] B3.6.1 and B3.6.2. Bits 1:0 are x0 invalid, 01 block, 11 table or (third level) page.
L_VALID = 1 << 0
L_TABLE = 1 << 1
ATTR_INDX = 7 << 2
L_NS = 1 << 5
L_USER = 1 << 6
"""AP[1]: access from PL0."""
L_RDONLY = 1 << 7
"""AP[2]."""
SH = 3 << 8
AF = 1 << 10
NG = 1 << 11
L_ADDRESS = 0xFF_FFFF_F000
"""PA 39:12."""
CONTIGUOUS = 1 << 52
PXN = 1 << 53
XN = 1 << 54
PXN_TABLE = 1 << 59
XN_TABLE = 1 << 60
AP_TABLE_NO_PL0 = 1 << 61
AP_TABLE_NO_WRITE = 1 << 62
# pgtable-3level.h, bits that the architecture leaves to software.
L_PTE_SPECIAL = 1 << 56
L_PTE_NONE = 1 << 57
L_PTE_RDONLY = 1 << 58

# AF and the dirty bit follow use, so they are no attributes.
_LONG_ATTRIBUTES = (
    L_VALID | L_TABLE | ATTR_INDX | L_NS | L_USER | L_RDONLY | SH | NG
    | CONTIGUOUS | PXN | XN | L_PTE_SPECIAL | L_PTE_NONE | L_PTE_RDONLY
)  # fmt: skip

# [ARM] B3.6.1 "Hierarchical control of access permissions, Long-descriptor format".
_LONG_TABLE_PATH = (
    PathBit(EXEC, PXN_TABLE, PXN_TABLE),
    PathBit(EXEC | USER_EXEC, XN_TABLE, XN_TABLE),
    PathBit(USER | USER_EXEC, AP_TABLE_NO_PL0, AP_TABLE_NO_PL0),
    PathBit(WRITE, AP_TABLE_NO_WRITE, AP_TABLE_NO_WRITE),
)
_LONG_LEAF_PATH = (
    PathBit(WRITE, L_RDONLY, L_RDONLY),
    PathBit(USER | USER_EXEC, L_USER, 0),
    PathBit(EXEC, PXN, PXN),
    PathBit(EXEC | USER_EXEC, XN, XN),
)


def _long_depth(name: str, index_bits: int, span: int) -> Depth:
    below = (1 << span) - 1
    last = span == 12
    if last:
        rules: tuple[Rule, ...] = (
            Rule(ALL64, 0, "none"),
            Rule(L_VALID | L_TABLE, L_VALID | L_TABLE, "leaf", (Field(L_ADDRESS),)),
            Rule(0, 0, "other"),
        )
    else:
        rules = (
            Rule(ALL64, 0, "none"),
            Rule(L_VALID | L_TABLE, L_VALID | L_TABLE, "table", (Field(L_ADDRESS),)),
            Rule(L_VALID, L_VALID, "leaf", (Field(L_ADDRESS & ~below),)),
            Rule(0, 0, "other"),
        )
    return Depth(
        name=name,
        index_bits=index_bits,
        rules=rules,
        attributes=_LONG_ATTRIBUTES,
        table_path=() if last else _LONG_TABLE_PATH,
        leaf_path=_LONG_LEAF_PATH,
    )


def _lpae() -> Spec:
    return Spec(
        name="arm-lpae",
        arch="arm",
        va_bits=32,
        pa_bits=40,
        page_bits=12,
        depths=(
            _long_depth("PGD", 2, 30),
            _long_depth("PMD", 9, 21),
            _long_depth("PTE", 9, 12),
        ),
        halves=(whole(32),),
        permissions=PERMISSIONS,
        root_align=32,
    )


MODES = {"arm-short": fixed(_short), "arm-lpae": fixed(_lpae)}


def _short_attributes() -> tuple[tuple[str, int, int], ...]:
    """Pages and sections keep different things at the same bits: a page's name stands first,
    as in ``S/section-AP0``. The first level is known by its depth."""
    names = (
        ("XN/section-PXN", SMALL_XN), ("leaf", SMALL_PAGE), ("B", B), ("C", C),
        ("AP0/section-XN", PAGE_AP0), ("AP1/domain0", PAGE_AP1), ("TEX0/domain1", 0x40),
        ("TEX1/domain2", 0x80), ("TEX2/domain3", 0x100), ("AP2", PAGE_AP2),
        ("S/section-AP0", PAGE_S), ("nG/section-AP1", PAGE_NG), ("section-TEX0", 0x1000),
        ("section-TEX1", 0x2000), ("section-TEX2", 0x4000), ("section-AP2", SECTION_AP2),
        ("section-S", SECTION_S), ("section-nG", SECTION_NG), ("supersection", SUPERSECTION),
        ("section-NS", SECTION_NS),
    )  # fmt: skip
    return tuple((name, bit, bit) for name, bit in names)


def _long_attributes() -> tuple[tuple[str, int, int], ...]:
    types = tuple((f"AttrIndx{index}", ATTR_INDX, index << 2) for index in range(8))
    return (
        ("V", L_VALID, L_VALID),
        ("block", L_TABLE, 0),
        *types,
        ("NS", L_NS, L_NS),
        ("user", L_USER, L_USER),
        ("ro", L_RDONLY, L_RDONLY),
        ("outer-shareable", SH, 2 << 8),
        ("inner-shareable", SH, 3 << 8),
        ("nG", NG, NG),
        ("contiguous", CONTIGUOUS, CONTIGUOUS),
        ("PXN", PXN, PXN),
        ("XN", XN, XN),
        ("special", L_PTE_SPECIAL, L_PTE_SPECIAL),
        ("prot-none", L_PTE_NONE, L_PTE_NONE),
        ("L-rdonly", L_PTE_RDONLY, L_PTE_RDONLY),
    )


ATTRIBUTES = {"arm-short": _short_attributes, "arm-lpae": _long_attributes}

# TEX[0], C and B choose the type with SCTLR.TRE = 1: arch/arm/mm/proc-v7-2level.S, "TEX remap".
# Long descriptors: pgtable-3level.h, L_PTE_MT_*.
_TYPES = (
    "uncached", "bufferable", "writethrough", "writeback", "device", "reserved", "reserved",
    "writealloc",
)  # fmt: skip


def _short_types(tex0: int) -> tuple[tuple[str, int, int], ...]:
    mask = tex0 | C | B
    return tuple(
        (name, mask, (tex0 if index & 4 else 0) | (index & 3) << 2)
        for index, name in enumerate(_TYPES)
    )


def _short_memory() -> tuple[tuple[tuple[str, int, int], ...], ...]:
    return _short_types(0x1000), _short_types(0x40)


def _long_memory() -> tuple[tuple[tuple[str, int, int], ...], ...]:
    types = tuple((name, ATTR_INDX, index << 2) for index, name in enumerate(_TYPES))
    return (types,) * 3


MEMORY = {"arm-short": _short_memory, "arm-lpae": _long_memory}

# [ARM] B3.6.1: 16 entries at every level of the Long-descriptor format.
GROUPS = {"arm-lpae": lambda: ((CONTIGUOUS, CONTIGUOUS, 16),) * 3}

COMMON = {"arm-short": 0}
"""Sections and pages keep different things at the same bits."""

PRESENT_ENTRY = {"arm-lpae": (L_VALID, L_VALID)}
"""An entry is present where ``attributes & mask == value``. A short descriptor that is neither
section, page nor table is none that the processor looks at."""

# --- ptdump ------------------------------------------------------------------------------

MACHINES = (40, 183)
"""EM_ARM, or EM_AARCH64 where the processor could run that too. ELF machine numbers of images:
include/uapi/linux/elf-em.h (6.12)."""

DIALECTS = ("6.12.117", "6.1.192")
"""6.1 prints what 6.12 does."""

# pgtable-2level.h: Linux's own ptes, which lie in the first half of the page whose second
# half the hardware reads.
S_PTE_MT = 0xF << 2
S_PTE_RDONLY = 1 << 7
S_PTE_USER = 1 << 8
S_PTE_XN = 1 << 9
S_PTE_SHARED = 1 << 10

_HARDWARE_PTES = 0x800
"""PTE_HWTABLE_OFF: 512 ptes of 4 bytes."""
_HALF_TABLE = 0x400
"""256 ptes: what the second entry of a pair adds to the first."""
_NOTHING = 0x4
"""Stands for a second entry that is not looked at; of no type that a table has."""

# domain.h, without CONFIG_IO_36; get_domain_name gives the same string for all others.
_DOMAINS = ("KERNEL ", "USER   ", "IO     ", "VECTORS", "unknown")
_UNKNOWN_DOMAIN = 4
_DOMAIN_PATH = (
    PathBit(1, 0x100 | 0x080 | 0x020, 0x020),
    PathBit(2, 0x100 | 0x080 | 0x040, 0x040),
    PathBit(_UNKNOWN_DOMAIN, 0x080, 0x080),
    PathBit(_UNKNOWN_DOMAIN, 0x100, 0x100),
)


def _memory_types(mask: int, texts: tuple[tuple[int, str], ...]) -> tuple[TextField, ...]:
    """Each is a flag of its own in pte_bits[], so that a value listed twice prints twice."""
    return tuple(Flag(mask, value << 2, text) for value, text in texts)


_SHORT_PTE: tuple[TextField, ...] = (
    Flag(S_PTE_USER, S_PTE_USER, "USR", "   "),
    Flag(S_PTE_RDONLY, S_PTE_RDONLY, "ro", "RW"),
    Flag(S_PTE_XN, S_PTE_XN, "NX", "x "),
    Flag(S_PTE_SHARED, S_PTE_SHARED, "SHD", "   "),
    *_memory_types(
        S_PTE_MT,
        (
            (0, "SO/UNCACHED"),
            (1, "MEM/BUFFERABLE/WC"),
            (2, "MEM/CACHED/WT"),
            (3, "MEM/CACHED/WBRA"),
            (6, "MEM/MINICACHE"),
            (7, "MEM/CACHED/WBWA"),
            (4, "DEV/SHARED"),
            (12, "DEV/NONSHARED"),
            (9, "DEV/WC"),
            (11, "DEV/CACHED"),
        ),
    ),
)
_SECTION_AP = SECTION_AP0 | SECTION_AP1 | SECTION_AP2
_SHORT_SECTION: tuple[TextField, ...] = (
    Flag(_SECTION_AP, SECTION_AP2 | SECTION_AP0, "    ro"),
    Flag(_SECTION_AP, SECTION_AP0, "    RW"),
    Flag(_SECTION_AP, SECTION_AP1, "USR ro"),
    Flag(_SECTION_AP, SECTION_AP1 | SECTION_AP0, "USR RW"),
    Flag(SECTION_XN, SECTION_XN, "NX", "x "),
    Flag(SECTION_S, SECTION_S, "SHD", "   "),
)
_LONG_PTE: tuple[TextField, ...] = (
    Flag(L_USER, L_USER, "USR", "   "),
    Flag(L_PTE_RDONLY, L_PTE_RDONLY, "ro", "RW"),
    Flag(XN, XN, "NX", "x "),
    Flag(SH, SH, "SHD", "   "),
    *_memory_types(
        ATTR_INDX,
        (
            (0, "SO/UNCACHED"),
            (1, "MEM/BUFFERABLE/WC"),
            (2, "MEM/CACHED/WT"),
            (3, "MEM/CACHED/WBRA"),
            (7, "MEM/CACHED/WBWA"),
            (4, "DEV/SHARED"),
            (1, "DEV/WC"),
            (3, "DEV/CACHED"),
        ),
    ),
)
_LONG_SECTION: tuple[TextField, ...] = (
    Flag(L_USER, L_USER, "USR"),  # no text where it is clear: columns shift
    Flag(L_PTE_RDONLY | L_RDONLY, L_PTE_RDONLY | L_RDONLY, "ro", "RW"),
    Flag(XN, XN, "NX", "x "),
    Flag(SH, SH, "SHD", "   "),
)


def _levels(
    section: str, sections: tuple[TextField, ...], ptes: tuple[TextField, ...]
) -> tuple[Level, ...]:
    """pg_level[]: 0 is none yet, 1 pgd, 2 p4d, 3 pud, 4 pmd, 5 pte."""
    return (
        *(Level("", 0) for _ in range(4)),
        Level(section, key_mask(sections), sections),
        Level("PTE", key_mask(ptes), ptes),
    )


_PTES = (NoteRule(0, 0, "note", 5),)


def _short_depths() -> tuple[NoteDepth, ...]:
    """walk_pmd and walk_pte of arch/arm/mm/dump.c over pgtable-2level.h.

    The kernel sees 2048 pairs, each of two entries of 1 MiB and one page of 512 ptes. It
    looks at a pair's second entry only where that is a section, so a lone section in the
    first runs on to the end of the pair, and an empty pair is one note.
    """
    return (
        NoteDepth(
            12,
            (
                NoteRule(ALL32, 0, "hole", 4),
                NoteRule(ALL32, _NOTHING, "silent"),
                NoteRule(SECTION, SECTION, "note", 4),  # pmd_leaf
                NoteRule(
                    0, 0, "descend", 4, (Field(TABLE_BASE),), offset=-_HARDWARE_PTES % (1 << 64)
                ),
            ),
            _DOMAIN_PATH,
            pairs=Pairs(SECTION, SECTION, step=_HALF_TABLE, nothing=_NOTHING),
            entry_bytes=4,
        ),
        NoteDepth(8, _PTES, entry_bytes=4),
    )


def _long_depths() -> tuple[NoteDepth, ...]:
    """walk_pud, walk_pmd and walk_pte of arch/arm/mm/dump.c over pgtable-3level.h."""
    table = (Field(L_ADDRESS),)
    return (
        NoteDepth(2, (NoteRule(ALL64, 0, "hole", 3), NoteRule(0, 0, "descend", 3, table))),
        NoteDepth(
            9,
            (
                NoteRule(ALL64, 0, "hole", 4),
                NoteRule(L_VALID, 0, "note", 4),  # !pmd_present
                NoteRule(L_VALID | L_TABLE, L_VALID, "note", 4),  # pmd_sect
                NoteRule(0, 0, "descend", 4, table),
            ),
        ),
        NoteDepth(9, _PTES),
    )


def dialect(layout: Layout, root: Root, view: View, version: str) -> Dialect:
    """kernel_page_tables of an Arm kernel, ARMv6 or later."""
    short = layout.mode_of(root) == "arm-short"
    return Dialect(
        arch="arm",
        version=version,
        page_bits=12,
        depths=_short_depths() if short else _long_depths(),
        half=whole(32),
        levels=(
            _levels("PGD", _SHORT_SECTION, _SHORT_PTE)
            if short
            else _levels("PMD", _LONG_SECTION, _LONG_PTE)
        ),
        # note_page: one `if` at a run's end.
        markers=MarkerPolicy(first=0, flush=1),
        style=Style(
            line="{start}-{end}   {size} {tail}",
            tail="{name} {path}{flags}" if short else "{name}{flags}",
            address="0x%08x",
            address_bits=32,
            print_empty=False,
            path_texts=_DOMAINS if short else (),
        ),
        first_start=0,  # note_page does not set start_address at the first note
    )
