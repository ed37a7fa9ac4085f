"""What should not be mapped like that.

:func:`audit` looks at the columns of a walk with the rules of
:mod:`fastwalk.analysis.rules`; each check below belongs to one of them. Nothing is read
from the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import arch, decode
from ..arch.spec import EXEC, USER, USER_EXEC, WRITE, Spec
from ..layout import Layout
from ..mappings import OTHER, Mappings, Tables
from ..origin import Origin, Walked
from .findings import Findings, Part
from .intervals import ONE, Union, meet, outside, union
from .rules import EXEMPTIONS
from .sections import IMAGE, Sections, kernel_start
from .shadow import physical_last, shadow_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

BOTH = WRITE | EXEC
PHYSICAL = 'needs rows that are contiguous in physical memory: coalesce="physical"'
DEVICE_TYPES = ("device", "UC", "WC", "IO", "NC", "non-idempotent", "tolerant", "SUC", "WUC")
"""Memory types, or beginnings of their names, that are not of ordinary memory."""


@dataclass(frozen=True)
class Columns:
    """The columns of one space that the checks look at."""

    maps: Mappings
    spec: Spec
    walked: Walked
    layout: Layout
    sections: Sections
    number: int
    leaf: Mask
    last: NDArray[np.uint64]
    pa_last: NDArray[np.uint64]

    @classmethod
    def of(cls, maps: Mappings, origin: Origin, number: int) -> Columns:
        """Those of one space."""
        walked = origin.spaces[0]
        last = maps.start + (maps.size - ONE)
        physical = origin.coalesce in ("physical", "none")
        pa_last = physical_last(maps) if physical else maps.pa + (maps.size - ONE)
        return cls(
            maps,
            maps.spec,
            walked,
            origin.layout,
            Sections.of(origin.layout, walked.view),
            number,
            maps.is_leaf,
            last,
            pa_last,
        )

    @property
    def physical(self) -> bool:
        """Whether rows are contiguous in physical memory."""
        return self.maps.origin is None or self.maps.origin.coalesce in ("physical", "none")

    def allows(self, bits: int) -> Mask:
        """Leaves with all of these permissions."""
        rows: Mask = self.leaf & ((self.maps.effective & np.uint8(bits)) == bits)
        return rows

    @property
    def kernel_executes(self) -> Mask:
        """Leaves that the kernel may execute and that are no user program's (SMEP, PXN and
        their like keep the kernel from executing those)."""
        return self.allows(EXEC) & ~self.allows(USER)

    def part(self, rule: str, rows: Mask, detail: str) -> Part:
        """Whole rows as findings."""
        maps = self.maps
        count = np.count_nonzero(rows)
        return Part(
            rule,
            np.full(count, self.number, np.uint32),
            maps.start[rows],
            maps.size[rows],
            maps.pa[rows],
            np.zeros(count, np.uint64),
            detail,
        )


def denies_execution(spec: Spec) -> bool:
    """Whether the mode has any way to forbid execution."""
    paths = (bit for depth in spec.depths for bit in (*depth.leaf_path, *depth.table_path))
    return any(bit.bits & EXEC for bit in paths) or any(
        exclusion.denied & EXEC for exclusion in spec.exclusions
    )


def exempt(columns: Columns, rule: str) -> Mask:
    """Rows where the kernel itself makes an exception of a rule."""
    rows = np.zeros(len(columns.maps), np.bool_)
    markers = columns.layout.view().markers
    base = {marker.name: marker.address for marker in markers}
    for exemption in EXEMPTIONS:
        known = exemption.marker is None or exemption.marker in base
        if exemption.rule != rule or exemption.arch != columns.spec.arch or not known:
            continue
        offset = base[exemption.marker] if exemption.marker is not None else 0
        first, last = (np.uint64(offset + end) for end in (exemption.first, exemption.last))
        rows |= (columns.maps.start >= first) & (columns.last <= last)
    return rows


def writes_and_executes(columns: Columns) -> Mask:
    """Leaves that the kernel may write and execute. In a root that processes use, what is a
    user program's is none of the kernel's (it does not execute it: SMEP, PXN)."""
    both = columns.allows(BOTH)
    if columns.walked.role in ("process", "pti-user"):
        both &= ~columns.allows(USER)
    return both & denies_execution(columns.spec)


def writable_executable(maps: Mappings, layout: Layout) -> tuple[Mappings, int]:
    """Leaves that the kernel can write and execute, and how many pages they are.

    What the kernel's own check at boot counts (ptdump_check_wx; x86:
    ptdump_walk_pgd_level_checkwx), its exemptions included: nothing in modes that cannot
    forbid execution.
    """
    if maps.origin is not None:
        columns = Columns.of(maps, maps.origin, 0)
        found = maps[writes_and_executes(columns) & ~exempt(columns, "wx")]
    else:
        both = maps.is_leaf & ((maps.effective & np.uint8(BOTH)) == BOTH)
        found = maps[both & denies_execution(maps.spec)]
    assert isinstance(found, Mappings)
    return found, int(found.size.sum(dtype=np.uint64)) // layout.page_size


def audit(
    maps: Mappings,
    tables: Tables | Mapping[str, Tables] | None = None,
    *,
    memory: Iterable[tuple[int, int]] | None = None,
    regions: Mapping[str, tuple[int, int]] | None = None,
) -> Findings:
    """What should not be mapped like that, by all rules that can be judged.

    ``maps``: of :meth:`~fastwalk.AddressSpace.walk_physical`, of one address space or of
    several; other walks will do for the rules that look at no physical addresses. ``tables``: of
    :meth:`~fastwalk.AddressSpace.tables`, or by name of a space, for the rules on page
    tables. ``memory``: (PA, size) of all RAM, for what lies outside of it. ``regions``:
    first and last address of ``text`` and ``rodata``; without them, text is what stands
    between the first and the last executable leaf of the kernel's image, where a marker
    tells that. ValueError where ``maps`` says not what it is of.
    """
    if maps.origin is None:
        raise ValueError("these mappings do not say what they are of; walk a space, or read them")
    several = "space" in maps.columns
    spaces = [maps.of_space(number) for number in range(len(maps.spaces))] if several else [maps]
    found = Audit(regions or {}, None if memory is None else _ram(memory))
    for number, one in enumerate(spaces):
        assert one.origin is not None
        found.space(Columns.of(one, one.origin, number))
    found.aliases()
    given = {"": tables} if isinstance(tables, Tables) else tables or {}
    for these in given.values():
        found.tables(these)
    if tables is None:
        found.skip("table-user", "the tables were not given")
        found.skip("table-writable", "the tables were not given")
    sections = Sections.of_origin(maps.origin)
    return Findings.of_parts(
        found.parts, maps.spaces, sections, found.wx_pages, tuple(found.skipped.items())
    )


def _ram(memory: Iterable[tuple[int, int]]) -> Union:
    pieces = np.array([(pa, pa + size - 1) for pa, size in memory if size], np.uint64)
    pieces = pieces.reshape(-1, 2)
    return union(pieces[:, 0], pieces[:, 1])


class Audit:
    """Collects what the checks find."""

    def __init__(self, regions: Mapping[str, tuple[int, int]], memory: Union | None) -> None:
        self.regions = regions
        self.memory = memory
        self.parts: list[Part] = []
        self.skipped: dict[str, str] = {}
        self.pages: list[tuple[str, int]] = []
        self.spaces: list[Columns] = []

    def skip(self, rule: str, why: str) -> None:
        """Says that a rule was not judged."""
        self.skipped.setdefault(rule, why)

    @property
    def wx_pages(self) -> int:
        """What the kernel's check counts: it looks at the kernel's own roots. Where there are
        only processes', at those."""
        own = [pages for role, pages in self.pages if role != "process"]
        return sum(own or [pages for _, pages in self.pages])

    def add(self, part: Part) -> None:
        """Keeps what was found."""
        if len(part.start):
            self.parts.append(part)

    def space(self, columns: Columns) -> None:
        """All checks that look at one space alone."""
        self.spaces.append(columns)
        self.wx(columns)
        self.user(columns)
        self.text(columns)
        self.groups(columns)
        self.entries(columns)
        self.ram(columns)
        self.shadow(columns)

    def wx(self, columns: Columns) -> None:
        """Rules wx, wx-exempt and user-wx."""
        if not denies_execution(columns.spec):
            self.skip("wx", f"{columns.spec.name} cannot forbid execution")
            return
        both = writes_and_executes(columns)
        spared = both & exempt(columns, "wx")
        self.add(columns.part("wx-exempt", spared, "the kernel's check lets it be"))
        found = columns.part("wx", both & ~spared, "writable and executable")
        pages = int(found.size.sum(dtype=np.uint64)) // columns.layout.page_size
        self.pages.append((columns.walked.role, pages))
        self.add(found)
        users = columns.allows(WRITE | USER | USER_EXEC)
        if columns.walked.role in ("process", "pti-user"):
            self.add(columns.part("user-wx", users, "writable and executable in user mode"))

    def user(self, columns: Columns) -> None:
        """Rule user-kernel."""
        if not columns.spec.permissions & USER:
            self.skip("user-kernel", f"{columns.spec.name} does not tell user from kernel")
            return
        start = kernel_start(columns.layout, columns.walked)
        if start is None:
            return
        rows = columns.allows(USER) & (columns.maps.start >= np.uint64(start))
        rows &= ~exempt(columns, "user-kernel")
        self.add(columns.part("user-kernel", rows, "user programs may access it"))

    def text(self, columns: Columns) -> None:
        """Rules text-writable and rodata-writable."""
        writable = columns.allows(WRITE)
        start = columns.maps.start
        for name, rule in (("text", "text-writable"), ("rodata", "rodata-writable")):
            if name in self.regions:
                first, last = (np.uint64(end) for end in self.regions[name])
                rows = writable & (start <= last) & (columns.last >= first)
                self.add(columns.part(rule, rows, f"in the kernel's {name}"))
            elif name == "rodata":
                self.skip(rule, "where the kernel's rodata is, is not known")
            elif (between := _between_text(columns)) is not None:
                self.add(columns.part(rule, between & writable, "between executable pages"))
            else:
                self.skip(rule, "where the kernel's text is, is not known")

    def groups(self, columns: Columns) -> None:
        """Rule group: a run with the bit has to begin and end with a group, in VA and PA."""
        maps, spec = columns.maps, columns.spec
        known = arch.groups(spec.name)
        if not columns.physical:
            if any(known):
                self.skip("group", PHYSICAL)
            return
        size = 1 << spec.page_bits
        for depth in reversed(range(len(spec.depths))):
            for mask, value, entries in known[depth]:
                rows = columns.leaf & (maps.depth == depth)
                rows &= (maps.attributes & np.uint64(mask)) == value
                within = np.uint64(size * entries - 1)
                torn = ((maps.start | (columns.last + ONE)) & within) != 0
                torn |= ((maps.start ^ maps.pa) & within) != 0
                if maps.origin is not None and maps.origin.coalesce == "none":
                    torn = (maps.start & within) != (maps.pa & within)
                self.add(columns.part("group", rows & torn, f"groups are of {entries} entries"))
            size <<= spec.depths[depth].index_bits

    def entries(self, columns: Columns) -> None:
        """Rule reserved: entries that are neither leaf nor table, and yet present."""
        rows = (columns.maps.kind == OTHER) & present(columns.spec, columns.maps.attributes)
        self.add(columns.part("reserved", rows, "present, and neither leaf nor table"))

    def ram(self, columns: Columns) -> None:
        """Rules outside-ram and table-outside."""
        self.add(columns.part("table-outside", columns.maps.is_absent, "its table is missing"))
        if self.memory is None or not columns.physical:
            why = "where RAM is, is not known" if columns.physical else PHYSICAL
            self.skip("outside-ram", why)
            return
        maps = columns.maps
        codes, names = decode.memory_type(columns.spec, maps.depth, maps.attributes, columns.leaf)
        device = np.array([name.startswith(DEVICE_TYPES) for name in names])
        rows = columns.leaf & ~device[codes]
        rows &= outside(maps.pa, columns.pa_last, self.memory)
        self.add(columns.part("outside-ram", rows, "no RAM there"))

    def shadow(self, columns: Columns) -> None:
        """Rules shadow-executable, shadow-zero and shadow-missing."""
        shadow = shadow_of(columns.layout, columns.walked)
        if shadow is None:
            return
        start = columns.maps.start
        inside = columns.leaf & (start >= np.uint64(shadow.start))
        inside &= columns.last <= np.uint64(shadow.last)
        if not inside.any():
            return
        self.add(
            columns.part("shadow-executable", inside & columns.allows(EXEC), "executable shadow")
        )
        kasan = columns.layout.kasan
        zero = kasan.early_shadow.get("page") if kasan else None
        if zero is not None:
            writes = inside & columns.allows(WRITE) & (columns.maps.pa == np.uint64(zero))
            self.add(columns.part("shadow-zero", writes, "the zero page, writable"))
        covered = union(start[inside], columns.last[inside])
        first = kernel_start(columns.layout, columns.walked) or 0
        rows = columns.leaf & ~inside & (start >= np.uint64(first))
        rows &= shadow.covers(start) & shadow.covers(columns.last)
        rows &= ~_within(columns, "fixmap")
        missing = np.zeros(len(start), np.bool_)
        missing[rows] = outside(shadow.of(start[rows]), shadow.of(columns.last[rows]), covered)
        self.add(columns.part("shadow-missing", missing, "its shadow is not mapped"))

    def aliases(self) -> None:
        """Rule alias-wx, over all spaces at once."""
        spaces = [columns for columns in self.spaces if columns.physical]
        if len(spaces) < len(self.spaces):
            self.skip("alias-wx", PHYSICAL)
        first, last, va, at = _writable(spaces)
        if not len(first):
            return
        # One writable mapping of each address is enough to show.
        merged = union(first, last)
        order = np.argsort(first, kind="stable")
        for columns in spaces:
            rows = np.flatnonzero(columns.kernel_executes & ~columns.allows(WRITE))
            maps = columns.maps
            pairs = meet(maps.pa[rows], columns.pa_last[rows], merged)
            row = rows[pairs.left]
            seen = order[np.searchsorted(first[order], pairs.first, side="right") - 1]
            # The one that begins last before it may have ended; then the merged one began
            # with it.
            ended = last[seen] < pairs.first
            head = np.searchsorted(first[order], merged.first[pairs.right])
            seen[ended] = order[head[ended]]
            self.add(
                Part(
                    "alias-wx",
                    np.full(len(row), columns.number, np.uint32),
                    maps.start[row] + (pairs.first - maps.pa[row]),
                    pairs.last - pairs.first + ONE,
                    pairs.first,
                    va[seen] + (pairs.first - at[seen]),
                    "writable at {other:#x}",
                )
            )

    def tables(self, tables: Tables) -> None:
        """Rules table-user and table-writable."""
        sizes = np.array(
            [depth.entry_bytes << depth.index_bits for depth in tables.spec.depths], np.uint64
        )
        merged = union(tables.pa, tables.pa + (sizes[tables.depth] - ONE))
        for columns in self.spaces:
            if not columns.physical:
                self.skip("table-user", PHYSICAL)
                self.skip("table-writable", PHYSICAL)
                continue
            writable = columns.allows(WRITE)
            users = columns.allows(WRITE | USER)
            for rule, mask in (("table-user", users), ("table-writable", writable & ~users)):
                rows = np.flatnonzero(mask)
                pairs = meet(columns.maps.pa[rows], columns.pa_last[rows], merged)
                row = rows[pairs.left]
                self.add(
                    Part(
                        rule,
                        np.full(len(row), columns.number, np.uint32),
                        columns.maps.start[row] + (pairs.first - columns.maps.pa[row]),
                        pairs.last - pairs.first + ONE,
                        pairs.first,
                        pairs.first,
                        "page tables at PA {other:#x}",
                    )
                )


