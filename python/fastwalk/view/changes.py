"""What changed between two walks, as a picture: how much of what, section by section."""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..analysis.sections import names_of
from ..analysis.sides import AMOUNT, CHANGES
from ..words import rough_size
from . import _matplotlib

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..analysis.diff import Diff


class Lane(NamedTuple):
    """A column of the picture."""

    name: str
    light: str
    dark: str


LANES = (
    Lane("appeared", "#0072b2", "#5cb3ff"),
    Lane("gone", "#c2185b", "#ff5c93"),
    Lane("attributes", "#b97900", "#f0b429"),
    Lane("moved", "#6a51a3", "#b39ddb"),
    Lane("more", "#5f9ec4", "#3d84b8"),
    Lane("less", "#d17a99", "#b5446c"),
)
"""Changes as :data:`fastwalk.analysis.sides.CHANGES` has them, *amount* as more and less."""


def lanes(found: Diff) -> NDArray[np.int64]:
    """The lane of each change."""
    change = found.columns["change"].astype(np.int64)
    less = (change == AMOUNT) & (found.columns["effective_after"] == 0)
    return np.where(less, len(CHANGES), change)


def bytes_by_section(found: Diff) -> tuple[list[str], NDArray[np.float64], NDArray[np.int64]]:
    """Names of the sections that have changes, in order of address; bytes and numbers of
    changes: (sections, lanes)."""
    columns = found.columns
    number, names = names_of(found.sections, columns["space"], columns["start"])
    rows, index = np.unique(number, return_inverse=True)
    size = columns["size"]
    sizes = np.where(size == 0, 2.0**64, size.astype(np.float64))
    total = np.zeros((len(rows), len(LANES)))
    count = np.zeros((len(rows), len(LANES)), np.int64)
    at = (index, lanes(found))
    np.add.at(total, at, sizes)
    np.add.at(count, at, 1)
    return [names[n] or "(no name)" for n in rows.tolist()], total, count


def draw(found: Diff, *, ax: Any = None, dark: bool | None = None) -> Any:
    """A row a section from bottom to top, a lane a sort of change; bars are as long as the
    logarithm of the bytes, which stand on them, with the number of changes."""
    on = _matplotlib.paper(dark)
    names, total, count = bytes_by_section(found)
    used = np.flatnonzero(count.sum(axis=0)) if len(names) else np.zeros(0, int)
    ax = _matplotlib.axes(ax, on, (2.6 + 1.9 * max(len(used), 2), max(2.2, 1.3 + 0.5 * len(names))))
    before, after = (name.rsplit("/", 1)[-1] for name in found.names)
    _matplotlib.title(ax, f"From {before} to {after}" if before != after else "Changes", on)
    if not len(used):
        ax.set_axis_off()
        ax.text(0.5, 0.5, "no change", color=on.text, ha="center", transform=ax.transAxes)
        return ax
    page = 1 << found.spec.page_bits
    longest = _length(total.max(), page)
    for row in range(len(names)):
        if row % 2 == 0:
            ax.axhspan(row - 0.5, row + 0.5, color=on.band, zorder=0, linewidth=0)
        for column, lane in enumerate(used.tolist()):
            if not count[row, lane]:
                continue
            color = LANES[lane].dark if on.dark else LANES[lane].light
            length = 0.85 * _length(total[row, lane], page) / longest
            ax.barh(row - 0.16, length, 0.34, left=column, color=color, zorder=2)
            text = f"{rough_size(int(total[row, lane]))} ({count[row, lane]:,})"
            ax.text(column, row + 0.2, text, color=on.text, fontsize=8, va="center", zorder=3)
    ax.set_yticks(range(len(names)), names, fontsize=9)
    ax.set_xticks([column + 0.4 for column in range(len(used))], [LANES[i].name for i in used])
    ax.xaxis.tick_top()
    for label, lane in zip(ax.get_xticklabels(), used.tolist(), strict=True):
        label.set(color=LANES[lane].dark if on.dark else LANES[lane].light, fontweight="bold")
    ax.tick_params(length=0)
    ax.set_xlim(-0.05, len(used))
    ax.set_ylim(-0.5, len(names) - 0.5)
    ax.grid(visible=False)
    return ax


def _length(size: float, page: int) -> float:
    return 1 + log2(max(size / page, 1))


class DiffPlot:
    """``diff.plot()``: :func:`draw`."""

    def __init__(self, found: Diff) -> None:
        self._found = found

    def __call__(self, *, ax: Any = None, dark: bool | None = None) -> Any:
        """How much of what changed, section by section: :func:`draw`."""
        return draw(self._found, ax=ax, dark=dark)
