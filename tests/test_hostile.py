"""Images made to hurt: each is answered within a second of processor time and 200 MB, with
the right rows or with a typed error that gives their exact number."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import builder
import elfwriter
import naive
import pytest

import fastwalk as fw
from fastwalk import arch
from fastwalk.errors import FastwalkError, ImageError, RowBudgetError
from fastwalk.layout import Kasan, Layout, Marker, Root, View
from fastwalk.space import AddressSpace, Coalesce

SECONDS = 1.0
MEGABYTES = 200
PAGE = 4096
TABLE = 0x67
"""x86: present, writable, user, accessed, dirty; at the last depth a page of that sort."""
READ_ONLY = 0x65
KEYS: tuple[Coalesce, ...] = ("attributes", "physical", "none")

Answer = dict[str, Any]
CASES: dict[str, Callable[[], Answer]] = {}


def case(function: Callable[[], Answer]) -> Callable[[], Answer]:
    """Something that a process of its own does, timed and measured."""
    CASES[function.__name__] = function
    return function


def child(name: str) -> None:
    """What the process does."""
    started = time.process_time()
    answer = CASES[name]()
    answer["seconds"] = time.process_time() - started
    answer["megabytes"] = most_memory()
    print(json.dumps(answer))


def most_memory() -> float:
    """Megabytes that this process has had resident at most. (getrusage also counts what its
    parent had when it was started.)"""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if "VmHWM" in line)


def run(name: str) -> Answer:
    """The answer of a case, within the limits."""
    tests = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": f"{tests}{os.pathsep}{tests.parent / 'python'}"}
    code = f"import test_hostile; test_hostile.child({name!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    answer: Answer = json.loads(done.stdout)
    assert answer.pop("seconds") < SECONDS
    assert answer.pop("megabytes") < MEGABYTES
    return answer


def words(entries: Iterator[int] | list[int]) -> bytes:
    return b"".join(entry.to_bytes(8, "little") for entry in entries)


def raw(tables: list[bytes], base: int = 0, mode: str = "x86_64-4level") -> AddressSpace:
    image = fw.open(b"".join(tables), format="raw", base=base)
    return image.space(mode, root=base)


def outcome(space: AddressSpace, **options: Any) -> Answer:
    """Rows of each key, or what the error says of them, and what count says."""
    result: Answer = {}
    for key in KEYS:
        count = space.count(coalesce=key)
        try:
            rows = len(space.walk(coalesce=key, **options))
            result[key] = ["rows", rows, count.rows, count.leaves]
        except RowBudgetError as error:
            result[key] = ["budget", error.rows, count.rows, count.leaves]
    return result


@case
def self_reference() -> Answer:
    """One page: 512 entries, all of them itself."""
    return outcome(raw([words([TABLE] * 512)]))


def test_a_table_that_is_all_itself() -> None:
    assert run("self_reference") == {
        "attributes": ["rows", 2, 2, 1 << 36],
        "physical": ["budget", 1 << 36, 1 << 36, 1 << 36],
        "none": ["budget", 1 << 36, 1 << 36, 1 << 36],
    }


def shared_tree(last: list[int]) -> list[bytes]:
    """Three tables whose every entry is the next one, and a last one."""
    return [*(words([(depth + 1) * PAGE | TABLE] * 512) for depth in range(3)), words(last)]


@case
def shared_tables() -> Answer:
    """2^27 tables by reference, each mapping the same 2 MiB: 2^27 and 2^36 rows."""
    return outcome(raw(shared_tree([index * PAGE | TABLE for index in range(512)])))


def test_512_way_trees_of_shared_tables() -> None:
    assert run("shared_tables") == {
        "attributes": ["rows", 2, 2, 1 << 36],
        "physical": ["budget", 1 << 27, 1 << 27, 1 << 36],
        "none": ["budget", 1 << 36, 1 << 36, 1 << 36],
    }


def striped() -> list[int]:
    """No two neighbours are alike."""
    return [index * PAGE | (TABLE, READ_ONLY)[index % 2] for index in range(512)]


@case
def striped_tables() -> Answer:
    space = raw(shared_tree(striped()))
    answer = outcome(space)
    lines = space.count(coalesce="ptdump").rows
    try:
        space.ptdump()
    except RowBudgetError as error:
        answer["ptdump"] = [error.rows, lines]
    return answer


def test_striped_tables() -> None:
    answer = run("striped_tables")
    # Lines go on over the canonical hole, and the last of the lower half is the first of
    # the upper one's sort no more than any other two neighbours.
    assert answer.pop("ptdump") == [1 << 36, 1 << 36]
    assert answer == {key: ["budget", 1 << 36, 1 << 36, 1 << 36] for key in KEYS}


@case
def truncated() -> Answer:
    space = raw(shared_tree(striped()))
    answer: Answer = {}
    for threads in (1, 2):
        maps = space.walk(coalesce="none", budget=100_000, truncate=True, threads=threads)
        first = [(row.start, row.pa) for row in maps[:513]]
        answer[str(threads)] = [len(maps), maps.complete, first[511], first[512]]
        answer[f"last {threads}"] = int(maps.start[-1])
    whole = space.walk(0, 100_000 * PAGE, coalesce="none")
    answer["whole"] = [len(whole), whole.complete, int(whole.start[-1])]
    return answer


def test_the_first_rows_of_too_many() -> None:
    answer = run("truncated")
    first = [100_000, False, [511 * PAGE, 511 * PAGE], [512 * PAGE, 0]]
    assert answer["1"] == answer["2"] == first
    assert answer["whole"] == [100_000, True, 99_999 * PAGE]
    assert answer["last 1"] == answer["last 2"] == 99_999 * PAGE


@case
def absent_below() -> Answer:
    """2^27 references to tables that are not there."""
    tables = shared_tree([])[:2]
    return outcome(raw([*tables, words([1 << 40 | TABLE] * 512)])) | {
        "absent": raw([*tables, words([1 << 40 | TABLE] * 512)]).count().absent
    }


def test_tables_outside_of_the_image() -> None:
    assert run("absent_below") == {
        "attributes": ["rows", 2, 2, 0],
        "physical": ["budget", 1 << 27, 1 << 27, 0],
        "none": ["budget", 1 << 27, 1 << 27, 0],
        "absent": 1 << 27,
    }


def inward(chance: random.Random, pages: int, spread: int) -> list[bytes]:
    """Random tables that mostly point to each other, `spread` different ones each."""
    tables = []
    for _ in range(pages):
        targets = [chance.randrange(pages) * PAGE for _ in range(spread)]
        flags = [chance.getrandbits(12) & ~0x80 | chance.getrandbits(1) << 63 for _ in range(8)]
        tables.append(words([chance.choice(targets) | chance.choice(flags) for _ in range(512)]))
    return tables


@case
def random_bytes() -> Answer:
    """8 MiB of noise."""
    blob = random.Random(1).randbytes(8 << 20)
    answer: Answer = {}
    for mode in ("x86_64-4level", "arm64-4k-48", "riscv64-sv57", "s390x-region1", "i386-pae"):
        space = fw.open(blob, format="raw").space(mode, root=0)
        answer[mode] = outcome(space)
        try:
            answer[mode]["ptdump"] = ["rows", len(space.ptdump().splitlines())]
        except RowBudgetError as error:
            answer[mode]["ptdump"] = ["budget", error.rows]
    return answer


def test_random_bytes_as_tables() -> None:
    answer = run("random_bytes")
    for mode, keys in answer.items():
        assert keys.pop("ptdump")[1] > 0, mode
        for key, (_, rows, counted, _) in keys.items():
            assert rows == counted, (mode, key)
            assert rows > 0, (mode, key)


@case
def random_tables() -> Answer:
    """2 MiB of tables that point to each other at random."""
    space = raw(inward(random.Random(2), 512, 64))
    return outcome(space)


def test_random_tables_that_point_to_each_other() -> None:
    answer = run("random_tables")
    for what, rows, counted, leaves in answer.values():
        assert what == "budget"
        assert rows == counted > 1 << 26
        assert leaves > rows // 2
    assert answer["attributes"][1] < answer["physical"][1] <= answer["none"][1]


@case
def every_mode() -> Answer:
    """A root that is all itself, in every mode that has tables."""
    answer: Answer = {}
    for mode in arch.modes():
        spec = arch.spec_of(mode)
        root = spec.depths[0]
        rule = next(rule for rule in root.rules if rule.kind == "table")
        reach = builder.highest(spec, 0)
        base = max(spec.root_align, builder.table_bytes(root), reach & -reach)
        # All bits set where that is a table; on x86 it would be a huge page.
        tries = [(1 << 8 * root.entry_bytes) - 1, TABLE]
        made = (builder.synthesize(root, rule, noise, base) for noise in tries)
        entry = next(entry for entry in made if entry is not None)
        table = builder.pack(root, [entry] * (1 << root.index_bits))
        data = table * max(1, (64 << 10) // len(table) + 1)
        space = fw.open(data, format="raw", base=base).space(mode, root=base)
        counts = [space.count(coalesce=key).rows for key in KEYS]
        answer[mode] = counts
        assert counts[0] <= counts[1] <= counts[2], (mode, counts)
    return answer


def test_a_self_reference_in_every_mode() -> None:
    answer = run("every_mode")
    assert answer.keys() == set(arch.modes())


def view_of(markers: list[Marker], kasan: Kasan | None = None, mode: str = "") -> Layout:
    spec = arch.spec_of(mode or "x86_64-4level")
    ranges = tuple((w.base, w.base + w.size - 1) for w in spec.halves[0].windows)
    return Layout(
        arch=spec.arch,
        mode=spec.name,
        kernel="6.12.117",
        page_size=PAGE,
        roots={"root": Root(0, "kernel")},
        views={"view": View("root", ranges, tuple(markers))},
        default_view="view",
        kasan=kasan,
    )


@case
def early_shadow_cycle() -> Answer:
    """Early shadow tables that are each other, and all of the tables."""
    answer: Answer = {}
    shadow = {"p4d": 0, "pud": 0, "pmd": 0, "pte": 0}
    for mode in ("x86_64-4level", "x86_64-5level", "riscv64-sv57"):
        entry = TABLE if mode.startswith("x86") else 1
        kasan = Kasan(early_shadow=shadow, pte0=0x63)
        layout = view_of([Marker(0, "first"), Marker(1 << 40, "second")], kasan, mode)
        space = fw.open(words([entry] * 512), format="raw", layout=layout).kernel()
        text = space.ptdump()
        answer[mode] = [len(text.splitlines()), space.count(coalesce="ptdump").rows]
    return answer


def test_early_shadow_tables_that_contain_themselves() -> None:
    for lines, rows in run("early_shadow_cycle").values():
        assert 0 < rows < 1000
        assert rows <= lines <= rows + 2


def flooded(shuffled: bool) -> AddressSpace:
    """20,000 markers, half of them behind the walk from the start, over 2^36 notes."""
    chance = random.Random(3)
    addresses = sorted(chance.randrange(1 << 47) for _ in range(10_000))
    given = chance.sample(addresses, len(addresses)) if shuffled else [0] * 10_000 + addresses
    layout = view_of([Marker(address, "m") for address in given])
    return fw.open(words([TABLE] * 512), format="raw", layout=layout).kernel()


@case
def markers_counted() -> Answer:
    return {"rows": flooded(False).count(coalesce="ptdump").rows}


@case
def markers_walked() -> Answer:
    return {"rows": len(flooded(False).walk(coalesce="ptdump"))}


@case
def markers_shuffled() -> Answer:
    return {"rows": len(flooded(True).walk(coalesce="ptdump"))}


def test_markers_without_number() -> None:
    # One cut for each marker, and the end of the walk.
    assert run("markers_counted") == run("markers_walked") == {"rows": 20_000}
    assert run("markers_shuffled")["rows"] <= 10_001


@case
def lookups() -> Answer:
    space = raw([words([TABLE] * 512)])
    tables = space.tables()
    path = space.path(0xFFFF_FFFF_FFFF_F123)
    return {
        "tables": [len(tables), tables.references.tolist()],
        "path": [path.pa, len(path.steps)],
        "read": space.read(0x7FFF_FFFF_F000, 8).hex(),
    }


def test_lookups_in_a_table_that_is_all_itself() -> None:
    assert run("lookups") == {
        "tables": [4, [1, 512, 512, 512]],
        "path": [0x123, 4],
        "read": TABLE.to_bytes(8, "little").hex(),
    }


@pytest.mark.parametrize("root", [PAGE, 1 << 40, (1 << 64) - PAGE])
def test_a_root_outside_of_the_image(root: int) -> None:
    image = fw.open(words([TABLE] * 512), format="raw")
    with pytest.raises(ImageError, match=rf"root table at {root:#x} .*right root\?$") as caught:
        image.space("x86_64-4level", root=root)
    assert "\n" not in str(caught.value)


def test_a_table_in_a_truncated_last_page(tmp_path: Path) -> None:
    tables = b"".join(shared_tree([index * PAGE | TABLE for index in range(512)]))
    path = tmp_path / "cut.raw"
    path.write_bytes(tables[:-1])
    space = fw.open(path, format="raw").space("x86_64-4level", root=0)
    maps = space.walk(0, 1 << 21)
    assert [(row.kind, row.pa, row.depth) for row in maps] == [("absent", 3 * PAGE, 3)]
    assert not maps.complete
    assert space.count(coalesce="none").absent == 1 << 27
    assert space.path(0).status == "absent"


def test_nothing_at_all(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    for source in (path, b"", memoryview(b"")):
        with pytest.raises(FastwalkError, match="empty") as caught:
            fw.open(source)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("skew", [1, 2, 3, 5, 7, 12])
@pytest.mark.parametrize("mode", ["x86_64-4level", "arm-short", "s390x-region3", "i386-2level"])
def test_tables_at_odd_offsets(mode: str, skew: int) -> None:
    spec = arch.spec_of(mode)
    image = builder.build(spec, random.Random(f"{mode} {skew}"), [2] * (len(spec.depths) - 1), 6)
    opened = fw.open(elfwriter.core(image.segments, skew=skew))
    space = opened.space(mode, root=image.root)
    want = naive.walk(spec, image.memory, image.root, coalesce="physical")
    got = [tuple(row)[:7] for row in space.walk(coalesce="physical")]
    assert got == [tuple(row) for row in want]
