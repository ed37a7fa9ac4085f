"""Entries written by hand from the manuals: what they are, where they point, what they allow."""

from __future__ import annotations

import pytest
from builder import decode, first_rule
from naive import path_state

from fastwalk import arch
from fastwalk.arch.spec import EXEC, READ, USER, USER_EXEC, WRITE

RW = READ | WRITE
RX = READ | EXEC
RWX = READ | WRITE | EXEC
URW = READ | WRITE | USER
URX = READ | USER | USER_EXEC

Case = tuple[str, int, int, str, int, int]
"""Mode, depth, entry, kind, PA, permissions of a leaf whose tables deny nothing."""

RISCV: list[Case] = [
    ("riscv64-sv48", 3, 0x203C_CC43, "leaf", 0x80F3_3000, READ),  # a recorded kasan pte
    ("riscv64-sv39", 2, 0x2000_00CF, "leaf", 0x8000_0000, RWX),
    ("riscv64-sv39", 2, 0x2000_00DB, "leaf", 0x8000_0000, URX),
    ("riscv64-sv39", 2, 0x2000_00C9, "leaf", 0x8000_0000, EXEC),  # execute only
    ("riscv64-sv39", 2, 0x2000_00C5, "other", 0, 0),  # W without R
    ("riscv64-sv39", 2, 0x2000_0001, "other", 0, 0),  # a pointer in the last table
    ("riscv64-sv39", 2, 0x2000_00E2, "other", 0, 0),  # PROT_NONE
    ("riscv64-sv39", 1, 0x2000_0001, "table", 0x8000_0000, 0),
    ("riscv64-sv39", 1, 0x2008_00C7, "leaf", 0x8020_0000, RW),
    ("riscv64-sv39", 1, 0x2000_04C7, "other", 0, 0),  # misaligned superpage
    ("riscv64-sv39", 0, 0x2008_00C7, "other", 0, 0),
    ("riscv64-sv57", 0, 0xC7, "leaf", 0, RW),
    ("riscv64-sv57", 4, 0x003F_FFFF_FFFF_FC43, "leaf", 0x00FF_FFFF_FFFF_F000, READ),
    ("riscv64-sv48", 3, 1 << 63 | 0x2000_60C7, "leaf", 0x8001_0000, RW),  # 64K
    ("riscv64-sv48", 3, 1 << 63 | 0x2000_50C7, "other", 0, 0),  # reserved size
    ("riscv64-sv48", 3, 2 << 61 | 0x2000_00C7, "leaf", 0x8000_0000, RW),  # I/O memory
    ("riscv32-sv32", 0, 0xFFF0_00C7, "leaf", 0x3_FFC0_0000, RW),  # 34-bit addresses
    ("riscv32-sv32", 0, 0xFFF0_04C7, "other", 0, 0),
    ("riscv32-sv32", 1, 0xFFFF_FCC7, "leaf", 0x3_FFFF_F000, RW),
]

S390X: list[Case] = [
    ("s390x-region3", 2, 0x400, "none", 0, 0),
    ("s390x-region3", 2, 0, "leaf", 0, RWX),
    ("s390x-region3", 2, 0x1234_5300, "leaf", 0x1234_5000, READ),
    ("s390x-region3", 2, 0x1234_5100, "leaf", 0x1234_5000, RW),
    ("s390x-region3", 2, 0x1234_5800, "other", 0, 0),  # bit 52: specification exception
    ("s390x-region3", 2, 0x1234_5600, "other", 0, 0),  # swapped out
    ("s390x-region3", 1, 0x20, "none", 0, 0),
    ("s390x-region3", 1, 0x1234_5800, "table", 0x1234_5800, 0),  # 2 KiB tables
    ("s390x-region3", 1, 0x1230_0500, "leaf", 0x1230_0000, RW),
    ("s390x-region3", 1, 0x1234_5804, "other", 0, 0),  # a table type for another depth
    ("s390x-region3", 0, 0x24, "none", 0, 0),
    ("s390x-region3", 0, 0x1234_4007, "table", 0x1234_4000, 0),
    ("s390x-region3", 0, 0x8000_0604, "leaf", 0x8000_0000, RX),
    ("s390x-region1", 0, 0x1234_400F, "table", 0x1234_4000, 0),
    ("s390x-region1", 0, 0x2C, "none", 0, 0),
    ("s390x-region2", 0, 0x1234_440B, "table", 0x1234_4000, 0),  # no large frames here
]

