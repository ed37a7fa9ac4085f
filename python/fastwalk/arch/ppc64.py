"""powerpc64, radix MMU (POWER9 and later), 4 KiB and 64 KiB pages.

Sources: *Power ISA Version 3.0C*, Book III, section 6.7.10 "Radix Tree Translation" and, for
the encoded access authority, "Radix Tree Translation Storage Protection", named [ISA] here;
Linux 6.12 and 6.1,
``arch/powerpc/include/asm/book3s/64/{pgtable,radix,radix-4k,radix-64k,hash-4k,hash-64k}.h``
and ``arch/powerpc/mm/ptdump/{ptdump,book3s64}.c``. The manual counts bits from the left
(bit 63 is 1); the masks here are values.

Tables are big-endian, whatever the kernel's own byte order ([ISA] 6.7.10; Linux:
``pte_raw``). A root is what a process-table entry names (RPDB); RPDS is 13 in every Linux
(RADIX_PGD_INDEX_SIZE), and the size of each lower table (NLS) is fixed likewise, so a
directory entry with another NLS is of kind *other*.
"""

from __future__ import annotations

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
    key_mask,
    shadow_value,
)
from .dialect import (
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
    Half,
    PathBit,
    Rule,
    Spec,
    Window,
)

ALL = (1 << 64) - 1
PAGE_4K, PAGE_64K = 12, 16

# [ISA] 6.7.10.1 "Radix Tree Page Directory Entry" and "Page Table Entry".
VALID = 1 << 63
LEAF = 1 << 62
"""L; _PAGE_PTE."""
SW0 = 1 << 61
"""For software. Linux: _PAGE_INVALID, a leaf that is being split."""
NLB = 0x01FF_FFFF_FFFF_FF00
"""Next level base: bits 4:55, of which a real address has as many as in RPN."""
NLS = 0x1F
"""Next level size: log2 of its number of entries."""
RPN = 0x01FF_FFFF_FFFF_F000
"""Real page number, bits 7:51."""
REFERENCED = 0x100
CHANGED = 0x080
RESERVED = 0x040
ATT = 0x030
"""Attributes: 0 normal, 1 strong access order, 2 non-idempotent I/O, 3 tolerant I/O."""
# Encoded access authority.
PRIVILEGED = 0x008
EAA_READ = 0x004
EAA_WRITE = 0x002
"""Reads and writes."""
EAA_EXEC = 0x001

DEVMAP = 0x800
SPECIAL = 0x400
# R and C, which the processor sets, and soft-dirty are no attributes.
ATTRIBUTE_BITS = (
    VALID | LEAF | SW0 | DEVMAP | SPECIAL | ATT | PRIVILEGED | EAA_READ | EAA_WRITE | EAA_EXEC
)

# [ISA] "Radix Tree Translation Storage Protection". The virtual page class keys (AMR, IAMR),
# with which the kernel keeps itself out of user pages, are no property of the tables.
LEAF_PATH = (
    PathBit(READ, EAA_READ | EAA_WRITE, 0),
    PathBit(WRITE, EAA_WRITE, 0),
    PathBit(EXEC | USER_EXEC, EAA_EXEC, 0),
    PathBit(USER | USER_EXEC, PRIVILEGED, PRIVILEGED),
)

_KERNEL_BASE = 0xC000_0000_0000_0000
"""Quadrant 3 ([ISA] "Address Space"): effective address bits 0:1 are 11, process table entry 0."""
_SPAN = 1 << 52
HIGH = Half("high", (Window(0, _SPAN, _KERNEL_BASE),))
LOW = Half("low", (Window(0, _SPAN, 0),))
"""Quadrant 0."""


