"""Results: the columns of a walk, and of the tables themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np

from . import arch
from .arch.spec import EXEC, READ, USER, USER_EXEC, WRITE, Spec
from .frames import Columnar, Frame
from .mode import Mode
from .origin import Origin
from .words import permission_text, size_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from . import _fastwalk
    from .view.plot import MappingsPlot, TablesPlot

KINDS = ("leaf", "other", "absent", "note")
"""Kinds of a row, by the numbers of the ``kind`` column. *note* occurs only under
``coalesce="ptdump"``: a line of the kernel's dumper, hole or not."""

LEAF, OTHER, ABSENT, NOTE = range(4)

_COLUMNS = ("start", "size", "pa", "attributes", "effective", "depth", "kind")
_SHADOW = ("shadow", "covers_start", "covers_size")
_OPTIONAL = {"space": "u4", "shadow": "u1", "covers_start": "u8", "covers_size": "u8"}

SHADOWS = ("none", "zero", "real")
"""Sorts of KASAN shadow, by the numbers of the ``shadow`` column."""

ZERO_SHADOW, REAL_SHADOW = 1, 2

_CHUNK = 1 << 14
TOP = 1 << 64

_SHOWN = 5
"""Rows that a repr shows from either end."""


class Mapping(NamedTuple):
    """One row, as Python numbers."""

    start: int
    size: int
    pa: int
    attributes: int
    effective: int
    depth: int
    kind: str
    shadow: str | None = None
    """One of :data:`SHADOWS`; this and what follows only with ``kasan="collapse"``."""
    covers_start: int | None = None
    covers_size: int | None = None
    space: str | None = None
    """Of a walk of several address spaces, the name of the one."""


