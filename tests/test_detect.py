"""Detection on real dumps, cut down to the pages that it reads (see cut_dump.py).

What it finds has to be what the recorded layout of the machine says, and the text that
follows from it has to be the kernel's.
"""

from __future__ import annotations

import contextlib
import random

import cut_dump
import golden_cases
import naive
import pytest
from cut_dump import CutImage
from golden_cases import Case

from fastwalk import arch
from fastwalk.detect import NotDetected, detect
from fastwalk.layout import Layout
from fastwalk.text import ptdump

CUTS = cut_dump.names()
NO_VMCOREINFO = "s390x-6.12"
"""Has its symbols in the cut."""


def printed(layout: Layout, image: CutImage) -> str:
    view = layout.view()
    chosen = arch.dialect_of(layout, read=image.try_read)
    root = layout.root(view.root)
    dump = naive.ptdump(chosen.dialect, image.memory, root.pa, view.ranges, view.markers)
    return ptdump.text(chosen.dialect, view.markers, naive.text_rows(dump))


@pytest.fixture(params=CUTS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_layout_is_the_recorded_one(name: str) -> None:
    found = detect(cut_dump.load(name)).layout
    wanted = Case(name).layout
    assert (found.arch, found.mode, found.kernel) == (wanted.arch, wanted.mode, wanted.kernel)
    assert found.page_size == wanted.page_size
    assert found.default_view == wanted.default_view
    view = wanted.view()
    assert found.view() == view
    assert found.root(view.root) == wanted.root(view.root)
    for key in ("levels", "va_bits", "config_va_bits", "config_pa_bits", "lpa2", "index_bits"):
        assert getattr(found.paging, key) == getattr(wanted.paging, key), key
    if wanted.kasan is not None:
        assert found.kasan is not None
        assert (found.kasan.start, found.kasan.end) == (wanted.kasan.start, wanted.kasan.end)


def test_the_text_is_the_kernels(name: str) -> None:
    image = cut_dump.load(name)
    layout = detect(image).layout
    assert printed(layout, image) == Case(name).text(layout.default_view)


def test_memory_alone_says_the_same(name: str) -> None:
    """Without the container's notes: VMCOREINFO in memory, or none at all (s390x)."""
    image = cut_dump.load(name)
    told = detect(image).layout
    image.notes, image.vmcoreinfo, image.registers = [], None, []
    assert detect(image).layout == told


def test_every_finding_says_from_where(name: str) -> None:
    found = detect(cut_dump.load(name))
    what = {evidence.what for evidence in found.evidence}
    assert {"kernel", "architecture", "VMCOREINFO", "markers", "mode"} <= what
    assert all(evidence.value and evidence.source for evidence in found.evidence)


def test_the_early_shadow_is_found_by_its_form() -> None:
    """The KASAN cuts have no symbol table; the recorded layout has the symbols' values."""
    kasan = [name for name in CUTS if "kasan" in name]
    assert kasan
    for name in kasan:
        found = detect(cut_dump.load(name)).layout.kasan
        wanted = Case(name).layout.kasan
        assert found is not None
        assert wanted is not None
        assert found.early_shadow == wanted.early_shadow


def test_an_image_without_a_kernel() -> None:
    image = cut_dump.load(CUTS[0])
    image.vmcoreinfo, image.notes = None, []
    image.memory.segments = [(0, bytes(1 << 20))]
    image.memory.starts = [0]
    with pytest.raises(NotDetected, match="--layout"):
        detect(image)


def test_a_kernel_of_an_unknown_machine_is_named() -> None:
    image = cut_dump.load("x86_64-6.12-la57")
    image.vmcoreinfo = None
    image.memory.segments = [
        (pa, data.replace(b"x86_64\0", b"sparc7\0")) for pa, data in image.memory.segments
    ]
    with pytest.raises(NotDetected, match="sparc7"):
        detect(image)


def test_detection_can_be_written_and_read_as_a_layout(name: str) -> None:
    from fastwalk.layout import loads

    found = detect(cut_dump.load(name)).layout
    again = loads(found.to_json(), "detected")
    assert again == found


def test_processes_by_name_and_number() -> None:
    """s390x without VMCOREINFO's help: symbols, the list of tasks, the ASCEs."""
    image = cut_dump.load("s390x-6.12")
    image.notes, image.vmcoreinfo, image.registers = [], None, []
    found = detect(image, spaces=True)
    kernel, init = found.spaces
    assert (kernel.name, kernel.pid) == ("swapper_pg_dir", None)
    assert (init.pid, init.comm, init.mode) == (1, "init", "s390x-region3")
    recorded = Case("s390x-6.12").layout.root("current_user")
    assert init.root == recorded
    assert found.layout.roots == {"swapper_pg_dir": kernel.root, "pid-1": init.root}


def test_registers_name_the_current_space() -> None:
    found = detect(cut_dump.load("s390x-6.12"), spaces=True)
    assert found.layout.roots["current_user"] == found.layout.roots["pid-1"]
    assert "control register 7" in found.spaces[1].evidence


def test_symbols_by_name_and_by_address() -> None:
    kernel = detect(cut_dump.load("s390x-6.12")).kernel
    symbols = kernel.symbols()
    assert symbols is not None
    va = symbols.address("swapper_pg_dir")
    assert va is not None
    assert kernel.pa(va) == Case("s390x-6.12").layout.root("swapper_pg_dir").pa
    assert symbols.nearest(va + 5) == ("swapper_pg_dir", 5)


TOLD = [name for name in golden_cases.names() if "vmcoreinfo.txt" in Case(name).files]


@pytest.mark.parametrize("name", TOLD)
def test_vmcoreinfo_and_tables_alone(name: str) -> None:
    """Nothing of the kernel's data: mode, root and ranges are right all the same, every
    heading is a true one, and what is missing is said."""
    case = Case(name)
    image = CutImage({}, [], case.files["vmcoreinfo.txt"].decode(), [], case.memory.memory.segments)
    found = detect(image, spaces=True)
    wanted = case.layout
    view, wanted_view = found.layout.view(), wanted.view()
    assert found.layout.mode == wanted.mode
    assert found.layout.root(view.root) == wanted.root(wanted_view.root)
    assert view.ranges == wanted_view.ranges
    assert set(view.markers) <= set(wanted_view.markers)
    assert any("derived" in warning for warning in found.warnings)
    if wanted.kasan is not None:
        assert found.layout.kasan is not None
        tables = dict(found.layout.kasan.early_shadow)
        assert tables
        assert tables.items() <= dict(wanted.kasan.early_shadow).items()
    # Page-table isolation: every root and the one behind it.
    for root in wanted.roots.values():
        if root.role == "pti-user":
            assert root in found.layout.roots.values()


def test_a_copy_of_the_uts_names_is_no_kernel() -> None:
    """Namespaces copy init_uts_ns; the symbols tell which one is the kernel's."""
    image = cut_dump.load(NO_VMCOREINFO)
    image.notes, image.vmcoreinfo, image.registers = [], None, []
    real = detect(image)
    names = image.try_read(real.kernel.uts.pa, 390)
    assert names is not None
    copy = (b"\0" * 0x238 + names).ljust(4096, b"\0")
    image.memory.segments = [
        (pa, data.replace(b"OSRELEASE=", b"NOT_HERE==")) for pa, data in image.memory.segments
    ]
    image.memory.segments.insert(0, (0x7000, copy))
    image.memory.starts.insert(0, 0x7000)
    found = detect(image)
    assert found.kernel.uts.pa == real.kernel.uts.pa
    assert found.layout == real.layout


@pytest.mark.parametrize("seed", range(40))
def test_damage_is_survived(seed: int) -> None:
    """Whatever is wrong in the pages that detection reads, it ends, and with a layout or
    in one error."""
    noise = random.Random(seed)
    image = cut_dump.load(noise.choice(CUTS))
    damaged = []
    for pa, data in image.memory.segments:
        page = bytearray(data)
        for _ in range(noise.choice((0, 0, 3, 30))):
            at = noise.randrange(len(page))
            page[at : at + 8] = noise.choice((b"\xff" * 8, bytes(8), noise.randbytes(8)))
        if noise.random() > 0.03:
            damaged.append((pa, bytes(page[: len(data)])))
    image.memory.segments = damaged
    image.memory.starts = [pa for pa, _ in damaged]
    if image.vmcoreinfo is not None:
        text = list(image.vmcoreinfo)
        for _ in range(noise.choice((0, 5, 50))):
            text[noise.randrange(len(text))] = noise.choice("0123456789abcdef=-()\nZ")
        image.vmcoreinfo = noise.choice((None, "".join(text)))
    with contextlib.suppress(NotDetected):
        assert detect(image, spaces=True).layout.to_json()
