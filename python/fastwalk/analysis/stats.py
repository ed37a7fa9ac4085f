"""How an address space is mapped: leaf sizes, cost of the page tables, missed huge pages, reach
of the TLB, tables that spaces share, and what KASAN covers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .. import arch, decode
from ..arch.spec import Spec
from ..frames import Columnar, Frame, categorical
from ..mappings import SHADOWS, Mappings, Tables
from ..shadow import physical_last, shadowed
from ..words import permission_text, rough_size, size_text
from .intervals import ONE

if TYPE_CHECKING:
    from numpy.typing import NDArray

TLB_ENTRIES = 1536
"""Of a second-level TLB such as that of Intel's Skylake (Optimization Reference Manual,
2.6.1): a scale, not this machine's."""


class LeafRow(NamedTuple):
    """Leaves of one size, permission and memory type."""

    space: str
    leaf_size: int
    permissions: str
    memory: str
    leaves: int
    bytes: int


class Missed(NamedTuple):
    """Memory that larger leaves could map: aligned, contiguous, equal in all attributes."""

    space: str
    leaf_size: int
    """Of the leaves that there could be."""
    leaves: int
    bytes: int
    entries_now: int
    """How many smaller leaves map it now."""


class TableRow(NamedTuple):
    """The tables of one depth."""

    space: str
    level: str
    tables: int
    bytes: int
    used: int
    """Entries that are not none."""
    entries: int


class Reach(NamedTuple):
    """What TLB entries can hold. KASAN's shadow is left out: terabytes of it are one page,
    and would hide everything else."""

    space: str
    mapped: int
    """Bytes."""
    entries: int
    """That it takes to hold all of it; a contiguous group takes one."""
    reach: int
    """Bytes that :data:`TLB_ENTRIES` entries hold, of the mean size."""
    shadow: int = 0
    """Bytes of KASAN's shadow beside it."""


class Sharing(NamedTuple):
    """Whose tables they are."""

    space: str
    tables: int
    shared: int
    """That another space has, too."""
    own_bytes: int


class KasanCover(NamedTuple):
    """Shadow memory."""

    kind: str
    """``real``, or ``zero``: the one page that stands for memory that nobody tracks."""
    shadow_bytes: int
    covers_bytes: int


def leaf_sizes(spec: Spec) -> tuple[int, ...]:
    """Bytes that an entry of each depth spans."""
    sizes = [1 << spec.page_bits]
    for depth in reversed(spec.depths[1:]):
        sizes.append(sizes[-1] << depth.index_bits)
    return tuple(reversed(sizes))


def has_leaves(spec: Spec, depth: int) -> bool:
    """Whether the mode has leaves at a depth."""
    return any(rule.kind == "leaf" for rule in spec.depths[depth].rules)


