"""What a walk needs and an image may not say: mode, roots, views, markers, KASAN values.

A :class:`Layout` comes from a ``layout.json`` (:func:`load`), from detection, or from
hand. The file format is version 1 of the schema in ``docs/layout.md``; numbers are
written as hex strings. Everything wrong in it is a :class:`LayoutError` that names the
file, the key (``views.kernel.markers[3].address``) and what to try.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, NoReturn, TypeVar, cast

from .errors import LayoutError

SCHEMA = 1
Role = Literal["kernel", "process", "pti-user", "efi"]
ROLES: tuple[Role, ...] = ("kernel", "process", "pti-user", "efi")
SHADOW_TABLES = ("page", "pte", "pmd", "pud", "p4d")

T = TypeVar("T")


class Marker(NamedTuple):
    """A named boundary of the address space; ptdump prints its name as a heading."""

    address: int
    name: str
    max_lines: int = 0
    """Runs printed below the heading before the rest is only counted; 0: all (x86)."""
    edge: Literal["start", "end"] | None = None
    """s390x: the heading is the name and ``Start`` or ``End``."""
    size: int | None = None
    """s390x 6.12: the area's size, by which the kernel sorts equal addresses."""

    @property
    def heading(self) -> str:
        """What stands between the brackets of the heading line."""
        return f"{self.name} {self.edge.capitalize()}" if self.edge else self.name


class View(NamedTuple):
    """One file of the kernel's debugfs: which root, which addresses, which markers."""

    root: str
    ranges: tuple[tuple[int, int], ...]
    """First and last address of each walked range, both inclusive."""
    markers: tuple[Marker, ...]
    """In the kernel's order, without the terminator."""


class Root(NamedTuple):
    """A top table."""

    pa: int
    """Where the table is (``mm->pgd``), not what the register says."""
    role: Role
    mode: str | None = None
    """Where it is not the layout's (s390x: every ASCE has its own)."""
    index_va_bits: int | None = None
    """The table is indexed as if addresses had so many bits (arm64: a 52-bit kernel on
    a 48-bit processor)."""


class Kasan(NamedTuple):
    """KASAN's shadow memory and the tables that map all of it to one zero page."""

    start: int | None = None
    end: int | None = None
    """Exclusive."""
    early_shadow: Mapping[str, int] = MappingProxyType({})
    """PA of ``kasan_early_shadow_*`` by level: page, pte, pmd, pud, p4d."""
    pte0: int | None = None
    """The value of ``kasan_early_shadow_pte[0]``."""


class Paging(NamedTuple):
    """What is in force, and what was compiled where that differs. None: not known."""

    levels: int | None = None
    va_bits: int | None = None
    config_levels: int | None = None
    config_va_bits: int | None = None
    config_pa_bits: int | None = None
    lpa2: bool | None = None
    svnapot: bool | None = None
    index_bits: Mapping[str, int] | None = None
    table_endian: Literal["little", "big"] | None = None


class Layout(NamedTuple):
    """All of it. ``to_json`` writes what :func:`load` reads."""

    arch: str
    mode: str
    kernel: str
    page_size: int
    roots: Mapping[str, Root]
    views: Mapping[str, View]
    default_view: str
    paging: Paging = Paging()
    kasan: Kasan | None = None

    def view(self, name: str | None = None) -> View:
        """The view of that name, or the default one. LayoutError if there is none."""
        name = self.default_view if name is None else name
        try:
            return self.views[name]
        except KeyError:
            known = ", ".join(self.views) or "none"
            raise LayoutError(f"no view {name!r} in the layout; it has: {known}") from None

    def root(self, name: str) -> Root:
        """The root of that name. LayoutError if there is none."""
        try:
            return self.roots[name]
        except KeyError:
            known = ", ".join(self.roots) or "none"
            raise LayoutError(f"no root {name!r} in the layout; it has: {known}") from None

    def mode_of(self, root: Root) -> str:
        """The paging mode of a root: its own, or the layout's."""
        return root.mode or self.mode

    def with_pte0(self, value: int) -> Layout:
        """The same, with ``kasan.pte0`` filled in."""
        return self._replace(kasan=(self.kasan or Kasan())._replace(pte0=value))

    def to_json(self) -> str:
        """The layout as the text of a ``layout.json``."""
        import json

        return json.dumps(_dump_layout(self), indent=1) + "\n"


