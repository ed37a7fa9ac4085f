"""Where two texts differ, in time that grows with their lines and not with their square:
lines of a dump begin with addresses, so nearly each of them is there once."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple


class Hunk(NamedTuple):
    """Lines of the one that stand for lines of the other: first, and behind the last."""

    first: int
    behind: int
    other_first: int
    other_behind: int


def hunks(a: Sequence[str], b: Sequence[str]) -> Iterator[Hunk]:
    """Patience diff: lines that either text has once are held against each other, as many as
    there are in the same order; what is left between them differs, but for its equal ends."""
    at = done = 0
    for i, j in chain(_anchors(a, b), [(len(a), len(b))]):
        first, other = at, done
        while first < i and other < j and a[first] == b[other]:
            first, other = first + 1, other + 1
        behind, other_behind = i, j
        while behind > first and other_behind > other and a[behind - 1] == b[other_behind - 1]:
            behind, other_behind = behind - 1, other_behind - 1
        if first < behind or other < other_behind:
            yield Hunk(first, behind, other, other_behind)
        at, done = i + 1, j + 1


def _anchors(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int]]:
    """Places of lines that both have once, ascending in both."""
    once = {line for line, count in Counter(b).items() if count == 1}
    place = {line: number for number, line in enumerate(b) if line in once}
    counts = Counter(a)
    pairs = [(i, place[line]) for i, line in enumerate(a) if line in place and counts[line] == 1]
    # The longest ascending series of places in b: the ends of the best ones of each length.
    ends: list[int] = []
    last: list[int] = []
    before: list[int] = []
    for number, (_, j) in enumerate(pairs):
        length = bisect_left(ends, j)
        before.append(last[length - 1] if length else -1)
        ends[length : length + 1] = [j]
        last[length : length + 1] = [number]
    series = []
    number = last[-1] if last else -1
    while number >= 0:
        series.append(pairs[number])
        number = before[number]
    return series[::-1]
