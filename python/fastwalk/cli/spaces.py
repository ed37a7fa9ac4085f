"""List the address spaces of an image: the kernel's, every process's, and other roots, with
the evidence for each.

example: fastwalk spaces vmcore
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, TextIO

from . import _common as common
from . import _output as output

if TYPE_CHECKING:
    from fastwalk.detect import Space

COLUMNS = ("name", "root", "role", "mode", "pid", "comm", "evidence")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.image_arguments(parser)
    output.arguments(parser, "text", "csv", "json")


def run(options: argparse.Namespace) -> int:
    """Lists them."""
    image = common.open_image(options)
    found = image.spaces()
    for assumption in image.assumptions:
        common.warn(assumption)
    with output.text(options.output) as out:
        write([row(space) for space in found], options.format, out)
    return 0


def row(space: Space) -> tuple[str | int | None, ...]:
    """The columns of a space."""
    name = ", ".join((space.name, *space.aliases))
    root = f"{space.root.pa:#x}"
    return name, root, space.root.role, space.mode, space.pid, space.comm, space.evidence


def write(rows: list[tuple[str | int | None, ...]], format: str, out: TextIO) -> None:
    """Rows as text."""
    if format == "json":
        output.json_document([dict(zip(COLUMNS, row, strict=True)) for row in rows], out)
        return
    if format == "csv":
        output.csv_rows(COLUMNS, rows, out)
        return
    texts = [["" if cell is None else str(cell) for cell in row] for row in (COLUMNS, *rows)]
    widths = [max(len(row[i]) for row in texts) for i in range(len(COLUMNS))]
    for row in texts:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        out.write("  ".join(cells).rstrip() + "\n")
