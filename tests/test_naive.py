"""The oracle itself: against an independent single-address translation, and by hand."""

from __future__ import annotations

import random
from itertools import pairwise

import builder
import naive
import pytest
from golden_cases import Segments
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastwalk import arch
from fastwalk.arch.spec import EXEC, READ, USER, USER_EXEC, WRITE, Half

MODES = arch.modes()
COALESCE: tuple[naive.Coalesce, ...] = ("attributes", "physical", "none")


@st.composite
def walks(draw: st.DrawFn) -> tuple[Half, builder.Image]:
    spec = arch.spec_of(draw(st.sampled_from(MODES)))
    return draw(st.sampled_from(spec.halves)), draw(builder.images(spec))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(walks(), st.integers(0, 1 << 32))
def test_walk_agrees_with_translation(walk: tuple[Half, builder.Image], seed: int) -> None:
    half, image = walk
    spec = image.spec
    memory, chance = image.memory, random.Random(seed)
    rows = naive.walk(spec, memory, image.root, half.name, coalesce="none")
    for before, after in pairwise(rows):
        assert before.start + before.size <= after.start
    for row in chance.sample(rows, min(len(rows), 40)):
        size = row.size or 1 << 64
        va = row.start + chance.choice([0, size - 1, chance.randrange(size)])
        pa = row.pa + (va - row.start if row.kind == "leaf" else 0)
        got = naive.translate(spec, memory, image.root, half, va)
        where = row.pa if row.kind == "absent" else pa % (1 << 64)
        assert got[:3] == (row.kind, where, row.depth)
        if row.kind == "leaf":
            assert (got.attributes, got.effective) == (row.attributes, row.effective)
    for window in half.windows:
        for _ in range(20):
            va = window.base + chance.randrange(window.size)
            kind = naive.translate(spec, memory, image.root, half, va).kind
            inside = any(row.start <= va < row.start + (row.size or 1 << 64) for row in rows)
            assert inside == (kind != "none")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(walks(), st.data())
def test_coalescing_loses_nothing(walk: tuple[Half, builder.Image], data: st.DataObject) -> None:
    half, image = walk
    spec = image.spec
    plain = naive.walk(spec, image.memory, image.root, half.name, coalesce="none")
    for coalesce in COALESCE:
        rows = naive.walk(spec, image.memory, image.root, half.name, coalesce=coalesce)
        assert sum(row.size for row in rows) == sum(row.size for row in plain)
        assert not any(naive.joined(x, y, coalesce) for x, y in pairwise(rows))
        if rows:
            # A walk of a part is the part of a walk.
            row = data.draw(st.sampled_from(rows))
            size = row.size or 1 << 64
            start = row.start + data.draw(st.integers(0, size - 1))
            end = row.start + size
            part = naive.walk(spec, image.memory, image.root, half.name, start, end, coalesce)
            moved = row.pa + (start - row.start if row.kind == "leaf" else 0)
            assert part[0].start == start
            assert part[0].pa == moved % (1 << 64) or coalesce == "attributes"
            assert sum(piece.size for piece in part) % (1 << 64) == (end - start) % (1 << 64)


def test_every_kind_and_depth_gets_built() -> None:
    for mode in MODES:
        spec = arch.spec_of(mode)
        if spec.arch == "arm64" and spec.va_bits not in (39, 42, 48, 52):
            continue
        wanted = {
            (depth, rule.kind)
            for depth, data in enumerate(spec.depths)
            for rule in data.rules
            if rule.kind in ("leaf", "other")
        }
        seen: set[tuple[int, str]] = set()
        absent = False
        for seed in range(300):
            image = builder.build(spec, random.Random(seed), [2] * (len(spec.depths) - 1), 6)
            for half in spec.halves:
                rows = naive.walk(spec, image.memory, image.root, half.name)
                seen |= {(row.depth, row.kind) for row in rows}
                absent |= any(row.kind == "absent" for row in rows)
            if wanted <= seen and (absent or len(spec.depths) == 1):
                break
        assert wanted <= seen, mode
        assert absent or len(spec.depths) == 1, mode


def table(**values: int) -> bytes:
    """512 little-endian entries; `_5` is entry 5."""
    words = [0] * 512
    for name, value in values.items():
        words[int(name[1:])] = value
    return b"".join(word.to_bytes(8, "little") for word in words)


def test_x86_permissions_are_those_of_the_whole_path() -> None:
    memory = Segments(
        [
            (0x1000, table(_0=0x2000 | 0x67, _511=0x2000 | 0x63)),
            (0x2000, table(_0=0x3000 | 0x67, _1=0x4000_0000 | 0xE7)),
            (0x3000, table(_0=0x4000 | 0x65 | 1 << 63, _511=0x20_0000 | 0xE7)),
            (0x4000, table(_0=0x5000 | 0x67, _2=0x1234_0000 | 0x100)),
        ]
    )
    spec = arch.spec_of("x86_64-4level")
    rows = naive.walk(spec, memory, 0x1000, coalesce="none")
    every = READ | WRITE | EXEC | USER | USER_EXEC
    got = [(row.start, row.size, row.pa, row.effective, row.depth, row.kind) for row in rows]
    high = 0xFFFF_FF80_0000_0000
    assert got == [
        (0, 0x1000, 0x5000, READ | USER, 3, "leaf"),
        (0x2000, 0x1000, 0, 0, 3, "other"),
        (0x3FE0_0000, 0x20_0000, 0x20_0000, every, 2, "leaf"),
        (0x4000_0000, 0x4000_0000, 0x4000_0000, every, 1, "leaf"),
        (high, 0x1000, 0x5000, READ, 3, "leaf"),
        (high + 0x2000, 0x1000, 0, 0, 3, "other"),
        (high + 0x3FE0_0000, 0x20_0000, 0x20_0000, READ | WRITE | EXEC, 2, "leaf"),
        (high + 0x4000_0000, 0x4000_0000, 0x4000_0000, READ | WRITE | EXEC, 1, "leaf"),
    ]


@pytest.mark.parametrize("coalesce", COALESCE)
def test_an_absent_table_is_a_row(coalesce: naive.Coalesce) -> None:
    spec = arch.spec_of("x86_64-4level")
    memory = Segments([(0x1000, table(_1=0xA000 | 0x67, _2=0xA000 | 0x67))])
    rows = naive.walk(spec, memory, 0x1000, start=0x80_1234_5000, coalesce=coalesce)
    attributes = 0x67 & spec.depths[0].attributes
    first = naive.Row(0x80_1234_5000, 0x7F_EDCB_B000, 0xA000, attributes, 0, 1, "absent")
    if coalesce == "attributes":
        assert rows == [first._replace(size=0xFF_EDCB_B000)]
    else:
        assert rows == [first, naive.Row(0x100 << 32, 1 << 39, 0xA000, attributes, 0, 1, "absent")]
    rows = naive.walk(spec, Segments([]), 0x1000)
    assert [(row.start, row.size, row.pa, row.depth) for row in rows] == [
        (0, 1 << 47, 0x1000, 0),
        (0xFFFF_8000_0000_0000, 1 << 47, 0x1000, 0),
    ]
