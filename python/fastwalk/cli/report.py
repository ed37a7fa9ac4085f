"""Write a report of an address space: one HTML file that needs nothing else.

It shows what the image is, what the audit found, regions to zoom into, and up to 100,000
rows to sort and filter. Rows are contiguous in physical memory where there are few enough
of them, or else have equal attributes.

example: fastwalk report vmcore -o report.html
"""

from __future__ import annotations

import argparse
import io
import sys
from collections import Counter
from typing import TYPE_CHECKING

from fastwalk.errors import RowBudgetError

from . import _common as common
from . import _facts
from . import _output as output

if TYPE_CHECKING:
    from fastwalk import AddressSpace
    from fastwalk.analysis.findings import Findings
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
    from fastwalk.audited import findings as audit
    from fastwalk.view import report

    space = common.choose_space(options)
    tables = space.tables(threads=options.threads)
    try:
        maps = space.walk_physical(options.threads, options.isa, options.budget, True)
        findings = audit(maps, tables, space.image)
        count = len(maps)
    except RowBudgetError:
        findings, count = None, report.MOST_ROWS + 1
    if count > report.MOST_ROWS:
        count = space.count(threads=options.threads, isa=options.isa).rows
        maps = space.walk(
            budget=report.MOST_ROWS, truncate=True, threads=options.threads, isa=options.isa
        )
    if findings is None:
        findings = audit(maps, tables, space.image)
    for warning in maps.warnings:
        common.warn(warning)
    facts = _facts.of_image(space.image) + _facts.of_layout(space.image, space.layout)
    page = report.render(
        maps, tables, facts, shown(findings, space), skipped=skipped(findings), total=count
    )
    if options.output is None and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # as it says inside
    with output.text(options.output) as out:
        out.write(page)
    return 0


def shown(findings: Findings, space: AddressSpace) -> list[Found]:
    """Findings as the report shows them, with the tables on the way for as many of a rule as
    it shows."""
    from fastwalk.view.report import MOST_FINDINGS, Found

    found = []
    seen: Counter[str] = Counter()
    for one in findings:
        seen[one.rule.id] += 1
        path = space.path(one.start).text() if seen[one.rule.id] <= MOST_FINDINGS else ""
        rule = one.rule
        found.append(
            Found(
                one.severity, rule.id, rule.title, one.start, one.size, one.place, one.detail,
                rule.why, one.pa, path,
            )
        )  # fmt: skip
    return found


def skipped(findings: Findings) -> list[tuple[str, str]]:
    """What was not judged, and why."""
    from fastwalk.analysis.rules import BY_ID

    return [(BY_ID[rule].title, why) for rule, why in findings.skipped]
