"""Show what an image is, what memory it has, and where its page tables are.

example: fastwalk info vmcore --layout-out layout.json
"""

from __future__ import annotations

import argparse

from fastwalk.errors import FastwalkError

from . import _common as common
from . import _facts
from . import _output as output


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.image_arguments(parser)
    parser.add_argument(
        "--layout-out", metavar="FILE", help="write what was found as a layout file"
    )


def run(options: argparse.Namespace) -> int:
    """Shows a table of findings."""
    opened = common.open_image(options)
    # First, as it tells where a raw image's memory begins.
    try:
        found = opened.layout
    except FastwalkError as error:
        if options.layout_out is not None:
            raise
        common.warn(str(error))
        _table(_facts.of_image(opened))
        return 0
    for assumption in opened.assumptions:
        common.warn(assumption)
    _table(_facts.of_image(opened) + _facts.of_layout(opened, found))
    if options.layout_out is not None:
        with output.text(options.layout_out) as out:
            out.write(found.to_json())
    return 0


def _table(rows: list[_facts.Fact]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for what, value, source in rows:
        print(f"{what:<{widths[0]}}  {value:<{widths[1]}}  {source}".rstrip())
