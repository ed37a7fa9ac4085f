"""The Rust walk against the naive one, over random tables of every mode."""

from __future__ import annotations

from collections.abc import Iterator

import builder
import elfwriter
import naive
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastwalk import _fastwalk, arch
from fastwalk.arch.spec import Half
from fastwalk.layout import Layout

WORD = 1 << 64
KINDS: tuple[naive.Kind, ...] = ("leaf", "other", "absent")
COALESCE: tuple[naive.Coalesce, ...] = ("attributes", "physical", "none")
BUDGET = 1 << 24

slow = settings(
    max_examples=max(200, settings().max_examples),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def spans_of(half: Half, ranges: list[tuple[int, int]]) -> Iterator[tuple[int, int, int, int]]:
    """Inclusive ranges of VAs as spans of the root: (root, first, last, base)."""
    for first, last in ranges:
        for window in half.windows:
            low = max(first, window.base)
            high = min(last, window.base + window.size - 1)
            if low <= high:
                base = window.base - window.offset
                yield 0, low - base, high - base, base % WORD


def opened(image: builder.Image, skew: int) -> _fastwalk.Image:
    core = elfwriter.core(image.segments, image.spec.arch, skew=skew)
    return _fastwalk.open_bytes(core)


@st.composite
def walks(draw: st.DrawFn) -> tuple[Half, builder.Image]:
    spec = arch.spec_of(draw(st.sampled_from(arch.modes())))
    return draw(st.sampled_from(spec.halves)), draw(builder.images(spec))


@slow
@given(walks(), st.data())
def test_walks_agree(walk: tuple[Half, builder.Image], data: st.DataObject) -> None:
    half, image = walk
    spec = image.spec
    core = opened(image, data.draw(st.sampled_from([0, 4, 5])))
    plan = _fastwalk.Plan(spec)
    start, end = 0, WORD
    if data.draw(st.booleans()):
        edges = [row.start for row in naive.walk(spec, image.memory, image.root, half.name)]
        window = data.draw(st.sampled_from(half.windows))
        edges += [window.base, window.base + window.size - 1]
        spot = st.sampled_from(edges).flatmap(
            lambda edge: st.integers(max(0, edge - (1 << 22)), min(WORD - 1, edge + (1 << 22)))
        )
        start, end = sorted((data.draw(spot), data.draw(spot) + 1))
    spans = list(spans_of(half, [(start, end - 1)]))
    for coalesce in COALESCE:
        want = naive.walk(spec, image.memory, image.root, half.name, start, end, coalesce)
        for isa in _fastwalk.isas():
            threads = data.draw(st.sampled_from([1, 2]))
            columns = _fastwalk.walk(
                core,
                plan,
                [image.root],
                spans,
                coalesce=coalesce,
                budget=BUDGET,
                isa=isa,
                threads=threads,
            )
            got = [
                naive.Row(start, size, pa, attributes, effective, depth, KINDS[kind])
                for start, size, pa, attributes, effective, depth, kind in zip(
                    memoryview(columns.start),
                    memoryview(columns.size),
                    memoryview(columns.pa),
                    memoryview(columns.attributes),
                    memoryview(columns.effective),
                    memoryview(columns.depth),
                    memoryview(columns.kind),
                    strict=True,
                )
            ]
            assert got == want
        totals = _fastwalk.count(core, plan, [image.root], spans, coalesce=coalesce)
        assert totals.rows == len(want)


@slow
@given(st.sampled_from(arch.modes()).flatmap(builder.machines))
def test_dumps_agree(machine: tuple[Layout, builder.Image]) -> None:
    layout, image = machine
    dialect = arch.dialect_of(layout).dialect
    view = layout.view()
    want = naive.ptdump(dialect, image.memory, image.root, view.ranges, view.markers)
    core = opened(image, 0)
    dumper = _fastwalk.Dumper(dialect)
    spans = list(spans_of(dialect.half, list(view.ranges)))
    markers = [marker.address for marker in view.markers]
    for isa in _fastwalk.isas():
        dump = _fastwalk.dump(core, dumper, image.root, spans, markers, budget=BUDGET, isa=isa)
        got = [
            naive.DumpRow(start, end, level, key, path, value, bool(absent))
            for start, end, level, key, path, value, absent in zip(
                memoryview(dump.start),
                memoryview(dump.end),
                memoryview(dump.level),
                memoryview(dump.key),
                memoryview(dump.path),
                memoryview(dump.value),
                memoryview(dump.absent),
                strict=True,
            )
        ]
        assert got == want.rows
        assert dump.headings == want.headings
    lines = _fastwalk.count_lines(core, dumper, image.root, spans, markers)
    assert lines == len(want.rows)
