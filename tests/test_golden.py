"""What real kernels printed, against the whole way of the package: image, walk, text."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import golden_cases
import naive
import numpy as np
import pytest
from golden_cases import Case

import fastwalk
from fastwalk import _fastwalk, arch

NAMES = golden_cases.names()
VIEWS = [(name, view) for name in NAMES for view in Case(name).case["views"]]
COALESCE: tuple[naive.Coalesce, ...] = ("attributes", "physical", "none")
MAIN = "from fastwalk.cli import main; main()"
COLUMNS = ("start", "size", "pa", "attributes", "effective", "depth")


def image_of(case: Case) -> fastwalk.Image:
    return fastwalk.open(case.files["tables.elf"], layout=case.layout)


def test_all_recorded_kernels_are_of_a_known_mode() -> None:
    assert len(NAMES) == 35
    assert {Case(name).layout.mode for name in NAMES} <= set(arch.modes())


@pytest.mark.parametrize(("name", "view"), VIEWS)
def test_ptdump_prints_what_the_kernel_printed(name: str, view: str) -> None:
    case = Case(name)
    image = image_of(case)
    for isa in _fastwalk.isas():
        got = image.space(view=view).ptdump(isa=isa)
        assert got.splitlines() == case.text(view).splitlines()
        assert got == case.text(view)


@pytest.mark.parametrize("name", [name for name in NAMES if "kasan" not in name])
def test_walks_of_recorded_kernels_are_those_of_the_naive_walker(name: str) -> None:
    case = Case(name)
    space = image_of(case).kernel()
    root = case.layout.root(case.layout.view().root)
    spec = arch.spec_of(case.layout.mode_of(root), root.index_va_bits)
    atoms = list(naive.atoms(spec, case.memory, root.pa, naive_half(case), 0, 1 << 64))
    for coalesce in COALESCE:
        want = naive.merged(atoms, coalesce)
        got = space.walk(coalesce=coalesce)
        assert len(got) == len(want)
        for column in COLUMNS:
            values = np.array([getattr(row, column) for row in want], dtype=np.uint64)
            ours = np.asarray(getattr(got, column)).astype(np.uint64)
            assert np.array_equal(ours, values), column


def naive_half(case: Case) -> str:
    """The half in which the default view is."""
    layout = case.layout
    root = layout.root(layout.view().root)
    first = layout.view().ranges[0][0]
    for half in arch.spec_of(layout.mode_of(root), root.index_va_bits).halves:
        for window in half.windows:
            if window.base <= first < window.base + window.size:
                return half.name
    raise AssertionError(f"{first:#x} is in no half")


def test_the_command_prints_it(tmp_path: Path) -> None:
    case = Case("arm64-6.12-4k-48")
    folder = case.extract(tmp_path)
    command = [sys.executable, "-c", MAIN, "ptdump", str(folder / "tables.elf")]
    command += ["--layout", str(folder / "layout.json"), "--view", "user_page_tables"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.stderr == b""
    assert done.stdout.decode() == case.text("user_page_tables")
    assert done.returncode == 0
