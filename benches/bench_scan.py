"""The scan (all unique tables read, rows counted exactly) against plain reading of the
same tables in the same order, by image, instruction set and number of threads.

    make bench BENCH='-k scan'
"""

from __future__ import annotations

from typing import Any

import images
import pytest
from conftest import Tell, sized
from measure import Walked, check, in_turn, isas

NAMES = ("direct4k", "frag", "sparse", "huge")


@pytest.fixture(scope="module", params=NAMES)
def walked(request: pytest.FixtureRequest, gib: int | None) -> Walked:
    """An image, opened."""
    return Walked(images.get(request.param, gib))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("isa", isas())
def test_scan(
    walked: Walked, gib: int | None, isa: str, threads: int, benchmark: Any, tell: Tell
) -> None:
    """R / count: 1 is as fast as reading."""
    made = walked.made
    check(walked.walk(isa=isa, threads=threads), made)
    count = walked.space.count(made.start, made.end, isa=isa, threads=threads)
    assert (count.rows, count.leaves) == (made.answer["rows"], made.answer["leaves"])

    def scan() -> None:
        walked.space.count(made.start, made.end, isa=isa, threads=threads)

    times = in_turn({"scan": scan, "read": lambda: walked.read(isa, threads)})
    benchmark.pedantic(scan, rounds=5)
    rate = made.table_bytes / times.median("scan") / 1e9
    name = sized(made.name if made.name != "direct4k" else "uniform", gib)
    tell(
        f"scan {name} {isa} x{threads}",
        times.ratio("read", "scan"),
        f"of plain reading; {times.median('scan') * 1e3:.2f} ms, {rate:.1f} GB/s",
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_scan_large(threads: int, benchmark: Any, tell: Tell) -> None:
    """1 TiB of 4K pages: 2 GiB of tables."""
    walked = Walked(images.get("direct4k", 1024))
    made = walked.made
    check(walked.walk(threads=threads), made)

    def scan() -> None:
        count = walked.space.count(made.start, made.end, threads=threads)
        assert (count.rows, count.leaves) == (made.answer["rows"], made.answer["leaves"])

    times = in_turn({"scan": scan, "read": lambda: walked.read(threads=threads)}, rounds=5)
    benchmark.pedantic(scan, rounds=1)
    spent = times.median("scan")
    tell(
        f"scan uniform 1 TiB x{threads}",
        times.ratio("read", "scan"),
        f"of plain reading; {spent * 1e3:.0f} ms, {made.table_bytes / spent / 1e9:.1f} GB/s",
    )