class Stats(Columnar):
    """All of it; the columns are those of :attr:`leaves`."""

    def __init__(self) -> None:
        self.leaves: list[LeafRow] = []
        self.missed: list[Missed] = []
        self.tables: list[TableRow] = []
        self.reach: list[Reach] = []
        self.sharing: list[Sharing] = []
        self.kasan: list[KasanCover] = []

    def __repr__(self) -> str:
        mapped = sum(row.mapped + row.shadow for row in self.reach)
        tables = sum(row.bytes for row in self.tables)
        return f"<fastwalk.Stats: {rough_size(mapped)} mapped, {rough_size(tables)} of page tables>"

    def _repr_html_(self) -> str:
        from ..view.html import stats_table

        return stats_table(self)

    def frame(self, *, decoded: bool = False) -> Frame:
        """The rows of :attr:`leaves`: ``space``, ``permissions`` and ``memory`` as
        categoricals, ``leaf_size``, ``leaves`` and ``bytes`` as uint64."""
        columns: dict[str, np.ndarray] = {}
        categories = {}
        for name in LeafRow._fields:
            values = [getattr(row, name) for row in self.leaves]
            if name in ("space", "permissions", "memory"):
                columns[name], categories[name] = categorical(values)
            else:
                columns[name] = np.array(values, np.uint64)
        return Frame(columns, categories, {"what": "stats"})

    def document(self) -> dict[str, list[dict[str, object]]]:
        """All tables, as JSON has them."""
        names = ("leaves", "tables", "missed", "reach", "sharing", "kasan")
        return {name: [row._asdict() for row in getattr(self, name)] for name in names}

    def lines(self) -> Iterator[str]:
        """The text for people."""
        yield "mapped, by size of leaf:"
        for row in self.leaves:
            yield (
                f"  {row.space:<20} {size_text(row.leaf_size):>5} {row.permissions:<7} "
                f"{row.memory:<12} {row.leaves:>10} leaves {rough_size(row.bytes):>12}"
            )
        yield "page tables:"
        for table in self.tables:
            full = table.used / table.entries if table.entries else 0
            yield (
                f"  {table.space:<20} {table.level:<5} {table.tables:>8} tables "
                f"{rough_size(table.bytes):>12}, {full:.1%} of their entries in use"
            )
        mapped = {row.space: row.mapped for row in self.reach}
        beside = {row.space: _beside(row.shadow) for row in self.reach}
        cost: dict[str, int] = {}
        for table in self.tables:
            cost[table.space] = cost.get(table.space, 0) + table.bytes
        for space, total in cost.items():
            if mapped.get(space):
                share = total / mapped[space]
                held = f"{rough_size(mapped[space])}{beside[space]}"
                yield f"  {space:<20} {rough_size(total)} for {held}: {share:.3%}"
        yield "larger leaves that there could be:"
        for missed in self.missed:
            yield (
                f"  {missed.space:<20} {missed.leaves:>8} of {size_text(missed.leaf_size)} for "
                f"{rough_size(missed.bytes)} in {missed.entries_now} leaves"
            )
        if not self.missed:
            yield "  none"
        yield "TLB:"
        for one in self.reach:
            yield (
                f"  {one.space:<20} {one.entries} entries hold {rough_size(one.mapped)}"
                f"{beside[one.space]}; {TLB_ENTRIES} hold {rough_size(one.reach)}"
            )
        if len(self.sharing) > 1:
            yield "tables shared between spaces:"
            for share_row in self.sharing:
                yield (
                    f"  {share_row.space:<20} {share_row.tables:>8} tables, {share_row.shared} of "
                    f"them shared; its own are {rough_size(share_row.own_bytes)}"
                )
        if self.kasan:
            yield "KASAN shadow:"
            for cover in self.kasan:
                yield (
                    f"  {cover.kind:<20} {rough_size(cover.shadow_bytes):>12} for "
                    f"{rough_size(cover.covers_bytes)} of memory"
                )


def _beside(shadow: int) -> str:
    """What was left out, for people."""
    return f" (not counting {rough_size(shadow)} of KASAN shadow)" if shadow else ""


def stats(
    maps: Mappings,
    tables: Tables | Mapping[str, Tables] | None = None,
    shadow: Mappings | None = None,
) -> Stats:
    """Numbers on one address space or on several.

    ``maps``: of ``walk_physical()``. ``tables``: of ``tables()``, of one space, or by its
    name. ``shadow``: of ``walk(kasan="collapse")``, for what KASAN covers. ValueError where
    rows are not contiguous in physical memory.
    """
    found = Stats()
    several = "space" in maps.columns
    names = maps.spaces or ("",)
    for number, name in enumerate(names if several else names[:1]):
        one = maps.of_space(number) if several else maps
        leaf = one[one.is_leaf]
        _leaves(found, name, leaf)
        _missed(found, name, leaf)
        _reach(found, name, leaf)
    given = {names[0]: tables} if isinstance(tables, Tables) else dict(tables or {})
    for name, of in given.items():
        _tables(found, name, of)
    _sharing(found, given)
    if shadow is not None and "shadow" in shadow.columns:
        for kind in ("real", "zero"):
            rows = (shadow.columns["shadow"] == SHADOWS.index(kind)) & shadow.is_leaf
            if rows.any():
                size = int(shadow.size[rows].sum())
                covers = int(shadow.columns["covers_size"][rows].sum())
                found.kasan.append(KasanCover(kind, size, covers))
    return found


