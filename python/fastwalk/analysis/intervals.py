"""Sets of address intervals as sorted columns: union, intersection, lookup.

Intervals are ``first`` and ``last``, both inclusive, so that one may end at 2^64 - 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Addresses = NDArray[np.uint64]
    Rows = NDArray[np.intp]

ONE = np.uint64(1)


class Union(NamedTuple):
    """Intervals that neither overlap nor touch, ascending."""

    first: Addresses
    last: Addresses

    def __len__(self) -> int:
        return len(self.first)


def union(first: Addresses, last: Addresses) -> Union:
    """The addresses that lie in any of the intervals."""
    if not len(first):
        return Union(first, last)
    order = np.argsort(first, kind="stable")
    first, last = first[order], last[order]
    reach = np.maximum.accumulate(last)
    # A new one starts where nothing before reaches up to it. A reach of 2^64 - 1 has
    # nothing behind it.
    apart = (first[1:] > reach[:-1]) & (first[1:] - ONE > reach[:-1])
    starts = np.flatnonzero(np.concatenate(([True], apart)))
    ends = np.concatenate((starts[1:] - 1, [len(first) - 1]))
    return Union(first[starts], reach[ends])


def complement(of: Union) -> Union:
    """The addresses that lie in none of them."""
    top = np.uint64((1 << 64) - 1)
    if not len(of):
        return Union(np.zeros(1, np.uint64), np.full(1, top))
    first = np.concatenate((np.zeros(1, np.uint64), of.last + ONE))
    last = np.concatenate((of.first - ONE, np.full(1, top)))
    # Before one that begins at 0, and behind one that ends at the top, there is nothing.
    keep = np.concatenate((of.first != 0, [of.last[-1] != top]))
    return Union(first[keep], last[keep])


class Pairs(NamedTuple):
    """Which intervals of one set meet which of another, and where."""

    left: Rows
    right: Rows
    first: Addresses
    last: Addresses


def meet(first: Addresses, last: Addresses, of: Union) -> Pairs:
    """All pairs of one of the intervals (in any order, overlapping or not) and one of a
    union. Costs the number of pairs beside the search."""
    low = np.searchsorted(of.last, first, side="left")
    high = np.searchsorted(of.first, last, side="right")
    counts = np.maximum(high - low, 0)
    left = np.repeat(np.arange(len(first)), counts)
    offsets = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
    right = np.repeat(low, counts) + offsets
    return Pairs(
        left,
        right,
        np.maximum(first[left], of.first[right]),
        np.minimum(last[left], of.last[right]),
    )


def outside(first: Addresses, last: Addresses, of: Union) -> NDArray[np.bool_]:
    """Which of the intervals are not wholly covered."""
    if not len(of):
        return np.ones(len(first), np.bool_)
    row = np.searchsorted(of.first, first, side="right").astype(np.intp) - 1
    inside = row >= 0
    row = np.maximum(row, 0)
    inside &= last <= of.last[row]
    return ~inside
