"""KASAN's shadow memory in what was walked: where it is, by the layout's values or the kernel's
own markers. What it stands for, the architectures know (:func:`fastwalk.arch.shadows`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import arch
from .arch import Shadow
from .arch.spec import Spec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .layout import Layout
    from .mappings import Mappings
    from .origin import Walked

TOP = 1 << 64


def told(layout: Layout, spec: Spec) -> Shadow | None:
    """The shadow that a layout names, with the scale that its size tells; None where it names
    none, or where there is no KASAN in the mode."""
    bounds, places = _bounds(layout), arch.shadows(spec)
    if bounds is None or not places:
        return None
    start, end = bounds
    size = end - start
    like = min(places, key=lambda place: abs(place.end - place.start - size))
    # Whatever the configuration: the last byte stands for the same last address.
    covers = (like.covers + (like.end - like.start - size << like.scale)) % TOP
    return Shadow(start, end, like.scale, covers)


def _bounds(layout: Layout) -> tuple[int, int] | None:
    """Start and end (exclusive)."""
    kasan = layout.kasan
    if kasan is not None and kasan.start is not None and kasan.end is not None:
        return kasan.start, kasan.end
    named = [m for m in layout.view().markers if m.name.lower().startswith("kasan shadow")]
    return (named[0].address, named[1].address) if len(named) == 2 else None


def of_walked(layout: Layout, walked: Walked) -> Shadow | None:
    """The same for one space of a walk."""
    return told(layout, arch.spec_of(walked.mode, walked.index_va_bits))


def shadowed(maps: Mappings) -> NDArray[np.bool_]:
    """Which rows are (in part) KASAN's shadow. Of a walk of several spaces, as the first of
    them has it."""
    import numpy as np

    origin = maps.origin
    shadow = of_walked(origin.layout, origin.spaces[0]) if origin else None
    if shadow is None:
        return np.zeros(len(maps), np.bool_)
    last = maps.start + (maps.size - np.uint64(1))
    rows: NDArray[np.bool_] = maps.start < np.uint64(shadow.end)
    rows &= last >= np.uint64(shadow.start)
    return rows


def physical_last(maps: Mappings) -> NDArray[np.uint64]:
    """The last physical address of each row. Of a row of shadow, which may repeat one page,
    the last of its first page. ValueError where rows are not contiguous in physical
    memory."""
    import numpy as np

    origin = maps.origin
    if origin is not None and origin.coalesce not in ("physical", "none"):
        raise ValueError(
            f"rows were joined by {origin.coalesce}, so they are not contiguous in physical "
            f"memory; take them from walk_physical()"
        )
    last = maps.pa + (maps.size - np.uint64(1))
    page = np.uint64((1 << maps.spec.page_bits) - 1)
    return np.where(shadowed(maps), np.minimum(last, maps.pa + page), last)
