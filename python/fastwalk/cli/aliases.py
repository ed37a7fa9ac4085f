"""Show every virtual address that leads to physical memory, in one address space or in all.

Without PA: which physical memory is mapped more than once, and how often.

example: fastwalk aliases vmcore 0x1a16000 --all-spaces
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from . import _common as common
from . import _output as output

if TYPE_CHECKING:
    from fastwalk.analysis.aliases import Counts, ReverseMap
    from fastwalk.frames import Columnar

TOP = 1 << 64


def physical(text: str) -> tuple[int, int]:
    """An address, START-END or START+SIZE, as first address and size."""
    first, mark, rest = text.partition("+" if "+" in text else "-")
    start = common.address(first)
    if not mark:
        return start, 1
    number = common.number(rest)
    size = number if mark == "+" else (number or TOP) - start
    if size < 1 or start + size > TOP:
        raise argparse.ArgumentTypeError(
            f"{text} is no range; write 0x1000-0x2000 or 0x1000+0x1000"
        )
    return start, size


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.image_arguments(parser)
    parser.add_argument(
        "ranges",
        nargs="*",
        type=physical,
        metavar="PA",
        help="physical address, START-END (the address after the last), or START+SIZE",
    )
    common.space_arguments(parser)
    common.work_arguments(parser)
    output.arguments(parser, "text", "csv", "json", *output.COLUMNAR)
    parser.add_argument(
        "--all-spaces", action="store_true", help="look in every address space of the image"
    )
    parser.add_argument(
        "--min",
        type=common.count,
        default=2,
        metavar="N",
        help="without PA: show what has at least so many mappings (default: 2)",
    )


def run(options: argparse.Namespace) -> int:
    """Shows them."""
    from fastwalk.analysis.aliases import ReverseMap

    maps = common.walk_physical(options)
    found = ReverseMap(maps)
    if not options.ranges:
        return _counts(found, options)
    parts = [found.find(pa, size) for pa, size in options.ranges]
    rows = parts[0].joined(parts[1:], maps.origin)
    if options.format != "text":
        return write(rows, options)
    with output.text(options.output) as out:
        for (pa, size), part in zip(options.ranges, parts, strict=True):
            end = f"-{(pa + size) % TOP:#x}" if size > 1 else ""
            out.write(f"{pa:#x}{end}: {len(part)} mappings\n")
            out.writelines(f"{line}\n" for line in part.texts())
    return 0


def _counts(found: ReverseMap, options: argparse.Namespace) -> int:
    counts = found.counts().at_least(options.min)
    if options.format != "text":
        return write(counts, options)
    from fastwalk.words import size_text

    with output.text(options.output) as out:
        columns = (counts.columns[name].tolist() for name in counts.NAMES)
        for pa, size, mappings, writable, executable, user in zip(*columns, strict=True):
            out.write(
                f"{pa:#014x}-{(pa + size) % TOP:#014x} {size_text(size):>9} {mappings} mappings: "
                f"{writable} writable, {executable} executable, {user} user\n"
            )
        out.write(f"{_total(counts)} in {len(counts)} ranges have {options.min} mappings or more\n")
    return 0


def _total(counts: Counts) -> str:
    from fastwalk.words import rough_size

    total = int(counts.columns["size"].sum())
    return rough_size(total) if total else "nothing"


def write(what: Columnar, options: argparse.Namespace) -> int:
    """Columns in a format for programs."""
    output.write_frame(what.frame(), options)
    return 0
