"""One address through one tree, in Python: enough to tell whether a root is a root.

The walk proper is Rust's; detection asks for some dozens of addresses before it knows
which mode to open a space with.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..arch.spec import Field, Rule, Spec
from .memory import Memory


@dataclass(frozen=True, slots=True)
class Step:
    """One entry on the way."""

    depth: int
    table: int
    index: int
    entry: int
    kind: str


@dataclass(frozen=True, slots=True)
class Path:
    steps: tuple[Step, ...]
    pa: int | None
    """None: no leaf at the end of the way."""


def place(fields: tuple[Field, ...], entry: int, offset: int = 0) -> int:
    """The physical address that an entry's fields spell."""
    total = offset
    for f in fields:
        bits = entry & f.mask
        total += bits << f.shift if f.shift >= 0 else bits >> -f.shift
    return total & ((1 << 64) - 1)


def rule_of(rules: tuple[Rule, ...], entry: int) -> Rule:
    return next(rule for rule in rules if entry & rule.mask == rule.value)


def offset_in_root(spec: Spec, va: int) -> int | None:
    """Where a virtual address lies in what the root spans, whichever half shows it."""
    for half in spec.halves:
        for window in half.windows:
            if window.base <= va < window.base + window.size:
                return window.offset + va - window.base
    return None


def path(memory: Memory, spec: Spec, root: int, va: int) -> Path:
    offset = offset_in_root(spec, va)
    if offset is None:
        return Path((), None)
    table = root
    steps: list[Step] = []
    shift = spec.page_bits + sum(depth.index_bits for depth in spec.depths)
    for number, depth in enumerate(spec.depths):
        shift -= depth.index_bits
        index = (offset >> shift) & ((1 << depth.index_bits) - 1)
        size = depth.entry_bytes
        entry = memory.number(table + index * size, size, depth.byte_order)
        if entry is None:
            return Path(tuple(steps), None)
        rule = rule_of(depth.rules, entry)
        steps.append(Step(number, table, index, entry, rule.kind))
        if rule.kind == "table":
            table = place(rule.pa, entry, rule.offset)
            continue
        if rule.kind != "leaf":
            return Path(tuple(steps), None)
        base = place(rule.pa, entry, rule.offset)
        span = (1 << shift) * rule.replicated
        return Path(tuple(steps), base + (offset & (span - 1)))
    return Path(tuple(steps), None)


def translate(memory: Memory, spec: Spec, root: int, va: int) -> int | None:
    return path(memory, spec, root, va).pa
