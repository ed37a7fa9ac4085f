"""Physical memory along a Hilbert curve: neighbours in memory are neighbours in the
picture, and aligned blocks are squares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..shadow import physical_last
from . import _matplotlib, regions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..mappings import Mappings

ORDER = 8
"""The picture has 2^ORDER cells on a side."""
MOST_ORDER = 11
MEMORY = 0.95
"""Share of the mapped bytes that is taken for memory, where the image does not say where
that ends: the registers of devices lie far above it."""


def curve(order: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns and rows of the 4^order cells, in the order of the curve."""
    x = np.zeros(1, np.int64)
    y = np.zeros(1, np.int64)
    for level in range(order):
        side = 1 << level
        # Four copies: transposed, two as they are, transposed the other way.
        x, y = (
            np.concatenate((y, x, x + side, 2 * side - 1 - y)),
            np.concatenate((x, y + side, y + side, side - 1 - x)),
        )
    return x, y


def counts(
    maps: Mappings, start: int, cell: int, cells: int
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """For each cell how many rows map some of it, and their most permissive class."""
    leaf = maps.is_leaf
    first = maps.pa[leaf]
    last = physical_last(maps)[leaf]
    of = regions.classes(maps)[leaf]
    inside = (last >= np.uint64(start)) & (first <= np.uint64(start + cell * cells - 1))
    low = (np.maximum(first[inside], np.uint64(start)) - np.uint64(start)) // np.uint64(cell)
    high = (last[inside] - np.uint64(start)) // np.uint64(cell)
    low, high = low.astype(np.int64), np.minimum(high, np.uint64(cells - 1)).astype(np.int64)
    total = np.zeros(cells, np.int64)
    most = np.zeros(cells, np.uint8)
    for number in range(regions.WRITABLE_EXECUTABLE + 1):
        rows = of[inside] == number
        steps = np.zeros(cells + 1, np.int64)
        np.add.at(steps, low[rows], 1)
        np.add.at(steps, high[rows] + 1, -1)
        here = np.cumsum(steps)[:cells]
        total += here
        most[here > 0] = number
    return total, most


def draw(
    maps: Mappings,
    start: int = 0,
    end: int | None = None,
    *,
    order: int | None = None,
    ax: Any = None,
    dark: bool | None = None,
) -> Any:
    """What of physical memory is mapped, by class of permissions; brighter where several
    mappings meet. ``start``, ``end``: physical addresses, ``end`` exclusive; default: up
    to where the image's memory ends, or :data:`MEMORY` of all that is mapped.
    ``order``: 2^order cells on a side.

    ValueError where rows do not say which physical addresses they map: walk with
    ``coalesce="physical"`` (or ``"none"``).
    """
    from ..words import size_text

    if maps.origin is not None and maps.origin.coalesce not in ("physical", "none"):
        raise ValueError(
            f"these rows were joined by {maps.origin.coalesce}, so their physical addresses are "
            f'not known; walk with coalesce="physical"'
        )
    on = _matplotlib.paper(dark)
    page = 1 << maps.spec.page_bits
    top = _top(maps) if end is None else end
    if not 0 <= start < top:
        raise ValueError(f"start {start:#x} and end {top:#x} are no range of addresses")
    order = ORDER if order is None else order
    if not 1 <= order <= MOST_ORDER:
        raise ValueError(f"order {order} is not within 1 and {MOST_ORDER}")
    cells = 1 << (2 * order)
    cell = max(page, 1 << (-(-(top - start) // cells) - 1).bit_length())
    while order > 1 and cell == page and cells // 4 * page >= top - start:
        order, cells = order - 1, cells // 4
    total, most = counts(maps, start, cell, cells)
    y, x = curve(order)  # the first half of memory is the upper half
    side = 1 << order
    pixels = np.zeros((side, side, 4))
    to_rgb = _matplotlib.library("colors").to_rgb
    colors = np.array([to_rgb(c.dark if on.dark else c.light) for c in regions.CLASSES])
    pixels[y, x, :3] = colors[most]
    opaque = np.minimum(0.55 + 0.2 * np.log2(np.maximum(total, 1)), 1)
    pixels[y, x, 3] = np.where(total > 0, opaque, 0)
    outside = np.arange(cells) * cell + start >= top
    pixels[y[outside], x[outside]] = (*to_rgb(on.faint), 0.25)
    wide, high = int(x[~outside].max()) + 1, int(y[~outside].max()) + 1
    ax = _matplotlib.axes(ax, on, (7.2, 0.9 + 7 * high / wide))
    ax.set_facecolor(on.band)
    ax.imshow(pixels, origin="upper", interpolation="nearest")
    ax.set_xlim(-0.5, wide - 0.5)
    ax.set_ylim(high - 0.5, -0.5)
    _addresses(ax, start, cell, order, top, on)
    ax.set_xticks([])
    ax.set_yticks([])
    mapped = int((total > 0).sum()) * cell
    _matplotlib.title(
        ax,
        f"Physical memory {start:#x} to {top:#x}, a cell {size_text(cell)}, "
        f"{mapped / (top - start):.1%} of cells mapped",
        on,
    )
    present = np.unique(most[total > 0]).tolist()
    entries = [
        (regions.CLASSES[i].name, regions.CLASSES[i].dark if on.dark else regions.CLASSES[i].light)
        for i in present
    ]
    _matplotlib.legend(
        ax, [*entries, ("not mapped", on.band)], on,
        loc="upper left", bbox_to_anchor=(0, -0.01), ncols=len(entries) + 1,
    )  # fmt: skip
    return ax


def _top(maps: Mappings) -> int:
    """The end of memory: of what the image has, or of nearly all that is mapped."""
    leaf = maps.is_leaf
    first, last = maps.pa[leaf], physical_last(maps)[leaf]
    if not len(last):
        return 1 << maps.spec.page_bits
    order = np.argsort(last, kind="stable")
    reached = np.cumsum((last - first)[order].astype(np.float64) + 1)
    top = int(last[order][np.searchsorted(reached, MEMORY * reached[-1])]) + 1
    segments = maps.origin.segments if maps.origin is not None else ()
    return max([top, *(pa + size for pa, size in segments)])


def _addresses(ax: Any, start: int, cell: int, order: int, top: int, on: _matplotlib.Paper) -> None:
    """Sixteen squares, each with the address at which it begins."""
    squares = min(order, 2)
    rows, columns = curve(squares)
    side = 1 << (order - squares)
    bytes_each = cell * side * side
    patches = _matplotlib.library("patches")
    effects = _matplotlib.library("patheffects")
    for number, (column, row) in enumerate(zip(columns.tolist(), rows.tolist(), strict=True)):
        address = start + number * bytes_each
        if address >= top:
            continue
        corner = (column * side - 0.5, row * side - 0.5)
        ax.add_patch(
            patches.Rectangle(corner, side, side, fill=False, edgecolor=on.faint, linewidth=0.6)
        )
        ax.text(
            corner[0] + side * 0.04, corner[1] + side * 0.05, f"{address:#x}",
            color=on.text, fontsize=7.5, va="top",
            path_effects=[effects.withStroke(linewidth=2.5, foreground=on.ground)],
        )  # fmt: skip
