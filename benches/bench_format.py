"""Text, and starting up: times that a person waits for, as parts of what is allowed.

make bench BENCH='-k format'
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import images
from conftest import Tell
from measure import Walked, in_turn

CASE = "x86_64-6.12-4level"
GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / f"{CASE}.tar.xz"


def test_format_million(benchmark: Any, tell: Tell) -> None:
    """A dump of 1.05 million lines, walk included, in less than 2 s."""
    walked = Walked(images.get("frag"))
    space, made = walked.space, walked.made
    lines = space.ptdump().count("\n")
    assert made.answer["rows"] <= lines <= made.answer["rows"] + 8
    times = in_turn({"ptdump": lambda: space.ptdump() and None}, rounds=3)
    benchmark.pedantic(space.ptdump, rounds=1)
    spent = times.median("ptdump") * 1e6 / lines
    tell("format 1M lines", 2 / spent, f"2 s by {spent:.2f} s a million lines")


def test_format_command(tmp_path: Path, benchmark: Any, tell: Tell) -> None:
    """`fastwalk ptdump` of a recorded kernel, process start included: 0.25 s."""
    with tarfile.open(GOLDEN) as case:
        case.extractall(tmp_path, filter="data")
    start = "import sys; from fastwalk.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", start, "ptdump", "tables.elf", "--layout", "layout.json"]

    def run() -> None:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.startswith("---[ User Space ]---\n")

    def python() -> None:
        subprocess.run([sys.executable, "-c", "pass"], check=True)

    times = in_turn({"ptdump": run, "python": python}, rounds=9)
    benchmark.pedantic(run, rounds=1)
    spent = times.median("ptdump")
    tell("format command", 0.25 / spent, f"0.25 s by {spent:.3f} s")
    tell("format command bare", times.ratio("python", "ptdump"), "Python's own start by it")


def test_format_import(benchmark: Any, tell: Tell) -> None:
    """`import fastwalk`, without the interpreter's own start."""
    code = "import time; t = time.perf_counter(); import fastwalk; print(time.perf_counter() - t)"

    def run() -> float:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    bare = time.perf_counter() - start
    times = in_turn({"import": run}, rounds=9)
    benchmark.pedantic(run, rounds=1)
    spent = times.median("import")
    tell("format import", bare / spent, f"Python's own start by it; {spent * 1e3:.1f} ms")
