"""What starts loads nothing heavy that it does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from golden_cases import Case

CODE = """
import sys
from fastwalk.cli import run
try:
    status = run(sys.argv[1:]) if sys.argv[1:] else __import__("fastwalk") and 0
except SystemExit as end:
    status = end.code
heavy = {"numpy", "pandas", "polars", "pyarrow", "matplotlib", "dask", "multiprocessing"}
print(*sorted(heavy & set(sys.modules)), file=sys.stderr)
sys.exit(status)
"""
LAYOUT = ["tables.elf", "--layout", "layout.json"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Case("x86_64-6.12-4level").extract(tmp_path_factory.mktemp("x86"))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["audit", "--help"],
        ["report", "--help"],
        ["info", "tables.elf"],
        ["ptdump", *LAYOUT],
        ["spaces", *LAYOUT],
        ["translate", *LAYOUT, "0xffffffff81000000"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]) or "import",
)
def test_nothing_heavy(folder: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-c", CODE, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "")


@pytest.mark.parametrize(
    ("what", "not_needed"),
    [
        ("import fastwalk", {"argparse", "dataclasses", "inspect", "json", "pathlib"}),
        (
            "from fastwalk.cli import run; run(['ptdump', *sys.argv[1:]])",
            {"csv", "dataclasses", "inspect", "pathlib"},
        ),
    ],
    ids=["import", "ptdump"],
)
def test_only_the_standard_modules_that_are_needed(
    folder: Path, what: str, not_needed: set[str]
) -> None:
    code = (
        f"import sys; sys.path[:0] = {sys.path}; {what}; "
        f"print(*sorted({not_needed} & set(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-S", "-c", code, *LAYOUT]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "\n")


def test_one_image_in_bulk_starts_no_processes(folder: Path) -> None:
    command = [sys.executable, "-c", CODE, "bulk", "tables.elf"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "numpy")
