"""Differences: on tables made for them, and between boots of real kernels."""

from __future__ import annotations

import json
from pathlib import Path

import golden_cases
import numpy as np
import pytest

import fastwalk
from fastwalk.analysis.diff import Diff
from fastwalk.cli import run
from fastwalk.mappings import LEAF, Mappings
from fastwalk.origin import Origin, Walked
from fastwalk.space import Coalesce

RW, NX, PS = 2, 1 << 63, 0x80
SPEC = fastwalk.mode("x86_64-4level").spec
BASE = 0xFFFF_8000_0000_0000


def golden(name: str, view: str | None = None) -> Mappings:
    case = golden_cases.Case(name)
    image = fastwalk.open(case.files["tables.elf"], layout=case.layout)
    return image.space(view=view).walk_physical()


def rows(*given: tuple[int, int, int, int], depth: int = 3) -> Mappings:
    """Leaves of (start, size, pa, attributes), as a physical walk has them."""
    start, size, pa, attributes = (np.array([row[i] for row in given], np.uint64) for i in range(4))
    writable = (attributes & np.uint64(RW)) != 0
    code = (attributes & np.uint64(NX)) == 0
    columns = {
        "start": start,
        "size": size,
        "pa": pa,
        "attributes": attributes | np.uint64(1),
        "effective": (1 + 2 * writable + 4 * code).astype(np.uint8),
        "depth": np.full(len(given), depth, np.uint8),
        "kind": np.full(len(given), LEAF, np.uint8),
    }
    layout = golden_cases.Case("x86_64-6.12-4level").layout
    walked = Walked("kernel", SPEC.name, 0x1000, "both", "kernel", "kernel")
    return Mappings(columns, SPEC, origin=Origin("made", layout, (walked,), "physical"))


def told(found: Diff) -> list[tuple[str, int, int]]:
    return [(change.change, change.start, change.size) for change in found]


def test_nothing_changed() -> None:
    maps = rows((BASE, 0x3000, 0x1000, RW | NX))
    found = fastwalk.diff(maps, maps)
    assert len(found) == 0
    assert found.summary() == "no change"


def test_each_kind_of_change() -> None:
    a = rows(
        (BASE, 0x4000, 0x10000, RW | NX),
        (BASE + 0x8000, 0x1000, 0x20000, NX),
        (BASE + 0xA000, 0x2000, 0x30000, NX),
    )
    b = rows(
        (BASE, 0x1000, 0x10000, RW | NX),
        (BASE + 0x1000, 0x1000, 0x11000, RW),
        (BASE + 0x2000, 0x2000, 0x12000, RW | NX),
        (BASE + 0x9000, 0x1000, 0x21000, NX),
        (BASE + 0xA000, 0x2000, 0x50000, NX),
    )
    found = fastwalk.diff(a, b)
    assert told(found) == [
        ("attributes", BASE + 0x1000, 0x1000),
        ("gone", BASE + 0x8000, 0x1000),
        ("appeared", BASE + 0x9000, 0x1000),
        ("moved", BASE + 0xA000, 0x2000),
    ]
    text = "\n".join(found.lines())
    assert "rw---- P RW NX -> rwx--- P RW" in text
    assert "0x30000 -> 0x50000" in text
    back = fastwalk.diff(b, a)
    names = {"appeared": "gone", "gone": "appeared"}
    assert [names.get(c.change, c.change) for c in back] == [c.change for c in found]


def test_a_split_page_is_no_change() -> None:
    large = rows((BASE, 0x20_0000, 0x40_0000, RW | NX | PS), depth=2)
    small = rows(
        (BASE, 0x10_0000, 0x40_0000, RW | NX), (BASE + 0x10_0000, 0x10_0000, 0x50_0000, RW | NX)
    )
    assert len(fastwalk.diff(large, small)) == 0
    other = rows((BASE, 0x20_0000, 0x40_0000, NX))
    assert told(fastwalk.diff(large, other)) == [("attributes", BASE, 0x20_0000)]


def test_memory_types_are_attributes_at_any_depth() -> None:
    large = rows((BASE, 0x20_0000, 0x40_0000, RW | NX | PS | 1 << 12), depth=2)
    assert len(fastwalk.diff(large, rows((BASE, 0x20_0000, 0x40_0000, RW | NX)))) == 0
    pat = rows((BASE, 0x20_0000, 0x40_0000, RW | NX | 0x80 | 0x10))
    assert told(fastwalk.diff(large, pat)) == [("attributes", BASE, 0x20_0000)]


def test_the_last_page_of_all() -> None:
    top = (1 << 64) - 0x1000
    a, b = rows((top, 0x1000, 0x1000, NX)), rows((BASE, 0x1000, 0x1000, NX))
    assert told(fastwalk.diff(a, b)) == [("appeared", BASE, 0x1000), ("gone", top, 0x1000)]


