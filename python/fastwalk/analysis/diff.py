"""What changed between two walks.

Splitting or merging a mapping (a large page that became small ones) is no change. Two boots
of one kernel lie elsewhere each time (KASLR): then sections are compared with each other
wherever their markers put them, and what only stands at another place of its section is no
change either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .. import arch
from ..arch.spec import Spec
from ..frames import Columnar, Frame
from ..mappings import Mappings
from ..words import permission_text, size_text
from .intervals import ONE, union
from .sections import IMAGE, Sections, names_of
from .sides import (
    AMOUNT,
    APPEARED,
    CHANGES,
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

    from ..view.changes import DiffPlot
    from .sides import U64, Rows

SIGNS = "+-!>~"
_TOP = 1 << 64


class Change(NamedTuple):
    """One of them."""

    change: str
    space: str
    start: int
    """In the first walk's address space; where it would be, of what appeared."""
    start_after: int
    """In the second's."""
    size: int
    before: str
    """Permissions and attributes, for people; empty of what appeared."""
    after: str
    pa_before: int
    pa_after: int
    section: str


class Diff(Columnar):
    """Changes: columns of equal length.

    ``change`` uint8 indexes :data:`~fastwalk.analysis.sides.CHANGES`; ``space`` uint32 indexes
    :attr:`spaces`; ``start`` and ``start_after`` uint64, the address in the first and in the
    second walk (one of them where it would be); ``size`` uint64, 0 for 2^64; ``pa_before``,
    ``pa_after``, ``attributes_before``, ``attributes_after`` uint64; ``effective_before``,
    ``effective_after``, ``depth_before``, ``depth_after`` uint8; 0 where there is no before or
    after.
    """

    def __init__(
        self,
        columns: dict[str, np.ndarray],
        spec: Spec,
        spaces: tuple[str, ...],
        sections: tuple[Sections, ...],
        names: tuple[str, str],
    ) -> None:
        self.columns = columns
        self.spec = spec
        self.spaces = spaces
        self.sections = sections
        """Of each space, as the first walk has them."""
        self.names = names
        self.shifts: dict[str, int] = {}
        """By section, how much higher it is in the second walk (modulo 2^64)."""
        self.relocated = 0
        """Stretches that only stand elsewhere in their section."""
        self.judged_moves = True
        """Whether physical addresses were compared."""

    def __len__(self) -> int:
        return len(self.columns["change"])

    def __repr__(self) -> str:
        return f"<fastwalk.Diff: {self.summary()}>"

    def __getitem__(self, key: slice | NDArray[np.bool_] | NDArray[np.intp]) -> Diff:
        columns = {name: column[key] for name, column in self.columns.items()}
        picked = Diff(columns, self.spec, self.spaces, self.sections, self.names)
        picked.shifts, picked.relocated = self.shifts, self.relocated
        picked.judged_moves = self.judged_moves
        return picked

    def _repr_html_(self) -> str:
        from ..view.html import diff_table

        return diff_table(self)

    @property
    def plot(self) -> DiffPlot:
        """``plot()``: how much of what changed, with matplotlib."""
        from ..view.changes import DiffPlot

        return DiffPlot(self)

    def summary(self) -> str:
        """Numbers and sizes, on one line."""
        parts = []
        for number, name in enumerate(CHANGES):
            rows = self.columns["change"] == number
            if rows.any():
                size = int(self.columns["size"][rows].sum(dtype=np.uint64))
                parts.append(f"{np.count_nonzero(rows)} {name} ({size_text(size)})")
        return ", ".join(parts) or "no change"

    def _words(self, which: str, index: int) -> str:
        effective = int(self.columns[f"effective_{which}"][index])
        attributes = int(self.columns[f"attributes_{which}"][index])
        allowed = permission_text(effective, self.spec.permissions)
        return f"{allowed} {' '.join(arch.decode(self.spec.name, attributes))}".strip()

    def __iter__(self) -> Iterator[Change]:
        columns = self.columns
        for index in range(len(self)):
            change = int(columns["change"][index])
            start = int(columns["start"][index])
            before, after = self._words("before", index), self._words("after", index)
            amount = change == AMOUNT
            more = amount and bool(columns["effective_after"][index])
            space = int(columns["space"][index])
            yield Change(
                CHANGES[change],
                self.spaces[space],
                start,
                int(columns["start_after"][index]),
                int(columns["size"][index]),
                "" if change == APPEARED or more else before,
                "" if change == GONE or (amount and not more) else after,
                int(columns["pa_before"][index]),
                int(columns["pa_after"][index]),
                self.sections[space].name(start),
            )

    def frame(self, *, decoded: bool = False) -> Frame:
        """The columns; ``change`` and ``space`` as categoricals. ``decoded`` adds ``section``,
        and ``before`` and ``after``: permissions and attributes for people."""
        columns = dict(self.columns)
        categories = {"change": CHANGES, "space": self.spaces}
        if decoded:
            columns["section"], categories["section"] = names_of(
                self.sections, columns["space"], columns["start"]
            )
            for which in ("before", "after"):
                columns[which], categories[which] = self._all_words(which)
        return Frame(columns, categories, {"what": "diff"})

    def _all_words(self, which: str) -> tuple[NDArray[np.uint32], tuple[str, ...]]:
        """What :meth:`_words` says of each row, as numbers and texts."""
        _, attributes = np.unique(self.columns[f"attributes_{which}"], return_inverse=True)
        pairs = attributes.astype(np.uint64) << np.uint64(8) | self.columns[f"effective_{which}"]
        _, first, number = np.unique(pairs, return_index=True, return_inverse=True)
        texts = tuple(self._words(which, index) for index in first.tolist())
        return number.astype(np.uint32), texts or ("",)

    def lines(self) -> Iterator[str]:
        """The text of it: ``+`` appeared, ``-`` gone, ``!`` other attributes, ``>`` other
        physical memory, ``~`` another amount."""
        yield f"--- {self.names[0]}"
        yield f"+++ {self.names[1]}"
        for name, shift in self.shifts.items():
            signed = _signed(shift)
            yield f"# {name} is {'+' if signed >= 0 else '-'}{abs(signed):#x} away"
        heading = None
        for one in self:
            if (one.space, one.section) != heading:
                heading = (one.space, one.section)
                yield f"@@ {one.space}{': ' if one.section else ''}{one.section} @@"
            sign = SIGNS[CHANGES.index(one.change)]
            if one.change == "amount":
                more = f"more {one.after}" if one.after else f"less {one.before}"
                yield f"{sign} {size_text(one.size)} {more}"
                continue
            end = (one.start + one.size) % _TOP
            place = f"{sign} {one.start:#018x}-{end:#018x} {size_text(one.size):>9}"
            if one.change == "moved":
                yield f"{place} {one.pa_before:#x} -> {one.pa_after:#x} {one.after}"
            elif one.change == "attributes":
                yield f"{place} {one.before} -> {one.after}"
            else:
                yield f"{place} -> {one.pa_after or one.pa_before:#x} {one.after or one.before}"
        if self.relocated:
            yield f"# {self.relocated} stretches stand elsewhere in their section"
        yield f"# {self.summary()}"


