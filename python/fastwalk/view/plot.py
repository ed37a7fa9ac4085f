"""``maps.plot()``: what an address space maps, as pictures.

Every function takes the ``ax`` to draw in (default: those of a new figure) and ``dark``
(default: as the style in force), and returns the axes. Needs matplotlib
(``fastwalk[plot]``), which is loaded when something is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..words import rough_size
from . import _matplotlib, hilbert, regions, scale, treemap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..mappings import Mappings, Tables

BINS = 1500
"""Of the address axis: more than a screen has pixels."""
FAINTEST = 0.45
"""Opacity of a bin of which only little is mapped."""
THINNEST = 5
"""Bins that a row takes at least: what is alone has to be seen."""


def _rows(maps: Mappings) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint8]]:
    """First and last addresses and classes, in order of address."""
    painted = regions.shown(maps)
    order = np.argsort(painted.start, kind="stable")
    start = painted.start[order]
    last = start + (painted.size[order] - np.uint64(1))
    return start, last, regions.classes(painted)[order]


def _lanes(
    begin: NDArray[np.float64], end: NDArray[np.float64], of: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """How much of each bin the rows of each class take: (classes, BINS), 0 to 1."""
    shares = np.zeros((len(regions.CLASSES), BINS))
    for lane in range(len(regions.CLASSES)):
        rows = of == lane
        first, final = begin[rows] * BINS, end[rows] * BINS
        low = np.minimum(first.astype(int), BINS - 1)
        high = np.minimum(final.astype(int), BINS - 1)
        across = high > low
        steps = np.bincount(low[across] + 1, minlength=BINS + 1) - np.bincount(
            high[across], minlength=BINS + 1
        )
        covered = np.cumsum(steps)[:BINS].astype(float)
        covered += np.bincount(low, np.minimum(final, low + 1) - first, BINS)
        covered += np.bincount(high[across], final[across] - high[across], BINS)
        touched = np.zeros(BINS + THINNEST)
        for step in range(THINNEST):
            touched[low + step] = touched[high + step] = 0.01
        shares[lane] = np.clip(covered, touched[THINNEST // 2 :][:BINS], 1)
    return shares


def bar(maps: Mappings, *, ax: Any = None, dark: bool | None = None) -> Any:
    """The address space from bottom to top as ptdump prints it from top to bottom: a lane
    a class of permissions, regions by name. The scale is logarithmic by stretch
    (:mod:`fastwalk.view.scale`): a page can be seen beside terabytes."""
    on = _matplotlib.paper(dark)
    start, last, of = _rows(maps)
    page = 1 << maps.spec.page_bits
    scaled = scale.make(regions.regions(maps.origin), start, last, page)
    ax = _matplotlib.axes(ax, on, (8.5, max(3.2, 1.3 + 0.42 * len(scaled.regions))))
    _matplotlib.title(ax, _what(maps), on)
    present = [lane for lane in range(len(regions.CLASSES)) if (of == lane).any()]
    if not present:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "nothing is mapped", color=on.text, ha="center")
        return ax
    shares = _lanes(scaled.place(start), _ends(scaled, last), of)
    pixels = np.zeros((BINS, len(present), 4))
    for column, lane in enumerate(present):
        share = shares[lane]
        pixels[:, column, :3] = _rgb(regions.CLASSES[lane], on)
        pixels[:, column, 3] = np.where(share > 0, FAINTEST + (1 - FAINTEST) * share, 0)
    ax.imshow(
        _without_seams(pixels),
        extent=(-0.5, len(present) - 0.5, 0, 1),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        zorder=2,
    )
    sizes = _bytes_of(scaled, start, last)
    ticks, names = [], []
    for number, region in enumerate(scaled.regions):
        low, high = scaled.of_region(number)
        if number % 2 == 0:
            ax.axhspan(low, high, color=on.band, zorder=0, linewidth=0)
        ax.axhline(low, color=on.faint, linewidth=0.4, zorder=3)
        ticks.append((low + high) / 2)
        name = region.name or "(no name)"
        names.append(f"{name}{chr(10) if sizes[number] else '  '}{region.first:#x}")
        ax.text(
            len(present) - 0.42,
            (low + high) / 2,
            rough_size(sizes[number]) if sizes[number] else "nothing",
            color=on.text if sizes[number] else on.faint,
            fontsize=8,
            va="center",
        )
    ax.set_yticks(ticks, names, fontsize=8)
    ax.set_xticks(range(len(present)), [regions.CLASSES[lane].name for lane in present])
    ax.xaxis.tick_top()
    for label, lane in zip(ax.get_xticklabels(), present, strict=True):
        label.set(color=_rgb(regions.CLASSES[lane], on), fontweight="bold")
    ax.tick_params(length=0)
    ax.set_xlim(-0.5, len(present) + 0.15)
    ax.set_ylim(0, 1)
    ax.grid(visible=False)
    return ax


def _ends(scaled: scale.Scale, last: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Where the byte after each last one is; the end of the piece, where that is it."""
    at = scaled.place(last)
    ends = np.array([piece.end for piece in scaled.pieces])
    lasts = np.array([piece.last for piece in scaled.pieces], np.uint64)
    index = np.minimum(np.searchsorted(lasts, last, "left"), len(lasts) - 1)
    return np.where(lasts[index] == last, ends[index], at)


