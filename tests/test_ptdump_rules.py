"""What the recorded kernels do not show: rules of the dumpers on synthetic tables.

The expected lines were derived from the kernels' sources by hand: mm/ptdump.c,
mm/pagewalk.c and arch/*/mm of 6.12 and 6.1.
"""

from __future__ import annotations

import time

import naive
import pytest
from golden_cases import Segments

from fastwalk import arch
from fastwalk.arch.x86 import EFFECTIVE_NX, NOT_USER
from fastwalk.layout import Kasan, Layout, Marker, Paging, Root, View
from fastwalk.text import ptdump

NX = 1 << 63
TABLE = 0x63  # _KERNPG_TABLE
USER_TABLE = 0x67


def table(entries: dict[int, int], count: int = 512) -> bytes:
    return b"".join(entries.get(i, 0).to_bytes(8, "little") for i in range(count))


def machine(
    mode: str,
    markers: list[Marker],
    ranges: list[tuple[int, int]],
    kernel: str = "6.12.117",
    kasan: Kasan | None = None,
    paging: Paging | None = None,
) -> Layout:
    spec = arch.spec_of(mode)
    return Layout(
        arch=spec.arch,
        mode=mode,
        kernel=kernel,
        page_size=1 << spec.page_bits,
        roots={"root": Root(0x1000, "kernel")},
        views={"view": View("root", tuple(ranges), tuple(markers))},
        default_view="view",
        paging=paging or Paging(),
        kasan=kasan,
    )


def lines(layout: Layout, tables: dict[int, bytes]) -> list[str]:
    memory = Segments(list(tables.items()))
    dialect = arch.dialect_of(layout, read=memory.read).dialect
    view = layout.view()
    dump = naive.ptdump(dialect, memory, 0x1000, view.ranges, view.markers)
    return ptdump.text(dialect, view.markers, naive.text_rows(dump)).splitlines()


USER = Marker(0, "User Space")
LOW = [(0, (1 << 47) - 1)]


def shown(start: int, end: int, size: str, tail: str) -> str:
    return f"0x{start:016x}-0x{end:016x}   {size[:-1]:>9}{size[-1]} {tail}"


BLANK = " " * 30
KB, MB, GB, TB = (1 << shift for shift in (10, 20, 30, 40))


def test_x86_pmds_that_are_neither_present_nor_leaves() -> None:
    pmds = {
        1: 0x5000 | 1 << 8,  # P clear, G set (PROTNONE): present, walked as a table
        2: 0x1234_5000,  # swapped out: passed over, the run before it goes on
        3: 0x0080_0080,  # P clear, PSE set: a leaf that is not present
        4: 0x60,  # only A and D: none (erratum), a hole
    }
    tables = {
        0x1000: table({0: 0x2000 | USER_TABLE}),
        0x2000: table({0: 0x3000 | USER_TABLE}),
        0x3000: table(pmds),
        0x5000: table({0: 0x9000 | 0x25, 1: 0x60}),
    }
    two = 2 * MB
    assert lines(machine("x86_64-4level", [USER], LOW), tables) == [
        "---[ User Space ]---",
        shown(0, two, "2M", f"{BLANK}pmd"),
        shown(two, two + 4 * KB, "4K", "USR ro                     x  pte"),
        shown(two + 4 * KB, two + 8 * KB, "4K", f"{BLANK}pte"),
        # An empty pte and one with A and D alone differ. pmd 2 is silent, so the empty ptes
        # before it go on to pmd 3.
        shown(two + 8 * KB, 3 * two, "4088K", f"{BLANK}pte"),
        shown(3 * two, 4 * two, "2M", f"{BLANK}pmd"),
        shown(4 * two, GB, "1016M", f"{BLANK}pmd"),
        shown(GB, 512 * GB, "511G", f"{BLANK}pud"),
        # The size is computed modulo 2^64, and this one is 2^25 - 1 times 512 GB.
        shown(512 * GB, 0, "17179868672G", f"{BLANK}pgd"),
    ]


