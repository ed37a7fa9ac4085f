"""The reverse map, against a search row by row; all address spaces in one walk."""

from __future__ import annotations

import json
import time
from pathlib import Path

import golden_cases
import numpy as np
import pytest
from builder import images
from hypothesis import given, settings
from hypothesis import strategies as st

import fastwalk
from fastwalk.analysis.aliases import Intervals, ReverseMap
from fastwalk.analysis.audit import audit
from fastwalk.arch import spec_of
from fastwalk.cli import run
from fastwalk.mappings import LEAF, Mappings

SPEC = spec_of("x86_64-4level")
MODES = ("x86_64-4level", "arm64-4k-39", "riscv64-sv39", "s390x-region3")


def made(first: np.ndarray, size: np.ndarray) -> Mappings:
    """Leaves at ascending addresses, mapped to the given memory."""
    count = len(first)
    start = np.cumsum(size) - size
    small = np.zeros(count, np.uint8)
    columns = {"start": start, "size": size, "pa": first, "attributes": np.zeros_like(first)}
    columns |= {"effective": small + 3, "depth": small + 3, "kind": small + LEAF}
    return Mappings(columns, SPEC)


addresses = st.integers(0, 40) | st.integers((1 << 64) - 20, (1 << 64) - 1)


@given(
    st.lists(st.tuples(addresses, st.integers(1, 60)), max_size=30),
    st.lists(st.tuples(addresses, st.integers(1, 10)), max_size=8),
)
def test_intervals_meet_as_they_should(
    rows: list[tuple[int, int]], queries: list[tuple[int, int]]
) -> None:
    def ends(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
        both = [(a, min(a + size - 1, (1 << 64) - 1)) for a, size in pairs]
        array = np.array(both, np.uint64).reshape(-1, 2)
        return array[:, 0], array[:, 1]

    first, last = ends(rows)
    low, high = ends(queries)
    hits = Intervals(first, last).meeting(low, high)
    want = [
        (query, row)
        for query in range(len(low))
        for row in range(len(first))
        if first[row] <= high[query] and last[row] >= low[query]
    ]
    assert list(zip(hits.query.tolist(), hits.row.tolist(), strict=True)) == want


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["x86_64-4level", "arm64-4k-39", "riscv64-sv39", "s390x-region3"]), st.data()
)
def test_reverse_map_agrees_with_a_search_page_by_page(mode: str, data: st.DataObject) -> None:
    """On random tables: each page of the walk with one row a leaf, looked for in all."""
    image = data.draw(images(spec_of(mode)))
    pieces = image.segments
    memory = bytearray(max(pa + len(content) for pa, content in pieces if pa < 1 << 24))
    for pa, content in pieces:
        if pa < 1 << 24:
            memory[pa : pa + len(content)] = content
    opened = fastwalk.open(bytes(memory), format="raw")
    if image.root >= len(memory):
        return
    space = opened.space(mode, root=image.root)
    if space.count(coalesce="none").rows > 5000:
        return
    maps = space.walk(coalesce="physical")
    found = ReverseMap(maps)
    leaves = [
        (int(pa), int(pa) + (int(size) or 1 << 64), int(start))
        for pa, size, start, leaf in zip(maps.pa, maps.size, maps.start, maps.is_leaf, strict=True)
        if leaf
    ]
    assert all(end <= 1 << 64 for _, end, _ in leaves)
    counts = found.counts()
    columns = [counts.columns[name].tolist() for name in ("pa", "size", "mappings")]
    for pa, size, mappings in zip(*columns, strict=True):
        want = sorted(start + pa - low for low, end, start in leaves if low <= pa < end)
        assert mappings == len(want)
        assert found.find(pa).start.tolist() == want
        middle = pa + size // 2
        want = sorted(start + middle - low for low, end, start in leaves if low <= middle < end)
        _, vas, _ = found.addresses([middle])
        assert sorted(vas.tolist()) == want
    covered = sum(size * n for _, size, n in zip(*columns, strict=True))
    assert covered == sum(end - low for low, end, _ in leaves)


def test_a_range_is_clipped() -> None:
    maps = made(np.array([0x1000, 0x3000], np.uint64), np.array([0x4000, 0x1000], np.uint64))
    found = ReverseMap(maps).find(0x2000, 0x1800)
    assert found.pa.tolist() == [0x2000, 0x3000]
    assert found.size.tolist() == [0x1800, 0x800]
    assert found.start.tolist() == [0x1000, 0x4000]
    assert len(ReverseMap(maps).find(0x9000)) == 0
    with pytest.raises(ValueError, match="no physical memory"):
        ReverseMap(maps).find(0, 0)


