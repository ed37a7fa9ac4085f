"""What detection has to know of an architecture. Each has one file that says it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from typing import ClassVar

from ..arch import spec_of
from ..arch.spec import ByteOrder
from ..errors import FastwalkError
from ..layout import SHADOW_TABLES, Kasan, Layout, Marker, Paging, Root, View
from . import markers, shadow
from .kernel import Kernel
from .markers import MarkerArray, MarkerTable
from .memory import Memory
from .processes import Process
from .translate import translate
from .virtual import Virtual
from .vmcoreinfo import VmcoreInfo


class Family(ABC):
    """The knowledge; :func:`fastwalk.detect.detect` asks it in this order."""

    arch: ClassVar[str]
    machines: ClassVar[str]
    """Regular expression of `uname -m`."""
    word_bytes: ClassVar[int] = 8
    byte_order: ClassVar[ByteOrder] = "little"
    elf_machines: ClassVar[tuple[int, ...]]
    """e_machine of ELF images of it (include/uapi/linux/elf-em.h)."""
    all_modes: ClassVar[tuple[str, ...]]
    """Every mode its kernels have, the likeliest first."""
    table_bits: ClassVar[tuple[int, int]] = (0, 0)
    """(mask, value): what all table entries of Linux have, though the processor would
    allow others. It keeps a scan from taking last tables for higher ones."""
    image_align: ClassVar[int] = 2 << 20
    """What VA - PA of the kernel image is a multiple of."""
    memory_starts: ClassVar[tuple[int, ...]] = ()
    """Where the memory of its machines begins, if not at 0, as a rule."""
    image_low: ClassVar[int] = 0xFFFF_0000_0000_0000
    """The lowest VA that the kernel image can have."""
    tables: ClassVar[tuple[MarkerTable, ...]]
    """The forms that the array of markers has had, the newest first."""
    shadow_markers: ClassVar[tuple[str, str] | None] = None
    """Markers of the ends of KASAN's shadow memory, where its tables matter."""
    root_name: ClassVar[str] = "swapper_pg_dir"
    root_symbols: ClassVar[tuple[str, ...]] = ("swapper_pg_dir",)
    registers: ClassVar[tuple[str, ...]] = ()
    """Those worth showing, where a dump has them."""
    view_name: ClassVar[str] = "kernel_page_tables"

    def image_offset(self, info: VmcoreInfo) -> int | None:
        """VA - PA of the kernel image, where VMCOREINFO tells it."""
        return None

    def markers(self, kernel: Kernel) -> MarkerArray | None:
        """The kernel's array, or None where its ptdump was left out."""
        for table in self.tables:
            array = markers.find(kernel, table, self.image_align, self.image_low)
            if array is not None:
                return array
        return None

    @abstractmethod
    def modes(self, kernel: Kernel, array: MarkerArray | None) -> Iterable[str]:
        """The modes that may be in force, the likeliest first; each is tried on the
        kernel's root."""

    @abstractmethod
    def ranges(self, kernel: Kernel, array: MarkerArray, mode: str) -> tuple[tuple[int, int], ...]:
        """First and last address of each range that the kernel's dumper walks."""

    @abstractmethod
    def paging(self, kernel: Kernel, array: MarkerArray, mode: str) -> Paging:
        """What is in force, and what was compiled where that differs."""

    def layout(self, kernel: Kernel, array: MarkerArray, mode: str, root: int) -> Layout:
        """All that walking the kernel's root takes, it and its mode being known."""
        top = self.top(kernel, array, mode, root)
        edges = self.shadow_edges(array)
        view = View(self.root_name, self.ranges(kernel, array, mode), array.markers)
        return Layout(
            arch=self.arch,
            mode=mode,
            kernel=kernel.uts.kernel,
            page_size=1 << spec_of(mode).page_bits,
            roots={self.root_name: top},
            views={self.view_name: view},
            default_view=self.view_name,
            paging=self.paging(kernel, array, mode),
            kasan=early_shadow(kernel, mode, top, *edges) if edges else None,
        )

    def top(self, kernel: Kernel, array: MarkerArray, mode: str, root: int) -> Root:
        """The kernel's own root."""
        return Root(root, "kernel", index_va_bits=self.index_va_bits(kernel, array, mode))

    def shadow_edges(self, array: MarkerArray) -> tuple[int, int | None] | None:
        """Start and end of KASAN's shadow memory, if the markers have it."""
        start, end = map(array.address, self.shadow_markers or ("", ""))
        return None if start is None else (start, end)

    @abstractmethod
    def derived_markers(
        self, kernel: Kernel, mode: str, root: int
    ) -> tuple[tuple[Marker, ...], str]:
        """What the array would hold, from VMCOREINFO, symbols, constants and tables, at
        least the first one; and what is missing or taken for granted, for a warning."""

    def index_va_bits(self, kernel: Kernel, array: MarkerArray | None, mode: str) -> int | None:
        """With how many bits the kernel indexes its root, where not with the mode's."""
        return None

    def by_root(self, memory: Memory, mode: str, root: int) -> tuple[str, dict[str, int]]:
        """Where nothing but the root is known: its mode, if the form of the root tells
        another than the tree does, and what VMCOREINFO would say (NUMBER)."""
        return mode, {}

    def other_roots(
        self, kernel: Kernel, virtual: Virtual, mode: str, top: Root
    ) -> list[tuple[str, Root, str]]:
        """(name, root, evidence) of roots that belong to no process."""
        return []

    def user_modes(self, mode: str) -> tuple[str, ...]:
        """Modes that processes may have where the kernel has `mode`, if others too."""
        return ()

    def process_root(self, kernel: Kernel, mode: str, process: Process) -> Root:
        """The root of a process."""
        return Root(process.pgd, "process")

    def user_root(self, kernel: Kernel, mode: str, top: Root, root: Root) -> Root | None:
        """The second root of a process, in force while it runs (page-table isolation)."""
        return None

    def process_view(self, default: View, mode: str, name: str) -> View | None:
        """What ptdump would print of a process's root."""
        return None

    def views(self, kernel: Kernel, default: View, names: Collection[str]) -> dict[str, View]:
        """The files that the kernel's debugfs has beside the default one; `names` are
        the roots that were found."""
        return {}

    def root(self, kernel: Kernel, array: MarkerArray | None) -> tuple[int, str] | None:
        """(PA of the kernel's top table, where that was read)."""
        for name in self.root_symbols:
            va = kernel.symbol(name)
            if va is not None and kernel.offset is not None:
                return kernel.pa(va), kernel.symbol_source(name)
        return None


