"""Spec against dialect: what the processor would map is what the kernel printed as mapped.

The two are written apart (manuals here, the kernel's tests there), and on Arm with short
descriptors they even read different tables; a recorded kernel's own tables have to make
them agree. Process roots stay out, since the kernel calls PROT_NONE pages present.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import golden_cases
import naive
import pytest
from golden_cases import Case

from fastwalk import arch
from fastwalk.arch import arm, arm64, ppc64, riscv, s390x, x86

Span = tuple[int, int]
Present = Callable[[naive.DumpRow], bool]

PRESENT: dict[str, Present] = {
    "x86_64": lambda row: bool(row.key & x86.P),
    "i386": lambda row: bool(row.key & x86.P),
    "arm64": lambda row: bool(row.key & arm64.VALID),
    "riscv64": lambda row: bool(row.key & riscv.V),
    "s390x": lambda row: row.value != s390x.HOLE,
    "ppc64": lambda row: bool(row.key & ppc64.VALID),
    # The key has no valid bit; present pages and sections all have one of these.
    "arm": lambda row: bool(row.value & (arm.TYPE | arm.L_VALID)),
}


def kernel_views() -> list[tuple[str, str]]:
    """Those without KASAN's shadow, whose pages are too many to walk one by one."""
    found = []
    for name in golden_cases.names():
        layout = Case(name).layout
        if layout.kasan is None and not name.endswith("kasan"):
            view = layout.default_view
            assert layout.root(layout.view(view).root).role == "kernel"
            found.append((name, view))
    return found


def merged(spans: Iterable[Span]) -> list[Span]:
    """Neighbours made one; first and last address, both inclusive."""
    result: list[Span] = []
    for first, last in spans:
        if result and result[-1][1] + 1 == first:
            result[-1] = result[-1][0], last
        else:
            result.append((first, last))
    return result


@pytest.mark.parametrize(("name", "view"), kernel_views())
def test_the_processor_maps_what_the_kernel_printed(name: str, view: str) -> None:
    case = Case(name)
    layout, memory = case.layout, case.memory
    shown = layout.view(view)
    root = layout.root(shown.root)
    spec = arch.spec_of(layout.mode_of(root), root.index_va_bits)
    dialect = arch.dialect_of(layout, view, read=memory.read).dialect
    half = next(half.name for half in spec.halves if half.windows == dialect.half.windows)

    walked: list[Span] = []
    for first, last in shown.ranges:
        for row in naive.walk(spec, memory, root.pa, half, first, last + 1):
            assert row.kind != "absent"
            if row.kind == "leaf":
                walked.append((row.start, row.start + row.size - 1))

    present = PRESENT[spec.arch]
    dump = naive.ptdump(dialect, memory, root.pa, shown.ranges, shown.markers)
    printed = [
        (row.start, (row.end - 1) % (1 << dialect.style.address_bits))
        for row in dump.rows
        if present(row)
    ]
    assert merged(walked) == merged(printed)
    assert walked
