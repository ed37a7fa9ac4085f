"""arm64: where its kernels keep what ptdump needs.

Sources: arch/arm64/mm/ptdump.c, arch/arm64/kernel/vmcore_info.c (6.12; crash_core.c in
6.1), arch/arm64/include/asm/memory.h.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..arch import spec_of
from ..layout import Marker, Paging, View
from . import family
from .family import Family
from .kernel import Kernel
from .markers import MarkerArray, MarkerTable
from .memory import Memory
from .translate import translate
from .vmcoreinfo import VmcoreInfo

_TOP = (1 << 64) - 1
_PAGE_SHIFT = {"4k": 12, "16k": 14, "64k": 16}
# Every granule with every CONFIG_ARM64_VA_BITS that goes with it (arch/arm64/Kconfig).
_MODES = (
    "arm64-4k-48",
    "arm64-4k-39",
    "arm64-4k-52-lpa2",
    "arm64-64k-52",
    "arm64-64k-48",
    "arm64-64k-42",
    "arm64-16k-47",
    "arm64-16k-48",
    "arm64-16k-52-lpa2",
    "arm64-16k-36",
)


def _parts(mode: str) -> tuple[int, int]:
    """(page shift, VA bits) of a mode's name."""
    _, granule, bits = mode.split("-")[:3]
    return _PAGE_SHIFT[granule], int(bits)


