"""VMCOREINFO: the kernel's own description of itself for crash tools.

KEY=VALUE lines (Documentation/admin-guide/kdump/vmcoreinfo.rst), in a note of the
dump, else somewhere in the machine's memory: the kernel writes them to a page
(kernel/vmcore_info.c in 6.12, kernel/crash_core.c in 6.1) and copies that to an ELF
note.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .memory import Memory

START = b"OSRELEASE="
LIMIT = 4096
"""VMCOREINFO_BYTES is one page (include/linux/vmcore_info.h); on kernels with larger
pages the text is as short all the same."""
_LINE = re.compile(rb"[A-Z][A-Za-z0-9_\-]*(?:\([A-Za-z0-9_.\-]+\))?=[\x20-\x7e]*")
_ENOUGH = 8


@dataclass(frozen=True, slots=True)
class VmcoreInfo:
    values: dict[str, str]
    """Key, as it stands before the ``=``, to value."""
    source: str

    @property
    def release(self) -> str:
        return self.values["OSRELEASE"]

    def number(self, key: str) -> int | None:
        """``NUMBER(key)``: decimal, or hexadecimal with 0x; negative values as they
        are."""
        text = self.values.get(f"NUMBER({key})")
        try:
            return None if text is None else int(text, 0)
        except ValueError:
            return None

    def symbol(self, name: str) -> int | None:
        return self._hexadecimal(f"SYMBOL({name})")

    def page_size(self) -> int | None:
        text = self.values.get("PAGESIZE", "")
        return int(text) if text.isdigit() else None

    def _hexadecimal(self, key: str) -> int | None:
        try:
            return int(self.values[key], 16)
        except (KeyError, ValueError):
            return None


def parse(data: bytes, source: str) -> VmcoreInfo | None:
    """`data` begins with ``OSRELEASE=``; what follows the last good line is left out.
    None where that is too little to be the real thing."""
    values: dict[str, str] = {}
    for line in data.split(b"\n"):
        if not _LINE.fullmatch(line):
            break
        key, _, value = line.partition(b"=")
        values[key.decode()] = value.decode()
    if len(values) < _ENOUGH or "OSRELEASE" not in values:
        return None
    return VmcoreInfo(values, source)


def of_image(memory: Memory) -> VmcoreInfo | None:
    """The one that the container has."""
    text = memory.image.vmcoreinfo
    return (
        None if text is None else parse(text.encode("latin-1", "replace"), "VMCOREINFO of the dump")
    )


def at(memory: Memory, pa: int) -> VmcoreInfo | None:
    """The text that begins at `pa`, if it is one."""
    for start, end in memory.runs:
        if start <= pa < end:
            data = memory.read(pa, min(LIMIT, end - pa))
            return None if data is None else parse(data, f"VMCOREINFO (in memory at PA {pa:#x})")
    return None