def _writable(
    spaces: list[Columns],
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]:
    """First and last PA, VA and its PA of all writable leaves."""
    pieces = [
        (c.maps.pa[rows], c.pa_last[rows], c.maps.start[rows], c.maps.pa[rows])
        for c in spaces
        for rows in [c.allows(WRITE)]
    ]
    none = np.zeros(0, np.uint64)
    first, last, va, at = (
        (np.concatenate((none, *c)) for c in zip(*pieces, strict=True)) if (pieces) else (none,) * 4
    )
    return first, last, va, at


def _within(columns: Columns, name: str) -> Mask:
    """Rows in sections of that name, or whose name begins so."""
    sections = columns.sections
    wanted = np.array([section.lower().startswith(name) for section in sections.names])
    return wanted[sections.find(columns.maps.start)]


def _between_text(columns: Columns) -> Mask | None:
    """Leaves between the first and the last executable one of the kernel's image."""
    sections = columns.sections
    image = np.array([name in IMAGE for name in sections.names])
    start = columns.maps.start
    inside = image[sections.find(start)]
    code = start[inside & columns.kernel_executes]
    if not len(code):
        return None
    rows: Mask = inside & (start >= code.min()) & (start <= code.max())
    return rows


def present(spec: Spec, attributes: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Of entries that are neither none, table nor leaf: whether they are yet present to the
    processor, as far as their attribute bits tell. Such are malformed; the others (swap,
    migration, PROT_NONE) are the kernel's own business."""
    bits = arch.present_entry(spec.name)
    if bits is None:
        return np.zeros(len(attributes), np.bool_)
    mask, value = bits
    rows: Mask = (attributes & np.uint64(mask)) == value
    return rows


__all__ = ["audit", "denies_execution", "present", "writable_executable"]
