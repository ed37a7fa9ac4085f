"""The rules of an audit, as data: what is found, how bad it is, and why it matters."""

from __future__ import annotations

from typing import Literal, NamedTuple

Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")
"""From the mildest on."""


class Rule(NamedTuple):
    """One kind of finding."""

    id: str
    severity: Severity
    title: str
    why: str


RULES = (
    Rule(
        "wx",
        "error",
        "writable and executable by the kernel",
        "Who can write there can run code of their own in the kernel. The kernel's own check at "
        "boot (ptdump_check_wx, CONFIG_DEBUG_WX) counts the same pages.",
    ),
    Rule(
        "user-kernel",
        "error",
        "kernel address that a user program may access",
        "A user program reads, and where it is writable changes, the kernel's memory without a "
        "system call.",
    ),
    Rule(
        "text-writable",
        "error",
        "kernel text is writable",
        "Kernel code can be changed in place: CONFIG_STRICT_KERNEL_RWX is off or was undone.",
    ),
    Rule(
        "rodata-writable",
        "error",
        "the kernel's read-only data is writable",
        "Tables of function pointers and the like can be changed in place: "
        "CONFIG_STRICT_KERNEL_RWX is off or was undone.",
    ),
    Rule(
        "alias-wx",
        "error",
        "executable here, writable through another address",
        "The same physical page is mapped twice, and code can be changed through the other "
        "mapping: W^X holds at each address, and not for the memory.",
    ),
    Rule(
        "table-user",
        "error",
        "page table that a user program may write",
        "A user program can map any physical memory for itself.",
    ),
    Rule(
        "group",
        "error",
        "group of entries that claims to be one and is not uniform",
        "Entries with the contiguous bit (or NAPOT, or of a large page) may share one TLB entry. "
        "Where they differ, which of them is in force is not predictable.",
    ),
    Rule(
        "reserved",
        "warning",
        "present entry that the architecture does not define",
        "Reserved bits are set, or the type is none of this depth: an access faults, or does what "
        "this processor happens to do. A damaged table, or an entry made for another mode.",
    ),
    Rule(
        "outside-ram",
        "warning",
        "ordinary memory mapped where there is no RAM",
        "Cacheable mappings of device memory are undefined on some machines; or the entry is "
        "damaged; or the image lacks a part of the memory.",
    ),
    Rule(
        "table-outside",
        "warning",
        "page table that is not in the image",
        "What it maps is unknown: the dump left it out, or the entry is damaged.",
    ),
    Rule(
        "shadow-executable",
        "warning",
        "executable KASAN shadow",
        "Shadow is data of the kernel's own.",
    ),
    Rule(
        "shadow-zero",
        "warning",
        "writable page of zeros in the KASAN shadow",
        "One page stands for the shadow of all memory that is not tracked. It is read-only once "
        "KASAN is up; who writes to it hides bugs everywhere.",
    ),
    Rule(
        "user-wx",
        "note",
        "writable and executable by a user program",
        "Just-in-time compilers do so on purpose; other programs should not.",
    ),
    Rule(
        "table-writable",
        "note",
        "page table that the kernel may write through a mapping",
        "So it is by default: the direct map covers page tables. Who can write to kernel memory "
        "can map anything.",
    ),
    Rule(
        "shadow-missing",
        "note",
        "mapped kernel memory without KASAN shadow",
        "A check of an access there would itself fault. The end of the last large page of the "
        "kernel's image is such memory, and nobody's.",
    ),
    Rule(
        "wx-exempt",
        "note",
        "writable and executable, and the kernel's check lets it be",
        "Needed by the firmware or the processor; not counted.",
    ),
)

BY_ID = {rule.id: rule for rule in RULES}


class Exemption(NamedTuple):
    """Where the kernel itself makes an exception of a rule."""

    rule: str
    arch: str
    marker: str | None
    """The addresses are relative to this marker."""
    first: int
    last: int
    because: str


EXEMPTIONS = (
    # arch/s390/mm/dump_pagetables.c:80 of 6.12: trampolines in the first lowcore page, unless
    # the machine has the BEAR enhancement.
    Exemption("wx", "s390x", None, 0, 0xFFF, "the first lowcore page"),
    # arch/x86/mm/dump_pagetables.c:238 of 6.12: BIOS_BEGIN and BIOS_END of asm/pci_x86.h.
    Exemption("wx", "i386", "Kernel Mapping", 0xA_0000, 0xF_FFFF, "the PCI BIOS"),
    # arch/x86/entry/vsyscall/vsyscall_64.c: one page at VSYSCALL_ADDR.
    Exemption(
        "user-kernel", "x86_64", None, 0xFFFF_FFFF_FF60_0000, 0xFFFF_FFFF_FF60_0FFF, "vsyscall"
    ),
    # arch/arm/kernel/traps.c, early_trap_init: vectors and the user helpers behind them.
    Exemption("user-kernel", "arm", None, 0xFFFF_0000, 0xFFFF_1FFF, "vectors and user helpers"),
)


def reaches(rule: Rule, levels: tuple[str, ...]) -> bool:
    """Whether a rule is one of those named, or as severe as one of the severities named."""
    return any(
        level == rule.id
        or (level in SEVERITIES and SEVERITIES.index(rule.severity) >= SEVERITIES.index(level))
        for level in levels
    )
