"""Whole walks, from opening to columns, against reading the tables and writing the
columns, and against the kernel's own algorithm.

    make bench BENCH='-k walk'
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import images
import numpy as np
import numpy_peer
import pytest
from conftest import Tell, sized
from limits import limits
from measure import Walked, check, in_turn

import fastwalk as fw

WIDTHS = [8, 8, 8, 8, 1, 1, 1]
"""Bytes of the columns of a walk."""


def write(rows: int, huge: bool = True, threads: int = 1) -> float:
    """Seconds to write that many rows by memcpy into fresh memory."""
    seconds: float = limits.write_columns(rows, WIDTHS, huge, threads)
    return seconds


@pytest.mark.parametrize("name", ["direct4k", "frag", "sparse", "huge"])
def test_walk(name: str, gib: int | None, benchmark: Any, tell: Tell) -> None:
    """Against what it has to read and write, and other ways to walk."""
    title = f"walk {sized(name, gib)}"
    against_limits(images.get(name, gib), title, 15, benchmark, tell)


def test_walk_large(benchmark: Any, tell: Tell) -> None:
    """1 TiB of 4K pages: 2 GiB of tables."""
    against_limits(images.get("direct4k", 1024), "walk direct4k 1 TiB", 5, benchmark, tell)


def against_limits(made: images.Made, name: str, rounds: int, benchmark: Any, tell: Tell) -> None:
    """One image."""
    walked = Walked(made)
    rows = made.answer["rows"]
    check(walked.walk(), made)
    memory = numpy_peer.memory(made.path, images.SKIP)

    def walk() -> None:
        walked.walk()

    def numpy() -> None:
        found = numpy_peer.walk(memory, made.roots[0], made.start, made.end)
        assert (len(found.start), numpy_peer.leaves(found)) == (rows, made.answer["leaves"])

    times = in_turn(
        {
            "walk": walk,
            "two": lambda: walked.walk(threads=2),
            "read": walked.read,
            "read by two": lambda: walked.read(threads=2),
            "write": lambda: write(rows),
            "write by two": lambda: write(rows, threads=2),
        },
        rounds,
    )
    slow = in_turn(
        {"walk": walk, "kernel": walked.kernel, "numpy": numpy, "read": walked.read}, rounds=5
    )
    benchmark.pedantic(walk, rounds=3)
    spent, two = (f"{times.median(which) * 1e3:.2f} ms" for which in ("walk", "two"))
    tell(f"{name} R", times.ratio("read", "walk"), f"of reading the tables; {spent}")
    tell(f"{name} R x2", times.ratio("read by two", "two"), f"the same on two threads; {two}")
    limit = times.together("read", "write", "walk")
    tell(name, limit, "of reading the tables and memcpy of the columns")
    scale = times.ratio("read", "read by two")
    tell(
        f"{name} two threads",
        times.ratio("walk", "two"),
        f"times as fast as one; reading is {scale:.2f} times",
    )
    for title, other in (("kernel-shaped", "kernel"), ("NumPy", "numpy")):
        most, spent = slow.ratio(other, "read"), f"{slow.median(other) * 1e3:.0f} ms"
        tell(
            f"{name} {title}",
            slow.ratio(other, "walk"),
            f"times as fast as {spent}; reading alone would be {most:.1f} times",
        )


def test_walk_pages(benchmark: Any, tell: Tell) -> None:
    """A row a page: 16.8 million rows, bound by the writing."""
    walked = Walked(images.get("direct4k"))
    made = walked.made
    maps = walked.walk("none")
    assert len(maps) == made.answer["leaves"]
    assert int(np.asarray(maps.start)[-1]) == made.end - 4096
    assert (np.diff(np.asarray(maps.pa)) == 4096).all()
    del maps
    rows = made.answer["leaves"]

    def walk() -> None:
        walked.walk("none")

    # Small pages on their own: what has them leaves no huge ones to whoever comes next.
    times = in_turn({"walk": walk, "write": lambda: write(rows)}, rounds=9)
    small = in_turn({"walk": walk, "small": lambda: write(rows, huge=False)}, rounds=3)
    benchmark.pedantic(walk, rounds=1)
    spent = f"{times.median('walk') * 1e3:.0f} ms"
    tell("walk pages", times.ratio("write", "walk"), f"of memcpy into huge pages; {spent}")
    tell("walk pages small", small.ratio("small", "walk"), "of memcpy into 4K pages")


def test_walk_fresh(benchmark: Any, tell: Tell) -> None:
    """First touch of a fresh mapping, opening included."""
    walked = Walked(images.get("direct4k"))
    made = walked.made

    def walk() -> None:
        image = fw.open(made.path)
        space = image.space(images.MODE, root=made.roots[0])
        check(space.walk(made.start, made.end, threads=1), made)

    def read() -> None:
        fresh = limits.Map(made.path, images.SKIP)
        fresh.read(walked.tables, images.PAGE, "avx512", 1, False)

    times = in_turn({"walk": walk, "read": read})
    benchmark.pedantic(walk, rounds=3)
    tell("walk fresh", times.ratio("read", "walk"), "of mapping, faulting and summing")


def test_walk_kasan(benchmark: Any, tell: Tell) -> None:
    """16 TiB of KASAN shadow: exact ranges, exact page count."""
    walked = Walked(images.get("kasan"))
    made = walked.made
    check(walked.walk(), made)
    assert walked.space.count(made.start, made.end).leaves == 1 << 32

    def walk() -> None:
        walked.walk()

    times = in_turn({"walk": walk, "read": walked.read}, rounds=51)
    benchmark.pedantic(walk, rounds=5)
    kernel = walked.kernel()
    spent = times.median("walk")
    tell("walk kasan", times.ratio("read", "walk"), f"of reading its tables; {spent * 1e3:.2f} ms")
    tell("walk kasan kernel-shaped", kernel / spent, f"times as fast ({kernel:.1f} s)")


def test_walk_fleet(benchmark: Any, tell: Tell) -> None:
    """500 roots that share the kernel half, in one walk."""
    walked = Walked(images.get("fleet"))
    made = walked.made
    walked.check_roots()

    def walk() -> None:
        walked.walk_roots()

    rows = made.answer["rows"]
    times = in_turn({"walk": walk, "limit": lambda: walked.read() + write(rows)})
    benchmark.pedantic(walk, rounds=3)
    spent = f"{times.median('walk') * 1e3:.1f} ms for {len(made.roots)} roots"
    tell(
        "walk fleet", times.ratio("limit", "walk"), f"of reading unique tables and memcpy; {spent}"
    )


MEMORY = """
import sys
sys.path[:0] = {paths!r}
import fastwalk as fw, numpy
def anonymous():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if "RssAnon" in line)
space = fw.open({path!r}).space({mode!r}, root={root})
space.path({start})
before = anonymous()
import threading, time
most, done = [0], threading.Event()
def look():
    while not done.is_set():
        most[0] = max(most[0], anonymous())
        time.sleep(0.001)
