"""Section by section, what differs between two walks of one address space: the columns of a
:class:`~fastwalk.analysis.diff.Diff`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..mappings import Mappings
from .intervals import ONE, union
from .sections import IMAGE, Sections
from .sides import (
    AMOUNT,
    APPEARED,
    GONE,
    MOVED,
    SAME,
    Side,
    Swept,
    is_direct,
    keys_of,
    rearranged,
    relocated,
    shifted,
    side_of,
    sweep,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .sides import U64, Rows

_TOP = 1 << 64
_WHOLE = (0, _TOP - 1)


class _Pair(NamedTuple):
    """A section of one address space, as either walk has it."""

    space: int
    """Number of the space."""
    a: Mappings
    b: Mappings
    left: Side
    right: Side
    bases: tuple[int, int] = (0, 0)
    """The addresses in either walk that the sides' addresses count from."""

    def section(
        self, one: tuple[int, int], other: tuple[int, int], bases: tuple[int, int]
    ) -> _Pair:
        """What lies between first and last addresses, counted from other bases."""
        left = self.left.section(*one, bases[0])
        right = self.right.section(*other, bases[1])
        return self._replace(left=left, right=right, bases=bases)


class Comparison:
    """Collects the changes of one address space after the other. ``kaslr`` and ``shift``: as
    :func:`fastwalk.diff` takes them."""

    def __init__(self, kaslr: bool | None, shift: int | Mapping[str, int]) -> None:
        self.kaslr = kaslr
        self.shift = shift
        self.shifts: dict[str, int] = {}
        """By section, how much higher it is in the second walk (modulo 2^64)."""
        self.relocated = 0
        """Stretches that only stand elsewhere in their section."""
        self.judged_moves = True
        """Whether physical addresses were compared."""
        self._parts: list[dict[str, np.ndarray]] = []

    def columns(self) -> dict[str, np.ndarray]:
        """All changes, by space and address."""
        empty = _part(0, np.zeros(0, np.uint8), np.zeros(0, np.uint64))
        parts = self._parts or [empty]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in empty}
        order = np.lexsort((columns["start"], columns["space"]))
        return {name: column[order] for name, column in columns.items()}

    def add(self, number: int, a: Mappings, b: Mappings) -> None:
        """Compares two walks of the address space of that number. ValueError where a shift
        leads out of the address space."""
        key_a, key_b = keys_of(a, b)
        whole = _Pair(number, a, b, side_of(a, key_a), side_of(b, key_b))
        sections = Sections.of_origin(a.origin)[0], Sections.of_origin(b.origin)[0]
        kaslr = self._by_section(a, b, sections)
        physical = bool(whole.left.contiguous.any()) == bool(whole.right.contiguous.any())
        moves = not kaslr and not self.shift and physical
        self.judged_moves &= moves
        if not kaslr and isinstance(self.shift, int):
            right = shifted(whole.right, self.shift)
            self._exactly(whole._replace(right=right, bases=(0, self.shift % _TOP)), moves)
            return
        for pair in self._sections(whole, sections):
            if kaslr:
                self._loosely(pair)
            else:
                self._exactly(pair, moves)

    def _by_section(self, a: Mappings, b: Mappings, sections: tuple[Sections, Sections]) -> bool:
        if self.kaslr is not None:
            return self.kaslr
        by_name = not isinstance(self.shift, int) and bool(self.shift)
        return by_name or (not self.shift and _lies_elsewhere(a, b, *sections))

    def _sections(self, whole: _Pair, sections: tuple[Sections, Sections]) -> Iterator[_Pair]:
        """Each section of the first walk, and the one of its name in the second."""
        one, other = sections
        shift = {} if isinstance(self.shift, int) else self.shift
        given = {name: signed(by) for name, by in shift.items()}
        numbers = {name: index for index, name in _named(other).items()}
        for index, name in _named(one).items():
            here = one.bounds(index)
            if name not in numbers:
                here = here if name[0] else _WHOLE
                if name[0] or index == 0:
                    yield whole.section(here, here, (here[0], here[0]))
                continue
            there = other.bounds(numbers[name])
            by = given.get(name[0], there[0] - here[0])
            if by and name[0]:
                self.shifts[name[0]] = by % _TOP
            # Sections need not begin with each other where the shift was given.
            base = min(here[0], there[0] - by)
            if not (base >= 0 and base + by >= 0):
                raise ValueError(f"a shift of {by:#x} leads out of the address space")
            yield whole.section(here, there, (base, base + by))

    def _exactly(self, pair: _Pair, moves: bool) -> None:
        """Address by address."""
        self._changes(pair, sweep(pair.left, pair.right, moves))

    def _loosely(self, pair: _Pair) -> None:
        """But for where KASLR has put what."""
        if is_direct(pair.left) and is_direct(pair.right):
            self._amounts(pair, *_totals(pair))
            return
        pair = pair._replace(left=pair.left.merged(), right=pair.right.merged())
        while True:
            # What was matched may have hidden something else that can be.
            swept = sweep(pair.left, pair.right, False)
            keep_left, keep_right, count = relocated(pair.left, pair.right, swept)
            if not count:
                break
            self.relocated += count
            pair = pair._replace(left=pair.left.take(keep_left), right=pair.right.take(keep_right))
        self._amounts(pair, *rearranged(pair.left, pair.right, swept))
        self._changes(pair, swept)

    def _amounts(self, pair: _Pair, keys: U64, before: U64, after: U64) -> None:
        """Keys, and how many bytes have them before and after."""
        for key, less, more in zip(keys.tolist(), before.tolist(), after.tolist(), strict=True):
            if less == more:
                self.relocated += less != 0
                continue
            start = np.array([pair.bases[0]], np.uint64)
            part = _part(pair.space, np.array([AMOUNT], np.uint8), start)
            part["start_after"][:] = pair.bases[1]
            part["size"][:] = abs(more - less)
            side, maps, which = (
                (pair.right, pair.b, "after") if more > less else (pair.left, pair.a, "before")
            )
            row = side.row[np.flatnonzero(side.key == np.uint64(key))[:1]]
            _describe(part, which, maps, row, slice(None))
            self._parts.append(part)

    def _changes(self, pair: _Pair, swept: Swept) -> None:
        """What is not the same, neighbours that changed alike as one."""
        rows = np.flatnonzero(swept.change != SAME)
        if not len(rows):
            return
        change, first, last = swept.change[rows], swept.first[rows], swept.last[rows]
        part = _part(pair.space, change, first)
        for which, maps, side, row, lacks in (
            ("before", pair.a, pair.left, swept.left[rows], APPEARED),
            ("after", pair.b, pair.right, swept.right[rows], GONE),
        ):
            has = np.flatnonzero(change != lacks)
            if not len(has):
                continue
            there = row[has]
            _describe(part, which, maps, side.row[there], has)
            part[f"pa_{which}"][has] = side.pa[there] + (first[has] - side.first[there])
            part[f"key_{which}"][has] = side.key[there]
        joins = np.zeros(len(rows), np.bool_)
        joins[1:] = last[:-1] + ONE == first[1:]
        for name in ("change", "key_before", "key_after"):
            joins[1:] &= part[name][:-1] == part[name][1:]
        steps = first[1:] - first[:-1]
        moved = change[1:] == MOVED
        for name in ("pa_before", "pa_after"):
            joins[1:] &= ~moved | (part[name][1:] - part[name][:-1] == steps)
        heads = np.flatnonzero(~joins)
        ends = np.concatenate((heads[1:] - 1, [len(rows) - 1]))
        merged = {name: column[heads] for name, column in part.items()}
        merged["size"] = last[ends] - first[heads] + ONE
        merged["start"] = first[heads] + np.uint64(pair.bases[0])
        merged["start_after"] = first[heads] + np.uint64(pair.bases[1])
        self._parts.append(merged)


