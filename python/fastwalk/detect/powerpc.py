"""powerpc, 64-bit radix: where its kernels keep what ptdump needs.

Sources: arch/powerpc/mm/ptdump/ptdump.c, arch/powerpc/include/asm/book3s/64/radix*.h.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..layout import Marker, Paging
from .family import Family
from .kernel import Kernel
from .markers import MarkerArray, MarkerTable
from .vmcoreinfo import VmcoreInfo

_PAGE_OFFSET = 0xC000_0000_0000_0000  # asm/page.h, the linear map and the kernel in it
_PAGE_SIZES = {"ppc64-radix-64k": 0x10000, "ppc64-radix-4k": 0x1000}
# radix-64k.h and radix-4k.h, RADIX_*_INDEX_SIZE.
_INDEX_BITS = {
    "ppc64-radix-64k": {"pgd": 13, "p4d": 0, "pud": 9, "pmd": 9, "pte": 5},
    "ppc64-radix-4k": {"pgd": 13, "p4d": 0, "pud": 9, "pmd": 9, "pte": 9},
}
# hash-64k.h and hash-4k.h, H_VMEMMAP_START, in TiB from PAGE_OFFSET.
_HASH_VMEMMAP = {"ppc64-radix-64k": 0xC00, "ppc64-radix-4k": 0x3F}
_VA_BITS = 52
_PA_BITS = 53  # radix.h, RADIX_MAX... pgtable.h, _PAGE_PA_MAX is bit 53 exclusive


class Ppc64le(Family):
    arch = "ppc64le"
    machines = r"ppc64le"
    elf_machines = (21,)
    all_modes = tuple(_PAGE_SIZES)
    image_align = 0x10000
    image_low = _PAGE_OFFSET
    tables = (
        MarkerTable(
            anchors=("Start of kernel VM", "phb I/O start", "vmalloc() End"),
            first=("Start of kernel VM",),
        ),
    )

    def image_offset(self, info: VmcoreInfo) -> int | None:
        va = info.symbol("init_uts_ns")
        return _PAGE_OFFSET if va is not None and va >> 48 == _PAGE_OFFSET >> 48 else None

    def modes(self, kernel: Kernel, array: MarkerArray | None) -> Iterable[str]:
        info = kernel.vmcoreinfo
        page_size = None if info is None else info.page_size()
        modes = [mode for mode, size in _PAGE_SIZES.items() if page_size in (None, size)]
        # The page sizes differ in the last tables only, which the kernel image has none
        # of; the marker of the hash MMU's vmemmap tells them apart.
        vmemmap = None if array is None else array.address("vmemmap start")
        told = [m for m in modes if vmemmap == _PAGE_OFFSET + (_HASH_VMEMMAP[m] << 40)]
        return told or modes

    def derived_markers(
        self, kernel: Kernel, mode: str, root: int
    ) -> tuple[tuple[Marker, ...], str]:
        # asm/book3s/64/radix.h: RADIX_VMALLOC_START and what follows it, in sizes of 2^49.
        named = [
            (_PAGE_OFFSET, "Start of kernel VM"),
            (_PAGE_OFFSET + (8 << 48), "vmalloc() Area"),
            (_PAGE_OFFSET + (10 << 48), "vmalloc() End"),
            (_PAGE_OFFSET + (10 << 48), "isa I/O start"),
            (_PAGE_OFFSET + (10 << 48) + 0x10000, "isa I/O end"),
            (_PAGE_OFFSET + (10 << 48) + 0x10000, "phb I/O start"),
            (_PAGE_OFFSET + (10 << 48) + (2 << 30), "phb I/O end"),
            (_PAGE_OFFSET + (10 << 48) + (2 << 30), "I/O remap start"),
            (_PAGE_OFFSET + (12 << 48) - (32 << 20), "I/O remap end"),
            # ptdump.c prints the hash MMU's, which is lower with 4K pages (hash-4k.h).
            (_PAGE_OFFSET + (_HASH_VMEMMAP[mode] << 40), "vmemmap start"),
        ]
        return tuple(Marker(at, name) for at, name in named), "all are the constants of 6.12"

    def ranges(self, kernel: Kernel, array: MarkerArray, mode: str) -> tuple[tuple[int, int], ...]:
        return ((_PAGE_OFFSET, _PAGE_OFFSET + (1 << _VA_BITS) - 1),)

    def paging(self, kernel: Kernel, array: MarkerArray, mode: str) -> Paging:
        return Paging(
            levels=4,
            va_bits=_VA_BITS,
            config_pa_bits=_PA_BITS,
            index_bits=_INDEX_BITS[mode],
            table_endian="big",
        )


class Ppc64(Ppc64le):
    arch = "ppc64"
    machines = r"ppc64"
    byte_order = "big"


FAMILIES: tuple[Family, ...] = (Ppc64le(), Ppc64())