def _mode(page_bits: int) -> Spec:
    bits = (13, 9, 9, 21 - page_bits)
    names = ("PGD", "PUD", "PMD", "PTE")
    depths = []
    for depth, (name, index_bits) in enumerate(zip(names, bits, strict=True)):
        span = page_bits + sum(bits[depth + 1 :])
        frame = RPN & ~((1 << span) - 1)
        leaf = Rule(VALID | LEAF, VALID | LEAF, "leaf", (Field(frame),))
        rules: tuple[Rule, ...]
        if name == "PTE":
            rules = (
                # radix__pte_none: the processor may still write R and C back.
                Rule(ALL & ~(REFERENCED | CHANGED), 0, "none"),
                leaf,
                Rule(0, 0, "other"),
            )
        else:
            table = Rule(VALID | LEAF | NLS, VALID | bits[depth + 1], "table", (Field(NLB),))
            # [ISA] leaves of 2 MiB and 1 GiB only: none in the root.
            rules = (
                Rule(ALL, 0, "none"),
                *((leaf,) if depth else ()),
                table,
                Rule(0, 0, "other"),
            )
        depths.append(
            Depth(
                name=name,
                index_bits=index_bits,
                rules=rules,
                attributes=ATTRIBUTE_BITS,
                leaf_path=LEAF_PATH if depth else (),
                byte_order="big",
            )
        )
    return Spec(
        name=f"ppc64-radix-{1 << page_bits - 10}k",
        arch="ppc64",
        va_bits=52,
        pa_bits=57,
        page_bits=page_bits,
        depths=tuple(depths),
        halves=(HIGH, LOW),
        permissions=READ | WRITE | EXEC | USER | USER_EXEC,
        root_align=1 << 16,
    )


MODES = {
    "ppc64-radix-4k": fixed(lambda: _mode(PAGE_4K)),
    "ppc64-radix-64k": fixed(lambda: _mode(PAGE_64K)),
}


def _attributes() -> tuple[tuple[str, int, int], ...]:
    return (
        ("privileged", PRIVILEGED, PRIVILEGED),
        ("R", EAA_READ, EAA_READ),
        ("W", EAA_WRITE, EAA_WRITE),
        ("X", EAA_EXEC, EAA_EXEC),
        ("SAO", ATT, 0x10),
        ("non-idempotent", ATT, 0x20),
        ("tolerant", ATT, 0x30),
        ("devmap", DEVMAP, DEVMAP),
        ("special", SPECIAL, SPECIAL),
        ("leaf", LEAF, LEAF),
        ("invalid", SW0, SW0),
        ("V", VALID, VALID),
    )


ATTRIBUTES = dict.fromkeys(MODES, _attributes)


def _memory() -> tuple[tuple[tuple[str, int, int], ...], ...]:
    types = (
        ("normal", ATT, 0), ("SAO", ATT, 0x10), ("non-idempotent", ATT, 0x20),
        ("tolerant", ATT, 0x30),
    )  # fmt: skip
    return (types,) * 4


MEMORY = dict.fromkeys(MODES, _memory)

PRESENT_ENTRY = dict.fromkeys(MODES, (VALID, VALID))
"""An entry is present where ``attributes & mask == value``."""


def shadows(spec: Spec) -> tuple[Shadow, ...]:
    """asm/kasan.h (6.12): KASAN_SHADOW_OFFSET 0xa80e000000000000, from PAGE_OFFSET on."""
    return (Shadow(0xC00E << 48, 0xC00FC << 44, 3, 0xC000 << 48),)


MACHINES = (21,)
"""ELF machine numbers of images: include/uapi/linux/elf-em.h (6.12)."""

# ---- ptdump: arch/powerpc/mm/ptdump/ptdump.c, book3s64.c --------------------------------

DIALECTS = ("6.12.117", "6.1.192")
"""6.1 prints what 6.12 does."""

# Masks of the hash MMU's software bits, which the dumper prints for radix kernels too
# (hash-4k.h, hash-64k.h; _RPAGE_* of pgtable.h).
_BUSY = RESERVED
_COMBO_64K = 0x1000
_PFN_4K_64K = 0x2000
_HASHPTE_64K = 1 << 55
_HASHPTE_4K = 1 << 60
_F_GIX_4K = 7 << 53
_F_SECOND_4K = 1 << 56


