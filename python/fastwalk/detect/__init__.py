"""From a whole dump alone: which kernel, which paging mode, which root, which markers.

:func:`detect` reads what the kernel says about itself (VMCOREINFO, `init_uts_ns`,
kallsyms, its own array of ptdump markers) and checks the result on the page tables.
Everything found comes with where it was found; everything assumed, with a warning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module

from ..discover import modules_in
from ..errors import FastwalkError
from ..layout import Layout
from . import base as _base
from . import family as _family
from . import registers as _registers
from . import roots as _roots
from . import spaces as _spaces
from . import unknown as _unknown
from . import vmcoreinfo as _vmcoreinfo
from .evidence import Evidence, Report
from .family import Family
from .identity import SYSNAME, UtsName, uts_at
from .kernel import Kernel
from .markers import MarkerArray
from .memory import Memory, PhysicalMemory
from .spaces import Space
from .vmcoreinfo import VmcoreInfo

__all__ = [
    "Detection",
    "Evidence",
    "NotDetected",
    "OtherBase",
    "PhysicalMemory",
    "Space",
    "detect",
]


_MOST_CANDIDATES = 16
_MOST_PROCESSORS = 4


class NotDetected(FastwalkError):
    """The image does not say what it is."""


class OtherBase(Exception):
    """By its kernel, the image's memory begins at another address."""

    def __init__(self, base: int) -> None:
        super().__init__(f"memory begins at {base:#x}")
        self.base = base


@dataclass(frozen=True, slots=True)
class Detection:
    layout: Layout
    evidence: tuple[Evidence, ...]
    warnings: tuple[str, ...]
    """What was assumed where nothing was found, one sentence each."""
    kernel: Kernel
    """For symbols and variables."""
    spaces: tuple[Space, ...] = ()
    """Where asked for: the kernel's, every process's and other roots."""


def detect(image: PhysicalMemory, *, spaces: bool = False, base_known: bool = True) -> Detection:
    """The layout of a whole dump. NotDetected where there is neither a Linux kernel nor
    anything that reads as page tables in it.

    With `spaces`, processes and other roots too, and the views that walk them; that
    decodes the kernel's symbols and takes some tenths of a second more. Unless
    `base_known`, addresses count from the beginning of the image, and OtherBase tells if
    its kernel has others.
    """
    report = Report()
    memory = Memory(image)
    try:
        kernel, family = identify(memory, report)
    except NotDetected:
        best = _unknown.trees(memory, families())
        if not base_known and (base := _elsewhere(image, best)) is not None:
            raise OtherBase(base) from None
        if best is None:
            raise
        layout, kernel, found = _unknown.find(memory, report, best)
        layout = layout._replace(roots={s.name: s.root for s in found})
        return _detection(report, layout, kernel, found)
    array = _place(kernel, family)
    mode, root = _mode_and_root(kernel, family, array, base_known)
    for number, cpu in enumerate(_registers.of(memory)[:_MOST_PROCESSORS]):
        shown = ", ".join(f"{name} {cpu[name]:#x}" for name in family.registers if name in cpu)
        report.found(f"processor {number}", shown or "nothing of use", "its registers in the dump")
    if array is None:
        derived, missing = family.derived_markers(kernel, mode, root)
        array = MarkerArray(0, kernel.offset or 0, derived)
        report.found("markers", f"{len(derived)}", "VMCOREINFO, symbols and constants")
        report.assumed(
            f"the kernel's array of markers was not found, headings are derived: {missing}; "
            "give --layout for better ones"
        )
    layout = family.layout(kernel, array, mode, root)
    known: list[Space] = []
    if spaces:
        known = _spaces.find(kernel, family, layout, family.root_name)
        named = {name: s.root for s in known for name in (s.name, *s.aliases)}
        more = family.views(kernel, layout.view(), named)
        for space in known:
            view = family.process_view(layout.view(), space.mode, space.name)
            if space.root.role != "kernel" and view is not None:
                more[space.name] = view
        layout = layout._replace(roots=named, views={**layout.views, **more})
    return _detection(report, layout, kernel, known)