class Mappings(Columnar):
    """What an address space maps: columns of equal length, as NumPy arrays.

    ``start`` uint64, first virtual address; ``size`` uint64, bytes, 0 for 2^64; ``pa``
    uint64, physical address of the first byte (of the missing table in *absent* rows, 0
    in *other* ones); ``attributes`` uint64, the entries' own permission and memory-type
    bits; ``effective`` uint8, permissions after everything above was taken into account
    (:data:`fastwalk.arch.spec.READ`, ``WRITE``, ``EXEC``, ``USER``, ``USER_EXEC``);
    ``depth`` uint8, 0 at the root; ``kind`` uint8, an index into :data:`KINDS`.

    The columns of a walk are shown without a copy, and read-only. Index with a slice (a
    view), a boolean mask or an array of row numbers (a copy), or a number (a
    :class:`Mapping`).

    A walk of several address spaces has one more column, ``space`` uint32: an index into
    :attr:`spaces`. Where their modes differ in depth, ``depth`` is counted as in the
    deepest of them, so that equal numbers are equal levels.

    A walk with ``kasan="collapse"`` has ``shadow`` uint8, an index into :data:`SHADOWS`
    (*none* outside of KASAN's shadow memory), and ``covers_start`` and ``covers_size``
    uint64, the kernel memory that a row is the shadow of (0 outside).

    ``polars.DataFrame(maps)``, ``pyarrow.table(maps)`` and DuckDB take the columns through
    the Arrow PyCapsule interface, without a copy.
    """

    NAMES = _COLUMNS
    OPTIONAL = _OPTIONAL
    """Columns that only some walks have, and their types."""

    def __init__(
        self,
        columns: dict[str, np.ndarray],
        spec: Spec,
        *,
        complete: bool = True,
        warnings: tuple[str, ...] = (),
        origin: Origin | None = None,
    ) -> None:
        self._columns = columns
        self.spec = spec
        """The paging mode; of several spaces, the one with the most depths."""
        self.origin = origin
        """What was walked, where that is known."""
        self.complete = complete
        """False where rows are missing: the result was truncated, or a table could not
        be read."""
        self.warnings = warnings
        """What could not be read, a line each."""

    @classmethod
    def from_walk(
        cls, walked: _fastwalk.Walked, spec: Spec, origin: Origin | None = None
    ) -> Mappings:
        """The core's columns, without a copy."""
        wide = ("start", "size", "pa", "attributes")
        columns = {
            name: np.frombuffer(getattr(walked, name), np.uint64 if name in wide else np.uint8)
            for name in _COLUMNS
        }
        totals = walked.totals
        complete = totals.rows == len(columns["start"]) and not totals.absent
        return cls(columns, spec, complete=complete, warnings=tuple(totals.damage), origin=origin)

    @classmethod
    def from_dump(cls, dump: _fastwalk.Dump, spec: Spec, origin: Origin | None = None) -> Mappings:
        """Lines of a kernel's dumper: ``attributes`` is the masked value, ``depth`` the
        kernel's level number, ``effective`` the dumper's own path state, ``pa`` 0."""
        start = np.frombuffer(dump.start, np.uint64)
        absent = np.frombuffer(dump.absent, np.uint8)
        columns = {
            "start": start,
            "size": np.frombuffer(dump.end, np.uint64) - start,
            "pa": np.zeros(len(start), np.uint64),
            "attributes": np.frombuffer(dump.key, np.uint64),
            "effective": np.frombuffer(dump.path, np.uint8),
            "depth": np.frombuffer(dump.level, np.uint8),
            "kind": np.where(absent != 0, ABSENT, NOTE).astype(np.uint8),
        }
        complete = not dump.absent_tables
        return cls(columns, spec, complete=complete, warnings=tuple(dump.damage), origin=origin)

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """All of them, by name."""
        return dict(self._columns)

    @property
    def start(self) -> NDArray[np.uint64]:
        """First virtual address."""
        return self._columns["start"]

    @property
    def size(self) -> NDArray[np.uint64]:
        """Length in bytes; 0 means 2^64."""
        return self._columns["size"]

    @property
    def end(self) -> NDArray[np.uint64]:
        """The address after the last one, modulo 2^64. Computed, so a copy."""
        return self.start + self.size

    @property
    def pa(self) -> NDArray[np.uint64]:
        """Physical address of the first byte."""
        return self._columns["pa"]

    @property
    def attributes(self) -> NDArray[np.uint64]:
        """The entries' own attribute bits."""
        return self._columns["attributes"]

    @property
    def effective(self) -> NDArray[np.uint8]:
        """Permissions that are left, bits of :mod:`fastwalk.arch.spec`."""
        return self._columns["effective"]

    @property
    def depth(self) -> NDArray[np.uint8]:
        """Depth of the entries, 0 at the root."""
        return self._columns["depth"]

    @property
    def kind(self) -> NDArray[np.uint8]:
        """Indexes into :data:`KINDS`."""
        return self._columns["kind"]

    @property
    def has_shadow(self) -> bool:
        """Whether there are the columns of ``kasan="collapse"``."""
        return "shadow" in self._columns

    @property
    def shadow(self) -> NDArray[np.uint8]:
        """Indexes into :data:`SHADOWS`. KeyError without ``kasan="collapse"``."""
        return self._columns["shadow"]

    @property
    def covers_start(self) -> NDArray[np.uint64]:
        """First address of the kernel memory that a row is the shadow of. KeyError."""
        return self._columns["covers_start"]

    @property
    def covers_size(self) -> NDArray[np.uint64]:
        """Bytes of kernel memory that a row is the shadow of. KeyError."""
        return self._columns["covers_size"]

    def _allows(self, bits: int) -> NDArray[np.bool_]:
        result: NDArray[np.bool_] = (self.effective & np.uint8(bits)) != 0
        return result

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Mask: may be read."""
        return self._allows(READ)

    @property
    def writable(self) -> NDArray[np.bool_]:
        """Mask: may be written."""
        return self._allows(WRITE)

    @property
    def executable(self) -> NDArray[np.bool_]:
        """Mask: the kernel or a user program may execute it."""
        return self._allows(EXEC | USER_EXEC)

    @property
    def user(self) -> NDArray[np.bool_]:
        """Mask: a user program may access it."""
        return self._allows(USER)

    @property
    def is_leaf(self) -> NDArray[np.bool_]:
        """Mask: maps memory."""
        result: NDArray[np.bool_] = self.kind == LEAF
        return result

    @property
    def is_absent(self) -> NDArray[np.bool_]:
        """Mask: unknown, because a table is not in the image."""
        result: NDArray[np.bool_] = self.kind == ABSENT
        return result

    def __len__(self) -> int:
        return len(self.start)

    @overload
    def __getitem__(self, key: int) -> Mapping: ...

    @overload
    def __getitem__(self, key: slice | np.ndarray) -> Mappings: ...

    def __getitem__(self, key: int | slice | np.ndarray) -> Mappings | Mapping:
        if isinstance(key, (int, np.integer)):
            return next(iter(self._like({n: c[[key]] for n, c in self._columns.items()})))
        return self._like({name: column[key] for name, column in self._columns.items()})

    def _like(self, columns: dict[str, np.ndarray]) -> Mappings:
        return Mappings(
            columns,
            self.spec,
            complete=self.complete,
            warnings=self.warnings,
            origin=self.origin,
        )

    def joined(self, others: Sequence[Mappings], origin: Origin | None) -> Mappings:
        """These rows and those of others behind them, as mappings of ``origin``. Copies."""
        parts = (self, *others)
        return Mappings(
            {
                name: np.concatenate([part.columns[name] for part in parts])
                for name in self._columns
            },
            self.spec,
            complete=all(part.complete for part in parts),
            warnings=tuple(dict.fromkeys(line for part in parts for line in part.warnings)),
            origin=origin,
        )

    def with_columns(
        self,
        columns: dict[str, np.ndarray],
        *,
        complete: bool | None = None,
        warnings: tuple[str, ...] | None = None,
    ) -> Mappings:
        """The same walk with other columns, for fastwalk's own modules."""
        other = self._like(columns)
        other.complete = self.complete if complete is None else complete
        other.warnings = self.warnings if warnings is None else warnings
        return other

    @property
    def spaces(self) -> tuple[str, ...]:
        """Names of the address spaces that were walked."""
        return tuple(space.name for space in self.origin.spaces) if self.origin else ()

    def of_space(self, which: int | str) -> Mappings:
        """The rows of one address space, by its number or name, without the ``space``
        column. KeyError."""
        if "space" not in self._columns or self.origin is None:
            raise KeyError(f"{which!r}: these are the mappings of one address space")
        names = self.spaces
        if isinstance(which, str) and which not in names:
            raise KeyError(f"{which!r}; there are {', '.join(names)}")
        number = names.index(which) if isinstance(which, str) else range(len(names))[which]
        rows = self._columns["space"] == number
        columns = {name: c[rows] for name, c in self._columns.items() if name != "space"}
        walked = self.origin.spaces[number]
        origin = replace(self.origin, spaces=(walked,))
        spec = arch.spec_of(walked.mode, walked.index_va_bits)
        columns["depth"] = columns["depth"] - np.uint8(len(self.spec.depths) - len(spec.depths))
        return Mappings(
            columns,
            spec,
            complete=self.complete,
            warnings=self.warnings,
            origin=origin,
        )

    def frame(self, *, decoded: bool = False) -> Frame:
        """The columns as a :class:`~fastwalk.frames.Frame`, without a copy.

        ``decoded`` adds, beside the raw bits, ``level`` (the kernel's name of the depth)
        and ``kind_name``, and what :func:`fastwalk.decode.decoded` makes of the
        attributes: ``rw``, ``nx``, ``user``, ``memory``, ``flags`` and more.
        """
        columns = dict(self._columns)
        categories: dict[str, tuple[str, ...]] = {}
        if "space" in columns:
            categories["space"] = self.spaces
        if self.has_shadow:
            categories["shadow"] = SHADOWS
        if decoded:
            more, texts = self._decoded()
            columns |= more
            categories |= texts
        return Frame(columns, categories, _metadata(self))

    def _decoded(self) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
        from . import decode

        leaf = self.is_leaf
        columns, texts = decode.decoded(
            self.spec, self.depth, self.attributes, self.effective, leaf
        )
        names = tuple(depth.name for depth in self.spec.depths)
        deepest = int(self.depth.max(initial=0))
        levels = (*names, *map(str, range(len(names), deepest + 1)))
        return {"level": self.depth, "kind_name": self.kind, **columns}, {
            "level": levels,
            "kind_name": KINDS,
            **texts,
        }

    def stored(self, *, decoded: bool = False) -> Frame:
        """The frame as files keep it, which :func:`fastwalk.read` reads back: with version,
        mode, layout, and the SHA-256 of the image file in its metadata (of files up to 1 GiB;
        of a larger one, where ``image.sha256(largest=None)`` was asked for before)."""
        frame = self.frame(decoded=decoded)
        frame.metadata = _metadata(self, with_hash=True)
        return frame

    def __iter__(self) -> Iterator[Mapping]:
        for part in self._chunks():
            yield from part._rows()

    def _chunks(self) -> Iterator[Mappings]:
        """The rows in parts that can become Python objects all at once."""
        for first in range(0, len(self), _CHUNK):
            yield self[first : first + _CHUNK]

    def _rows(self) -> Iterator[Mapping]:
        lists = [self._columns[name].tolist() for name in _COLUMNS[:-1]]
        lists.append([KINDS[kind] for kind in self.kind.tolist()])
        none: list[None] = [None] * len(self)
        if self.has_shadow:
            lists.append([SHADOWS[shadow] for shadow in self.shadow.tolist()])
            lists += [self._columns[name].tolist() for name in _SHADOW[1:]]
        else:
            lists += [none] * len(_SHADOW)
        several = self._columns.get("space")
        names = self.spaces
        lists.append(none if several is None else [names[n] for n in several.tolist()])
        return map(Mapping._make, zip(*lists, strict=True))

    def __repr__(self) -> str:
        count = len(self)
        bytes_mapped = int(self.size[self.is_leaf].sum(dtype=np.uint64))
        partial = "" if self.complete else ", incomplete"
        head = (
            f"<fastwalk.Mappings: {count} rows, {bytes_mapped:#x} bytes mapped, "
            f"{self.spec.name}{partial}>"
        )
        if count <= 2 * _SHOWN + 1:
            return "\n".join([head, *self.texts()])
        shown = [self.row_text(i) for i in range(_SHOWN)]
        shown.append("  ...")
        shown += [self.row_text(i) for i in range(count - _SHOWN, count)]
        return "\n".join([head, *shown])

    def _repr_html_(self) -> str:
        from .view.html import mappings_table

        return mappings_table(self)

    @property
    def plot(self) -> MappingsPlot:
        """Pictures, with matplotlib: ``plot()``, ``plot.hilbert()``; see
        :mod:`fastwalk.view.plot`."""
        from .view.plot import MappingsPlot

        return MappingsPlot(self)

    def row_text(self, index: int) -> str:
        """One row as a person reads it."""
        return next(self[index : index + 1].texts())

    def texts(self) -> Iterator[str]:
        """The rows as a person reads them."""
        spec = self.spec
        levels = [f"{depth.name:<4}" for depth in spec.depths]

        # There are few of each, whatever the number of rows.
        @cache
        def size_of(size: int) -> str:
            return f"{size_text(size):>9}"

        @cache
        def words(effective: int, attributes: int) -> str:
            allowed = permission_text(effective, spec.permissions)
            return f"{allowed} {' '.join(arch.decode(spec.name, attributes))}".rstrip()

        for row in self:
            space = "" if row.space is None else f" {row.space}"
            start, end = row.start, (row.start + (row.size or TOP)) % TOP
            place = f" {space} {start:#018x}-{end:#018x} {size_of(row.size)}"
            if row.kind == "note":
                yield f"{place} level {row.depth}, value {row.attributes:#x}"
                continue
            # A kernel's level numbers may be higher.
            level = levels[row.depth] if row.depth < len(levels) else f"{row.depth:<4}"
            if row.kind == "absent":
                yield f"{place} {level} absent: its table at {row.pa:#x} is not in the image"
            elif row.kind == "other":
                yield f"{place} {level} other, attributes {row.attributes:#x}"
            elif row.shadow not in (None, "none"):
                first, covered = row.covers_start or 0, row.covers_size or 0
                allowed = permission_text(row.effective, spec.permissions)
                yield (
                    f"{place} {level} -> {row.pa:#x} {allowed} {row.shadow} shadow of "
                    f"{first:#018x}-{(first + covered) % TOP:#018x} {size_text(covered)}"
                )
            else:
                what = words(row.effective, row.attributes)
                yield f"{place} {level} -> {row.pa:#x} {what}"


