"""PA-RISC: Linux's page tables, 32-bit and 64-bit, 4 KiB pages.

NOT CHECKED AGAINST A RUNNING KERNEL. Linux 6.12 has no ptdump for PA-RISC, so there is no
text to be equal to: the one here is in the style of the generic dumpers.

PA-RISC processors do not walk tables: they trap, and Linux's TLB miss handlers walk. So the
handlers are the hardware here. Sources: Linux 6.12, ``arch/parisc/include/asm/pgtable.h``
and ``arch/parisc/kernel/entry.S`` (L2_ptep, L3_ptep, make_insert_tlb); *PA-RISC 2.0
Architecture*, chapter 3 "Addressing and Access Control", page 3-14 for access rights.

The upper levels are 32-bit words also where the ptes are 64-bit: bits 31:4 of the word are
bits 39:12 of the address. All is big-endian.
"""

from __future__ import annotations

from ..layout import Layout, Root, View
from ._common import PGD, PMD, PTE, fixed, key_mask, same_types
from .dialect import Dialect, Flag, Level, MarkerPolicy, NoteDepth, NoteRule, Style, TextField
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

# pgtable.h: xlate_pabit turns the manual's bit numbers (from the left) into these.
R = 0x001
W = 0x002
X = 0x004
GATEWAY = 0x008
"""Executing it raises the privilege; it can be neither read nor written."""
DMB = 0x010
"""Data memory break; _PAGE_SPECIAL where there is hugetlb (64 bits)."""
DIRTY = 0x020
REFTRAP = 0x040
NO_CACHE = 0x080
ACCESSED = 0x100
PRESENT = 0x200
HUGE = 0x400
"""Every pte of a huge page has it; _PAGE_SPECIAL where there is no hugetlb."""
USER_PAGE = 0x800
ALL32 = (1 << 32) - 1
ALL64 = (1 << 64) - 1
PAGE_OFFSET_MASK = 0xFFF

# Upper levels.
PXD_PRESENT = 0x1
PXD_FLAGS = 0xF
PXD_SHIFT = 8
"""PxD_VALUE_SHIFT."""
_TABLE = (Field(ALL32 & ~PXD_FLAGS, PXD_SHIFT),)

# make_insert_tlb. The access type is (gateway, X, W). The kernel, at privilege level 0, reads
# pages without R too; like elsewhere, READ is what the entry says. User pages have PL1 = PL2 =
# 3, and execution needs PL2 <= PL, so the kernel executes none of them but gateways.
LEAF_PATH = (
    PathBit(READ, R, 0),
    PathBit(WRITE, W, 0),
    PathBit(READ | WRITE, GATEWAY, GATEWAY),
    PathBit(EXEC | USER_EXEC, X | GATEWAY, 0),
    PathBit(USER | USER_EXEC, USER_PAGE, 0),
    PathBit(EXEC, USER_PAGE | GATEWAY, USER_PAGE),
)


def _upper(name: str, index_bits: int) -> Depth:
    return Depth(
        name=name,
        index_bits=index_bits,
        rules=(
            Rule(ALL32, 0, "none"),
            Rule(PXD_PRESENT, PXD_PRESENT, "table", _TABLE),
            Rule(0, 0, "other"),
        ),
        attributes=PXD_FLAGS,
        entry_bytes=4,
        byte_order="big",
    )


def _pte(index_bits: int, entry_bytes: int) -> Depth:
    word = (1 << 8 * entry_bytes) - 1
    return Depth(
        name="PTE",
        index_bits=index_bits,
        rules=(
            Rule(word, 0, "none"),
            Rule(PRESENT, PRESENT, "leaf", (Field(word & ~PAGE_OFFSET_MASK),)),
            Rule(0, 0, "other"),
        ),
        # Dirty and accessed follow use.
        attributes=PAGE_OFFSET_MASK & ~(DIRTY | ACCESSED),
        leaf_path=LEAF_PATH,
        entry_bytes=entry_bytes,
        byte_order="big",
    )


def _spec(name: str, arch: str, depths: tuple[Depth, ...], pa_bits: int) -> Spec:
    va_bits = 12 + sum(depth.index_bits for depth in depths)
    return Spec(
        name=name,
        arch=arch,
        va_bits=va_bits,
        pa_bits=pa_bits,
        page_bits=12,
        depths=depths,
        halves=(whole(va_bits),),
        permissions=READ | WRITE | EXEC | USER | USER_EXEC,
    )


