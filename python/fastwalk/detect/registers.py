"""Processor registers that the container recorded, one dictionary a processor.

Only those that a root or a mode can be told from. arm64, arm, riscv and powerpc notes
have general registers only; nothing can be taken from them.
"""

from __future__ import annotations

import struct

from .memory import Memory

Registers = dict[str, int]

# QEMU's note for x86, target/i386/arch_dump.c, struct QEMUCPUState: version and size,
# 18 general registers, 10 segments of 24 bytes, then cr[0] .. cr[4].
_QEMU_SIZE = 440
_QEMU_CR = 8 + 18 * 8 + 10 * 24

# VirtualBox, include/VBox/vmm/dbgfcorefmt.h, struct DBGFCORECPU: 18 general registers, 6
# selectors of 24 bytes, cr0, cr2, cr3, cr4; dr0-7, gdtr and idtr of 16 bytes, ldtr and tr
# of 24, three sysenter registers, EFER.
_VBOX_CR = 18 * 8 + 6 * 24
_VBOX_EFER = _VBOX_CR + 4 * 8 + 8 * 8 + 2 * 16 + 2 * 24 + 3 * 8

_NT_S390_CTRS = 0x304  # include/uapi/linux/elf.h: control registers 0-15


def of(memory: Memory) -> list[Registers]:
    """In the order of the notes; empty where the container says nothing."""
    cpus: dict[int, Registers] = {}
    for cpu, name, value in memory.image.registers:
        cpus.setdefault(cpu, {})[name] = value
    if cpus:
        return [cpus[cpu] for cpu in sorted(cpus)]
    decoded = (_decode(name, kind, data) for name, kind, data in memory.image.notes)
    return [registers for registers in decoded if registers]


def _decode(name: str, kind: int, data: bytes) -> Registers | None:
    if name == "QEMU" and len(data) >= _QEMU_SIZE:
        cr = struct.unpack_from("<5Q", data, _QEMU_CR)
        return {f"cr{i}": value for i, value in enumerate(cr)}
    if name == "VBCPU" and len(data) >= _VBOX_EFER + 8:
        cr0, cr2, cr3, cr4 = struct.unpack_from("<4Q", data, _VBOX_CR)
        (efer,) = struct.unpack_from("<Q", data, _VBOX_EFER)
        return {"cr0": cr0, "cr2": cr2, "cr3": cr3, "cr4": cr4, "efer": efer}
    if name == "LINUX" and kind == _NT_S390_CTRS and len(data) == 128:
        return {f"cr{i}": value for i, value in enumerate(struct.unpack(">16Q", data))}
    return None
