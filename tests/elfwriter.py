"""ELF core files for tests: segments at physical addresses, of any class and byte order."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Literal

ET_CORE = 4
PT_LOAD = 1
PT_NOTE = 4
PN_XNUM = 0xFFFF
MACHINES = {
    "i386": 3,
    "parisc": 15,
    "parisc64": 15,
    "ppc64": 21,
    "s390x": 22,
    "arm": 40,
    "x86_64": 62,
    "arm64": 183,
    "riscv64": 243,
    "riscv32": 243,
    "loongarch64": 258,
}


def core(
    segments: Sequence[tuple[int, bytes | int]],
    machine: int | str = "x86_64",
    bits: Literal[32, 64] = 64,
    order: Literal["little", "big"] = "little",
    notes: bytes = b"",
    skew: int = 0,
) -> bytes:
    """The file's bytes. `skew` shifts the segments' data in the file, as QEMU's dumps have
    it at odd offsets. A number instead of bytes: so many zeros, without a place in the file.
    From 65,535 headers on the count goes to section 0 (PN_XNUM)."""
    wide = bits == 64
    mark = "<" if order == "little" else ">"
    number = MACHINES[machine] if isinstance(machine, str) else machine
    header, entry, section = (64, 56, 64) if wide else (52, 32, 40)
    loads = [(PT_LOAD, pa, content) for pa, content in segments]
    if notes:
        loads.insert(0, (PT_NOTE, 0, notes))
    extended = len(loads) >= PN_XNUM
    body = header + entry * len(loads)
    sections = body if extended else 0
    offset = body + (section if extended else 0) + skew
    headers, data = [], [b"\0" * skew]
    for kind, pa, given in loads:
        content = b"" if isinstance(given, int) else given
        stored = len(content)
        size = given if isinstance(given, int) else stored
        if wide:
            fields = (kind, 0, offset, 0, pa, stored, size, 0)
        else:
            fields = (kind, offset, 0, pa, stored, size, 0, 0)
        headers.append(struct.pack(mark + ("IIQQQQQQ" if wide else "IIIIIIII"), *fields))
        data.append(content)
        offset += stored
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "little" else 2, 1]) + bytes(9)
    word = "Q" if wide else "I"
    elf = ident + struct.pack(
        f"{mark}HHI{word}{word}{word}IHHHHHH",
        ET_CORE,
        number,
        1,
        0,
        header,
        sections,
        0,
        header,
        entry,
        PN_XNUM if extended else len(loads),
        section if extended else 0,
        1 if extended else 0,
        0,
    )
    if extended:
        # sh_info of the null section has the true count (System V gABI, "Program Header").
        info = struct.pack(mark + "I", len(loads))
        before = 44 if wide else 28
        headers.append(bytes(before) + info + bytes(section - before - 4))
    return b"".join([elf, *headers, *data])
