"""Processor registers from the notes of QEMU, VirtualBox and s390x cores, and by name."""

from __future__ import annotations

import struct

import cut_dump
from cut_dump import CutImage

from fastwalk.detect import detect, registers
from fastwalk.detect.memory import Memory


def of(
    notes: list[tuple[str, int, bytes]], named: list[tuple[int, str, int]] | None = None
) -> list[dict[str, int]]:
    image = CutImage({0: bytes(4096)}, notes, None, named or [], [])
    return registers.of(Memory(image))


def test_qemu() -> None:
    # target/i386/arch_dump.c, struct QEMUCPUState.
    general = struct.pack("<II18Q", 1, 440, *range(18))
    segments = bytes(10 * 24)
    control = struct.pack("<5QQ", 0x80050033, 0, 0x1000, 0x1DFC000, 0x351EB0, 0)
    state = general + segments + control
    assert len(state) == 440
    (found,) = of([("CORE", 1, bytes(336)), ("QEMU", 0, state)])
    assert (found["cr0"], found["cr3"], found["cr4"]) == (0x80050033, 0x1DFC000, 0x351EB0)


def test_virtualbox() -> None:
    # include/VBox/vmm/dbgfcorefmt.h, struct DBGFCORECPU.
    general = struct.pack("<18Q", *range(18))
    selectors = bytes(6 * 24)
    control = struct.pack("<4Q", 0x80050033, 0, 0x2000, 0x6F0)
    debug, tables, sysenter = bytes(8 * 8), bytes(2 * 16 + 2 * 24), bytes(3 * 8)
    state = general + selectors + control + debug + tables + sysenter + struct.pack("<Q", 0xD01)
    (found,) = of([("VBCORE", 0xB00, b""), ("VBCPU", 0xB01, state)])
    assert (found["cr3"], found["cr4"], found["efer"]) == (0x2000, 0x6F0, 0xD01)


def test_s390x_control_registers() -> None:
    (found,) = of([("LINUX", 0x304, struct.pack(">16Q", *range(16)))])
    assert found["cr13"] == 13


def test_registers_by_name_come_first() -> None:
    named = [(1, "cr3", 0x5000), (0, "cr3", 0x4000), (0, "cr4", 0x20)]
    notes = [("LINUX", 0x304, bytes(128))]
    assert of(notes, named) == [{"cr3": 0x4000, "cr4": 0x20}, {"cr3": 0x5000}]


def test_notes_that_are_too_short_say_nothing() -> None:
    assert of([("QEMU", 0, bytes(100)), ("VBCPU", 0, b""), ("LINUX", 0x304, bytes(8))]) == []


def test_they_are_shown_and_name_the_current_space() -> None:
    image = cut_dump.load("x86_64-6.12-la57")
    found = detect(image, spaces=True)
    shown = next(e for e in found.evidence if e.what == "processor 0")
    assert "cr3 0x1dfc000" in shown.value
    assert found.layout.roots["current"].pa == 0x1DFC000
    assert found.layout.view("current_kernel").root == "current"
