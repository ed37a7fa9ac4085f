"""The descriptions of all paging modes and dialects are well-formed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import golden_cases
import pytest
from golden_cases import Case

from fastwalk import arch
from fastwalk.arch.dialect import Choice, Dialect, Flag, Number
from fastwalk.arch.spec import Field, Length, Spec
from fastwalk.errors import SpecError

MODES = arch.modes()
WORD = 1 << 64


def images(fields: tuple[Field, ...]) -> list[int]:
    """Where each field's bits stand in an address."""
    return [f.mask << f.shift if f.shift >= 0 else f.mask >> -f.shift for f in fields]


def spans(page_bits: int, index_bits: list[int]) -> list[int]:
    result = []
    for bits in reversed(index_bits):
        result.append(page_bits)
        page_bits += bits
    return result[::-1]


@pytest.fixture(params=MODES)
def spec(request: pytest.FixtureRequest) -> Spec:
    return arch.spec_of(request.param)


def test_index_bits_add_up_to_the_virtual_address(spec: Spec) -> None:
    bits = spec.page_bits + sum(depth.index_bits for depth in spec.depths)
    assert bits >= spec.va_bits
    for half in spec.halves:
        for window in half.windows:
            assert 0 < window.size <= WORD
            assert window.offset + window.size <= 1 << bits
            assert window.base + window.size <= WORD
        for one, other in pairwise(sorted(half.windows, key=lambda window: window.base)):
            assert one.base + one.size <= other.base


def test_rules_end_with_one_that_matches_everything(spec: Spec) -> None:
    for depth in spec.depths:
        *rules, last = depth.rules
        assert last.mask == 0
        assert all(rule.mask for rule in rules)


def test_masks_fit_the_entry_and_values_their_masks(spec: Spec) -> None:
    for depth in spec.depths:
        word = 1 << 8 * depth.entry_bytes
        assert depth.attributes < word
        paths = (*depth.table_path, *depth.leaf_path)
        tests = [(rule.mask, rule.value) for rule in depth.rules]
        for mask, value in (*tests, *((path.mask, path.value) for path in paths)):
            assert mask < word
            assert value & ~mask == 0
        for path in paths:
            assert path.bits & ~spec.permissions == 0


def test_every_rule_can_be_the_first_that_matches(spec: Spec) -> None:
    """No rule hides behind an earlier one that matches whatever it does."""
    for depth in spec.depths:
        for index, rule in enumerate(depth.rules):
            for earlier in depth.rules[:index]:
                hidden = earlier.mask & ~rule.mask == 0 and rule.value & earlier.mask == (
                    earlier.value
                )
                assert not hidden, (depth.name, index)


def test_addresses_are_made_of_fields_that_do_not_overlap(spec: Spec) -> None:
    last = spec.depths[-1]
    shifts = spans(spec.page_bits, [depth.index_bits for depth in spec.depths])
    for depth, shift in zip(spec.depths, shifts, strict=True):
        for rule in depth.rules:
            parts = images(rule.pa)
            assert sum(parts) == (union := _union(parts))
            assert union < 1 << spec.pa_bits
            assert bool(rule.pa) == (rule.kind in ("table", "leaf"))
            if rule.kind == "leaf":
                # A leaf is aligned to what it maps, or to its group.
                assert union & ((rule.replicated << shift) - 1) == 0
            assert rule.replicated & (rule.replicated - 1) == 0
            assert not (rule.kind == "table" and depth is last)
        if depth is not last:
            assert any(rule.kind == "table" for rule in depth.rules)
    assert any(rule.kind == "leaf" for rule in last.rules)


def _union(parts: list[int]) -> int:
    union = 0
    for part in parts:
        union |= part
    return union


def test_attributes_are_not_address_bits(spec: Spec) -> None:
    """A bit that is an address bit of every leaf of a depth cannot be an attribute."""
    for depth in spec.depths:
        leaves = [rule for rule in depth.rules if rule.kind == "leaf"]
        if leaves:
            always = WORD - 1
            for rule in leaves:
                always &= _union([field.mask for field in rule.pa])
            assert depth.attributes & always == 0


def test_lengths_are_indices(spec: Spec) -> None:
    for depth, below in pairwise(spec.depths):
        if depth.length is not None:
            greatest = _greatest(depth.length)
            assert greatest < 1 << below.index_bits
    assert spec.depths[-1].length is None


def _greatest(length: Length) -> int:
    first, last = images((length.first, length.last))
    return max(first, last + length.last_add)


@pytest.mark.parametrize("mode", MODES)
def test_attribute_names_are_distinct_and_can_be(mode: str) -> None:
    spec = arch.spec_of(mode)
    bits = _union([depth.attributes for depth in spec.depths])
    names = [name for name, _mask, _value in arch.attributes(mode)]
    assert len(names) == len(set(names))
    for name, mask, value in arch.attributes(mode):
        assert mask & ~bits == 0, name
        assert value & ~mask == 0, name


@pytest.mark.parametrize("mode", MODES)
def test_an_index_width_that_no_root_has_is_refused(mode: str) -> None:
    with pytest.raises(SpecError, match=mode):
        arch.spec_of(mode, 65)


def dialects() -> Iterator[Dialect]:
    """Every dialect of every recorded view, whatever the version it was recorded with."""
    for name in golden_cases.names():
        case = Case(name)
        layout, memory = case.layout, case.memory
        for view, shown in layout.views.items():
            mode = layout.mode_of(layout.root(shown.root))
            for version in arch.versions(mode):
                yield arch.dialect_of(layout, view, version, memory.read).dialect


def test_dialects_are_well_formed() -> None:
    seen = set()
    for dialect in dialects():
        if dialect in seen:
            continue
        seen.add(dialect)
        for depth in dialect.depths:
            word = 1 << 8 * depth.entry_bytes
            *rules, last = depth.rules
            assert last.mask == 0
            tests = [(one.mask, one.value) for one in (*rules, last)]
            for mask, value in (*tests, *((bit.mask, bit.value) for bit in depth.path)):
                assert mask < word
                assert value & ~mask == 0
            for rule in depth.rules:
                assert rule.action in ("silent", "descend") or rule.level < len(dialect.levels)
                assert bool(rule.pa) == (rule.action == "descend")
        assert not any(rule.action == "descend" for rule in dialect.depths[-1].rules)
        for level in dialect.levels:
            for field in level.fields:
                if isinstance(field, Flag):
                    assert field.value & ~field.mask == 0
                elif isinstance(field, Choice):
                    assert all(value & ~field.mask == 0 for value, _ in field.texts)
                else:
                    assert isinstance(field, Number)
    assert len(seen) >= len(golden_cases.names()) // 2
