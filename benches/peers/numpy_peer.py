"""The walk that one writes in a notebook: NumPy, level by level, some tables at a time so
that they stay in the cache. Rows are as fastwalk's under ``coalesce="attributes"``.

In fastwalk's own environment, and in one process with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Index = NDArray[np.int64]

PRESENT, WRITE, USER, SIZE = 1, 2, 4, 0x80
PFN = 0x000F_FFFF_FFFF_F000
NX = 1 << 63
PERMISSIONS = WRITE | USER
FLAGS = ~(PFN | 0x60) & ((1 << 64) - 1)
"""What makes a row: all but the address, Accessed and Dirty."""
ENTRIES = 512
CHUNK = 64
"""Tables at a time: 256 KiB of entries, so that they and what is made of them stay in
the second-level cache."""


@dataclass
class Tables:
    """Tables of one depth: their numbers, first virtual addresses, and what the tables
    above them allow."""

    numbers: Words
    base: Words
    above: Words


@dataclass
class Rows:
    """Columns."""

    start: Words
    size: Words
    pa: Words
    flags: Words
    effective: Words
    depth: Words


def memory(path: str, skip: int) -> Words:
    """An image's pages, each a row of entries."""
    words: Words = np.memmap(path, np.uint64, "r", skip)
    return words[: len(words) // ENTRIES * ENTRIES].reshape(-1, ENTRIES)


def combine(above: Words, entries: Words) -> Words:
    """Effective permissions: written and used where all levels allow it, no execution
    where one level forbids it."""
    return (above & entries & np.uint64(PERMISSIONS)) | ((above | entries) & np.uint64(NX))


def walk(memory: Words, root: int, start: int, end: int) -> Rows:
    """Rows from ``start`` to ``end``, borders of root entries of one half."""
    first, last = start >> 39 & 511, (end - 1) >> 39 & 511
    tables = Tables(
        np.array([root >> 12], np.uint64),
        np.array([0xFFFF << 48 if first >= 256 else 0], np.uint64),
        np.array([PERMISSIONS], np.uint64),
    )
    found: list[Rows] = []
    for depth in range(4):
        below: list[Tables] = []
        for at in range(0, len(tables.numbers), CHUNK):
            part = Tables(*(column[at : at + CHUNK] for column in vars(tables).values()))
            entries = memory[part.numbers]
            if depth == 0:
                entries[0, :first] = 0
                entries[0, last + 1 :] = 0
            flat = entries.reshape(-1)
            if depth < 3:
                below.append(children(flat, part, depth))
            found.append(runs(flat, part, depth))
        if below:
            tables = Tables(*columns(below))
    return joined(found)


def columns(parts: list[Tables] | list[Rows]) -> list[Words]:
    """Each column of all parts in one."""
    return [np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])]


def children(flat: Words, tables: Tables, depth: int) -> Tables:
    """The tables that these entries lead to."""
    index = np.flatnonzero((flat & np.uint64(PRESENT | SIZE)) == PRESENT)
    entries, table = flat[index], index >> 9
    return Tables(
        (entries & np.uint64(PFN)) >> np.uint64(12),
        tables.base[table] + addresses(index, depth),
        combine(tables.above[table], entries),
    )


def addresses(index: Index, depth: int) -> Words:
    """Offsets in virtual memory of entries of their tables."""
    return (index & 511).astype(np.uint64) << np.uint64(39 - 9 * depth)


def runs(flat: Words, tables: Tables, depth: int) -> Rows:
    """Leaf entries, neighbours with equal flags as one row."""
    shift = np.uint64(39 - 9 * depth)
    leaf = (flat & np.uint64(PRESENT)) != 0
    if depth < 3:
        leaf &= (flat & np.uint64(SIZE)) != 0
    flags = np.where(leaf, flat & np.uint64(FLAGS), np.uint64(0))
    edges = np.flatnonzero(flags[1:] != flags[:-1]) + 1
    # Tables that do not follow one another, or are not allowed the same.
    span = np.uint64(ENTRIES) << shift
    apart = (np.diff(tables.base) != span) | (tables.above[1:] != tables.above[:-1])
    if apart.any():
        edges = np.union1d(edges, (np.flatnonzero(apart) + 1) * ENTRIES)
    first = np.concatenate([np.zeros(1, np.int64), edges])
    length = np.diff(first, append=len(flat))
    kept = flags[first] != 0
    first, length = first[kept], length[kept]
    entries, table = flat[first], first >> 9
    return Rows(
        tables.base[table] + addresses(first, depth),
        length.astype(np.uint64) << shift,
        entries & np.uint64(PFN & (-1 << int(shift))),
        flags[first],
        combine(tables.above[table], entries),
        np.full(len(first), depth, np.uint64),
    )


def joined(found: list[Rows]) -> Rows:
    """All rows in order; what was cut between two pieces is made whole."""
    rows = Rows(*columns(found))
    if not len(rows.start):
        return rows
    if rows.depth[0] != rows.depth[-1]:
        order = np.argsort(rows.start)
        rows = Rows(*(column[order] for column in vars(rows).values()))
    same = rows.start[1:] == rows.start[:-1] + rows.size[:-1]
    for column in (rows.flags, rows.effective, rows.depth):
        same &= column[1:] == column[:-1]
    first = np.concatenate([np.zeros(1, np.int64), np.flatnonzero(~same) + 1])
    whole = Rows(*(column[first] for column in vars(rows).values()))
    whole.size = np.add.reduceat(rows.size, first)
    return whole


def leaves(rows: Rows) -> int:
    """How many leaf entries rows were made of."""
    shift = np.uint64(39) - np.uint64(9) * rows.depth
    return int((rows.size >> shift).sum())