def diff(
    a: Mappings, b: Mappings, *, kaslr: bool | None = None, shift: int | Mapping[str, int] = 0
) -> Diff:
    """What changed from ``a`` to ``b``: walks of one address space each, or of several,
    which are compared by name.

    ``kaslr``: compare section by section, wherever the markers put them; None: where the
    markers of the two differ, or the kernel's image lies elsewhere in its section, or where
    ``shift`` names sections. Physical addresses are then not compared, since these are random
    too. ``shift``: how much higher everything is in ``b``, or, by name of a section, what is
    in that section (the others: as far as their markers are).

    Physical addresses are compared where both are of
    :meth:`~fastwalk.AddressSpace.walk_physical`. ValueError where the two are of different
    kinds of machine, where ``shift`` names a section that there is not, or where it leads out
    of the address space.
    """
    if a.spec.arch != b.spec.arch:
        raise ValueError(
            f"{a.spec.name} and {b.spec.name} cannot be compared; give two images of one kind of "
            f"machine"
        )
    pairs, spaces = _pairs(a, b)
    names = tuple(m.origin.image if m.origin else name for m, name in ((a, "a"), (b, "b")))
    sections = tuple(Sections.of_origin(one.origin)[0] for one, _ in pairs)
    if not isinstance(shift, int):
        known = dict.fromkeys(name for of in sections for name in of.names if name)
        if unknown := [name for name in shift if name not in known]:
            named = ", ".join(known) or "none"
            raise ValueError(f"there is no section {unknown[0]!r} to shift; there are: {named}")
    found = _Collector()
    for number, (one, other) in enumerate(pairs):
        found.space(number, one, other, kaslr, shift)
    result = Diff(found.columns(), a.spec, spaces, sections, (names[0], names[1]))
    result.shifts, result.relocated = found.shifts, found.relocated
    result.judged_moves = found.judged_moves
    return result