def test_a_given_shift() -> None:
    a = rows((BASE, 0x1000, 0x1000, NX), (BASE + 0x5000, 0x1000, 0x9000, NX))
    b = rows((BASE + 0x2000, 0x1000, 0x3000, NX), (BASE + 0x7000, 0x1000, 0x9000, RW | NX))
    found = fastwalk.diff(a, b, shift=0x2000)
    assert told(found) == [("attributes", BASE + 0x5000, 0x1000)]
    assert next(iter(found)).start_after == BASE + 0x7000


def test_sweep_agrees_with_page_by_page() -> None:
    random = np.random.default_rng(7)

    def made() -> tuple[Mappings, dict[int, tuple[int, int]]]:
        pages, given, at = {}, [], 0
        while at < 200:
            at += int(random.integers(0, 3))
            size = int(random.integers(1, 5))
            pa = int(random.integers(1, 3)) * 0x10_0000 + at * 0x1000
            attributes = int(random.choice([NX, NX | RW, 0]))
            given.append((BASE + at * 0x1000, size * 0x1000, pa, attributes))
            for page in range(size):
                pages[at + page] = (attributes, pa + page * 0x1000)
            at += size
        return rows(*given), pages

    for _ in range(30):
        (a, pages_a), (b, pages_b) = made(), made()
        want = {}
        for page in pages_a.keys() | pages_b.keys():
            one, other = pages_a.get(page), pages_b.get(page)
            if one is None or other is None:
                want[page] = "appeared" if one is None else "gone"
            elif one != other:
                want[page] = "moved" if one[0] == other[0] else "attributes"
        got: dict[int, str] = {}
        for change in fastwalk.diff(a, b):
            first = (change.start - BASE) >> 12
            got |= dict.fromkeys(range(first, first + (change.size >> 12)), change.change)
        assert got == want


def test_two_boots_with_kaslr_show_no_layout_noise() -> None:
    """Only the random layout differs between these two; the processes that happened to be
    current differ by one page of stack."""
    one, other = "x86_64-6.12-kaslr-pti", "x86_64-6.12-kaslr-pti-b"
    found = fastwalk.diff(golden(one), golden(other))
    assert told(found) == []
    assert set(found.shifts) == {"Low Kernel Mapping", "vmalloc() Area", "Vmemmap"}
    for view in ("current_kernel", "current_user"):
        changes = list(fastwalk.diff(golden(one, view), golden(other, view)))
        assert [(c.change, c.section, c.size) for c in changes] == [
            ("amount", "User Space", 0x1000)
        ]


def test_kaslr_hides_no_planted_page() -> None:
    a, b = golden("x86_64-6.12-kaslr-pti"), golden("x86_64-6.12-kaslr-pti-b")
    columns = b.columns
    vmalloc = 0xFFFF_A45A_8000_0000
    at = int(np.searchsorted(b.start, np.uint64(vmalloc)))
    columns["attributes"] = columns["attributes"].copy()
    columns["effective"] = columns["effective"].copy()
    columns["attributes"][at] &= np.uint64(NX - 1)
    columns["effective"][at] |= 4
    planted = Mappings(columns, b.spec, origin=b.origin)
    (change,) = fastwalk.diff(a, planted)
    assert (change.change, change.section) == ("attributes", "vmalloc() Area")
    assert change.start_after == vmalloc
    assert change.after.startswith("rwx")


@pytest.mark.parametrize("name", golden_cases.names())
def test_a_kernel_does_not_differ_from_itself(name: str) -> None:
    case = golden_cases.Case(name)
    for view in case.layout.views:
        maps = golden(name, view)
        for kaslr in (False, True):
            assert len(fastwalk.diff(maps, maps, kaslr=kaslr)) == 0


