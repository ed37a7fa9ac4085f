"""Results: the columns of a walk, and of the tables themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import arch
from .arch.spec import EXEC, READ, USER, USER_EXEC, WRITE, Spec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from . import _fastwalk

KINDS = ("leaf", "other", "absent", "note")
"""Kinds of a row, by the numbers of the ``kind`` column. *note* occurs only under
``coalesce="ptdump"``: a line of the kernel's dumper, hole or not."""

LEAF, OTHER, ABSENT, NOTE = range(4)

_PERMISSIONS = (
    (READ, "r"),
    (WRITE, "w"),
    (EXEC, "x"),
    (USER, "u"),
    (USER_EXEC, "ux"),
)

_COLUMNS = ("start", "size", "pa", "attributes", "effective", "depth", "kind")
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


def permission_text(effective: int, known: int) -> str:
    """Effective permissions in letters, ``-`` for each one that is not there."""
    return "".join(
        (letters if effective & bit else "-" * len(letters))
        for bit, letters in _PERMISSIONS
        if known & bit
    )


def size_text(size: int) -> str:
    """A size with the largest unit that leaves it whole: 4K, 1G, 16777096T."""
    size = size or 1 << 64
    unit = 0
    while size % 1024 == 0 and unit < 6:
        size //= 1024
        unit += 1
    return f"{size}{'BKMGTPE'[unit]}"


class Mappings:
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
    """

    def __init__(
        self,
        columns: dict[str, np.ndarray],
        spec: Spec,
        *,
        complete: bool = True,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self._columns = columns
        self.spec = spec
        """The paging mode."""
        self.complete = complete
        """False where rows are missing: the result was truncated, or a table could not
        be read."""
        self.warnings = warnings
        """What could not be read, a line each."""

    @classmethod
    def from_walk(cls, walked: _fastwalk.Walked, spec: Spec) -> Mappings:
        """The core's columns, without a copy."""
        wide = ("start", "size", "pa", "attributes")
        columns = {
            name: np.frombuffer(getattr(walked, name), np.uint64 if name in wide else np.uint8)
            for name in _COLUMNS
        }
        totals = walked.totals
        complete = totals.rows == len(columns["start"]) and not totals.absent
        return cls(columns, spec, complete=complete, warnings=tuple(totals.damage))

    @classmethod
    def from_dump(cls, dump: _fastwalk.Dump, spec: Spec) -> Mappings:
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
        return cls(columns, spec, complete=complete, warnings=tuple(dump.damage))

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

    def _allows(self, bits: int) -> NDArray[np.bool_]:
        return (self.effective & np.uint8(bits)) != 0

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
        return self.kind == LEAF

    @property
    def is_absent(self) -> NDArray[np.bool_]:
        """Mask: unknown, because a table is not in the image."""
        return self.kind == ABSENT

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, key: int | slice | np.ndarray) -> Mappings | Mapping:
        if isinstance(key, (int, np.integer)):
            row = [int(self._columns[name][key]) for name in _COLUMNS]
            return Mapping(*row[:-1], kind=KINDS[row[-1]])
        picked = {name: column[key] for name, column in self._columns.items()}
        return Mappings(picked, self.spec, complete=self.complete, warnings=self.warnings)

    def __iter__(self) -> Iterator[Mapping]:
        lists = [self._columns[name].tolist() for name in _COLUMNS]
        for *row, kind in zip(*lists, strict=True):
            yield Mapping(*row, kind=KINDS[kind])

    def __repr__(self) -> str:
        count = len(self)
        bytes_mapped = int(self.size[self.is_leaf].sum(dtype=np.uint64))
        partial = "" if self.complete else ", incomplete"
        head = (
            f"<fastwalk.Mappings: {count} rows, {bytes_mapped:#x} bytes mapped, "
            f"{self.spec.name}{partial}>"
        )
        if count <= 2 * _SHOWN + 1:
            return "\n".join([head, *map(self.row_text, range(count))])
        shown = [self.row_text(i) for i in range(_SHOWN)]
        shown.append("  ...")
        shown += [self.row_text(i) for i in range(count - _SHOWN, count)]
        return "\n".join([head, *shown])

    def row_text(self, index: int) -> str:
        """One row as a person reads it."""
        start, size, pa, attributes, effective, depth, kind = (
            int(self._columns[name][index]) for name in _COLUMNS
        )
        end = start + (size or 1 << 64)
        place = f"  {start:#018x}-{end % (1 << 64):#018x} {size_text(size):>9}"
        level = self.spec.depths[depth].name if depth < len(self.spec.depths) else str(depth)
        if kind == ABSENT:
            return f"{place} {level:<4} absent: its table at {pa:#x} is not in the image"
        if kind == OTHER:
            return f"{place} {level:<4} other, attributes {attributes:#x}"
        if kind == NOTE:
            return f"{place} level {depth}, value {attributes:#x}"
        allowed = permission_text(effective, self.spec.permissions)
        names = " ".join(arch.decode(self.spec.name, attributes))
        return f"{place} {level:<4} -> {pa:#x} {allowed} {names}".rstrip()


class Tables:
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

    def __init__(self, columns: dict[str, np.ndarray], spec: Spec) -> None:
        self.columns = columns
        self.spec = spec
        for name in self.NAMES:
            setattr(self, name, columns[name])

    @classmethod
    def from_core(cls, found: _fastwalk.Tables, spec: Spec) -> Tables:
        """The core's columns, without a copy."""
        return cls(
            {
                name: np.frombuffer(getattr(found, name), np.dtype(kind))
                for name, kind in zip(cls.NAMES, cls._TYPES, strict=True)
            },
            spec,
        )

    def __len__(self) -> int:
        return len(self.pa)

    def __getitem__(self, key: slice | np.ndarray) -> Tables:
        return Tables({name: column[key] for name, column in self.columns.items()}, self.spec)

    def __repr__(self) -> str:
        by_depth = ", ".join(
            f"{np.count_nonzero(self.depth == depth)} {of.name}"
            for depth, of in enumerate(self.spec.depths)
        )
        return f"<fastwalk.Tables: {len(self)} tables ({by_depth}), {self.spec.name}>"
