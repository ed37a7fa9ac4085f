"""kallsyms: the kernel's symbol table, as it lies in the kernel's read-only data.

Found by its token table and decoded as kernel/kallsyms.c does. What
scripts/kallsyms.c writes, each part aligned to a word:

====  ==============================================================================
6.12  num_syms, names, markers, token_table, token_index, offsets, relative_base, seqs
6.1   offsets, relative_base, num_syms, names, markers, seqs, token_table, token_index
====  ==============================================================================

``names`` holds a length (one byte, or two with the first one's top bit set) and so
many token numbers for each symbol; ``markers`` where every 256th begins; ``offsets``
32-bit distances from ``relative_base``, or with absolute per-CPU symbols (x86_64 SMP)
absolute values where not negative and ``relative_base - 1 - offset`` where negative.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .kernel import Kernel

# The characters that occur in names are their own tokens, in ASCII order.
_DIGITS = b"".join(bytes((c, 0)) for c in b"0123456789")
_TOKENS = 256
_LARGEST_NAMES = 16 << 20
_MOST = 1 << 20


@dataclass(slots=True)
class Symbols:
    """Names in address order."""

    names: list[str]
    addresses: list[int]
    types: str
    """The letter of `nm` for each."""
    source: str
    _by_name: dict[str, int] = field(default_factory=dict)
    _sorted: list[tuple[int, str]] = field(default_factory=list)

    def address(self, name: str) -> int | None:
        if not self._by_name:
            # The first of several with one name, as the kernel's lookup gives.
            self._by_name = dict(zip(reversed(self.names), reversed(self.addresses), strict=True))
        return self._by_name.get(name)

    def label(self, va: int) -> str | None:
        """``name+0x10`` for an address of the kernel image, None for others."""
        first, last = self.address("_stext"), self.address("_end")
        if first is None or last is None or not first <= va < last:
            return None
        found = self.nearest(va)
        return None if found is None else f"{found[0]}+{found[1]:#x}"

    def nearest(self, va: int) -> tuple[str, int] | None:
        """(name, distance) of the last symbol at or before `va`."""
        if not self._sorted:
            self._sorted = sorted(zip(self.addresses, self.names, strict=True))
        i = bisect_right(self._sorted, (va, "\U0010ffff")) - 1
        return (self._sorted[i][1], va - self._sorted[i][0]) if i >= 0 else None


@dataclass(frozen=True, slots=True)
class _Place:
    """PAs of the parts."""

    names: int
    count: int
    table: int
    index: int
    offsets: int
    relative_base: int


def find(kernel: Kernel) -> Symbols | None:
    for table in _token_tables(kernel):
        index = _token_index(kernel, table)
        if index is None:
            continue
        for place_of in (_place_told, _place_6_12, _place_6_1):
            place = place_of(kernel, table, index)
            if place is not None:
                symbols = _decode(kernel, place)
                if symbols is not None:
                    kernel.report.found(
                        "kallsyms", f"{place.count} symbols", f"token table at PA {table:#x}"
                    )
                    return symbols
    return None


def _token_tables(kernel: Kernel) -> list[int]:
    """PAs of what looks like token tables: where VMCOREINFO says, else wherever the
    tokens of the ten digits stand one after the other."""
    info = kernel.vmcoreinfo
    if info is not None and kernel.offset is not None:
        va = info.symbol("kallsyms_token_table")
        if va is not None:
            return [kernel.pa(va)]
    out: list[int] = []
    low, high = kernel.window()
    for digits in kernel.memory.find(_DIGITS, low, high):
        # Tokens 0 .. 0x2f stand before it.
        before = kernel.memory.read(digits - 1024, 1024) if digits >= 1024 else None
        if before is None or before[-1] != 0:
            continue
        ends = [i for i, byte in enumerate(before) if byte == 0]
        if len(ends) > ord("0"):
            # Whatever precedes the table need not end in 0: its first token begins at
            # one of the words up to that token's end.
            first, last = ends[-1 - ord("0")] + 1, ends[-ord("0")]
            base = digits - 1024
            out += range(_align(kernel, base + first), base + last, kernel.word_bytes)
    return out


def _token_index(kernel: Kernel, table: int) -> int | None:
    """PA of the index: 256 offsets into the table, which they describe exactly."""
    data = kernel.memory.read(table, 16384)
    if data is None:
        return None
    starts, at = [], 0
    for _ in range(_TOKENS):
        starts.append(at)
        at = data.find(b"\0", at) + 1
        if at == 0:
            return None
    index = -(-(table + at) // kernel.word_bytes) * kernel.word_bytes
    found = kernel.memory.read(index, 2 * _TOKENS)
    return index if found == struct.pack(f"{_mark(kernel)}256H", *starts) else None


def _mark(kernel: Kernel) -> str:
    return ">" if kernel.byte_order == "big" else "<"


def _align(kernel: Kernel, pa: int) -> int:
    return -(-pa // kernel.word_bytes) * kernel.word_bytes


def _place_told(kernel: Kernel, table: int, index: int) -> _Place | None:
    """As VMCOREINFO has it (kernel/vmcore_info.c, since 6.0)."""
    info = kernel.vmcoreinfo
    if info is None or kernel.offset is None:
        return None
    told = {
        name: info.symbol(f"kallsyms_{name}")
        for name in ("num_syms", "names", "offsets", "relative_base")
    }
    places = {name: kernel.pa(va) for name, va in told.items() if va is not None}
    if len(places) < len(told):
        return None
    count = kernel.memory.number(places["num_syms"], 4, kernel.byte_order)
    if not count or count > _MOST:
        return None
    return _Place(places["names"], count, table, index, places["offsets"], places["relative_base"])


def _place_6_12(kernel: Kernel, table: int, index: int) -> _Place | None:
    """Backwards from the token table: the markers, which fall to 0; the names, which
    end where they begin; the count, which has to fit both."""
    back = min(table, _LARGEST_NAMES)
    data = kernel.memory.read(table - back, back)
    if data is None:
        data = b""
        for start, end in kernel.memory.runs:
            if start < table <= end:
                back = min(table - start, back)
                data = kernel.memory.read(table - back, back) or b""
    words = struct.unpack(f"{_mark(kernel)}{len(data) // 4}I", data[len(data) % 4 :])
    last = len(words) - 1
    if last > 0 and words[last] == 0 and words[last - 1] != 0:
        last -= 1  # padding up to a word
    first = last
    while first > 0 and words[first - 1] < words[first]:
        first -= 1
    markers = words[first : last + 1]
    if not markers or markers[0] != 0 or len(markers) * _TOKENS > _MOST:
        return None
    # The names fill what lies between the count and the markers.
    low = (len(markers) - 1) * _TOKENS
    word = kernel.word_bytes
    end = table - 4 * (len(words) - first)
    for pa in range(end - markers[-1] - word, max(end - markers[-1] - 70000, 0), -1):
        if pa % word:
            continue
        count = kernel.memory.number(pa, 4, kernel.byte_order)
        if count is None or not low < count <= low + _TOKENS:
            continue
        # kallsyms_names follows its 4-byte count at the next word.
        names = _align(kernel, pa + 4)
        if _names_fit(kernel, names, count, markers, end):
            offsets = _align(kernel, index + 2 * _TOKENS)
            base = _align(kernel, offsets + 4 * count)
            return _Place(names, count, table, index, offsets, base)
    return None


def _place_6_1(kernel: Kernel, table: int, index: int) -> _Place | None:
    """The count is wherever markers that fit it stand at the distance before the token
    table that its 3-byte sequence numbers take."""
    word = kernel.word_bytes
    for start, end in kernel.memory.runs:
        if start < table <= end:
            back = min(table - start, _LARGEST_NAMES) // 8 * 8
            data = kernel.memory.read(table - back, back)
            if data is None:
                return None
            break
    else:
        return None
    base = table - back
    step = word // 4
    shift = (-base % word) // 4
    counts = struct.unpack(f"{_mark(kernel)}{len(data) // 4}I", data)[shift::step]
    largest = min(_MOST, back // 3)
    for i, count in enumerate(counts):
        if not _TOKENS < count < largest:
            continue
        pa = base + 4 * shift + i * word
        total = -(-count // _TOKENS)
        # seqs are aligned at their start, and the token table at its own.
        for pad in range(word):
            seqs = table - 3 * count - pad
            if seqs % word:
                continue
            markers_pa = seqs - 4 * total
            markers_pa -= markers_pa % word
            if markers_pa <= pa:
                break
            at = markers_pa - base
            if at < 0 or data[at : at + 4] != bytes(4):
                continue
            markers = struct.unpack(f"{_mark(kernel)}{total}I", data[at : at + 4 * total])
            names = _align(kernel, pa + 4)
            if list(markers) == sorted(set(markers)) and _names_fit(
                kernel, names, count, markers, markers_pa
            ):
                relative_base = pa - word
                offsets = relative_base - 4 * count
                return _Place(names, count, table, index, offsets - offsets % word, relative_base)
    return None


def _names_fit(kernel: Kernel, names: int, count: int, markers: tuple[int, ...], end: int) -> bool:
    """Whether `count` names fill what lies before `end`, where the markers begin, and
    every marker stands where a 256th symbol does."""
    data = kernel.memory.read(names, end - names) if end > names else None
    if data is None:
        return False
    at = 0
    try:
        for i in range(count):
            if i % _TOKENS == 0 and at != markers[i // _TOKENS]:
                return False
            length = data[at]
            if length & 0x80:
                at += 1
                length = length & 0x7F | data[at] << 7
            if length == 0:
                return False
            at += length + 1
    except IndexError:
        return False
    return _align(kernel, names + at) == end


def _decode(kernel: Kernel, place: _Place) -> Symbols | None:
    memory, mark = kernel.memory, _mark(kernel)
    table = memory.read(place.table, place.index - place.table)
    offsets = memory.read(place.offsets, 4 * place.count)
    base = kernel.word(place.relative_base)
    high = place.table if place.table > place.names else place.names + _LARGEST_NAMES
    data = memory.read(place.names, high - place.names)
    if table is None or offsets is None or base is None or data is None:
        return None
    tokens = [token.decode("latin-1") for token in table.split(b"\0")[:_TOKENS]]
    names, types, at = [], [], 0
    try:
        for _ in range(place.count):
            length = data[at]
            at += 1
            if length & 0x80:
                length = length & 0x7F | data[at] << 7
                at += 1
            name = "".join([tokens[t] for t in data[at : at + length]])
            at += length
            types.append(name[:1])
            names.append(name[1:])
    except IndexError:  # not what it was taken for
        return None
    signed = struct.unpack(f"{mark}{place.count}i", offsets)
    # Offsets below 0 exist with absolute per-CPU symbols only, and then most are.
    per_cpu = sum(1 for value in signed if value < 0) * 2 > place.count
    mask = kernel.mask
    if per_cpu:
        addresses = [(v if v >= 0 else base - 1 - v) & mask for v in signed]
    else:
        addresses = [(base + (v & 0xFFFFFFFF)) & mask for v in signed]
    return Symbols(names, addresses, "".join(types), f"kallsyms at PA {place.names:#x}")
