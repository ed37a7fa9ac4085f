"""The structure of the page tables as a treemap: what of their memory serves what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..words import rough_size
from . import _matplotlib, regions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..mappings import Tables

SMALLEST = 2e-4
"""A table with less than this share of the picture is not drawn by itself."""
ROOM = 0.012
"""Room that a table keeps around those below it."""


class Box(NamedTuple):
    """A rectangle in the unit square."""

    x: float
    y: float
    width: float
    height: float


def squarify(weights: list[float], box: Box) -> list[Box]:
    """Rectangles with areas as the weights (positive, descending), side by side in a box,
    as square as may be (Bruls, Huizing, van Wijk, Squarified Treemaps, 2000)."""
    found: list[Box] = []
    left, scale = box, box.width * box.height / sum(weights) if weights else 0
    areas = [weight * scale for weight in weights]
    at = 0
    while at < len(areas):
        short = min(left.width, left.height)
        if short <= 0:
            found += [Box(left.x, left.y, 0, 0)] * (len(areas) - at)
            break
        end, total, worst = at, 0.0, float("inf")
        while end < len(areas):
            wider = total + areas[end]
            ratio = max(short**2 * areas[at] / wider**2, wider**2 / (short**2 * areas[end]))
            if ratio > worst:
                break
            total, worst, end = wider, ratio, end + 1
        thick = total / short
        offset = 0.0
        for area in areas[at:end]:
            long = area / thick
            if left.width >= left.height:
                found.append(Box(left.x, left.y + offset, thick, long))
            else:
                found.append(Box(left.x + offset, left.y, long, thick))
            offset += long
        if left.width >= left.height:
            left = Box(left.x + thick, left.y, max(left.width - thick, 0), left.height)
        else:
            left = Box(left.x, left.y + thick, left.width, max(left.height - thick, 0))
        at = end
    return found


def parents(tables: Tables) -> NDArray[np.int64]:
    """The row of the table above each one: the one a depth higher in whose span its lowest
    address lies. -1 for the root, and where that one is not there."""
    depth, va = tables.depth, tables.va
    above = np.full(len(tables), -1, np.int64)
    for level in range(1, int(depth.max(initial=0)) + 1):
        upper, own = np.flatnonzero(depth == level - 1), np.flatnonzero(depth == level)
        if not len(upper):
            continue
        order = upper[np.argsort(va[upper], kind="stable")]
        index = np.searchsorted(va[order], va[own], "right") - 1
        above[own] = np.where(index >= 0, order[np.maximum(index, 0)], -1)
    return above


def weights(tables: Tables) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bytes of page tables in each one and all below it, and the row above each."""
    spec = tables.spec
    own = np.array([(1 << d.index_bits) * d.entry_bytes for d in spec.depths], np.int64)
    total = own[np.minimum(tables.depth, len(own) - 1)]
    above = parents(tables)
    for level in range(int(tables.depth.max(initial=0)), 0, -1):
        rows = np.flatnonzero((tables.depth == level) & (above >= 0))
        np.add.at(total, above[rows], total[rows])
    return total, above


def draw(tables: Tables, *, ax: Any = None, dark: bool | None = None) -> Any:
    """Boxes in boxes: a table, those it points to, and so on down. The area is the memory
    of the tables; the colour of the lowest ones is how many of their entries are in use.
    Labels name the region (where a layout is known) and the address."""
    on = _matplotlib.paper(dark)
    ax = _matplotlib.axes(ax, on, (9.5, 6))
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    ax.set_ylim(1, 0)
    spec = tables.spec
    own = sum(
        int((tables.depth == n).sum()) * (1 << d.index_bits) * d.entry_bytes
        for n, d in enumerate(spec.depths)
    )
    kinds = ", ".join(
        f"{int((tables.depth == n).sum())} {d.name}" for n, d in enumerate(spec.depths)
    )
    _matplotlib.title(ax, f"{rough_size(own)} of page tables ({kinds})", on)
    if not len(tables):
        return ax
    total, above = weights(tables)
    order = np.argsort(-total, kind="stable")
    below: dict[int, list[int]] = {}
    for row in order.tolist():
        below.setdefault(int(above[row]), []).append(row)
    painter = _Painter(tables, ax, on, below, total)
    painter.boxes(below.get(-1, []), Box(0, 0, 1, 1), 0)
    painter.finish()
    return ax


