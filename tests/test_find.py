"""The compiled search for byte strings against ``bytes.find``."""

from __future__ import annotations

import elfwriter
from hypothesis import given
from hypothesis import strategies as st

from fastwalk import _fastwalk

BASE = 0x1000


def slow(data: bytes, patterns: list[bytes], base: int) -> list[tuple[int, int]]:
    return sorted(
        (base + at, index)
        for index, pattern in enumerate(patterns)
        if pattern
        for at in range(len(data) - len(pattern) + 1)
        if data[at : at + len(pattern)] == pattern
    )


@given(
    data=st.binary(min_size=1, max_size=300).map(lambda b: bytes(c % 3 for c in b)),
    patterns=st.lists(st.binary(max_size=4).map(lambda b: bytes(c % 3 for c in b)), max_size=3),
    cut=st.integers(0, 300),
)
def test_as_bytes_find(data: bytes, patterns: list[bytes], cut: int) -> None:
    """In one segment, and in two that adjoin."""
    pieces = [(BASE, data[:cut]), (BASE + len(data[:cut]), data[cut:])]
    image = _fastwalk.open_bytes(elfwriter.core([piece for piece in pieces if piece[1]]))
    assert _fastwalk.find(image, patterns) == slow(data, patterns, BASE)


def test_across_blocks_and_within_bounds() -> None:
    data = bytearray(3 << 20)
    places = [0, (1 << 20) - 3, (2 << 20) - 1, (3 << 20) - 5]
    for at in places:
        data[at : at + 5] = b"hello"
    image = _fastwalk.open_bytes(bytes(data), format="raw")
    assert [pa for pa, _ in _fastwalk.find(image, [b"hello"])] == places
    found = _fastwalk.find(image, [b"hello"], places[1], places[2])
    assert [pa for pa, _ in found] == places[1:3]
    assert _fastwalk.find(image, [b"hello"], places[1] + 1, places[2] - 1) == []


def test_absent_memory_ends_a_match() -> None:
    core = elfwriter.core([(0x1000, b"ab"), (0x3000, b"c")])
    image = _fastwalk.open_bytes(core)
    assert _fastwalk.find(image, [b"abc"]) == []
    assert _fastwalk.find(image, [b"ab", b"c"]) == [(0x1000, 0), (0x3000, 1)]


def test_a_pattern_that_is_everywhere_is_cut_off() -> None:
    image = _fastwalk.open_bytes(bytes(2 << 20), format="raw")
    assert len(_fastwalk.find(image, [b"\0"])) == 1 << 20
