"""The oracle: slow and obvious walkers, driven by the same data as the fast one.

They read an entry at a time, depth first, in VA order, as a processor and as the kernel's
dumper do, and share no code with the Rust core. `memory` is anything with
``read(pa, n) -> bytes | None``, where None means that not all of the bytes are in the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Literal, NamedTuple, Protocol

from fastwalk.arch.dialect import Dialect, NoteDepth, NoteRule
from fastwalk.arch.spec import Depth, Field, Half, PathBit, Rule, Spec
from fastwalk.layout import Marker
from fastwalk.text.ptdump import Rows

WORD = 1 << 64


class Memory(Protocol):
    def read(self, pa: int, n: int) -> bytes | None: ...


def decode(fields: tuple[Field, ...], entry: int) -> int:
    """An address out of an entry's bits."""
    total = 0
    for part in fields:
        bits = entry & part.mask
        total += bits << part.shift if part.shift >= 0 else bits >> -part.shift
    return total % WORD


def path_state(bits: tuple[PathBit, ...], entry: int) -> int:
    state = 0
    for bit in bits:
        if entry & bit.mask == bit.value:
            state |= bit.bits
    return state


def spans(page_bits: int, index_bits: Sequence[int]) -> list[int]:
    """What one entry of each depth covers, in bytes."""
    result: list[int] = []
    shift = page_bits
    for bits in reversed(index_bits):
        result.insert(0, 1 << shift)
        shift += bits
    return result


# ---- walk -------------------------------------------------------------------------------

Kind = Literal["leaf", "other", "absent"]
Coalesce = Literal["attributes", "physical", "none"]


class Row(NamedTuple):
    """A run of leaves, of other entries, or of what an absent table would have mapped."""

    start: int
    size: int
    """Modulo 2^64: the whole of a 64-bit address space is 0."""
    pa: int
    attributes: int
    effective: int
    depth: int
    kind: Kind


def walk(
    spec: Spec,
    memory: Memory,
    root: int,
    half: str | None = None,
    start: int = 0,
    end: int = WORD,
    coalesce: Coalesce = "attributes",
) -> list[Row]:
    """All that `root` maps in start .. end (exclusive), in VA order.

    - leaf rows: the entry's attributes, and the permissions that are left when the
      table entries above and the leaf itself have denied theirs;
    - other rows: PA and effective permissions 0;
    - absent rows (any byte of a table is missing from the image): PA of that table,
      attributes of the entry that points to it (0 for a root), effective permissions 0,
      the depth that the table would have had.

    Neighbours in VA become one row if kind, attributes, effective permissions and depth are
    equal; for "physical" leaves must continue in PA too, and absent rows stay apart.
    """
    return merged(atoms(spec, memory, root, half, start, end), coalesce)


def merged(atoms: Iterable[Row], coalesce: Coalesce) -> list[Row]:
    """Atoms in VA order as rows."""
    rows: list[Row] = []
    for atom in atoms:
        if rows and joined(rows[-1], atom, coalesce):
            rows[-1] = rows[-1]._replace(size=rows[-1].size + atom.size)
        else:
            rows.append(atom)
    return [row._replace(size=row.size % WORD) for row in rows]


def joined(x: Row, y: Row, coalesce: Coalesce) -> bool:
    """Whether two rows in VA order are one."""
    if coalesce == "none" or x.start + x.size != y.start:
        return False
    if (x.kind, x.attributes, x.effective, x.depth) != (
        y.kind,
        y.attributes,
        y.effective,
        y.depth,
    ):
        return False
    if coalesce == "physical" and x.kind == "leaf":
        return (x.pa + x.size) % WORD == y.pa
    return not (coalesce == "physical" and x.kind == "absent")


