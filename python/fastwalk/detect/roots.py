"""Roots found by what they hold, without symbols.

Where kernel and processes share one root (x86, riscv, powerpc radix, arm short
descriptors), every process's top table has the kernel's entry for the kernel image. So
one search for that entry's bytes finds them all; and where the kernel's own root has
no symbol, it is the table that shows the kernel image where it is and no user memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..arch import spec_of
from ..arch.spec import Spec
from .kernel import Kernel
from .memory import Memory
from .translate import offset_in_root, path, rule_of


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
