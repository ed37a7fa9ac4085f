"""Reports to test: of a recorded kernel, and of as many rows as a report has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import golden_cases
import numpy as np

import fastwalk
from fastwalk.layout import Marker
from fastwalk.mappings import Mappings
from fastwalk.view.report import MOST_ROWS, Found, render

HOSTILE = "</script><img src=x onerror=\"document.title='taken'\">&'"


def space_of(name: str, folder: Path) -> fastwalk.AddressSpace:
    case = golden_cases.Case(name).extract(folder)
    return fastwalk.open(case / "tables.elf", layout=case / "layout.json").kernel()


def hostile_page(space: fastwalk.AddressSpace) -> str:
    """Every name is one that would take over a careless page."""
    layout = space.layout
    view = layout.view()
    markers = (*view.markers[:1], *(Marker(m.address, HOSTILE) for m in view.markers[1:]))
    layout = layout._replace(
        kernel=HOSTILE, views={space.view or "": view._replace(markers=markers)}
    )
    maps = space.walk()
    assert maps.origin is not None
    spaces = (maps.origin.spaces[0]._replace(name=HOSTILE),)
    origin = replace(maps.origin, image=HOSTILE, layout=layout, spaces=spaces)
    hostile = Mappings(maps.columns, maps.spec, warnings=(HOSTILE,), origin=origin)
    found = Found(
        HOSTILE, HOSTILE, HOSTILE, 0xFFFFC90000005000, 4096, HOSTILE, HOSTILE, HOSTILE, 0, HOSTILE
    )
    return render(
        hostile,
        space.tables(),
        [(HOSTILE, HOSTILE, HOSTILE)],
        [found],
        skipped=[(HOSTILE, HOSTILE)],
    )


def largest_page(space: fastwalk.AddressSpace) -> str:
    """As many rows as a report has, of alternating permissions, and two beyond them."""
    maps = space.walk()
    first = maps[0]
    count = MOST_ROWS + 2
    start = np.uint64(0xFFFF888000000000) + np.arange(count, dtype=np.uint64) * np.uint64(8192)
    of = np.arange(count) % len(maps)
    leaf = np.flatnonzero(maps.is_leaf)[of % int(maps.is_leaf.sum())]
    columns = {
        "start": start,
        "size": np.full(count, 4096, np.uint64),
        "pa": start - np.uint64(0xFFFF888000000000),
        "attributes": maps.attributes[leaf],
        "effective": maps.effective[leaf],
        "depth": np.full(count, len(maps.spec.depths) - 1, np.uint8),
        "kind": np.zeros(count, np.uint8),
    }
    assert first is not None
    return render(Mappings(columns, maps.spec, origin=space.origin("physical")), space.tables())
