"""The map turned around: from physical memory to every address that leads there.

Intervals are kept sorted, in classes of like size (each holds sizes from a power of two to the
next), so that what can meet a query stands together however large some other mappings are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..arch.spec import EXEC, USER, USER_EXEC, WRITE
from ..frames import Columnar, Frame
from ..mappings import Mappings
from ..shadow import physical_last
from .intervals import ONE

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    U64 = NDArray[np.uint64]
    Rows = NDArray[np.intp]

_TOP = 1 << 64


class Hits(NamedTuple):
    """Which queries met which rows."""

    query: Rows
    row: Rows


class _Class(NamedTuple):
    """Rows of like size, sorted by where they begin."""

    first: U64
    last: U64
    row: Rows
    longest: int


class Intervals:
    """Intervals of physical addresses, which may overlap in any way."""

    def __init__(self, first: U64, last: U64) -> None:
        bits = np.frexp((last - first).astype(np.float64) + 1)[1]
        self.classes: list[_Class] = []
        for size in np.unique(bits):
            rows = np.flatnonzero(bits == size)
            rows = rows[np.argsort(first[rows], kind="stable")]
            longest = int((last[rows] - first[rows]).max())
            self.classes.append(_Class(first[rows], last[rows], rows, longest))

    def meeting(self, low: U64, high: U64) -> Hits:
        """All pairs of a query ``low`` to ``high`` (inclusive) and an interval that it meets,
        by query."""
        queries, found = [], []
        for of in self.classes:
            longest = np.uint64(of.longest)
            reach = np.where(low >= longest, low - longest, np.uint64(0))
            start = np.searchsorted(of.first, reach, side="left")
            behind = np.searchsorted(of.first, high, side="right")
            counts = np.maximum(behind - start, 0)
            query = np.repeat(np.arange(len(low)), counts)
            at = np.repeat(start - (np.cumsum(counts) - counts), counts) + np.arange(len(query))
            hit = of.last[at] >= low[query]
            queries.append(query[hit])
            found.append(of.row[at[hit]])
        none = np.zeros(0, np.intp)
        query = np.concatenate((none, *queries))
        row = np.concatenate((none, *found))
        order = np.lexsort((row, query))
        return Hits(query[order], row[order])


class Counts(Columnar):
    """How often physical memory is mapped: columns of equal length, ascending.

    ``pa`` and ``size`` uint64; ``mappings``, ``writable``, ``executable`` and ``user`` uint32:
    how many mappings lead there, and how many of them allow that.
    """

    NAMES = ("pa", "size", "mappings", "writable", "executable", "user")

    def __init__(self, columns: dict[str, np.ndarray]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns["pa"])

    def __getitem__(self, key: slice | NDArray[np.bool_] | Rows) -> Counts:
        return Counts({name: column[key] for name, column in self.columns.items()})

    def __repr__(self) -> str:
        most = int(self.columns["mappings"].max(initial=0))
        return f"<fastwalk.Counts: {len(self)} ranges, at most {most} mappings of one>"

    def at_least(self, mappings: int) -> Counts:
        """Memory with so many mappings or more."""
        return self[self.columns["mappings"] >= mappings]

    def frame(self, *, decoded: bool = False) -> Frame:
        """The columns."""
        return Frame(self.columns, metadata={"what": "counts"})


class ReverseMap:
    """Finds every address that leads to physical memory.

    ``maps``: of :meth:`~fastwalk.AddressSpace.walk_physical`, of one address space or of
    several. Of the KASAN shadow, whose rows repeat pages, the first page of each row is known.
    ValueError where rows are not contiguous in physical memory.
    """

    def __init__(self, maps: Mappings) -> None:
        self.maps = maps
        self._rows = np.flatnonzero(maps.is_leaf)
        self._first = maps.pa[self._rows]
        self._last = physical_last(maps)[self._rows]
        self._index: Intervals | None = None

    def __repr__(self) -> str:
        return f"<fastwalk.ReverseMap of {len(self._rows)} mappings>"

    def _intervals(self) -> Intervals:
        if self._index is None:
            self._index = Intervals(self._first, self._last)
        return self._index

    def find(self, pa: int, size: int = 1) -> Mappings:
        """The mappings of some physical memory, clipped to it, by address: rows as of a
        walk. ValueError for a range that is none."""
        if not (pa >= 0 and size >= 1 and pa + size <= _TOP):
            raise ValueError(f"{pa:#x} and {size:#x} bytes are no physical memory")
        low, high = (np.array([end], np.uint64) for end in (pa, pa + size - 1))
        hits = self._intervals().meeting(low, high).row
        rows = self._rows[hits]
        first = np.maximum(self._first[hits], low[0])
        last = np.minimum(self._last[hits], high[0])
        columns = {name: column[rows] for name, column in self.maps.columns.items()}
        columns["start"] = columns["start"] + (first - columns["pa"])
        columns["pa"], columns["size"] = first, last - first + ONE
        space = columns.get("space", np.zeros(len(rows), np.uint32))
        order = np.lexsort((columns["start"], space))
        return Mappings(
            {name: column[order] for name, column in columns.items()},
            self.maps.spec,
            complete=self.maps.complete,
            warnings=self.maps.warnings,
            origin=self.maps.origin,
        )

    def addresses(self, pas: ArrayLike) -> tuple[Rows, U64, Rows]:
        """Many physical addresses at once: for each address that leads to one of them, the
        index of that one in ``pas`` (flattened), the virtual address, and the row of
        :attr:`maps`."""
        wanted = np.ascontiguousarray(pas, np.uint64).reshape(-1)
        hits = self._intervals().meeting(wanted, wanted)
        rows = self._rows[hits.row]
        vas = self.maps.start[rows] + (wanted[hits.query] - self.maps.pa[rows])
        return hits.query, vas, rows

    def counts(self) -> Counts:
        """How often all of physical memory is mapped, where it is mapped at all."""
        effective = self.maps.effective[self._rows]
        ends = self._last + ONE
        closed = ends != 0
        points = np.concatenate((self._first, ends[closed]))
        order = np.argsort(points, kind="stable")
        points = points[order]
        heads = np.flatnonzero(np.concatenate(([True], points[1:] != points[:-1])))
        columns: dict[str, np.ndarray] = {}
        masks = {
            "mappings": np.ones(len(effective), np.bool_),
            "writable": (effective & WRITE) != 0,
            "executable": (effective & (EXEC | USER_EXEC)) != 0,
            "user": (effective & USER) != 0,
        }
        if not len(points):
            kinds = {"pa": np.uint64, "size": np.uint64}
            return Counts({n: np.zeros(0, kinds.get(n, np.uint32)) for n in Counts.NAMES})
        for name, mask in masks.items():
            steps = np.concatenate((mask.astype(np.int64), -mask[closed].astype(np.int64)))
            columns[name] = np.cumsum(np.add.reduceat(steps[order], heads)).astype(np.uint32)
        pa = points[heads]
        behind = np.concatenate((pa[1:], np.zeros(1, np.uint64)))
        counted = {"pa": pa, "size": behind - pa, **columns}
        mapped = np.flatnonzero(counted["mappings"])
        counted = {name: column[mapped] for name, column in counted.items()}
        return Counts(_joined(counted))


def _joined(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Neighbours of equal counts as one."""
    if not len(columns["pa"]):
        return columns
    joins = np.zeros(len(columns["pa"]), np.bool_)
    joins[1:] = columns["pa"][:-1] + columns["size"][:-1] == columns["pa"][1:]
    for name in Counts.NAMES[2:]:
        joins[1:] &= columns[name][:-1] == columns[name][1:]
    heads = np.flatnonzero(~joins)
    merged = {name: column[heads] for name, column in columns.items()}
    merged["size"] = np.add.reduceat(columns["size"], heads)
    return merged
