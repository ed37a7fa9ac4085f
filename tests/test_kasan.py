"""KASAN's shadow collapsed, with the kernel's symbols and without."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import golden_cases
import numpy as np
import pytest
from golden_cases import Case

import fastwalk as fw
from fastwalk.errors import RowBudgetError
from fastwalk.mappings import REAL_SHADOW, SHADOWS, ZERO_SHADOW, Mappings
from fastwalk.space import AddressSpace

CASES = [name for name in golden_cases.names() if "kasan" in name]
SCALE = {name: 4 if "swtags" in name else 3 for name in CASES}
# KASAN_SHADOW_OFFSET where the case has not recorded it: Kconfig of x86 and s390.
OFFSETS = {"x86_64": 0xDFFF_FC00_0000_0000, "s390x": 0x1C_0000_0000_0000}
TOP = 1 << 64
MAIN = "from fastwalk.cli import main; main()"


def kernel(case: Case, symbols: bool = True) -> AddressSpace:
    layout = case.layout if symbols else case.layout._replace(kasan=None)
    return fw.open(case.files["tables.elf"], layout=layout).kernel()


def shadow_range(case: Case) -> tuple[int, int]:
    """Of the kernel's own markers: where the shadow starts, and its end."""
    edges = [m.address for m in case.layout.view().markers if m.name.lower().startswith("kasan")]
    assert len(edges) == 2
    return edges[0], edges[1]


def same(a: Mappings, b: Mappings) -> bool:
    assert a.columns.keys() == b.columns.keys()
    return all(np.array_equal(column, b.columns[name]) for name, column in a.columns.items())


def test_there_are_cases_of_both_scales() -> None:
    assert len(CASES) == 6
    assert set(SCALE.values()) == {3, 4}


@pytest.mark.parametrize("name", CASES)
def test_symbols_and_structure_agree(name: str) -> None:
    case = Case(name)
    told = kernel(case).walk(kasan="collapse")
    assert same(told, kernel(case, symbols=False).walk(kasan="collapse"))
    assert told.complete
    zero, real = (np.count_nonzero(told.shadow == sort) for sort in (ZERO_SHADOW, REAL_SHADOW))
    assert 0 < zero < 20
    assert 0 < real < 60