def _elsewhere(image: PhysicalMemory, best: _unknown.Trees | None) -> int | None:
    """The usual beginning of memory from which on raw memory without a kernel has a larger
    tree than from 0 on."""
    from .. import _fastwalk

    if not isinstance(image, _fastwalk.Image):
        return None
    found, most = None, 0 if best is None else best.weight
    for base in sorted({start for family in families() for start in family.memory_starts}):
        moved = image.moved(base)
        likely = [family for family in families() if base in family.memory_starts]
        other = None if moved is None else _unknown.trees(Memory(moved), likely)
        if other is not None and other.weight > most:
            found, most = base, other.weight
    return found


def _place(kernel: Kernel, family: Family) -> MarkerArray | None:
    """Finds out where the kernel image is, and the kernel's markers."""
    report = kernel.report
    source = f"init_uts_ns in {kernel.vmcoreinfo.source}" if kernel.vmcoreinfo else ""
    if kernel.offset is None and (symbols := kernel.symbols()) is not None:
        va = symbols.address("init_uts_ns")
        if va is not None:
            kernel.offset = (va - kernel.uts.pa) & kernel.mask
            source = f"init_uts_ns in {symbols.source}"
    array = family.markers(kernel)
    if array is not None:
        report.found("markers", f"{len(array.markers)}", f"the kernel's array at PA {array.pa:#x}")
        if kernel.offset is None:
            kernel.offset = array.offset
            source = "name pointers of the markers"
    if kernel.offset is not None:
        report.found("kernel image", f"VA = PA + {kernel.offset:#x}", source)
    return array


def _detection(report: Report, layout: Layout, kernel: Kernel, spaces: list[Space]) -> Detection:
    return Detection(layout, tuple(report.evidence), tuple(report.warnings), kernel, tuple(spaces))


def _mode_and_root(
    kernel: Kernel, family: Family, array: MarkerArray | None, base_known: bool
) -> tuple[str, int]:
    """A mode in which a root shows the kernel image where its symbols say it is: the root
    by its symbol or register, else any table of the kernel image. NotDetected, OtherBase."""
    report = kernel.report
    modes = list(family.modes(kernel, array))
    told = family.root(kernel, array)
    if told is not None:
        root, source = told
        for mode in modes:
            if _family.maps_itself(kernel, mode, root, family.index_va_bits(kernel, array, mode)):
                report.found(f"root {family.root_name}", root, source)
                report.found("mode", mode, "the root maps the kernel image onto itself")
                return mode, root
    if not base_known and (base := _base.by_kernel(kernel, family, array)) is not None:
        raise OtherBase(base)
    for mode in modes:
        found = _roots.kernel_root(kernel, mode, family.index_va_bits(kernel, array, mode))
        if found is not None:
            report.found(f"root {family.root_name}", found, "maps the kernel image onto itself")
            report.found("mode", mode, "with it a root was found")
            return mode, found
    if told is None:
        raise NotDetected(
            f"Linux {kernel.uts.release} ({kernel.uts.machine}), but no root was found; "
            "name it with --root and --mode"
        )
    report.found(f"root {family.root_name}", root, source)
    report.assumed(
        f"no mode of {family.arch} shows the kernel image through the root {root:#x} "
        f"({source}); {modes[0]} is assumed"
    )
    return modes[0], root


def identify(memory: Memory, report: Report) -> tuple[Kernel, Family]:
    """The kernel's release, its architecture, and if told, where its image lies."""
    info = _vmcoreinfo.of_image(memory)
    if info is not None:
        # Without a look at the memory, where VMCOREINFO tells the place of everything.
        for family in families():
            uts = _uts_of(memory, info, family)
            if uts is not None:
                return _kernel(memory, report, uts, info, family), family
    candidates: list[UtsName] = []
    infos: list[VmcoreInfo] = [] if info is None else [info]
    for pa, which in memory.find_any((SYSNAME, _vmcoreinfo.START)):
        if which == 0 and (uts := uts_at(memory, pa)) is not None:
            candidates.append(uts)
        elif which == 1 and (told := _vmcoreinfo.at(memory, pa)) is not None:
            infos.append(told)
        else:
            continue
        pair = _pair(memory, candidates, infos)
        if pair is not None:
            return _kernel(memory, report, pair[0], pair[1], pair[2]), pair[2]
    for family in families() if info is not None else ():
        assert info is not None
        offset, va = family.image_offset(info), info.symbol("init_uts_ns")
        if offset is not None and va is not None:
            mask = (1 << (8 * family.word_bytes)) - 1
            uts = UtsName((va - offset) & mask, info.release, "", family.arch)
            report.assumed(
                "init_uts_ns is not in the image; the kernel is what VMCOREINFO says, "
                f"the architecture {family.arch}, whose load address it has"
            )
            return _kernel(memory, report, uts, info, family), family
    by_symbols = _by_symbols(memory, report, candidates)
    if by_symbols is not None:
        return by_symbols
    if candidates:
        raise NotDetected(
            f"the kernel's machine is {candidates[0].machine!r}, which is not supported; "
            "fastwalk.modes() lists what is"
        )
    raise NotDetected("no Linux kernel found in the image; give --layout, or --mode and --root")


