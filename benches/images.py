"""Makes the images that the benches walk, and says what a walk of each has to give.

    python benches/images.py direct4k --gib 64        # benches/images/direct4k-64.elf + .json
    python benches/images.py all

Every image is an ELF core with one PT_LOAD segment, from physical address 0 on, at file
offset 4096; without its first page it is the raw image. The file is sparse: only tables
are in it. Contents follow from name, size and seed alone. The expected answer is
counted from what was put in, not from a walk:

- direct4k: a direct map of 4K pages, one attribute: one row; tables in order.
- frag: the same, but attributes change every 16 pages on average, and the tables lie
  anywhere in 64 GiB.
- sparse: each page is there with a probability of 1/8; tables in order.
- huge: 2M pages whose attributes change every 16 entries on average.
- kasan: 16 TiB of shadow: early shadow but for that of ``gib`` GiB of memory and of the
  kernel's image and modules.
- fleet: 500 processes with tables of their own that share the kernel half, a direct map.
"""

from __future__ import annotations

import argparse
import json
import struct
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

FOLDER = Path(__file__).parent / "images"
MODE = "x86_64-4level"
SKIP = 4096
"""Where physical address 0 is in the file."""
PAGE = 4096
ENTRIES = 512
GIB = 1 << 30

P, RW, US, A, D, PS, G = 1, 2, 4, 0x20, 0x40, 0x80, 0x100
NX = 1 << 63
TABLE = P | RW | A | D
"""Flags of table entries, as the kernel sets them (_KERNPG_TABLE)."""
USER_TABLE = TABLE | US
KEPT = ~(A | D) & ((1 << 64) - 1)
"""Accessed and Dirty are no attributes of a row."""

DIRECT = 0xFFFF_8880_0000_0000
"""page_offset_base of an x86-64 kernel without KASLR."""
SHADOW = 0xFFFF_EC00_0000_0000
SHADOW_SIZE = 16 << 40
SHADOW_OFFSET = 0xDFFF_FC00_0000_0000
SCATTER = 64 * GIB
PHYSICAL = 1 << 40
"""Where the mapped (not the tables') memory starts: away from the tables."""

CHUNK = 4096
"""Tables that are made at a time."""


@dataclass
class Answer:
    """What a walk of the image has to give under ``coalesce="attributes"``: exact
    numbers, and each column's sum modulo 2^64."""

    rows: int = 0
    leaves: int = 0
    start: int = 0
    size: int = 0
    pa: int = 0
    attributes: int = 0

    def add(self, start: Words, size: Words, pa: Words, attributes: Words) -> None:
        """Counts rows."""
        self.rows += len(start)
        for name, column in (("start", start), ("size", size), ("pa", pa)):
            total = int(column.sum(dtype=np.uint64)) + getattr(self, name)
            setattr(self, name, total % (1 << 64))
        kept = attributes & np.uint64(KEPT)
        self.attributes = (self.attributes + int(kept.sum(dtype=np.uint64))) % (1 << 64)

    def times(self, count: int) -> Answer:
        """The same rows, ``count`` times."""
        return Answer(**{k: v * count % (1 << 64) for k, v in asdict(self).items()})

    def plus(self, other: Answer) -> Answer:
        """Both."""
        mine, others = asdict(self), asdict(other)
        return Answer(**{k: (mine[k] + others[k]) % (1 << 64) for k in mine})


@dataclass
class Made:
    """An image, and all that a bench has to know of it."""

    name: str
    path: str
    roots: list[int]
    start: int
    end: int
    answer: dict[str, int]
    tables: list[int]
    """Unique tables of each depth."""
    contiguous: dict[str, int] = field(default_factory=dict)
    """The same for ranges that are contiguous in virtual and in physical memory, whatever
    their attributes; empty where nothing that is compared makes such ranges."""
    extra: dict[str, int] = field(default_factory=dict)

    @property
    def table_bytes(self) -> int:
        """Bytes of all unique tables."""
        return sum(self.tables) * PAGE

    def addresses(self) -> Words:
        """Physical addresses of the unique tables, depth by depth, each in order."""
        loaded: Words = np.load(Path(self.path).with_suffix(".npy"))
        return loaded

    @property
    def indexes(self) -> tuple[int, int]:
        """First and last entry of the root that the walked range needs."""
        return self.start >> 39 & 511, (self.end - 1) >> 39 & 511