def _without_seams(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lanes with a little room between them."""
    wide = np.repeat(pixels, 12, axis=1)
    wide[:, ::12, 3] = 0
    wide[:, 11::12, 3] = 0
    return wide


def _rgb(of: regions.Class, on: _matplotlib.Paper) -> tuple[float, float, float]:
    red, green, blue = _matplotlib.library("colors").to_rgb(of.dark if on.dark else of.light)
    return red, green, blue


def _bytes_of(
    scaled: scale.Scale, start: NDArray[np.uint64], last: NDArray[np.uint64]
) -> list[int]:
    """Bytes that rows cover in each region, each address once."""
    firsts, lasts = scale.stretches(start, last)
    found = []
    for region in scaled.regions:
        low = np.maximum(firsts, np.uint64(region.first))
        high = np.minimum(lasts, np.uint64(region.last))
        inside = high >= low
        pages = (high[inside] - low[inside]).astype(np.float64) + 1
        found.append(int(pages.sum()))
    return found


def _what(maps: Mappings) -> str:
    if maps.origin is None:
        return maps.spec.name
    name = maps.origin.image.rsplit("/", 1)[-1]
    spaces = maps.origin.spaces
    whose = spaces[0].name if len(spaces) == 1 else f"{len(spaces)} address spaces"
    return f"{name}: {whose}, {maps.spec.name}, Linux {maps.origin.layout.kernel}"


class MappingsPlot:
    """``maps.plot()`` is :func:`bar`; ``maps.plot.hilbert()`` is the map of physical
    memory."""

    def __init__(self, maps: Mappings) -> None:
        self._maps = maps

    def __call__(self, *, ax: Any = None, dark: bool | None = None) -> Any:
        """The address space, region by region: :func:`bar`."""
        return bar(self._maps, ax=ax, dark=dark)

    def hilbert(
        self,
        start: int = 0,
        end: int | None = None,
        *,
        order: int | None = None,
        ax: Any = None,
        dark: bool | None = None,
    ) -> Any:
        """Physical memory along a Hilbert curve: :func:`fastwalk.view.hilbert.draw`."""
        return hilbert.draw(self._maps, start, end, order=order, ax=ax, dark=dark)


class TablesPlot:
    """``tables.plot()``: the structure of the page tables."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def __call__(self, *, ax: Any = None, dark: bool | None = None) -> Any:
        """A treemap: :func:`fastwalk.view.treemap.draw`."""
        return treemap.draw(self._tables, ax=ax, dark=dark)
