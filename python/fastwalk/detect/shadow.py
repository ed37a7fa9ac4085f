"""KASAN's early shadow tables, told by their form where symbols are missing.

mm/kasan/init.c fills each ``kasan_early_shadow_*`` table with one entry: the table
below, down to one zero page. So a table of equal entries that leads to a table of
equal entries that maps one page again and again is such a chain.
"""

from __future__ import annotations

from ..arch.spec import Spec
from .memory import Memory
from .translate import offset_in_root, place, rule_of

_LEVELS = ("pte", "pmd", "pud", "p4d")
_MOST_TABLES = 1024


def by_form(memory: Memory, spec: Spec, root: int, start: int, end: int) -> dict[str, int]:
    """PAs of the tables by level name, and of the page; empty if there is no chain
    under the root's entries for ``start .. end``. Looks at each table once."""
    offset = offset_in_root(spec, start)
    if offset is None:
        return {}
    span_bits = spec.page_bits + sum(depth.index_bits for depth in spec.depths[1:])
    first = offset >> span_bits
    last = (offset + end - start - 1) >> span_bits
    pending = [(0, root)]
    seen: set[tuple[int, int]] = set()
    while pending and len(seen) < _MOST_TABLES:
        number, pa = pending.pop(0)
        if (number, pa) in seen:
            continue
        seen.add((number, pa))
        chain = _chain(memory, spec, number, pa)
        if chain:
            return chain  # the longest: higher tables come first
        entries = _entries(memory, spec, number, pa)
        for entry in dict.fromkeys(entries if number else entries[first : last + 1]):
            rule = rule_of(spec.depths[number].rules, entry)
            if rule.kind == "table" and number + 1 < len(spec.depths):
                pending.append((number + 1, place(rule.pa, entry, rule.offset)))
    return {}


def _entries(memory: Memory, spec: Spec, number: int, pa: int) -> list[int]:
    depth = spec.depths[number]
    size = depth.entry_bytes
    data = memory.read(pa, size << depth.index_bits)
    if data is None:
        return []
    return [int.from_bytes(data[i : i + size], depth.byte_order) for i in range(0, len(data), size)]


def _chain(memory: Memory, spec: Spec, number: int, pa: int) -> dict[str, int]:
    """Level names to PAs if every table from here down leads to one place only, be it
    with different software or accessed bits."""
    found: dict[str, int] = {}
    for depth_number in range(max(number, 1), len(spec.depths)):
        depth = spec.depths[depth_number]
        places = set()
        for entry in set(_entries(memory, spec, depth_number, pa)):
            rule = rule_of(depth.rules, entry)
            places.add((rule.kind, place(rule.pa, entry, rule.offset)))
        below = len(spec.depths) - 1 - depth_number
        if number == 0 or len(places) != 1 or below >= len(_LEVELS):
            return {}  # a root is never one
        found[_LEVELS[below]] = pa
        kind, pa = places.pop()
        if below == 0 and kind == "leaf":
            found["page"] = pa
            return found
        if kind != "table":
            return {}
    return {}