class Writer:
    """The file of an image, table by table."""

    def __init__(self, name: str, pages: int) -> None:
        FOLDER.mkdir(exist_ok=True)
        self.path = FOLDER / f"{name}.elf"
        self.path.unlink(missing_ok=True)
        size = SKIP + pages * PAGE
        with self.path.open("wb") as out:
            out.write(elf_header([(0, SKIP, pages * PAGE)]))
            out.truncate(size)
        self.words = np.memmap(self.path, np.uint64, "r+", SKIP, (pages, ENTRIES))
        self.levels: list[list[Words]] = [[], [], [], []]
        self.next = 1

    def take(self, count: int) -> Words:
        """Addresses of the next free tables, in order."""
        first = self.next
        self.next += count
        return np.arange(first, first + count, dtype=np.uint64) * np.uint64(PAGE)

    def put(self, depth: int, addresses: Words, tables: Words) -> None:
        """Writes tables."""
        self.words[addresses // np.uint64(PAGE)] = tables
        self.levels[depth].append(addresses)

    def parents(self, depth: int, children: Words, slot: int, flags: int = TABLE) -> Words:
        """Writes the tables of ``depth`` whose entries point to ``children`` one after
        the other, from entry ``slot`` of the first one on; returns their addresses."""
        count = (slot + len(children) + ENTRIES - 1) // ENTRIES
        tables = np.zeros(count * ENTRIES, np.uint64)
        tables[slot : slot + len(children)] = children | np.uint64(flags)
        addresses = self.take(count)
        self.put(depth, addresses, tables.reshape(count, ENTRIES))
        return addresses

    def made(
        self,
        name: str,
        roots: Words,
        start: int,
        end: int,
        answer: Answer,
        contiguous: Answer | None = None,
        **extra: int,
    ) -> Made:
        """Closes the file, and writes what is known of it beside it."""
        self.words.flush()
        levels = [
            np.sort(np.concatenate(level)) if level else np.zeros(0, np.uint64)
            for level in self.levels
        ]
        np.save(self.path.with_suffix(".npy"), np.concatenate(levels))
        made = Made(
            name=name,
            path=str(self.path),
            roots=[int(root) for root in roots],
            start=start,
            end=end,
            answer=asdict(answer),
            tables=[len(level) for level in levels],
            contiguous=asdict(contiguous) if contiguous else {},
            extra=extra,
        )
        self.path.with_suffix(".json").write_text(json.dumps(asdict(made), indent=1))
        return made


def elf_header(segments: list[tuple[int, int, int]]) -> bytes:
    """ELF64 core of segments: physical address, place in the file, size."""
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    counts = (64, 56, len(segments), 0, 0, 0)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, *counts)
    for pa, place, size in segments:
        header += struct.pack("<IIQQQQQQ", 1, 7, place, 0, pa, size, size, 0)
    return header.ljust(SKIP, b"\0")


def runs(random: np.random.Generator, count: int, mean: int) -> NDArray[np.int64]:
    """Where runs start within ``count`` entries: geometric lengths, from 0 on."""
    cut = random.random(count) < 1 / mean
    cut[0] = True
    return np.flatnonzero(cut)


ATTRIBUTES = np.array([P | RW | A | D | G | NX, P | A | D | G | NX, P | A | D | G], np.uint64)


def changing(random: np.random.Generator, count: int, last: int) -> NDArray[np.int64]:
    """Which attributes each run has: never those of the one before it."""
    return (last + np.cumsum(random.integers(1, 3, count))) % 3


