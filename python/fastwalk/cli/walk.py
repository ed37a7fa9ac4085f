"""List what is mapped where, with effective permissions.

example: fastwalk walk vmcore --coalesce physical --format csv
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TextIO

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
    parser.add_argument(
        "--coalesce",
        choices=["attributes", "physical", "none", "ptdump"],
        default="attributes",
        help="what is one row (default: attributes)",
    )
    parser.add_argument("--start", type=common.address, metavar="VA", help="first address")
    parser.add_argument("--end", type=common.number, metavar="VA", help="address after the last")
    output.arguments(parser, "text", "csv", "json", *output.COLUMNAR)
    parser.add_argument(
        "--decoded",
        action="store_true",
        help="parquet and arrow: add columns rw, nx, user, memory type and more",
    )
    parser.add_argument(
        "--kasan",
        choices=["keep", "collapse"],
        default="keep",
        help="collapse: the KASAN shadow as few rows",
    )
    parser.add_argument(
        "--all-spaces", action="store_true", help="walk every address space of the image"
    )


def run(options: argparse.Namespace) -> int:
    """Walks and writes."""
    if options.decoded and options.format not in output.COLUMNAR:
        raise common.UsageError("--decoded goes with --format parquet or arrow")
    label: Callable[[int], str] = common.unlabelled
    try:
        if options.all_spaces:
            maps = _all_spaces(options)
        else:
            space = common.choose_space(options)
            maps, label = _one_space(space, options), common.labels(space)
    except ValueError as error:
        raise common.UsageError(str(error)) from None
    for warning in maps.warnings:
        common.warn(warning)
    if options.format in output.COLUMNAR:
        output.write_binary(maps.stored(decoded=options.decoded), options)
        return 0
    with output.text(options.output) as out:
        write(maps, options.format, out, label)
    return 0


def _one_space(space: AddressSpace, options: argparse.Namespace) -> Mappings:
    return space.walk(
        options.start,
        options.end,
        options.coalesce,
        options.kasan,
        threads=options.threads,
        isa=options.isa,
        budget=options.budget,
        progress=True,
    )


def _all_spaces(options: argparse.Namespace) -> Mappings:
    if options.start is not None or options.end is not None or options.kasan != "keep":
        raise common.UsageError("--all-spaces goes without --start, --end and --kasan")
    work = (options.threads, options.isa, options.budget, True)
    return common.all_spaces(options).walk(options.coalesce, *work)


def write(
    maps: Mappings, format: str, out: TextIO, label: Callable[[int], str] = common.unlabelled
) -> None:
    """Rows as text; ``label`` is what stands behind a row that starts at an address."""
    if format == "text":
        if label is common.unlabelled:
            out.writelines(f"{line.lstrip()}\n" for line in maps.texts())
            return
        for line, start in zip(maps.texts(), maps.start, strict=True):
            out.write(f"{line.lstrip()}{label(int(start))}\n")
        return
    if format == "csv":
        output.csv_rows(_names(maps), _cells(maps), out)
        return
    shown = (
        {name: value for name, value in row._asdict().items() if value is not None} for row in maps
    )
    output.json_rows(shown, out)


def _names(maps: Mappings) -> list[str]:
    """Of the columns of a CSV file."""
    names = ["start", "size", "pa", "attributes", "effective", "depth", "kind"]
    if maps.has_shadow:
        names += ["shadow", "covers_start", "covers_size"]
    if "space" in maps.columns:
        names.append("space")
    return names


def _cells(maps: Mappings) -> Iterator[list[object]]:
    """Rows of a CSV file, addresses in hex."""
    has_shadow, several = maps.has_shadow, "space" in maps.columns
    for row in maps:
        cells: list[object] = [
            hex(row.start), row.size, hex(row.pa), hex(row.attributes), row.effective, row.depth,
            row.kind,
        ]  # fmt: skip
        if has_shadow:
            cells += [row.shadow, hex(row.covers_start or 0), row.covers_size]
        if several:
            cells.append(row.space)
        yield cells