def load(path: str | os.PathLike[str]) -> Layout:
    """Read a ``layout.json``. LayoutError if it cannot be read or is wrong."""
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError as error:
        raise LayoutError(
            f"{path}: cannot be read ({error.strerror}); check the name of the layout file"
        ) from None
    return loads(text, os.fspath(path))


def loads(text: str | bytes, source: str = "layout") -> Layout:
    """Read the text of a ``layout.json``; ``source`` is what errors call it."""
    import json

    try:
        data = json.loads(text, object_pairs_hook=_no_duplicates)
    except UnicodeDecodeError:
        raise LayoutError(f"{source}: not UTF-8 text; is this the layout file?") from None
    except RecursionError:
        raise LayoutError(f"{source}: nested too deeply to be a layout") from None
    except _DuplicateKeyError as error:
        raise LayoutError(f"{source}: key {error.args[0]!r} stands there twice; keep one") from None
    except ValueError as error:
        raise LayoutError(
            f"{source}: not JSON ({error}); is this the layout file?".replace("\n", " ")
        ) from None
    return _read_layout(_Node(data, source, ""))


class _DuplicateKeyError(Exception):
    pass


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise _DuplicateKeyError(key)
        result[key] = value
    return result


class _Node(NamedTuple):
    """A JSON value and where it stands, so that every refusal can say so."""

    value: Any
    source: str
    path: str

    def fail(self, what: str, try_: str) -> NoReturn:
        where = f"{self.source}: {self.path}" if self.path else self.source
        raise LayoutError(f"{where}: {what}; {try_}")

    def child(self, key: str) -> _Node:
        return _Node(self.value[key], self.source, f"{self.path}.{key}" if self.path else key)

    def keys(self, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, _Node]:
        """The children by key; unknown and missing ones are refused by name."""
        children = self.members()
        known = (*required, *optional)
        for key, child in children.items():
            if key not in known:
                child.fail("unknown key", f"known here: {', '.join(known)}")
        for key in required:
            if key not in children:
                self.fail(f"key {key!r} is missing", "add it")
        return children

    def members(self) -> dict[str, _Node]:
        if not isinstance(self.value, dict):
            self.fail(f"must be an object, not {_shown(self.value)}", "write {...}")
        return {key: self.child(key) for key in self.value}

    def items(self) -> list[_Node]:
        if not isinstance(self.value, list):
            self.fail(f"must be a list, not {_shown(self.value)}", "write [...]")
        return [_Node(v, self.source, f"{self.path}[{i}]") for i, v in enumerate(self.value)]

    def number(self, first: int = 0, last: int = (1 << 64) - 1) -> int:
        value = self.value
        if isinstance(value, str):
            digits = value[2:] if value[:2] in ("0x", "0X") else ""
            if not digits or any(c not in "0123456789abcdefABCDEF" for c in digits):
                self.fail(f"{_shown(value)} is not a number", "write hex such as '0x1000'")
            value = int(digits, 16)
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(f"must be a number, not {_shown(value)}", "write hex such as '0x1000'")
        if not first <= value <= last:
            self.fail(f"{value:#x} is out of range", f"use {first:#x} .. {last:#x}")
        return value

    def text(self, *choices: str) -> str:
        if not isinstance(self.value, str) or not self.value:
            self.fail(f"must be text, not {_shown(self.value)}", "write a string")
        if not self.value.isprintable():
            self.fail(f"{_shown(self.value)} has a character that does not print", "take it out")
        if choices and self.value not in choices:
            self.fail(f"{_shown(self.value)} is not known here", f"use one of {', '.join(choices)}")
        return self.value

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            self.fail(f"must be true or false, not {_shown(self.value)}", "write true or false")
        return self.value


