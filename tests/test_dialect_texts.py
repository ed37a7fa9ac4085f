"""Texts of synthetic tables, for what no recorded kernel has: written by hand from the
dumpers' sources (arch/*/mm), or, where 6.12 has no dumper, from the style described."""

from __future__ import annotations

from types import MappingProxyType

import naive
import pytest
from golden_cases import Segments

from fastwalk import _fastwalk, arch
from fastwalk.errors import SpecError
from fastwalk.layout import Layout, Marker, Paging, Root, View
from fastwalk.text import ptdump

ROOT = 0x10_0000


def table(mode: str, depth: int, entries: dict[int, int], default: int = 0) -> bytes:
    data = arch.spec_of(mode).depths[depth]
    return b"".join(
        entries.get(index, default).to_bytes(data.entry_bytes, data.byte_order)
        for index in range(1 << data.index_bits)
    )


def layout_of(
    mode: str,
    last: int,
    version: str = "6.12.117",
    first: int = 0,
    svnapot: bool = False,
    markers: tuple[Marker, ...] | None = None,
) -> Layout:
    """One view of a root at ROOT."""
    view = View("root", ((first, last),), markers or (Marker(first, "Start"),))
    return Layout(
        arch=arch.spec_of(mode).arch,
        mode=mode,
        kernel=version,
        page_size=1 << arch.spec_of(mode).page_bits,
        roots=MappingProxyType({"root": Root(ROOT, "kernel")}),
        views=MappingProxyType({"view": view}),
        default_view="view",
        paging=Paging(svnapot=svnapot),
    )


def shown(layout: Layout, tables: dict[int, bytes]) -> list[str]:
    """The lines for tables by PA."""
    dialect = arch.dialect_of(layout).dialect
    view = layout.view()
    dump = naive.ptdump(dialect, Segments(list(tables.items())), ROOT, view.ranges, view.markers)
    return ptdump.text(dialect, view.markers, naive.text_rows(dump)).splitlines()


def riscv(version: str) -> list[str]:
    mode = "riscv64-sv48"
    napot = 1 << 63 | 0x2000_60E7
    tables = {
        # The root is the kernel's p4d: what lacks V is bad, so a hole; R, W and X are not
        # looked at (no p4d_leaf), so the third entry is the same table as the second.
        ROOT: table(mode, 0, {0: 0xE0, 1: 0x101 << 10 | 1, 2: 0x101 << 10 | 0xF}),
        0x10_1000: table(mode, 1, {0: 0x102 << 10 | 1, 1: 0x4000_0000 >> 2 | 0xC7, 2: 0x1C0}),
        0x10_2000: table(mode, 2, {0: 0x103 << 10 | 1, 1: 0x1C0, 2: 0xE2, 3: 0x104 << 10 | 0x20}),
        0x10_3000: table(
            mode,
            3,
            dict.fromkeys(range(16), napot)
            | {16: 0x2000_00E7 | 2 << 61, 17: 0x2000_00E7 | 1 << 8, 18: 0x2000_00E7 | 3 << 8},
        ),
        0x10_4000: table(mode, 3, {0: 0x2000_00DB}),
    }
    return shown(layout_of(mode, (3 << 39) - 1, version, svnapot=True), tables)


def test_riscv_6_12() -> None:
    half = (
        "0x0000008000000000-0x0000008000010000    0x0000000080010000        64K PTE"
        " N   ..     ..   D A G . . W R V",
        "0x0000008000010000-0x0000008000011000    0x0000000080000000         4K PTE"
        " . MT(IO)   ..   D A G . . W R V",
        "0x0000008000011000-0x0000008000012000    0x0000000080000000         4K PTE"
        " .   ..   RSW(1) D A G . . W R V",
        "0x0000008000012000-0x0000008000013000    0x0000000080000000         4K PTE"
        " .   ..   RSW(3) D A G . . W R V",
        # pmd 1 is silent, pmd 2 (PROT_NONE with R) a leaf, pmd 3 (G alone) a table.
        "0x0000008000400000-0x0000008000600000    0x0000000000000000         2M PMD"
        " .   ..     ..   D A G . . . R .",
        "0x0000008000600000-0x0000008000601000    0x0000000080000000         4K PTE"
        " .   ..     ..   D A . U X . R V",
        # pud 2 is silent too, and lets the run before it go on.
        "0x0000008040000000-0x00000080c0000000    0x0000000040000000         2G PUD"
        " .   ..     ..   D A . . . W R V",
    )
    again = [line.replace("0x00000080", "0x00000100") for line in half]
    assert riscv("6.12.117") == ["---[ Start ]---", *half, *again]