def atoms(
    spec: Spec, memory: Memory, root: int, half: str | None, start: int, end: int
) -> Iterator[Row]:
    """One row a leaf, an other entry or an absent table; clipped to start .. end."""
    span = spans(spec.page_bits, [depth.index_bits for depth in spec.depths])

    def clipped(base: int, size: int, low: int, high: int) -> tuple[int, int, int]:
        """Start and size of what is left of an entry, and what was cut off before it."""
        first, last = max(base, low), min(base + size, high)
        return first, last - first, first - base

    @cache
    def judge(depth: int, entry: int) -> Rule:
        rules = spec.depths[depth].rules
        return next(rule for rule in rules if entry & rule.mask == rule.value)

    def table(
        depth: int, pa: int, base: int, denied: int, exist: range, above: Row, low: int, high: int
    ) -> Iterator[Row]:
        """The entries of a table whose entry 0 maps `base`. `exist`: the indices that
        there are; `above`: the row to give if the table is absent."""
        data = spec.depths[depth]
        if not exist:
            return
        content = memory.read(pa + exist.start * data.entry_bytes, len(exist) * data.entry_bytes)
        if content is None:
            first, size, _ = clipped(above.start, above.size, low, high)
            yield above._replace(start=first, size=size)
            return
        for index in exist:
            entry_base = base + index * span[depth]
            if entry_base + span[depth] <= low or entry_base >= high:
                continue
            at = (index - exist.start) * data.entry_bytes
            entry = int.from_bytes(content[at : at + data.entry_bytes], data.byte_order)
            rule = judge(depth, entry)
            attributes = entry & data.attributes
            target = (decode(rule.pa, entry) + rule.offset) % WORD
            first, size, cut = clipped(entry_base, span[depth], low, high)
            if rule.kind == "table":
                yield from table(
                    depth + 1,
                    target,
                    entry_base,
                    denied | path_state(data.table_path, entry),
                    existing(data, entry, spec.depths[depth + 1]),
                    Row(entry_base, span[depth], target, attributes, 0, depth + 1, "absent"),
                    low,
                    high,
                )
            elif rule.kind == "leaf":
                target += index % rule.replicated * span[depth]
                effective = spec.permissions & ~(denied | path_state(data.leaf_path, entry))
                for exclusion in spec.exclusions:
                    if effective & exclusion.granted == exclusion.granted:
                        effective &= ~exclusion.denied
                pa = (target + cut) % WORD
                yield Row(first, size, pa, attributes, effective, depth, "leaf")
            elif rule.kind == "other":
                yield Row(first, size, 0, attributes, 0, depth, "other")

    chosen = next(h for h in spec.halves if half is None or h.name == half)
    for window in chosen.windows:
        low, high = max(start, window.base), min(end, window.base + window.size)
        if low >= high:
            continue
        exist = range(1 << spec.depths[0].index_bits)
        above = Row(window.base, window.size, root, 0, 0, 0, "absent")
        # The address that entry 0 would have in this window.
        yield from table(0, root, window.base - window.offset, 0, exist, above, low, high)


def existing(depth: Depth, entry: int, below: Depth) -> range:
    """The indices that the table below a table entry has."""
    every = range(1 << below.index_bits)
    if depth.length is None:
        return every
    first = decode((depth.length.first,), entry)
    last = decode((depth.length.last,), entry) + depth.length.last_add
    return range(first, min(last + 1, every.stop))


# ---- one address, and the tables --------------------------------------------------------


class Translation(NamedTuple):
    """What one address comes to: an entry a depth, by arithmetic."""

    kind: str
    """That of the entry where the way ends, ``absent`` or ``non-canonical``."""
    pa: int
    """Of a leaf: where the address is. Absent: the table."""
    depth: int
    attributes: int = 0
    effective: int = 0
    steps: tuple[tuple[int, int, int, int | None], ...] = ()
    """(depth, table, index, entry) of the tables on the way; None: not in the image."""


def offset_of(half: Half, va: int) -> int | None:
    """Where in the root's span an address is; None: it is no canonical one."""
    for window in half.windows:
        if window.base <= va < window.base + window.size:
            return va - window.base + window.offset
    return None