def _shown(value: object) -> str:
    import json

    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _read_layout(node: _Node) -> Layout:
    keys = node.keys(
        ("schema", "arch", "mode", "kernel", "page_size", "roots", "default_view", "views"),
        ("paging", "kasan"),
    )
    if (schema := keys["schema"].number()) != SCHEMA:
        keys["schema"].fail(f"schema {schema} is not known", f"this fastwalk reads {SCHEMA}")
    page_size = keys["page_size"].number(1024, 1 << 20)
    if page_size & (page_size - 1):
        keys["page_size"].fail(f"{page_size} is not a power of two", "use 4096, 16384 or 65536")
    roots = {name: _read_root(child) for name, child in keys["roots"].members().items()}
    views = {name: _read_view(child, roots) for name, child in keys["views"].members().items()}
    default_view = keys["default_view"].text()
    if default_view not in views:
        keys["default_view"].fail(f"there is no view {default_view!r}", _known("views", views))
    return Layout(
        arch=keys["arch"].text(),
        mode=keys["mode"].text(),
        kernel=keys["kernel"].text(),
        page_size=page_size,
        roots=MappingProxyType(roots),
        views=MappingProxyType(views),
        default_view=default_view,
        paging=_read_paging(keys["paging"]) if "paging" in keys else Paging(),
        kasan=_read_kasan(keys["kasan"]) if "kasan" in keys else None,
    )


def _known(what: str, names: Mapping[str, object]) -> str:
    return f"{what} here: {', '.join(names) or 'none'}"


def _optional(keys: dict[str, _Node], key: str, read: Callable[[_Node], T]) -> T | None:
    return read(keys[key]) if key in keys else None


def _bits(node: _Node) -> int:
    return node.number(0, 64)


def _read_root(node: _Node) -> Root:
    keys = node.keys(("pa", "role"), ("mode", "index_va_bits"))
    return Root(
        pa=keys["pa"].number(),
        role=cast(Role, keys["role"].text(*ROLES)),
        mode=_optional(keys, "mode", _Node.text),
        index_va_bits=_optional(keys, "index_va_bits", _bits),
    )


def _read_view(node: _Node, roots: Mapping[str, Root]) -> View:
    keys = node.keys(("root", "ranges", "markers"))
    if (root := keys["root"].text()) not in roots:
        keys["root"].fail(f"there is no root {root!r}", _known("roots", roots))
    ranges: list[tuple[int, int]] = []
    for child in keys["ranges"].items():
        ends = child.items()
        if len(ends) != 2:
            child.fail(f"must be two addresses, not {len(ends)}", "write first and last")
        first, last = (end.number() for end in ends)
        if first > last:
            child.fail(
                f"{first:#x} is above {last:#x}", "write first and last, both inclusive, in order"
            )
        if ranges and first <= ranges[-1][1]:
            child.fail("begins inside the range before it", "write the ranges in order")
        ranges.append((first, last))
    if not ranges:
        keys["ranges"].fail("is empty", "write at least one [first, last]")
    markers = tuple(_read_marker(child) for child in keys["markers"].items())
    if not markers:
        keys["markers"].fail("is empty", "write at least one marker: the first heading")
    return View(root, tuple(ranges), markers)


def _read_marker(node: _Node) -> Marker:
    keys = node.keys(("address", "name"), ("max_lines", "edge", "size"))
    return Marker(
        address=keys["address"].number(),
        name=keys["name"].text(),
        max_lines=keys["max_lines"].number() if "max_lines" in keys else 0,
        edge=cast(
            Literal["start", "end"] | None,
            _optional(keys, "edge", lambda child: child.text("start", "end")),
        ),
        size=_optional(keys, "size", _Node.number),
    )


