"""From the rows of a ptdump walk to the kernel's text, byte for byte.

A row is what the kernel's note_page prints one line for: start, end (both as the kernel
has them, so the end of the last one is often 0), level, key (the value under the level's
mask), path state, and the value of its first note. How they become text is the dialect's
:class:`~fastwalk.arch.dialect.Style` and :class:`~fastwalk.arch.dialect.Level`; this file
knows no architecture. It needs a million rows in about a second, so whatever depends on
(level, key, path) or on the size alone is made once and looked up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from string import Formatter
from typing import NamedTuple

from ..arch.dialect import Choice, Dialect, Flag, Level, Style, TextField
from ..layout import Marker

ABSENT = "(page table not in the image)"
"""What stands in place of the flags of a row whose table the image lacks."""


class Rows(NamedTuple):
    """Columns of equal length, and where headings go.

    ``start``, ``end``, ``value``: unsigned 64-bit; ``level``, ``path``: small integers;
    ``key``: the value under the level's mask. Any sequences of ints will do (memoryviews
    of the walk's columns, lists).
    """

    start: Sequence[int]
    end: Sequence[int]
    level: Sequence[int]
    key: Sequence[int]
    path: Sequence[int]
    value: Sequence[int]
    headings: Sequence[tuple[int, int]]
    """(rows before it, index of the marker), in order."""
    absent: Sequence[int] = ()
    """Indices, ascending, of the rows whose table is not in the image."""


def text(dialect: Dialect, markers: Sequence[Marker], rows: Rows) -> str:
    """All of it as one string."""
    return "".join(pieces(dialect, markers, rows))


def pieces(
    dialect: Dialect, markers: Sequence[Marker], rows: Rows, most: int = 1 << 16
) -> Iterator[str]:
    """The text in pieces of at most `most` lines, for writing as it is made."""
    lines = _Lines(dialect, rows)
    headings = [*rows.headings, (len(rows.start), -1)]
    first = 0
    limit = 0
    for position, index in headings:
        last = min(position, first + limit) if limit else position
        for begin in range(first, last, most):
            yield lines.of(begin, min(begin + most, last))
        # x86: what was over max_lines is counted when the next marker is reached
        # (arch/x86/mm/dump_pagetables.c:333), so never after the last one.
        if index >= 0:
            if last < position:
                skipped = position - last
                yield f"... {skipped} entr{'y' if skipped == 1 else 'ies'} skipped ... \n"
            yield f"---[ {_heading(dialect, markers, index)} ]---\n"
            limit = markers[index].max_lines
        first = position


def _heading(dialect: Dialect, markers: Sequence[Marker], index: int) -> str:
    if index == 0 and dialect.first_heading is not None:
        return dialect.first_heading
    return markers[index].heading


class _Sizes(dict[int, str]):
    """Size in bytes -> number and unit, as every dumper's note_page writes it."""

    def __init__(self, style: Style) -> None:
        super().__init__()
        self.style = style

    def __missing__(self, size: int) -> str:
        units = self.style.units
        number, unit = size // self.style.unit_bytes, 0
        while not number & 1023 and unit + 1 < len(units):
            number, unit = number >> 10, unit + 1
        shown = self[size] = f"{number:9d}{units[unit]}"
        return shown


class _Tails(dict[tuple[int, int, int], str]):
    """(level, key, path) -> the part of a line that they decide."""

    def __init__(self, style: Style, levels: Sequence[Level]) -> None:
        super().__init__()
        self.style = style
        self.levels = levels

    def __missing__(self, run: tuple[int, int, int]) -> str:
        number, key, path = run
        level, style = self.levels[number], self.style
        flags = _flags(style, level, key) if key & style.flags_if else style.no_flags
        tail = self[run] = style.tail.format(
            name=level.name,
            flags=flags,
            path=style.path_texts[path] if style.path_texts else "",
        )
        return tail

    def absent(self, number: int) -> str:
        """The tail of a row whose table is not in the image."""
        return f"{self.levels[number].name} {ABSENT}"


def _flags(style: Style, level: Level, key: int) -> str:
    shown = (_field(field, key) for field in level.fields)
    flags = "".join(style.separator + flag for flag in shown if flag is not None)
    if style.unknown:
        for field in level.fields:
            key &= ~field.mask
        if key:
            flags += style.unknown % key
    return flags


def _field(field: TextField, key: int) -> str | None:
    value = key & field.mask
    if isinstance(field, Flag):
        return field.set if value == field.value else field.clear
    if isinstance(field, Choice):
        return dict(field.texts).get(value, field.default)
    if value == 0 and field.clear is not None:
        return field.clear
    return field.format % (value >> field.shift)


def _address(style: Style, page_bits: int, value: int) -> int:
    """The physical address printed for a value (riscv, powerpc)."""
    pa = 0
    for part in style.pa:
        bits = value & part.mask
        pa += bits << part.shift if part.shift >= 0 else bits >> -part.shift
    if style.napot_mask and value & style.napot_mask == style.napot_mask:
        page = pa >> page_bits
        pa = (page & page - 1) << page_bits
    return pa


def _percent(template: str, formats: dict[str, str]) -> tuple[tuple[str, ...], str]:
    """A str.format template as a %-format (half the time a line) and its names in order."""
    names: list[str] = []
    result = ""
    for literal, name, _spec, _conversion in Formatter().parse(template):
        result += literal.replace("%", "%%")
        if name is not None:
            names.append(name)
            result += formats[name]
    return tuple(names), result + "\n"


class _Lines:
    """Formats slices of rows into lines."""

    def __init__(self, dialect: Dialect, rows: Rows) -> None:
        style = dialect.style
        self.rows = rows
        self.tails = _Tails(style, dialect.levels)
        self.sizes = _Sizes(style)
        self.mask = (1 << style.address_bits) - 1
        self.style = style
        self.page_bits = dialect.page_bits
        named = {
            "start": style.address,
            "end": style.address,
            "pa": style.address,
            "size": "%s",
            "tail": "%s",
        }
        self.names, self.format = _percent(style.line, named)

    def of(self, begin: int, end: int) -> str:
        rows = self.rows
        starts = rows.start[begin:end]
        ends = rows.end[begin:end]
        levels = rows.level[begin:end]
        keys = rows.key[begin:end]
        mask = self.mask
        sizes = self.sizes
        tails: list[str] = [
            *map(self.tails.__getitem__, zip(levels, keys, rows.path[begin:end], strict=True))
        ]
        for index in rows.absent:
            if begin <= index < end:
                tails[index - begin] = self.tails.absent(levels[index - begin])
        shown: dict[str, Sequence[object]] = {
            "start": starts,
            "size": [sizes[b - a & mask] for a, b in zip(starts, ends, strict=True)],
            "tail": tails,
        }
        if self.style.end_inclusive:
            shown["end"] = [b - 1 & mask for b in ends]
        else:
            shown["end"] = ends
        if "pa" in self.names:
            values = rows.value[begin:end]
            shown["pa"] = [_address(self.style, self.page_bits, value) for value in values]
        lines = [*map(self.format.__mod__, zip(*(shown[n] for n in self.names), strict=True))]
        if not self.style.print_empty:
            absent = set(rows.absent)
            lines = [
                line
                for index, (line, key) in enumerate(zip(lines, keys, strict=True), begin)
                if key or index in absent
            ]
        return "".join(lines)
