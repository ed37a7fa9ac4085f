"""Writes kdump-compressed files, as makedumpfile does (diskdump_mod.h)."""

from __future__ import annotations

import ctypes
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

BLOCK = 4096

# What a page frame can be beside its bytes.
HOLE, EXCLUDED = "hole", "excluded"
Page = bytes | str


def _lzo(page: bytes) -> bytes:
    library = ctypes.CDLL("liblzo2.so.2")
    out = ctypes.create_string_buffer(2 * len(page))
    size = ctypes.c_size_t(len(out))
    work = ctypes.create_string_buffer(16384 * ctypes.sizeof(ctypes.c_void_p))
    assert library.lzo1x_1_compress(page, len(page), out, ctypes.byref(size), work) == 0
    return out.raw[: size.value]


def _snappy(page: bytes) -> bytes:
    library = ctypes.CDLL("libsnappy.so.1")
    out = ctypes.create_string_buffer(2 * len(page))
    size = ctypes.c_size_t(len(out))
    assert library.snappy_compress(page, len(page), out, ctypes.byref(size)) == 0
    return out.raw[: size.value]


def _zstd(page: bytes) -> bytes:
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_compress.restype = ctypes.c_size_t
    out = ctypes.create_string_buffer(2 * len(page))
    size = library.ZSTD_compress(out, ctypes.c_size_t(len(out)), page, len(page), 3)
    assert size <= len(out)
    return out.raw[:size]


PACKERS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "none": (0, bytes),
    "zlib": (1, zlib.compress),
    "lzo": (2, _lzo),
    "snappy": (4, _snappy),
    "zstd": (32, _zstd),
}
"""Flag in the page's descriptor, and how it is packed."""


@dataclass(frozen=True)
class Kdump:
    pages: Sequence[Page]
    """By page frame number."""
    packing: str = "zlib"
    machine: str = "x86_64"
    bits: int = 64
    big_endian: bool = False
    level: int = 0
    version: int = 6

    def write(self) -> bytes:
        mark = ">" if self.big_endian else "<"
        word = "Q" if self.bits == 64 else "I"
        count = len(self.pages)
        bitmap_blocks = -(-count // (8 * BLOCK))

        names = ["Linux", "host", "6.12.117", "#1", self.machine, ""]
        header = b"KDUMP   " + struct.pack(f"{mark}i", self.version)
        header += b"".join(name.encode().ljust(65, b"\0") for name in names)
        # A struct timeval, aligned.
        header = header.ljust(424 if self.bits == 64 else 412, b"\0")
        # status, block_size, sub_hdr_size, bitmap_blocks, max_mapnr; the rest is 0.
        header += struct.pack(f"{mark}5I", 0, BLOCK, 1, 2 * bitmap_blocks, count)

        # phys_base, dump_level, split, then page numbers and offsets, 0 in one whole file.
        sub = struct.pack(f"{mark}{word}2i2{word}", 0, self.level, 0, 0, 0)
        sub = sub.ljust(-(-len(sub) // 8) * 8, b"\0")
        sub += struct.pack(f"{mark}" + f"Q{word}" * 3, 0, 0, 0, 0, 0, 0)
        sub = sub.ljust(-(-len(sub) // 8) * 8, b"\0")
        sub += struct.pack(f"{mark}3Q", 0, count, count)

        present = _bitmap([page != HOLE for page in self.pages], bitmap_blocks)
        dumped = _bitmap([isinstance(page, bytes) for page in self.pages], bitmap_blocks)

        stored = [page for page in self.pages if isinstance(page, bytes)]
        at = BLOCK * (2 + 2 * bitmap_blocks) + 24 * len(stored)
        descriptors, data = bytearray(), bytearray()
        # Pages that are equal are stored once, as makedumpfile does with zeros.
        known: dict[bytes, bytes] = {}
        for page in stored:
            if page not in known:
                flag, pack = PACKERS[self.packing]
                packed = pack(page)
                if len(packed) >= len(page):
                    flag, packed = 0, page
                place = at + len(data)
                known[page] = struct.pack(f"{mark}QIIQ", place, len(packed), flag, 0)
                data += packed
            descriptors += known[page]
        blocks = header.ljust(BLOCK, b"\0") + sub.ljust(BLOCK, b"\0")
        return blocks + present + dumped + descriptors + data


def _bitmap(bits: Sequence[bool], blocks: int) -> bytes:
    out = bytearray(blocks * BLOCK)
    for number, bit in enumerate(bits):
        out[number // 8] |= bit << number % 8
    return bytes(out)
