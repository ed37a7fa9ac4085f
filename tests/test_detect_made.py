"""Detection on kernels of which there is no whole dump here: the recorded tables, and
kernel data made as those kernels have it (names, markers, symbols; no VMCOREINFO)."""

from __future__ import annotations

import struct
from pathlib import Path

import golden_cases
import pytest
from cut_dump import CutImage
from golden_cases import Case
from test_kallsyms import Writer

import fastwalk as fw
from fastwalk import arch
from fastwalk.arch.spec import ByteOrder
from fastwalk.detect import detect
from fastwalk.detect.memory import Memory
from fastwalk.detect.translate import translate
from fastwalk.layout import Layout

PAGE = 4096
MACHINES = {
    "arm": b"armv7l",
    "i386": b"i686",
    "x86_64": b"x86_64",
    "arm64": b"aarch64",
    "riscv64": b"riscv64",
    "s390x": b"s390x",
    "ppc64le": b"ppc64le",
}
SPACE = 256 << 10
"""What the made data takes; it lies where the tables show the kernel image."""


def kernel_va(layout: Layout, values: dict[str, str]) -> int:
    """An address in the kernel image."""
    for name in ("_sdata", "_stext", "swapper_pg_dir_va", "init_mm_va"):
        if name in values:
            return int(values[name], 16) & -PAGE
    by_arch = {
        "arm": 0xC0800000,
        "i386": 0xC1100000,
        "x86_64": 0xFFFFFFFF81000000 + int(values.get("kernel_offset", "0"), 16),
        "riscv64": 0xFFFFFFFF80000000,
        "ppc64le": 0xC000000000100000,
        "s390x": next(
            (m.address for m in layout.view().markers if m.name.startswith("Kernel Image")), 0
        ),
    }
    return by_arch[layout.arch]


def made(case: Case) -> CutImage | None:
    """The case's tables with a kernel's data in the kernel image."""
    layout = case.layout
    view = layout.view()
    root = layout.root(view.root)
    spec = arch.spec_of(layout.mode_of(root), root.index_va_bits)
    word = 4 if layout.arch in ("arm", "i386") else 8
    order: ByteOrder = "big" if layout.arch == "s390x" else "little"
    mark, letter = ("<", ">")[order == "big"], "I" if word == 4 else "Q"
    tables = case.memory.memory.segments
    memory = Memory(CutImage({}, [], None, [], tables))
    # A stretch of the kernel image that is mapped in one piece and holds no tables.
    va = kernel_va(layout, case.case["values"])
    for start in range(va, va + (16 << 20), PAGE):
        pa = translate(memory, spec, root.pa, start)
        if pa is None:
            continue
        middle = range(0, SPACE, PAGE)
        if all(translate(memory, spec, root.pa, start + at) == pa + at for at in middle) and not (
            any(memory.read(pa + at, 1) for at in middle)
        ):
            break
    else:
        return None
    out = bytearray(SPACE)

    def put(at: int, data: bytes) -> int:
        out[at : at + len(data)] = data
        return start + at

    # Names, then the array as the architecture's ptdump declares it.
    names: dict[str, int] = {}
    at = 0x100
    for name in dict.fromkeys(marker.name for marker in view.markers):
        names[name] = put(at, name.encode() + b"\0")
        at += len(name) + 1
    sized = any(marker.edge for marker in view.markers)
    array = b""
    top = (1 << 8 * word) - 1
    for marker in view.markers:
        fields = [marker.address, names[marker.name]]
        if layout.arch in ("x86_64", "i386"):
            fields.append(marker.max_lines)
        if sized and marker.edge is None:
            fields = [1 << 32, 0, top, 0]
        elif sized:
            fields = [(marker.edge == "start") << 32, marker.address, marker.size or 0, fields[1]]
        array += struct.pack(f"{mark}{len(fields)}{letter}", *fields)
    width = len(array) // len(view.markers) // word
    last = [0, top, 0, 0] if sized else [top, 0, 0][:width]
    array += struct.pack(f"{mark}{width}{letter}", *last)
    markers = put(0x8000, b"\0" * 8 * word + array)
    uts = [b"Linux", b"(none)", layout.kernel.encode(), b"#1 SMP 2026", MACHINES[layout.arch]]
    names_va = put(0x9000, b"".join(field.ljust(65, b"\0") for field in [*uts, b"(none)"]))
    # arm64 6.9 and later: struct ptdump_info, {mm, markers, base_addr}.
    put(0xA000, struct.pack(f"{mark}3{letter}", 0, markers + 8 * word, view.ranges[0][0]))
    root_va = (start - pa + root.pa) & top
    base = min(start, root_va)
    symbols = [
        ("T", "_stext", base),
        *((("t", f"function_{i}", start + 16 + i)) for i in range(300)),
        ("D", "swapper_pg_dir" if layout.arch != "x86_64" else "init_top_pgt", root_va),
        ("D", "init_uts_ns", names_va),
        ("B", "_end", start + SPACE),
    ]
    if layout.arch == "arm64":
        bits = layout.paging.va_bits or 0
        symbols.append(("D", "vabits_actual", put(0xB000, bits.to_bytes(8, "little"))))
    version = "6.12" if layout.kernel.startswith("6.12") else "6.1"
    put(
        0x10000,
        Writer(word, order, sorted(symbols, key=lambda s: s[2]), base).write(version, False),
    )
    pages = {pa + i: bytes(out[i : i + PAGE]) for i in range(0, SPACE, PAGE)}
    return CutImage(pages, [], None, [], tables)


@pytest.mark.parametrize("name", golden_cases.names())
def test_the_layout_without_vmcoreinfo(name: str) -> None:
    case = Case(name)
    image = made(case)
    assert image is not None
    found = detect(image).layout
    wanted = case.layout
    assert (found.arch, found.mode, found.kernel) == (wanted.arch, wanted.mode, wanted.kernel)
    assert found.page_size == wanted.page_size
    assert found.view() == wanted.view()
    assert found.root(found.view().root) == wanted.root(wanted.view().root)
    for key in ("levels", "va_bits", "config_va_bits", "config_pa_bits", "lpa2"):
        assert getattr(found.paging, key) == getattr(wanted.paging, key), key


ELSEWHERE = [n for n in golden_cases.names() if n.startswith(("arm", "riscv64"))]
"""Machines whose memory does not begin at 0."""


@pytest.mark.parametrize("name", ELSEWHERE)
def test_where_raw_memory_begins(name: str, tmp_path: Path) -> None:
    image = made(Case(name))
    assert image is not None
    segments = image.memory.segments
    base = segments[0][0] & -(1 << 28)
    assert base > 0
    with open(tmp_path / "raw", "wb") as file:
        for pa, data in segments:
            file.seek(pa - base)
            file.write(data)
    found = fw.open(tmp_path / "raw")
    assert found.segments[0].pa == 0
    assert found.layout == detect(image).layout
    assert found.segments[0].pa == base
    assert ("base", f"{base:#x}") in found.details
    # Who says where it begins is believed.
    assert fw.open(tmp_path / "raw", base=base).layout == found.layout
