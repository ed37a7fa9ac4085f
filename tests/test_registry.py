"""The registry of architectures: modes and dialects by name."""

from __future__ import annotations

import pytest
from golden_cases import Case

from fastwalk import arch
from fastwalk.errors import LayoutError, SpecError
from fastwalk.layout import Kasan


def test_modes_have_the_names_that_scripts_rely_on() -> None:
    modes = arch.modes()
    assert len(set(modes)) == len(modes)
    for name in (
        *("x86_64-4level", "x86_64-5level", "i386-pae", "i386-2level"),
        *("arm64-4k-48", "arm64-16k-47", "arm64-64k-52", "arm64-4k-52-lpa2"),
        *("arm-short", "arm-lpae", "riscv64-sv39", "riscv64-sv48", "riscv64-sv57"),
        *("s390x-region3", "ppc64-radix-4k", "ppc64-radix-64k"),
    ):
        assert name in modes
        assert arch.spec_of(name).name == name


@pytest.mark.parametrize("name", ["", "x86", "x86_64-6level", "arm64-4k-52", "nonsense", "spec"])
def test_unknown_modes_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match="no paging mode"):
        arch.spec_of(name)


@pytest.mark.parametrize(
    ("kernel", "version", "exact"),
    [
        ("6.12.117", "6.12.117", True),
        ("6.12.0-rc3", "6.12.117", True),
        ("6.12", "6.12.117", True),
        ("6.1.192-amd64", "6.1.192", True),
        ("6.1", "6.1.192", True),
        ("6.6.3", "6.1.192", False),
        ("6.8", "6.12.117", False),
        ("5.10", "6.1.192", False),
        ("7.0.1", "6.12.117", False),
    ],
)
def test_the_nearest_dialect_is_taken_and_said_not_to_be_exact(
    kernel: str, version: str, exact: bool
) -> None:
    layout = Case("x86_64-6.12-4level").layout._replace(kernel=kernel)
    chosen = arch.dialect_of(layout)
    assert (chosen.dialect.version, chosen.exact) == (version, exact)
    assert chosen.asked == kernel
    assert arch.dialect_of(layout, version="6.1").dialect.version == "6.1.192"


def test_what_is_no_version_is_refused() -> None:
    layout = Case("x86_64-6.12-4level").layout
    with pytest.raises(LayoutError, match="'newest' is not a kernel version"):
        arch.dialect_of(layout, version="newest")


def test_the_shadow_value_is_read_from_the_image_or_asked_for() -> None:
    case = Case("x86_64-6.12-kasan")
    layout = case.layout
    assert layout.kasan is not None
    dialect = arch.dialect_of(layout, read=case.memory.read).dialect
    pa = layout.kasan.early_shadow["pte"]
    data = case.memory.read(pa, 8)
    assert data is not None
    assert dialect.shadow_value == int.from_bytes(data, "little")
    with pytest.raises(LayoutError, match=r"kasan\.pte0 is not in the layout"):
        arch.dialect_of(layout)
    given = layout._replace(kasan=Kasan(early_shadow=layout.kasan.early_shadow, pte0=5))
    assert arch.dialect_of(given).dialect.shadow_value == 5


def test_attributes_are_named() -> None:
    assert arch.decode("x86_64-4level", 0x3 | 1 << 63) == ("P", "RW", "NX")
    assert "BLOCK" in arch.decode("arm64-4k-48", 1)


def test_a_root_can_be_indexed_with_more_bits_than_the_mode_has() -> None:
    wide = arch.spec_of("arm64-64k-48", 52)
    assert wide.depths[0].index_bits == 10
    [window] = wide.halves[0].windows
    assert (window.offset >> 42, window.size, window.base) == (0x3C0, 1 << 48, 0xFFFF << 48)
    for bits in (47, 56):
        with pytest.raises(SpecError, match="cannot be indexed with"):
            arch.spec_of("arm64-64k-48", bits)


@pytest.mark.parametrize(
    ("mode", "bits"),
    [
        # Arm ARM D8.2: index bits of each level for a granule and a VA size.
        ("arm64-4k-36", (6, 9, 9)),
        ("arm64-4k-39", (9, 9, 9)),
        ("arm64-4k-48", (9, 9, 9, 9)),
        ("arm64-4k-52-lpa2", (4, 9, 9, 9, 9)),
        ("arm64-16k-36", (11, 11)),
        ("arm64-16k-47", (11, 11, 11)),
        ("arm64-16k-48", (1, 11, 11, 11)),
        ("arm64-16k-52-lpa2", (5, 11, 11, 11)),
        ("arm64-64k-42", (13, 13)),
        ("arm64-64k-48", (6, 13, 13)),
        ("arm64-64k-52", (10, 13, 13)),
    ],
)
def test_arm64_tables_have_the_sizes_of_the_manual(mode: str, bits: tuple[int, ...]) -> None:
    assert tuple(depth.index_bits for depth in arch.spec_of(mode).depths) == bits


@pytest.mark.parametrize(
    ("mode", "sizes"),
    [
        ("arm64-4k-48", {12, 21, 30}),
        ("arm64-4k-52-lpa2", {12, 21, 30, 39}),
        ("arm64-16k-48", {14, 25}),
        ("arm64-16k-52-lpa2", {14, 25, 36}),
        ("arm64-64k-52", {16, 29, 42}),
        ("x86_64-5level", {12, 21, 30}),
        ("i386-2level", {12, 22}),
        ("i386-pae", {12, 21}),
    ],
)
def test_leaves_have_the_sizes_of_the_manual(mode: str, sizes: set[int]) -> None:
    spec = arch.spec_of(mode)
    shift, found = spec.page_bits, set()
    for depth in reversed(spec.depths):
        if any(rule.kind == "leaf" for rule in depth.rules):
            found.add(shift)
        shift += depth.index_bits
    assert found == sizes