def _totals(pair: _Pair) -> tuple[U64, U64, U64]:
    """Keys, and how many bytes have them on either side."""
    keys = np.unique(np.concatenate((pair.left.key, pair.right.key)))
    totals = []
    for side in (pair.left, pair.right):
        total = np.zeros(len(keys), np.uint64)
        np.add.at(total, np.searchsorted(keys, side.key), (side.last - side.first) + ONE)
        totals.append(total)
    return keys, totals[0], totals[1]


def _part(number: int, change: NDArray[np.uint8], first: U64) -> dict[str, np.ndarray]:
    count = len(change)
    part: dict[str, np.ndarray] = {
        "change": change,
        "space": np.full(count, number, np.uint32),
        "start": first,
        "start_after": np.zeros(count, np.uint64),
        "size": np.zeros(count, np.uint64),
    }
    for name in ("pa", "attributes", "key"):
        for which in ("before", "after"):
            part[f"{name}_{which}"] = np.zeros(count, np.uint64)
    for name in ("effective", "depth"):
        for which in ("before", "after"):
            part[f"{name}_{which}"] = np.zeros(count, np.uint8)
    return part


def _describe(
    part: dict[str, np.ndarray], which: str, maps: Mappings, rows: Rows, to: Rows | slice
) -> None:
    for name in ("attributes", "effective", "depth"):
        part[f"{name}_{which}"][to] = maps.columns[name][rows]


def signed(shift: int) -> int:
    """A shift as :attr:`Comparison.shifts` has it, or as people say it."""
    return shift - _TOP if shift >> 63 > 0 else shift


def _named(sections: Sections) -> dict[int, tuple[str, int]]:
    """Number of a section -> its name, and how many of that name came before it."""
    seen: Counter[str] = Counter()
    out = {}
    for index, name in enumerate(sections.names):
        out[index] = (name, seen[name])
        seen[name] += 1
    return out


def _lies_elsewhere(a: Mappings, b: Mappings, one: Sections, other: Sections) -> bool:
    """Whether two walks are of the same kernel at different places."""
    if len(one.names) > 1 and one.names == other.names and (one.starts != other.starts).any():
        return True
    (first, size), (elsewhere, size_there) = _code(a, one), _code(b, other)
    return None not in (first, elsewhere) and first != elsewhere and size == size_there


def _code(maps: Mappings, sections: Sections) -> tuple[int | None, int]:
    """Where the kernel's code begins: the first of it in the section of its image; without such
    a section (arm64 has its image among the vmalloc areas), its longest stretch, and the size
    of that."""
    rows = maps.is_leaf & maps.executable & ~maps.user
    if any(name in IMAGE for name in sections.names):
        inside = maps.start[rows & sections.in_image(maps.start)]
        return (int(inside.min()) if len(inside) else None), 0
    found = union(maps.start[rows], maps.start[rows] + (maps.size[rows] - ONE))
    if not len(found):
        return None, 0
    longest = int(np.argmax(found.last - found.first))
    return int(found.first[longest]), int(found.last[longest] - found.first[longest])
