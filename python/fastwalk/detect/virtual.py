"""Kernel virtual memory, read through the kernel's own tables."""

from __future__ import annotations

from ..arch.spec import ByteOrder, Spec
from .memory import Memory
from .translate import translate


class Virtual:
    """Bytes by virtual address; None where nothing is mapped or the page is absent."""

    def __init__(self, memory: Memory, spec: Spec, root: int) -> None:
        self._memory, self._spec, self._root = memory, spec, root
        self._pages: dict[int, int | None] = {}
        self._page = 1 << spec.page_bits

    def pa(self, va: int) -> int | None:
        page, inside = va & -self._page, va & (self._page - 1)
        if page not in self._pages:
            self._pages[page] = translate(self._memory, self._spec, self._root, page)
        base = self._pages[page]
        return None if base is None else base + inside

    def read(self, va: int, size: int) -> bytes | None:
        out = b""
        while len(out) < size:
            at = va + len(out)
            pa = self.pa(at)
            if pa is None:
                return None
            data = self._memory.read(pa, min(size - len(out), -at % self._page or self._page))
            if data is None:
                return None
            out += data
        return out

    def number(self, va: int, size: int, order: ByteOrder) -> int | None:
        data = self.read(va, size)
        return None if data is None else int.from_bytes(data, order)
