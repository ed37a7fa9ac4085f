"""Physical memory as detection reads it: whole chunks, never a page at a time.

The search for text and pointers is compiled and parallel; for images that are not
fastwalk's own it is ``bytes.find`` over chunks of some megabytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from ..arch.spec import ByteOrder

CHUNK = 8 << 20
STRETCH = 64 << 20
_PAGE = 4096


class PhysicalMemory(Protocol):
    """What detection asks of an image: this part of ``fastwalk._fastwalk.Image``."""

    @property
    def format(self) -> str: ...

    @property
    def notes(self) -> Sequence[tuple[str, int, bytes]]:
        """(name, type, contents) of the file's notes."""
        ...

    @property
    def machine(self) -> tuple[int, int, bool] | None:
        """(e_machine, 32 or 64, big-endian), where the container names one."""
        ...

    @property
    def vmcoreinfo(self) -> str | None:
        """The text of VMCOREINFO, where the container has it."""
        ...

    @property
    def registers(self) -> Sequence[tuple[int, str, int]]:
        """(processor, name, value), where the container gives them by name."""
        ...

    def segments(self) -> Sequence[tuple[int, int, int | None]]:
        """(PA, size, file offset or None) of what the image has."""
        ...

    def try_read(self, pa: int, size: int, /) -> bytes | None:
        """The bytes at a physical address; None where one is absent."""
        ...


class Memory:
    """Reads and searches; what is absent is None, not an exception."""

    def __init__(self, image: PhysicalMemory) -> None:
        self.image = image
        segments = image.segments()
        self.runs = _joined([(pa, size) for pa, size, _ in segments])
        # An ELF segment without a place in the file is zeros, of any size that its
        # header claims: there is nothing to be searched for.
        self._searched = _joined(
            [(pa, size) for pa, size, at in segments if at is not None or image.format != "elf"]
        )

    def read(self, pa: int, size: int) -> bytes | None:
        """`size` bytes, or None where any of them is not in the image."""
        if pa < 0 or pa + size > 1 << 64:
            return None
        return self.image.try_read(pa, size)

    def number(self, pa: int, size: int, order: ByteOrder) -> int | None:
        data = self.read(pa, size)
        return None if data is None else int.from_bytes(data, order)

    def text(self, pa: int, limit: int = 256) -> bytes | None:
        """A C string without its NUL; None where it is absent or longer."""
        for start, end in self.runs:
            if start <= pa < end:
                data = self.read(pa, min(limit, end - pa))
                if data is not None and b"\0" in data:
                    return data[: data.index(b"\0")]
        return None

    def chunks(
        self, low: int = 0, high: int = 1 << 64, overlap: int = 0
    ) -> Iterator[tuple[int, bytes]]:
        """(PA, bytes) of what lies in ``low .. high``, ascending; each chunk begins
        with the last `overlap` bytes of the one before, where they adjoin."""
        for run_start, run_end in self._searched:
            start, end = max(run_start, low), min(run_end, high)
            position = start
            while position < end:
                first = max(start, position - overlap)
                position = min(position + CHUNK, end)
                yield first, self._whole(first, position - first)

    def find(self, pattern: bytes, low: int = 0, high: int = 1 << 64) -> Iterator[int]:
        """Every PA at which `pattern` lies."""
        for pa, _ in self.find_any((pattern,), low, high):
            yield pa

    def find_any(
        self, patterns: Sequence[bytes], low: int = 0, high: int = 1 << 64
    ) -> Iterator[tuple[int, int]]:
        """(PA, index of the pattern), ascending, memory being read once and no further
        than the hits are asked for."""
        from .. import _fastwalk

        if isinstance(self.image, _fastwalk.Image):
            for first, last in self._stretches(low, high):
                yield from _fastwalk.find(self.image, patterns, first, last)
            return
        overlap = max(map(len, patterns)) - 1
        reported = -1
        for base, data in self.chunks(low, high, overlap):
            hits: list[tuple[int, int]] = []
            for index, pattern in enumerate(patterns):
                at = data.find(pattern)
                while at >= 0:
                    # A short pattern can lie wholly in the overlap: already reported.
                    if base + at + len(pattern) > reported:
                        hits.append((base + at, index))
                    at = data.find(pattern, at + 1)
            reported = base + len(data)
            yield from sorted(hits)

    def _stretches(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """(first, last) of stretches of memory that are searched at a time."""
        for run_start, run_end in self._searched:
            start, end = max(run_start, low), min(run_end, high)
            while start < end:
                yield start, min(start + STRETCH, end) - 1
                start += STRETCH

    def _whole(self, pa: int, size: int) -> bytes:
        """As `read`, with zeros for what is absent."""
        data = self.read(pa, size)
        if data is not None:
            return data
        if size <= _PAGE:
            return bytes(size)
        half = (size // 2 + _PAGE - 1) & -_PAGE
        return self._whole(pa, half) + self._whole(pa + half, size - half)


def _joined(segments: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ascending (start, end), adjacent ones made one."""
    runs: list[tuple[int, int]] = []
    for pa, size in sorted(segments):
        if runs and pa <= runs[-1][1]:
            runs[-1] = (runs[-1][0], max(runs[-1][1], pa + size))
        elif size:
            runs.append((pa, pa + size))
    return runs
