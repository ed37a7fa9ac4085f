"""Numbers on address spaces, against counting page by page."""

from __future__ import annotations

import json
from pathlib import Path

import golden_cases
import numpy as np
import pytest

import fastwalk
from fastwalk.analysis.stats import Stats, leaf_sizes, stats
from fastwalk.arch import spec_of
from fastwalk.cli import run
from fastwalk.mappings import LEAF, Mappings

SPEC = spec_of("x86_64-4level")
LARGE = 512


def of(name: str, view: str | None = None) -> tuple[fastwalk.AddressSpace, Stats]:
    case = golden_cases.Case(name)
    image = fastwalk.open(case.files["tables.elf"], layout=case.layout)
    space = image.space(view=view)
    return space, stats(space.walk_physical(), space.tables())


@pytest.mark.parametrize("name", golden_cases.names())
def test_sums(name: str) -> None:
    space, found = of(name)
    maps = space.walk()
    assert sum(row.bytes for row in found.leaves) == int(maps.size[maps.is_leaf].sum())
    assert sum(row.leaves for row in found.leaves) == space.count().leaves
    assert sum(row.mapped + row.shadow for row in found.reach) == int(maps.size[maps.is_leaf].sum())
    assert sum(row.tables for row in found.tables) == len(space.tables())
    for row in found.tables:
        assert 0 <= row.used <= row.entries


def test_leaf_sizes() -> None:
    assert leaf_sizes(SPEC) == (1 << 39, 1 << 30, 1 << 21, 1 << 12)
    assert leaf_sizes(spec_of("arm-short")) == (1 << 20, 1 << 12)


def test_missed_huge_pages_against_a_search() -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        starts, pas, sizes = [], [], []
        at = 0
        for _ in range(12):
            at += int(random.integers(0, 700))
            size = int(random.integers(1, 2000))
            starts.append(at)
            sizes.append(size)
            # As often as not VA and PA agree modulo a large page.
            pas.append(at + LARGE * 7 + int(random.integers(0, 2)) * int(random.integers(1, 512)))
            at += size + 1
        count = len(starts)
        small = np.zeros(count, np.uint8)
        columns = {
            "start": np.array(starts, np.uint64) << np.uint64(12),
            "size": np.array(sizes, np.uint64) << np.uint64(12),
            "pa": np.array(pas, np.uint64) << np.uint64(12),
            "attributes": np.ones(count, np.uint64),
            "effective": small + 3,
            "depth": small + 3,
            "kind": small + LEAF,
        }
        found = stats(Mappings(columns, SPEC)).missed
        want = 0
        for start, size, pa in zip(starts, sizes, pas, strict=True):
            for block in range(start // LARGE, (start + size) // LARGE + 1):
                first = block * LARGE
                inside = start <= first and first + LARGE <= start + size
                want += inside and (first - start + pa) % LARGE == 0
        assert sum(row.leaves for row in found) == want
        assert all(row.entries_now == row.leaves * LARGE for row in found)


def test_contiguous_groups_take_one_entry() -> None:
    space, found = of("arm64-6.12-4k-48")
    maps = space.walk_physical()
    leaves = maps[maps.is_leaf]
    grouped = (leaves.attributes & np.uint64(1 << 52)) != 0
    assert grouped.any()
    saved = int((leaves.size[grouped & (leaves.depth == 3)] // (1 << 12)).sum()) * 15 // 16
    assert (
        found.reach[0].entries
        == space.count().leaves
        - saved
        - int((leaves.size[grouped & (leaves.depth == 2)] // (1 << 21)).sum()) * 15 // 16
    )


def test_sharing_between_roots() -> None:
    case = golden_cases.Case("x86_64-6.12-kaslr-pti")
    image = fastwalk.open(case.files["tables.elf"], layout=case.layout)
    spaces = image.spaces()
    tables = spaces.tables()
    found = stats(spaces.walk_physical(), tables)
    every = {name: set(of.pa.tolist()) for name, of in tables.items()}
    for row in found.sharing:
        others = set().union(*(pas for name, pas in every.items() if name != row.space))
        assert row.tables == len(every[row.space])
        assert row.shared == len(every[row.space] & others)
        assert row.own_bytes == 4096 * (row.tables - row.shared)
    assert {row.space for row in found.reach} == set(image.layout.roots)


def test_kasan_cover() -> None:
    case = golden_cases.Case("arm64-6.12-kasan")
    image = fastwalk.open(case.files["tables.elf"], layout=case.layout)
    space = image.kernel()
    found = stats(space.walk_physical(), space.tables(), space.walk(kasan="collapse"))
    kinds = {row.kind: row for row in found.kasan}
    assert set(kinds) == {"real", "zero"}
    for row in found.kasan:
        assert row.covers_bytes == 8 * row.shadow_bytes


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden_cases.Case("x86_64-6.12-kasan").extract(tmp_path)
    arguments = ["stats", str(tmp_path / "tables.elf"), "--layout", str(tmp_path / "layout.json")]
    assert run(arguments) == 0
    text = capsys.readouterr().out
    for heading in ("mapped, by size", "page tables:", "larger leaves", "TLB:", "KASAN shadow:"):
        assert heading in text
    assert run([*arguments, "--format", "json", "--all-spaces"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {row["space"] for row in document["sharing"]} == {"init_top_pgt", "current"}
    assert run([*arguments, "--format", "csv"]) == 0
    assert capsys.readouterr().out.startswith("space,leaf_size,permissions,memory,leaves,bytes")