def translate(spec: Spec, memory: Memory, root: int, half: Half, va: int) -> Translation:
    offset = offset_of(half, va)
    if offset is None:
        return Translation("non-canonical", 0, 0)
    shift = spec.page_bits + sum(depth.index_bits for depth in spec.depths)
    pa, exist, denied = root, range(1 << spec.depths[0].index_bits), 0
    steps: list[tuple[int, int, int, int | None]] = []
    for number, depth in enumerate(spec.depths):
        shift -= depth.index_bits
        index = offset >> shift & (1 << depth.index_bits) - 1
        size = depth.entry_bytes
        content = memory.read(pa + exist.start * size, len(exist) * size) if exist else b""
        if content is None:
            steps.append((number, pa, index, None))
            return Translation("absent", pa, number, steps=tuple(steps))
        if index not in exist:
            steps.append((number, pa, index, 0))
            return Translation("none", 0, number, steps=tuple(steps))
        at = (index - exist.start) * size
        entry = int.from_bytes(content[at : at + size], depth.byte_order)
        steps.append((number, pa, index, entry))
        rule = next(rule for rule in depth.rules if entry & rule.mask == rule.value)
        pa = (decode(rule.pa, entry) + rule.offset) % WORD
        attributes = entry & depth.attributes
        if rule.kind == "leaf":
            low = (1 << shift) * (index % rule.replicated) + offset % (1 << shift)
            effective = spec.permissions & ~(denied | path_state(depth.leaf_path, entry))
            for exclusion in spec.exclusions:
                if effective & exclusion.granted == exclusion.granted:
                    effective &= ~exclusion.denied
            where = (pa + low) % WORD
            return Translation("leaf", where, number, attributes, effective, tuple(steps))
        if rule.kind != "table":
            attributes = attributes if rule.kind == "other" else 0
            return Translation(rule.kind, 0, number, attributes, steps=tuple(steps))
        denied |= path_state(depth.table_path, entry)
        exist = existing(depth, entry, spec.depths[number + 1])
    raise AssertionError("the last depth has a table")


class TableRow(NamedTuple):
    """A unique table: its own entries and where it hangs."""

    depth: int
    pa: int
    va: int
    references: int
    none: int
    table: int
    leaf: int
    other: int
    absent: int


def tables(spec: Spec, memory: Memory, root: int, half: Half) -> list[TableRow]:
    """The unique tables that a half shows, in order of depth and address."""
    span = spans(spec.page_bits, [depth.index_bits for depth in spec.depths])
    every = range(1 << spec.depths[0].index_bits)
    # By (PA, first and last index): lowest VA if any is shown, references.
    level: dict[tuple[int, int, int], tuple[int | None, int]] = {
        (root, every.start, every.stop): (min(w.base for w in half.windows), 1)
    }
    rows: list[TableRow] = []
    for number, depth in enumerate(spec.depths):
        below: dict[tuple[int, int, int], tuple[int | None, int]] = {}
        for (pa, first, stop), (va, references) in sorted(level.items(), key=lambda item: item[0]):
            exist, size = range(first, stop), depth.entry_bytes
            content = memory.read(pa + first * size, len(exist) * size) if exist else b""
            if content is None or va is None:
                continue
            kinds = {"none": (1 << depth.index_bits) - len(exist)}
            kinds |= {"table": 0, "leaf": 0, "other": 0, "absent": 0}
            for index in exist:
                at = (index - first) * size
                entry = int.from_bytes(content[at : at + size], depth.byte_order)
                rule = next(rule for rule in depth.rules if entry & rule.mask == rule.value)
                kinds[rule.kind] += 1
                if rule.kind != "table":
                    continue
                data = spec.depths[number + 1]
                target = (decode(rule.pa, entry) + rule.offset) % WORD
                there = existing(depth, entry, data)
                start, length = there.start * data.entry_bytes, len(there) * data.entry_bytes
                if there and memory.read(target + start, length) is None:
                    kinds["absent"] += 1
                    continue
                shown = [va + index * span[number]] if number else in_windows(half, index, span[0])
                # Without entries it is one and the same table, whatever the numbers say.
                key = (target, there.start, there.stop) if there else (target, 1, 1)
                known, count = below.get(key, (None, 0))
                places = [place % WORD for place in shown] + ([] if known is None else [known])
                below[key] = (min(places, default=None), count + 1)
            rows.append(TableRow(number, pa, va, references, *kinds.values()))
        level = below
    return rows


