"""The kernel image in memory: virtual addresses of its code and data, and back.

Linux is linked to one run of virtual addresses and loaded into one run of physical
ones, so a single number turns a symbol into a place in the dump; no page table is
needed to read the kernel's own variables. (s390x, ppc64, arm and i386 see the image
through a linear map of the same form.)
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..arch.spec import ByteOrder
from . import kallsyms
from .evidence import Report
from .identity import UtsName
from .memory import Memory
from .vmcoreinfo import VmcoreInfo

_BEFORE = 96 << 20
_AFTER = 64 << 20


@dataclass(slots=True)
class Kernel:
    memory: Memory
    report: Report
    uts: UtsName
    vmcoreinfo: VmcoreInfo | None
    word_bytes: int
    byte_order: ByteOrder
    offset: int | None = None
    """VA - PA of the kernel image, modulo the word."""
    _symbols: kallsyms.Symbols | None = None
    _looked_for_symbols: bool = field(default=False)

    @property
    def version(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.uts.kernel.split("."))

    @property
    def mask(self) -> int:
        return (1 << (8 * self.word_bytes)) - 1

    def window(self) -> tuple[int, int]:
        """PAs between which the kernel image's data lies: its variables are near
        `init_uts_ns`, its read-only data before."""
        info = self.vmcoreinfo
        stext = None if info is None or self.offset is None else info.symbol("_stext")
        low = max(0, self.uts.pa - _BEFORE)
        if stext is not None and low < self.pa(stext) < self.uts.pa:
            low = self.pa(stext)
        return low, self.uts.pa + _AFTER

    def pa(self, va: int) -> int:
        """Where a symbol is; meaningless for other virtual addresses."""
        assert self.offset is not None
        return (va - self.offset) & self.mask

    def va(self, pa: int) -> int:
        assert self.offset is not None
        return (pa + self.offset) & self.mask

    def word(self, pa: int) -> int | None:
        return self.memory.number(pa, self.word_bytes, self.byte_order)

    def packed(self, word: int) -> bytes:
        return (word & self.mask).to_bytes(self.word_bytes, self.byte_order)

    def symbol(self, name: str) -> int | None:
        """A symbol's virtual address, from VMCOREINFO or kallsyms."""
        if self.vmcoreinfo is not None:
            va = self.vmcoreinfo.symbol(name)
            if va is not None:
                return va
        symbols = self.symbols()
        return None if symbols is None else symbols.address(name)

    def symbol_source(self, name: str) -> str:
        """Where `symbol` has it from."""
        if self.vmcoreinfo is not None and self.vmcoreinfo.symbol(name) is not None:
            return f"SYMBOL({name}) of {self.vmcoreinfo.source}"
        symbols = self.symbols()
        return f"{name} of {symbols.source}" if symbols is not None else "nowhere"

    def symbols(self) -> kallsyms.Symbols | None:
        """kallsyms, decoded at the first use."""
        if not self._looked_for_symbols:
            self._looked_for_symbols = True
            self._symbols = kallsyms.find(self)
        return self._symbols

    def number(self, name: str) -> int | None:
        """``NUMBER(name)`` of VMCOREINFO, modulo the word."""
        value = None if self.vmcoreinfo is None else self.vmcoreinfo.number(name)
        return None if value is None else value & self.mask

    def variable(self, name: str) -> int | None:
        """The value of an unsigned long of the kernel."""
        va = self.symbol(name)
        return None if va is None or self.offset is None else self.word(self.pa(va))
