"""x86, 64 and 32 bit: where its kernels keep what ptdump needs.

Sources: arch/x86/mm/dump_pagetables.c, arch/x86/kernel/vmcore_info_64.c (6.12;
machine_kexec_64.c in 6.1), arch/x86/include/asm/page_64_types.h.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..layout import Kasan, Layout, Paging, Root, View
from . import family
from .family import Family
from .kernel import Kernel
from .markers import MarkerArray, MarkerTable
from .vmcoreinfo import VmcoreInfo

_START_KERNEL_MAP = 0xFFFF_FFFF_8000_0000  # page_64_types.h, __START_KERNEL_map
_TOP = (1 << 64) - 1
# pgtable_64_types.h: the guard hole is the 16 top-level entries below -240.
_GUARD_HOLE_END = -240


def _table(*anchors: str) -> MarkerTable:
    return MarkerTable(anchors=anchors, words=3, max_lines=2, first=("User Space",))


class X86_64(Family):
    arch = "x86_64"
    machines = r"x86_64"
    image_low = _START_KERNEL_MAP
    tables = (_table("Low Kernel Mapping", "CPU entry Area", "vmalloc() Area"),)
    root_name = "init_top_pgt"
    root_symbols = ("init_top_pgt", "swapper_pg_dir")
    view_name = "kernel"

    def image_offset(self, info: VmcoreInfo) -> int | None:
        phys_base = info.number("phys_base")
        return None if phys_base is None else (_START_KERNEL_MAP - phys_base) & _TOP

    def modes(self, kernel: Kernel, array: MarkerArray | None) -> Iterable[str]:
        five = kernel.number("pgtable_l5_enabled")
        four_first = ("x86_64-4level", "x86_64-5level")
        return four_first[::-1] if five else four_first

    def layout(self, kernel: Kernel, array: MarkerArray | None, mode: str, root: int) -> Layout:
        levels = 5 if mode == "x86_64-5level" else 4
        shift = 12 + 9 * (levels - 1)
        ranges = (
            (0, (1 << (shift + 8)) - 1),
            ((_GUARD_HOLE_END << shift) & _TOP, _TOP),
        )
        top = Root(root, "kernel")
        kasan: Kasan | None = None
        if array is not None and (start := array.address("KASAN shadow")) is not None:
            end = array.address("KASAN shadow end")
            kasan = family.early_shadow(kernel, mode, top, start, end)
        views: dict[str, View] = {}
        if array is not None:
            views[self.view_name] = family.view(self.root_name, ranges, array)
        return Layout(
            arch=self.arch,
            mode=mode,
            kernel=kernel.uts.kernel,
            page_size=4096,
            roots={self.root_name: top},
            views=views,
            default_view=self.view_name,
            paging=Paging(levels=levels, va_bits=shift + 9),
            kasan=kasan,
        )


class I386(Family):
    arch = "i386"
    machines = r"i[3-6]86"
    word_bytes = 4
    image_low = 0x4000_0000
    tables = (_table("Persistent kmap() Area", "CPU entry area", "vmalloc() Area"),)
    view_name = "kernel"

    def modes(self, kernel: Kernel, array: MarkerArray | None) -> Iterable[str]:
        info = kernel.vmcoreinfo
        pae = info is None or info.values.get("CONFIG_X86_PAE") == "y"
        both = ("i386-pae", "i386-2level")
        return both if pae else both[::-1]

    def layout(self, kernel: Kernel, array: MarkerArray | None, mode: str, root: int) -> Layout:
        levels = 3 if mode == "i386-pae" else 2
        views: dict[str, View] = {}
        if array is not None:
            views[self.view_name] = family.view(self.root_name, [(0, 0xFFFF_FFFF)], array)
        return Layout(
            arch=self.arch,
            mode=mode,
            kernel=kernel.uts.kernel,
            page_size=4096,
            roots={self.root_name: Root(root, "kernel")},
            views=views,
            default_view=self.view_name,
            paging=Paging(levels=levels, va_bits=32, config_levels=levels),
        )


FAMILIES: tuple[Family, ...] = (X86_64(), I386())
