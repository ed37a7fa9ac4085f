"""Show what changed between two images: what appeared (+) and went (-), changed its attributes
(!) or moved to other physical memory (>). Pages that were split or merged are no change.

Two boots of one kernel are compared section by section, wherever KASLR has put them; ~ is then
another amount of memory with some attributes. Exit status 1 where anything differs.

example: fastwalk diff before.vmcore after.vmcore
"""

from __future__ import annotations

import argparse
import copy
from typing import TYPE_CHECKING

from . import _common as common
from . import _output as output

if TYPE_CHECKING:
    from fastwalk.analysis.diff import Change
    from fastwalk.mappings import Mappings

KASLR = {"auto": None, "yes": True, "no": False}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.image_arguments(parser, "BEFORE")
    parser.add_argument("after", metavar="AFTER", help="the image to compare with")
    parser.add_argument("--after-layout", metavar="FILE", help="the layout of AFTER")
    common.space_arguments(parser)
    common.work_arguments(parser)
    output.arguments(parser, "text", "json", "csv", *output.COLUMNAR)
    parser.add_argument(
        "--kaslr",
        choices=list(KASLR),
        default="auto",
        help="compare section by section (auto: where the two lie at different addresses)",
    )
    parser.add_argument(
        "--shift",
        type=shift,
        action="append",
        default=[],
        metavar="[SECTION=]BYTES",
        help="how much higher everything is in AFTER, or what is in a section; can be given again",
    )


def shift(text: str) -> tuple[str | None, int]:
    """A number of bytes, or that of a section."""
    section, mark, number = text.rpartition("=")
    return section if mark else None, common.number(number)


def _shift(given: list[tuple[str | None, int]]) -> int | dict[str, int]:
    """As :func:`fastwalk.diff` takes it."""
    sections = {section: by for section, by in given if section is not None}
    everything = [by for section, by in given if section is None]
    if len(sections) + len(everything) < len(given) or len(everything) + bool(sections) > 1:
        raise common.UsageError("--shift: give one for everything, or one a section")
    return everything[0] if everything else sections or 0


def run(options: argparse.Namespace) -> int:
    """Compares."""
    import fastwalk
    from fastwalk.analysis.diff import Change

    later = copy.copy(options)
    later.image, later.layout = options.after, options.after_layout
    by = _shift(options.shift)
    before, after = _walk(options), _walk(later)
    try:
        found = fastwalk.diff(before, after, kaslr=KASLR[options.kaslr], shift=by)
    except ValueError as error:
        raise common.UsageError(str(error)) from None
    if output.write_binary(found.frame(decoded=True), options):
        return 1 if len(found) else 0
    with output.text(options.output) as out:
        if options.format == "text":
            for line in found.lines():
                out.write(line + "\n")
        elif options.format == "json":
            changes = [
                {key: hex(value) if isinstance(value, int) else value for key, value in pairs}
                for pairs in (change._asdict().items() for change in found)
            ]
            document = {
                "shifts": {name: hex(by) for name, by in found.shifts.items()},
                "relocated": found.relocated,
                "changes": changes,
            }
            output.json_document(document, out)
        else:
            output.csv_rows(Change._fields, (_cells(change) for change in found), out)
    return 1 if len(found) else 0


def _cells(change: Change) -> list[object]:
    """A row of a CSV file, addresses in hex."""
    addresses = {"start", "start_after", "pa_before", "pa_after"}
    cells = change._asdict().items()
    return [f"{cell:#x}" if name in addresses else cell for name, cell in cells]


def _walk(options: argparse.Namespace) -> Mappings:
    space = common.choose_space(options)
    maps = space.walk_physical(options.threads, options.isa, options.budget, True)
    for warning in maps.warnings:
        common.warn(f"{options.image}: {warning}")
    return maps
