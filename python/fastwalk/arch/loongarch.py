"""LoongArch 64: all page sizes and depths that Linux has.

NOT CHECKED AGAINST A RUNNING KERNEL. Linux 6.12 has no ptdump for LoongArch, so there is no
text to be equal to: the one here is in the style of the generic dumpers.

Sources: *LoongArch Reference Manual, Volume 1: Basic Architecture* (v1.10), chapter "Memory
Management", section "Multi-level Page Table Structure Supported by page walking", and the CSRs
PGDL, PGDH, PWCL and PWCH, named [LA] here; Linux 6.12,
``arch/loongarch/include/asm/pgtable{,-bits}.h``, ``arch/loongarch/mm/{tlb.c,tlbex.S}``.

Two things are unlike other architectures. Directory entries hold the next table's address in
the kernel's cached direct-mapped window (0x9000...), of which the walker uses the physical
part. And an empty directory entry is not 0: it points to a shared table of empty entries
(``invalid_pte_table`` and so on), which is walked like any other and has nothing in it.
"""

from __future__ import annotations

from collections.abc import Callable

from ..layout import Layout, Root, View
from ._common import PGD, PMD, PTE, PUD, fixed, key_mask, same_types
from .dialect import (
    Choice,
    Dialect,
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
    Half,
    PathBit,
    Rule,
    Spec,
    Window,
)

ALL = (1 << 64) - 1
PA_BITS = 48
"""_PAGE_PFN_END_SHIFT."""
ADDRESS = (1 << PA_BITS) - 1

# [LA] entries of basic pages and of huge pages; names as in pgtable-bits.h.
VALID = 1 << 0
"""Linux sets it at the first access (_PAGE_ACCESSED)."""
DIRTY = 1 << 1
PLV = 3 << 2
"""Privilege level: 0 the kernel's, 3 the users'."""
MAT = 3 << 4
"""Memory access type: 0 strongly-ordered uncached, 1 coherent cached, 2 weakly-ordered uncached."""
GLOBAL = 1 << 6
HUGE = 1 << 6
"""The same bit, in a directory entry: it maps memory."""
PRESENT = 1 << 7
WRITABLE = 1 << 8
MODIFIED = 1 << 9
PROTNONE = 1 << 10
SPECIAL = 1 << 11
HUGE_GLOBAL = 1 << 12
DEVMAP = 1 << 59
PRESENT_INVALID = 1 << 60
NO_READ = 1 << 61
NO_EXEC = 1 << 62
RPLV = 1 << 63
"""The page is for exactly its privilege level."""

# V, D and the software's MODIFIED follow use, so they are no attributes.
ATTRIBUTE_BITS = (
    PLV | MAT | HUGE | PRESENT | WRITABLE | PROTNONE | SPECIAL | DEVMAP | PRESENT_INVALID
    | NO_READ | NO_EXEC | RPLV
)  # fmt: skip

# [LA] a page of level PLV is open to that level and to more privileged ones, unless RPLV. A
# store needs D, which the store handler, or the hardware walker, sets where W allows.
LEAF_PATH = (
    PathBit(READ, NO_READ, NO_READ),
    PathBit(WRITE, WRITABLE | DIRTY, 0),
    PathBit(EXEC | USER_EXEC, NO_EXEC, NO_EXEC),
    PathBit(USER | USER_EXEC, 1 << 2, 0),
    PathBit(USER | USER_EXEC, 1 << 3, 0),
    PathBit(EXEC, RPLV | PLV, RPLV | PLV),
)

CPU_VA_BITS = 47
"""CPUCFG1.VABITS of the processors there are: each half has so many bits, and
vm_map_base is -(1 << 47) (cpu-probe.c)."""

_LEVELS = {2: ("PGD", "PTE"), 3: ("PGD", "PMD", "PTE"), 4: ("PGD", "PUD", "PMD", "PTE")}


def _halves(va_bits: int) -> tuple[Half, Half]:
    """PGDH serves the addresses whose top bit is set, PGDL the others. Only the bits below
    `va_bits` select entries; the kernel uses vm_map_base and up."""
    base = (1 << 64) - (1 << CPU_VA_BITS)
    span = 1 << va_bits
    offset = base % span
    high = Window(offset, min(span - offset, 1 << CPU_VA_BITS), base)
    low = Window(0, min(span, 1 << CPU_VA_BITS), 0)
    return Half("high", (high,)), Half("low", (low,))


def _mode(page_bits: int, levels: int) -> Spec:
    """Every table is one page (pgtable.h, PTRS_PER_*), linked as setup_ptwalker says."""
    index_bits = page_bits - 3
    depths = []
    for depth, name in enumerate(_LEVELS[levels]):
        span = page_bits + index_bits * (levels - 1 - depth)
        leaf = (Field(ADDRESS & ~((1 << span) - 1)),)
        rules: tuple[Rule, ...]
        if name == "PTE":
            rules = (
                Rule(ALL & ~GLOBAL, 0, "none"),  # pte_none
                Rule(PRESENT, PRESENT, "leaf", leaf),
                Rule(0, 0, "other"),
            )
        else:
            rules = (
                Rule(ALL, 0, "none"),
                Rule(HUGE | PRESENT, HUGE | PRESENT, "leaf", leaf),
                Rule(HUGE, HUGE, "other"),
                Rule(0, 0, "table", (Field(ADDRESS & ~((1 << page_bits) - 1)),)),
            )
        depths.append(
            Depth(
                name=name,
                index_bits=index_bits,
                rules=rules,
                # Bit 12 is an address bit of 4 KiB pages.
                attributes=ATTRIBUTE_BITS if name == "PTE" else ATTRIBUTE_BITS | HUGE_GLOBAL,
                leaf_path=LEAF_PATH,
            )
        )
    va_bits = page_bits + index_bits * levels
    return Spec(
        name=_name(page_bits, levels),
        arch="loongarch64",
        va_bits=va_bits,
        pa_bits=PA_BITS,
        page_bits=page_bits,
        depths=tuple(depths),
        halves=_halves(va_bits),
        permissions=READ | WRITE | EXEC | USER | USER_EXEC,
        root_align=1 << page_bits,
    )