def maps_itself(kernel: Kernel, mode: str, root: int, index_va_bits: int | None) -> bool:
    """Whether the tree at `root` shows the kernel image where its symbols say it is."""
    try:
        spec = spec_of(mode, index_va_bits)
    except FastwalkError:
        return False
    if kernel.offset is None:
        return False
    pa = kernel.uts.pa
    return translate(kernel.memory, spec, root, kernel.va(pa)) == pa


def has_shadow(kernel: Kernel, mode: str, root: int, start: int, end: int) -> bool:
    """Whether the tables of ``start .. end`` have KASAN's zero shadow."""
    return bool(shadow.by_form(kernel.memory, spec_of(mode), root, start, end))


def user_view(bits: int, name: str) -> View:
    """A view of user memory alone, of `bits` bits of addresses."""
    markers = (Marker(0, "User start"), Marker(1 << bits, "User end"))
    return View(name, ((0, (1 << bits) - 1),), markers)


def early_shadow(
    kernel: Kernel, mode: str, root: Root, start: int | None, end: int | None
) -> Kasan | None:
    """KASAN's tables by their symbols, else by their form."""
    found: dict[str, int] = {}
    for level in SHADOW_TABLES:
        va = kernel.symbol(f"kasan_early_shadow_{level}")
        if va is not None and kernel.offset is not None:
            found[level] = kernel.pa(va)
    source = "symbols kasan_early_shadow_*"
    if not found and start is not None and end is not None:
        spec = spec_of(mode, root.index_va_bits)
        found = shadow.by_form(kernel.memory, spec, root.pa, start, end)
        source = f"tables below {start:#x} that repeat one entry"
    if not found:
        return None
    for level, pa in found.items():
        kernel.report.found(f"early shadow {level}", pa, source)
    depth = spec_of(mode).depths[-1]
    pte0 = (
        kernel.memory.number(found["pte"], depth.entry_bytes, depth.byte_order)
        if "pte" in found
        else None
    )
    return Kasan(start=start, end=end, early_shadow=found, pte0=pte0)
