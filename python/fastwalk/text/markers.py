"""The areas that a kernel's markers name: where each begins, and which one goes on after it.

The dumpers print the markers as headings and know no areas; what is an end, their names tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..layout import Marker

UNNAMED = ""
"""The name of what lies between areas: after one ended and before the next begins."""

# How the kernels' markers name the ends of an area: "vmalloc() end" (arm64, riscv),
# "End Modules" (x86), "Kernel Image End" (s390x); see the address_markers arrays of
# arch/*/mm/ptdump.c and dump_pagetables.c, Linux 6.12.
_END = re.compile(r"^end (?P<a>.+)$|^(?P<b>.+?)( area)? end$", re.IGNORECASE)
_START = re.compile(r"^start of (?P<a>.+)$|^(?P<b>.+) start$", re.IGNORECASE)
_AREA = re.compile(r"^(?P<a>.+?) area$", re.IGNORECASE)


def _base(pattern: re.Pattern[str], heading: str) -> str | None:
    found = pattern.match(heading)
    return next(text for text in found.groupdict().values() if text) if found else None


def _key(name: str) -> str:
    return (_base(_AREA, name) or name).lower()


def changes(markers: Iterable[Marker]) -> Iterator[tuple[int, str]]:
    """(address, name from there on), in order of address; of several at one address the last
    one counts."""
    ordered = sorted(markers, key=lambda marker: marker.address)
    ends = {_key(base) for m in ordered if (base := _base(_END, m.heading)) is not None}
    open_areas: list[str] = []
    for marker in ordered:
        ended = _base(_END, marker.heading)
        if ended is not None:
            open_areas = [name for name in open_areas if _key(name) != _key(ended)]
            # What encloses it goes on, if its own end is still to come.
            rest = open_areas[-1] if open_areas and _key(open_areas[-1]) in ends else UNNAMED
            yield marker.address, rest
            continue
        name = _base(_START, marker.heading) or marker.heading
        if _key(name) not in ends:
            open_areas = []
        open_areas.append(name)
        yield marker.address, name
