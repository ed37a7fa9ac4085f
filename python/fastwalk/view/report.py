"""The report: one HTML file with everything in it, for people who have no fastwalk.

Nothing is loaded from anywhere, and a content security policy sees to it. Texts from the
image are escaped, or reach the page as text only. Rows travel as arrays of numbers in
base64, so that 100,000 of them open at once.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .. import decode
from .._fastwalk import __version__
from ..words import rough_size
from . import regions, scale
from .html import tables_rows
from .regions import CLASSES, Region

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..mappings import Mappings, Tables

MOST_ROWS = 100_000
"""Rows that a report has at most."""
MOST_FINDINGS = 500
"""Findings of a rule that a report shows."""


class Found(NamedTuple):
    """A finding, as the report shows it."""

    severity: str
    rule: str
    title: str
    start: int
    size: int
    place: str
    """Region and offset, or other words for where it is."""
    detail: str
    """What of it."""
    why: str
    """Why that matters."""
    pa: int | None = None
    path: str = ""
    """The tables on the way."""


def render(
    maps: Mappings,
    tables: Tables | None = None,
    facts: Iterable[tuple[str, str, str]] = (),
    findings: Sequence[Found] | None = None,
    *,
    skipped: Iterable[tuple[str, str]] = (),
    title: str | None = None,
    total: int | None = None,
) -> str:
    """The report as the text of an HTML file.

    ``facts``: (what, value, where from) of the image. ``findings``: of an audit; None
    where there was none. ``skipped``: what it did not look for, and why. ``total``: how many
    rows there are, where ``maps`` has only the first of them; more than :data:`MOST_ROWS` are
    cut off.
    """
    painted = regions.shown(maps)
    count = len(painted) if total is None else total
    if len(painted) > MOST_ROWS:
        painted = painted[:MOST_ROWS]
    rows = _Rows(painted)
    style, script = _part("report.css") + _class_colors(), _part("report.js")
    name = maps.origin.image if maps.origin else maps.spec.name
    notes = list(maps.warnings)
    if len(painted) < count:
        notes.append(f"Only the first {len(painted):,} of {count:,} rows are here.")
    if not rows.physical:
        notes.append("Rows are joined by attributes: their physical addresses are not shown.")
    return Template(_part("report.html")).substitute(
        version=escape(__version__),
        style_hash=_hash(style),
        script_hash=_hash(script),
        style=style,
        script=script,
        title=escape(title or name.rsplit("/", 1)[-1]),
        subtitle=escape(_subtitle(maps)),
        tiles=_tiles(rows, count, tables, findings),
        notes="".join(f'<p class="note">{escape(note)}</p>' for note in notes),
        facts="".join(map(_fact, facts)),
        findings=_findings(findings) + "".join(map(_unjudged, skipped)),
        class_heads="".join(
            f'<th class="number">{escape(CLASSES[lane].name)}</th>' for lane in rows.lanes
        ),
        regions=rows.region_rows(),
        chips=rows.chips(),
        tables=tables_rows(tables) if tables is not None else "",
        data=_json(rows.described()),
        columns="\n".join(
            f'<script type="text/plain" id="{key}">{b64encode(column.tobytes()).decode()}</script>'
            for key, column in rows.columns().items()
        ),
    )


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _json(value: object) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _class_colors() -> str:
    def of(dark: bool) -> str:
        colors = (c.dark if dark else c.light for c in CLASSES)
        return "".join(f"--class-{i}:{color};" for i, color in enumerate(colors))

    swatches = "".join(f".c{i}{{background:var(--class-{i})}}" for i in range(len(CLASSES)))
    return (
        f":root{{{of(False)}}}\n"
        f"@media (prefers-color-scheme: dark){{:root{{{of(True)}}}}}\n{swatches}\n"
    )


def _subtitle(maps: Mappings) -> str:
    if maps.origin is None:
        return maps.spec.name
    space = maps.origin.spaces[0]
    return (
        f"Linux {maps.origin.layout.kernel}, {maps.spec.name}, {space.name} at {space.root:#x} "
        f"({space.role}), rows joined by {maps.origin.coalesce}"
    )


def _tile(value: str, what: str, bad: bool = False) -> str:
    kind = "tile bad" if bad else "tile"
    return f'<div class="{kind}"><b>{escape(value)}</b><span>{escape(what)}</span></div>'


def _tiles(rows: _Rows, count: int, tables: Tables | None, findings: Sequence[Found] | None) -> str:
    tiles = [
        _tile(rough_size(int(rows.bytes_by_class.sum())), "mapped"),
        _tile(f"{count:,}", "rows"),
    ]
    if tables is not None:
        tiles.append(_tile(f"{len(tables):,}", "page tables"))
    if findings is not None:
        bad = sum(found.severity != "note" for found in findings)
        tiles.append(_tile(f"{bad:,}", "findings, notes not counted", bool(bad)))
    for lane in rows.lanes:
        if rows.bytes_by_class[lane]:
            tiles.append(_tile(rough_size(int(rows.bytes_by_class[lane])), CLASSES[lane].name))
    return "".join(tiles)


def _fact(fact: tuple[str, str, str]) -> str:
    what, value, source = map(escape, fact)
    return (
        f'<tr><th scope="row">{what}</th><td class="value mono">{value}</td>'
        f'<td class="value sub">{source}</td></tr>'
    )


def _unjudged(skipped: tuple[str, str]) -> str:
    title, why = map(escape, skipped)
    return f'<p class="note">Not judged: {title}: {why}.</p>'


def _findings(findings: Sequence[Found] | None) -> str:
    if findings is None:
        return '<p class="note">There was no audit.</p>'
    if not findings:
        return '<p class="passed">None: no rule of the audit found anything.</p>'
    rules: dict[str, list[Found]] = {}
    for found in findings:
        rules.setdefault(found.rule, []).append(found)
    return f'<div id="findings">{"".join(map(_rule, rules.values()))}</div>'


def _rule(found: list[Found]) -> str:
    """What one rule found; notes are folded."""
    first = found[0]
    level = "".join(c for c in first.severity if c.isalnum())
    rows = "".join(map(_finding, found[:MOST_FINDINGS]))
    more = len(found) - MOST_FINDINGS
    rest = f'<p class="note">{more:,} more are not shown.</p>' if more > 0 else ""
    unfolded = "" if first.severity == "note" else " open"
    return (
        f"<details{unfolded}><summary>"
        f'<span class="severity {level}">{escape(first.severity)}</span> '
        f"{escape(first.title)} ({len(found):,})</summary>"
        f'<p class="note">{escape(first.why)} [{escape(first.rule)}]</p>'
        f'<div class="scroll"><table><thead><tr><th>address</th><th class="number">size</th>'
        f"<th>physical</th><th>where</th><th>what</th><th>tables on the way</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>{rest}"
        f"</details>"
    )


def _finding(found: Found) -> str:
    return (
        f'<tr><td class="mono"><button type="button" class="link mono" '
        f'data-address="{found.start:#x}">{found.start:#018x}</button></td>'
        f'<td class="number">{rough_size(found.size or 1 << 64)}</td>'
        f'<td class="mono">{"" if found.pa is None else f"{found.pa:#x}"}</td>'
        f'<td class="value">{escape(found.place)}</td>'
        f'<td class="value">{escape(found.detail)}</td>'
        f'<td class="value mono sub">{escape(found.path)}</td></tr>'
    )


class _Rows:
    """Columns of the rows that are shown, and what belongs to them."""

    def __init__(self, maps: Mappings) -> None:
        self.maps = maps
        self.classes = regions.classes(maps)
        self.regions: tuple[Region, ...] = regions.regions(maps.origin)
        self.region = regions.number_of(self.regions, maps.start).astype(np.int16)
        order = np.argsort(maps.start, kind="stable")
        start = maps.start[order]
        last = start + (maps.size[order] - np.uint64(1))
        self.scale = scale.make(self.regions, start, last, 1 << maps.spec.page_bits)
        self.lanes = np.unique(self.classes).tolist()
        self.bytes_by_class = self._bytes(np.zeros(len(maps), np.int16), 1)[0]
        self.bytes = self._bytes(self.region, len(self.regions))
        self.flags, self.flag_texts = decode.flags(maps.spec, maps.attributes)
        self.physical = maps.origin is None or maps.origin.coalesce in ("physical", "none")

    def _bytes(self, group: NDArray[np.int16], groups: int) -> NDArray[np.float64]:
        """Bytes that leaves map, by group and class."""
        sizes = np.where(self.maps.size == 0, 2.0**64, self.maps.size.astype(np.float64))
        inside = (group >= 0) & self.maps.is_leaf
        found = np.zeros((max(groups, 1), len(CLASSES)))
        np.add.at(found, (group[inside], self.classes[inside]), sizes[inside])
        return found

    def columns(self) -> dict[str, np.ndarray]:
        """What the page reads back, by the name of its element; little-endian."""
        maps = self.maps
        return {
            "start": maps.start.astype("<u8"),
            "size": maps.size.astype("<u8"),
            "pa": maps.pa.astype("<u8"),
            "flags": self.flags.astype("<u4"),
            "region": self.region.astype("<i2"),
            "allowed": maps.effective,
            "depth": maps.depth,
            "kind": maps.kind,
            "class": self.classes,
        }

    def described(self) -> dict[str, object]:
        """What the page needs beside the columns."""
        from ..words import PERMISSIONS

        spec = self.maps.spec
        rows = np.bincount(self.region[self.region >= 0], minlength=len(self.regions))
        number = {region: index for index, region in enumerate(self.regions)}
        shown = self.scale.regions
        return {
            "width": 16 if spec.va_bits > 32 else 8,
            "physical": self.physical,
            "levels": [depth.name for depth in spec.depths],
            "permissions": [[bit, text] for bit, text in PERMISSIONS if spec.permissions & bit],
            "classes": [{"name": c.name} for c in CLASSES],
            "regions": [
                {"name": region.name, "rows": int(count)}
                for region, count in zip(self.regions, rows, strict=True)
            ]
            or [{"name": "everything", "rows": len(self.maps)}],
            "places": [
                [*self.scale.of_region(index), number.get(region, 0)]
                for index, region in enumerate(shown)
            ],
            "pieces": [
                [hex(p.first), hex(p.last), p.begin, p.end, p.mapped, p.region]
                for p in self.scale.pieces
            ],
            "flags": list(self.flag_texts),
        }

    def region_rows(self) -> str:
        """The table of regions."""
        rows = np.bincount(self.region[self.region >= 0], minlength=len(self.regions))
        found = []
        for number, (region, count) in enumerate(zip(self.regions, rows.tolist(), strict=True)):
            if not count and not region.name:
                continue
            name = escape(region.name or "(no name)")
            if count:
                name = f'<button type="button" class="link" data-region="{number}">{name}</button>'
            own = self.bytes[number]
            cells = "".join(
                f'<td class="number">{rough_size(int(own[lane])) if own[lane] else ""}</td>'
                for lane in self.lanes
            )
            mapped = rough_size(int(own.sum())) if own.sum() else "nothing"
            found.append(
                f'<tr><td>{name}</td><td class="mono">{region.first:#018x} - '
                f'{region.last:#018x}</td><td class="number">{mapped}</td>'
                f'<td class="number">{count:,}</td>{cells}</tr>'
            )
        return "".join(found)

    def chips(self) -> str:
        """A box to tick for each class."""
        counts = np.bincount(self.classes, minlength=len(CLASSES))
        return "".join(
            f'<label class="chip" title="{escape(CLASSES[lane].what)}"><input type="checkbox" '
            f'data-class="{lane}" checked><span class="swatch c{lane}"></span>'
            f"{escape(CLASSES[lane].name)} ({counts[lane]:,})</label>"
            for lane in self.lanes
        )
