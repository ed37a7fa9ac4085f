"""Show how an address space is mapped: bytes by leaf size, permissions and memory type, the
cost of its page tables, larger leaves that there could be, reach of the TLB, tables that
spaces share, what KASAN covers.

example: fastwalk stats vmcore --all-spaces
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from . import _common as common
from . import _output as output

if TYPE_CHECKING:
    from fastwalk import AddressSpace
    from fastwalk.mappings import Mappings


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.image_arguments(parser)
    common.space_arguments(parser)
    common.work_arguments(parser)
    output.arguments(parser, "text", "json", "csv", *output.COLUMNAR)
    parser.add_argument(
        "--all-spaces", action="store_true", help="of every address space of the image"
    )


def run(options: argparse.Namespace) -> int:
    """Counts."""
    from fastwalk.analysis.stats import stats

    work = (options.threads, options.isa, options.budget, True)
    if options.all_spaces:
        spaces = common.all_spaces(options)
        maps, tables = spaces.walk_physical(*work), spaces.tables(options.threads)
        found = stats(maps, tables, _shadow(spaces.image.kernel()))
    else:
        space = common.choose_space(options)
        maps = space.walk_physical(*work)
        found = stats(maps, space.tables(threads=options.threads), _shadow(space))
    for warning in maps.warnings:
        common.warn(warning)
    if options.format in ("csv", *output.COLUMNAR):
        output.write_frame(found.frame(), options)
        return 0
    with output.text(options.output) as out:
        if options.format == "json":
            output.json_document(found.document(), out)
        else:
            for line in found.lines():
                out.write(line + "\n")
    return 0


def _shadow(space: AddressSpace) -> Mappings | None:
    """For what KASAN covers."""
    return space.walk(kasan="collapse") if space.shadow_range() else None