def test_other_machines_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        fastwalk.diff(golden("x86_64-6.12-4level"), golden("s390x-6.12"))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = []
    for name in ("x86_64-6.12-4level", "x86_64-6.12-wx"):
        (tmp_path / name).mkdir()
        golden_cases.Case(name).extract(tmp_path / name)
        images.append(tmp_path / name)
    a, b = images
    arguments = [
        "diff", str(a / "tables.elf"), str(b / "tables.elf"),
        "--layout", str(a / "layout.json"), "--after-layout", str(b / "layout.json"),
    ]  # fmt: skip
    assert run(arguments) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("--- ")
    assert lines[1].startswith("+++ ")
    assert any(line.startswith("+ ") and "rwx" in line for line in lines)
    assert run([*arguments, "--format", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert {change["change"] for change in document["changes"]} >= {"appeared", "attributes"}
    same = ["diff", str(a / "tables.elf"), str(a / "tables.elf")]
    same += ["--layout", str(a / "layout.json"), "--after-layout", str(a / "layout.json")]
    assert run(same) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "# no change"


def test_given_shifts_are_as_good_as_found_ones() -> None:
    a, b = golden("x86_64-6.12-kaslr-pti"), golden("x86_64-6.12-kaslr-pti-b")
    found = fastwalk.diff(a, b)
    assert len(found) == 0
    assert set(found.shifts) == {"Low Kernel Mapping", "vmalloc() Area", "Vmemmap"}
    given = fastwalk.diff(a, b, shift=found.shifts)
    assert (len(given), given.shifts) == (0, found.shifts)
    # The kernel's image, too, as its symbols may have told, and signed.
    image = {"High Kernel Mapping": -0x100_0000}
    assert len(fastwalk.diff(a, b, shift=image)) == 0
    with pytest.raises(ValueError, match="no section 'Nowhere' to shift"):
        fastwalk.diff(a, b, shift={"Nowhere": 1})
    with pytest.raises(ValueError, match="out of the address space"):
        fastwalk.diff(a, b, shift={"User Space": 1 << 62})


def test_a_section_that_was_given_a_shift() -> None:
    a = rows((BASE, 0x1000, 0x1000, NX), (BASE + 0x5000, 0x1000, 0x9000, NX))
    b = rows((BASE + 0x2000, 0x1000, 0x3000, NX), (BASE + 0x7000, 0x1000, 0x9000, RW | NX))
    (name,) = {change.section for change in fastwalk.diff(a, b)}
    found = fastwalk.diff(a, b, shift={name: 0x2000}, kaslr=False)
    assert told(found) == [("attributes", BASE + 0x5000, 0x1000)]
    assert next(iter(found)).start_after == BASE + 0x7000


def test_the_command_takes_shifts_of_sections(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for name in ("x86_64-6.12-kaslr-pti", "x86_64-6.12-kaslr-pti-b"):
        (tmp_path / name).mkdir()
        files.append(golden_cases.Case(name).extract(tmp_path / name))
    diff = ["diff", *(str(f / "tables.elf") for f in files)]
    diff += ["--layout", str(files[0] / "layout.json")]
    diff += ["--after-layout", str(files[1] / "layout.json")]
    assert run([*diff, "--shift", "Vmemmap=-0x183700000000"]) == 0
    assert "# Vmemmap is -0x183700000000 away" in capsys.readouterr().out
    assert run([*diff, "--shift", "Vmemmap=1", "--shift", "1"]) == 2
    assert "one for everything, or one a section" in capsys.readouterr().err


@pytest.mark.parametrize("coalesce", ["attributes", "physical", "none"])
def test_two_boots_have_no_layout_noise_whatever_is_one_row(coalesce: Coalesce) -> None:
    walks = []
    for name in ("x86_64-6.12-kaslr-pti", "x86_64-6.12-kaslr-pti-b"):
        case = golden_cases.Case(name)
        image = fastwalk.open(case.files["tables.elf"], layout=case.layout)
        walks.append((image.kernel().walk(coalesce=coalesce), image.space(view="current_kernel")))
    (a, process_a), (b, process_b) = walks
    assert len(fastwalk.diff(a, b)) == 0
    # A process of these boots has touched one more page of its stack.
    found = fastwalk.diff(process_a.walk(coalesce=coalesce), process_b.walk(coalesce=coalesce))
    assert [(one.change, one.section, one.size) for one in found] == [
        ("amount", "User Space", 4096)
    ]


def test_decoded_columns() -> None:
    found = fastwalk.diff(golden("x86_64-6.12-4level"), golden("x86_64-6.12-wx"))
    frame = found.to_arrow(decoded=True).to_pydict()
    changes = list(found)
    assert frame["section"] == [change.section for change in changes]
    for change, before, after in zip(changes, frame["before"], frame["after"], strict=True):
        assert change.before in ("", before)
        assert change.after in ("", after)
    nothing = fastwalk.diff(golden("x86_64-6.12-wx"), golden("x86_64-6.12-wx"))
    assert nothing.to_arrow(decoded=True).num_rows == 0


def test_a_kernel_that_lies_elsewhere_among_other_areas() -> None:
    """arm64's image has no markers of its own."""
    a = golden("arm64-6.12-4k-48")
    layout = golden_cases.Case("arm64-6.12-4k-48").case["values"]
    first, end = (np.uint64(int(layout[name], 16)) for name in ("_text", "_end"))
    columns = a.columns
    image = (columns["start"] >= first) & (columns["start"] < end)
    assert (image & a.executable).any()
    start = columns["start"].copy()
    start[image] += np.uint64(0x1200_0000)
    order = np.argsort(start, kind="stable")
    moved = {name: column[order] for name, column in (columns | {"start": start}).items()}
    b = Mappings(moved, a.spec, origin=a.origin)
    found = fastwalk.diff(a, b)
    assert not found.judged_moves
    assert len(found) == 0
    assert len(fastwalk.diff(a, b, kaslr=False)) > 0
    assert fastwalk.diff(a, a).judged_moves
