"""Where no kernel says anything: modes and roots from the tables alone."""

from __future__ import annotations

from collections.abc import Sequence

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


def find(
    memory: Memory, report: Report, families: Sequence[Family]
) -> tuple[Layout, Kernel, list[Space]] | None:
    """The mode in which the image has the largest tree, the root there that has the
    least user memory, taken for the kernel's, and the other roots."""
    machine = memory.image.machine
    likely = [f for f in families if machine is not None and machine[0] in f.elf_machines]
    best: tuple[int, str, Family, list[Candidate]] | None = None
    for family in likely or families:
        for mode in family.all_modes:
            found = [c for c in roots.scan(memory, mode, family.table_bits) if not c.nested]
            weight = max((c.leaves for c in found), default=0)
            # A tree of a mode has the trees of smaller modes below it, not the reverse.
            if best is None or weight > best[0]:
                best = weight, mode, family, found
    if best is None or best[0] == 0:
        return None
    _, mode, family, found = best
    spec = spec_of(mode)
    shares = {c.pa: roots.user_share(memory, spec, c.pa) for c in found}
    top = min(found, key=lambda c: (shares[c.pa], -c.leaves))
    version = newest(mode)
    uts = UtsName(0, version, "", family.arch)
    kernel = Kernel(memory, report, uts, None, family.word_bytes, family.byte_order)
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
            Root(c.pa, "kernel" if c is top else "process"),
            mode,
            f"{c.evidence}; {shares[c.pa]:.0%} of its entries are user memory",
        )
        for c in found
    ]
    return layout, kernel, spaces
