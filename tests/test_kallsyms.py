"""kallsyms written as scripts/kallsyms.c lays it out, then found and read again."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest

from fastwalk.arch.spec import ByteOrder
from fastwalk.detect import kallsyms
from fastwalk.detect.evidence import Report
from fastwalk.detect.identity import UtsName
from fastwalk.detect.kernel import Kernel
from fastwalk.detect.memory import Memory

BASE = 0x8000_0000
LOAD = 0x100_0000


@dataclass
class Flat:
    """An image of one segment."""

    data: bytes
    format: str = "raw"
    machine: tuple[int, int, bool] | None = None
    notes: tuple[tuple[str, int, bytes], ...] = ()
    vmcoreinfo: str | None = None
    registers: tuple[tuple[int, str, int], ...] = ()

    def segments(self) -> list[tuple[int, int, int | None]]:
        return [(LOAD, len(self.data), 0)]

    def try_read(self, pa: int, size: int) -> bytes | None:
        if pa < LOAD or pa + size > LOAD + len(self.data):
            return None
        return self.data[pa - LOAD : pa - LOAD + size]


class Writer:
    def __init__(
        self, word: int, order: ByteOrder, symbols: list[tuple[str, str, int]], base: int = BASE
    ) -> None:
        self.word, self.mark = word, "<" if order == "little" else ">"
        self.base = base
        self.symbols = symbols
        self.out = bytearray(b"\xcc" * 4099)
        # Every printable character is its own token; the rest are pairs, as compression
        # makes them.
        pairs = iter(f"{a}{b}" for a in "aeiou_" for b in "abcdefghijklmnopqrstuvwxyz_012345")
        self.tokens = [chr(c) if 0x21 <= c < 0x7F else next(pairs) for c in range(256)]

    def align(self) -> None:
        self.out += bytes(-len(self.out) % self.word)

    def put(self, form: str, *values: int) -> None:
        self.out += struct.pack(self.mark + form, *values)

    def names(self) -> list[int]:
        self.align()
        start, starts = len(self.out), []
        by_text = {token: i for i, token in enumerate(self.tokens)}
        for i, (kind, name, _) in enumerate(self.symbols):
            if i % 256 == 0:
                starts.append(len(self.out) - start)
            text, codes = kind + name, []
            while text:
                size = 2 if text[:2] in by_text else 1
                codes.append(by_text[text[:size]])
                text = text[size:]
            if len(codes) > 0x7F:
                self.out += bytes((len(codes) & 0x7F | 0x80, len(codes) >> 7))
            else:
                self.out.append(len(codes))
            self.out += bytes(codes)
        return starts

    def markers(self, starts: list[int]) -> None:
        self.align()
        self.put(f"{len(starts)}I", *starts)

    def token_table(self) -> None:
        self.align()
        index = []
        start = len(self.out)
        for token in self.tokens:
            index.append(len(self.out) - start)
            self.out += token.encode() + b"\0"
        self.align()
        self.put("256H", *index)

    def offsets(self, per_cpu: bool) -> None:
        self.align()
        for _, _, address in self.symbols:
            if per_cpu:
                self.put("i", address if address < self.base else self.base - 1 - address)
            else:
                self.put("I", address - self.base)

    def relative_base(self) -> None:
        self.align()
        self.put("Q" if self.word == 8 else "I", self.base)

    def count(self) -> None:
        self.align()
        self.put("I", len(self.symbols))

    def seqs(self) -> None:
        self.align()
        self.out += b"\xa5" * (3 * len(self.symbols))

    def write(self, version: str, per_cpu: bool) -> bytes:
        if version == "6.12":
            self.count()
            self.markers(self.names())
            self.token_table()
            self.offsets(per_cpu)
            self.relative_base()
            self.seqs()
        else:
            self.offsets(per_cpu)
            self.relative_base()
            self.count()
            self.markers(self.names())
            self.seqs()
            self.token_table()
        return bytes(self.out + bytes(65536))


def symbols(per_cpu: bool) -> list[tuple[str, str, int]]:
    out = [("T", "_text", BASE), ("D", "x" * 300, BASE + 16)]
    if per_cpu:
        out.insert(0, ("A", "fixed_percpu_data", 0))
    out += [("t", f"some_function_{i}", BASE + 0x100 + 16 * i) for i in range(1000)]
    return [*out, ("B", "swapper_pg_dir", BASE + 0x7F00_0000)]


@pytest.mark.parametrize("version", ["6.12", "6.1"])
@pytest.mark.parametrize(
    ("word", "order", "per_cpu"),
    [(8, "little", False), (8, "little", True), (8, "big", False), (4, "little", False)],
)
def test_found_by_its_tokens(version: str, word: int, order: ByteOrder, per_cpu: bool) -> None:
    wanted = symbols(per_cpu)
    data = Writer(word, order, wanted).write(version, per_cpu)
    uts = UtsName(LOAD + len(data), "6.0", "#1", "any")
    kernel = Kernel(Memory(Flat(data)), Report(), uts, None, word, order)
    found = kallsyms.find(kernel)
    assert found is not None
    assert found.names == [name for _, name, _ in wanted]
    assert found.addresses == [address for _, _, address in wanted]
    assert found.types == "".join(kind for kind, _, _ in wanted)
    assert found.address("swapper_pg_dir") == BASE + 0x7F00_0000
    assert found.nearest(BASE + 0x107) == ("some_function_0", 7)
    assert found.nearest(-1) is None


def test_random_data_has_no_symbols() -> None:
    digits = b"".join(bytes((c, 0)) for c in b"0123456789")
    data = bytes(range(256)) * 64 + digits + bytes(8192)
    kernel = Kernel(
        Memory(Flat(data)), Report(), UtsName(LOAD, "6", "#1", "any"), None, 8, "little"
    )
    assert kallsyms.find(kernel) is None