def test_x86_61_wants_puds_present_to_be_leaves() -> None:
    tables = {
        0x1000: table({0: 0x2000 | USER_TABLE}),
        0x2000: table({1: GB | 0x80, 2: 2 * GB | 0xE7}),
    }
    new = lines(machine("x86_64-4level", [USER], LOW), tables)
    assert new[1:4] == [
        shown(0, GB, "1G", f"{BLANK}pud"),
        shown(GB, 2 * GB, "1G", f"{BLANK}pud"),
        shown(2 * GB, 3 * GB, "1G", "USR RW         PSE         x  pud"),
    ]
    old = lines(machine("x86_64-4level", [USER], LOW, "6.1.192"), tables)
    assert old[1:3] == [
        shown(0, 2 * GB, "2G", f"{BLANK}pud"),
        shown(2 * GB, 3 * GB, "1G", "USR RW         PSE         x  pud"),
    ]


def test_x86_bad_pgds_and_p4ds_are_holes() -> None:
    pgds = {
        0: 0x2000 | USER_TABLE,
        1: 0x2000 | USER_TABLE | 0x80,  # pgd_bad: PSE
        2: 0x2000 | 0x27,  # pgd_bad: D is missing
        3: 0x2000 | USER_TABLE | NX,  # page-table isolation's: not bad
    }
    p4ds = {
        0: 0x3000 | USER_TABLE,
        1: 0x3000 | USER_TABLE | 0x80,  # p4d_bad
        2: 0x3000,  # not present, but not bad: walked
    }
    tables = {0x1000: table(pgds), 0x2000: table(p4ds), 0x3000: table({0: GB | 0xE3})}
    p4d, pgd = 512 * GB, 256 * TB
    # What is printed is the entry's own protection; what the path takes away cuts runs only.
    leaf = "    RW         PSE         x  pud"

    def tree(base: int) -> list[str]:
        return [
            shown(base, base + GB, "1G", leaf),
            shown(base + GB, base + p4d, "511G", f"{BLANK}pud"),
            shown(base + p4d, base + 2 * p4d, "512G", f"{BLANK}p4d"),
            shown(base + 2 * p4d, base + 2 * p4d + GB, "1G", leaf),
            shown(base + 2 * p4d + GB, base + 3 * p4d, "511G", f"{BLANK}pud"),
            shown(base + 3 * p4d, base + pgd, "260608G", f"{BLANK}p4d"),
        ]

    layout = machine("x86_64-5level", [USER], [(0, (1 << 56) - 1)])
    assert lines(layout, tables) == [
        "---[ User Space ]---",
        *tree(0),
        shown(pgd, 3 * pgd, "512T", f"{BLANK}pgd"),
        *tree(3 * pgd),
        shown(4 * pgd, 0, "16383P", f"{BLANK}pgd"),
    ]


def shadow_machine(markers: list[Marker]) -> tuple[Layout, dict[int, bytes]]:
    """5 levels: a real pte page, then a pgd whose whole tree is early shadow."""
    tables = {
        0x1000: table({0: 0x2000 | TABLE, 1: 0xA000 | TABLE, 2: 0x2000 | TABLE | NX}),
        0x2000: table({0: 0x3000 | TABLE}),
        0x3000: table({0: 0x4000 | TABLE}),
        0x4000: table({0: 0x5000 | TABLE}),
        0x5000: table(dict.fromkeys(range(512), 36864 | 355)),
        0xA000: table(dict.fromkeys(range(512), 45056 | TABLE)),  # p4d
        0xB000: table(dict.fromkeys(range(512), 49152 | TABLE)),  # pud
        0xC000: table(dict.fromkeys(range(512), 53248 | TABLE)),  # pmd
        0xD000: table(dict.fromkeys(range(512), 57344 | 353 | NX)),  # pte
    }
    early = {"p4d": 0xA000, "pud": 0xB000, "pmd": 0xC000, "pte": 0xD000}
    layout = machine(
        "x86_64-5level", markers, [(0, (1 << 56) - 1)], kasan=Kasan(early_shadow=early)
    )
    return layout, tables


