"""Roots without a word from a kernel: the recorded tables alone, and images that only
look like tables."""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path

import elfwriter
import golden_cases
import pytest
from golden_cases import Case

import fastwalk as fw
from fastwalk import _fastwalk, arch
from fastwalk.detect import NotDetected, detect

# The whole root cannot be told from the part of it that the register points to.
NAMES = [
    name
    for name in golden_cases.names()
    if not any(root.index_va_bits for root in Case(name).layout.roots.values())
]
ENTRIES = 512


@pytest.mark.parametrize(
    "name",
    [
        "arm64-6.12-16k-47",
        "arm64-6.12-64k-52-a57-48",
        "arm64-6.12-64k-52",
        "riscv64-6.12-sv39",
        "x86_64-6.12-la57",
    ],
)
def test_raw_tables_that_begin_anywhere(name: str, tmp_path: Path) -> None:
    """No kernel, no notes, no address: the tables lead to one another."""
    wanted = Case(name).layout
    segments = Case(name).memory.memory.segments
    base = segments[0][0] & -(1 << 28)
    with (tmp_path / "raw").open("wb") as file:
        for pa, data in segments:
            file.seek(pa - base)
            file.write(data)
    image = fw.open(tmp_path / "raw")
    found = image.layout
    root, other = (layout.root(layout.view().root) for layout in (found, wanted))
    assert (found.mode, root.pa, root.index_va_bits) == (
        wanted.mode,
        other.pa,
        other.index_va_bits,
    )
    assert image.segments[0].pa == base


def bare(case: Case) -> _fastwalk.Image:
    """The tables of a case, without its VMCOREINFO."""
    data = case.files["tables.elf"].replace(b"OSRELEASE=", b"NOT_HERE==")
    image = _fastwalk.open_bytes(data)
    assert image.vmcoreinfo is None or "OSRELEASE" not in image.vmcoreinfo
    return image


@pytest.mark.parametrize("name", NAMES)
def test_mode_and_roots_from_the_tables(name: str) -> None:
    case = Case(name)
    found = detect(bare(case)).layout
    wanted = case.layout
    assert found.mode == wanted.mode
    roots = {root.pa for root in found.roots.values()}
    assert {r.pa for r in wanted.roots.values() if wanted.mode_of(r) == found.mode} <= roots
    # Which of them is the kernel's own, unless there is another without user memory.
    if "efi_mm" not in wanted.roots:
        top = found.root(found.view().root)
        assert top.pa == wanted.root(wanted.view().root).pa


@pytest.mark.parametrize("name", ["x86_64-6.12-4level", "arm64-6.12-4k-48", "s390x-6.12"])
def test_what_is_assumed_is_said(name: str) -> None:
    found = detect(bare(Case(name)))
    assert len(found.warnings) == 1
    for word in ("no Linux kernel", found.layout.mode, "--layout"):
        assert word in found.warnings[0]
    assert all("of its entries are user memory" in space.evidence for space in found.spaces)


def scan(pages: list[bytes], mode: str = "x86_64-4level") -> list[tuple[int, int, int, int, bool]]:
    spec = arch.spec_of(mode)
    image = _fastwalk.open_bytes(b"".join(pages), format="raw")
    return _fastwalk.roots(image, _fastwalk.Plan(spec), spec.root_align)


def page(**entries: int) -> bytes:
    table = [0] * ENTRIES
    for index, entry in entries.items():
        table[int(index[1:])] = entry
    return struct.pack(f"<{ENTRIES}Q", *table)


TREE = [
    page(),
    page(_0=0x2003, _511=0x2003),
    page(_0=0x3003),
    page(_1=0x4003),
    page(_7=0x5003, _8=0x0003),
    b"some memory".ljust(4096, b"\x5a"),
]


def test_a_small_tree() -> None:
    (root, *_) = [one for one in scan(TREE) if not one[4]]
    assert root == (0x1000, 6, 4, 4, False)


def test_a_table_that_contains_itself_is_a_root() -> None:
    pages = [*TREE]
    pages[1] = page(_0=0x2003, _510=0x1003)
    found = {one[0]: one for one in scan(pages)}
    assert not found[0x1000][4]


def test_a_root_at_the_end_of_the_image_and_across_blocks() -> None:
    far = bytes(513 << 10)
    moved = [far[: 1 << 19], *TREE[:1]]
    at = 1 << 19
    tree = [
        page(_0=at + 0x2003),
        page(_0=at + 0x3003),
        page(_0=at + 0x4003),
        page(_0=0x0003),
    ]
    found = scan([*moved, *tree, page(_5=at + 0x2003)])
    assert at + 0x5000 in {one[0] for one in found if not one[4]}


def test_a_root_that_begins_with_zeros_that_the_file_leaves_out() -> None:
    case = Case("arm-6.12-short")
    root = case.layout.root(case.layout.view().root).pa
    segments: list[tuple[int, bytes | int]] = []
    for pa, data in case.memory.memory.segments:
        for at in range(0, len(data), 4096):
            part = data[at : at + 4096]
            segments.append((pa + at, part if any(part) else len(part)))
    assert isinstance(dict(segments)[root], int)
    image = _fastwalk.open_bytes(elfwriter.core(segments, "arm"))
    spec = arch.spec_of(case.layout.mode)
    found = _fastwalk.roots(image, _fastwalk.Plan(spec), spec.root_align)
    assert root in {one[0] for one in found if not one[4]}


@pytest.mark.parametrize("mode", arch.modes())
def test_noise_has_no_roots(mode: str) -> None:
    noise = random.Random(5).randbytes(1 << 20)
    assert scan([noise], mode) == [] or mode.startswith(("arm-short", "i386-2level"))


@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"\x03", b"\x63\x10\0\0\0\0\0\0"])
def test_uniform_memory_ends_soon(fill: bytes) -> None:
    start = time.perf_counter()
    scan([fill * ((8 << 20) // len(fill))])
    assert time.perf_counter() - start < 5


def test_an_image_of_nothing_but_tables_ends_soon() -> None:
    """Every page leads to 512 others, so every page is a root, four depths deep."""
    count = 2048
    noise = random.Random(7)
    pages = [
        struct.pack(f"<{ENTRIES}Q", *(noise.randrange(count) << 12 | 3 for _ in range(ENTRIES)))
        for _ in range(count)
    ]
    start = time.perf_counter()
    found = scan(pages)
    assert time.perf_counter() - start < 20
    assert len(found) == count
    assert all(one[4] for one in found)


def test_nothing_that_reads_as_tables() -> None:
    with pytest.raises(NotDetected):
        detect(_fastwalk.open_bytes(random.Random(6).randbytes(1 << 20), format="raw"))
