"""Address spaces of a dump, by name, number and root: the API and the command."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import cut_dump
import elfwriter
import pytest
from golden_cases import Case

import fastwalk
from fastwalk.cli import run
from fastwalk.detect.evidence import Report
from fastwalk.detect.identity import UtsName
from fastwalk.detect.kernel import Kernel
from fastwalk.detect.memory import Memory
from fastwalk.detect.x86 import X86_64
from fastwalk.layout import Root

NAME = "s390x-6.12"


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The cut dump that has symbols and tasks, as an ELF core without notes."""
    image = cut_dump.load(NAME)
    path = tmp_path_factory.mktemp("dump") / "vmcore"
    path.write_bytes(elfwriter.core(image.memory.segments, "s390x", 64, "big"))
    return str(path)


def test_spaces_open_by_name(dump: str) -> None:
    image = fastwalk.open(dump)
    kernel, init = image.spaces()[:2]
    assert (kernel.root.role, init.comm, init.pid) == ("kernel", "init", 1)
    space = image.space(root=init.name)
    assert space.root == Case(NAME).layout.root("current_user").pa
    assert len(space.walk()) > 0
    assert image.evidence[-1][0] == "address spaces"


def test_spaces_of_a_layout_are_its_roots(tmp_path: Path) -> None:
    folder = Case(NAME).extract(tmp_path)
    image = fastwalk.open(folder / "tables.elf", layout=folder / "layout.json")
    found = {space.name: (space.mode, space.evidence) for space in image.spaces()}
    assert found == {
        "swapper_pg_dir": ("s390x-region3", "the layout"),
        "current_user": ("s390x-region3", "the layout"),
    }
    assert image.symbols is None


def test_the_command_lists_them(dump: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["spaces", dump]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[0].split() == ["name", "root", "role", "mode", "pid", "comm", "evidence"]
    assert lines[1].startswith("swapper_pg_dir")
    assert " 1 " in lines[2]
    assert " init " in lines[2]
    assert run(["spaces", dump, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[1]["pid"] == 1
    assert rows[1]["comm"] == "init"
    assert run(["spaces", dump, "--format", "csv"]) == 0
    assert next(csv.DictReader(io.StringIO(capsys.readouterr().out)))["role"] == "kernel"


@pytest.mark.parametrize("chosen", [["--pid", "1"], ["--comm", "init"], ["--root", "pid-1"]])
def test_a_process_for_every_command(
    dump: str, chosen: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["walk", dump, *chosen, "--format", "csv"]) == 0
    of_process = capsys.readouterr().out
    root = Case(NAME).layout.root("current_user")
    asked = ["--root", hex(root.pa), "--mode", str(root.mode)]
    assert run(["walk", dump, *asked, "--format", "csv"]) == 0
    assert capsys.readouterr().out == of_process
    assert run(["ptdump", dump, *chosen]) == 0
    assert capsys.readouterr().out.count("\n") > 10


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--pid", "77"], "it has: 1 init"),
        (["--comm", "bash"], "--comm bash: no such process"),
        (["--pid", "1", "--comm", "init"], "give one of"),
        (["--root", "nobody"], "nobody"),
    ],
)
def test_wrong_choices_are_one_line(
    dump: str, wrong: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["walk", dump, *wrong]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_symbols_stand_beside_addresses(dump: str, capsys: pytest.CaptureFixture[str]) -> None:
    symbols = fastwalk.open(dump).symbols
    assert symbols is not None
    va = symbols.address("init_task")
    assert va is not None
    run(["translate", dump, hex(va + 0x10)])
    assert "init_task+0x10" in capsys.readouterr().out
    run(["walk", dump, "--start", hex(va & -4096), "--end", hex((va & -4096) + 4096)])
    assert "+0x" in capsys.readouterr().out
    # Not the kernel image: no symbol, however near the last one is.
    assert symbols.label(0x1000) is None
    assert symbols.label((1 << 64) - 1) is None


@pytest.mark.parametrize("mode", ["x86_64-4level", "x86_64-5level"])
def test_isolated_roots_share_the_cpu_entry_area(mode: str) -> None:
    """With 5 levels it is the second tables that have the same entry for it."""
    root, area = 0x2000, 0x6000
    entries = {
        "x86_64-4level": {root + 508 * 8: area, root + 0x1000 + 508 * 8: area},
        "x86_64-5level": {
            root + 511 * 8: 0x4000,
            root + 0x1000 + 511 * 8: 0x5000,
            0x4000 + 508 * 8: area,
            0x5000 + 508 * 8: area,
        },
    }[mode]

    def user_root(present: dict[int, int]) -> Root | None:
        pages = bytearray(0x8000)
        for pa, table in present.items():
            pages[pa : pa + 8] = (table | 0x63).to_bytes(8, "little")
        image = cut_dump.CutImage({}, [], None, [], [(0, bytes(pages))])
        uts = UtsName(0, "6.12.117", "#1", "x86_64")
        kernel = Kernel(Memory(image), Report(), uts, None, 8, "little")
        top = Root(root, "kernel")
        return X86_64().user_root(kernel, mode, top, top)

    assert user_root(entries) == Root(root + 0x1000, "pti-user")
    last = max(entries)
    assert user_root({**entries, last: 0x7000}) is None
    assert user_root({pa: at for pa, at in entries.items() if pa != last}) is None
