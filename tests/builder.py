"""Synthetic page tables for any spec, written through the spec's own fields.

:func:`images` is a Hypothesis strategy: small trees with shared tables, tables that
contain themselves, leaves at every depth that may have them, other entries, tables that
the image lacks wholly or in part, and tables at the highest addresses that the entries can
name. An :class:`Image` is a list of (pa, bytes) pieces, so that an ELF core or any other
container can be written from it, and a naive walk of it is bounded by ``COST`` entries.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from typing import Any

from golden_cases import Segments
from hypothesis import strategies as st

from fastwalk import arch
from fastwalk.arch.spec import Depth, Field, Rule, Spec
from fastwalk.layout import Kasan, Layout, Marker, Paging, Root, View

COST = 1 << 15
"""At most about so many entries are met by a naive walk of an image."""


@dataclass(repr=False)
class Image:
    """Page tables of a mode in sparse physical memory."""

    spec: Spec
    root: int
    tables: list[tuple[int, int, bytes]] = field(default_factory=list)
    """(depth, PA, bytes) of each table that the image has, the root last."""

    def __repr__(self) -> str:
        """What is not empty, run by run: `depth PA: index[+count] entry`."""
        lines = [f"Image({self.spec.name}, root {self.root:#x}"]
        for depth, pa, content in self.tables:
            data = self.spec.depths[depth]
            entries = unpack(data, content)
            shown = []
            for entry, run in groupby(range(len(entries)), entries.__getitem__):
                indices = list(run)
                if entry != empty(data):
                    shown.append(f"{indices[0]}+{len(indices)} {entry:#x}")
            short = "" if len(content) == table_bytes(data) else f" ({len(content)} bytes)"
            lines.append(f"  {data.name} {pa:#x}{short}: {', '.join(shown[:40])}")
        return "\n".join(lines) + ")"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    @property
    def segments(self) -> list[tuple[int, bytes]]:
        """(PA, bytes), ascending, apart from each other."""
        return sorted((pa, content) for _, pa, content in self.tables)

    @property
    def memory(self) -> Segments:
        return Segments(self.segments)


def decode(fields: tuple[Field, ...], entry: int) -> int:
    total = 0
    for part in fields:
        bits = entry & part.mask
        total += bits << part.shift if part.shift >= 0 else bits >> -part.shift
    return total % (1 << 64)


def encode(fields: tuple[Field, ...], address: int) -> int:
    """The entry bits that decode to `address`, as far as the fields can say it."""
    entry = 0
    for part in fields:
        bits = address >> part.shift if part.shift >= 0 else address << -part.shift
        entry |= bits & part.mask
    return entry


def first_rule(depth: Depth, entry: int) -> Rule:
    return next(rule for rule in depth.rules if entry & rule.mask == rule.value)


def synthesize(depth: Depth, rule: Rule, noise: int, address: int) -> int | None:
    """An entry that is judged by `rule` and points to `address`; bits that neither decides
    are those of `noise`. None if there is none with this noise or without any."""
    word = (1 << 8 * depth.entry_bytes) - 1
    named = 0
    for part in rule.pa:
        named |= part.mask
    wanted = (address - rule.offset) % (1 << 64)
    for extra in (noise, noise & depth.attributes, 0):
        entry = (extra & word & ~named) | encode(rule.pa, wanted)
        entry = (entry & ~rule.mask) | rule.value
        if first_rule(depth, entry) is rule and (
            rule.kind != "table" or decode(rule.pa, entry) == wanted
        ):
            return entry
    return None


def table_bytes(depth: Depth) -> int:
    return depth.entry_bytes << depth.index_bits


def pack(depth: Depth, entries: list[int]) -> bytes:
    return b"".join(entry.to_bytes(depth.entry_bytes, depth.byte_order) for entry in entries)


def unpack(depth: Depth, content: bytes) -> list[int]:
    """The entries of a table, as far as the bytes go."""
    step = depth.entry_bytes
    whole = len(content) // step * step
    return [
        int.from_bytes(content[at : at + step], depth.byte_order) for at in range(0, whole, step)
    ]


def empty(depth: Depth) -> int:
    """The entry that an empty table of this depth is full of."""
    rule = next(rule for rule in depth.rules if rule.kind == "none")
    entry = synthesize(depth, rule, 0, 0)
    assert entry is not None
    return entry


def highest(spec: Spec, depth: int) -> int:
    """The highest address that table entries of a depth can name, all bits set."""
    reach = 0
    for rule in spec.depths[depth].rules:
        if rule.kind == "table":
            reach |= decode(rule.pa, (1 << 8 * spec.depths[depth].entry_bytes) - 1)
    return reach


class Places:
    """Hands out table addresses, low ones and the highest that can be named."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.low = 0x10_0000
        self.top = 1 << 64

    def align(self, depth: int) -> int:
        size = table_bytes(self.spec.depths[depth])
        if depth == 0:
            return max(size, self.spec.root_align)
        reach = highest(self.spec, depth - 1)
        return max(size, reach & -reach)

    def take(self, depth: int, high: bool) -> int:
        align, size = self.align(depth), table_bytes(self.spec.depths[depth])
        if high and depth:
            reach = highest(self.spec, depth - 1)
            self.top = (min(reach + 1, self.top) - 2 * size) // align * align & reach
            return self.top
        # A hole before each: no table runs into the next one.
        self.low = (self.low // align + 2) * align
        pa = self.low
        self.low += size
        return pa

    def take_row(self, depth: int, count: int) -> list[int]:
        """Places one right behind the other, as far as entries can name them."""
        first = self.take(depth, high=False)
        step = max(self.align(depth), table_bytes(self.spec.depths[depth]))
        self.low = first + count * step
        return list(range(first, self.low, step))


@st.composite
def images(draw: st.DrawFn, spec: Spec, tables: int = 4, runs: int = 5) -> Image:
    """Trees of a mode: up to `tables` tables a depth, each of up to `runs` runs of alike
    entries."""
    # One seed rather than thousands of draws: tables are large, and what matters is their
    # variety. It shrinks with the sizes below.
    chance = random.Random(draw(st.integers(0, (1 << 32) - 1)))
    counts = [draw(st.integers(1, tables)) for _ in spec.depths[1:]]
    most = draw(st.integers(0, runs))
    wild = draw(st.booleans())
    return build(spec, chance, counts, most, wild)


def build(
    spec: Spec, chance: random.Random, counts: list[int], runs: int, wild: bool = True
) -> Image:
    """A tree with `counts[i]` tables at depth i + 1. `wild`: with tables that are absent or
    cut off, and tables that contain themselves."""
    builder = _Builder(spec, chance)
    builder.place(counts)
    for depth in range(len(spec.depths) - 1, -1, -1):
        builder.fill(depth, runs)
        if depth == len(spec.depths) - 2 and chance.random() < 0.5:
            builder.add_direct_map()
    if wild:
        builder.run_wild()
    image = Image(spec, builder.root)
    for pa, table in builder.tables.items():
        content = pack(spec.depths[table.depth], table.entries)
        if wild and table.depth and chance.random() < 0.1:
            size = len(content)
            content = content[: chance.choice([0, 8, size // 4, size // 2, size - 1])]
        if content:
            image.tables.append((table.depth, pa, content))
    return image


SHADOW = ("pte", "pmd", "pud", "p4d")


@st.composite
def machines(draw: st.DrawFn, mode: str) -> tuple[Layout, Image]:
    """An image, and the layout of a kernel on it: ranges, markers in any order and number,
    KASAN tables among those of the image; the view is called "view"."""
    spec = arch.spec_of(mode)
    image = draw(images(spec))
    half = draw(st.sampled_from(spec.halves))
    chance = random.Random(draw(st.integers(0, (1 << 32) - 1)))
    # Addresses at which something may begin: of tables, and anywhere.
    shifts = [spec.page_bits]
    for depth in reversed(spec.depths[1:]):
        shifts.append(shifts[-1] + depth.index_bits)

    def address(low: int, high: int) -> int:
        at = chance.randint(low, high)
        shift = chance.choice([*shifts, 0])
        return max(low, at >> shift << shift)

    ranges: list[tuple[int, int]] = []
    page = 1 << spec.page_bits
    for window in half.windows:
        low, high = window.base, window.base + window.size - 1
        cuts = [low, high + 1]
        if chance.random() < 0.3:
            cuts += [address(low, high) // page * page for _ in range(2)]
        first, last = sorted(cuts)[-2:] if chance.random() < 0.5 else sorted(cuts)[:2]
        if first < last:
            ranges.append((first, last - 1))
    if not ranges:
        ranges = [(half.windows[0].base, half.windows[0].base + half.windows[0].size - 1)]
    spots = [ranges[0][0]]
    for _ in range(chance.randint(0, 6)):
        low, high = chance.choice(ranges)
        # Markers crowd together in kernels, and ptdump lags behind them.
        near = chance.choice(spots) + chance.choice([0, page, 2 * page, 16 * page])
        spots.append(near if chance.random() < 0.5 else address(low, high))
    if chance.random() < 0.7:
        spots = [spots[0], *sorted(spots[1:])]
    markers = tuple(
        Marker(spot % (1 << 64), f"area {index}", chance.choice([0, 0, 3]))
        for index, spot in enumerate(spots)
    )
    kasan = None
    if draw(st.booleans()):
        # The table of a level is that many depths above the last one.
        last_depth = len(spec.depths) - 1
        shadow = {
            name: chance.choice(tables)
            for up, name in enumerate(SHADOW)
            if (tables := [pa for depth, pa, _ in image.tables if depth == last_depth - up])
        }
        kasan = Kasan(early_shadow=shadow, pte0=chance.getrandbits(63))
    layout = Layout(
        arch=spec.arch,
        mode=mode,
        kernel=draw(st.sampled_from(["6.12.117", "6.1.192"])),
        page_size=page,
        roots={"root": Root(image.root, "kernel")},
        views={"view": View("root", tuple(ranges), markers)},
        default_view="view",
        paging=Paging(svnapot=chance.random() < 0.5),
        kasan=kasan,
    )
    return layout, image


@dataclass
class _Table:
    depth: int
    entries: list[int]
    cost: int
    """Entries that a naive walk of it meets, before anything wild is added."""
    children: int = 0


class _Builder:
    def __init__(self, spec: Spec, chance: random.Random) -> None:
        self.spec = spec
        self.chance = chance
        self.places = Places(spec)
        self.pools: list[list[int]] = []
        self.tables: dict[int, _Table] = {}

    @property
    def root(self) -> int:
        return self.pools[0][0]

    def place(self, counts: list[int]) -> None:
        for depth, count in enumerate([1, *counts]):
            self.pools.append(
                [self.places.take(depth, self.chance.random() < 0.3) for _ in range(count)]
            )

    def fill(self, depth: int, runs: int) -> None:
        data, chance = self.spec.depths[depth], self.chance
        patterns = [chance.getrandbits(64) & chance.getrandbits(64) for _ in range(3)]
        patterns += [0, data.attributes]
        if self.spec.arch == "x86_64":
            # Present, writable, accessed, dirty: to Linux any other entry of the upper tables
            # is a bad one, below which its dumper does not go.
            patterns += [0x63] * 5
        for pa in self.pools[depth]:
            entries = [empty(data)] * (1 << data.index_bits)
            table = self.tables[pa] = _Table(depth, entries, len(entries))
            for _ in range(chance.randint(0, runs) if depth else runs):
                self.add_run(table, patterns)

    def add_run(self, table: _Table, patterns: list[int]) -> None:
        """Fill a run of a table with alike entries."""
        chance, entries = self.chance, table.entries
        data = self.spec.depths[table.depth]
        below = self.spec.depths[table.depth + 1 :]
        span = 1 << (self.spec.page_bits + sum(d.index_bits for d in below))
        rules = [rule for rule in data.rules if rule.kind != "none" or chance.random() < 0.2]
        tables = [rule for rule in rules if rule.kind == "table"]
        rule = chance.choice(tables if tables and chance.random() < 0.6 else rules)
        noise = chance.choice(patterns)
        length = min(chance.choice([1, 1, 2, 3, 8, 16, len(entries)]), len(entries))
        room = len(entries) - length
        first = chance.choice([0, room, chance.randint(0, room)])
        if rule.replicated > 1 and chance.random() < 0.8:
            first -= first % rule.replicated
        address = chance.getrandbits(self.spec.pa_bits) // span * span
        stride = rule.replicated * chance.choice([0, span, span, span, -span])
        for index in range(first, first + length):
            if rule.kind == "table":
                address = chance.choice(self.pools[table.depth + 1])
                price = self.tables[address].cost
                # Half the cost a depth: a path is never cut, only its fan-out.
                if table.children and table.cost + price > COST >> table.depth:
                    return
            entry = synthesize(data, rule, noise, address % (1 << 64))
            if entry is None:
                return
            entries[index] = entry
            if rule.kind == "table":
                table.cost += price
                table.children += 1
            if (index + 1) % rule.replicated == 0:
                address += stride
            if chance.random() < 0.05:
                noise = chance.choice(patterns)

    def add_direct_map(self) -> None:
        """Hang tables into one above that are as a direct map's: one behind the other, each
        of them one run that goes on where the last one ended. A few are not."""
        chance, depth = self.chance, len(self.spec.depths) - 1
        above, data = self.spec.depths[depth - 1 :]
        parent = self.tables[chance.choice(self.pools[depth - 1])]
        leaves = [rule for rule in data.rules if rule.kind == "leaf"]
        pointers = [rule for rule in above.rules if rule.kind == "table"]
        size, page = 1 << data.index_bits, 1 << self.spec.page_bits
        count = min(((COST >> depth) - parent.cost) // size, len(parent.entries), 12)
        if count < 2:
            return
        row = self.places.take_row(depth, count)
        leaf, pointer = chance.choice(leaves), chance.choice(pointers)
        noise, path = chance.getrandbits(64), chance.getrandbits(64)
        address = chance.getrandbits(self.spec.pa_bits) // (page * size) * page * size
        for pa in row:
            odd = chance.choice(["attributes", "address", "entry", "empty", *[""] * 12])
            noise = chance.getrandbits(64) if odd == "attributes" else noise
            address += page * size if odd == "address" else 0
            entries = [
                synthesize(data, leaf, noise, (address + index * page) % (1 << 64))
                for index in range(size)
            ]
            address += size * page
            if odd == "entry":
                entries[chance.randrange(size)] = empty(data)
            if odd == "empty" or None in entries:
                entries = [empty(data)] * size
            self.tables[pa] = _Table(depth, [entry or 0 for entry in entries], size)
        first = chance.randrange(len(parent.entries) - count + 1)
        for index, own in enumerate(row, first):
            # One twice, so that the one behind it is missing.
            pa = row[0] if chance.random() < 0.05 else own
            path = chance.getrandbits(64) if chance.random() < 0.05 else path
            entry = synthesize(above, pointer, path, pa)
            if entry is not None and first_rule(above, parent.entries[index]).kind != "table":
                parent.entries[index] = entry
                parent.cost += size
                parent.children += 1

    def run_wild(self) -> None:
        """Tables that contain themselves or are not there, wherever an entry can say so."""
        chance = self.chance
        for pa, table in self.tables.items():
            data = self.spec.depths[table.depth]
            rules = [rule for rule in data.rules if rule.kind == "table"]
            if not rules or chance.random() < 0.5:
                continue
            reach = highest(self.spec, table.depth)
            target = chance.choice([pa, self.root, chance.getrandbits(64) & reach, reach])
            entry = synthesize(data, chance.choice(rules), chance.getrandbits(64), target)
            if entry is None:
                continue
            index = chance.randrange(len(table.entries))
            before, table.entries[index] = table.entries[index], entry
            if self.true_cost() > 2 * COST:
                table.entries[index] = before

    def true_cost(self) -> int:
        """How many entries a naive walk meets, tables met at other depths than their own
        read as what they are there."""
        depths = self.spec.depths
        memory = Segments([(pa, pack(depths[t.depth], t.entries)) for pa, t in self.tables.items()])

        @cache
        def cost(depth: int, pa: int) -> int:
            data = depths[depth]
            total = 1 << data.index_bits
            counts = Counter(unpack(data, memory.read(pa, table_bytes(data)) or b""))
            for entry, count in counts.items():
                rule = first_rule(data, entry)
                if rule.kind == "table":
                    target = (decode(rule.pa, entry) + rule.offset) % (1 << 64)
                    total += count * cost(depth + 1, target)
            return total

        return cost(0, self.root)