def test_riscv_6_1_has_no_n_and_no_mt_and_reads_rsw_as_a_flag() -> None:
    lines = riscv("6.1.192")
    assert lines[1:3] == [
        "0x0000008000000000-0x0000008000011000    0x0000000080018000        68K PTE"
        "     D A G . . W R V",
        "0x0000008000011000-0x0000008000012000    0x0000000080000000         4K PTE"
        "     D A G . . W R V",
    ]
    assert lines[3] == (
        "0x0000008000012000-0x0000008000013000    0x0000000080000000         4K PTE"
        " RSW D A G . . W R V"
    )


def test_riscv32_names_its_leaves_pgd_and_loses_high_address_bits() -> None:
    mode = "riscv32-sv32"
    tables = {
        ROOT: table(mode, 0, {0: 0x101 << 10 | 1, 1023: 0xFFF0_00E7}),
        0x10_1000: table(mode, 1, {1: 0x2000_00E7}),
    }
    assert shown(layout_of(mode, (1 << 32) - 1), tables) == [
        "---[ Start ]---",
        "0x00001000-0x00002000    0x80000000         4K PTE   ..   D A G . . W R V",
        "0xffc00000-0x00000000    0xffc00000         4M PGD   ..   D A G . . W R V",
    ]


@pytest.mark.parametrize("mode", ["s390x-segment", "s390x-region1"])
def test_s390x_prints_holes_of_any_designation(mode: str) -> None:
    empty = {"s390x-segment": 0x20, "s390x-region1": 0x2C}[mode]
    name = {"s390x-segment": "PMD", "s390x-region1": "ASCE"}[mode]
    last = (1 << (31 if mode == "s390x-segment" else 63)) - 1
    lines = shown(layout_of(mode, last), {ROOT: table(mode, 0, {}, empty)})
    end = last + 1
    size = "2G" if mode == "s390x-segment" else "8E"
    assert lines == [
        "---[ Kernel Virtual Address Space ]---",
        f"0x{0:016x}-0x{end:016x} {size:>10} {name} I",
    ]


def test_s390x_large_frames_and_invalid_ptes() -> None:
    mode = "s390x-segment"
    tables = {
        ROOT: table(mode, 0, {0: 0x10_1000, 1: 0x10_0400, 2: 0x20_0700}, 0x20),
        0x10_1000: table(mode, 1, {0: 0x5000, 1: 0x6200, 2: 0x6600, 3: 0x7100}, 0x400),
    }
    assert shown(layout_of(mode, (1 << 31) - 1, "6.1.192"), tables) == [
        "---[ Start ]---",
        "0x0000000000000000-0x0000000000001000         4K PTE RW X",
        "0x0000000000001000-0x0000000000002000         4K PTE RO X",
        "0x0000000000002000-0x0000000000003000         4K PTE I",
        "0x0000000000003000-0x0000000000004000         4K PTE RW NX",
        "0x0000000000004000-0x0000000000100000      1008K PTE I",
        "0x0000000000100000-0x0000000000200000         1M PMD RW X",
        "0x0000000000200000-0x0000000000300000         1M PMD RO NX",
        "0x0000000000300000-0x0000000080000000      2045M PMD I",
    ]


