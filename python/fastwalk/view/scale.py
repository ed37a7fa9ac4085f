"""Places for addresses: a scale on which 4 KiB and 64 TiB can both be seen.

The address space is cut into pieces, mapped stretches and holes in turn. A stretch gets room by the
logarithm of its size, every hole the same; within a piece the scale is linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .regions import Region, number_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_HOLES = 12
"""Holes of a region that are made small; smaller ones stay as they are."""
HOLE = 0.6
"""Room for a hole, however large, where a mapped page has 1."""
LEAST_REGION = 0.8
"""Least room for a region with rows, as a share of the mean: its name has to fit."""
LEAST_EMPTY = 0.45
"""The same without rows."""


class Piece(NamedTuple):
    """A stretch of addresses, and where it begins and ends between 0 and 1."""

    first: int
    last: int
    begin: float
    end: float
    mapped: bool
    region: int
    """Index of its region."""


@dataclass(frozen=True)
class Scale:
    """Pieces in ascending order, and the regions that have a place."""

    pieces: tuple[Piece, ...]
    regions: tuple[Region, ...]

    def place(self, addresses: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Where addresses are, between 0 and 1. Those between pieces: where the next
        one begins."""
        firsts = np.array([piece.first for piece in self.pieces], np.uint64)
        lasts = np.array([piece.last for piece in self.pieces], np.uint64)
        begins = np.array([piece.begin for piece in self.pieces])
        ends = np.array([piece.end for piece in self.pieces])
        index = np.maximum(np.searchsorted(firsts, addresses, "right").astype(np.int64) - 1, 0)
        inside = np.minimum(addresses, lasts[index]) - firsts[index]
        sizes = (lasts[index] - firsts[index]).astype(np.float64) + 1
        where: NDArray[np.float64] = begins[index] + (ends - begins)[index] * (inside / sizes)
        return where

    def of_region(self, index: int) -> tuple[float, float]:
        """Where a region begins and ends."""
        own = [piece for piece in self.pieces if piece.region == index]
        return own[0].begin, own[-1].end


def stretches(
    start: NDArray[np.uint64], last: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Rows in order of address (which may overlap, where several spaces were walked)
    joined where nothing is between them."""
    if not len(start):
        return start, last
    reach = np.maximum.accumulate(last)
    # A row that begins at 0 after others began there too follows nothing.
    cut = np.flatnonzero((start[1:] > reach[:-1]) & (start[1:] - reach[:-1] > 1)) + 1
    firsts = np.concatenate(([0], cut))
    return start[firsts], reach[np.concatenate((cut - 1, [len(start) - 1]))]


def make(
    areas: tuple[Region, ...],
    start: NDArray[np.uint64],
    last: NDArray[np.uint64],
    page: int,
    most_holes: int = MOST_HOLES,
) -> Scale:
    """The scale for rows (first and last address, sorted by the first one) in regions.
    Regions without a name and without rows have no place; without regions, everything
    from the first row to the last is one."""
    start, last = _cut(areas, *stretches(start, last))
    if not areas:
        if not len(start):
            return Scale((), ())
        areas = (Region("", int(start[0]), int(last.max())),)
    index = number_of(areas, start)
    parts: list[tuple[int, list[tuple[int, int, bool]]]] = []
    for number, region in enumerate(areas):
        rows = np.flatnonzero(index == number)
        if len(rows) or region.name:
            parts.append((number, _pieces(region, start[rows], last[rows], most_holes)))
    weights = [[_weight(*piece, page) for piece in own] for _, own in parts]
    mean = sum(map(sum, weights)) / max(len(weights), 1)
    pieces: list[Piece] = []
    at = 0.0
    for region_number, ((_, own), rooms) in enumerate(zip(parts, weights, strict=True)):
        least = LEAST_REGION if any(mapped for _, _, mapped in own) else LEAST_EMPTY
        stretch = max(1.0, least * mean / sum(rooms))
        for (first, end, mapped), room in zip(own, rooms, strict=True):
            pieces.append(Piece(first, end, at, at + room * stretch, mapped, region_number))
            at += room * stretch
    scaled = (p._replace(begin=p.begin / at, end=p.end / at) for p in pieces)
    return Scale(tuple(scaled), tuple(areas[number] for number, _ in parts))


def _cut(
    areas: tuple[Region, ...], start: NDArray[np.uint64], last: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Stretches cut where regions begin."""
    if not len(start):
        return start, last
    inner = np.array([region.first for region in areas[1:]], np.uint64)
    at = np.maximum(np.searchsorted(start, inner, "right").astype(np.int64) - 1, 0)
    split = inner[(inner > start[at]) & (inner <= last[at])]
    starts = np.insert(start, np.searchsorted(start, split), split)
    lasts = last[np.searchsorted(start, starts, "right") - 1]
    lasts[:-1] = np.minimum(lasts[:-1], starts[1:] - np.uint64(1))
    return starts, lasts


def _pieces(
    region: Region, start: NDArray[np.uint64], last: NDArray[np.uint64], most_holes: int
) -> list[tuple[int, int, bool]]:
    """(first, last, mapped) of a region's pieces, which fill it."""
    if not len(start):
        return [(region.first, region.last, False)]
    holes = start[1:] - last[:-1] - np.uint64(1)
    widest = np.sort(np.argsort(holes)[::-1][:most_holes])
    found: list[tuple[int, int, bool]] = []
    first = int(start[0])
    if first > region.first:
        found.append((region.first, first - 1, False))
    for hole in widest.tolist():
        found.append((first, int(last[hole]), True))
        found.append((int(last[hole]) + 1, int(start[hole + 1]) - 1, False))
        first = int(start[hole + 1])
    end = min(int(last[-1]), region.last)
    found.append((first, end, True))
    if end < region.last:
        found.append((end + 1, region.last, False))
    return found


def _weight(first: int, last: int, mapped: bool, page: int) -> float:
    return 1 + log2(max((last - first + 1) / page, 1)) if mapped else HOLE
