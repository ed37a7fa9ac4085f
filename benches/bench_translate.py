"""Many addresses to physical ones, against gathering their entries and writing the columns.

make bench BENCH='-k translate'
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import images
import numpy as np
import pytest
from conftest import Tell
from limits import limits
from measure import Walked, in_turn

COUNT = 10_000_000
WIDTHS = {"translate": [8, 1], "lookup": [8, 8, 1, 1, 1]}
"""Bytes of the columns of each; the mask of translate() comes on top."""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("order", ["random", "sorted"])
def test_translate(order: str, threads: int, benchmark: Any, tell: Tell) -> None:
    """Ten million addresses of 64 GiB in 4K pages, in any order and sorted."""
    walked = Walked(images.get("direct4k"))
    made, space = walked.made, walked.space
    random = np.random.default_rng(3)
    vas = random.integers(made.start, made.end, COUNT, dtype=np.uint64)
    if order == "sorted":
        vas.sort()
    pas = vas - np.uint64(made.start - images.PHYSICAL)
    found = space.translate(vas, threads=threads)
    assert not found.mask.any()
    assert (found.data == pas).all()
    lookup = space.lookup(vas, threads=threads)
    assert (lookup.pa == pas).all()
    assert not lookup.status.any()
    assert (lookup.depth == 3).all()
    assert (lookup.attributes == int(images.ATTRIBUTES[0]) & images.KEPT).all()
    del found, lookup
    # The ptes lie one after the other in this image.
    first = made.addresses()[sum(made.tables[:3])]
    pages = (vas - np.uint64(made.start)) >> np.uint64(12)
    places = (np.uint64(first) + pages * np.uint64(8)).tobytes()
    flags = int(images.ATTRIBUTES[0]) * COUNT
    frames = int((pas & np.uint64(~0xFFF & (1 << 64) - 1)).sum(dtype=np.uint64))
    assert walked.map.gather(places, threads)[0] == (frames + flags) % (1 << 64)

    for name, widths in WIDTHS.items():
        call = getattr(space, name)

        def run(call: Callable[..., object] = call) -> None:
            call(vas, threads=threads)

        def limit(widths: list[int] = widths) -> float:
            gathered: float = walked.map.gather(places, threads)[1]
            written: float = limits.write_columns(COUNT, widths, True, threads)
            return gathered + written

        times = in_turn({name: run, "limit": limit}, rounds=7)
        each = times.median(name) / COUNT * 1e9
        tell(
            f"{name} {order} x{threads}",
            times.ratio("limit", name),
            f"of gathering and memcpy; {each:.1f} ns each",
        )
    benchmark.pedantic(lambda: space.translate(vas, threads=threads), rounds=1)