def _pairs(a: Mappings, b: Mappings) -> tuple[list[tuple[Mappings, Mappings]], tuple[str, ...]]:
    several = ["space" in maps.columns for maps in (a, b)]
    if not any(several):
        return [(a, b)], a.spaces or b.spaces or ("",)
    if not all(several):
        raise ValueError("one is of a single address space, and the other of several")
    names = tuple(dict.fromkeys((*a.spaces, *b.spaces)))
    pairs = []
    for name in names:
        # A space that only one side has is compared with nothing.
        one = a.of_space(name) if name in a.spaces else None
        other = b.of_space(name) if name in b.spaces else None
        one = one if one is not None else _empty(other)
        other = other if other is not None else _empty(one)
        pairs.append((one, other))
    return pairs, names


def _empty(like: Mappings | None) -> Mappings:
    assert like is not None
    picked = like[:0]
    assert isinstance(picked, Mappings)
    return picked


class _Collector:
    """Collects the changes of one section after the other."""

    def __init__(self) -> None:
        self.parts: list[dict[str, np.ndarray]] = []
        self.shifts: dict[str, int] = {}
        self.relocated = 0
        self.judged_moves = True

    def columns(self) -> dict[str, np.ndarray]:
        empty = _part(0, np.zeros(0, np.uint8), np.zeros(0, np.uint64))
        parts = self.parts or [empty]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in empty}
        order = np.lexsort((columns["start"], columns["space"]))
        return {name: column[order] for name, column in columns.items()}

    def space(
        self,
        number: int,
        a: Mappings,
        b: Mappings,
        kaslr: bool | None,
        shift: int | Mapping[str, int],
    ) -> None:
        key_a, key_b = keys_of(a, b)
        side_a, side_b = side_of(a, key_a), side_of(b, key_b)
        sections = Sections.of_origin(a.origin)[0], Sections.of_origin(b.origin)[0]
        if kaslr is None:
            by_name = not isinstance(shift, int) and bool(shift)
            kaslr = by_name or (not shift and _lies_elsewhere(a, b, *sections))
        physical = bool(side_a.contiguous.any()) == bool(side_b.contiguous.any())
        moves = not kaslr and not shift and physical
        self.judged_moves &= moves
        whole = (0, _TOP - 1)
        if not kaslr and isinstance(shift, int):
            side_b = shifted(side_b, shift)
            self.compare(number, a, b, side_a, side_b, (0, shift % _TOP), moves, False)
            return
        given = {} if isinstance(shift, int) else {n: _signed(by) for n, by in shift.items()}
        numbers = {}
        for index, name in _named(sections[1]).items():
            numbers[name] = index
        for index, name in _named(sections[0]).items():
            low, high = sections[0].bounds(index) if name[0] else whole
            if name not in numbers:
                if name[0] or index == 0:
                    self.compare(
                        number, a, b, side_a.section(low, high), side_b.section(low, high),
                        (low, low), moves, kaslr,
                    )  # fmt: skip
                continue
            low, high = sections[0].bounds(index)
            there, there_end = sections[1].bounds(numbers[name])
            by = given.get(name[0], there - low)
            if by and name[0]:
                self.shifts[name[0]] = by % _TOP
            # Sections need not begin with each other where the shift was given.
            base = min(low, there - by)
            if not (base >= 0 and base + by >= 0):
                raise ValueError(f"a shift of {by:#x} leads out of the address space")
            self.compare(
                number, a, b, side_a.section(low, high, base),
                side_b.section(there, there_end, base + by), (base, base + by), moves, kaslr,
            )  # fmt: skip

    def compare(
        self,
        number: int,
        a: Mappings,
        b: Mappings,
        left: Side,
        right: Side,
        bases: tuple[int, int],
        moves: bool,
        kaslr: bool,
    ) -> None:
        if kaslr and is_direct(left) and is_direct(right):
            self.amounts(number, a, b, left, right, bases)
            return
        if kaslr:
            left, right = left.merged(), right.merged()
            while True:
                # What was matched may have hidden something else that can be.
                swept = sweep(left, right, False)
                keep_left, keep_right, count = relocated(left, right, swept)
                if not count:
                    break
                self.relocated += count
                left, right = left.take(keep_left), right.take(keep_right)
            keys, less, more = rearranged(left, right, swept)
            self.amount(number, a, b, left, right, bases, (keys, less, more))
        else:
            swept = sweep(left, right, moves)
        self.add(number, a, b, left, right, bases, swept)

    def amounts(
        self, number: int, a: Mappings, b: Mappings, left: Side, right: Side, bases: tuple[int, int]
    ) -> None:
        keys = np.unique(np.concatenate((left.key, right.key)))
        totals = []
        for side in (left, right):
            size = (side.last - side.first) + ONE
            total = np.zeros(len(keys), np.uint64)
            np.add.at(total, np.searchsorted(keys, side.key), size)
            totals.append(total)
        self.amount(number, a, b, left, right, bases, (keys, totals[0], totals[1]))

    def amount(
        self,
        number: int,
        a: Mappings,
        b: Mappings,
        left: Side,
        right: Side,
        bases: tuple[int, int],
        totals: tuple[U64, U64, U64],
    ) -> None:
        """Keys, and how many bytes have them before and after."""
        for key, before, after in zip(*(column.tolist() for column in totals), strict=True):
            if before == after:
                self.relocated += before != 0
                continue
            part = _part(number, np.array([AMOUNT], np.uint8), np.array([bases[0]], np.uint64))
            part["start_after"][:] = bases[1]
            part["size"][:] = abs(after - before)
            side, maps, which = (right, b, "after") if after > before else (left, a, "before")
            row = side.row[np.flatnonzero(side.key == np.uint64(key))[:1]]
            _describe(part, which, maps, row, slice(None))
            self.parts.append(part)

    def add(
        self,
        number: int,
        a: Mappings,
        b: Mappings,
        left: Side,
        right: Side,
        bases: tuple[int, int],
        swept: Swept,
    ) -> None:
        rows = np.flatnonzero(swept.change != SAME)
        if not len(rows):
            return
        change, first, last = swept.change[rows], swept.first[rows], swept.last[rows]
        part = _part(number, change, first)
        for which, maps, side, row, lacks in (
            ("before", a, left, swept.left[rows], APPEARED),
            ("after", b, right, swept.right[rows], GONE),
        ):
            has = np.flatnonzero(change != lacks)
            if not len(has):
                continue
            there = row[has]
            _describe(part, which, maps, side.row[there], has)
            part[f"pa_{which}"][has] = side.pa[there] + (first[has] - side.first[there])
            part[f"key_{which}"][has] = side.key[there]
        # Neighbours that changed alike are one change.
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
        merged["start"] = first[heads] + np.uint64(bases[0])
        merged["start_after"] = first[heads] + np.uint64(bases[1])
        self.parts.append(merged)


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


def _signed(shift: int) -> int:
    """A shift as :attr:`Diff.shifts` has it, or as people say it."""
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
