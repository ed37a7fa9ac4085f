"""RISC-V: Sv32, Sv39, Sv48 and Sv57, with Svnapot and Svpbmt.

Sources: *The RISC-V Instruction Set Manual, Volume II: Privileged Architecture*
(20240411), chapters "Supervisor-Level ISA" (sections "Sv32" to "Sv57"), "Svnapot" and
"Svpbmt", named [Priv] here; Linux 6.12 and 6.1,
``arch/riscv/include/asm/pgtable*.h`` and ``arch/riscv/mm/ptdump.c``.
"""

from __future__ import annotations

from collections.abc import Callable

from ..layout import Layout, Root, View
from ._common import (
    P4D,
    PGD,
    PMD,
    PTE,
    PUD,
    Shadow,
    early_shadow,
    fixed,
    same_types,
    shadow_of_top,
    shadow_value,
)
from .dialect import (
    Choice,
    Dialect,
    Flag,
    Level,
    MarkerPolicy,
    NoteDepth,
    NoteRule,
    Number,
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

# [Priv] figure "Sv39 page table entry"; the low ten bits are those of Sv32 too.
V = 1 << 0
R = 1 << 1
W = 1 << 2
X = 1 << 3
U = 1 << 4
G = 1 << 5
A = 1 << 6
D = 1 << 7
RSW = 3 << 8
"""For supervisor software. Linux: bit 8 special, bit 9 devmap (pgtable-bits.h)."""
PPN32 = 0xFFFF_FC00
"""Bits 31:10, PA 33:12."""
PPN64 = 0x003F_FFFF_FFFF_FC00
"""Bits 53:10, PA 55:12. Bits 60:54 are reserved and not tested: T-Head's cores keep memory
types in 63:59 (pgtable-64.h, _PAGE_MTMASK_THEAD), and Linux sets them nowhere else."""
PBMT = 3 << 61
"""[Priv] Svpbmt: 0 PMA, 1 NC, 2 IO, 3 reserved."""
N = 1 << 63
"""[Priv] Svnapot."""
NAPOT_64K = N | 0x8 << 10
NAPOT_MASK = N | 0xF << 10
"""The only defined encoding: N with PPN[3:0] = 1000 is 64 KiB, other values are reserved."""

LOW = 0x3FF
ALL32 = (1 << 32) - 1
ALL64 = (1 << 64) - 1

# A and D are no attributes: a processor may set them as memory is used (Svadu), so they say
# nothing of what is allowed. ptdump compares them.
ATTRIBUTES32 = LOW & ~(A | D)
ATTRIBUTES64 = ALL64 & ~(PPN64 | A | D)

# [Priv] "Virtual Address Translation Process", step 8: U pages are never executed in S-mode,
# and S-mode's loads from them depend on sstatus.SUM, which is no property of the tables.
# Pages that are executable only are readable with sstatus.MXR; not counted here either.
LEAF_PATH = (
    PathBit(READ, R, 0),
    PathBit(WRITE, W, 0),
    PathBit(EXEC | USER_EXEC, X, 0),
    PathBit(USER | USER_EXEC, U, 0),
    PathBit(EXEC, U, U),
)


def _rules(last: bool, ppn: int, shift: int, below: int, everything: int) -> tuple[Rule, ...]:
    """[Priv] "Virtual Address Translation Process", steps 3 to 7.

    `below`: the bits of the page number that a leaf above the last depth must have clear
    (step 6, misaligned superpage).
    """
    pa = (Field(ppn, shift),)
    head = (
        Rule(everything, 0, "none"),
        Rule(V, 0, "other"),
        Rule(V | R | W, V | W, "other"),  # step 3: W without R is reserved
    )
    if not last:
        return (
            *head,
            Rule(V | R | W | X, V, "table", pa),
            Rule(below, 0, "leaf", (Field(ppn & ~below, shift),)),
            Rule(0, 0, "other"),
        )
    pointer = Rule(V | R | W | X, V, "other")  # step 4: no table below the last depth
    if everything == ALL32:
        return (*head, pointer, Rule(0, 0, "leaf", pa))
    return (
        *head,
        pointer,
        Rule(N, 0, "leaf", pa),
        Rule(NAPOT_MASK, NAPOT_64K, "leaf", (Field(ppn & ~(0xF << 10), shift),), replicated=16),
        Rule(0, 0, "other"),
    )


def _sv64(name: str, names: tuple[str, ...]) -> Spec:
    depths = []
    for depth, level in enumerate(names):
        below_bits = 9 * (len(names) - 1 - depth)
        # Above the last depth N is reserved ([Priv] Svnapot): such a leaf faults.
        below = N | ((1 << below_bits) - 1) << 10
        depths.append(
            Depth(
                name=level,
                index_bits=9,
                rules=_rules(depth == len(names) - 1, PPN64, 2, below, ALL64),
                attributes=ATTRIBUTES64,
                leaf_path=LEAF_PATH,
            )
        )
    va_bits = 12 + 9 * len(names)
    return Spec(
        name=name,
        arch="riscv64",
        va_bits=va_bits,
        pa_bits=56,
        page_bits=12,
        depths=tuple(depths),
        halves=(sign_extended(va_bits),),
        permissions=READ | WRITE | EXEC | USER | USER_EXEC,
    )


def _sv32() -> Spec:
    def depth(name: str, last: bool) -> Depth:
        return Depth(
            name=name,
            index_bits=10,
            rules=_rules(last, PPN32, 2, 0x3FF << 10, ALL32),
            attributes=ATTRIBUTES32,
            leaf_path=LEAF_PATH,
            entry_bytes=4,
        )

    return Spec(
        name="riscv32-sv32",
        arch="riscv32",
        va_bits=32,
        pa_bits=34,
        page_bits=12,
        depths=(depth("PGD", False), depth("PTE", True)),
        halves=(whole(32),),
        permissions=READ | WRITE | EXEC | USER | USER_EXEC,
    )


MODES = {
    "riscv64-sv39": fixed(lambda: _sv64("riscv64-sv39", ("PGD", "PMD", "PTE"))),
    "riscv64-sv48": fixed(lambda: _sv64("riscv64-sv48", ("PGD", "PUD", "PMD", "PTE"))),
    "riscv64-sv57": fixed(lambda: _sv64("riscv64-sv57", ("PGD", "P4D", "PUD", "PMD", "PTE"))),
    "riscv32-sv32": fixed(_sv32),
}


def _attributes(wide: bool) -> Callable[[], tuple[tuple[str, int, int], ...]]:
    bits = (("V", V), ("R", R), ("W", W), ("X", X), ("U", U), ("G", G))
    low = (
        *((name, bit, bit) for name, bit in bits),
        ("RSW0", 1 << 8, 1 << 8),
        ("RSW1", 1 << 9, 1 << 9),
    )
    high = (
        # Reserved, or T-Head's memory types (63:59).
        *((f"bit{bit}", 1 << bit, 1 << bit) for bit in range(54, 61)),
        ("NC", PBMT, 1 << 61),
        ("IO", PBMT, 2 << 61),
        ("NAPOT", N, N),
    )
    return lambda: (*low, *high) if wide else low


ATTRIBUTES = {mode: _attributes(mode != "riscv32-sv32") for mode in MODES}

# [Priv] Svpbmt, which RV32 has not. What 0 means, the platform's memory attributes say.
_TYPES = (("PMA", PBMT, 0), ("NC", PBMT, 1 << 61), ("IO", PBMT, 2 << 61))
MEMORY = same_types(MODES, _TYPES) | same_types({"riscv32-sv32": MODES["riscv32-sv32"]}, _TYPES[:1])

PRESENT_ENTRY = dict.fromkeys(MODES, (V, V))
"""An entry is present where ``attributes & mask == value``."""


def shadows(spec: Spec) -> tuple[Shadow, ...]:
    """asm/kasan.h (6.12): up to MODULES_LOWEST_VADDR, from the start of a root's entry."""
    if spec.va_bits < 39:
        return ()
    end = 0xFFFF_FFFF_0000_0000
    entry = 1 << spec.va_bits - spec.depths[0].index_bits
    start = end - (1 << spec.va_bits - 1 - 3)
    return (shadow_of_top(start // entry * entry, end),)


MACHINES = (243,)
"""ELF machine numbers of images: include/uapi/linux/elf-em.h (6.12)."""

# ---- ptdump: arch/riscv/mm/ptdump.c -----------------------------------------------------

DIALECTS = ("6.12.117", "6.1.192")

# arch/riscv/mm/ptdump.c, pte_bits[] of 6.12.
_LOW_FLAGS: tuple[TextField, ...] = (
    Flag(D, D, "D", "."),
    Flag(A, A, "A", "."),
    Flag(G, G, "G", "."),
    Flag(U, U, "U", "."),
    Flag(X, X, "X", "."),
    Flag(W, W, "W", "."),
    Flag(R, R, "R", "."),
    Flag(V, V, "V", "."),
)
_RSW_612 = Number(RSW, 8, "RSW(%d)", clear="  ..  ")
_FIELDS_612_64: tuple[TextField, ...] = (
    Flag(N, N, "N", "."),
    Choice(PBMT, ((0, "  ..  "), (1 << 61, "MT(NC)"), (2 << 61, "MT(IO)")), "MT(??)"),
    _RSW_612,
    *_LOW_FLAGS,
)
_FIELDS_612_32: tuple[TextField, ...] = (_RSW_612, *_LOW_FLAGS)
# 6.1 has neither N nor MT, and its RSW is a flag that wants both bits set.
_FIELDS_61: tuple[TextField, ...] = (Flag(RSW, RSW, "RSW", "   "), *_LOW_FLAGS)


def _pmd_rules(hole: int, word: int, table: tuple[Field, ...]) -> tuple[NoteRule, ...]:
    """pmd_none, pmd_leaf and pmd_present (asm/pgtable.h): V, G (PROT_NONE) or any of R, W and
    X (a huge page that is being split) make it present; the latter with
    CONFIG_TRANSPARENT_HUGEPAGE, as distributions have it. A leaf has R, W or X."""
    return (
        NoteRule(word, 0, "hole", hole),
        NoteRule(R, R, "note", PMD),
        NoteRule(W, W, "note", PMD),
        NoteRule(X, X, "note", PMD),
        NoteRule(V | G, 0, "silent"),
        NoteRule(0, 0, "descend", PMD, table),
    )


def _note_depth(layout: Layout, level: int) -> NoteDepth:
    """One depth of a 64-bit kernel: mm/pagewalk.c over asm/pgtable.h and pgtable-64.h.

    CONFIG_PGTABLE_LEVELS is 5 for all of them and the upper levels fold at run time, so the
    level numbers stay.
    """
    pa = (Field(PPN64, 2),)
    rules: tuple[NoteRule, ...]
    if level == PTE:
        rules = (NoteRule(0, 0, "note", PTE),)
    elif level == PMD:
        rules = _pmd_rules(PMD, ALL64, pa)
    elif level == PUD:
        rules = (
            NoteRule(ALL64, 0, "hole", PUD),
            NoteRule(V, 0, "silent"),
            NoteRule(R | W | X, 0, "descend", PUD, pa),
            NoteRule(0, 0, "note", PUD),
        )
    else:
        # p4d_bad and pgd_bad are !present, which makes a hole (include/linux/pgtable.h,
        # p4d_none_or_clear_bad); neither has a p4d_leaf: a superpage is descended.
        rules = (NoteRule(V, 0, "hole", level), NoteRule(0, 0, "descend", level, pa))
    return NoteDepth(index_bits=9, rules=rules, early_shadow=early_shadow(layout, level))


def _dialect64(layout: Layout, root: Root, version: str) -> Dialect:
    spec = MODES[layout.mode_of(root)](root.index_va_bits)
    levels = len(spec.depths)
    old = version.startswith("6.1.")
    fields = _FIELDS_61 if old else _FIELDS_612_64
    mask = LOW if old else LOW | PBMT | N
    # pg_level[] after ptdump_init.
    names = (
        "PGD",
        "P4D" if levels > PTE - PGD else "PGD",
        "PUD" if levels > PTE - P4D else "PGD",
        "PMD",
        "PTE",
    )
    return Dialect(
        arch="riscv64",
        version=version,
        page_bits=12,
        depths=tuple(_note_depth(layout, level) for level in range(PTE + 1 - levels, PTE + 1)),
        half=spec.halves[0],
        levels=tuple(Level(name, mask, fields) for name in names),
        # note_page: `while` at a run's end only.
        markers=MarkerPolicy(first=0, flush=-1),
        style=Style(
            line="{start}-{end}    {pa} {size} {tail}",
            tail="{name}{flags}",
            pa=(Field(PPN64, 2),),
            # pte_pfn: `res & (res - 1)` where the kernel uses Svnapot; 6.1 does not know it.
            napot_mask=N if layout.paging.svnapot and not old else 0,
            print_empty=False,
        ),
        shadow_value=shadow_value(layout),
    )


def _dialect32(version: str) -> Dialect:
    """An Sv32 kernel. Its levels fold at compile time (asm-generic/pgtable-nopmd.h):
    real_depth() of mm/pagewalk.c makes the holes of the top table PGD, while its leaves are
    noted as pmds, and `pg_level[3].name` is "PGD" too."""
    fields = _FIELDS_61 if version.startswith("6.1.") else _FIELDS_612_32
    pmd = NoteDepth(
        index_bits=10,
        rules=_pmd_rules(PGD, ALL32, (Field(PPN32, 2),)),
        entry_bytes=4,
    )
    pte = NoteDepth(index_bits=10, rules=(NoteRule(0, 0, "note", PTE),), entry_bytes=4)
    return Dialect(
        arch="riscv32",
        version=version,
        page_bits=12,
        depths=(pmd, pte),
        half=whole(32),
        levels=tuple(Level(name, LOW, fields) for name in ("PGD", "PGD", "PGD", "PGD", "PTE")),
        markers=MarkerPolicy(first=0, flush=-1),
        style=Style(
            line="{start}-{end}    {pa} {size} {tail}",
            tail="{name}{flags}",
            address="0x%08x",
            address_bits=32,
            # start_pa is an unsigned long: bits 33:32 of the address are lost.
            pa=(Field(PPN32 & ~(3 << 30), 2),),
            print_empty=False,
        ),
    )


def dialect(layout: Layout, root: Root, view: View, version: str) -> Dialect:
    """kernel_page_tables of Linux on RISC-V."""
    if layout.mode_of(root) == "riscv32-sv32":
        return _dialect32(version)
    return _dialect64(layout, root, version)
