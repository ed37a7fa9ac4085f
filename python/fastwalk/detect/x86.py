"""x86, 64 and 32 bit: where its kernels keep what ptdump needs.

Sources: arch/x86/mm/dump_pagetables.c, arch/x86/kernel/vmcore_info_64.c (6.12;
machine_kexec_64.c in 6.1), arch/x86/include/asm/page_64_types.h.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ..arch import spec_of
from ..layout import Marker, Paging, Root, View
from . import family, registers
from .family import Family
from .kernel import Kernel
from .markers import MarkerArray, MarkerTable
from .processes import pgd_offset
from .translate import path
from .virtual import Virtual
from .vmcoreinfo import VmcoreInfo

_START_KERNEL_MAP = 0xFFFF_FFFF_8000_0000  # page_64_types.h, __START_KERNEL_map
_PAGE_OFFSET_32 = 0xC000_0000  # arch/x86/Kconfig, PAGE_OFFSET
_TOP = (1 << 64) - 1
# pgtable_64_types.h: the guard hole is the 16 top-level entries below -240.
_GUARD_HOLE_END = -240
_CPU_ENTRY_AREA = 0xFFFF_FE00_0000_0000  # pgtable_64_types.h, pgd -4
_SHADOW_END = 0xFFFF_FC00_0000_0000  # asm/kasan.h, in both modes
_ESPFIX = 0xFFFF_FF00_0000_0000  # pgtable_64_types.h, pgd -2
_EFI_VA_END = 0xFFFF_FFEF_0000_0000  # the same, -68 GiB
_MODULES = 0xFFFF_FFFF_C000_0000  # the same, behind a KERNEL_IMAGE_SIZE of 1 GiB
_MODULES_END = 0xFFFF_FFFF_FF00_0000
_USER_PGTABLE = 4096  # asm/pgtable.h, PTI_PGTABLE_SWITCH_BIT


def _table(*anchors: str) -> MarkerTable:
    return MarkerTable(anchors=anchors, words=3, max_lines=2, first=("User Space",))


class _X86(Family):
    view_name = "kernel"
    registers = ("cr0", "cr3", "cr4", "efer")

    def other_roots(
        self, kernel: Kernel, virtual: Virtual, mode: str, top: Root
    ) -> list[tuple[str, Root, str]]:
        out: list[tuple[str, Root, str]] = []
        spec = spec_of(mode)
        user = self.user_root(kernel, mode, top, top)
        if user is not None:
            out.append((f"{self.root_name}_user", user, "the page behind the kernel's root"))
        for cpu in registers.of(kernel.memory)[:1]:
            # The low bits are flags or a PCID; bit 12 chooses the half (asm/tlbflush.h).
            pa = cpu.get("cr3", 0) & -spec.root_align & ((1 << spec.pa_bits) - 1)
            pa &= -4096 if len(spec.depths) > 3 else -1
            pa &= ~_USER_PGTABLE if user is not None else -1
            if pa in (0, top.pa):
                continue
            current = Root(pa, "process")
            out.append(("current", current, "cr3 of the first processor"))
            user = self.user_root(kernel, mode, top, current)
            if user is not None:
                out.append(("current_user", user, "the page behind cr3's"))
        efi_mm, at = kernel.symbol("efi_mm"), pgd_offset(kernel, virtual, top.pa)
        if efi_mm is not None and at is not None:
            pgd = virtual.number(efi_mm + at, kernel.word_bytes, kernel.byte_order)
            efi = virtual.pa(pgd) if pgd else None
            if efi is not None:
                out.append(("efi_mm", Root(efi, "efi"), "efi_mm.pgd"))
        return out

    def user_root(self, kernel: Kernel, mode: str, top: Root, root: Root) -> Root | None:
        """The page behind the root, where that has the CPU entry area too: the p4d entry
        for it, so with 5 levels the one in the second table (arch/x86/mm/pti.c,
        pti_clone_user_shared)."""
        if self.word_bytes == 4:
            return None
        spec = spec_of(mode)
        p4d = len(spec.depths) - 4
        steps = [
            path(kernel.memory, spec, table, _CPU_ENTRY_AREA).steps
            for table in (top.pa, top.pa + _USER_PGTABLE)
        ]
        if any(len(found) <= p4d for found in steps):
            return None
        mine, users = (found[p4d] for found in steps)
        if mine.kind != "table" or mine.entry != users.entry:
            return None
        return Root(root.pa + _USER_PGTABLE, "pti-user")

    def process_view(self, default: View, mode: str, name: str) -> View | None:
        return default._replace(root=name)

    def views(self, kernel: Kernel, default: View, names: Collection[str]) -> dict[str, View]:
        # debug_pagetables.c: current_user where the kernel was built with isolation.
        out: dict[str, View] = {}
        if "current" in names:
            out["current_kernel"] = default._replace(root="current")
            if "current_user" in names:
                out["current_user"] = default._replace(root="current_user")
            elif kernel.symbol("pti_init") is not None:
                out["current_user"] = default._replace(root="current")
        if "efi_mm" in names:
            out["efi"] = default._replace(root="efi_mm")
        return out


class X86_64(_X86):
    arch = "x86_64"
    shadow_markers = ("KASAN shadow", "KASAN shadow end")
    elf_machines = (62,)
    all_modes = ("x86_64-4level", "x86_64-5level")
    # Present and writable, neither uncached nor large nor global (asm/pgtable_types.h,
    # _PAGE_TABLE; PCD and PWT of a table entry are for hardware that Linux has none of).
    table_bits = (0x19B, 0x3)
    machines = r"x86_64"
    image_low = _START_KERNEL_MAP
    tables = (_table("Low Kernel Mapping", "CPU entry Area", "vmalloc() Area"),)
    root_name = "init_top_pgt"
    root_symbols = ("init_top_pgt", "swapper_pg_dir")

    def image_offset(self, info: VmcoreInfo) -> int | None:
        phys_base = info.number("phys_base")
        return None if phys_base is None else (_START_KERNEL_MAP - phys_base) & _TOP

    def modes(self, kernel: Kernel, array: MarkerArray | None) -> Iterable[str]:
        five = kernel.number("pgtable_l5_enabled")
        four_first = ("x86_64-4level", "x86_64-5level")
        return four_first[::-1] if five else four_first

    def derived_markers(
        self, kernel: Kernel, mode: str, root: int
    ) -> tuple[tuple[Marker, ...], str]:
        five = mode == "x86_64-5level"
        guard_end = (_GUARD_HOLE_END << (48 if five else 39)) & _TOP
        vmalloc = kernel.number("VMALLOC_START") or kernel.variable("vmalloc_base")
        vmemmap = None if kernel.vmcoreinfo is None else kernel.vmcoreinfo.symbol("vmemmap")
        vmemmap = vmemmap or kernel.variable("vmemmap_base")
        low = kernel.variable("page_offset_base")
        low = low or self._direct_map(kernel, mode, root, guard_end, vmalloc or _TOP)
        efi = kernel.symbol("efi_mm") is not None
        # asm/kasan.h: KASAN_SHADOW_OFFSET + (-1UL << __VIRTUAL_MASK_SHIFT >> 3).
        shadow = (0xDFFF_FC00_0000_0000 + ((-1 << (56 if five else 47)) & _TOP) // 8) & _TOP
        kasan = family.has_shadow(kernel, mode, root, shadow, _SHADOW_END)
        named: list[tuple[int | None, str, int]] = [
            (0, "User Space", 0),
            (1 << 63, "Kernel Space", 0),
            (guard_end, "LDT remap", 0),
            (low, "Low Kernel Mapping", 0),
            (vmalloc, "vmalloc() Area", 0),
            (vmemmap, "Vmemmap", 0),
            (shadow if kasan else None, "KASAN shadow", 0),
            (_SHADOW_END if kasan else None, "KASAN shadow end", 0),
            (_CPU_ENTRY_AREA, "CPU entry Area", 0),
            (_ESPFIX, "ESPfix Area", 16),
            (_EFI_VA_END if efi else None, "EFI Runtime Services", 0),
            (_START_KERNEL_MAP, "High Kernel Mapping", 0),
            (_MODULES, "Modules", 0),
            (_MODULES_END, "End Modules", 0),
        ]
        missing = (
            "the fixmap's start is not known; LDT remap, ESPfix and the module area of a kernel "
            "with KASLR are taken for granted"
        )
        return (
            tuple(Marker(at, name, most) for at, name, most in named if at is not None),
            missing,
        )

    def _direct_map(self, kernel: Kernel, mode: str, root: int, low: int, high: int) -> int | None:
        """PAGE_OFFSET: VA - PA of the first memory mapped behind the LDT's slot."""
        spec = spec_of(mode)
        shift = spec.page_bits + sum(depth.index_bits for depth in spec.depths[1:])
        for slot in range((low >> shift) + 1, (high >> shift) + 1):
            # KASLR moves it by whole gigabytes (arch/x86/mm/kaslr.c).
            for va in range(slot << shift, min((slot + 1) << shift, high), 1 << 30):
                found = path(kernel.memory, spec, root, va)
                if found.pa is not None:
                    return va - found.pa
                if len(found.steps) < 2:
                    break
        return None

    def ranges(self, kernel: Kernel, array: MarkerArray, mode: str) -> tuple[tuple[int, int], ...]:
        va_bits = spec_of(mode).va_bits
        return (0, (1 << va_bits - 1) - 1), ((_GUARD_HOLE_END << va_bits - 9) & _TOP, _TOP)

    def paging(self, kernel: Kernel, array: MarkerArray, mode: str) -> Paging:
        spec = spec_of(mode)
        return Paging(levels=len(spec.depths), va_bits=spec.va_bits)


