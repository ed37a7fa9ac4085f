"""The benches' own parts: images whose answer is known without a walk, the walks that
fastwalk is held against, and the check of stored ratios."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastwalk as fw

BENCHES = Path(__file__).parents[1] / "benches"
PEERS = BENCHES / "peers"
sys.path += [str(BENCHES), str(PEERS)]

import images  # noqa: E402
import job  # noqa: E402
import naive  # noqa: E402
import numpy_peer  # noqa: E402
import readme  # noqa: E402

SIZES = {"direct4k": 1, "frag": 1, "sparse": 1, "huge": 16}
MODULO = 1 << 64

# The kernel-shaped walk is built where its neighbours, the vectorised reads, can be.
WALKS = ["fastwalk", "numpy", "kernel"] if platform.machine() == "x86_64" else ["fastwalk", "numpy"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    before, images.FOLDER = images.FOLDER, tmp_path_factory.mktemp("images")
    yield images.FOLDER
    images.FOLDER = before


@pytest.fixture(params=SIZES)
def made(folder: Path, request: pytest.FixtureRequest) -> images.Made:
    return images.get(request.param, SIZES[request.param])


def space_of(made: images.Made) -> fw.AddressSpace:
    return fw.open(made.path).space(images.MODE, root=made.roots[0])


def sums(**columns: Any) -> dict[str, int]:
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    return {name: int(array.sum(dtype=np.uint64)) for name, array in arrays.items()}


@pytest.mark.parametrize("walk", WALKS)
def test_walks_give_the_answer_known_by_construction(made: images.Made, walk: str) -> None:
    answer = dict(made.answer)
    if walk == "kernel":
        from limits import limits

        found = limits.Map(made.path, images.SKIP).kernel_walk(made.roots[0], *made.indexes, True)
        checksum = sum(answer[name] for name in ("start", "size", "attributes")) % MODULO
        assert found[:3] == (answer["rows"], answer["leaves"], checksum)
    elif walk == "numpy":
        memory = numpy_peer.memory(made.path, images.SKIP)
        rows = numpy_peer.walk(memory, made.roots[0], made.start, made.end)
        assert (len(rows.start), numpy_peer.leaves(rows)) == (answer["rows"], answer["leaves"])
        columns = sums(start=rows.start, size=rows.size, pa=rows.pa, attributes=rows.flags)
        assert columns == {name: answer[name] for name in columns}
    else:
        maps = space_of(made).walk(made.start, made.end)
        count = space_of(made).count(made.start, made.end)
        assert (len(maps), count.leaves) == (answer["rows"], answer["leaves"])
        columns = sums(start=maps.start, size=maps.size, pa=maps.pa, attributes=maps.attributes)
        assert columns == {name: answer[name] for name in columns}


def test_numpy_walk_has_the_rows_of_fastwalk_one_by_one(made: images.Made) -> None:
    maps = space_of(made).walk(made.start, made.end)
    memory = numpy_peer.memory(made.path, images.SKIP)
    rows = numpy_peer.walk(memory, made.roots[0], made.start, made.end)
    assert (rows.start == np.asarray(maps.start)).all()
    assert (rows.size == np.asarray(maps.size)).all()
    assert (rows.pa == np.asarray(maps.pa)).all()
    assert (rows.flags == np.asarray(maps.attributes)).all()
    writable = (rows.effective & np.uint64(numpy_peer.WRITE)) != 0
    executable = (rows.effective & np.uint64(numpy_peer.NX)) == 0
    assert (writable == np.asarray(maps.writable)).all()
    assert (executable == np.asarray(maps.executable)).all()


class Memory:
    """An image's pages, for the naive walk."""

    def __init__(self, words: np.ndarray[Any, np.dtype[np.uint64]]) -> None:
        self.content = words.tobytes()

    def read(self, pa: int, n: int) -> bytes | None:
        return self.content[pa : pa + n] if pa + n <= len(self.content) else None


