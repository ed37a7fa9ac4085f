"""The named areas of an address space, from the markers of its layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .. import arch
from ..arch.spec import EXEC, USER, USER_EXEC
from ..text.markers import UNNAMED, changes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..mappings import Mappings
    from ..origin import Origin, Walked


class Region(NamedTuple):
    """A run of virtual addresses with one name."""

    name: str
    """As the kernel's dumper heads it, without *start* and *end*; :data:`UNNAMED`."""
    first: int
    last: int
    """Inclusive: the last region may end with the address space."""

    @property
    def size(self) -> int:
        """Bytes."""
        return self.last - self.first + 1


def regions(origin: Origin | None) -> tuple[Region, ...]:
    """The areas of what was walked, ascending: those of the first address space, and of
    others only what that one does not show. Without markers, the halves themselves; nothing
    without origin."""
    found: list[Region] = []
    for space in origin.spaces if origin is not None else ():
        assert origin is not None
        found += _beside(found, _of_space(origin, space))
    return tuple(sorted(found, key=lambda region: region.first))


def _of_space(origin: Origin, space: Walked) -> list[Region]:
    spec = arch.spec_of(space.mode, space.index_va_bits)
    half = next((half for half in spec.halves if half.name == space.half), spec.halves[0])
    view = origin.layout.views.get(space.view) if space.view is not None else None
    marked = list(changes(view.markers)) if view is not None else []
    found: list[Region] = []
    for window in half.windows:
        at, name = window.base, UNNAMED
        last = window.base + window.size - 1
        for address, next_name in marked:
            if address > last:
                break
            if address > at:
                found.append(Region(name, at, address - 1))
                at = address
            name = next_name
        found.append(Region(name, at, last))
    return found


def _beside(known: list[Region], more: list[Region]) -> list[Region]:
    """What of some regions lies outside of others."""
    left: list[Region] = []
    for region in more:
        at = region.first
        for other in sorted(known, key=lambda one: one.first):
            if other.last < at or other.first > region.last:
                continue
            if other.first > at:
                left.append(Region(region.name, at, other.first - 1))
            at = other.last + 1
        if at <= region.last:
            left.append(Region(region.name, at, region.last))
    return left


def number_of(found: tuple[Region, ...], addresses: NDArray[np.uint64]) -> NDArray[np.int64]:
    """For each address the index of its region; -1 where it is in none."""
    if not found:
        return np.full(len(addresses), -1, np.int64)
    firsts = np.array([region.first for region in found], np.uint64)
    lasts = np.array([region.last for region in found], np.uint64)
    index = np.searchsorted(firsts, addresses, "right").astype(np.int64) - 1
    return np.where((index >= 0) & (addresses <= lasts[np.maximum(index, 0)]), index, -1)


class Class(NamedTuple):
    """What rows are called and painted as."""

    name: str
    what: str
    light: str
    """Colour on a light ground; told apart by people who do not see red or green, too."""
    dark: str


CLASSES = (
    Class("read-only", "may be read only", "#7f8c9b", "#8b98a8"),
    Class("writable", "may be written", "#1f77b4", "#58a6e8"),
    Class("executable", "may be executed", "#e69f00", "#f0b429"),
    Class("W+X", "may be written and executed", "#c2185b", "#ff5c93"),
    Class("other", "neither empty nor walkable: swap, migration, PROT_NONE", "#6a51a3", "#b39ddb"),
    Class("absent", "unknown: a table is not in the image", "#b0b0b0", "#5c6370"),
)
"""Classes of rows, by the numbers that :func:`classes` gives."""

READ_ONLY, WRITABLE, EXECUTABLE, WRITABLE_EXECUTABLE, OTHER, ABSENT = range(len(CLASSES))


def classes(maps: Mappings) -> NDArray[np.uint8]:
    """The class of each row: an index into :data:`CLASSES`."""
    from ..mappings import LEAF
    from ..mappings import OTHER as OTHER_KIND

    user_executes = (maps.effective & np.uint8(USER | USER_EXEC)) == USER | USER_EXEC
    executes = user_executes | ((maps.effective & np.uint8(EXEC)) != 0)
    allowed = maps.writable * np.uint8(WRITABLE) + executes * np.uint8(EXECUTABLE)
    unmapped = np.where(maps.kind == OTHER_KIND, OTHER, ABSENT)
    return np.where(maps.kind == LEAF, allowed, unmapped).astype(np.uint8)


def shown(maps: Mappings) -> Mappings:
    """What is painted: everything but the kernel's own notes, which may be holes."""
    from ..mappings import NOTE

    notes: NDArray[np.bool_] = maps.kind == NOTE
    if not notes.any():
        return maps
    return maps[~notes]
