"""KASAN's shadow memory as few rows: which kernel memory each covers, and whether it is real
shadow or the one zero page that stands for memory that nobody checks.

Terabytes of address space are mapped to that page through the kernel's early shadow tables
(mm/kasan/init.c). Which page it is, the layout's symbols say, or the tables' own form; where
the shadow is, the layout or the architecture's address-space layout.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .. import arch
from ..arch import Shadow
from ..errors import RowBudgetError
from ..mappings import LEAF, REAL_SHADOW, ZERO_SHADOW, Mappings
from ..shadow import told

if TYPE_CHECKING:
    from ..layout import Kasan
    from ..space import AddressSpace, Coalesce, Progress

_MARK = 0x80
"""Set by the core in the effective permissions of a leaf at a marked address."""


class Found(NamedTuple):
    """Shadow memory of an address space."""

    place: Shadow
    zero_page: int
    """PA of the page that untracked memory's shadow is mapped to."""


def find(space: AddressSpace) -> Found | None:
    """Where the shadow is; None where the space has none."""
    kasan = space.layout.kasan
    known = told(space.layout, space.mode.spec)
    places = (known,) if known is not None else arch.shadows(space.mode.spec)
    for place in places:
        page = _zero_page(space, kasan, place)
        if page is None:
            continue
        return Found(_scaled(space, places) if known is None else place, page)
    return None


def _scaled(space: AddressSpace, places: tuple[Shadow, ...]) -> Shadow:
    """Which place of several it is: the largest whose lower part is in use. (The lowest
    shadow is that of the linear map, which every kernel has.)"""
    for place, smaller in pairwise(places):
        if space.count(place.start, smaller.start).leaves:
            return place
    return places[-1]


def _zero_page(space: AddressSpace, kasan: Kasan | None, place: Shadow) -> int | None:
    if kasan is not None and "page" in kasan.early_shadow:
        return kasan.early_shadow["page"]
    from ..detect.memory import Memory
    from ..detect.shadow import by_form

    memory = Memory(space.image.inner)
    chain = by_form(memory, space.mode.spec, space.root, place.start, place.end)
    return chain.get("page")


def collapse(
    space: AddressSpace,
    start: int | None,
    end: int | None,
    coalesce: Coalesce,
    threads: int | None,
    isa: str | None,
    budget: int | None,
    progress: Progress | bool | None,
) -> Mappings:
    """The walk of a space, its shadow memory collapsed.

    Rows outside of the shadow are those of ``walk(coalesce=coalesce)``, but end where it
    begins. Inside, neighbours are one row if both are zero shadow or both are real shadow,
    whatever their depth and attributes: ``attributes`` and ``effective`` are what all of a
    row's leaves have in common, ``depth`` and ``pa`` those of the first. Other and absent
    entries stay apart. The columns ``shadow``, ``covers_start`` and ``covers_size`` say what
    a row is the shadow of.
    """
    if coalesce == "ptdump":
        raise ValueError(
            'kasan="collapse" does not go with coalesce="ptdump", which has the kernel\'s rule '
            "for the shadow: leave one of them out"
        )
    from ..space import default_budget

    budget = default_budget() if budget is None else budget
    low, high = space.range_of(start, end)
    found = find(space)
    if found is None or max(low, found.place.start) > min(high, found.place.end - 1):
        plain = space.walk_ranges([(low, high)], coalesce, threads, isa, budget, progress)
        return _covered(plain)
    place, page = found
    first, last = max(low, place.start), min(high, place.end - 1)
    marked = space.walk_ranges(
        [(first, last)], "attributes", threads, isa, budget, progress, marks=[page]
    )
    inside = _merged(marked, place)
    around = [(a, b) for a, b in [(low, first - 1), (last + 1, high)] if a <= b]
    left = max(budget - len(inside), 0)
    try:
        outside = space.walk_ranges(around, coalesce, threads, isa, left, progress)
    except RowBudgetError as error:
        raise RowBudgetError(error.rows + len(inside), budget) from None
    return _joined(_covered(outside), inside, place)


def _covered(maps: Mappings) -> Mappings:
    """The same with the columns of a collapsed walk, for rows outside of the shadow."""
    count = len(maps)
    more: dict[str, np.ndarray] = {
        "shadow": np.zeros(count, np.uint8),
        "covers_start": np.zeros(count, np.uint64),
        "covers_size": np.zeros(count, np.uint64),
    }
    return maps.with_columns(maps.columns | more)


def _merged(maps: Mappings, place: Shadow) -> Mappings:
    """Rows of the shadow, marked where they are the zero page, as few as possible."""
    marked = (maps.effective & np.uint8(_MARK)) != 0
    sort = np.where(marked, ZERO_SHADOW, REAL_SHADOW).astype(np.uint8)
    sort[maps.kind != LEAF] = 0
    columns = maps.columns
    columns["effective"] = maps.effective & np.uint8(~_MARK & 0xFF)
    columns["shadow"] = sort
    if len(maps):
        adjacent = maps.start[1:] == maps.end[:-1]
        joins = adjacent & (sort[1:] == sort[:-1]) & (sort[1:] != 0)
        firsts = np.flatnonzero(np.concatenate([[True], ~joins]))
        reduced = {
            "size": np.add.reduceat(columns["size"], firsts),
            "attributes": np.bitwise_and.reduceat(columns["attributes"], firsts),
            "effective": np.bitwise_and.reduceat(columns["effective"], firsts),
        }
        columns = {name: column[firsts] for name, column in columns.items()}
        columns.update(reduced)
    scale = np.uint64(place.scale)
    offset = columns["start"] - np.uint64(place.start) << scale
    columns["covers_start"] = offset + np.uint64(place.covers)
    columns["covers_size"] = columns["size"] << scale
    return maps.with_columns(columns)


def _joined(outside: Mappings, inside: Mappings, place: Shadow) -> Mappings:
    """Rows outside and inside of the shadow, in order of address."""
    before = int(np.searchsorted(outside.start, np.uint64(place.start)))

    def column(name: str) -> np.ndarray:
        around, own = outside.columns[name], inside.columns[name]
        return np.concatenate([around[:before], own, around[before:]])

    return outside.with_columns(
        {name: column(name) for name in outside.columns},
        complete=outside.complete and inside.complete,
        warnings=tuple(dict.fromkeys([*inside.warnings, *outside.warnings])),
    )