@pytest.mark.parametrize("name", CASES)
def test_each_row_covers_what_the_kernel_says(name: str) -> None:
    case = Case(name)
    values = case.case["values"]
    offset = int(values.get("KASAN_SHADOW_OFFSET", "0"), 16) or OFFSETS[case.layout.arch]
    rows = [row for row in kernel(case).walk(kasan="collapse") if row.shadow != "none"]
    start, end = shadow_range(case)
    for row in rows:
        assert start <= row.start < row.start + row.size <= end
        # mem_to_shadow: (address >> KASAN_SHADOW_SCALE_SHIFT) + KASAN_SHADOW_OFFSET
        assert row.covers_start == (row.start - offset << SCALE[name]) % TOP
        assert row.covers_size == row.size << SCALE[name]
    for above, below in pairwise(rows):
        joined = above.start + above.size == below.start and above.shadow == below.shadow
        assert not joined, "two rows that could be one"


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_lost(name: str) -> None:
    case, chance = Case(name), random.Random(name)
    space = kernel(case)
    start, end = shadow_range(case)
    collapsed = space.walk(kasan="collapse")
    outside = collapsed.shadow == 0
    for low, high in [(0, start), (end, TOP)]:
        plain = space.walk(low, high)
        part = collapsed[(collapsed.start >= low) & (collapsed.start < high - 1) & outside]
        assert [row[:7] for row in part] == [row[:7] for row in plain]
    inside = space.walk(start, end)
    assert inside.size.sum() == collapsed.size[~outside].sum()
    page = case.layout.kasan.early_shadow["page"] if case.layout.kasan else 0
    size = case.layout.page_size
    for row in collapsed[~outside]:
        assert isinstance(row, fw.mappings.Mapping)
        vas = [row.start, row.start + row.size - size]
        vas += [row.start + chance.randrange(row.size) // size * size for _ in range(20)]
        zero = space.translate(vas).filled(0) == page
        assert zero.all() if row.shadow == "zero" else not zero.any()


@pytest.mark.parametrize("coalesce", ["physical", "none"])
def test_other_keys_hold_outside(coalesce: fw.space.Coalesce) -> None:
    case = Case("arm64-6.12-kasan")
    space = kernel(case)
    start, end = shadow_range(case)
    maps = space.walk(coalesce=coalesce, kasan="collapse")
    outside = [row[:7] for row in maps if row.shadow == "none"]
    around = [space.walk(low, high, coalesce) for low, high in [(0, start), (end, TOP)]]
    plain = [row[:7] for part in around for row in part]
    assert outside == plain
    inside = [row for row in maps if row.shadow != "none"]
    assert inside == [row for row in space.walk(kasan="collapse") if row.shadow != "none"]


def test_a_part_of_the_shadow() -> None:
    case = Case("x86_64-6.12-kasan")
    start = 0xFFFF_F920_0000_0000 + 0x1000
    maps = kernel(case).walk(start, start + 0x10_0000, kasan="collapse")
    assert [(row.start, row.size, row.shadow) for row in maps] == [(start, 0x10_0000, "zero")]
    row = maps[0]
    assert isinstance(row, fw.mappings.Mapping)
    assert (row.covers_start, row.covers_size) == (0xFFFF_E900_0000_8000, 0x80_0000)
    assert "zero shadow of 0xffffe90000008000-0xffffe90000808000 8M" in repr(maps)


def test_the_budget_counts_the_rows_that_there_would_be() -> None:
    space = kernel(Case("riscv64-6.12-kasan-sv48"))
    rows = len(space.walk(kasan="collapse"))
    assert len(space.walk(kasan="collapse", budget=rows)) == rows
    with pytest.raises(RowBudgetError) as caught:
        space.walk(kasan="collapse", budget=rows - 1)
    assert (caught.value.rows, caught.value.budget) == (rows, rows - 1)


def test_a_kernel_without_shadow() -> None:
    space = kernel(Case("arm64-6.12-4k-48"))
    maps, plain = space.walk(kasan="collapse"), space.walk()
    assert [row[:7] for row in maps] == [row[:7] for row in plain]
    assert not maps.shadow.any()
    assert not plain.has_shadow
    with pytest.raises(KeyError):
        _ = plain.shadow


def test_what_does_not_go_together() -> None:
    space = kernel(Case("arm64-6.12-kasan"))
    with pytest.raises(ValueError, match="ptdump"):
        space.walk(coalesce="ptdump", kasan="collapse")
    with pytest.raises(ValueError, match="no range"):
        space.walk(5, 3, kasan="collapse")


def test_the_command_collapses(tmp_path: Path) -> None:
    case = Case("arm64-6.12-kasan-swtags")
    folder = case.extract(tmp_path)
    command = [sys.executable, "-c", MAIN, "walk", str(folder / "tables.elf"), "--layout"]
    command += [str(folder / "layout.json"), "--kasan", "collapse", "--format"]
    want = list(kernel(case).walk(kasan="collapse"))
    out = {}
    for format in ("text", "csv", "json"):
        done = subprocess.run([*command, format], capture_output=True, check=True, text=True)
        out[format] = done.stdout
    assert [entry["shadow"] for entry in json.loads(out["json"])] == [row.shadow for row in want]
    header, *lines = out["csv"].splitlines()
    assert header.endswith("kind,shadow,covers_start,covers_size")
    fields = [line.split(",") for line in lines]
    assert [int(field[0], 16) for field in fields] == [row.start for row in want]
    assert [(field[7], int(field[8], 16), int(field[9])) for field in fields] == [
        (row.shadow, row.covers_start, row.covers_size) for row in want
    ]
    zero = [line for line in out["text"].splitlines() if "zero shadow of" in line]
    assert len(zero) == sum(row.shadow == SHADOWS[ZERO_SHADOW] for row in want)
