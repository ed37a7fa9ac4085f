"""The scan (all unique tables read, rows counted exactly) against plain reading of the
same tables in the same order, by image, instruction set and number of threads.

    make bench BENCH='-k scan'
"""

from __future__ import annotations

from typing import Any

import images
import pytest
from conftest import Tell
from measure import Walked, check, in_turn, isas

NAMES = ("direct4k", "frag", "sparse", "huge")


@pytest.fixture(scope="module", params=NAMES)
def walked(request: pytest.FixtureRequest) -> Walked:
    """An image, opened."""
    return Walked(images.get(request.param))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("isa", isas())
def test_scan(walked: Walked, isa: str, threads: int, benchmark: Any, tell: Tell) -> None:
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
    name = made.name if made.name != "direct4k" else "uniform"
    tell(
        f"scan {name} {isa} x{threads}",
        times.ratio("read", "scan"),
        f"of plain reading; {times.median('scan') * 1e3:.2f} ms, {rate:.1f} GB/s",
    )


def test_scan_1t(benchmark: Any, tell: Tell) -> None:
    """1 TiB of 4K pages: 2 GiB of tables."""
    walked = Walked(images.get("direct4k", 1024))
    made = walked.made
    check(walked.walk(), made)

    def scan() -> None:
        walked.space.count(made.start, made.end, threads=1)

    times = in_turn({"scan": scan, "read": walked.read}, rounds=5)
    benchmark.pedantic(scan, rounds=1)
    tell("scan uniform 1T", times.ratio("read", "scan"), "of plain reading, one thread")
