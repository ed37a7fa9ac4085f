"""Where a raw image's memory begins, which nothing in its form says.

The machine's tables do: they hold physical addresses. The right one is that from which on
the kernel's root shows the kernel image where its symbols say it is. Where there is no
kernel, it is the one from which on the tables lead to one another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..arch import spec_of
from ..arch.spec import Spec
from . import vmcoreinfo
from .family import Family
from .kernel import Kernel
from .markers import MarkerArray
from .memory import Memory, PhysicalMemory
from .translate import path, place, rule_of, translate

_STEPS = (1 << 30, 1 << 28, 1 << 24, 1 << 21)
"""What the beginning of memory is a multiple of; the likeliest first."""
_MOST = 1 << 13
"""Candidates of one step."""


@dataclass(frozen=True, slots=True)
class Moved:
    """An image as if it began elsewhere; for single entries."""

    image: PhysicalMemory
    by: int

    @property
    def format(self) -> str:
        return self.image.format

    @property
    def notes(self) -> Sequence[tuple[str, int, bytes]]:
        return self.image.notes

    @property
    def machine(self) -> tuple[int, int, bool] | None:
        return self.image.machine

    @property
    def vmcoreinfo(self) -> str | None:
        return self.image.vmcoreinfo

    @property
    def registers(self) -> Sequence[tuple[int, str, int]]:
        return self.image.registers

    def segments(self) -> Sequence[tuple[int, int, int | None]]:
        return [(pa + self.by, size, at) for pa, size, at in self.image.segments()]

    def try_read(self, pa: int, size: int, /) -> bytes | None:
        return self.image.try_read(pa - self.by, size) if pa >= self.by else None


def by_kernel(kernel: Kernel, family: Family, array: MarkerArray | None) -> int | None:
    """By a kernel that was found with the image taken to begin at 0; None where no other
    address shows more."""
    if kernel.vmcoreinfo is None:
        _find_vmcoreinfo(kernel, family)
    told = None if kernel.offset is None else family.root(kernel, array)
    if told is None:
        return None
    root, pa = told[0], kernel.uts.pa
    va = kernel.va(pa)
    size = kernel.memory.runs[-1][1]
    specs = [
        spec_of(mode, family.index_va_bits(kernel, array, mode))
        for mode in family.modes(kernel, array)
    ]
    for step in _STEPS:
        for spec in specs:
            for base in _candidates(kernel.memory, spec, root, va, pa, size, step):
                moved = Memory(Moved(kernel.memory.image, base))
                if translate(moved, spec, root + base, va) == pa + base:
                    return base
    return None


def _candidates(
    memory: Memory, spec: Spec, root: int, va: int, pa: int, size: int, step: int
) -> Iterator[int]:
    """Addresses from which on the root's entry for the kernel image leads into the image."""
    first = path(memory, spec, root, va)
    if not first.steps:
        return
    entry = first.steps[0].entry
    rule = rule_of(spec.depths[0].rules, entry)
    if rule.kind == "leaf" and first.pa is not None and first.pa > pa:
        if (first.pa - pa) % step == 0:
            yield first.pa - pa
    elif rule.kind == "table":
        table = place(rule.pa, entry, rule.offset)
        low = -(-max(step, table - size + 1) // step) * step
        if (table - low) // step < _MOST:
            yield from range(low, table + 1, step)


def _find_vmcoreinfo(kernel: Kernel, family: Family) -> None:
    """VMCOREINFO in memory fits `init_uts_ns` by its release alone, as it has true
    addresses."""
    for pa in kernel.memory.find(vmcoreinfo.START):
        info = vmcoreinfo.at(kernel.memory, pa)
        va = None if info is None else info.symbol("init_uts_ns")
        if info is not None and va is not None and info.release == kernel.uts.release:
            offset = (va - kernel.uts.pa) & kernel.mask
            if kernel.offset in (None, offset) and offset % family.image_align == 0:
                kernel.vmcoreinfo, kernel.offset = info, offset
                return