def _parisc64() -> Spec:
    """PGD_TABLE_ORDER 0, PMD_TABLE_ORDER 1, entries of 4, 4 and 8 bytes."""
    depths = (_upper("PGD", 10), _upper("PMD", 11), _pte(9, 8))
    return _spec("parisc64-4k-42", "parisc64", depths, 64)


def _parisc32() -> Spec:
    """The PGD's two pages are more than 32 bits of address need: BITS_PER_PGD is 10."""
    return _spec("parisc-4k-32", "parisc", (_upper("PGD", 10), _pte(10, 4)), 40)


MODES = {"parisc64-4k-42": fixed(_parisc64), "parisc-4k-32": fixed(_parisc32)}


def _attributes() -> tuple[tuple[str, int, int], ...]:
    names = (
        ("R", R), ("W", W), ("X", X), ("gateway", GATEWAY), ("B", DMB), ("T", REFTRAP),
        ("uncached", NO_CACHE), ("P", PRESENT), ("huge", HUGE), ("user", USER_PAGE),
    )  # fmt: skip
    return tuple((name, bit, bit) for name, bit in names)


ATTRIBUTES = dict.fromkeys(MODES, _attributes)

MEMORY = same_types(MODES, (("normal", NO_CACHE, 0), ("uncached", NO_CACHE, NO_CACHE)))

PRESENT_ENTRY = dict.fromkeys(MODES, (PRESENT, PRESENT))
"""An entry is present where ``attributes & mask == value``."""

MACHINES = (15,)
"""ELF machine numbers of images: include/uapi/linux/elf-em.h (6.12)."""

# ---- ptdump: there is none in 6.12 ------------------------------------------------------

DIALECTS = ("6.12.117", "6.1.192")
"""Versions whose table format this is."""

UNPROVED = "Linux 6.12 has no ptdump for PA-RISC; not checked against a running kernel"

_FIELDS: tuple[TextField, ...] = (
    Flag(USER_PAGE, USER_PAGE, "USR", "   "),
    Flag(R, R, "R", "."),
    Flag(W, W, "W", "."),
    Flag(X, X, "X", "."),
    Flag(GATEWAY, GATEWAY, "GATE", "    "),
    Flag(NO_CACHE, NO_CACHE, "UC", "  "),
    Flag(HUGE, HUGE, "HUGE", "    "),
    Flag(PRESENT, PRESENT, "P", "."),
    Flag(ACCESSED, ACCESSED, "A", "."),
    Flag(DIRTY, DIRTY, "D", "."),
)


def dialect(layout: Layout, root: Root, view: View, version: str) -> Dialect:
    """A text for PA-RISC; empty ranges print nothing."""
    spec = MODES[layout.mode_of(root)](root.index_va_bits)
    wide = spec.arch == "parisc64"
    depths = []
    for level, depth in zip((PGD, PMD, PTE)[-len(spec.depths) :], spec.depths, strict=True):
        rules: tuple[NoteRule, ...] = (NoteRule(0, 0, "note", PTE),)
        if level != PTE:
            rules = (
                NoteRule(ALL32, 0, "hole", level),
                NoteRule(PXD_PRESENT, 0, "silent"),  # pud_present, pmd_present
                NoteRule(0, 0, "descend", level, _TABLE),
            )
        depths.append(
            NoteDepth(
                index_bits=depth.index_bits,
                rules=rules,
                entry_bytes=depth.entry_bytes,
                byte_order="big",
            )
        )
    mask = key_mask(_FIELDS)
    return Dialect(
        arch=spec.arch,
        version=version,
        page_bits=12,
        depths=tuple(depths),
        half=spec.halves[0],
        levels=tuple(Level(name, mask, _FIELDS) for name in ("PGD", "P4D", "PUD", "PMD", "PTE")),
        markers=MarkerPolicy(first=0, flush=-1),
        style=Style(
            line="{start}-{end}   {size} {tail}",
            tail="{name}{flags}",
            address="0x%016x" if wide else "0x%08x",
            address_bits=64 if wide else 32,
            print_empty=False,
        ),
    )
