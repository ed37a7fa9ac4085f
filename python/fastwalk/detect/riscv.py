"""riscv64: where its kernels keep what ptdump needs.

Sources: arch/riscv/mm/ptdump.c, arch/riscv/kernel/vmcore_info.c,
arch/riscv/include/asm/pgtable.h.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..arch import spec_of
from ..layout import Marker, Paging, View
from . import family
from .family import Family
from .kernel import Kernel
from .markers import MarkerArray, MarkerTable
from .vmcoreinfo import VmcoreInfo

_TOP = (1 << 64) - 1
_SHADOW_END = 0xFFFF_FFFF_0000_0000
_LEVELS = {39: 3, 48: 4, 57: 5}
# asm/hwcap.h, RISCV_ISA_EXT_SVNAPOT.
_SVNAPOT = 33


class Riscv64(Family):
    arch = "riscv64"
    machines = r"riscv64"
    elf_machines = (243,)
    memory_starts = (0x8000_0000,)  # QEMU's virt machine, SiFive's boards
    all_modes = tuple(f"riscv64-sv{bits}" for bits in (48, 39, 57))
    shadow_markers = ("Kasan shadow start", "Kasan shadow end")
    tables = (
        MarkerTable(
            anchors=("Linear mapping", "Kernel mapping", "Fixmap start"),
            first=("Fixmap start",),
        ),
    )

    def image_offset(self, info: VmcoreInfo) -> int | None:
        offset = info.number("va_kernel_pa_offset")
        return None if offset is None else offset & _TOP

    def modes(self, kernel: Kernel, array: MarkerArray | None) -> Iterable[str]:
        va_bits = kernel.number("VA_BITS")
        bits = [va_bits] if va_bits in _LEVELS else sorted(_LEVELS)
        return [f"riscv64-sv{b}" for b in bits]

    def derived_markers(
        self, kernel: Kernel, mode: str, root: int
    ) -> tuple[tuple[Marker, ...], str]:
        vmemmap = kernel.number("VMEMMAP_START")
        # asm/pgtable.h: 16 MiB of PCI I/O below vmemmap, FIXADDR_SIZE of 6 MiB below that.
        io = None if vmemmap is None else vmemmap - (16 << 20)
        # asm/kasan.h: the shadow ends 2 GiB below the kernel and begins with a root's entry.
        spec = spec_of(mode)
        span = spec.page_bits + sum(depth.index_bits for depth in spec.depths[1:])
        start = (_SHADOW_END - (1 << (spec.va_bits - 4))) & (-1 << span)
        kasan = family.has_shadow(kernel, mode, root, start, _SHADOW_END)
        named = [
            (io and io - (6 << 20), "Fixmap start"),
            (io, "Fixmap end"),
            (io, "PCI I/O start"),
            (vmemmap, "PCI I/O end"),
            (vmemmap, "vmemmap start"),
            (kernel.number("VMEMMAP_END"), "vmemmap end"),
            (kernel.number("VMALLOC_START"), "vmalloc() area"),
            (kernel.number("VMALLOC_END"), "vmalloc() end"),
            (kernel.number("PAGE_OFFSET"), "Linear mapping"),
            (start if kasan else None, "Kasan shadow start"),
            (_SHADOW_END if kasan else None, "Kasan shadow end"),
            (kernel.number("MODULES_VADDR"), "Modules/BPF mapping"),
            (kernel.number("KERNEL_LINK_ADDR"), "Kernel mapping"),
        ]
        markers = tuple(Marker(at, name) for at, name in named if at is not None)
        return (
            markers or (Marker((-1 << 31) & _TOP, "Kernel mapping"),),
            "the layout of 6.12 is taken for granted",
        )

    def ranges(self, kernel: Kernel, array: MarkerArray, mode: str) -> tuple[tuple[int, int], ...]:
        # pgtable.h: KERN_VIRT_START is the start of the upper half.
        return (((-1 << (spec_of(mode).va_bits - 1)) & _TOP, _TOP),)

    def paging(self, kernel: Kernel, array: MarkerArray, mode: str) -> Paging:
        va_bits = spec_of(mode).va_bits
        return Paging(
            levels=_LEVELS[va_bits],
            va_bits=va_bits,
            # CONFIG_PGTABLE_LEVELS is 5 on every 64-bit kernel (arch/riscv/Kconfig).
            config_levels=5,
            # asm/sparsemem.h: MAX_PHYSMEM_BITS is 56.
            config_pa_bits=kernel.number("MAX_PHYSMEM_BITS") or 56,
            svnapot=self._svnapot(kernel),
        )

    def process_view(self, default: View, mode: str, name: str) -> View | None:
        return family.user_view(spec_of(mode).va_bits - 1, name)

    def _svnapot(self, kernel: Kernel) -> bool:
        """Whether every hart has Svnapot (cpufeature.c, the bitmap `riscv_isa`)."""
        va = kernel.symbol("riscv_isa")
        if va is None or kernel.offset is None:
            kernel.report.assumed(
                "riscv_isa was not found; PTEs with the N bit are taken for Svnapot's"
            )
            return True
        bits = kernel.word(kernel.pa(va))
        has = bits is not None and bool(bits >> _SVNAPOT & 1)
        kernel.report.found("Svnapot", "yes" if has else "no", "bitmap riscv_isa")
        return has


FAMILIES: tuple[Family, ...] = (Riscv64(),)
