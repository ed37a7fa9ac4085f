"""powerpc, 64-bit radix: where its kernels keep what ptdump needs.

Sources: arch/powerpc/mm/ptdump/ptdump.c, arch/powerpc/include/asm/book3s/64/radix*.h.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..layout import Layout, Paging, Root
from . import family
from .family import Family
from .kernel import Kernel
from .markers import MarkerArray, MarkerTable

_PAGE_OFFSET = 0xC000_0000_0000_0000  # asm/page.h, the linear map and the kernel in it
_PAGE_SIZES = {"ppc64-radix-64k": 0x10000, "ppc64-radix-4k": 0x1000}
# radix-64k.h and radix-4k.h, RADIX_*_INDEX_SIZE.
_INDEX_BITS = {
    "ppc64-radix-64k": {"pgd": 13, "p4d": 0, "pud": 9, "pmd": 9, "pte": 5},
    "ppc64-radix-4k": {"pgd": 13, "p4d": 0, "pud": 9, "pmd": 9, "pte": 9},
}
_VA_BITS = 52
_PA_BITS = 53  # radix.h, RADIX_MAX... pgtable.h, _PAGE_PA_MAX is bit 53 exclusive


class Ppc64le(Family):
    arch = "ppc64le"
    machines = r"ppc64le"
    image_align = 0x10000
    image_low = _PAGE_OFFSET
    tables = (
        MarkerTable(
            anchors=("Start of kernel VM", "phb I/O start", "vmalloc() End"),
            first=("Start of kernel VM",),
        ),
    )

    def modes(self, kernel: Kernel, array: MarkerArray | None) -> Iterable[str]:
        info = kernel.vmcoreinfo
        page_size = None if info is None else info.page_size()
        return [mode for mode, size in _PAGE_SIZES.items() if page_size in (None, size)]

    def layout(self, kernel: Kernel, array: MarkerArray | None, mode: str, root: int) -> Layout:
        ranges = [(_PAGE_OFFSET, _PAGE_OFFSET + (1 << _VA_BITS) - 1)]
        views = {}
        if array is not None:
            views[self.view_name] = family.view(self.root_name, ranges, array)
        return Layout(
            arch=self.arch,
            mode=mode,
            kernel=kernel.uts.kernel,
            page_size=_PAGE_SIZES[mode],
            roots={self.root_name: Root(root, "kernel")},
            views=views,
            default_view=self.view_name,
            paging=Paging(
                levels=4,
                va_bits=_VA_BITS,
                config_pa_bits=_PA_BITS,
                index_bits=_INDEX_BITS[mode],
                table_endian="big",
            ),
        )


class Ppc64(Ppc64le):
    arch = "ppc64"
    machines = r"ppc64"
    byte_order = "big"


FAMILIES: tuple[Family, ...] = (Ppc64le(), Ppc64())
