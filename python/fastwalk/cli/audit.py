"""Find what should not be mapped like that: writable and executable leaves, user-accessible
kernel memory, writable aliases of code, malformed entries and more (--rules lists all).

The last line counts W+X pages as the kernel's check at boot does. Exit status 1 where
anything is found that --fail-on names: W+X pages, if it is not given.

example: fastwalk audit vmcore --fail-on error --baseline accepted.json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import _common as common
from . import _output as output

if TYPE_CHECKING:
    from fastwalk import AddressSpace
    from fastwalk.analysis.findings import Finding, Findings

CSV_COLUMNS = (
    "rule", "severity", "space", "start", "size", "pa", "place", "detail", "more_spaces",
)  # fmt: skip

MOST_PATHS = 10_000
"""Findings up to so many get their path of tables."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.image_arguments(parser)
    common.space_arguments(parser)
    common.work_arguments(parser)
    output.arguments(parser, "text", "json", "sarif", "csv", *output.COLUMNAR)
    parser.add_argument(
        "--fail-on",
        default="wx",
        metavar="WHAT,...",
        help="rules, or error, warning, note (that and worse), or never (default: wx)",
    )
    parser.add_argument("--baseline", metavar="FILE", help="accept the findings that it lists")
    parser.add_argument(
        "--write-baseline", metavar="FILE", help="accept what is found, from now on"
    )
    parser.add_argument(
        "--ram",
        choices=["auto", "image", "unknown"],
        default="auto",
        help="where RAM is: what the image has, if it is more than page tables (auto)",
    )
    parser.add_argument(
        "--all-spaces", action="store_true", help="audit every address space of the image"
    )
    parser.add_argument("--all", action="store_true", help="list notes, too")
    parser.add_argument("--rules", action="store_true", help="explain the rules after the findings")


def run(options: argparse.Namespace) -> int:
    """Lists and counts."""
    from fastwalk.audited import findings as audit
    from fastwalk.audited import walk

    levels = _levels(options.fail_on)
    work = (options.threads, options.isa, options.budget, True)
    if options.all_spaces:
        every = common.all_spaces(options)
        opened = dict(zip((space.name for space in every), every.open(), strict=True))
        maps, tables = walk(every, *work), every.tables(options.threads)
    else:
        space = common.choose_space(options)
        maps = walk(space, *work)
        opened = dict.fromkeys(maps.spaces, space)
        tables = {name: space.tables(threads=options.threads) for name in maps.spaces}
    for warning in maps.warnings:
        common.warn(warning)
    findings = audit(maps, tables, next(iter(opened.values())).image, options.ram)
    if options.write_baseline is not None:
        findings.write_baseline(options.write_baseline)
        findings = findings.without(options.write_baseline)
    elif options.baseline is not None:
        findings = findings.without(options.baseline)
    write(findings, options, opened)
    return 1 if len(findings.reaching(levels)) else 0


def _levels(text: str) -> tuple[str, ...]:
    from fastwalk.analysis.rules import BY_ID, SEVERITIES

    levels = tuple(text.split(","))
    for level in levels:
        if level not in (*BY_ID, *SEVERITIES, "never"):
            known = ", ".join((*SEVERITIES, "never", *BY_ID))
            raise common.UsageError(f"--fail-on: no rule or severity {level!r}; there are {known}")
    return levels


def write(findings: Findings, options: argparse.Namespace, spaces: dict[str, AddressSpace]) -> None:
    """In the format that was asked for."""
    space = next(iter(spaces.values()))
    if output.write_binary(findings.frame(decoded=True), options):
        return
    listed = (
        list(findings)
        if options.format != "text" or options.all
        else list(findings.reaching(("warning",)))
    )
    paths = {
        (finding.space, finding.start): spaces[finding.space].path(finding.start).text()
        for finding in listed[:MOST_PATHS]
    }
    with output.text(options.output) as out:
        if options.format == "sarif":
            from fastwalk.analysis import sarif

            output.json_document(sarif.log(findings, space.image.name, paths), out)
        elif options.format == "json":
            output.json_document(_document(findings, listed, paths), out)
        elif options.format == "csv":
            rows = (
                (
                    one.rule.id, one.severity, one.space, hex(one.start), one.size, hex(one.pa),
                    one.place, one.detail, one.also,
                )
                for one in listed
            )  # fmt: skip
            output.csv_rows(CSV_COLUMNS, rows, out)
        else:
            for line in _text(findings, listed, paths, options, common.labels(space)):
                out.write(line + "\n")


def _document(
    findings: Findings, listed: list[Finding], paths: dict[tuple[str, int], str]
) -> dict[str, object]:
    return {
        "wx_pages": findings.wx_pages,
        "counts": findings.counts(),
        "accepted": findings.accepted,
        "not_judged": dict(findings.skipped),
        "findings": [
            {
                "rule": finding.rule.id,
                "severity": finding.severity,
                "title": finding.rule.title,
                "why": finding.rule.why,
                "space": finding.space,
                "more_spaces": finding.also,
                "start": f"{finding.start:#x}",
                "size": finding.size,
                "pa": f"{finding.pa:#x}",
                "place": finding.place,
                "detail": finding.detail,
                "path": paths.get((finding.space, finding.start)),
            }
            for finding in listed
        ],
    }


def _text(
    findings: Findings,
    listed: list[Finding],
    paths: dict[tuple[str, int], str],
    options: argparse.Namespace,
    label: Callable[[int], str],
) -> list[str]:
    from fastwalk.analysis.rules import BY_ID, RULES
    from fastwalk.words import size_text

    lines = []
    rule = ""
    for finding in listed:
        if finding.rule.id != rule:
            rule = finding.rule.id
            lines.append(f"{finding.severity}: {finding.rule.title} [{rule}]")
        lines.append(
            f"  {finding.start:#018x}-{(finding.last + 1) % (1 << 64):#018x} "
            f"{size_text(finding.size):>9} -> {finding.pa:#x}  {finding.place}; {finding.detail}"
            f"{label(finding.start)}"
        )
        if (path := paths.get((finding.space, finding.start))) is not None:
            more = f" and {finding.also} more" if finding.also else ""
            where = f"{finding.space}{more}: " if options.all_spaces else ""
            lines.append(f"      {where}{path}")
    hidden = (
        {}
        if options.all
        else {
            name: count
            for name, count in findings.counts().items()
            if BY_ID[name].severity == "note"
        }
    )
    for name, count in hidden.items():
        lines.append(f"note: {BY_ID[name].title} [{name}]: {count} ranges (--all lists them)")
    if findings.accepted:
        lines.append(f"{findings.accepted} findings are accepted by the baseline")
    if options.rules:
        lines += [f"{rule.id} ({rule.severity}): {rule.title}. {rule.why}" for rule in RULES]
    skipped = dict(findings.skipped)
    lines += [f"not judged: {BY_ID[name].title} [{name}]: {skipped[name]}" for name in skipped]
    if "wx" in skipped and not findings.wx_pages:
        lines.append(f"W+X mappings were not checked: {skipped['wx']}.")
    elif findings.wx_pages:
        lines.append(f"Checked W+X mappings: FAILED, {findings.wx_pages} W+X pages found.")
    else:
        lines.append("Checked W+X mappings: passed, no W+X pages found.")
    return lines