def _by_symbols(
    memory: Memory, report: Report, candidates: list[UtsName]
) -> tuple[Kernel, Family] | None:
    """The candidate that is `init_uts_ns` by the kernel's symbols: namespaces have copies
    of it. The first one where no symbols tell."""
    first: tuple[Kernel, Family] | None = None
    for uts in candidates[:_MOST_CANDIDATES]:
        for family in families():
            if not re.fullmatch(family.machines, uts.machine):
                continue
            draft = Report()
            kernel = _kernel(memory, draft, uts, None, family)
            symbols = kernel.symbols()
            va = None if symbols is None else symbols.address("init_uts_ns")
            if va is not None and (va - uts.pa) % family.image_align == 0:
                report.evidence += draft.evidence
                kernel.report = report
                return kernel, family
            first = first or (kernel, family)
    if first is not None:
        report.evidence += first[0].report.evidence
        first[0].report = report
    return first


def families() -> list[Family]:
    """Every architecture's knowledge, found by the files that are there."""
    out: list[Family] = []
    for name in modules_in(__path__):
        out += getattr(import_module(f"{__name__}.{name}"), "FAMILIES", ())
    return out


def _uts_of(memory: Memory, info: VmcoreInfo, family: Family) -> UtsName | None:
    """`init_uts_ns` where the family's reading of VMCOREINFO says it is."""
    offset, va = family.image_offset(info), info.symbol("init_uts_ns")
    if offset is None or va is None:
        return None
    # struct uts_namespace begins with its name, in 6.1 as in 6.12.
    uts = uts_at(memory, (va - offset) & ((1 << (8 * family.word_bytes)) - 1))
    if uts is None or not re.fullmatch(family.machines, uts.machine):
        return None
    return uts


def _pair(
    memory: Memory, candidates: list[UtsName], infos: list[VmcoreInfo]
) -> tuple[UtsName, VmcoreInfo, Family] | None:
    """A VMCOREINFO and the `init_uts_ns` that it is about."""
    for info in infos:
        va = info.symbol("init_uts_ns")
        if va is None:
            continue
        for uts in candidates:
            for family in families():
                if not re.fullmatch(family.machines, uts.machine) or uts.release != info.release:
                    continue
                offset = family.image_offset(info)
                if offset is not None:
                    told = _uts_of(memory, info, family)
                    if told is not None:
                        return told, info, family
                elif (va - uts.pa) % family.image_align == 0:
                    return uts, info, family
    return None


def _kernel(
    memory: Memory, report: Report, uts: UtsName, info: VmcoreInfo | None, family: Family
) -> Kernel:
    kernel = Kernel(memory, report, uts, info, family.word_bytes, family.byte_order)
    if uts.version:
        report.found("kernel", f"{uts.release} {uts.version}", f"init_uts_ns at PA {uts.pa:#x}")
        report.found("architecture", family.arch, f"machine {uts.machine!r} in init_uts_ns")
    elif info is not None:  # its place is known, its bytes are not in the image
        report.found("kernel", uts.release, f"OSRELEASE in {info.source}")
        report.found("architecture", family.arch, f"the load address in {info.source}")
    if info is None:
        report.found("VMCOREINFO", "none", "notes and memory")
        return kernel
    report.found("VMCOREINFO", f"{len(info.values)} lines", info.source)
    va = info.symbol("init_uts_ns")
    if va is not None:
        kernel.offset = (va - uts.pa) & kernel.mask
    return kernel
