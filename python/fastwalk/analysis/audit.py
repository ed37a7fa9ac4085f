"""What should not be mapped like that.

:func:`audit` looks at the columns of a walk with the rules of
:mod:`fastwalk.analysis.rules`; each check below belongs to one of them. Nothing is read
from the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import arch, decode
from ..arch.spec import EXEC, USER, USER_EXEC, WRITE, Spec
from ..layout import Layout
from ..mappings import OTHER, Mappings, Tables
from ..origin import Origin, Walked
from ..shadow import of_walked, physical_last
from .findings import Findings, Part
from .intervals import ONE, Pairs, Union, complement, meet, outside, union
from .rules import EXEMPTIONS
from .sections import Sections, kernel_start

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
    Rows = NDArray[np.intp]
    U64 = NDArray[np.uint64]

BOTH = WRITE | EXEC
PHYSICAL = "needs the true mappings (walk_physical), and those are not these rows"
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
            Sections.of_walked(origin.layout, walked),
            number,
            maps.is_leaf,
            last,
            pa_last,
        )

    @property
    def physical(self) -> bool:
        """Whether rows are contiguous in physical memory."""
        return self.maps.origin is None or self.maps.origin.coalesce in ("physical", "none")

    @property
    def of_program(self) -> bool:
        """Whether all of the space is a user program's: a process's, in a mode that does not
        tell user from kernel (s390x, where the kernel has a space of its own)."""
        return self.walked.role == "process" and not self.spec.permissions & USER

    def allows(self, bits: int) -> Mask:
        """Leaves with all of these permissions."""
        rows: Mask = self.leaf & ((self.maps.effective & np.uint8(bits)) == bits)
        return rows

    def user_allows(self, bits: int = 0) -> Mask:
        """Leaves with all of these permissions that a user program may access."""
        return self.allows(bits) if self.of_program else self.allows(bits | USER)

    @property
    def kernel_executes(self) -> Mask:
        """Leaves that the kernel may execute and that are no user program's (SMEP, PXN and
        their like keep the kernel from executing those)."""
        return self.allows(EXEC) & ~self.user_allows()

    def part(self, rule: str, rows: Mask, detail: str, other: int = 0) -> Part:
        """Whole rows as findings."""
        maps = self.maps
        count = np.count_nonzero(rows)
        return Part(
            rule,
            np.full(count, self.number, np.uint32),
            maps.start[rows],
            maps.size[rows],
            maps.pa[rows],
            np.full(count, other, np.uint64),
            detail,
        )

    def pieces(
        self,
        rule: str,
        rows: Rows,
        pairs: Pairs,
        detail: str,
        other: U64 | None = None,
        other_space: NDArray[np.uint32] | None = None,
    ) -> Part:
        """Pieces of rows, where they meet something in physical memory, as findings."""
        row = rows[pairs.left]
        start = self.maps.start[row] + (pairs.first - self.maps.pa[row])
        number = np.full(len(row), self.number, np.uint32)
        if other is None:
            other = np.zeros(len(row), np.uint64)
        size = pairs.last - pairs.first + ONE
        return Part(rule, number, start, size, pairs.first, other, detail, other_space)


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
        both &= ~columns.user_allows()
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
    if tables is not None:
        found.tables([tables] if isinstance(tables, Tables) else list(tables.values()))
    else:
        found.skip("table-user", "the tables were not given")
        found.skip("table-writable", "the tables were not given")
    return Findings.of_parts(
        found.parts,
        maps.spaces,
        tuple(columns.sections for columns in found.spaces),
        found.wx_pages,
        tuple(found.skipped.items()),
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
        self.pages: list[tuple[Walked, int]] = []
        self.spaces: list[Columns] = []

    def skip(self, rule: str, why: str) -> None:
        """Says that a rule was not judged."""
        self.skipped.setdefault(rule, why)

    @property
    def wx_pages(self) -> int:
        """What the kernel's check counts: it looks at init_mm, which has the first of the
        kernel's roots. Where none is there, at all that are."""
        own = [pages for walked, pages in self.pages if walked.role == "kernel"]
        return own[0] if own else sum(pages for _, pages in self.pages)

    def add(self, part: Part) -> None:
        """Keeps what was found."""
        if len(part.start):
            self.parts.append(part)

    def space(self, columns: Columns) -> None:
        """All checks that look at one space alone."""
        self.spaces.append(columns)
        start = columns.maps.start
        code = start[columns.sections.in_image(start) & columns.kernel_executes]
        columns.sections.image = int(code.min()) if len(code) else None
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
        self.pages.append((columns.walked, pages))
        self.add(found)
        by_user = columns.spec.permissions & USER_EXEC or EXEC
        users = columns.user_allows(WRITE | by_user)
        if columns.walked.role in ("process", "pti-user"):
            self.add(columns.part("user-wx", users, "writable and executable in user mode"))

    def user(self, columns: Columns) -> None:
        """Rule user-kernel."""
        if columns.of_program:
            return
        if not columns.spec.permissions & USER:
            self.skip("user-kernel", f"{columns.spec.name} does not tell user from kernel")
            return
        start = kernel_start(columns.layout, columns.walked)
        if start is None:
            return
        # Arm programs may execute what they may not read: what lacks UXN (arch/arm64/mm/
        # ptdump.c, note_prot_uxn of 6.12).
        access = columns.allows(USER) | columns.allows(USER_EXEC)
        rows = access & (columns.maps.start >= np.uint64(start))
        rows &= ~exempt(columns, "user-kernel")
        self.add(columns.part("user-kernel", rows, "user programs may access it"))

    def text(self, columns: Columns) -> None:
        """Rules text-writable and rodata-writable."""
        if columns.of_program:
            return
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
                detail = "groups are of {other} entries"
                self.add(columns.part("group", rows & torn, detail, entries))
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
        rows = np.flatnonzero(columns.leaf & ~device[codes])
        pairs = meet(maps.pa[rows], columns.pa_last[rows], complement(self.memory))
        self.add(columns.pieces("outside-ram", rows, pairs, "no RAM there"))

    def shadow(self, columns: Columns) -> None:
        """Rules shadow-executable, shadow-zero and shadow-missing."""
        shadow = of_walked(columns.layout, columns.walked)
        if shadow is None or columns.of_program:
            return
        start = columns.maps.start
        inside = columns.leaf & (start >= np.uint64(shadow.start))
        inside &= columns.last < np.uint64(shadow.end)
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
        rows &= shadow.has(start) & shadow.has(columns.last)
        rows &= ~_within(columns, "fixmap")
        missing = np.zeros(len(start), np.bool_)
        missing[rows] = outside(shadow.of(start[rows]), shadow.of(columns.last[rows]), covered)
        self.add(columns.part("shadow-missing", missing, "its shadow is not mapped"))

    def aliases(self) -> None:
        """Rule alias-wx, over all spaces at once."""
        spaces = [columns for columns in self.spaces if columns.physical]
        if len(spaces) < len(self.spaces):
            self.skip("alias-wx", PHYSICAL)
        first, last, va, space = _writable(spaces)
        if not len(first):
            return
        # One writable mapping of each address is enough to show.
        merged = union(first, last)
        order = np.argsort(first, kind="stable")
        for columns in spaces:
            rows = np.flatnonzero(columns.kernel_executes & ~columns.allows(WRITE))
            pairs = meet(columns.maps.pa[rows], columns.pa_last[rows], merged)
            seen = order[np.searchsorted(first[order], pairs.first, side="right") - 1]
            # The one that begins last before it may have ended; then the merged one began
            # with it.
            ended = last[seen] < pairs.first
            head = np.searchsorted(first[order], merged.first[pairs.right])
            seen[ended] = order[head[ended]]
            alias = va[seen] + (pairs.first - first[seen])
            detail = "writable at {other:#x}{where}"
            self.add(columns.pieces("alias-wx", rows, pairs, detail, alias, space[seen]))

    def tables(self, tables: Sequence[Tables]) -> None:
        """Rules table-user and table-writable."""
        pieces = [(of.pa, of.pa + (of.table_bytes - ONE)) for of in tables if len(of)]
        none = np.zeros(0, np.uint64)
        first, last = (np.concatenate((none, *(piece[i] for piece in pieces))) for i in (0, 1))
        merged = union(first, last)
        for columns in self.spaces:
            if not columns.physical:
                self.skip("table-user", PHYSICAL)
                self.skip("table-writable", PHYSICAL)
                continue
            writable = columns.allows(WRITE)
            users = columns.user_allows(WRITE)
            for rule, mask in (("table-user", users), ("table-writable", writable & ~users)):
                rows = np.flatnonzero(mask)
                pairs = meet(columns.maps.pa[rows], columns.pa_last[rows], merged)
                detail = "page tables at PA {other:#x}"
                self.add(columns.pieces(rule, rows, pairs, detail, pairs.first))


def _writable(spaces: list[Columns]) -> tuple[U64, U64, U64, NDArray[np.uint32]]:
    """First and last PA, VA and space of all writable leaves."""
    none = (*(np.zeros(0, np.uint64) for _ in range(3)), np.zeros(0, np.uint32))
    pieces = [none]
    for of in spaces:
        rows = of.allows(WRITE)
        number = np.full(np.count_nonzero(rows), of.number, np.uint32)
        pieces.append((of.maps.pa[rows], of.pa_last[rows], of.maps.start[rows], number))
    first, last, va, space = (np.concatenate(column) for column in zip(*pieces, strict=True))
    return first, last, va, space


def _within(columns: Columns, name: str) -> Mask:
    """Rows in sections of that name, or whose name begins so."""
    sections = columns.sections
    wanted = np.array([section.lower().startswith(name) for section in sections.names])
    return wanted[sections.find(columns.maps.start)]


def _between_text(columns: Columns) -> Mask | None:
    """Leaves between the first and the last executable one of the kernel's image."""
    start = columns.maps.start
    inside = columns.sections.in_image(start)
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
