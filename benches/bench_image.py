"""Images: opening them, walking a compressed one, looking for roots in all of one.

make bench BENCH='-k image'
"""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import images
import numpy as np
import pytest
from conftest import Tell
from limits import limits
from measure import check, in_turn

import fastwalk as fw
from fastwalk import _fastwalk
from fastwalk.arch import spec_of

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from oracle.kdump_writer import Kdump

PAGE = images.PAGE
SIZE = 4 * images.GIB
ALLOWED = 0.050
"""Seconds that opening may take beyond mapping."""
PROCESSES = 9

OPEN = """
import mmap, os, sys, time
import fastwalk
def map():
    file = os.open(sys.argv[1], os.O_RDONLY)
    mapping = mmap.mmap(file, 0, prot=mmap.PROT_READ)
    os.close(file)
    mapping.close()
map()
start = time.perf_counter(); map(); mapped = time.perf_counter() - start
start = time.perf_counter(); image = fastwalk.open(sys.argv[1])
print(time.perf_counter() - start - mapped)
assert image.format == sys.argv[2]
assert sum(segment.size for segment in image.segments) == int(sys.argv[3])
"""
"""Opens an image for the first time in its process."""


def sparse(path: Path, format: str) -> None:
    """4 GiB that take no room; of the kdump file, a million descriptors of one page."""
    if format == "kdump":
        path.write_bytes(Kdump([bytes([1]) * PAGE] * (SIZE // PAGE)).write())
        return
    head = images.elf_header([(0, PAGE, SIZE)]).ljust(PAGE, b"\0") if format == "elf" else b""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + SIZE)


@pytest.mark.parametrize("format", ["raw", "elf", "kdump"])
def test_image_open(format: str, tmp_path: Path, tell: Tell) -> None:
    """4 GiB, opened in a process of its own, beyond the mapping of the file."""
    path = tmp_path / format
    sparse(path, format)
    command = [sys.executable, "-c", OPEN, str(path), format, str(SIZE)]
    seconds = sorted(
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(PROCESSES)
    )
    spent = max(seconds[PROCESSES // 2], 1e-6)
    assert spent < ALLOWED
    what = f"times as fast as 50 ms beyond mapping; {spent * 1e3:.2f} ms"
    tell(f"open 4 GiB {format}", ALLOWED / spent, what)


def test_image_compressed(benchmark: Any, tell: Tell, tmp_path: Path) -> None:
    """A walk of a kdump-compressed image decompresses each page of tables once."""
    made = images.get("direct4k", 4)
    tables = np.memmap(made.path, np.uint8, "r", images.SKIP)
    pages = [bytes(tables[at : at + PAGE]) for at in range(0, len(tables), PAGE)]
    path = tmp_path / "vmcore"
    path.write_bytes(Kdump(pages).write())
    image = fw.open(path)
    space = image.space(images.MODE, root=made.roots[0])
    space.path(made.start)
    before = image.inner.loaded
    check(space.walk(made.start, made.end, threads=1), made)
    loaded = image.inner.loaded - before
    assert loaded == sum(made.tables)
    packed = [zlib.compress(pages[int(pa) // PAGE]) for pa in made.addresses()]

    def walk() -> None:
        space.walk(made.start, made.end, threads=1)

    def decompress() -> None:
        for page in packed:
            zlib.decompress(page)

    times = in_turn({"walk": walk, "zlib": decompress})
    benchmark.pedantic(walk, rounds=3)
    tell("kdump once", sum(made.tables) / loaded, f"pages of tables a decompression; {loaded}")
    tell("kdump walk", times.ratio("zlib", "walk"), "of decompressing alone (zlib, from Python)")


def memory(path: Path) -> tuple[Path, int, int]:
    """Half a gigabyte as a machine's memory is: page tables, zeros, text, pointers, noise.
    With the root and how many tables are below it."""
    made = images.get("direct4k", 16)
    tables = np.memmap(made.path, np.uint8, "r", images.SKIP)
    dice = np.random.default_rng(4)
    with path.open("wb") as file:
        file.write(tables)
        text = np.frombuffer((b"some words of a log, " * PAGE)[: 64 * PAGE], np.uint8)
        for _ in range((512 << 20) - len(tables) >> 20):
            kind = dice.choice(4, p=(0.4, 0.1, 0.2, 0.3))
            if kind == 0:
                file.write(bytes(1 << 20))
            elif kind == 1:
                file.write(np.tile(text, 4).tobytes())
            elif kind == 2:
                pointers = dice.integers(0, 1 << 30, (1 << 20) // 8, np.uint64)
                file.write((pointers * np.uint64(8) + np.uint64(images.DIRECT)).tobytes())
            else:
                file.write(dice.bytes(1 << 20))
    return path, made.roots[0], sum(made.tables) - 1


@pytest.mark.parametrize("threads", [1, 2])
def test_image_roots(threads: int, benchmark: Any, tell: Tell, tmp_path: Path) -> None:
    """The look for roots at every place of a cached image, against plainly reading it."""
    path, root, below = memory(tmp_path / "memory")
    image = fw.open(path, format="raw")
    spec = spec_of(images.MODE)
    plan = _fastwalk.Plan(spec)
    # As detection has it for x86: what all table entries of Linux have.
    table_bits = (0x19B, 0x3)
    size = path.stat().st_size
    pages = np.arange(0, size, PAGE, dtype=np.uint64).tobytes()
    everything = limits.Map(str(path), 0)

    def scan() -> list[tuple[int, int, int, int, bool]]:
        return _fastwalk.roots(image.inner, plan, spec.root_align, table_bits, threads=threads)

    found = [one for one in scan() if not one[4]]
    assert [(one[0], one[1]) for one in found] == [(root, below)]

    def read() -> float:
        seconds: float = everything.read(pages, PAGE, "avx512", threads, False)[1]
        return seconds

    times = in_turn({"scan": lambda: scan() and None, "read": read})
    benchmark.pedantic(scan, rounds=3)
    speed = size / times.median("scan") / 1e9
    tell(f"roots x{threads}", times.ratio("read", "scan"), f"of plain reading; {speed:.1f} GB/s")