def _leaves(found: Stats, name: str, maps: Mappings) -> None:
    spec = maps.spec
    sizes = leaf_sizes(spec)
    codes, texts = decode.memory_type(spec, maps.depth, maps.attributes, maps.is_leaf)
    key = maps.depth.astype(np.uint32) << np.uint32(16)
    key |= maps.effective.astype(np.uint32) << np.uint32(8)
    key |= codes
    keys, number = np.unique(key, return_inverse=True)
    total = np.zeros(len(keys), np.uint64)
    np.add.at(total, number, maps.size)
    for value, size in zip(keys.tolist(), total.tolist(), strict=True):
        depth, effective = value >> 16, value >> 8 & 0xFF
        allowed = permission_text(effective, spec.permissions)
        leaf = sizes[depth]
        found.leaves.append(LeafRow(name, leaf, allowed, texts[value & 0xFF], size // leaf, size))


def _missed(found: Stats, name: str, maps: Mappings) -> None:
    spec = maps.spec
    sizes = leaf_sizes(spec)
    last = maps.start + (maps.size - ONE)
    contiguous = physical_last(maps) - maps.pa == maps.size - ONE
    for depth in range(1, len(sizes)):
        larger = next((d for d in range(depth - 1, -1, -1) if has_leaves(spec, d)), None)
        rows = (maps.depth == depth) & contiguous
        if larger is None or not rows.any():
            continue
        size = sizes[larger]
        within = np.uint64(size - 1)
        aligned = rows & (((maps.start ^ maps.pa) & within) == 0)
        low = (maps.start[aligned] + within) >> np.uint64(size.bit_length() - 1)
        # The block that the last byte is in counts where the row ends with it.
        high = (last[aligned] >> np.uint64(size.bit_length() - 1)) + (
            (last[aligned] & within) == within
        ).astype(np.uint64)
        wraps = maps.start[aligned] + within < maps.start[aligned]
        blocks = np.where((high > low) & ~wraps, high - low, np.uint64(0))
        count = int(blocks.sum())
        if count:
            total = count * size
            found.missed.append(Missed(name, size, count, total, total // sizes[depth]))


def _reach(found: Stats, name: str, maps: Mappings) -> None:
    spec = maps.spec
    inside = shadowed(maps)
    shadow = int(maps.size[inside].sum())
    maps = maps[~inside]
    per_entry = np.array(leaf_sizes(spec), np.uint64)[maps.depth]
    for depth, groups in enumerate(arch.groups(spec.name)):
        for mask, value, entries in groups:
            rows = (maps.depth == depth) & ((maps.attributes & np.uint64(mask)) == value)
            per_entry[rows] *= np.uint64(entries)
    mapped = int(maps.size.sum())
    entries = int((maps.size // per_entry + (maps.size % per_entry != 0)).sum())
    reach = min(mapped, TLB_ENTRIES * mapped // entries) if entries else 0
    found.reach.append(Reach(name, mapped, entries, reach, shadow))


def _tables(found: Stats, name: str, tables: Tables) -> None:
    for depth, of in enumerate(tables.spec.depths):
        rows = tables.depth == depth
        count = int(np.count_nonzero(rows))
        if not count:
            continue
        entries = count << of.index_bits
        used = entries - int(tables.none[rows].sum(dtype=np.uint64))
        found.tables.append(TableRow(name, of.name, count, entries * of.entry_bytes, used, entries))


def _sharing(found: Stats, given: Mapping[str, Tables]) -> None:
    if not given:
        return
    # The same page at two depths is two tables (a self-map).
    pas = [_identity(tables) for tables in given.values()]
    every, counts = np.unique(np.concatenate(pas), return_counts=True)
    for (name, tables), own in zip(given.items(), pas, strict=True):
        shared = counts[np.searchsorted(every, own)] > 1
        own_bytes = int(tables.table_bytes[~shared].sum())
        found.sharing.append(Sharing(name, len(own), int(shared.sum()), own_bytes))


def _identity(tables: Tables) -> NDArray[np.uint64]:
    """Address and level, counted from the page up, so that modes of unequal depth agree."""
    below = np.uint64(len(tables.spec.depths) - 1) - tables.depth.astype(np.uint64)
    # Tables are at least 16 bytes apart: the low bits are free.
    return tables.pa | below