def direct(name: str, gib: int, mean: int = 0, scattered: bool = False) -> Made:
    """A direct map in 4K pages; ``mean``: pages that have one attribute."""
    random = np.random.default_rng([7, gib, mean])
    count = gib * 512
    writer = Writer(f"{name}-{gib}", (SCATTER // PAGE) if scattered else count + count // 256 + 64)
    if scattered:
        taken = writer.take(count // 256 + 64)
        writer.next = 1
        pages = random.choice(SCATTER // PAGE - len(taken) - 1, count, replace=False)
        leaf_tables = (pages.astype(np.uint64) + np.uint64(len(taken) + 1)) * np.uint64(PAGE)
    else:
        leaf_tables = writer.take(count)
    answer = Answer(leaves=count * ENTRIES)
    last = 0
    if not mean:
        flags = ATTRIBUTES[:1]
        answer.add(
            np.array([DIRECT], np.uint64),
            np.array([gib * GIB], np.uint64),
            np.array([PHYSICAL], np.uint64),
            flags,
        )
    for first in range(0, count, CHUNK):
        tables = min(CHUNK, count - first)
        offsets: Words = np.arange(first * ENTRIES, (first + tables) * ENTRIES, dtype=np.uint64)
        offsets *= np.uint64(PAGE)
        entries = offsets + np.uint64(PHYSICAL)
        if mean:
            starts = runs(random, len(offsets), mean)
            kinds = changing(random, len(starts), last)
            last = int(kinds[-1])
            flags = ATTRIBUTES[kinds]
            sizes = np.diff(starts, append=len(offsets)).astype(np.uint64)
            answer.add(
                offsets[starts] + np.uint64(DIRECT),
                sizes * np.uint64(PAGE),
                entries[starts],
                flags,
            )
            entries |= np.repeat(flags, sizes.astype(np.int64))
        else:
            entries |= flags[0]
        where = leaf_tables[first : first + tables]
        writer.put(3, where, entries.reshape(tables, ENTRIES))
    root = upper(writer, leaf_tables, DIRECT)
    whole = Answer(rows=1, leaves=answer.leaves, start=DIRECT, size=gib * GIB, pa=PHYSICAL)
    return writer.made(name, root, DIRECT, DIRECT + gib * GIB, answer, whole)


def upper(writer: Writer, leaf_tables: Words, start: int) -> Words:
    """All tables above consecutive page tables from ``start`` on; the root."""
    middle = writer.parents(2, leaf_tables, start >> 21 & 511)
    top = writer.parents(1, middle, start >> 30 & 511)
    return writer.parents(0, top, start >> 39 & 511)


def direct4k(gib: int) -> Made:
    """See the module."""
    return direct("direct4k", gib)


def frag(gib: int) -> Made:
    """See the module."""
    return direct("frag", gib, mean=16, scattered=True)


def sparse(gib: int) -> Made:
    """See the module."""
    random = np.random.default_rng([8, gib])
    count = gib * 512
    writer = Writer(f"sparse-{gib}", count + count // 256 + 64)
    leaf_tables = writer.take(count)
    answer = Answer()
    flags = np.uint64(ATTRIBUTES[0])
    for first in range(0, count, CHUNK):
        tables = min(CHUNK, count - first)
        offsets = np.arange(first * ENTRIES, (first + tables) * ENTRIES, dtype=np.uint64)
        offsets *= np.uint64(PAGE)
        there = random.random(len(offsets)) < 1 / 8
        # A run must not go on in the next chunk, so that each counts its own.
        there[-1] = False
        edges = np.diff(there.astype(np.int8), prepend=0)
        starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
        entries = np.where(there, offsets + np.uint64(PHYSICAL) | flags, np.uint64(0))
        answer.leaves += int(there.sum())
        answer.add(
            offsets[starts] + np.uint64(DIRECT),
            (ends - starts).astype(np.uint64) * np.uint64(PAGE),
            offsets[starts] + np.uint64(PHYSICAL),
            np.full(len(starts), flags),
        )
        writer.put(3, leaf_tables[first : first + tables], entries.reshape(tables, ENTRIES))
    root = upper(writer, leaf_tables, DIRECT)
    return writer.made("sparse", root, DIRECT, DIRECT + gib * GIB, answer, answer)


def huge(gib: int) -> Made:
    """See the module."""
    random = np.random.default_rng([9, gib])
    count = gib
    writer = Writer(f"huge-{gib}", count + count // 256 + 64)
    tables = writer.take(count)
    offsets = np.arange(count * ENTRIES, dtype=np.uint64) << np.uint64(21)
    starts = runs(random, len(offsets), 16)
    flags = ATTRIBUTES[changing(random, len(starts), 0)] | np.uint64(PS)
    sizes = np.diff(starts, append=len(offsets)).astype(np.uint64)
    answer = Answer(leaves=count * ENTRIES)
    answer.add(
        offsets[starts] + np.uint64(DIRECT),
        sizes << np.uint64(21),
        offsets[starts] + np.uint64(PHYSICAL),
        flags,
    )
    entries = (offsets + np.uint64(PHYSICAL)) | np.repeat(flags, sizes.astype(np.int64))
    writer.put(2, tables, entries.reshape(count, ENTRIES))
    top = writer.parents(1, tables, DIRECT >> 30 & 511)
    root = writer.parents(0, top, DIRECT >> 39 & 511)
    return writer.made("huge", root, DIRECT, DIRECT + gib * GIB, answer)


def kasan(gib: int) -> Made:
    """See the module."""
    real_flags, early_flags = (int(flags) for flags in ATTRIBUTES[:2])
    real = [
        (DIRECT, gib * GIB),
        # The kernel's image and its modules: __START_KERNEL_map and MODULES_VADDR.
        (0xFFFF_FFFF_8100_0000, 64 << 20),
        (0xFFFF_FFFF_C000_0000, 32 << 20),
    ]
    shadows = [((va >> 3) + SHADOW_OFFSET, size >> 3) for va, size in real]
    writer = Writer(f"kasan-{gib}", gib * 64 + 4096)
    zero_page = 1 << 41
    early = zero_page | early_flags
    early_tables = []
    for depth in (3, 2, 1):
        address = writer.take(1)
        writer.put(depth, address, np.full((1, ENTRIES), early, np.uint64))
        early = int(address[0]) | TABLE
        early_tables.append(early)
    early_pte, early_pmd, early_pud = early_tables
    # By depth: table index -> its entries; what is not here is early shadow.
    root = np.zeros(ENTRIES, np.uint64)
    first_slot = SHADOW >> 39 & 511
    root[first_slot : first_slot + (SHADOW_SIZE >> 39)] = early_pud
    puds: dict[int, Words] = {}
    pmds: dict[int, Words] = {}
    pages = 0
    for start, size in shadows:
        if start % (2 << 20) or size % (2 << 20):
            raise ValueError("shadows have to come in whole page tables")
        count = size >> 21
        where = writer.take(count)
        frames = np.arange(count * ENTRIES, dtype=np.uint64) + np.uint64(pages)
        entries = (frames * np.uint64(PAGE) + np.uint64(PHYSICAL)) | np.uint64(real_flags)
        writer.put(3, where, entries.reshape(count, ENTRIES))
        pages += count * ENTRIES
        for number, table in enumerate(where):
            va = start + (number << 21)
            pmd = pmds.setdefault(va >> 30, np.full(ENTRIES, early_pte, np.uint64))
            pmd[va >> 21 & 511] = int(table) | TABLE
    for number, table in sorted(pmds.items()):
        address = writer.take(1)
        writer.put(2, address, table.reshape(1, ENTRIES))
        pud = puds.setdefault(number >> 9, np.full(ENTRIES, early_pmd, np.uint64))
        pud[number & 511] = int(address[0]) | TABLE
    for number, table in sorted(puds.items()):
        address = writer.take(1)
        writer.put(1, address, table.reshape(1, ENTRIES))
        root[number & 511] = int(address[0]) | TABLE
    address = writer.take(1)
    writer.put(0, address, root.reshape(1, ENTRIES))
    # Rows: the shadows, and what lies between them.
    rows, at, frame = [], SHADOW, 0
    for start, size in sorted(shadows):
        if start > at:
            rows.append((at, start - at, zero_page, early_flags))
        rows.append((start, size, PHYSICAL + frame * PAGE, real_flags))
        frame += size >> 12
        at = start + size
    if at < SHADOW + SHADOW_SIZE:
        rows.append((at, SHADOW + SHADOW_SIZE - at, zero_page, early_flags))
    answer = Answer(leaves=SHADOW_SIZE >> 12)
    answer.add(*(np.array(column, np.uint64) for column in zip(*rows, strict=True)))
    return writer.made("kasan", address, SHADOW, SHADOW + SHADOW_SIZE, answer)


PROCESSES = 500
USER_TABLES = 16
USER = 0x7F00_0000_0000


def fleet(gib: int, processes: int = PROCESSES) -> Made:
    """See the module. The walked range is both halves; every root's rows count."""
    random = np.random.default_rng([10, gib, processes])
    count = gib * 512
    user = processes * USER_TABLES
    name = "fleet" if processes == PROCESSES else f"fleet{processes}"
    writer = Writer(f"{name}-{gib}", count + count // 256 + user + 3 * processes + 64)
    leaf_tables = writer.take(count)
    flags = np.uint64(ATTRIBUTES[0])
    for first in range(0, count, CHUNK):
        tables = min(CHUNK, count - first)
        offsets = np.arange(first * ENTRIES, (first + tables) * ENTRIES, dtype=np.uint64)
        entries = offsets * np.uint64(PAGE) + np.uint64(PHYSICAL) | flags
        writer.put(3, leaf_tables[first : first + tables], entries.reshape(tables, ENTRIES))
    middle = writer.parents(2, leaf_tables, DIRECT >> 21 & 511)
    kernel = writer.parents(1, middle, DIRECT >> 30 & 511)
    shared = Answer(leaves=count * ENTRIES)
    shared.add(
        *(np.array([x], np.uint64) for x in (DIRECT, gib * GIB, PHYSICAL, flags)),
    )
    answer = shared.times(processes)
    # A run a row: holes between runs, 16 pages on average either.
    pages = user * ENTRIES
    starts = runs(random, pages, 16)
    whole = np.arange(0, pages, USER_TABLES * ENTRIES)
    starts = np.union1d(starts, whole)
    there = random.integers(0, 2, len(starts)).astype(bool)
    # Never two runs of a process side by side: what follows one is a hole.
    kinds = np.cumsum(np.ones(len(starts), np.int64)) % 2 == 0
    there &= kinds
    there[np.isin(starts, whole)] = False
    sizes = np.diff(starts, append=pages)
    user_flags = np.uint64(P | RW | US | A | D | NX)
    entries = np.arange(pages, dtype=np.uint64) * np.uint64(PAGE) + np.uint64(PHYSICAL * 2)
    entries = np.where(np.repeat(there, sizes), entries | user_flags, np.uint64(0))
    where = writer.take(user)
    writer.put(3, where, entries.reshape(user, ENTRIES))
    per_process = np.uint64(USER_TABLES * ENTRIES)
    first = starts[there].astype(np.uint64)
    answer.leaves += int(sizes[there].sum())
    answer.add(
        first % per_process * np.uint64(PAGE) + np.uint64(USER),
        sizes[there].astype(np.uint64) * np.uint64(PAGE),
        first * np.uint64(PAGE) + np.uint64(PHYSICAL * 2),
        np.full(len(first), user_flags),
    )
    below: Words = where.reshape(processes, USER_TABLES)
    for depth in (2, 1):
        own_tables = np.zeros((processes, ENTRIES), np.uint64)
        slot = USER >> (21 if depth == 2 else 30) & 511
        own_tables[:, slot : slot + below.shape[1]] = below | np.uint64(USER_TABLE)
        own = writer.take(processes)
        writer.put(depth, own, own_tables)
        below = own.reshape(processes, 1)
    roots = np.zeros((processes, ENTRIES), np.uint64)
    roots[:, USER >> 39 & 511] = below[:, 0] | np.uint64(USER_TABLE)
    roots[:, DIRECT >> 39 & 511] = kernel[0] | np.uint64(TABLE)
    own = writer.take(processes)
    writer.put(0, own, roots)
    return writer.made(name, own, 0, 1 << 64, answer, processes=processes)


KINDS = {
    "direct4k": (direct4k, 64),
    "frag": (frag, 64),
    "sparse": (sparse, 64),
    "huge": (huge, 16384),
    "kasan": (kasan, 64),
    "fleet": (fleet, 64),
}
"""What makes an image, and its ``gib`` unless told."""


def get(name: str, gib: int | None = None, processes: int = PROCESSES) -> Made:
    """The image, made if it is not there; ``processes``: of a fleet."""
    make, usual = KINDS[name]
    number = str(processes) if processes != PROCESSES else ""
    described = FOLDER / f"{name}{number}-{gib or usual}.json"
    if described.exists() and described.stat().st_mtime > Path(__file__).stat().st_mtime:
        return Made(**json.loads(described.read_text()))
    return fleet(gib or usual, processes) if number else make(gib or usual)


def main() -> None:
    """Makes the images named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="+", choices=[*KINDS, "all"])
    parser.add_argument("--gib", type=int, help="GiB of virtual memory (kasan: of memory)")
    options = parser.parse_args()
    names = list(KINDS) if "all" in options.names else options.names
    for name in names:
        made = KINDS[name][0](options.gib or KINDS[name][1])
        print(f"{made.path}: {made.table_bytes >> 20} MiB of tables, {made.answer['rows']} rows")


if __name__ == "__main__":
    main()