class I386(_X86):
    arch = "i386"
    elf_machines = (3, 62)  # QEMU's dumps of i386 say either
    all_modes = ("i386-pae", "i386-2level")
    # As x86_64's, but PAE's first level has no bit for writing.
    table_bits = (0x199, 0x1)
    machines = r"i[3-6]86"
    word_bytes = 4
    image_low = 0x4000_0000
    tables = (_table("Persistent kmap() Area", "CPU entry area", "vmalloc() Area"),)

    def image_offset(self, info: VmcoreInfo) -> int | None:
        # The kernel is in the direct map. A split other than 3G/1G shows in memory only.
        va = info.symbol("init_uts_ns")
        return _PAGE_OFFSET_32 if va is not None and _PAGE_OFFSET_32 <= va < 1 << 32 else None

    def modes(self, kernel: Kernel, array: MarkerArray | None) -> Iterable[str]:
        info = kernel.vmcoreinfo
        pae = info is None or info.values.get("CONFIG_X86_PAE") == "y"
        both = ("i386-pae", "i386-2level")
        return both if pae else both[::-1]

    def derived_markers(
        self, kernel: Kernel, mode: str, root: int
    ) -> tuple[tuple[Marker, ...], str]:
        page_offset = _PAGE_OFFSET_32 if kernel.offset is None else kernel.offset & 0xFFF0_0000
        vmalloc = kernel.number("VMALLOC_START")
        named = ((0, "User Space"), (page_offset, "Kernel Mapping"), (vmalloc, "vmalloc() Area"))
        return (
            tuple(Marker(at, name) for at, name in named if at is not None),
            "markers from the end of vmalloc on are not known",
        )

    def ranges(self, kernel: Kernel, array: MarkerArray, mode: str) -> tuple[tuple[int, int], ...]:
        return ((0, 0xFFFF_FFFF),)

    def paging(self, kernel: Kernel, array: MarkerArray, mode: str) -> Paging:
        levels = 3 if mode == "i386-pae" else 2
        return Paging(levels=levels, va_bits=32, config_levels=levels)


FAMILIES: tuple[Family, ...] = (X86_64(), I386())
