"""What two walks are compared as: leaves of one section on either side, and what differs between
them, address by address. :mod:`fastwalk.analysis.compare` puts sections against each other."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .. import arch, decode
from ..mappings import ABSENT, Mappings
from ..shadow import shadowed
from .intervals import ONE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    U64 = NDArray[np.uint64]
    Rows = NDArray[np.intp]

CHANGES = ("appeared", "gone", "attributes", "moved", "amount")
"""``moved``: to other physical memory. ``amount``: at another boot, how much more or
less of a section has these attributes; which pages these are, chance decides."""
APPEARED, GONE, ATTRIBUTES, MOVED, AMOUNT = range(5)
SAME = len(CHANGES)
_MOST_OF = 0.9
_TOP = 1 << 64


@dataclass
class Side:
    """Leaves of one walk: sorted, disjoint, in the coordinates of one section."""

    first: U64
    last: U64
    key: U64
    pa: U64
    row: Rows
    """Where they are in the walk."""
    known: NDArray[np.bool_]
    """False: absent, nothing can be said."""
    contiguous: NDArray[np.bool_]
    """Whether `pa` tells all of the row's physical memory."""
    shadow: NDArray[np.bool_]
    """KASAN's, which may be one page again and again."""

    def take(self, rows: Rows | NDArray[np.bool_]) -> Side:
        """Some rows."""
        return Side(
            self.first[rows],
            self.last[rows],
            self.key[rows],
            self.pa[rows],
            self.row[rows],
            self.known[rows],
            self.contiguous[rows],
            self.shadow[rows],
        )

    def section(self, first: int, last: int, base: int | None = None) -> Side:
        """What lies in a part, relative to its beginning, or to another address before it."""
        low, high = np.uint64(first), np.uint64(last)
        zero = low if base is None else np.uint64(base)
        inside = self.take((self.first <= high) & (self.last >= low))
        start = np.maximum(inside.first, low)
        inside.pa += start - inside.first
        inside.last = np.minimum(inside.last, high) - zero
        inside.first = start - zero
        return inside

    def merged(self) -> Side:
        """Neighbours of equal key as one, wherever their memory is."""
        if not len(self.first):
            return self
        joins = np.zeros(len(self.first), np.bool_)
        joins[1:] = (self.last[:-1] + ONE == self.first[1:]) & (self.key[:-1] == self.key[1:])
        joins[1:] &= self.known[:-1] == self.known[1:]
        heads = np.flatnonzero(~joins)
        merged = self.take(heads)
        merged.last = self.last[np.concatenate((heads[1:] - 1, [len(joins) - 1]))]
        return merged

    def islands(self) -> Rows:
        """For each row, which stretch without holes it is in."""
        apart = np.ones(len(self.first), np.intp)
        apart[1:] = self.last[:-1] + ONE != self.first[1:]
        return np.cumsum(apart) - 1

    def at(self, points: U64) -> tuple[Rows, NDArray[np.bool_]]:
        """For each address, the row it is in, and whether there is one."""
        if not len(self.first):
            return np.zeros(len(points), np.intp), np.zeros(len(points), np.bool_)
        row = np.searchsorted(self.first, points, side="right").astype(np.intp) - 1
        inside = row >= 0
        row = np.maximum(row, 0)
        return row, inside & (self.last[row] >= points)


def keys_of(a: Mappings, b: Mappings) -> tuple[U64, U64]:
    """For each row of both, a number that is equal where permissions, memory type and all
    attributes are that do not say how large the leaf is."""

    def parts(maps: Mappings) -> tuple[U64, U64]:
        spec = maps.spec
        rest = maps.attributes & np.uint64(arch.common_attributes(spec.name))
        kinds, _ = decode.memory_type(spec, maps.depth, maps.attributes, maps.is_leaf)
        own = decode.own_permissions(spec, maps.depth, maps.attributes)
        small = maps.effective.astype(np.uint64) << np.uint64(16)
        small |= own.astype(np.uint64) << np.uint64(8)
        return rest, small | kinds

    rest_a, small_a = parts(a)
    rest_b, small_b = parts(b)
    _, number = np.unique(np.concatenate((rest_a, rest_b)), return_inverse=True)
    key = (number.astype(np.uint64) << np.uint64(24)) | np.concatenate((small_a, small_b))
    return key[: len(rest_a)], key[len(rest_a) :]


def side_of(maps: Mappings, key: U64) -> Side:
    """Leaves and absent rows of a walk."""
    rows = np.flatnonzero(maps.is_leaf | (maps.kind == ABSENT))
    start = maps.start[rows]
    physical = maps.origin is not None and maps.origin.coalesce in ("physical", "none")
    shadow = shadowed(maps)[rows]
    last = start + (maps.size[rows] - ONE)
    known = maps.is_leaf[rows]
    return Side(start, last, key[rows], maps.pa[rows], rows, known, physical & ~shadow, shadow)


class Swept(NamedTuple):
    """Stretches of addresses over which nothing changes on either side."""

    first: U64
    last: U64
    left: Rows
    right: Rows
    change: NDArray[np.uint8]


