"""All address spaces of a dump: the kernel's, every process's, and other roots."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..arch import spec_of
from ..layout import Layout, Role, Root
from . import processes, roots
from .family import Family
from .kernel import Kernel
from .processes import Process
from .virtual import Virtual


@dataclass(frozen=True, slots=True)
class Space:
    """A root, and how it is known to be one."""

    name: str
    root: Root
    mode: str
    evidence: str
    pid: int | None = None
    comm: str | None = None
    aliases: tuple[str, ...] = ()
    """Other names of the same root: ``current`` is some process's."""


def find(kernel: Kernel, family: Family, layout: Layout, root_name: str) -> list[Space]:
    """The kernel's first, then the processes in the order of the kernel's list, then
    what else shares the kernel's half."""
    top = layout.roots[root_name]
    mode = layout.mode_of(top)
    spec = spec_of(mode, top.index_va_bits)
    virtual = Virtual(kernel.memory, spec, top.pa)
    found: dict[int, Space] = {}

    def add(name: str, root: Root, evidence: str, process: Process | None = None) -> None:
        old = found.get(root.pa)
        if old is not None:
            together = f"{old.evidence}; {evidence}"
            found[root.pa] = replace(old, aliases=(*old.aliases, name), evidence=together)
            return
        pid, comm = (None, None) if process is None else (process.pid, process.comm)
        found[root.pa] = Space(name, root, root.mode or mode, evidence, pid, comm)

    add(root_name, top, "the kernel's root")
    for process in processes.find(kernel, virtual, top.pa):
        root = family.process_root(kernel, mode, process)
        add(f"pid-{process.pid}", root, "mm->pgd of the task", process)
        user = family.user_root(kernel, mode, top, root)
        if user is not None:
            evidence = "the page behind mm->pgd, with page-table isolation"
            add(f"pid-{process.pid}-user", user, evidence, process)
    for name, root, evidence in family.other_roots(kernel, virtual, mode, top):
        add(name, root, evidence)
    va = kernel.va(kernel.uts.pa) if kernel.offset is not None else None
    for pa in [] if va is None else roots.sharing(kernel.memory, spec, top.pa, va):
        if pa not in found:
            # Where the kernel has a root of its own, only another kernel's is like it.
            root = Root(pa, "kernel" if len(spec.halves) > 1 else "process")
            add(f"root-{pa:#x}", root, "has the kernel's entry for its image")
            user = family.user_root(kernel, mode, top, root)
            if user is not None:
                add(f"root-{pa:#x}-user", user, "the page behind it, with page-table isolation")
    kernels = range(top.pa, top.pa + (spec.depths[0].entry_bytes << spec.depths[0].index_bits))
    for other in dict.fromkeys((mode, *family.user_modes(mode))):
        for candidate in roots.scan(kernel.memory, other, family.table_bits):
            # An early or partial tree; or the part of the root that a register points to.
            if candidate.nested or candidate.pa in found or candidate.pa in kernels:
                continue
            users = roots.user_share(kernel.memory, spec_of(other), candidate.pa)
            role: Role = "process" if users > 0 else "kernel"
            root = Root(candidate.pa, role, mode=None if other == mode else other)
            add(f"root-{candidate.pa:#x}", root, candidate.evidence)
    kernel.report.found("address spaces", len(found), "tasks, registers, shared entries")
    return list(found.values())