def test_a_million_ranges_take_less_than_a_second() -> None:
    random = np.random.default_rng(1)
    count = 1 << 20
    size = random.integers(1, 16, count).astype(np.uint64) << np.uint64(12)
    first = random.integers(0, 1 << 22, count).astype(np.uint64) << np.uint64(12)
    first[0], size[0] = 0, 1 << 40  # a direct map over all of it
    maps = made(first, size)
    best = 9e9
    for _ in range(3):
        start = time.process_time()
        found = ReverseMap(maps)
        counts = found.counts()
        aliased = counts.at_least(2)
        shown = found.find(0x1234000, 0x1000)
        best = min(best, time.process_time() - start)
    total = counts.columns["mappings"].astype(np.uint64) * counts.columns["size"]
    assert int(total.sum()) == int(size.sum())
    assert len(aliased)
    inside = (first <= 0x1234FFF) & (first + size > 0x1234000)
    assert len(shown) == int(inside.sum())
    assert best < 1


def spaces_of(name: str) -> fastwalk.Image:
    case = golden_cases.Case(name)
    return fastwalk.open(case.files["tables.elf"], layout=case.layout)


@pytest.mark.parametrize("name", golden_cases.names())
def test_all_spaces_at_once_are_each_alone(name: str) -> None:
    image = spaces_of(name)
    spaces = image.spaces()
    physical = [space.walk_physical() for space in spaces.open()]
    for together, alone in (
        (spaces.walk(), [space.walk() for space in spaces.open()]),
        (spaces.walk_physical(), physical),
    ):
        assert together.spaces == tuple(image.layout.roots)
        for number, want in enumerate(alone):
            one = together.of_space(number)
            assert one.spec == want.spec
            for column, values in want.columns.items():
                assert (one.columns[column] == values).all(), (number, column)


def test_shared_tables_are_read_once() -> None:
    image = spaces_of("x86_64-6.12-kaslr-pti")
    read: list[int] = []
    image.spaces().walk(progress=lambda tables, rows: read.append(tables))
    together = read[-1]
    read.clear()
    alone = 0
    for space in image.spaces().open():
        space.walk(progress=lambda tables, rows: read.append(tables))
        alone += read[-1]
    assert together < alone


def test_the_command_walks_all_spaces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden_cases.Case("x86_64-6.12-wx").extract(tmp_path)
    image = [str(tmp_path / "tables.elf"), "--layout", str(tmp_path / "layout.json")]
    walk = ["walk", *image, "--all-spaces"]
    maps = spaces_of("x86_64-6.12-wx").spaces().walk()
    assert run([*walk, "--format", "csv"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == "start,size,pa,attributes,effective,depth,kind,space"
    names = [line.rsplit(",", 1)[1] for line in lines]
    assert names == [maps.spaces[number] for number in maps.columns["space"].tolist()]
    assert set(names) == {"init_top_pgt", "current"}
    assert {row.space for row in maps} == set(names)
    assert run(walk) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("current 0xffff")
    assert run([*walk, "--start", "4096"]) == 2
    assert run([*walk, "--coalesce", "ptdump"]) == 2


def test_aliases_across_roots() -> None:
    """The audit sees a page that is code in one root and writable in another."""
    maps = spaces_of("x86_64-6.12-effprot").spaces().walk_physical()
    found = audit(maps)
    assert found.spaces == ("init_top_pgt", "current")
    aliases = {(finding.space, finding.also) for finding in found.of_rule("alias-wx")}
    assert aliases == {("init_top_pgt", 1)}
    index = ReverseMap(maps)
    code = next(iter(found.of_rule("alias-wx")))
    seen = index.find(code.pa)
    assert set(seen.columns["space"].tolist()) == {0, 1}
    assert seen.writable.any()
    assert (~seen.writable & seen.executable).any()


def test_of_space() -> None:
    maps = spaces_of("s390x-6.12").spaces().walk()
    assert {int(d) for d in maps.of_space("swapper_pg_dir").depth} <= {0, 1, 2}
    with pytest.raises(KeyError, match="there are"):
        maps.of_space("nobody")
    assert "swapper_pg_dir" in maps.row_text(0)
    frame = maps.to_arrow()
    assert frame["space"].to_pylist()[0] == "swapper_pg_dir"


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    golden_cases.Case("x86_64-6.12-wx").extract(tmp_path)
    return ["aliases", str(tmp_path / "tables.elf"), "--layout", str(tmp_path / "layout.json")]


def test_the_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*arguments, "0x224e000", "--all-spaces"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "0x224e000: 4 mappings"
    assert sum("rwx" in line for line in lines) == 2
    assert run([*arguments, "0x224e000+0x1000", "0x0-0x1000", "0xfffffffffffff000-0x0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith("mappings")] == [
        "0x224e000-0x224f000: 2 mappings",
        "0x0-0x1000: 1 mappings",
        "0xfffffffffffff000-0x0: 0 mappings",
    ]
    assert run([*arguments, "0x224e000+0x1000", "0x0-0x1000", "--format", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3
    assert run(arguments) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("have 2 mappings or more")
    assert run([*arguments, "--format", "csv", "--min", "1"]) == 0
    assert capsys.readouterr().out.startswith("pa,size,mappings,writable,executable,user\n")
    assert run([*arguments, "--all-spaces", "--view", "kernel"]) == 2
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run([*arguments, "0x2000-0x1000"])
    assert "is no range" in capsys.readouterr().err
