"""The fast walk against the naive one, over random page tables of every mode.

Each image is opened as a user would open it (an ELF core at odd offsets, or raw), and is
walked with every instruction set that the machine has, on one thread and on several; all
of them have to give what ``naive.py`` gives.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import builder
import elfwriter
import naive
import numpy as np
import pytest
from golden_cases import Segments
from hypothesis import given, note, settings
from hypothesis import strategies as st

import fastwalk as fw
from fastwalk import _fastwalk, arch
from fastwalk.arch.dialect import Dialect
from fastwalk.arch.spec import Half, Spec
from fastwalk.layout import Kasan, Layout, Marker, Root, View
from fastwalk.mappings import KINDS, Mappings
from fastwalk.mode import KINDS as ENTRY_KINDS
from fastwalk.space import STATUS, AddressSpace, Lookup, spans
from fastwalk.space import rows_of as rows_of_dump
from fastwalk.text import ptdump

MODES = arch.modes()
WAYS = [(isa, threads) for isa in _fastwalk.isas() for threads in (1, 2)]
KEYS: tuple[naive.Coalesce, ...] = ("attributes", "physical", "none")
TOP = 1 << 64
COLUMNS = ("pa", "status", "depth", "attributes", "effective")
LABELS: tuple[naive.Kind, ...] = ("leaf", "other", "absent")
many = settings(max_examples=max(200, settings().max_examples))
RAW_MOST = 1 << 23
"""Bytes of a raw image that a test is worth."""

Clip = tuple[int, int]


@dataclass(repr=False)
class Walk:
    """Page tables, the half of them that is looked at, and the image they are in."""

    spec: Spec
    half: Half
    tables: builder.Image
    memory: Segments
    image: fw.Image

    def __repr__(self) -> str:
        # Hypothesis shows it; page tables in full would be unreadable.
        return f"<{self.spec.name}, {self.half.name}, {len(self.tables.tables)} tables>"

    @property
    def space(self) -> AddressSpace:
        return self.image.space(self.spec.name, self.tables.root, half=self.half.name)


def opened(tables: builder.Image, chance: random.Random) -> tuple[Segments, fw.Image]:
    """The tables in an image of some kind, and what of them is in it."""
    segments = tables.segments
    first = segments[0][0]
    end = max(pa + len(content) for pa, content in segments)
    if end - first <= RAW_MOST and chance.random() < 0.2:
        # A raw image has no holes: what lies between tables reads as zeros.
        blob = bytearray(end - first)
        for pa, content in segments:
            blob[pa - first : pa - first + len(content)] = content
        image = fw.open(bytes(blob), format="raw", base=first)
        return Segments([(first, bytes(blob))]), image
    pieces: list[tuple[int, bytes]] = []
    for pa, content in segments:
        # Some tables lie in two segments, cut anywhere.
        cut = chance.randrange(len(content)) if chance.random() < 0.2 else 0
        pieces += [(pa, content[:cut])] if cut else []
        pieces.append((pa + cut, content[cut:]))
    chance.shuffle(pieces)
    machine = {"riscv32": "riscv64", "parisc64": "parisc"}.get(tables.spec.arch, tables.spec.arch)
    core = elfwriter.core(
        pieces,
        machine,
        order=chance.choice(["little", "big"]),
        skew=chance.choice([0, 1, 4, 12]),
    )
    return tables.memory, fw.open(core)


@st.composite
def walks(draw: st.DrawFn, modes: Sequence[str] = MODES) -> Walk:
    spec = arch.spec_of(draw(st.sampled_from(modes)))
    tables = draw(builder.images(spec))
    memory, image = opened(tables, random.Random(draw(st.integers(0, 1 << 32))))
    half = draw(st.sampled_from(spec.halves))
    return Walk(spec, half, tables, memory, image)


def built(mode: str, seed: int, tables: int = 3, runs: int = 5) -> Walk:
    """The same without Hypothesis: one walk a seed."""
    chance = random.Random(f"{mode} {seed}")
    spec = arch.spec_of(mode)
    counts = [chance.randint(1, tables) for _ in spec.depths[1:]]
    image = builder.build(spec, chance, counts, runs, wild=chance.random() < 0.7)
    memory, opened_image = opened(image, chance)
    return Walk(spec, chance.choice(spec.halves), image, memory, opened_image)


def rows_of(maps: Mappings) -> list[naive.Row]:
    columns = maps.columns
    names = ("start", "size", "pa", "attributes", "effective", "depth")
    lists = [columns[name].tolist() for name in names]
    kinds = [KINDS[kind] for kind in columns["kind"].tolist()]
    return [naive.Row(*row) for row in zip(*lists, kinds, strict=True)]


def same(a: Mappings, b: Mappings) -> bool:
    return all(np.array_equal(column, b.columns[name]) for name, column in a.columns.items())


def clips(chance: random.Random, half: Half, rows: Sequence[naive.Row]) -> list[Clip]:
    """The whole, and some parts whose ends are those of rows, near them, or anywhere."""
    points = [0, TOP]
    for window in half.windows:
        points += [window.base, window.base + window.size]
        points += [window.base + chance.randrange(window.size) for _ in range(2)]
    for row in chance.sample(rows, min(len(rows), 6)):
        size = row.size or TOP
        points += [row.start, row.start + size, row.start + chance.randrange(size)]
    points += [point + chance.choice([-1, 1]) for point in points]
    points = sorted({min(max(point, 0), TOP) for point in points})
    result = [(0, TOP)]
    for _ in range(3):
        start, end = sorted(chance.sample(points, 2))
        result.append((start, end))
    return result


def check_walks(walk: Walk, chance: random.Random) -> list[naive.Row]:
    """All keys, clips, instruction sets and threads. Returns the leaves one by one."""
    spec, space, half = walk.spec, walk.space, walk.half
    root = walk.tables.root
    whole = list(naive.atoms(spec, walk.memory, root, half.name, 0, TOP))
    for start, end in clips(chance, half, whole):
        atoms = list(naive.atoms(spec, walk.memory, root, half.name, start, end))
        kinds = [row.kind for row in atoms]
        for key in KEYS:
            expected = naive.merged(atoms, key)
            first = space.walk(start, end, key, threads=1, isa="scalar")
            got = rows_of(first)
            assert got == expected, (key, hex(start), hex(end))
            assert first.complete == ("absent" not in kinds)
            ways = WAYS if (start, end) == (0, TOP) else [chance.choice(WAYS)]
            for isa, threads in ways:
                assert same(space.walk(start, end, key, threads=threads, isa=isa), first), isa
            count = space.count(start, end, key)
            counted = [count.rows, count.leaves, count.others, count.absent]
            assert counted == [len(expected), *(kinds.count(kind) for kind in LABELS)]
    check_marks(walk, chance, whole)
    return whole


def check_marks(walk: Walk, chance: random.Random, atoms: list[naive.Row]) -> None:
    """Leaves at some addresses, told from others."""
    leaves = [row.pa for row in atoms if row.kind == "leaf"]
    marks = chance.sample(leaves, min(len(leaves), 3))
    marked = [
        row._replace(effective=row.effective | 0x80)
        if row.kind == "leaf" and row.pa in marks
        else row
        for row in atoms
    ]
    isa, threads = chance.choice(WAYS)
    space = walk.space
    got = space.walk_ranges([(0, TOP - 1)], "attributes", threads, isa, 1 << 24, None, marks=marks)
    assert rows_of(got) == naive.merged(marked, "attributes")


def check_addresses(walk: Walk, chance: random.Random, atoms: list[naive.Row]) -> None:
    """Addresses one by one, and many at a time."""
    spec, space = walk.spec, walk.space
    vas = [0, TOP - 1, chance.getrandbits(64)]
    for row in chance.sample(atoms, min(len(atoms), 30)):
        size = row.size or TOP
        vas += [row.start, row.start + size - 1, row.start + chance.randrange(size)]
    for window in walk.half.windows:
        vas += [window.base + chance.randrange(window.size) for _ in range(10)]
        vas += [(window.base - 1) % TOP, (window.base + window.size) % TOP]
    chance.shuffle(vas)
    lookup = space.lookup(vas)
    check_ways(walk, vas, lookup, chance)
    translated = space.translate(np.array(vas, dtype=np.uint64))
    kinds: dict[str, str] = {"leaf": "mapped", "none": "hole"}
    for index, va in enumerate(vas):
        want = naive.translate(spec, walk.memory, walk.tables.root, walk.half, va)
        status = kinds.get(want.kind, want.kind)
        pa = want.pa if status == "mapped" else None
        path = space.path(va)
        assert path.status == status, hex(va)
        assert (path.pa, path.attributes, path.effective) == (pa, want.attributes, want.effective)
        assert [(s.depth, s.table, s.index, s.entry) for s in path.steps] == list(want.steps)
        column = [getattr(lookup, name)[index] for name in ("depth", "attributes", "effective")]
        assert STATUS[lookup.status[index]] == status
        assert column == [want.depth, want.attributes, want.effective]
        assert lookup.pa[index] == (pa or 0)
        assert translated.tolist()[index] == pa


def check_ways(walk: Walk, vas: list[int], lookup: Lookup, chance: random.Random) -> None:
    """Many addresses at once, most of them more than once, in order or not."""
    space = walk.space
    ways = [(order, *way) for order in ("sorted", "random") for way in WAYS]
    for order, isa, threads in chance.sample(ways, 2):
        count = chance.choice([1, 40, 300, 20_000])
        numbers = chance.choices(range(len(vas)), k=count)
        if order == "sorted":
            numbers.sort(key=vas.__getitem__)
        which = np.array(numbers)
        asked = np.array(vas, dtype=np.uint64)[which]
        given = (space.image.inner, space.mode.plan, space.root, spans(walk.half, [(0, TOP - 1)]))
        found = _fastwalk.lookup(*given, asked, threads=threads, isa=isa)
        for name, dtype in [(n, getattr(lookup, n).dtype) for n in COLUMNS]:
            column = np.frombuffer(getattr(found, name), dtype)
            assert np.array_equal(column, getattr(lookup, name)[which]), (name, order, isa)
        pa, status = _fastwalk.translate(*given, asked, threads=threads, isa=isa)
        assert np.array_equal(np.frombuffer(pa, np.uint64), lookup.pa[which])
        assert np.array_equal(np.frombuffer(status, np.uint8), lookup.status[which])


def check_tables(walk: Walk) -> None:
    want = naive.tables(walk.spec, walk.memory, walk.tables.root, walk.half)
    tables = walk.space.tables()
    got = [*zip(*(tables.columns[name].tolist() for name in tables.NAMES), strict=True)]
    assert got == want


def check_shown_tables(walk: Walk, chance: random.Random, atoms: list[naive.Row]) -> None:
    """Of a part of the addresses: each table that is listed is on the way of one of them, and
    each one on the way of any of them is listed."""

    def on_the_way(va: int) -> set[tuple[int, int]]:
        way = naive.translate(walk.spec, walk.memory, walk.tables.root, walk.half, va)
        return {(step[0], step[1]) for step in way.steps if step[3] is not None}

    windows = walk.half.windows
    for start, end in clips(chance, walk.half, atoms)[1:]:
        tables = walk.space.tables(start, end)
        listed = set(zip(tables.depth.tolist(), tables.pa.tolist(), strict=True))
        for depth, pa, va in zip(
            *(tables.columns[n].tolist() for n in tables.NAMES[:3]), strict=True
        ):
            assert (depth, pa) in on_the_way(max(va, start)), (hex(pa), hex(start), hex(end))
            assert max(va, start) < end
        inside = [row.start for row in atoms if start <= row.start < end]
        vas = [*chance.sample(inside, min(len(inside), 20)), start, end - 1]
        vas += [chance.randrange(start, end) for _ in range(5)]
        for va in vas:
            if any(w.base <= va < w.base + w.size for w in windows):
                assert on_the_way(va) <= listed, hex(va)


def check(walk: Walk, chance: random.Random) -> None:
    atoms = check_walks(walk, chance)
    check_addresses(walk, chance, atoms)
    check_tables(walk)
    check_shown_tables(walk, chance, atoms)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode(mode: str) -> None:
    """One image a mode, so that none is left out of a quick run."""
    check(built(mode, 1), random.Random(mode))


@many
@given(walks(), st.integers(0, 1 << 32))
def test_any_tables(walk: Walk, seed: int) -> None:
    note(walk.spec.name)
    check(walk, random.Random(seed))


@pytest.mark.parametrize("mode", MODES)
def test_classify(mode: str) -> None:
    """The vectorised check says of every entry what the rules say, one by one."""
    spec, chance = arch.spec_of(mode), random.Random(mode)
    for number, depth in enumerate(spec.depths):
        word = (1 << 8 * depth.entry_bytes) - 1
        entries = [chance.getrandbits(64) & chance.getrandbits(64) & word for _ in range(200)]
        entries += [0, word, *(1 << bit for bit in range(8 * depth.entry_bytes))]
        for rule in depth.rules:
            made = (builder.synthesize(depth, rule, chance.getrandbits(64), 0) for _ in range(8))
            entries += [entry for entry in made if entry is not None]
        want = [ENTRY_KINDS.index(builder.first_rule(depth, entry).kind) for entry in entries]
        got = fw.mode(mode).classify(entries, number)
        assert got.tolist() == want
        assert got.dtype == np.uint8
        square = np.array(entries[:16], dtype=np.uint64).reshape(4, 4)
        assert fw.mode(mode).classify(square, number).tolist() == got[:16].reshape(4, 4).tolist()
    with pytest.raises(IndexError):
        fw.mode(mode).classify([0], len(spec.depths))


# ---- the kernel's dumper ----------------------------------------------------------------

SHADOW_TABLES = ("p4d", "pud", "pmd", "pte")
NOTES_MOST = 1 << 16
"""Notes that a naive dump is worth."""


def notes_below(dialect: Dialect, memory: Segments, root: int) -> int:
    """About how many notes a naive dump of everything makes."""

    @cache
    def cost(number: int, pa: int) -> int:
        depth = dialect.depths[number]
        size = depth.entry_bytes
        content = memory.read(pa, size << depth.index_bits) or b""
        counts = Counter(content[at : at + size] for at in range(0, len(content), size))
        total = 1 << depth.index_bits
        for raw, count in counts.items():
            entry = int.from_bytes(raw, depth.byte_order)
            rule = next(rule for rule in depth.rules if entry & rule.mask == rule.value)
            if rule.action == "descend":
                target = (naive.decode(rule.pa, entry) + rule.offset) % TOP
                total += count * cost(number + 1, target)
        return total

    return cost(0, root)


def random_layout(walk: Walk, chance: random.Random, shadowed: float) -> Layout:
    """A view of the walk's root: some ranges, markers in and out of order, and perhaps
    tables that are called KASAN's early shadow, each with the probability `shadowed`."""
    spec, half = walk.spec, walk.half
    rows = list(naive.atoms(spec, walk.memory, walk.tables.root, half.name, 0, TOP))
    edges = [row.start for row in rows] + [(row.start + row.size) % TOP for row in rows]
    windows = [(window.base, window.base + window.size - 1) for window in half.windows]
    points = [point for window in windows for point in window]
    points += chance.sample(edges, min(len(edges), 12))
    points += [point + chance.choice([-1, 1, 4096]) for point in points]
    points += [first + chance.randrange(last - first) for first, last in windows for _ in "abc"]
    ranges = windows
    if chance.random() < 0.4:
        first, last = chance.choice(windows)
        inside = sorted({point for point in points if first <= point <= last})
        ends = sorted(chance.sample(inside, min(len(inside) // 2 * 2, chance.choice([2, 4]))))
        ranges = [*zip(ends[::2], ends[1::2], strict=True)]
    addresses = [chance.choice(points) % TOP for _ in range(chance.randint(1, 8))]
    if chance.random() < 0.7:
        addresses.sort()
    markers = tuple(
        Marker(
            address,
            f"Area {number}",
            max_lines=chance.choice([0, 0, 1, 3]) if spec.arch == "x86_64" else 0,
            edge=chance.choice(["start", "end"]) if spec.arch == "s390x" else None,
        )
        for number, address in enumerate(addresses)
    )
    shadow = {}
    for depth, pa, _ in walk.tables.tables:
        if (
            depth > 0
            and len(spec.depths) - depth <= len(SHADOW_TABLES)
            and chance.random() < shadowed
        ):
            shadow[SHADOW_TABLES[depth - len(spec.depths)]] = pa
    entry = chance.choice([0, chance.getrandbits(64), chance.getrandbits(12) | 1])
    return Layout(
        arch=spec.arch,
        mode=spec.name,
        kernel=chance.choice(arch.versions(spec.name)),
        page_size=1 << spec.page_bits,
        roots={"root": Root(walk.tables.root, "kernel")},
        views={"view": View("root", tuple(ranges), markers)},
        default_view="view",
        kasan=Kasan(early_shadow=shadow, pte0=entry) if shadow else None,
    )


def note_rows(maps: Mappings) -> list[tuple[int, ...]]:
    names = ("start", "end", "depth", "attributes", "effective", "is_absent")
    return [*zip(*(getattr(maps, name).tolist() for name in names), strict=True)]


def check_dump(walk: Walk, chance: random.Random, shadowed: float = 0.3) -> None:
    layout = random_layout(walk, chance, shadowed)
    check_view(layout, walk.memory, walk.image, chance)


def check_view(layout: Layout, memory: Segments, image: fw.Image, chance: random.Random) -> None:
    """All instruction sets and threads, the whole view and a part of it."""
    space = fw.Image(image.inner, image.name, layout).space(view="view")
    dialect, root = arch.dialect_of(layout).dialect, space.root
    view = layout.view()
    if notes_below(dialect, memory, root) > NOTES_MOST:
        return
    first, last = view.ranges[0][0], view.ranges[-1][1]
    cut = sorted(first + chance.randrange(last - first + 1) for _ in "ab")
    for start, end in [(None, None), (cut[0], cut[1] + 1)]:
        low, high = start or 0, (end or TOP) - 1
        ranges = [
            (max(a, low), min(b, high)) for a, b in view.ranges if max(a, low) <= min(b, high)
        ]
        if not ranges:
            continue
        dump = naive.ptdump(dialect, memory, root, ranges, view.markers)
        want = [(r.start, r.end, r.level, r.key, r.path, r.absent) for r in dump.rows]
        for isa, threads in WAYS if start is None else [chance.choice(WAYS)]:
            maps = space.walk(start, end, "ptdump", isa=isa, threads=threads)
            assert note_rows(maps) == want, (isa, threads)
            count = space.count(start, end, "ptdump", isa=isa, threads=threads)
            assert count.rows == len(want)
        if start is None:
            rows = naive.text_rows(dump)
            check_lines(space, dialect, rows, chance)
            assert space.ptdump() == ptdump.text(dialect, view.markers, rows)


def check_lines(
    space: AddressSpace, dialect: Dialect, rows: ptdump.Rows, chance: random.Random
) -> None:
    """Lines as the formatter takes them: the values of entries, and headings, too."""
    view = space.layout.view()
    isa, threads = chance.choice(WAYS)
    dump = _fastwalk.dump(
        space.image.inner,
        _fastwalk.Dumper(dialect),
        space.root,
        spans(dialect.half, view.ranges),
        [marker.address for marker in view.markers],
        budget=NOTES_MOST,
        isa=isa,
        threads=threads,
    )
    got = rows_of_dump(dump)
    for name in ("start", "end", "level", "key", "path", "value", "headings", "absent"):
        assert list(getattr(got, name)) == list(getattr(rows, name)), name


@pytest.mark.parametrize("mode", MODES)
def test_every_dialect(mode: str) -> None:
    check_dump(built(mode, 2), random.Random(mode))


@pytest.mark.parametrize(
    ("mode", "seeds"),
    [("x86_64-4level", [65, 103, 146, 167]), ("x86_64-5level", [24, 27, 30, 62])],
)
def test_shadow_notes_carry_the_path_of_the_last_pte(mode: str, seeds: list[int]) -> None:
    """Early shadow behind ptes that went by as a whole: rare, so these tables are chosen."""
    for seed in seeds:
        check_dump(built(mode, seed), random.Random(f"{mode} {seed}"), shadowed=0.8)


@many
@given(walks(), st.integers(0, 1 << 32))
def test_any_dump(walk: Walk, seed: int) -> None:
    note(walk.spec.name)
    check_dump(walk, random.Random(seed))


@many
@given(st.sampled_from(MODES).flatmap(builder.machines), st.integers(0, 1 << 32))
def test_any_machine(machine: tuple[Layout, builder.Image], seed: int) -> None:
    """Layouts as kernels have them: markers that crowd together, KASAN's tables by level."""
    layout, tables = machine
    note(layout.mode)
    chance = random.Random(seed)
    memory, image = opened(tables, chance)
    check_view(layout, memory, image, chance)
