"""Where no kernel says anything: modes and roots from the tables alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..arch import newest, spec_of
from ..layout import Layout, Root
from . import roots
from .evidence import Report
from .family import Family
from .identity import UtsName
from .kernel import Kernel
from .markers import MarkerArray
from .memory import Memory
from .roots import Candidate
from .spaces import Space
from .vmcoreinfo import VmcoreInfo


@dataclass(frozen=True, slots=True)
class Trees:
    """The mode in which an image has the largest tree, and the roots of that mode."""

    weight: int
    """Leaves of the largest one."""
    mode: str
    family: Family
    roots: list[Candidate]


def trees(memory: Memory, families: Sequence[Family]) -> Trees | None:
    """None where nothing reads as a root."""
    machine = memory.image.machine
    likely = [f for f in families if machine is not None and machine[0] in f.elf_machines]
    best: Trees | None = None
    # A 32-bit root can be a part of a 64-bit one (LPAE), so it has to be better.
    for family in sorted(likely or families, key=lambda f: -f.word_bytes):
        for mode in family.all_modes:
            found = [c for c in roots.scan(memory, mode, family.table_bits) if not c.nested]
            weight = max((c.leaves for c in found), default=0)
            # A tree of a mode has the trees of smaller modes below it, not the reverse.
            if weight > (0 if best is None else best.weight):
                best = Trees(weight, mode, family, found)
    return best


def find(memory: Memory, report: Report, best: Trees) -> tuple[Layout, Kernel, list[Space]]:
    """The root that has the least user memory, taken for the kernel's, and the others."""
    family, found, mode = best.family, best.roots, best.mode
    spec = spec_of(mode)
    shares = {c.pa: roots.user_share(memory, spec, c.pa) for c in found}
    top = min(found, key=lambda c: (shares[c.pa], -c.leaves))
    mode, numbers = family.by_root(memory, mode, top.pa)
    info = VmcoreInfo({f"NUMBER({k})": str(v) for k, v in numbers.items()}, "the root's form")
    version = newest(mode)
    uts = UtsName(0, version, "", family.arch)
    kernel = Kernel(memory, report, uts, info, family.word_bytes, family.byte_order)
    report.found("architecture", family.arch, "the container, or the form of the tables")
    report.found("mode", mode, "in it, the image has the largest tree")
    report.found(f"root {family.root_name}", top.pa, top.evidence)
    derived, missing = family.derived_markers(kernel, mode, top.pa)
    report.assumed(
        f"no Linux kernel was found in the image; mode {mode} and root {top.pa:#x} were told "
        f"from the tables, the text is that of Linux {version}, headings are constants "
        f"({missing}); give --layout, or --mode and --root"
    )
    array = MarkerArray(0, 0, derived)
    layout = family.layout(kernel, array, mode, top.pa)
    spaces = [
        Space(
            family.root_name if c is top else f"root-{c.pa:#x}",
            layout.roots[family.root_name] if c is top else Root(c.pa, "process"),
            mode,
            f"{c.evidence}; {shares[c.pa]:.0%} of its entries are user memory",
        )
        for c in found
    ]
    return layout, kernel, spaces