def sweep(a: Side, b: Side, moves: bool) -> Swept:
    """Compares address by address. ``moves``: physical addresses, too."""
    ends = np.concatenate((a.last, b.last)) + ONE
    # Sorted, and not np.unique, which hashes: slow where most of them are different.
    points = np.sort(np.concatenate((a.first, b.first, ends[ends != 0])))
    points = points[
        np.concatenate((np.ones(min(len(points), 1), np.bool_), points[1:] != points[:-1]))
    ]
    left, in_a = a.at(points)
    right, in_b = b.at(points)
    change = np.full(len(points), SAME, np.uint8)
    if len(points):
        change[in_a & ~in_b] = GONE
        change[in_b & ~in_a] = APPEARED
        both = np.flatnonzero(in_a & in_b)
        if len(both):
            differ = a.key[left[both]] != b.key[right[both]]
            change[both[differ]] = ATTRIBUTES
            if moves:
                rows, others = left[both], right[both]
                pa = a.pa[rows] + (points[both] - a.first[rows])
                pb = b.pa[others] + (points[both] - b.first[others])
                moved = (pa != pb) & a.contiguous[rows] & b.contiguous[others] & ~differ
                change[both[moved]] = MOVED
        # Of a table that is not in the image nothing is known.
        for side, row, inside in ((a, left, in_a), (b, right, in_b)):
            if len(side.first):
                change[inside & ~side.known[row]] = SAME
    last = np.concatenate((points[1:] - ONE, np.full(min(len(points), 1), _TOP - 1, np.uint64)))
    return Swept(points, last, left, right, change)


def _signature(side: Side, low: int, high: int) -> tuple[bytes, bytes]:
    rows = slice(low, high)
    return (side.last[rows] - side.first[rows]).tobytes(), side.key[rows].tobytes()


def relocated(a: Side, b: Side, swept: Swept) -> tuple[NDArray[np.bool_], NDArray[np.bool_], int]:
    """Islands that differ from what is at their place on the other side, and that stand
    there elsewhere: which rows to leave out on either side, and how many islands."""
    changed = swept.change != SAME
    keep_a, keep_b = np.ones(len(a.first), np.bool_), np.ones(len(b.first), np.bool_)
    sides = []
    for side, rows, absent in ((a, swept.left, APPEARED), (b, swept.right, GONE)):
        island = side.islands()
        concerned = np.unique(island[rows[changed & (swept.change != absent)]])
        starts = np.searchsorted(island, concerned)
        behind = np.searchsorted(island, concerned, side="right")
        sides.append(
            [
                (_signature(side, int(low), int(high)), int(low), int(high))
                for low, high in zip(starts, behind, strict=True)
            ]
        )
    left = Counter(signature for signature, _, _ in sides[0])
    matched = left & Counter(signature for signature, _, _ in sides[1])
    for found, keep in zip(sides, (keep_a, keep_b), strict=True):
        open_ = Counter(matched)
        for signature, low, high in found:
            if open_[signature]:
                open_[signature] -= 1
                keep[low:high] = False
    return keep_a, keep_b, matched.total()


def rearranged(a: Side, b: Side, swept: Swept) -> tuple[U64, U64, U64]:
    """Of what is gone at one place and appeared at another with equal attributes: keys, and
    bytes gone and appeared. It is taken out of the changes; which of it went where, nothing
    tells."""
    size = (swept.last - swept.first) + ONE
    sums = []
    for side, row, change in ((a, swept.left, GONE), (b, swept.right, APPEARED)):
        rows = np.flatnonzero(swept.change == change)
        keys, number = np.unique(side.key[row[rows]], return_inverse=True)
        total = np.zeros(len(keys), np.uint64)
        np.add.at(total, number, size[rows])
        sums.append((keys, total, rows, side.key[row[rows]]))
    (gone, less, rows_gone, of_gone), (appeared, more, rows_appeared, of_appeared) = sums
    both, at_gone, at_appeared = np.intersect1d(gone, appeared, return_indices=True)
    swept.change[rows_gone[np.isin(of_gone, both)]] = SAME
    swept.change[rows_appeared[np.isin(of_appeared, both)]] = SAME
    return both, less[at_gone], more[at_appeared]


def is_direct(side: Side) -> bool:
    """Whether physical follows virtual memory over nearly all of a section, as far as the
    beginnings of rows tell; of more than one row, since one alone shows nothing."""
    if not len(side.first) or side.shadow.any():
        return False
    size = (side.last - side.first).astype(np.float64) + 1
    _, number, rows = np.unique(side.first - side.pa, return_inverse=True, return_counts=True)
    most = np.bincount(number, size, len(rows))
    which = int(most.argmax())
    alone = rows[which] == 1 and not side.contiguous.all()
    return bool(most[which] >= _MOST_OF * size.sum()) and not alone


def shifted(side: Side, shift: int) -> Side:
    """As if everything were so much lower; what would wrap around stays out."""
    by = np.uint64(shift % _TOP)
    moved = side.take(side.first - by <= side.last - by)
    moved.first, moved.last = moved.first - by, moved.last - by
    return moved.take(np.argsort(moved.first, kind="stable"))
