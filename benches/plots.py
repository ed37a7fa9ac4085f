"""The plots in plots/: one a figure, on no background of their own and in middling colours,
so that they are readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLDER = Path(__file__).parent / "plots"
INK = "#808890"
"""Text, axes and limits: about as far from white as from black."""
COLOURS = ["#3f8fd6", "#dd7a1a", "#35a06f"]

Found = dict[str, Any]


def plot(name: str, title: str, x: str, y: str, fill: Callable[[Axes], None]) -> None:
    """One figure, the same bytes from the same numbers."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "fastwalk",
            "font.family": "sans-serif",
            "font.size": 10,
            **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), INK),
            **dict.fromkeys(("xtick.color", "ytick.color", "grid.color"), INK),
            "grid.alpha": 0.25,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
    fill(axes)
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(True, which="major")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    FOLDER.mkdir(exist_ok=True)
    figure.savefig(FOLDER / f"{name}.svg", transparent=True, metadata={"Date": None})
    pyplot.close(figure)


def draw(
    results: dict[str, list[Found]], names: dict[str, str], allowed: Callable[[Found], float]
) -> None:
    """All of them."""
    kinds = {
        label: (colour, [case for case in results["sizes"] if case["name"] == name])
        for (name, label), colour in zip(names.items(), COLOURS, strict=True)
    }

    def tables(axes: Axes, cases: list[Found]) -> None:
        """Bytes of tables along x."""
        sizes = [case["bytes"] for case in cases]
        axes.set_xscale("log", base=2)
        mib = [case["gib"] * 2 for case in cases]
        labels = [f"{size} MiB" if size < 1024 else f"{size >> 10} GiB" for size in mib]
        axes.set_xticks(sizes, labels)
        axes.minorticks_off()

    def time(axes: Axes) -> None:
        for label, (colour, cases) in kinds.items():
            x = [case["bytes"] for case in cases]
            axes.plot(x, [c["walk 1"] for c in cases], "o-", color=colour, label=label, ms=4)
            axes.plot(x, [c["read 1"] + c["write 1"] for c in cases], ":", color=colour)
        axes.plot([], [], ":", color=INK, label="limit: read, write columns")
        axes.set_yscale("log")
        tables(axes, cases)

    def threads(axes: Axes) -> None:
        for label, (colour, cases) in kinds.items():
            x = [case["bytes"] for case in cases]
            scale = [c["walk 1"] / c["walk 2"] for c in cases]
            limit = [(c["read 1"] + c["write 1"]) / (c["read 2"] + c["write 2"]) for c in cases]
            axes.plot(x, scale, "o-", color=colour, label=label, ms=4)
            axes.plot(x, limit, ":", color=colour)
        axes.plot([], [], ":", color=INK, label="limit, of the same")
        axes.set_ylim(bottom=0)
        tables(axes, cases)

    def memory(axes: Axes) -> None:
        for label, (colour, cases) in kinds.items():
            x = [case["bytes"] for case in cases]
            beyond = [max(c["peak 1"] - c["output"], 0) / (1 << 20) for c in cases]
            axes.plot(x, beyond, "o-", color=colour, label=label, ms=4)
        axes.plot(x, [allowed(c) / (1 << 20) for c in cases], "--", color=INK, label="allowed")
        axes.set_ylim(bottom=0)
        tables(axes, cases)

    def roots(axes: Axes) -> None:
        cases = results["roots"]
        x = [case["roots"] for case in cases]
        axes.plot(x, [c["walk"] * 1e3 for c in cases], "o-", color=COLOURS[0], label="walk", ms=4)
        limit = [(c["read"] + c["write"]) * 1e3 for c in cases]
        axes.plot(x, limit, ":", color=INK, label="limit: read unique tables, write columns")
        axes.set_ylim(bottom=0)

    plot("scaling-time", "Walk, one thread", "tables", "seconds", time)
    plot("scaling-threads", "Two threads against one", "tables", "times as fast", threads)
    plot(
        "scaling-memory",
        "Memory beyond the mapped image and the output, one thread",
        "tables",
        "MiB at most",
        memory,
    )
    plot(
        "scaling-roots",
        "Roots that share a kernel half of 64 GiB in 4K pages, one thread",
        "roots",
        "milliseconds",
        roots,
    )
