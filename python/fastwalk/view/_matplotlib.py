"""matplotlib, loaded when something is drawn, and its colours for light and dark."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from ..frames import MissingLibraryError


def library(name: str = "pyplot") -> Any:
    """A module of matplotlib. MissingLibraryError says what to install."""
    try:
        return import_module(f"matplotlib.{name}")
    except ImportError:
        raise MissingLibraryError(
            "plots need matplotlib; pip install matplotlib, or fastwalk[plot]"
        ) from None


class Paper(NamedTuple):
    """What a picture is drawn on, and with."""

    dark: bool
    ground: str
    text: str
    faint: str
    """Lines and marks that guide the eye."""
    band: str
    """The ground of every second region."""


LIGHT = Paper(False, "#ffffff", "#1c2430", "#8a929c", "#eef1f5")
DARK = Paper(True, "#14181f", "#e6e9ee", "#7b8491", "#1d232d")


def paper(dark: bool | None) -> Paper:
    """Light or dark; None: as matplotlib's style in force is
    (``plt.style.use("dark_background")``)."""
    if dark is None:
        colors = library("colors")
        ground = library("pyplot").rcParams["axes.facecolor"]
        red, green, blue = colors.to_rgb(ground)
        dark = bool(0.299 * red + 0.587 * green + 0.114 * blue < 0.5)
    return DARK if dark else LIGHT


def axes(ax: Any | None, on: Paper, size: tuple[float, float]) -> Any:
    """The axes to draw in: those given, or those of a new figure of that size in
    inches."""
    if ax is None:
        figure = library("pyplot").figure(figsize=size, layout="constrained")
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
        ax = figure.add_subplot()
        figure.set_facecolor(on.ground)
    ax.set_facecolor(on.ground)
    ax.tick_params(colors=on.text, which="both")
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def title(ax: Any, text: str, on: Paper) -> None:
    """A title at the left."""
    ax.set_title(text, loc="left", color=on.text, fontsize=11, fontweight="bold")


def legend(ax: Any, entries: list[tuple[str, str]], on: Paper, **where: Any) -> None:
    """(name, colour) pairs below the axes."""
    patches = library("patches")
    handles = [patches.Patch(color=color, label=name) for name, color in entries]
    made = ax.legend(
        handles=handles, frameon=False, labelcolor=on.text, fontsize=9, handlelength=1.2, **where
    )
    made.set_in_layout(True)
