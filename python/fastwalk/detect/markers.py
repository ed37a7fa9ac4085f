"""The kernel's own array of markers, read from its memory.

Every ptdump keeps an array of structures (address, name, ...) whose names are
pointers to strings. The strings say where the names are; a pointer to one of them
says where the array is; whatever the configuration put into it is then read as the
kernel has it. The form of the structure is the architecture's data (`MarkerTable`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ..layout import Marker
from .kernel import Kernel

_LIMIT = 64
_ENOUGH = 4
_NEAR = 8 << 20
"""Variables are so near to `init_uts_ns`, as a rule."""
_WALK = "ptdump_walk_pgd"
"""What every ptdump calls."""
_STARTS_AT_ZERO = 3
"""User space, an identity map, a lowcore."""


@dataclass(frozen=True, slots=True)
class MarkerTable:
    """How one ptdump declares its ``struct addr_marker``, in words."""

    anchors: tuple[str, ...]
    """Names to look for, the most unusual first."""
    words: int = 2
    address: int = 0
    name: int = 1
    max_lines: int | None = None
    edge: int | None = None
    """The word that begins with the int `is_start`."""
    size: int | None = None
    first: tuple[str, ...] = ()
    """Names that an array begins with: what lies before is not looked at."""
    unnamed: str | None = None
    """The text of an entry without a name that is not the last one."""


@dataclass(frozen=True, slots=True)
class MarkerArray:
    pa: int
    offset: int
    """VA - PA of the kernel image, as the name pointers have it."""
    markers: tuple[Marker, ...]

    @property
    def zeros(self) -> int:
        """Markers that are 0: those that really are, and those that are not set yet."""
        return sum(1 for marker in self.markers if marker.address == 0)

    def address(self, name: str) -> int | None:
        return next((m.address for m in self.markers if m.name == name), None)


def find(kernel: Kernel, table: MarkerTable, align: int, lowest: int) -> MarkerArray | None:
    """The live array, or None. `align` is what VA - PA of the kernel image is a
    multiple of and `lowest` the lowest VA the image can have, for where VA - PA is not
    known yet."""
    # The array is a variable of the kernel, except where it is allocated (s390x).
    near, around = kernel.window(), (max(0, kernel.uts.pa - _NEAR), kernel.uts.pa + _NEAR)
    best: MarkerArray | None = None
    for low, high in (around, near, (0, near[0]), (near[1], 1 << 64)):
        if kernel.offset is None and low not in (around[0], near[0]):
            break
        if (low, high) not in (around, near) and not _has_ptdump(kernel):
            break
        for anchor in table.anchors:
            found = _best(kernel, table, _pointers(kernel, anchor, align, lowest, low, high))
            if found is None:
                continue
            if found.zeros <= _STARTS_AT_ZERO:
                return found
            best = best or found
    return best


def _has_ptdump(kernel: Kernel) -> bool:
    """Unless the kernel's symbols say otherwise: with ptdump left out (as Debian's arm64
    and s390x kernels have it) there is no array, and all memory would be searched for it."""
    symbols = kernel.symbols()
    # mm/ptdump.c; arch/arm/mm/dump.c.
    return symbols is None or symbols.address(_WALK) is not None


def _best(
    kernel: Kernel, table: MarkerTable, pointers: Iterator[tuple[int, int]]
) -> MarkerArray | None:
    """A template or a stale copy of the array has no run-time addresses; the live one
    has the most."""
    arrays = (
        _array(kernel, table, pa - table.name * kernel.word_bytes, offset)
        for pa, offset in pointers
    )
    return max(
        (array for array in arrays if array is not None),
        key=lambda array: len({m.address for m in array.markers}),
        default=None,
    )


def _pointers(
    kernel: Kernel, name: str, align: int, lowest: int, low: int, high: int
) -> Iterator[tuple[int, int]]:
    """(PA, VA - PA) of the pointers to the string `name` between two PAs."""
    size = kernel.word_bytes
    memory = kernel.memory
    low_text, high_text = kernel.window()
    string = name.encode() + b"\0"
    # Read-only data lies before the variables, and not far.
    texts = list(memory.find(string, low_text, kernel.uts.pa)) or list(
        memory.find(string, kernel.uts.pa, high_text)
    )
    for text in texts:
        if kernel.offset is not None:
            for pa in memory.find(kernel.packed(kernel.va(text)), low, high):
                if pa % size == 0:
                    yield pa, kernel.offset
            continue
        for pa in _unknown_pointers(kernel, text, align, lowest, low, high):
            value = kernel.word(pa)
            if value is not None and value >= lowest and (value - text) % align == 0:
                yield pa, (value - text) & kernel.mask


def _unknown_pointers(
    kernel: Kernel, text: int, align: int, lowest: int, low: int, high: int
) -> Iterator[int]:
    """PAs of words that end as a pointer to `text` must, and begin as `lowest` does."""
    size = kernel.word_bytes
    ends = {(text + i) & 0xFFFF for i in range(0, 1 << 16, min(align, 1 << 16))}
    middle = b"(?s:.{%d})" % (size - 4 if size == 8 else size - 2)
    # A 64-bit kernel's addresses all begin alike; a 32-bit kernel's do not.
    begin = kernel.packed(lowest)[-2:] if kernel.byte_order == "little" else b""
    for end in sorted(ends):
        word = end.to_bytes(2, kernel.byte_order)
        if kernel.byte_order == "big":
            pattern = re.compile(b"(?s:.{%d})" % (size - 2) + re.escape(word))
        elif size == 8:
            pattern = re.compile(re.escape(word) + middle + re.escape(begin))
        else:
            pattern = re.compile(re.escape(word) + middle)
        for base, data in kernel.memory.chunks(low, high):
            for hit in pattern.finditer(data):
                if (base + hit.start()) % size == 0:
                    yield base + hit.start()


def _array(kernel: Kernel, table: MarkerTable, pa: int, offset: int) -> MarkerArray | None:
    """The whole array of which one entry is at `pa`."""
    stride = table.words * kernel.word_bytes
    start = pa
    for _ in range(_LIMIT):
        here = _entry(kernel, table, start, offset)
        if here is None or here.name in table.first or here.name == table.unnamed:
            break
        before = _entry(kernel, table, start - stride, offset)
        if before is None:
            break
        start -= stride
    found: list[Marker] = []
    for i in range(_LIMIT):
        marker = _entry(kernel, table, start + i * stride, offset)
        if marker is None:
            return None
        if marker.address == kernel.mask and marker.name in ("", table.unnamed):
            break
        if marker.name == "":
            return None
        found.append(marker)
    else:
        return None
    return MarkerArray(start, offset, tuple(found)) if len(found) >= _ENOUGH else None


def _entry(kernel: Kernel, table: MarkerTable, pa: int, offset: int) -> Marker | None:
    size = kernel.word_bytes
    data = kernel.memory.read(pa, table.words * size)
    if data is None:
        return None
    order = kernel.byte_order
    words = [int.from_bytes(data[i : i + size], order) for i in range(0, table.words * size, size)]
    address, pointer = words[table.address], words[table.name]
    edge: Literal["start", "end"] | None = None
    if table.edge is not None:
        is_start = int.from_bytes(data[table.edge * size : table.edge * size + 4], order)
        if is_start > 1:
            return None
        edge = "start" if is_start else "end"
    if pointer == 0:
        if table.unnamed is not None:
            return Marker(address, table.unnamed)
        return Marker(address, "") if address == kernel.mask else None
    name = kernel.memory.text((pointer - offset) & kernel.mask, 64)
    if not name or len(name) < 3 or not name.isascii() or not name.decode().isprintable():
        return None
    max_lines = words[table.max_lines] if table.max_lines is not None else 0
    return Marker(
        address,
        name.decode(),
        max_lines if max_lines < 1 << 16 else 0,
        edge,
        words[table.size] if table.size is not None else None,
    )