PPC: list[Case] = [
    ("ppc64-radix-4k", 3, 0x180, "none", 0, 0),  # R and C written back into an empty pte
    ("ppc64-radix-4k", 3, 0xC000_0000_1234_518E, "leaf", 0x1234_5000, RW),
    ("ppc64-radix-4k", 3, 0xC000_0000_1234_518D, "leaf", 0x1234_5000, RX),
    ("ppc64-radix-4k", 3, 0xC000_0000_1234_5187, "leaf", 0x1234_5000, RWX | USER | USER_EXEC),
    ("ppc64-radix-4k", 3, 0xC000_0000_1234_518A, "leaf", 0x1234_5000, RW),  # W alone reads too
    ("ppc64-radix-4k", 3, 0x8000_0000_1234_5187, "other", 0, 0),  # no leaf bit
    ("ppc64-radix-4k", 2, 0x8000_0000_1234_5009, "table", 0x1234_5000, 0),
    ("ppc64-radix-4k", 2, 0x8000_0000_1234_5005, "other", 0, 0),  # 64K's table size
    ("ppc64-radix-64k", 2, 0x8000_0000_1234_5105, "table", 0x1234_5100, 0),  # 256 bytes
    ("ppc64-radix-64k", 2, 0xC000_0000_0020_018E, "leaf", 0x20_0000, RW),
    ("ppc64-radix-64k", 0, 0xC000_0000_0020_018E, "other", 0, 0),  # no leaves in the root
]

ARM: list[Case] = [
    ("arm-short", 0, 0x4001_140E, "leaf", 0x4000_0000, RWX),
    ("arm-short", 0, 0x4001_941E, "leaf", 0x4000_0000, READ),  # AP2, XN
    ("arm-short", 0, 0x4001_1C1E, "leaf", 0x4000_0000, URW),
    ("arm-short", 0, 0x4001_1C0F, "leaf", 0x4000_0000, URW | USER_EXEC),  # PXN
    ("arm-short", 0, 0x4000_000E, "leaf", 0x4000_0000, 0),  # AP 000
    ("arm-short", 0, 0x41A5_056E, "leaf", 0xBA_4100_0000, RWX),  # supersection
    ("arm-short", 0, 0x4000_5811, "table", 0x4000_5800, 0),
    ("arm-short", 0, 0x4000_5810, "other", 0, 0),
    ("arm-short", 1, 0x4000_045E, "leaf", 0x4000_0000, RWX),
    ("arm-short", 1, 0x4000_0E7F, "leaf", 0x4000_0000, READ | USER),
    ("arm-short", 1, 0x4001_8031, "leaf", 0x4001_0000, URW),  # large page, XN
    ("arm-short", 1, 0x4001_0031, "leaf", 0x4001_0000, RWX | USER | USER_EXEC),
    ("arm-lpae", 0, 0x4000_0003, "table", 0x4000_0000, 0),
    ("arm-lpae", 0, 0x8000_0401, "leaf", 0x8000_0000, RWX),
    ("arm-lpae", 1, 0xFF_8020_0701, "leaf", 0xFF_8020_0000, RWX),
    ("arm-lpae", 2, 0x4000_0701, "other", 0, 0),
    ("arm-lpae", 2, 1 << 54 | 0x4000_0743, "leaf", 0x4000_0000, URW),
    ("arm-lpae", 2, 0x4000_07C3, "leaf", 0x4000_0000, RX | USER | USER_EXEC),
    ("arm-lpae", 2, 0x4000_0743, "leaf", 0x4000_0000, RWX | USER | USER_EXEC),
]