class _Painter:
    def __init__(
        self,
        tables: Tables,
        ax: Any,
        on: _matplotlib.Paper,
        below: dict[int, list[int]],
        total: NDArray[np.int64],
    ) -> None:
        self.tables, self.ax, self.on = tables, ax, on
        self.below, self.total = below, total
        self.areas = regions.regions(tables.origin)
        self.boxes_drawn: list[Any] = []
        self.faces: list[Any] = []
        self.map = _matplotlib.library("cm").ScalarMappable(
            _matplotlib.library("colors").Normalize(0, 100),
            "cividis" if on.dark else "cividis_r",
        )

    def boxes(self, rows: list[int], box: Box, level: int) -> None:
        """Siblings, and what is below them."""
        if not rows:
            return
        sizes = [float(self.total[row]) for row in rows]
        for row, own in zip(rows, squarify(sizes, box), strict=True):
            if own.width * own.height < SMALLEST:
                continue
            inner = self._frame(row, own, level)
            if inner is not None:
                self.boxes(self.below.get(row, []), inner, level + 1)

    def _frame(self, row: int, box: Box, level: int) -> Box | None:
        tables, patches = self.tables, _matplotlib.library("patches")
        lower = self.below.get(row, [])
        depth = int(tables.depth[row])
        kinds = [int(getattr(tables, kind)[row]) for kind in ("table", "leaf", "other")]
        entries = sum(kinds) + int(tables.none[row])
        used = 100 * sum(kinds) / max(entries, 1)
        pad = min(ROOM / (level + 2), box.width / 8, box.height / 8)
        rectangle = patches.Rectangle(
            (box.x + pad / 4, box.y + pad / 4), box.width - pad / 2, box.height - pad / 2
        )
        self.boxes_drawn.append(rectangle)
        face = self.map.to_rgba(used) if not lower else self.on.band
        if lower and level % 2:
            face = self.on.ground
        self.faces.append(face)
        head = self._label(row, depth, box, pad, bool(lower), used)
        if not lower:
            return None
        inner = Box(
            box.x + pad, box.y + pad + head, box.width - 2 * pad, box.height - 2 * pad - head
        )
        return inner if inner.width > 0 and inner.height > 0 else None

    def _label(
        self, row: int, depth: int, box: Box, pad: float, has_lower: bool, used: float
    ) -> float:
        """Writes the name where there is room for it, and tells how high it is."""
        height, letter = 0.032, 0.0082
        if box.height < 1.6 * height:
            return 0.0
        va = int(self.tables.va[row])
        name = self.tables.spec.depths[depth].name
        number = int(regions.number_of(self.areas, np.array([va], np.uint64))[0])
        area = self.areas[number].name if number >= 0 and depth else ""
        texts = [f"{name} {va:#x} {area}".rstrip(), f"{name} {va:#x}", f"{va:#x}", name]
        text = next((text for text in texts if len(text) * letter < box.width - pad), None)
        if text is None:
            return 0.0
        bright = not has_lower and (used < 50) != self.on.dark
        color = self.on.text
        if not has_lower:
            color = "#101418" if bright or (self.on.dark and used >= 50) else "#ffffff"
        self.ax.text(
            box.x + pad, box.y + pad + height * 0.4, text, fontsize=7.5, color=color,
            va="center", clip_on=True, zorder=4,
        )  # fmt: skip
        return height * 0.85

    def finish(self) -> None:
        """Puts all boxes into the picture, and the scale of the colours beside it."""
        collection = _matplotlib.library("collections").PatchCollection(
            self.boxes_drawn, facecolors=self.faces, edgecolors=self.on.faint, linewidths=0.5
        )
        self.ax.add_collection(collection)
        shown = self.ax.figure.colorbar(self.map, ax=self.ax, pad=0.01, fraction=0.03)
        shown.set_label("entries in use, %", color=self.on.text)
        shown.ax.tick_params(colors=self.on.text)
        shown.outline.set_visible(False)
