"""Measuring: every figure is a ratio of things that were run in turn, in one process."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from images import PAGE, SKIP, Made, Words
from limits import limits

import fastwalk as fw
from fastwalk import _fastwalk
from fastwalk.mappings import Mappings

ROUNDS = 15


@dataclass
class Times:
    """Seconds of each contender, round by round."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def median(self, name: str) -> float:
        """Median seconds."""
        return statistics.median(self.seconds[name])

    def __contains__(self, name: str) -> bool:
        return name in self.seconds

    def together(self, first: str, second: str, under: str) -> float:
        """:meth:`ratio` of the sum of two."""
        rounds = zip(self.seconds[first], self.seconds[second], self.seconds[under], strict=True)
        return statistics.median((a + b) / c for a, b, c in rounds)

    def ratio(self, over: str, under: str) -> float:
        """Median over the rounds of ``over``'s seconds by ``under``'s."""
        pairs = zip(self.seconds[over], self.seconds[under], strict=True)
        return statistics.median(a / b for a, b in pairs)


def in_turn(contenders: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> Times:
    """Runs each contender once a round, after one round that does not count. One that
    returns a float has taken the time itself."""
    times = Times({name: [] for name in contenders})
    for number in range(rounds + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            told = run()
            spent = time.perf_counter() - start
            if number:
                times.seconds[name].append(told if isinstance(told, float) else spent)
    return times


def check(maps: Mappings, made: Made) -> None:
    """Fails where a walk under ``attributes`` is not what the image was made to give."""
    answer = made.answer
    assert len(maps) == answer["rows"], (len(maps), answer["rows"])
    for name in ("start", "size", "pa", "attributes"):
        column = np.asarray(getattr(maps, name))
        assert int(column.sum(dtype=np.uint64)) == answer[name], name


def warm(path: str, addresses: Words) -> None:
    """Brings the tables, and only them, into the page cache: a fault would bring in
    what lies around them too, which in a sparse file is many times as much."""
    breaks = np.flatnonzero(np.diff(addresses) != PAGE) + 1
    with open(path, "rb") as image:
        for run in np.split(addresses, breaks):
            os.posix_fadvise(
                image.fileno(), SKIP + int(run[0]), len(run) * PAGE, os.POSIX_FADV_WILLNEED
            )


class Walked:
    """An image opened for both sides: fastwalk's and the limits'."""

    def __init__(self, made: Made) -> None:
        self.made = made
        self.image = fw.open(made.path)
        self.space = self.image.space("x86_64-4level", root=made.roots[0])
        self.map = limits.Map(made.path, SKIP)
        self.tables = made.addresses().tobytes()
        warm(made.path, made.addresses())

    def walk(
        self, coalesce: str = "attributes", threads: int = 1, isa: str | None = None
    ) -> Mappings:
        """The walk that is measured."""
        return self.space.walk(
            self.made.start,
            self.made.end,
            coalesce=coalesce,  # type: ignore[arg-type]
            threads=threads,
            isa=isa,
            budget=1 << 40,
        )

    def walk_roots(self) -> _fastwalk.Walked:
        """All of an image's roots in one walk, one thread."""
        spans = [
            (root, first, last, base)
            for root in range(len(self.made.roots))
            for _, first, last, base in self.space._spans(None, None)
        ]
        return _fastwalk.walk(
            self.image.inner,
            self.space.mode.plan,
            self.made.roots,
            spans,
            coalesce="attributes",
            budget=1 << 40,
            threads=1,
        )

    def check_roots(self) -> None:
        """Fails where they are not what the image was made to give."""
        found, answer = self.walk_roots(), self.made.answer
        assert (len(found.start), found.totals.leaves) == (answer["rows"], answer["leaves"])
        assert sum(found.totals.tables) == sum(self.made.tables)
        start = np.frombuffer(found.start, np.uint64)
        assert int(start.sum(dtype=np.uint64)) == answer["start"]

    def read(self, isa: str = "avx512", threads: int = 1, ahead: bool = False) -> float:
        """R: seconds of a plain read of the same tables in the same order."""
        seconds: float = self.map.read(self.tables, PAGE, isa, threads, ahead)[1]
        return seconds

    def kernel(self) -> float:
        """Seconds of the kernel-shaped walk, its answer checked."""
        first, last = self.made.indexes
        rows, leaves, checksum, seconds = self.map.kernel_walk(
            self.made.roots[0], first, last, True
        )
        answer = self.made.answer
        assert (rows, leaves) == (answer["rows"], answer["leaves"])
        want = (answer["start"] + answer["size"] + answer["attributes"]) % (1 << 64)
        assert checksum == want
        return float(seconds)


def isas() -> list[str]:
    """Instruction sets of this machine, the widest last."""
    return list(_fastwalk.isas())
