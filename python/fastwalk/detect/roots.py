"""Roots found by what they hold, without symbols.

Where kernel and processes share one root (x86, riscv, powerpc radix, arm short
descriptors), every process's top table has the kernel's entry for the kernel image. So
one search for that entry's bytes finds them all; and where the kernel's own root has
no symbol, it is the table that shows the kernel image where it is and no user memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..arch import spec_of
from ..arch.spec import USER, Spec
from .kernel import Kernel
from .memory import Memory
from .translate import offset_in_root, path, place, rule_of


@dataclass(frozen=True, slots=True)
class Candidate:
    """A table that reads as a root in some mode."""

    pa: int
    tables: int
    """Tables below it, as often as they are referred to."""
    leaves: int
    inside: int
    """Leaves whose memory is in the image."""
    nested: bool
    """It is a lower table of another one."""

    @property
    def evidence(self) -> str:
        share = 100 * self.inside // max(self.leaves, 1)
        return (
            f"reads as a root: {self.tables} tables, {self.leaves} leaves, "
            f"{share}% of them in the image"
        )


def scan(memory: Memory, mode: str, table_bits: tuple[int, int]) -> list[Candidate]:
    """Looks at every place in the image where a root of `mode` may begin; the likeliest
    first. `table_bits`: (mask, value) that table entries have in Linux."""
    from .. import _fastwalk

    if not isinstance(memory.image, _fastwalk.Image):
        return []
    spec = spec_of(mode)
    plan = _fastwalk.Plan(spec)
    found = [
        Candidate(*one) for one in _fastwalk.roots(memory.image, plan, spec.root_align, table_bits)
    ]
    return sorted(found, key=lambda c: (c.nested, -c.inside, -c.leaves, c.pa))


def user_share(memory: Memory, spec: Spec, root: int) -> float:
    """What share of the root's entries leads to user memory first: 0 for a kernel's root,
    about 1 for a process's where the kernel has a root of its own."""
    seen: dict[tuple[int, int], int | None] = {}
    denied = [
        found
        for entry in _used(memory, spec, root, 0)
        if (found := _denied(memory, spec, entry, 0, seen)) is not None
    ]
    return sum(1 for bits in denied if not bits & USER) / len(denied) if denied else 0.0


def _used(memory: Memory, spec: Spec, table: int, number: int) -> Iterator[int]:
    """The entries of a table that are not 0."""
    depth = spec.depths[number]
    size = depth.entry_bytes
    data = memory.read(table, size << depth.index_bits)
    if data is None or not any(data):
        return
    zero = bytes(size)
    for i in range(0, len(data), size):
        if data[i : i + size] != zero:
            yield int.from_bytes(data[i : i + size], depth.byte_order)


def _denied(
    memory: Memory,
    spec: Spec,
    entry: int,
    number: int,
    seen: dict[tuple[int, int], int | None],
) -> int | None:
    """What is denied to the first leaf below an entry; None where there is none."""
    depth = spec.depths[number]
    rule = rule_of(depth.rules, entry)
    if rule.kind not in ("table", "leaf"):
        return None
    bits = 0
    for bit in depth.leaf_path if rule.kind == "leaf" else depth.table_path:
        if entry & bit.mask == bit.value:
            bits |= bit.bits
    if rule.kind == "leaf":
        return bits
    below = (place(rule.pa, entry, rule.offset), number + 1)
    if below not in seen:
        seen[below] = None
        for lower in _used(memory, spec, *below):
            found = _denied(memory, spec, lower, number + 1, seen)
            if found is not None:
                seen[below] = found
                break
    found = seen[below]
    return None if found is None else bits | found


def slot(spec: Spec, va: int) -> int | None:
    """Byte offset in a root of the entry for `va`."""
    offset = offset_in_root(spec, va)
    if offset is None:
        return None
    below = spec.page_bits + sum(depth.index_bits for depth in spec.depths[1:])
    return (offset >> below) * spec.depths[0].entry_bytes


def sharing(memory: Memory, spec: Spec, root: int, va: int) -> list[int]:
    """PAs of the other tables that have the root's entry for `va` in its place; none
    where that entry is empty."""
    at = slot(spec, va)
    steps = path(memory, spec, root, va).steps
    if at is None or not steps or steps[0].kind != "table":
        return []
    top = spec.depths[0]
    entry = steps[0].entry.to_bytes(top.entry_bytes, top.byte_order)
    out = []
    for pa in memory.find(entry):
        table = pa - at
        if table >= 0 and table % spec.root_align == 0 and table != root:
            out.append(table)
    return out


def users_entries(memory: Memory, spec: Spec, root: int, va: int) -> int:
    """How many entries below that of `va` are in use."""
    top, at = spec.depths[0], slot(spec, va)
    data = None if not at else memory.read(root, at)
    if data is None:
        return 0
    size = top.entry_bytes
    entries = (
        int.from_bytes(data[i : i + size], top.byte_order) for i in range(0, len(data), size)
    )
    return sum(1 for entry in entries if rule_of(top.rules, entry).kind != "none")


def kernel_root(kernel: Kernel, mode: str, index_va_bits: int | None) -> int | None:
    """The table in the kernel image that shows the kernel image where it is, with the
    fewest entries for user memory."""
    if kernel.offset is None:
        return None
    spec = spec_of(mode, index_va_bits)
    va = kernel.va(kernel.uts.pa)
    found = [
        root
        for root in _tables(kernel, spec, va)
        if path(kernel.memory, spec, root, va).pa == kernel.uts.pa
    ]
    return min(found, key=lambda root: users_entries(kernel.memory, spec, root, va), default=None)


def _tables(kernel: Kernel, spec: Spec, va: int) -> Iterator[int]:
    """Places in the kernel image where the entry for `va` leads to another table, or
    maps memory (sections)."""
    at = slot(spec, va)
    if at is None:
        return
    top = spec.depths[0]
    size, align = top.entry_bytes, max(spec.root_align, 32)
    low, high = kernel.window()
    for base, data in kernel.memory.chunks(low, high):
        first = -(base + 0) % align + at
        for i in range(first, len(data) - size + 1, align):
            entry = int.from_bytes(data[i : i + size], top.byte_order)
            if entry and rule_of(top.rules, entry).kind in ("table", "leaf"):
                yield base + i - at
