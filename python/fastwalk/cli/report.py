"""Write a report of an address space: one HTML file that needs nothing else.

It shows what the image is, what the audit found, regions to zoom into, and up to 100,000
rows to sort and filter. Rows are contiguous in physical memory where there are few enough
of them, or else have equal attributes.

example: fastwalk report vmcore -o report.html
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fastwalk.errors import RowBudgetError

from . import _common as common

if TYPE_CHECKING:
    from fastwalk import AddressSpace, Image
    from fastwalk.mappings import Mappings, Tables
    from fastwalk.view.report import Found


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.image_arguments(parser)
    common.space_arguments(parser)
    common.work_arguments(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="the file (default: standard output)"
    )


def run(options: argparse.Namespace) -> int:
    """Walks, audits and writes."""
    from fastwalk.view import report

    space = common.choose_space(options)
    tables = space.tables(threads=options.threads)
    try:
        maps = space.walk_physical(options.threads, options.isa, options.budget, True)
        findings = audited(maps, tables, space)
        count = len(maps)
    except RowBudgetError:
        findings, count = None, report.MOST_ROWS + 1
    if count > report.MOST_ROWS:
        count = space.count(threads=options.threads, isa=options.isa).rows
        maps = space.walk(
            budget=report.MOST_ROWS, truncate=True, threads=options.threads, isa=options.isa
        )
        if findings is None:
            findings = audited(maps, tables, space)
    for warning in maps.warnings:
        common.warn(warning)
    page = report.render(maps, tables, facts(space.image, space), findings, total=count)
    with common.text_out(options) as out:
        out.write(page)
    return 0


def facts(image: Image, space: AddressSpace) -> list[tuple[str, str, str]]:
    """What is known of the image: (what, value, where from)."""
    layout = space.layout
    size = sum(segment.size for segment in image.segments)
    rows = [
        ("image", image.name, ""),
        ("format", image.format, ""),
        ("memory", f"{size / (1 << 20):.1f} MiB", f"{len(image.segments)} segments"),
        ("kernel", layout.kernel, ""),
        ("mode", space.mode.name, f"{layout.arch}, pages of {layout.page_size} bytes"),
    ]
    rows += [(key, value, "") for key, value in image.details]
    rows += image.evidence
    rows += [
        (f"root {name}", f"{root.pa:#x}", f"{root.role}, {layout.mode_of(root)}")
        for name, root in layout.roots.items()
    ]
    return rows


def audited(maps: Mappings, tables: Tables, space: AddressSpace) -> list[Found]:
    """What the audit found."""
    from fastwalk.analysis.audit import audit
    from fastwalk.view.report import Found

    findings = audit(
        maps,
        tables,
        memory=common.ram(space, len(tables)),
        regions=common.kernel_regions(space.image),
    )
    return [
        Found(
            one.severity,
            one.rule.id,
            one.rule.title,
            one.start,
            one.size,
            one.place,
            one.detail,
            one.rule.why,
        )
        for one in findings
    ]