def _fields(page_bits: int) -> tuple[TextField, ...]:
    """flag_array of arch/powerpc/mm/ptdump/book3s64.c, in its order."""
    big = page_bits == PAGE_64K
    hashpte = _HASHPTE_64K if big else _HASHPTE_4K
    sized: tuple[TextField, ...]
    if big:
        sized = (
            Flag(_COMBO_64K, _COMBO_64K, "combo"),
            Flag(_PFN_4K_64K, _PFN_4K_64K, "4K_pfn"),
        )
    else:
        sized = (
            Number(_F_GIX_4K, 53, "f_gix:%x"),
            Flag(_F_SECOND_4K, _F_SECOND_4K, "f_second"),
        )
    return (
        Flag(PRIVILEGED, 0, "user", "    "),
        Flag(EAA_READ, EAA_READ, "r", " "),
        Flag(EAA_WRITE, EAA_WRITE, "w", " "),
        Flag(EAA_EXEC, EAA_EXEC, " X ", "   "),
        Flag(LEAF, LEAF, "pte", "   "),
        Flag(VALID, VALID, "valid", "     "),
        Flag(VALID | SW0, 0, "       ", "present"),
        Flag(hashpte, hashpte, "hpte", "    "),
        Flag(CHANGED, CHANGED, "dirty", "     "),
        Flag(REFERENCED, REFERENCED, "accessed", "        "),
        Flag(0x20, 0x20, "non-idempotent", "              "),
        # _PAGE_TOLERANT is both bits, so tolerant pages print non-idempotent too.
        Flag(ATT, ATT, "tolerant", "        "),
        Flag(_BUSY, _BUSY, "busy"),
        *sized,
        Flag(SPECIAL, SPECIAL, "special"),
    )


def _note_depth(layout: Layout, level: int, index_bits: int) -> NoteDepth:
    """mm/pagewalk.c over pgtable.h. The p4d is folded at compile time (pgtable-nop4d.h), so
    real_depth() of mm/pagewalk.c makes the root's holes PGD."""
    pa = (Field(~0xC000_0000_0000_00FF & ALL),)  # P4D_MASKED_BITS and so on
    hole = NoteRule(ALL, 0, "hole", level)
    rules: tuple[NoteRule, ...]
    if level == PTE:
        rules = (NoteRule(0, 0, "note", PTE),)
    elif level == PGD:
        # RADIX_P4D_BAD_BITS; L is among them: a p4d leaf is a hole.
        bad = (LEAF, SW0, CHANGED, RESERVED, 0x20)
        rules = (
            hole,
            *(NoteRule(bit, bit, "hole", PGD) for bit in bad),
            NoteRule(0, 0, "descend", PGD, pa),
        )
    else:
        # pud_present looks at the valid bit alone; pmd_present at _PAGE_INVALID too.
        present = VALID | SW0 if level == PMD else VALID
        rules = (
            hole,
            NoteRule(LEAF, LEAF, "note", level),
            NoteRule(present, 0, "silent"),
            NoteRule(0, 0, "descend", level, pa),
        )
    # The root is what the kernel calls a p4d here.
    shadow = early_shadow(layout, P4D if level == PGD else level)
    return NoteDepth(index_bits=index_bits, rules=rules, early_shadow=shadow, byte_order="big")


def dialect(layout: Layout, root: Root, view: View, version: str) -> Dialect:
    """kernel_page_tables of a radix kernel."""
    page_bits = MODES[layout.mode_of(root)](root.index_va_bits).page_bits
    # Kernel and users have roots of their own; a view shows one of the quadrants.
    half = HIGH if view.ranges[0][0] >= _KERNEL_BASE else LOW
    fields = _fields(page_bits)
    mask = key_mask(fields)
    depths = (
        _note_depth(layout, PGD, 13),
        _note_depth(layout, PUD, 9),
        _note_depth(layout, PMD, 9),
        _note_depth(layout, PTE, 21 - page_bits),
    )
    return Dialect(
        arch="ppc64",
        version=version,
        page_bits=page_bits,
        depths=depths,
        half=half,
        levels=tuple(Level(name, mask, fields) for name in ("PGD", "P4D", "PUD", "PMD", "PTE")),
        # note_page_update_state: a loop, at the first note too.
        markers=MarkerPolicy(first=-1, flush=-1),
        style=Style(
            line="{start}-{end}  {pa} {size} {tail}",
            tail="{flags}",
            end_inclusive=True,
            units=" KMGTPE",
            unit_bytes=1,
            separator="  ",
            # PTE_RPN_MASK: 53 bits, whatever the processor would use.
            pa=(Field((1 << 53) - (1 << page_bits)),),
            print_empty=False,
        ),
        shadow_value=shadow_value(layout),
    )
