"""arm, 32 bit: where its kernels keep what ptdump needs.

Source: arch/arm/mm/dump.c.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..layout import Marker, Paging
from .family import Family
from .kernel import Kernel
from .markers import MarkerArray, MarkerTable


class Arm(Family):
    arch = "arm"
    machines = r"armv?[4-8][a-z]*l|arm"
    elf_machines = (40,)
    memory_starts = (0x4000_0000, 0x8000_0000)  # as on arm64
    all_modes = ("arm-short", "arm-lpae")
    word_bytes = 4
    # ARM_PATCH_PHYS_VIRT wants 2 MiB (arch/arm/Kconfig), older kernels more.
    image_low = 0x4000_0000
    tables = (
        MarkerTable(
            anchors=("Fixmap Area", "FDT Area", "vmalloc() Area"),
            first=("Kasan shadow start",),
        ),
    )

    def modes(self, kernel: Kernel, array: MarkerArray | None) -> Iterable[str]:
        return ("arm-short", "arm-lpae")

    def derived_markers(
        self, kernel: Kernel, mode: str, root: int
    ) -> tuple[tuple[Marker, ...], str]:
        page_offset = 0xC000_0000
        named = [
            # asm/memory.h: 8 MiB of modules (14 without Thumb-2) below PAGE_OFFSET,
            # FDT_FIXED_BASE; asm/fixmap.h: FIXADDR_START; VECTORS_BASE.
            (page_offset - (8 << 20), "Modules"),
            (page_offset, "Kernel Mapping"),
            (0xFF80_0000, "FDT Area"),
            (0xFFC8_0000, "Fixmap Area"),
            (0xFFFF_0000, "Vectors"),
            (0xFFFF_2000, "Vectors End"),
        ]
        return (
            tuple(Marker(at, name) for at, name in named),
            "a 3G/1G split is taken for granted and the start of vmalloc is not known",
        )

    def ranges(self, kernel: Kernel, array: MarkerArray, mode: str) -> tuple[tuple[int, int], ...]:
        return ((0, 0xFFFF_FFFF),)

    def paging(self, kernel: Kernel, array: MarkerArray, mode: str) -> Paging:
        # asm/pgtable-3level-types.h: 40 bits of PA; asm/pgtable-2level-hwdef.h: 32.
        lpae = mode == "arm-lpae"
        return Paging(levels=3 if lpae else 2, va_bits=32, config_pa_bits=40 if lpae else 32)


FAMILIES: tuple[Family, ...] = (Arm(),)