def _read_paging(node: _Node) -> Paging:
    keys = node.keys(
        (),
        (
            "levels", "va_bits", "config_levels", "config_va_bits", "config_pa_bits", "lpa2",
            "svnapot", "index_bits", "table_endian",
        ),
    )  # fmt: skip
    return Paging(
        levels=_optional(keys, "levels", lambda child: child.number(1, 5)),
        va_bits=_optional(keys, "va_bits", _bits),
        config_levels=_optional(keys, "config_levels", lambda child: child.number(1, 5)),
        config_va_bits=_optional(keys, "config_va_bits", _bits),
        config_pa_bits=_optional(keys, "config_pa_bits", _bits),
        lpa2=_optional(keys, "lpa2", _Node.flag),
        svnapot=_optional(keys, "svnapot", _Node.flag),
        index_bits=_optional(
            keys,
            "index_bits",
            lambda child: MappingProxyType({name: _bits(c) for name, c in child.members().items()}),
        ),
        table_endian=cast(
            Literal["little", "big"] | None,
            _optional(keys, "table_endian", lambda child: child.text("little", "big")),
        ),
    )


def _read_kasan(node: _Node) -> Kasan:
    keys = node.keys((), ("start", "end", "early_shadow", "pte0"))
    tables = {}
    if "early_shadow" in keys:
        shadow = keys["early_shadow"].keys((), SHADOW_TABLES)
        tables = {name: child.number() for name, child in shadow.items()}
    kasan = Kasan(
        start=_optional(keys, "start", _Node.number),
        end=_optional(keys, "end", _Node.number),
        early_shadow=MappingProxyType(tables),
        pte0=_optional(keys, "pte0", _Node.number),
    )
    if kasan.start is not None and kasan.end is not None and kasan.start >= kasan.end:
        keys["end"].fail(f"{kasan.end:#x} is not above start", "end is exclusive")
    return kasan


def _dump_layout(layout: Layout) -> dict[str, object]:
    data: dict[str, object] = {
        "schema": SCHEMA,
        "arch": layout.arch,
        "mode": layout.mode,
        "kernel": layout.kernel,
        "page_size": layout.page_size,
        "paging": _present(
            levels=layout.paging.levels,
            config_levels=layout.paging.config_levels,
            va_bits=layout.paging.va_bits,
            config_va_bits=layout.paging.config_va_bits,
            config_pa_bits=layout.paging.config_pa_bits,
            lpa2=layout.paging.lpa2,
            svnapot=layout.paging.svnapot,
            index_bits=dict(layout.paging.index_bits) if layout.paging.index_bits else None,
            table_endian=layout.paging.table_endian,
        ),
        "roots": {
            name: _present(
                pa=hex(root.pa), role=root.role, mode=root.mode, index_va_bits=root.index_va_bits
            )
            for name, root in layout.roots.items()
        },
        "default_view": layout.default_view,
        "views": {
            name: {
                "root": view.root,
                "ranges": [[hex(first), hex(last)] for first, last in view.ranges],
                "markers": [
                    _present(
                        address=hex(marker.address),
                        name=marker.name,
                        max_lines=marker.max_lines or None,
                        edge=marker.edge,
                        size=_hex(marker.size),
                    )
                    for marker in view.markers
                ],
            }
            for name, view in layout.views.items()
        },
    }
    if layout.kasan is not None:
        tables = {name: hex(pa) for name, pa in layout.kasan.early_shadow.items()}
        data["kasan"] = _present(
            early_shadow=tables or None,
            start=_hex(layout.kasan.start),
            end=_hex(layout.kasan.end),
            pte0=_hex(layout.kasan.pte0),
        )
    return data


def _present(**values: object) -> dict[str, object]:
    return {key: value for key, value in values.items() if value is not None}


def _hex(value: int | None) -> str | None:
    return None if value is None else hex(value)