thread = threading.Thread(target=look); thread.start()
maps = space.walk({start}, {end}, threads=1, budget=1 << 40)
most[0] = max(most[0], anonymous())
done.set(); thread.join()
print((most[0] - before) * 1024)
"""


@pytest.mark.parametrize("name", ["direct4k", "frag", "sparse"])
def test_walk_memory(name: str, tell: Tell) -> None:
    """Peak of anonymous memory beyond the mapped image, in a process of its own."""
    made = images.get(name)
    Walked(made)
    code = MEMORY.format(
        paths=[*sys.path],
        path=made.path,
        mode=images.MODE,
        root=made.roots[0],
        start=made.start,
        end=made.end,
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peak = int(done.stdout)
    allowed = made.answer["rows"] * sum(WIDTHS) + 0.06 * made.table_bytes + (32 << 20)
    tell(
        f"memory {name}",
        allowed / peak,
        f"what is allowed by {peak >> 20} MiB, the output included",
    )


def test_walk_cold(tell: Tell) -> None:
    """Nothing in the page cache, tables scattered: what is read from the disk."""
    made = images.get("frag")
    os.sync()

    def drop() -> None:
        with Path(made.path).open("rb") as image:
            os.posix_fadvise(image.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def read_bytes() -> int:
        lines = Path("/proc/self/io").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))

    def walk() -> None:
        space = fw.open(made.path).space(images.MODE, root=made.roots[0])
        check(space.walk(made.start, made.end, threads=1), made)

    def in_order() -> None:
        with Path(made.path).open("rb", buffering=0) as image:
            tables = made.addresses()
            for table in tables:
                place = images.SKIP + int(table)
                os.posix_fadvise(image.fileno(), place, 4096, os.POSIX_FADV_WILLNEED)
            for table in tables:
                os.pread(image.fileno(), 4096, images.SKIP + int(table))

    spent = {}
    amounts = {}
    for name, run in (("order", in_order), ("walk", walk)):
        drop()
        before, start = read_bytes(), time.perf_counter()
        run()
        spent[name] = time.perf_counter() - start
        amounts[name] = read_bytes() - before
    tell("cold bytes", made.table_bytes / max(amounts["walk"], 1), "of the bytes read are tables")
    tell(
        "cold time",
        spent["order"] / spent["walk"],
        f"of read-ahead in order; {spent['walk']:.2f} s",
    )
