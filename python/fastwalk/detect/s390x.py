"""s390x: where its kernels keep what ptdump needs.

Sources: arch/s390/mm/dump_pagetables.c, arch/s390/include/asm/lowcore.h,
z/Architecture Principles of Operation, "Address-Space-Control Element".
"""

from __future__ import annotations

from collections.abc import Iterable

from ..layout import Marker, Paging, Root, View
from . import family, registers
from .family import Family
from .kernel import Kernel
from .markers import MarkerArray, MarkerTable
from .processes import Process
from .virtual import Virtual

# Designation type of an ASCE, bits 60-61: 3 region-first .. 0 segment table.
_MODES = ("s390x-segment", "s390x-region3", "s390x-region2", "s390x-region1")


def _va_bits(mode: str) -> int:
    return 31 + 11 * _MODES.index(mode)


class S390x(Family):
    arch = "s390x"
    machines = r"s390x"
    elf_machines = (22,)
    registers = ("cr1", "cr7", "cr13")
    all_modes = (_MODES[1], _MODES[2], _MODES[3], _MODES[0])
    byte_order = "big"
    image_align = 4096
    image_low = 0x1000
    tables = (
        # 6.12: allocated, sorted, with sizes.
        MarkerTable(
            anchors=("Identity Mapping", "Real Memory Copy Area", "Kernel Image"),
            words=4,
            edge=0,
            address=1,
            size=2,
            name=3,
            unnamed="Kernel Virtual Address Space",
        ),
        # 6.1: a fixed array, sorted in place.
        MarkerTable(
            anchors=("Identity Mapping Start", "Real Memory Copy Area Start"),
        ),
    )

    def modes(self, kernel: Kernel, array: MarkerArray | None) -> Iterable[str]:
        asce = self._kernel_asce(kernel)
        if asce is None:
            return (_MODES[1], _MODES[2], _MODES[3], _MODES[0])
        return (_MODES[asce >> 2 & 3],)

    def root(self, kernel: Kernel, array: MarkerArray | None) -> tuple[int, str] | None:
        asce = self._kernel_asce(kernel)
        if asce is not None:
            return asce & ~0xFFF, "control register 13 (the kernel's ASCE) in a CPU's note"
        return super().root(kernel, array)

    def derived_markers(
        self, kernel: Kernel, mode: str, root: int
    ) -> tuple[tuple[Marker, ...], str]:
        stext, end = kernel.symbol("_stext"), kernel.symbol("_end")
        named = [Marker(0, "Kernel Virtual Address Space")]
        if stext is not None and end is not None:
            named += [
                Marker(stext, "Kernel Image", edge="start", size=end - stext),
                Marker(end, "Kernel Image", edge="end", size=end - stext),
            ]
        return tuple(named), "only the kernel image has markers"

    def top(self, kernel: Kernel, array: MarkerArray, mode: str, root: int) -> Root:
        return Root(root, "kernel", mode=mode)

    def ranges(self, kernel: Kernel, array: MarkerArray, mode: str) -> tuple[tuple[int, int], ...]:
        return ((0, (1 << _va_bits(mode)) - 1),)

    def paging(self, kernel: Kernel, array: MarkerArray, mode: str) -> Paging:
        # CONFIG_PGTABLE_LEVELS is 5 (arch/s390/Kconfig).
        return Paging(levels=2 + _MODES.index(mode), va_bits=_va_bits(mode), config_levels=5)

    def shadow_edges(self, array: MarkerArray) -> tuple[int, int | None] | None:
        # Both ends have one name.
        edges = [m.address for m in array.markers if m.name.startswith("Kasan Shadow")]
        return (edges[0], edges[-1]) if edges else None

    def other_roots(
        self, kernel: Kernel, virtual: Virtual, mode: str, top: Root
    ) -> list[tuple[str, Root, str]]:
        for cpu in registers.of(kernel.memory)[:1]:
            asce = cpu.get("cr7", 0)  # the user's, asm/ctlreg.h
            if asce & ~0xFFF not in (0, top.pa):
                root = Root(asce & ~0xFFF, "process", mode=_MODES[asce >> 2 & 3])
                return [("current_user", root, "control register 7 of the first processor")]
        return []

    def user_modes(self, mode: str) -> tuple[str, ...]:
        return (_MODES[1], _MODES[2])

    def process_root(self, kernel: Kernel, mode: str, process: Process) -> Root:
        """With the designation of mm->context.asce."""
        for i in range(0, len(process.mm) - 7, 8):
            asce = int.from_bytes(process.mm[i : i + 8], "big")
            # A user's ASCE has a table length of 3 and event and space bits.
            if asce & ~0xFFF == process.pgd and asce & 3 == 3:
                return Root(process.pgd, "process", mode=_MODES[asce >> 2 & 3])
        return Root(process.pgd, "process", mode=_MODES[1])

    def process_view(self, default: View, mode: str, name: str) -> View | None:
        return family.user_view(_va_bits(mode), name)

    def _kernel_asce(self, kernel: Kernel) -> int | None:
        for cpu in registers.of(kernel.memory):
            asce = cpu.get("cr13")
            if asce:
                return asce
        return None


FAMILIES: tuple[Family, ...] = (S390x(),)