def test_powerpc_prints_the_quadrant_it_is_asked_for() -> None:
    mode = "ppc64-radix-64k"
    tables = {
        ROOT: table(mode, 0, {0: 1 << 63 | 0x11_0009, 1: 0xC000_0000_0000_018E}),
        0x11_0000: table(mode, 1, {0: 1 << 63 | 0x11_1009, 1: 0x4000_0000_4000_018E}),
        0x11_1000: table(mode, 2, {0: 1 << 63 | 0x11_2005, 1: 0x400}),
        0x11_2000: table(mode, 3, {0: 0xC000_0000_0001_01BF, 1: 0xC000_0000_0002_0407}),
    }
    base = 0xC000_0000_0000_0000
    lines = shown(layout_of(mode, base + (1 << 52) - 1, first=base), tables)
    clear = ["    ", " ", " ", "   ", "   ", "     ", "present", "    ", "     ", "        "]
    io, tolerant = "non-idempotent", "tolerant"
    no_io, no_tolerant = " " * len(io), " " * len(tolerant)

    def line(start: int, end: int, pa: int, size: str, flags: list[str]) -> str:
        # "%9lu%c " and then "  %s" each.
        shown = "".join("  " + flag for flag in flags)
        return f"0x{base + start:016x}-0x{base + end - 1:016x}  0x{pa:016x} {size:>10} {shown}"

    first = ["    ", "r", "w", " X ", "pte", "valid", "present", "    ", "dirty", "accessed"]
    second = ["user", "r", "w", " X ", "pte", "valid", *clear[6:]]
    third = ["    ", "r", "w", "   ", "pte", "     ", "       ", "    ", "dirty", "accessed"]
    assert lines == [
        "---[ Start ]---",
        # ATT 3 is both bits of ATT 2 and prints both.
        line(0, 0x1_0000, 0x1_0000, "64K", [*first, io, tolerant]),
        line(0x1_0000, 0x2_0000, 0x2_0000, "64K", [*second, no_io, no_tolerant, "special"]),
        # A pud is a leaf by its leaf bit alone; the root's leaf is a hole.
        line(1 << 30, 2 << 30, 1 << 30, "1G", [*third, no_io, no_tolerant]),
    ]
    low = shown(layout_of(mode, (1 << 52) - 1), tables)
    assert low == [line.replace("0xc00", "0x000") for line in lines]


def test_arm_domains_without_a_name_are_all_unknown() -> None:
    mode = "arm-short"
    section = 0x1_140E
    tables = {
        ROOT: table(
            mode,
            0,
            {
                index: index << 20 | section | domain << 5
                for index, domain in enumerate([0, 0, 1, 2, 3, 4, 15, 0, 0x8])
            },
        )
    }
    assert shown(layout_of(mode, (1 << 32) - 1), tables) == [
        "---[ Start ]---",
        "0x00000000-0x00200000           2M PGD KERNEL      RW x  SHD",
        "0x00200000-0x00300000           1M PGD USER        RW x  SHD",
        "0x00300000-0x00400000           1M PGD IO          RW x  SHD",
        "0x00400000-0x00500000           1M PGD VECTORS     RW x  SHD",
        "0x00500000-0x00700000           2M PGD unknown     RW x  SHD",
        "0x00700000-0x00800000           1M PGD KERNEL      RW x  SHD",
        "0x00800000-0x00a00000           2M PGD unknown     RW x  SHD",
    ]