def _metadata(of: Mappings | Tables, with_hash: bool = False) -> dict[str, object]:
    """What a file of columns says of them."""
    from ._fastwalk import __version__

    known: dict[str, object] = {
        "version": __version__,
        "what": type(of).__name__.lower(),
        "mode": of.spec.name,
        "index_va_bits": Mode(of.spec).index_va_bits,
        "origin": of.origin.to_json(with_hash=with_hash) if of.origin else None,
    }
    if isinstance(of, Mappings):
        known |= {"complete": of.complete, "warnings": list(of.warnings)}
    return known


class Tables(Columnar):
    """The unique tables of an address space: columns of equal length, as NumPy arrays.

    ``depth`` uint8; ``pa`` uint64; ``va`` uint64, the lowest address that the table
    translates; ``references`` uint64, entries that point to it; ``none``, ``table``,
    ``leaf``, ``other`` uint32, its entries of each kind; ``absent`` uint32, those of its
    table entries whose table is not in the image.
    """

    NAMES = ("depth", "pa", "va", "references", "none", "table", "leaf", "other", "absent")
    _TYPES = ("u1", "u8", "u8", "u8", "u4", "u4", "u4", "u4", "u4")

    depth: NDArray[np.uint8]
    pa: NDArray[np.uint64]
    va: NDArray[np.uint64]
    references: NDArray[np.uint64]
    none: NDArray[np.uint32]
    table: NDArray[np.uint32]
    leaf: NDArray[np.uint32]
    other: NDArray[np.uint32]
    absent: NDArray[np.uint32]

    def __init__(
        self, columns: dict[str, np.ndarray], spec: Spec, origin: Origin | None = None
    ) -> None:
        self.columns = columns
        self.spec = spec
        self.origin = origin
        """What was walked, where that is known."""
        for name in self.NAMES:
            setattr(self, name, columns[name])

    @classmethod
    def from_core(cls, found: _fastwalk.Tables, spec: Spec, origin: Origin | None = None) -> Tables:
        """The core's columns, without a copy."""
        return cls(
            {
                name: np.frombuffer(getattr(found, name), np.dtype(kind))
                for name, kind in zip(cls.NAMES, cls._TYPES, strict=True)
            },
            spec,
            origin,
        )

    @property
    def table_bytes(self) -> NDArray[np.uint64]:
        """The size of each table. Computed, so a copy."""
        sizes = [depth.entry_bytes << depth.index_bits for depth in self.spec.depths]
        return np.array(sizes, np.uint64)[self.depth]

    def frame(self, *, decoded: bool = False) -> Frame:
        """The columns as a :class:`~fastwalk.frames.Frame`, without a copy; ``decoded``
        adds ``level``, the kernel's name of the depth."""
        columns, categories = dict(self.columns), {}
        if decoded:
            columns["level"] = self.depth
            categories["level"] = tuple(depth.name for depth in self.spec.depths)
        return Frame(columns, categories, _metadata(self))

    def stored(self, *, decoded: bool = False) -> Frame:
        """As :meth:`Mappings.stored`."""
        frame = self.frame(decoded=decoded)
        frame.metadata = _metadata(self, with_hash=True)
        return frame

    def __len__(self) -> int:
        return len(self.pa)

    def __getitem__(self, key: slice | np.ndarray) -> Tables:
        columns = {name: column[key] for name, column in self.columns.items()}
        return Tables(columns, self.spec, self.origin)

    def _repr_html_(self) -> str:
        from .view.html import tables_table

        return tables_table(self)

    @property
    def plot(self) -> TablesPlot:
        """``plot()``: their structure as a treemap, with matplotlib."""
        from .view.plot import TablesPlot

        return TablesPlot(self)

    def __repr__(self) -> str:
        by_depth = ", ".join(
            f"{np.count_nonzero(self.depth == depth)} {of.name}"
            for depth, of in enumerate(self.spec.depths)
        )
        return f"<fastwalk.Tables: {len(self)} tables ({by_depth}), {self.spec.name}>"