def _name(page_bits: int, levels: int) -> str:
    va_bits = page_bits + (page_bits - 3) * levels
    return f"loongarch64-{1 << page_bits - 10}k-{va_bits}"


def _factory(page_bits: int, levels: int) -> Callable[[int | None], Spec]:
    return fixed(lambda: _mode(page_bits, levels))


# arch/loongarch/Kconfig, "Page table layout".
MODES = {
    _name(page_bits, levels): _factory(page_bits, levels)
    for page_bits, levels in ((12, 3), (12, 4), (14, 2), (14, 3), (16, 2), (16, 3))
}


def _attributes() -> tuple[tuple[str, int, int], ...]:
    bits = (
        ("P", PRESENT), ("W", WRITABLE), ("prot-none", PROTNONE), ("special", SPECIAL),
        ("devmap", DEVMAP), ("NR", NO_READ), ("NX", NO_EXEC), ("RPLV", RPLV),
    )  # fmt: skip
    return (
        *((f"PLV{level}", PLV, level << 2) for level in range(4)),
        ("SUC", MAT, 0),
        ("CC", MAT, 1 << 4),
        ("WUC", MAT, 2 << 4),
        ("G/huge", GLOBAL, GLOBAL),
        *((name, bit, bit) for name, bit in bits),
    )


ATTRIBUTES = dict.fromkeys(MODES, _attributes)

MEMORY = same_types(MODES, (("SUC", MAT, 0), ("CC", MAT, 1 << 4), ("WUC", MAT, 2 << 4)))

PRESENT_ENTRY = dict.fromkeys(MODES, (PRESENT, PRESENT))
"""An entry is present where ``attributes & mask == value``."""

MACHINES = (258,)
"""ELF machine numbers of images: include/uapi/linux/elf-em.h (6.12)."""

# ---- ptdump: there is none in 6.12 ------------------------------------------------------

DIALECTS = ("6.12.117", "6.1.192")
"""Versions whose table format this is."""

UNPROVED = "Linux 6.12 has no ptdump for LoongArch; not checked against a running kernel"

_FIELDS: tuple[TextField, ...] = (
    Choice(PLV, ((0, "   "), (PLV, "USR")), "PL?"),
    Flag(NO_READ, NO_READ, ".", "R"),
    Flag(WRITABLE, WRITABLE, "W", "."),
    Flag(NO_EXEC, NO_EXEC, ".", "X"),
    Flag(RPLV, RPLV, "RPLV", "    "),
    Choice(MAT, ((0, "SUC"), (1 << 4, "CC "), (2 << 4, "WUC")), "???"),
    Flag(PRESENT, PRESENT, "P", "."),
    Flag(VALID, VALID, "V", "."),
    Flag(DIRTY, DIRTY, "D", "."),
    Flag(PROTNONE, PROTNONE, "NONE", "    "),
)
_PTE_FIELDS = (*_FIELDS, Flag(GLOBAL, GLOBAL, "G", "."))
_HUGE_FIELDS = (*_FIELDS, Flag(HUGE_GLOBAL, HUGE_GLOBAL, "G", "."))


def _levels(levels: int) -> tuple[Level, ...]:
    """By level number; the upper ones fold, so the top table's is above a gap."""
    numbers = dict(zip((PGD, PUD, PMD, PTE)[-levels:], _LEVELS[levels], strict=True))
    mask = key_mask(_HUGE_FIELDS)
    upper = (Level(numbers.get(number, ""), mask, _HUGE_FIELDS) for number in range(PTE))
    return (*upper, Level("PTE", key_mask(_PTE_FIELDS), _PTE_FIELDS))


def dialect(layout: Layout, root: Root, view: View, version: str) -> Dialect:
    """A text for LoongArch in the style of riscv's: empty ranges print nothing, so it does
    not matter that the shared empty tables cannot be told without their addresses."""
    spec = MODES[layout.mode_of(root)](root.index_va_bits)
    table = (Field(ADDRESS & ~((1 << spec.page_bits) - 1)),)
    depths = []
    for level in (PGD, PUD, PMD, PTE)[-len(spec.depths) :]:
        rules: tuple[NoteRule, ...] = (
            NoteRule(ALL, 0, "hole", level),
            NoteRule(HUGE, HUGE, "note", level),  # pud_leaf, pmd_leaf
            NoteRule(0, 0, "descend", level, table),
        )
        if level == PTE:
            rules = (NoteRule(ALL & ~GLOBAL, 0, "hole", PTE), NoteRule(0, 0, "note", PTE))
        depths.append(NoteDepth(index_bits=spec.page_bits - 3, rules=rules))
    high, low = spec.halves
    return Dialect(
        arch="loongarch64",
        version=version,
        page_bits=spec.page_bits,
        depths=tuple(depths),
        half=high if view.ranges[0][0] >> 63 else low,
        levels=_levels(len(spec.depths)),
        markers=MarkerPolicy(first=0, flush=-1),
        style=Style(line="{start}-{end}   {size} {tail}", tail="{name}{flags}", print_empty=False),
    )
