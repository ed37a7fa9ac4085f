"""The data of arch/ against what real kernels printed, through the naive walker alone."""

from __future__ import annotations

from collections.abc import Iterator

import golden_cases
import naive
import pytest
from golden_cases import Case

from fastwalk import arch
from fastwalk.text import ptdump


def views() -> Iterator[tuple[str, str]]:
    """Every view of every case, but for those that are the same walk by another name
    (``current_user`` without page-table isolation)."""
    known = arch.modes()
    for name in golden_cases.names():
        case = Case(name)
        if case.layout.mode not in known:
            continue
        seen = []
        for view in case.case["views"]:
            walk = (case.layout.view(view), case.text(view))
            if walk not in seen:
                seen.append(walk)
                yield name, view


@pytest.mark.parametrize(("name", "view"), list(views()))
def test_the_naive_walk_prints_what_the_kernel_printed(name: str, view: str) -> None:
    case = Case(name)
    layout, memory = case.layout, case.memory
    chosen = arch.dialect_of(layout, view, read=memory.read)
    assert chosen.exact
    shown = layout.view(view)
    root = layout.root(shown.root)
    dump = naive.ptdump(chosen.dialect, memory, root.pa, shown.ranges, shown.markers)
    assert not any(row.absent for row in dump.rows)
    got = ptdump.text(chosen.dialect, shown.markers, naive.text_rows(dump))
    assert got.splitlines() == case.text(view).splitlines()
    assert got == case.text(view)
