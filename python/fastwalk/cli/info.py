"""Show what an image is, what memory it has, and where its page tables are.

example: fastwalk info vmcore --layout-out layout.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fastwalk.errors import FastwalkError

from . import _common as common


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.image_arguments(parser)
    parser.add_argument(
        "--layout-out", metavar="FILE", type=Path, help="write what was found as a layout file"
    )


def run(options: argparse.Namespace) -> int:
    """Shows a table of findings."""
    opened = common.open_image(options)
    size = sum(segment.size for segment in opened.segments)
    rows = [
        ("image", opened.name, ""),
        ("format", opened.format, ""),
        ("memory", f"{size / (1 << 20):.1f} MiB", f"{len(opened.segments)} segments"),
    ]
    if opened.segments:
        first, last = opened.segments[0], opened.segments[-1]
        rows.append(("addresses", f"{first.pa:#x} - {last.pa + last.size:#x}", ""))
    rows += [(key, value, "") for key, value in opened.details]
    try:
        found = opened.layout
    except FastwalkError as error:
        if options.layout_out is not None:
            raise
        common.warn(str(error))
        _table(rows)
        return 0
    rows += opened.evidence
    for name, root in found.roots.items():
        mode = root.mode or found.mode
        rows.append((f"root {name}", f"{root.pa:#x}", f"{root.role}, {mode}"))
    for name, view in found.views.items():
        default = ", the default" if name == found.default_view else ""
        rows.append((f"view {name}", view.root, f"{len(view.markers)} markers{default}"))
    _table(rows)
    if options.layout_out is not None:
        _write(options.layout_out, found.to_json())
    return 0


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FastwalkError(f"{path}: {error.strerror}; give a file to write to") from None


def _table(rows: list[tuple[str, str, str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for what, value, source in rows:
        print(f"{what:<{widths[0]}}  {value:<{widths[1]}}  {source}".rstrip())
