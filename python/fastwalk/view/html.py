"""Short tables for notebooks (``_repr_html_``). Every text from an image is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from ..words import rough_size

if TYPE_CHECKING:
    from ..analysis.diff import Diff
    from ..analysis.findings import Findings
    from ..analysis.stats import Stats
    from ..detect import Space
    from ..image import Image
    from ..mappings import Mappings, Tables
    from ..space import AddressSpace

SHOWN = 10
"""Rows that a notebook shows; of more, half from either end."""
MOST_SPACES = 50

_LEFT = "text-align:left;white-space:pre;font-variant-numeric:tabular-nums"
_RIGHT = "text-align:right;white-space:pre;font-variant-numeric:tabular-nums"


class Number(str):
    """A cell that stands at the right."""

    __slots__ = ()


def table(
    caption: str,
    names: Sequence[str],
    rows: Iterable[Sequence[object]],
    notes: Sequence[str] = (),
) -> str:
    """A table. A row of one cell goes across."""
    head = "".join(f'<th style="{_LEFT}">{escape(name)}</th>' for name in names)
    body = []
    for row in rows:
        if len(row) == 1:
            text = escape(str(row[0]))
            body.append(f'<tr><td colspan="{len(names)}" style="{_LEFT}">{text}</td></tr>')
            continue
        cells = (
            f'<td style="{_RIGHT if isinstance(cell, Number) else _LEFT}">{escape(str(cell))}</td>'
            for cell in row
        )
        body.append(f"<tr>{''.join(cells)}</tr>")
    below = "".join(f"<div>{escape(note)}</div>" for note in notes)
    return (
        f'<div class="fastwalk"><div><b>{escape(caption)}</b></div>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        f"{below}</div>"
    )


def ends(count: int, shown: int = SHOWN) -> tuple[range, range]:
    """Which rows are shown: the first ones, and the last ones."""
    if count <= shown:
        return range(count), range(0)
    return range(shown // 2), range(count - shown // 2, count)


def image_table(image: Image) -> str:
    """Of an image: what its container says. Nothing is looked for in it."""
    size = sum(segment.size for segment in image.segments)
    rows: list[tuple[object, object]] = [
        ("format", image.format),
        ("memory", f"{rough_size(size)} in {len(image.segments)} segments"),
    ]
    if image.segments:
        first, last = image.segments[0], image.segments[-1]
        rows.append(("addresses", f"{first.pa:#x} - {last.pa + last.size:#x}"))
    rows += image.details
    return table(image.name, ["what", "value"], rows, image.warnings[:SHOWN])


def space_table(space: AddressSpace) -> str:
    """Of an address space."""
    layout = space.layout
    rows: list[tuple[object, object]] = [
        ("mode", f"{space.mode.name}, {space.half.name} half"),
        ("root", f"{space.root:#x}"),
        ("kernel", layout.kernel),
        ("image", space.image.name),
    ]
    if space.view is not None:
        markers = len(layout.view(space.view).markers)
        rows.insert(2, ("view", f"{space.view}, {markers} markers"))
    return table(f"address space {space.root_name or ''}".rstrip(), ["what", "value"], rows)


def mappings_table(maps: Mappings) -> str:
    """Of a walk."""
    from .. import arch
    from ..mappings import KINDS, LEAF
    from ..words import permission_text, size_text

    spec = maps.spec
    first, last = ends(len(maps))

    def row(index: int) -> list[object]:
        start, size, pa, attributes, effective, depth, kind = (
            int(column[index])
            for column in (
                maps.start, maps.size, maps.pa, maps.attributes, maps.effective, maps.depth,
                maps.kind,
            )
        )  # fmt: skip
        end = (start + (size or 1 << 64)) % (1 << 64)
        level = spec.depths[depth].name if depth < len(spec.depths) else str(depth)
        cells: list[object] = [f"{start:#018x}-{end:#018x}", Number(size_text(size)), level]
        if kind == LEAF:
            names = " ".join(arch.decode(spec.name, attributes))
            cells += [Number(f"{pa:#x}"), permission_text(effective, spec.permissions), names]
        else:
            cells += ["", "", f"{KINDS[kind]} {attributes or pa:#x}"]
        if "space" in maps.columns:
            cells.insert(0, maps.spaces[int(maps.columns["space"][index])])
        return cells

    names = ["addresses", "size", "level", "physical", "allowed", "attributes"]
    if "space" in maps.columns:
        names.insert(0, "space")
    rows = _with_gap([row(i) for i in first], [row(i) for i in last], len(maps))
    mapped = int(maps.size[maps.is_leaf].sum(dtype=np.uint64))
    partial = "" if maps.complete else ", incomplete"
    caption = f"{len(maps)} rows, {rough_size(mapped)} mapped, {spec.name}{partial}"
    return table(caption, names, rows, maps.warnings[:SHOWN])


TABLES_HEAD = (
    "level", "tables", "memory", "references", "to tables", "leaves", "other", "none", "absent",
)  # fmt: skip


def by_level(tables: Tables) -> tuple[list[list[str]], int]:
    """A row a depth, as texts of :data:`TABLES_HEAD`; and the bytes of all tables."""
    rows: list[list[str]] = []
    whole = 0
    for number, depth in enumerate(tables.spec.depths):
        at = tables.depth == number
        count = int(at.sum())
        size = count * (1 << depth.index_bits) * depth.entry_bytes
        whole += size
        columns = (
            tables.references, tables.table, tables.leaf, tables.other, tables.none, tables.absent,
        )  # fmt: skip
        sums = [Number(f"{int(column[at].sum(dtype=np.uint64)):,}") for column in columns]
        rows.append([depth.name, Number(f"{count:,}"), Number(rough_size(size)), *sums])
    return rows, whole


def tables_table(tables: Tables) -> str:
    """Of the tables themselves: a row a depth."""
    rows, whole = by_level(tables)
    caption = f"{len(tables)} tables, {rough_size(whole)}, {tables.spec.name}"
    return table(caption, TABLES_HEAD, rows)


def tables_rows(tables: Tables) -> str:
    """The same without styles of its own, for a page that has some."""
    rows, _ = by_level(tables)
    head = "".join(f'<th class="number">{escape(name)}</th>' for name in TABLES_HEAD)
    cells = ("".join(f'<td class="number">{escape(cell)}</td>' for cell in row) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def diff_table(found: Diff) -> str:
    """Of what changed."""
    first, last = ends(len(found))
    names = ["change", "section", "addresses", "size", "before", "after"]

    def rows_of(part: range) -> list[list[object]]:
        return [
            [
                one.change,
                one.section,
                f"{one.start:#018x}-{(one.start + one.size) % (1 << 64):#018x}",
                Number(rough_size(one.size or 1 << 64)),
                one.before,
                one.after,
            ]
            for one in found[slice(part.start, part.stop)]
        ]

    notes = [f"{found.relocated} stretches stand elsewhere in their section"]
    shown = _with_gap(rows_of(first), rows_of(last), len(found))
    caption = f"{found.names[0]} to {found.names[1]}: {found.summary()}"
    return table(caption, names, shown, notes if found.relocated else [])


def findings_table(found: Findings) -> str:
    """Of an audit: the worst first."""
    rows: list[list[object]] = [
        [
            one.severity, one.rule.title, f"{one.start:#018x}",
            Number(rough_size(one.size or 1 << 64)), one.place, one.detail,
        ]
        for one in found[slice(SHOWN)]
    ]  # fmt: skip
    counts = ", ".join(f"{count} {rule}" for rule, count in found.counts().items())
    names = ["severity", "what", "address", "size", "where", "detail"]
    if len(found.spaces) > 1:
        names.insert(2, "space")
        for row, one in zip(rows, found[slice(SHOWN)], strict=True):
            row.insert(2, one.space + (f" and {one.also} more" if one.also else ""))
    shown = _with_gap(rows, [], len(found))
    notes = [f"not judged: {rule}: {why}" for rule, why in found.skipped]
    return table(f"{len(found)} findings: {counts or 'none'}", names, shown, notes)


def stats_table(found: Stats) -> str:
    """Of statistics: the leaves by size and permissions."""
    rows = [
        [
            row.space, Number(rough_size(row.leaf_size)), row.permissions, row.memory,
            Number(f"{row.leaves:,}"), Number(rough_size(row.bytes)),
        ]
        for row in found.leaves
    ]  # fmt: skip
    names = ["space", "leaf size", "allowed", "memory type", "leaves", "mapped"]
    return table(repr(found).strip("<>"), names, rows)


def spaces_table(found: Sequence[Space]) -> str:
    """Of address spaces that were found."""
    rows = [
        [
            ", ".join((one.name, *one.aliases)), Number(f"{one.root.pa:#x}"), one.root.role,
            one.mode, "" if one.pid is None else Number(one.pid), one.comm or "", one.evidence,
        ]
        for one in found[:MOST_SPACES]
    ]  # fmt: skip
    names = ["name", "root", "role", "mode", "pid", "command", "evidence"]
    return table(f"{len(found)} address spaces", names, _with_gap(rows, [], len(found)))


def _with_gap(
    first: Sequence[Sequence[object]], last: Sequence[Sequence[object]], count: int
) -> list[Sequence[object]]:
    """Rows, and how many are left out between them."""
    left = count - len(first) - len(last)
    return [*first, *([[f"... {left:,} more ..."]] if left else []), *last]