def test_arm_looks_at_the_second_of_a_pair_only_where_it_is_a_section() -> None:
    mode = "arm-short"
    section = 0x1_140E
    tables = {
        ROOT: table(
            mode,
            0,
            {
                0: section,
                3: 3 << 20 | section,
                4: 0x10_4801,
                5: 0x10_4C01,
                6: 0x10_5801,
                8: section,
            },
        ),
        # Linux's ptes are in the lower half of each page. The second of the pair at 6 is
        # missing for the processor; the kernel does not mind.
        0x10_4000: pages({0: 0x4000_005F, 255: 0x4000_005F, 256: 0x4000_00DF}),
        0x10_5000: pages({1: 0x4000_015F, 511: 0x4000_005F}),
    }
    kernel = "KERNEL "
    assert shown(
        layout_of(mode, (1 << 32) - 1, markers=(Marker(0, "a"), Marker(1 << 20, "b"))), tables
    ) == [
        "---[ a ]---",
        f"0x00000000-0x00200000           2M PGD {kernel}     RW x  SHD",
        "---[ b ]---",
        f"0x00300000-0x00400000           1M PGD {kernel}     RW x  SHD",
        f"0x00400000-0x00401000           4K PTE {kernel}     RW x      MEM/CACHED/WBWA",
        f"0x004ff000-0x00500000           4K PTE {kernel}     RW x      MEM/CACHED/WBWA",
        f"0x00500000-0x00501000           4K PTE {kernel}     ro x      MEM/CACHED/WBWA",
        f"0x00601000-0x00602000           4K PTE {kernel} USR RW x      MEM/CACHED/WBWA",
        f"0x007ff000-0x00800000           4K PTE {kernel}     RW x      MEM/CACHED/WBWA",
        f"0x00800000-0x00a00000           2M PGD {kernel}     RW x  SHD",
    ]


@pytest.mark.parametrize(
    ("field", "value"), [("nothing", 0x1_140E), ("mask", 0x1), ("value", 0x1_0000_0000)]
)
def test_pairs_that_make_no_sense_are_refused(field: str, value: int) -> None:
    dialect = arch.dialect_of(layout_of("arm-short", (1 << 32) - 1)).dialect
    root, ptes = dialect.depths
    assert root.pairs is not None
    pairs = root.pairs._replace(**{field: value})
    wrong = dialect._replace(depths=(root._replace(pairs=pairs), ptes))
    with pytest.raises(SpecError, match=r"depths\[0\]\.pairs"):
        _fastwalk.Dumper(wrong)
    _fastwalk.Dumper(dialect)


def pages(entries: dict[int, int]) -> bytes:
    """A page of 512 of Linux's ptes, and 512 that the processor would read."""
    linux = b"".join(entries.get(index, 0).to_bytes(4, "little") for index in range(512))
    return linux + bytes(2048)


def test_loongarch_walks_pointers_into_the_direct_map() -> None:
    mode = "loongarch64-16k-47"
    invalid = 0x9000_0000_0020_0000
    tables = {
        ROOT: table(mode, 0, {0: 0x9000_0000_0010_4000}, invalid),
        0x10_4000: table(mode, 1, {0: 0x9000_0000_0010_8000, 1: 0x0200_11D3}, invalid + 0x4000),
        0x10_8000: table(mode, 2, {0: 0x1234_43D3, 1: 1 << 62 | 0x1234_839F}, 0x40),
        0x20_0000: table(mode, 1, {}, invalid + 0x4000),
        0x20_4000: table(mode, 2, {}),
    }
    base = 0xFFFF_8000_0000_0000
    # Three pmds: the empty tables are walked through like any other.
    assert shown(layout_of(mode, base + (3 << 25) - 1, first=base), tables) == [
        "---[ Start ]---",
        "0xffff800000000000-0xffff800000004000          16K PTE     R W X      CC  P V D      G",
        "0xffff800000004000-0xffff800000008000          16K PTE USR R W .      CC  P V D      .",
        "0xffff800002000000-0xffff800004000000          32M PMD     R W X      CC  P V D      G",
    ]


def test_parisc_walks_32_bit_directories_to_64_bit_ptes() -> None:
    mode = "parisc64-4k-42"
    tables = {
        ROOT: table(mode, 0, {1: 0x10_1000 >> 8 | 3}),
        0x10_1000: table(mode, 1, {0: 0x10_3000 >> 8 | 3, 1: 2}),
        0x10_3000: table(mode, 2, {0: 0x1234_5323, 1: 0x1234_6325, 2: 0x1234_7A09}),
    }
    assert shown(layout_of(mode, (1 << 42) - 1), tables) == [
        "---[ Start ]---",
        "0x0000000100000000-0x0000000100001000           4K PTE     R W .              P A D",
        "0x0000000100001000-0x0000000100002000           4K PTE     R . X              P A D",
        "0x0000000100002000-0x0000000100003000           4K PTE USR R . . GATE         P . .",
    ]
