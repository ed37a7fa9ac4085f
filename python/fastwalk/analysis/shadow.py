"""KASAN's shadow: which of it stands for which memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import arch
from ..layout import Layout
from ..mappings import Mappings
from ..origin import Walked


class Shadow(NamedTuple):
    """One byte of shadow stands for ``1 << shift`` bytes of memory."""

    start: int
    last: int
    shift: int
    memory: int
    """The address that the first byte of shadow stands for."""

    def of(self, vas: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Where the shadow of addresses is; of addresses that have one."""
        return (vas - np.uint64(self.memory) >> np.uint64(self.shift)) + np.uint64(self.start)

    def covers(self, vas: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which addresses have a shadow."""
        reach = (self.last - self.start + 1) << self.shift
        return (vas - np.uint64(self.memory)) <= np.uint64(reach - 1)


def shadow_of(layout: Layout, walked: Walked) -> Shadow | None:
    """The shadow of a kernel, where its layout says where that is.

    Generic KASAN has one byte for 8, the tag-based ones for 16; the shadow's size tells
    which. It ends where the address space ends (include/linux/kasan.h,
    kasan_mem_to_shadow; s390x: begins where that begins).
    """
    bounds = _bounds(layout)
    if bounds is None:
        return None
    start, end = bounds
    spec = arch.spec_of(walked.mode, walked.index_va_bits)
    half = next(half for half in spec.halves if half.name == walked.half)
    upper = [window for window in half.windows if window.base >> 63]
    span = upper[0].size if upper else max(window.size for window in half.windows)
    size = end - start
    # The largest scale whose memory is not more than the kernel's half.
    shift = 4 if size << 4 <= span else 3
    memory = (1 << 64) - (size << shift) if upper else 0
    return Shadow(start, end - 1, shift, memory)


def _bounds(layout: Layout) -> tuple[int, int] | None:
    """Start and end of the shadow, from its values or from the kernel's markers."""
    kasan = layout.kasan
    if kasan is not None and kasan.start is not None and kasan.end is not None:
        return kasan.start, kasan.end
    markers = layout.view().markers
    named = [marker for marker in markers if marker.name.lower().startswith("kasan shadow")]
    if len(named) != 2:
        return None
    return named[0].address, named[1].address


def physical_last(maps: Mappings) -> NDArray[np.uint64]:
    """The last physical address of each row. Of a row of shadow, which may repeat one page,
    the last of its first page. ValueError where rows are not contiguous in physical
    memory."""
    origin = maps.origin
    if origin is not None and origin.coalesce not in ("physical", "none"):
        raise ValueError(
            "rows are not contiguous in physical memory; take them from walk_physical()"
        )
    one = np.uint64(1)
    last = maps.pa + (maps.size - one)
    shadow = shadow_of(origin.layout, origin.spaces[0]) if origin else None
    if shadow is None:
        return last
    inside = (maps.start <= np.uint64(shadow.last)) & (
        maps.start + (maps.size - one) >= np.uint64(shadow.start)
    )
    page = np.uint64((1 << maps.spec.page_bits) - 1)
    return np.where(inside, maps.pa + page, last)