LOONGARCH: list[Case] = [
    ("loongarch64-16k-47", 2, 0x40, "none", 0, 0),  # G alone
    ("loongarch64-16k-47", 2, 0x1234_41D3, "leaf", 0x1234_4000, RWX),
    ("loongarch64-16k-47", 2, 3 << 62 | 0x1234_419F, "leaf", 0x1234_4000, URW),
    ("loongarch64-16k-47", 2, 1 << 61 | 0x1234_409C, "leaf", 0x1234_4000, EXEC | USER | USER_EXEC),
    ("loongarch64-16k-47", 2, 1 << 61 | 0x1234_441C, "other", 0, 0),  # PROT_NONE
    ("loongarch64-16k-47", 1, 0x9000_0000_1234_4000, "table", 0x1234_4000, 0),
    ("loongarch64-16k-47", 1, 0x0200_01D3, "leaf", 0x0200_0000, RWX),
    ("loongarch64-4k-39", 2, 0x1234_51D3, "leaf", 0x1234_5000, RWX),
]

PARISC: list[Case] = [
    ("parisc64-4k-42", 0, 0x0012_3453, "table", 0x1234_5000, 0),
    ("parisc64-4k-42", 1, 0xFFFF_FFF3, "table", 0xFF_FFFF_F000, 0),
    ("parisc64-4k-42", 1, 0x0012_3452, "other", 0, 0),
    ("parisc64-4k-42", 2, 0x1234_5323, "leaf", 0x1234_5000, RW),
    ("parisc64-4k-42", 2, 0x1234_5325, "leaf", 0x1234_5000, RX),
    ("parisc64-4k-42", 2, 0x1234_5B05, "leaf", 0x1234_5000, URX),
    ("parisc64-4k-42", 2, 0x1234_5A09, "leaf", 0x1234_5000, EXEC | USER | USER_EXEC),  # gateway
    ("parisc64-4k-42", 2, 0x1234_5123, "other", 0, 0),
    ("parisc-4k-32", 1, 0xFFFF_F323, "leaf", 0xFFFF_F000, RW),
]


@pytest.mark.parametrize(
    ("mode", "depth", "entry", "kind", "pa", "permissions"),
    [*RISCV, *S390X, *PPC, *ARM, *LOONGARCH, *PARISC],
)
def test_entries_are_what_the_manual_says(
    mode: str, depth: int, entry: int, kind: str, pa: int, permissions: int
) -> None:
    spec = arch.spec_of(mode)
    data = spec.depths[depth]
    rule = first_rule(data, entry)
    assert rule.kind == kind
    assert decode(rule.pa, entry) == pa
    if kind == "leaf":
        left = spec.permissions & ~path_state(data.leaf_path, entry)
        for exclusion in spec.exclusions:
            if left & exclusion.granted == exclusion.granted:
                left &= ~exclusion.denied
        assert left == permissions


@pytest.mark.parametrize(
    ("mode", "depth", "entry", "denied"),
    [
        ("s390x-region2", 0, 0x1234_420B, WRITE),
        ("s390x-region3", 1, 0x1234_5A00, WRITE),
        ("arm-short", 0, 0x4000_5815, EXEC),
        ("arm-lpae", 0, 1 << 59 | 0x4000_0003, EXEC),
        ("arm-lpae", 1, 1 << 60 | 0x4000_0003, EXEC | USER_EXEC),
        ("arm-lpae", 1, 1 << 61 | 0x4000_0003, USER | USER_EXEC),
        ("arm-lpae", 1, 1 << 62 | 0x4000_0003, WRITE),
        ("riscv64-sv39", 0, 0x2000_0021, 0),
    ],
)
def test_tables_restrict_what_is_below(mode: str, depth: int, entry: int, denied: int) -> None:
    data = arch.spec_of(mode).depths[depth]
    assert first_rule(data, entry).kind == "table"
    assert path_state(data.table_path, entry) == denied


@pytest.mark.parametrize(
    ("entry", "first", "last"),
    [(0x1234_4007, 0, 2047), (0x1234_4004, 0, 511), (0x1234_4087, 1024, 2047)],
)
def test_s390x_tables_can_be_short(entry: int, first: int, last: int) -> None:
    length = arch.spec_of("s390x-region3").depths[0].length
    assert length is not None
    assert decode((length.first,), entry) == first
    assert decode((length.last,), entry) + length.last_add == last
