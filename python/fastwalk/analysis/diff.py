"""What changed between two walks.

Splitting or merging a mapping (a large page that became small ones) is no change. Two boots
of one kernel lie elsewhere each time (KASLR): then sections are compared with each other
wherever their markers put them, and what only stands at another place of its section is no
change either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .. import arch
from ..arch.spec import Spec
from ..frames import Columnar, Frame
from ..mappings import Mappings
from ..words import permission_text, size_text
from .compare import Comparison, signed
from .sections import Sections, names_of
from .sides import AMOUNT, APPEARED, CHANGES, GONE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..view.changes import DiffPlot

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
            yield f"# {name} is {signed(shift):+#x} away"
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
    found = Comparison(kaslr, shift)
    for number, (one, other) in enumerate(pairs):
        found.add(number, one, other)
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
    return like[:0]