def in_windows(half: Half, index: int, span: int) -> list[int]:
    """The addresses at which an entry of a root is shown."""
    return [
        window.base - window.offset + index * span
        for window in half.windows
        if index * span < window.offset + window.size and (index + 1) * span > window.offset
    ]


# ---- ptdump -----------------------------------------------------------------------------


class Note(NamedTuple):
    """One call of note_page."""

    addr: int
    level: int
    key: int
    """What is compared and printed: the value under the level's mask; of a hole, what the
    dialect says that holes are."""
    value: int
    path: int
    absent: bool = False


@dataclass(frozen=True)
class DumpRow:
    start: int
    end: int
    """The address of the note that ended it."""
    level: int
    key: int
    path: int
    value: int
    """Of the first note."""
    absent: bool = False


@dataclass
class Dump:
    """Rows, and (rows before it, index) of every marker's heading, both in order."""

    rows: list[DumpRow] = field(default_factory=list)
    headings: list[tuple[int, int]] = field(default_factory=list)


def text_rows(dump: Dump) -> Rows:
    """As the formatter takes them."""
    rows = dump.rows
    return Rows(
        start=[row.start for row in rows],
        end=[row.end for row in rows],
        level=[row.level for row in rows],
        key=[row.key for row in rows],
        path=[row.path for row in rows],
        value=[row.value for row in rows],
        headings=dump.headings,
        absent=[index for index, row in enumerate(rows) if row.absent],
    )


def ptdump(
    dialect: Dialect,
    memory: Memory,
    root: int,
    ranges: Sequence[tuple[int, int]],
    markers: Sequence[Marker],
) -> Dump:
    """The kernel's sequential algorithm: note after note through note_page.

    An absent table is a note of its own kind: of the level that a hole of that table would
    have, key 0, no path state, and for a value the entry that points to it (0 for a root).
    It is joined with absent neighbours of its level and with nothing else.
    """
    dump = Dump()
    current: Note | None = None
    start = 0
    marker = 0

    def next_marker_reached(addr: int) -> bool:
        return marker + 1 < len(markers) and addr >= markers[marker + 1].address

    def advance(addr: int, allowed: int) -> None:
        nonlocal marker
        while allowed and next_marker_reached(addr):
            marker += 1
            dump.headings.append((len(dump.rows), marker))
            allowed -= 1

    def note_page(note: Note, final: bool = False) -> None:
        nonlocal current, start
        if current is None:
            # Where the walk met nothing at all, the last flush is the first note.
            dump.headings.append((0, 0))
            current = note
            start = note.addr if dialect.first_start is None else dialect.first_start
            advance(note.addr, dialect.markers.first)
        elif (
            final
            or note.absent != current.absent
            or note.key != current.key
            or note.level != current.level
            or note.path != current.path
            or next_marker_reached(note.addr)
        ):
            dump.rows.append(
                DumpRow(
                    start,
                    note.addr,
                    current.level,
                    current.key,
                    current.path,
                    current.value,
                    current.absent,
                )
            )
            advance(note.addr, dialect.markers.flush)
            current = note
            start = note.addr
        advance(note.addr, dialect.markers.note)

    walk_notes(dialect, memory, root, ranges, note_page)
    final = (ranges[-1][1] + 1) % WORD if dialect.final is None else dialect.final
    note_page(Note(final, 0, 0, 0, 0), final=True)
    return dump