def _levels(page_shift: int, va_bits: int) -> int:
    """pgtable-hwdef.h, ARM64_HW_PGTABLE_LEVELS."""
    return -(-(va_bits - page_shift) // (page_shift - 3))


class Arm64(Family):
    arch = "arm64"
    machines = r"aarch64"
    elf_machines = (183,)
    memory_starts = (0x4000_0000, 0x8000_0000)  # QEMU's virt machine, many boards
    registers = ("ttbr0_el1", "ttbr1_el1", "tcr_el1")
    all_modes = _MODES
    shadow_markers = ("Kasan shadow start", "Kasan shadow end")
    # Bits 11:2 are ignored in table descriptors and Linux leaves them 0, while every page
    # has its access flag there (pgtable-hwdef.h, PMD_TYPE_TABLE, PTE_AF).
    table_bits = (0xFFC, 0)
    tables = (
        MarkerTable(
            anchors=("Linear Mapping start", "Linear Mapping end", "PCI I/O start"),
            first=("Linear Mapping start",),
        ),
    )

    def image_offset(self, info: VmcoreInfo) -> int | None:
        offset = info.number("kimage_voffset")
        return None if offset is None else offset & _TOP

    def modes(self, kernel: Kernel, array: MarkerArray | None) -> Iterable[str]:
        info = kernel.vmcoreinfo
        page_size = None if info is None else info.page_size()
        if page_size is None and info is not None:
            page_size = info.number("PAGESIZE")
        va_bits = self._va_bits_actual(kernel, array)
        return [
            mode
            for mode in _MODES
            if page_size in (None, 1 << _parts(mode)[0]) and va_bits in (None, _parts(mode)[1])
        ]

    def index_va_bits(self, kernel: Kernel, array: MarkerArray | None, mode: str) -> int | None:
        # swapper_pg_dir has PTRS_PER_PGD entries as compiled; only where levels fold at
        # run time (4K and 16K) it is indexed with what is in force (fixmap.c, mmu.c).
        page_shift, va_bits = _parts(mode)
        config = self._config_va_bits(kernel, array)
        if page_shift != 16 or config is None or not va_bits < config <= 52:
            return None
        return config if _levels(page_shift, config) == _levels(page_shift, va_bits) else None

    def derived_markers(
        self, kernel: Kernel, mode: str, root: int
    ) -> tuple[tuple[Marker, ...], str]:
        page_shift, va_bits = _parts(mode)
        config = self._config_va_bits(kernel, None) or va_bits
        # asm/memory.h: VA_BITS_MIN.
        least = min(config, 47 if page_shift == 14 else 48) if config > 48 else config
        page_end = kernel.number("MODULES_VADDR") or (-1 << (least - 1)) & _TOP
        modules_end, vmalloc_end = kernel.number("MODULES_END"), kernel.number("VMALLOC_END")
        vmemmap, vmemmap_end = kernel.number("VMEMMAP_START"), kernel.number("VMEMMAP_END")
        # One byte of shadow for 8 bytes, or for 16 with tags (asm/memory.h). It begins with
        # the shadow of the first memory, so its first page is there.
        shadow = next(
            (
                at
                for at in (page_end - (1 << (va_bits - scale)) for scale in (3, 4))
                if translate(kernel.memory, spec_of(mode), root, at) is not None
                and family.has_shadow(kernel, mode, root, at, page_end)
            ),
            None,
        )
        linear_end = page_end if shadow is None else shadow
        named: list[tuple[int | None, str]] = [
            ((-1 << config) & _TOP, "Linear Mapping start"),
            (linear_end, "Linear Mapping end"),
            (shadow, "Kasan shadow start"),
            (shadow and page_end, "Kasan shadow end"),
            (page_end, "Modules start"),
            (modules_end, "Modules end"),
            (modules_end, "vmalloc() area"),
            (vmalloc_end, "vmalloc() end"),
        ]
        if kernel.version[:2] < (6, 9):
            io_end = None if vmemmap is None else vmemmap - (8 << 20)
            named += [
                (None if vmemmap is None else vmemmap - (32 << 20), "Fixmap end"),
                (io_end and io_end - (16 << 20), "PCI I/O start"),
                (io_end, "PCI I/O end"),
                (vmemmap, "vmemmap start"),
                (vmemmap_end, "vmemmap end"),
            ]
        else:
            named += [
                # VMALLOC_END is 8 MiB below the part of it that is in use (pgtable.h).
                (vmalloc_end and vmalloc_end + (8 << 20), "vmemmap start"),
                (vmemmap_end, "vmemmap end"),
                (vmemmap_end and vmemmap_end + (8 << 20), "PCI I/O start"),
                (vmemmap_end and vmemmap_end + (24 << 20), "PCI I/O end"),
                (_TOP + 1 - (8 << 20), "Fixmap end"),
            ]
        return (
            tuple(Marker(at, name) for at, name in named if at is not None),
            "the fixmap's start is not known",
        )

    def ranges(self, kernel: Kernel, array: MarkerArray, mode: str) -> tuple[tuple[int, int], ...]:
        # 6.12 starts at the lowest address in force, 6.1 at PAGE_OFFSET as compiled.
        _, base_bits = _parts(mode)
        if kernel.version[:2] < (6, 9):
            base_bits = self._config_va_bits(kernel, array) or base_bits
        return (((-1 << base_bits) & _TOP, _TOP),)

    def paging(self, kernel: Kernel, array: MarkerArray, mode: str) -> Paging:
        page_shift, va_bits = _parts(mode)
        config = self._config_va_bits(kernel, array) or va_bits
        return Paging(
            levels=_levels(page_shift, va_bits),
            config_levels=_levels(page_shift, config),
            va_bits=va_bits,
            config_va_bits=config,
            config_pa_bits=self._config_pa_bits(kernel, config),
            lpa2=mode.endswith("-lpa2"),
        )

    def by_root(self, memory: Memory, mode: str, root: int) -> tuple[str, dict[str, int]]:
        """A 64K kernel for 52 bits on a processor with 48 has the same tree, but all of it
        in the upper 1/16 of the root: with 52, the linear map is in the lower half
        (memory.h, PAGE_OFFSET)."""
        if mode != "arm64-64k-52":
            return mode, {}
        used = memory.read(root, 8 * (1024 - 64))
        return (
            ("arm64-64k-48", {"VA_BITS": 52}) if used is not None and not any(used) else (mode, {})
        )

    def process_view(self, default: View, mode: str, name: str) -> View | None:
        return family.user_view(_parts(mode)[1], name)

    def _config_va_bits(self, kernel: Kernel, array: MarkerArray | None) -> int | None:
        """VA_BITS as compiled: marker 0 is PAGE_OFFSET, -(1 << VA_BITS)."""
        told = kernel.number("VA_BITS")
        if told is not None:
            return told
        if array is not None:
            return (-array.markers[0].address & _TOP).bit_length() - 1
        return None

    def _config_pa_bits(self, kernel: Kernel, config_va_bits: int) -> int:
        # sparsemem.h: MAX_PHYSMEM_BITS is CONFIG_ARM64_PA_BITS.
        told = kernel.number("MAX_PHYSMEM_BITS")
        if told is not None:
            return told
        # arch/arm64/Kconfig: with 52 bits of VA, 4K and 16K pages imply 52 bits of PA,
        # and 64K pages make them possible.
        return 52 if config_va_bits == 52 else 48

    def _va_bits_actual(self, kernel: Kernel, array: MarkerArray | None) -> int | None:
        t1sz = kernel.number("TCR_EL1_T1SZ")
        if t1sz is not None:
            return 64 - t1sz
        actual = kernel.variable("vabits_actual")  # 6.1, where VA_BITS is 52
        if actual is not None and 36 <= actual <= 52:
            return actual
        base = self._base_address(kernel, array)
        if base is not None:
            return (-base & _TOP).bit_length() - 1
        return None

    def _base_address(self, kernel: Kernel, array: MarkerArray | None) -> int | None:
        """`kernel_ptdump_info.base_addr`: the word behind the pointer to the markers
        (asm/ptdump.h, struct ptdump_info), which 6.12 sets from vabits_actual."""
        if array is None or kernel.offset is None or kernel.version[:2] < (6, 9):
            return None
        pointer = kernel.packed(kernel.va(array.pa))
        for pa in kernel.memory.find(pointer, *kernel.window()):
            base = kernel.word(pa + 8) if pa % 8 == 0 else None
            if base is not None and base >> 48 and not -base & _TOP & (-base - 1) & _TOP:
                return base
        return None


FAMILIES: tuple[Family, ...] = (Arm64(),)