def random_tables(random: np.random.Generator) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Pages 0 to 40: nothing, a root, 4, 8, and page tables. Leaves at every depth but
    the first, other permissions at every depth, runs of a few entries."""
    words = np.zeros((40, 512), np.uint64)
    first = {1: (2, 6), 2: (6, 14), 3: (14, 40)}
    for page in range(1, 40):
        depth = 0 if page == 1 else next(d for d, (a, b) in first.items() if a <= page < b)
        flags = random.choice([0, 1, 3, 7, 0x63, 1 | 1 << 63, 3 | 1 << 63], 512)
        flags = np.repeat(flags, random.integers(1, 9, 512))[:512].astype(np.uint64)
        pages = random.integers(1 << 8, 1 << 20, 512, dtype=np.uint64) << np.uint64(30)
        if depth < 3:
            table = random.random(512) < (1 if depth == 0 else 0.05)
            below = random.integers(*first[depth + 1], 512).astype(np.uint64) << np.uint64(12)
            leaf = pages | np.uint64(0x80)
            pages = np.where(table, below, leaf)
            if depth == 0:
                flags[random.random(512) < 0.98] = 0
        words[page] = np.where(flags & np.uint64(1), pages | flags, np.uint64(0))
    return words


@pytest.mark.parametrize("seed", range(2))
def test_walks_against_the_naive_one(tmp_path: Path, seed: int) -> None:
    words = random_tables(np.random.default_rng(seed))
    path = tmp_path / "tables"
    path.write_bytes(bytes(images.SKIP) + words.tobytes())
    spec = fw.mode(images.MODE).spec
    for half, first, last in (("lower", 0, 255), ("upper", 256, 511)):
        end = 1 << 47 if half == "lower" else 1 << 64
        start = 0 if half == "lower" else end - (1 << 47)
        want = naive.walk(spec, Memory(words), 4096, None, start, end)
        memory = numpy_peer.memory(str(path), images.SKIP)
        rows = numpy_peer.walk(memory, 4096, start, end)
        assert want
        assert {row.kind for row in want} == {"leaf"}
        for name in ("start", "size", "pa", "depth"):
            assert vars(rows)[name].tolist() == [getattr(row, name) for row in want], name
        assert rows.flags.tolist() == [row.attributes for row in want]
        if "kernel" in WALKS:
            from limits import limits

            found = limits.Map(str(path), images.SKIP).kernel_walk(4096, first, last, True)
            total = sum(row.start + row.size + row.attributes for row in want) % MODULO
            assert found[:3] == (len(want), numpy_peer.leaves(rows), total)


def test_merged_by_address_as_peers_do_it(made: images.Made) -> None:
    if not made.contiguous or made.name == "huge":
        made = images.get("sparse", 1)
    maps = space_of(made).walk(made.start, made.end, coalesce="none")
    columns = (np.asarray(maps.start), np.asarray(maps.size), np.asarray(maps.pa))
    pages = zip(*(column.tolist() for column in columns), strict=True)
    found = job.sums(job.merged(pages))
    assert found == {name: made.contiguous[name] for name in found}


def test_fleet_of_few_processes(folder: Path) -> None:
    made = images.get("fleet", 1, processes=3)
    assert len(made.roots) == 3
    again = images.get("fleet", 1, processes=3)
    assert again == made
    rows = [fw.open(made.path).space(images.MODE, root=root).walk() for root in made.roots]
    assert sum(len(maps) for maps in rows) == made.answer["rows"]
    start = sum(int(np.asarray(maps.start).sum(dtype=np.uint64)) for maps in rows) % MODULO
    assert start == made.answer["start"]


@pytest.mark.parametrize(
    ("now", "status", "says"),
    [
        ({"a": 1.0, "b": 0.81}, 0, "2 ratios as before or better, 0 not"),
        ({"a": 1.0, "b": 0.79}, 1, "b: 1.000 before, 0.790 now"),
        ({"a": 1.0, "new": 3.0}, 1, "b: 1.000 before, not measured now"),
    ],
)
def test_stored_ratios(tmp_path: Path, now: dict[str, float], status: int, says: str) -> None:
    last, stored = tmp_path / "last.json", tmp_path / "stored.json"
    stored.write_text(json.dumps({"a": 1.0, "b": 1.0}))
    last.write_text(json.dumps(now))
    command = [sys.executable, str(BENCHES / "check.py"), "--last", str(last)]
    command += ["--stored", str(stored)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, says in done.stdout) == (status, True), done.stdout + done.stderr
    assert subprocess.run([*command, "--store"], check=True).returncode == 0
    assert json.loads(stored.read_text()) == now


def test_tables_are_put_between_their_marks(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- a -->\nold\n<!-- end of a -->\nafter\n")
    readme.put("a", "new | \\1", page)
    assert page.read_text() == "before\n<!-- a -->\nnew | \\1\n<!-- end of a -->\nafter\n"
    with pytest.raises(KeyError, match="no section b"):
        readme.put("b", "", page)