def walk_notes(
    dialect: Dialect,
    memory: Memory,
    root: int,
    ranges: Sequence[tuple[int, int]],
    note_page: Callable[[Note], None],
) -> None:
    """Make every note that the kernel's walk makes, in its order."""
    span = spans(dialect.page_bits, [depth.index_bits for depth in dialect.depths])
    # The path state of the last pte that was met, with which shadow notes are made where
    # the dumper does not renew it. Its array is zeroed: at first it is that of a value 0.
    stale = dialect.zero_path or 0

    def path_of(value: int, path: int) -> int:
        return dialect.zero_path if value == 0 and dialect.zero_path is not None else path

    @cache
    def judge(depth: int, entry: int) -> tuple[NoteRule, int]:
        rules = dialect.depths[depth].rules
        rule = next(rule for rule in rules if entry & rule.mask == rule.value)
        return rule, path_state(dialect.depths[depth].path, entry)

    # Some tables hang in thousands of places (x86's ESPfix); they are read once.
    @cache
    def parsed(depth: int, pa: int) -> list[tuple[int, NoteRule, int]] | None:
        """Each entry of a table, what it is, and what it adds to the path state."""
        data = dialect.depths[depth]
        content = memory.read(pa, data.entry_bytes << data.index_bits)
        if content is None:
            return None
        entries = (read_note(data, content, index) for index in range(1 << data.index_bits))
        return [(entry, *judge(depth, entry)) for entry in entries]

    def table(depth: int, pa: int, base: int, above: int, path: int, first: int, last: int) -> None:
        """Notes of the entries of a table at `pa` that meet first .. last (inclusive),
        where its entry 0 maps `base` and the entry `above` points to it."""
        nonlocal stale
        data = dialect.depths[depth]
        entries = parsed(depth, pa)
        if entries is None:
            note_page(Note(max(base, first), hole_level(data), 0, above, 0, absent=True))
            return
        step = span[depth]
        for entry_base, (entry, rule, bits) in zip(count(base, step), entries, strict=False):
            if entry_base + step <= first or entry_base > last:
                continue
            addr = max(entry_base, first)
            below = path | bits
            if depth == len(dialect.depths) - 1:
                stale = below
            if rule.action == "hole":
                value = dialect.hole_value
                note_page(Note(addr, rule.level, value, value, path_of(value, path)))
            elif rule.action == "note":
                key = entry & dialect.levels[rule.level].mask
                note_page(Note(addr, rule.level, key, entry, path_of(entry, below)))
            elif rule.action == "descend":
                target = (decode(rule.pa, entry) + rule.offset) % WORD
                early = data.early_shadow
                if early and early.pa >> dialect.page_bits == target >> dialect.page_bits:
                    level, value = dialect.shadow_level, dialect.shadow_value
                    key = value & dialect.levels[level].mask
                    shadow_path = stale if dialect.shadow_path_stale else 0
                    note_page(Note(addr, level, key, value, path_of(value, shadow_path)))
                    if not early.descends:
                        continue
                table(depth + 1, target, entry_base, entry, below, first, last)

    for first, last in ranges:
        for window in dialect.half.windows:
            low = max(first, window.base)
            high = min(last, window.base + window.size - 1)
            if low <= high:
                # The address that entry 0 of the root would have in this window.
                table(0, root, window.base - window.offset, 0, 0, low, high)


def read_note(depth: NoteDepth, content: bytes, index: int) -> int:
    """An entry of a table as the dumper sees it."""

    def raw(at: int) -> int:
        size = depth.entry_bytes
        return int.from_bytes(content[at * size : (at + 1) * size], depth.byte_order)

    pairs = depth.pairs
    if pairs is None or index % 2 == 0 or raw(index) & pairs.mask == pairs.value:
        return raw(index)
    first = raw(index - 1)
    rule = next(rule for rule in depth.rules if first & rule.mask == rule.value)
    word = 1 << 8 * depth.entry_bytes
    return (first + pairs.step) % word if rule.action == "descend" else pairs.nothing


def hole_level(depth: NoteDepth) -> int:
    """The level that an empty entry of a table of this depth is noted with."""
    for rule in depth.rules:
        if rule.action == "hole":
            return rule.level
    return next(rule.level for rule in depth.rules if rule.action == "note")