def test_x86_shadow_is_noted_once_with_the_last_ptes_permissions() -> None:
    layout, tables = shadow_machine([USER])
    pgd = 256 * TB
    # The flags are those of kasan_early_shadow_pte[0], which is read from the image.
    wanted = shown(pgd, 2 * pgd, "256T", "    ro                 GLB NX pte")
    assert wanted in lines(layout, tables)
    memory = Segments(list(tables.items()))
    dialect = arch.dialect_of(layout, read=memory.read).dialect
    dump = naive.ptdump(dialect, memory, 0x1000, layout.view().ranges, [USER])
    paths = {row.start // pgd: row.path for row in dump.rows if row.key & 1}
    # st->prot_levels[4] is still that of the ptes of pgd 0: writable, executable. Those of
    # pgd 2, the same table, are NX by their path.
    assert paths == {0: NOT_USER, 1: NOT_USER, 2: NOT_USER | EFFECTIVE_NX}


def test_a_marker_inside_a_shadow_pgd_shows_the_walk_below_it() -> None:
    pgd, p4d = 256 * TB, 512 * GB
    spot = pgd + p4d + GB // 2
    layout, tables = shadow_machine([USER, Marker(spot, "inside"), Marker(spot, "too")])
    got = lines(layout, tables)
    at = got.index("---[ inside ]---")
    tail = "    ro                 GLB NX pte"
    # The walk goes on below shadow pgds and p4ds down to the puds, and notes each pud.
    assert got[at - 1 : at + 4] == [
        shown(pgd, pgd + p4d + GB, "513G", tail),
        "---[ inside ]---",
        shown(pgd + p4d + GB, pgd + p4d + 2 * GB, "1G", tail),
        "---[ too ]---",
        shown(pgd + p4d + 2 * GB, 2 * pgd, "261630G", tail),
    ]


def test_notes_at_one_address_are_cut_by_markers_that_lag() -> None:
    pgd = 256 * TB
    markers = [USER, *(Marker(pgd - 3 * 4 * KB, f"m{i}") for i in range(6))]
    layout, tables = shadow_machine(markers)
    # pgd, p4d and pud of the shadow are all noted at its first address. Two of the cuts are
    # between these notes, and a size of 0 runs through all the units.
    empty = shown(pgd, pgd, "0E", "    ro                 GLB NX pte")
    assert lines(layout, tables).count(empty) == 2


def test_x86_max_lines() -> None:
    pages = {i: 0x9000 | (0x63 if i % 2 else 0x61) for i in range(40)}
    tables = {
        0x1000: table({0: 0x2000 | TABLE}),
        0x2000: table({0: 0x3000 | TABLE}),
        0x3000: table({0: 0x4000 | TABLE}),
        0x4000: table(pages),
    }
    limited = Marker(0x2000, "limited", max_lines=3)
    for next_at, skipped in ((0x6000, "1 entry"), (0x7000, "2 entries"), (0x5000, None)):
        markers = [USER, limited, Marker(next_at, "next")]
        got = lines(machine("x86_64-4level", markers, LOW), tables)
        first, after = got.index("---[ limited ]---"), got.index("---[ next ]---")
        # A heading comes after the line that crosses its marker.
        assert got[first - 1].startswith("0x0000000000001000-0x0000000000002000")
        said = [f"... {skipped} skipped ... "] if skipped else []
        assert got[first + 4 : after] == said
    # Nothing is said of what was left out where no marker follows.
    got = lines(machine("x86_64-4level", [USER, limited], LOW), tables)
    assert len(got) - got.index("---[ limited ]---") == 4


def test_arm64_pmds_that_are_not_valid() -> None:
    block = GB | 0x700  # AF and SH are set, the valid bit is clear
    pmds = {0: block | 1 << 11, 1: block | 1 << 58, 2: block | 1 << 59, 3: 0x12300}
    tables = {
        0x1000: table({0: 0x2003}),
        0x2000: table({0: 0x3003}),
        0x3000: table(pmds),
    }
    two = 2 * MB
    ranges = [(0, GB - 1)]

    def tail(ng: str) -> str:
        return f"PMD F     RW x  SHD AF {ng}     BLK        MEM/NORMAL"

    # 6.12: PTE_PRESENT_INVALID is nG; the others are not present and passed over.
    new = lines(machine("arm64-4k-48", [Marker(0, "start")], ranges), tables)
    assert new[1:3] == [shown(0, 4 * two, "8M", tail("NG")), shown(4 * two, GB, "1016M", "PMD")]
    # 6.1: PTE_PROT_NONE is bit 58, and PMD_PRESENT_INVALID of a pmd bit 59.
    old = lines(machine("arm64-4k-48", [Marker(0, "start")], ranges, "6.1.192"), tables)
    assert old[1] == shown(two, 4 * two, "6M", tail("  "))


def test_arm64_blocks_at_p4d_are_holes_and_bit_0_is_not_looked_at() -> None:
    tables = {
        0x1000: table({0: 0x2000 | 2, 1: 128 * TB | 0x701}),
        0x2000: table({0: GB | 0x701}),
    }
    layout = machine("arm64-4k-48", [Marker(0, "start")], [(0, 256 * TB - 1)])
    assert lines(layout, tables) == [
        "---[ start ]---",
        shown(0, GB, "1G", "PUD       RW x  SHD AF        BLK        MEM/NORMAL"),
        shown(GB, 512 * GB, "511G", "PUD"),
        shown(512 * GB, 256 * TB, "261632G", "PGD"),
    ]


def test_arm64_lpa2_has_512_gb_blocks_that_linux_prints_as_holes() -> None:
    tables = {0x1000: table({0: 0x2003}, 16), 0x2000: table({0: 512 * GB | 0x401})}
    layout = machine("arm64-4k-52-lpa2", [Marker(0, "start")], [(0, 256 * TB - 1)])
    assert lines(layout, tables) == ["---[ start ]---", shown(0, 256 * TB, "256T", "P4D")]
    memory = Segments(list(tables.items()))
    [leaf] = naive.walk(arch.spec_of("arm64-4k-52-lpa2"), memory, 0x1000, "low")
    assert (leaf.size, leaf.pa, leaf.kind) == (512 * GB, 512 * GB, "leaf")


@pytest.mark.parametrize("kernel", ["6.12.117", "6.1.192"])
def test_arm64_ends_a_dump_at_the_end_of_the_range_since_612(kernel: str) -> None:
    markers = [Marker(0, "start"), Marker(256 * TB, "end")]
    layout = machine("arm64-4k-48", markers, [(0, 256 * TB - 1)], kernel)
    new = [shown(0, 256 * TB, "256T", "PGD"), "---[ end ]---"]
    old = [shown(0, 0, "0E", "PGD")]
    wanted = new if kernel == "6.12.117" else old
    assert lines(layout, {0x1000: table({})}) == ["---[ start ]---", *wanted]


def test_an_absent_table_is_a_line_and_joins_nothing_but_its_like() -> None:
    tables = {
        0x1000: table({0: 0x2003}),
        0x2000: table({0: 0x3003, 3: 0x7003, 4: 0x8003}),
        0x3000: table({}),
    }
    layout = machine("arm64-4k-48", [Marker(0, "start")], [(0, 512 * GB - 1)])
    assert lines(layout, tables) == [
        "---[ start ]---",
        shown(0, GB, "1G", "PMD"),
        shown(GB, 3 * GB, "2G", "PUD"),
        shown(3 * GB, 5 * GB, "2G", "PMD (page table not in the image)"),
        shown(5 * GB, 512 * GB, "507G", "PUD"),
    ]


def test_only_silent_entries_leave_a_heading() -> None:
    tables = {
        0x1000: table({0: 0x2000 | TABLE}),
        0x2000: table(dict.fromkeys(range(512), 20480)),
    }
    layout = machine("x86_64-4level", [USER], [(0, (1 << 39) - 1)])
    assert lines(layout, tables) == ["---[ User Space ]---"]


@pytest.mark.parametrize("mode", ["x86_64-4level", "arm64-4k-48", "riscv64-sv48"])
def test_a_million_rows_in_a_second_or_two(mode: str) -> None:
    count = 1_000_000
    dialect = arch.dialect_of(machine(mode, [USER], LOW)).dialect
    start = range(0, count << 12, 1 << 12)
    rows = ptdump.Rows(
        start=start,
        end=range(1 << 12, (count + 1) << 12, 1 << 12),
        level=[4] * count,
        key=[0x63 | (i % 7 << 9) for i in range(count)],
        path=[i % 3 for i in range(count)],
        value=[0x63 | i << 12 for i in range(count)],
        headings=[(0, 0)],
    )
    before = time.process_time()
    length = sum(map(len, ptdump.pieces(dialect, [USER], rows)))
    took = time.process_time() - before
    assert length > count * 40
    assert took < 4, f"{took:.2f} s; 1 s is what it takes on an idle machine"
