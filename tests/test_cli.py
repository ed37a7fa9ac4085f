"""The command: what it prints, what it says when something is wrong, how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import elfwriter
import golden_cases
import pytest
from golden_cases import Case

import fastwalk as fw
from fastwalk.cli import COMMANDS
from fastwalk.errors import ImageChangedError, WalkCancelledError

MAIN = "from fastwalk.cli import main; main()"
PAGE = 4096
TABLE = 0x67
VIEWS = [(name, view) for name in golden_cases.names() for view in Case(name).case["views"]]


def fastwalk(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", MAIN, *map(str, arguments)]
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run(command, check=False, text=True, timeout=60, **given)


def refused(*arguments: str | Path, says: str, **options: Any) -> str:
    """The one line of a command that is refused, behind what it was warned of."""
    done = fastwalk(*arguments, **options)
    assert done.returncode == 2, done
    assert not done.stdout
    *warnings, line = done.stderr.splitlines()
    assert all(warning.startswith("fastwalk: warning: ") for warning in warnings), done.stderr
    assert line.startswith("fastwalk: "), done.stderr
    assert re.search(says, line), done.stderr
    return line


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded machine, as files."""
    return Case("x86_64-6.12-4level").extract(tmp_path_factory.mktemp("x86"))


@pytest.fixture(scope="module")
def tables(folder: Path) -> Path:
    return folder / "tables.elf"


@pytest.fixture(scope="module")
def layout(folder: Path) -> Path:
    return folder / "layout.json"


def changed(layout: Path, path: Path, **keys: object) -> Path:
    """The layout with other keys at its top."""
    path.write_text(json.dumps(json.loads(layout.read_text()) | keys))
    return path


# ---- help, and what is no command -------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_shows_an_example(command: str) -> None:
    done = fastwalk(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(rf"example: fastwalk {command} \S+", done.stdout)


def test_no_command_shows_them_all() -> None:
    done = fastwalk()
    assert (done.returncode, done.stdout) == (2, "")
    for command in COMMANDS:
        assert command in done.stderr
    assert fastwalk("--version").stdout == f"fastwalk {fw.__version__}\n"
    refused("ptdmp", "vmcore", "--view", "kernel", says="no command 'ptdmp'.*ptdump")


# ---- ptdump, and its check --------------------------------------------------------------


@pytest.mark.parametrize(("name", "view"), VIEWS)
def test_every_recorded_view(name: str, view: str, tmp_path: Path) -> None:
    """In this process, as the whole of the command; test_golden has it in one of its own."""
    case = Case(name)
    folder = case.extract(tmp_path)
    saved = folder / case.case["views"][view]["text"]
    options = [str(folder / "tables.elf"), "--layout", str(folder / "layout.json")]
    options += ["--view", view, "--isa", "scalar"]
    assert quiet(["ptdump", *options]) == (0, case.text(view))
    assert quiet(["ptdump", *options, "--check", str(saved)]) == (0, "")


def quiet(arguments: list[str]) -> tuple[int, str]:
    """Exit status and standard output of a command run in this process."""
    import contextlib
    import io

    from fastwalk.cli import run

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        return run(arguments), out.getvalue()


def test_check_says_where_texts_differ(folder: Path, tables: Path, layout: Path) -> None:
    case = Case("x86_64-6.12-4level")
    view = case.layout.default_view
    lines = case.text(view).splitlines(keepends=True)
    saved = folder / "saved.txt"
    missing = lines[30]
    saved.write_text("".join([*lines[:5], "another\n", *lines[6:30], *lines[31:]]))
    done = fastwalk("ptdump", tables, "--layout", layout, "--check", saved)
    assert (done.returncode, done.stderr) == (1, "")
    first, second = done.stdout.split("@@ ")[1:]
    assert first.splitlines()[1:] == ["-another", "+" + lines[5].rstrip("\n")]
    assert "line 6 " in first
    assert second.splitlines()[1:] == ["+" + missing.rstrip("\n")]
    assert "line 31 " in second


def test_check_of_what_is_no_text(folder: Path, tables: Path, layout: Path) -> None:
    ptdump = ("ptdump", tables, "--layout", layout, "--check")
    refused(*ptdump, folder / "nowhere.txt", says=r"nowhere.txt: .*text saved from debugfs")
    refused(*ptdump, tables, says=r"tables.elf: .*text.*debugfs")


def test_a_kernel_without_a_dialect_takes_the_nearest(
    tmp_path: Path, tables: Path, layout: Path
) -> None:
    older = changed(layout, tmp_path / "layout.json", kernel="5.10.1")
    done = fastwalk("ptdump", tables, "--layout", older)
    assert done.returncode == 0
    assert done.stdout
    assert re.fullmatch(r"fastwalk: warning: [^\n]*5\.10\.1[^\n]*6\.1\.192[^\n]*\n", done.stderr)


# ---- what is refused --------------------------------------------------------------------


def test_images_that_cannot_be_read(tmp_path: Path, tables: Path, layout: Path) -> None:
    ptdump = ("ptdump", "--layout", layout)
    refused(*ptdump, tmp_path / "nowhere", says="nowhere: ")
    refused(*ptdump, tmp_path, says=re.escape(str(tmp_path)))
    empty = tmp_path / "empty"
    empty.touch()
    refused(*ptdump, empty, says="empty: .*empty")
    text = tmp_path / "notes.txt"
    text.write_text("not an image")
    refused(*ptdump, text, says="notes.txt: ")
    locked = tmp_path / "locked"
    locked.write_bytes(b"x" * PAGE)
    locked.chmod(0)
    if not os.access(locked, os.R_OK):
        refused(*ptdump, locked, says="locked: .*ermission")


def test_a_truncated_image(tmp_path: Path, tables: Path, layout: Path) -> None:
    data = tables.read_bytes()
    cut = tmp_path / "cut.elf"
    cut.write_bytes(data[:40])
    refused("ptdump", cut, "--layout", layout, says="cut.elf: ")
    # Most of its memory is gone, and so may the root be: said in one line or another, never
    # passed over.
    cut.write_bytes(data[: len(data) // 2])
    done = fastwalk("ptdump", cut, "--layout", layout)
    assert "Traceback" not in done.stderr
    assert "cut.elf" in done.stderr or "not in the image" in done.stderr
    assert done.returncode == 2 or "not in the image" in done.stdout


def test_a_layout_of_another_architecture(tmp_path: Path, tables: Path, layout: Path) -> None:
    other = Case("arm64-6.12-4k-48").extract(tmp_path)
    line = refused("ptdump", tables, "--layout", other / "layout.json", says="machine 62")
    assert "arm64-4k-48" in line
    assert "give the layout" in line
    refused("walk", other / "tables.elf", "--layout", layout, says=r"machine 183 \(arm64\)")


def test_a_root_outside_of_the_image(tmp_path: Path, tables: Path, layout: Path) -> None:
    where = "0x123456789000"
    for arguments in (
        ("ptdump", tables, "--layout", layout, "--root", where),
        ("walk", tables, "--mode", "x86_64-4level", "--root", where),
        ("translate", tables, "--mode", "x86_64-4level", "--root", where, "0x1000"),
        ("audit", tables, "--mode", "x86_64-4level", "--root", where),
    ):
        line = refused(*arguments, says=rf"tables.elf: .*root table at {where} \(depth 0,")
        assert "right root?" in line


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"colour": "red"}, r"layout.json: colour: unknown key; known here: schema"),
        ({"schema": 2}, r"schema.*this fastwalk reads 1"),
        ({"page_size": "0x1001"}, r"page_size.*power of two"),
        ({"page_size": 1.5}, r"page_size.*number"),
        ({"mode": "x86_64-6level"}, r"x86_64-6level.*modes"),
        ({"default_view": "nowhere"}, r"default_view.*nowhere.*kernel"),
        ({"kernel": "newest"}, r"newest.*kernel version.*6\.12"),
        ({"roots": {}}, r"root"),
        ({"kasan": {"start": "0x2000", "end": "0x1000"}}, r"kasan.end.*not above start"),
    ],
)
def test_layouts_that_say_something_impossible(
    keys: dict[str, object], says: str, tmp_path: Path, tables: Path, layout: Path
) -> None:
    wrong = changed(layout, tmp_path / "layout.json", **keys)
    refused("ptdump", tables, "--layout", wrong, says=says)


def test_layouts_that_are_none(tmp_path: Path, tables: Path) -> None:
    for content in (b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, tables.read_bytes()):
        wrong = tmp_path / "layout.json"
        wrong.write_bytes(content)
        refused("ptdump", tables, "--layout", wrong, says="layout.json: ")
    refused("ptdump", tables, "--layout", tmp_path / "no.json", says="no.json: .*check the name")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ptdump", "--view", "nowhere"], r"no view 'nowhere'.*it has: .*kernel"),
        (["ptdump", "--root", "nobody"], r"no root 'nobody'.*it has: "),
        (["ptdump", "--root", "0xfoo"], r"--root: '0xfoo' is no number"),
        (["ptdump", "--root", "0x1000", "--view", "kernel"], r"--root"),
        (["ptdump", "--isa", "mmx"], r"isa: 'mmx'.*scalar"),
        (["ptdump", "--threads", "0"], r"threads.*0"),
        (["ptdump", "--threads", "many"], r"'many' is no number"),
        (["ptdump", "--budget", "-1"], r"-1 is less than 0"),
        (["ptdump", "--budget", "3"], r"rows and the budget is 3: give --budget \d+ \(.* MiB"),
        (["ptdump", "--dialect", "old"], r"'old' is not a kernel version"),
        (["ptdump", "--image-format", "floppy"], r"floppy"),
        (["ptdump", "--base", "0x10000000000000000"], r"no 64-bit address"),
        (["walk", "--start", "0x2000", "--end", "0x1000"], r"no range"),
        (["walk", "--end", "0x20000000000000000"], r"2\^64|no range"),
        (["walk", "--mode", "x86_64-7level"], r"no paging mode 'x86_64-7level'"),
        (["walk", "--half", "left"], r"no half 'left'"),
        (["walk", "--coalesce", "all"], r"all"),
        (["walk", "--budget", "10"], r"budget is 10: narrow it with --start and --end, or give"),
        (["walk", "--all-spaces", "--budget", "10"], r"10: leave out --all-spaces, or give --bud"),
        (["walk", "--coalesce", "none", "--budget", "10"], r"--coalesce attributes, or"),
        (["stats", "--budget", "10"], r"rows and the budget is 10: give --budget"),
        (["aliases", "--budget", "10"], r"rows and the budget is 10: give --budget"),
        (["walk", "--kasan", "collapse", "--coalesce", "ptdump"], r"ptdump"),
        (["translate", "0x1000000000000000000"], r"no 64-bit address"),
        (["translate", "here"], r"'here' is no number"),
        (["translate"], r"ADDR"),
        (["walk", "--frmat", "csv"], r"--frmat"),
    ],
)
def test_arguments_that_are_refused(
    arguments: list[str], says: str, tables: Path, layout: Path
) -> None:
    command, *rest = arguments
    refused(command, tables, "--layout", layout, *rest, says=says)


# ---- how it ends ------------------------------------------------------------------------


def test_exit_statuses(tables: Path, layout: Path, tmp_path: Path) -> None:
    given = (tables, "--layout", layout)
    assert fastwalk("walk", *given).returncode == 0
    assert fastwalk("translate", *given, "0xffffffff81000000").returncode == 0
    assert fastwalk("translate", *given, "0x1000").returncode == 1
    planted = Case("x86_64-6.12-wx").extract(tmp_path)
    wx = (planted / "tables.elf", "--layout", planted / "layout.json")
    assert fastwalk("audit", *wx).returncode == 1


def test_a_path_is_shown_table_by_table(tables: Path, layout: Path) -> None:
    done = fastwalk("translate", tables, "--layout", layout, "0xffffffff81000123")
    lines = done.stdout.splitlines()
    levels = [line.split()[0] for line in lines[1:]]
    assert levels[:3] == ["PGD", "PUD", "PMD"] or levels[:3] == ["P4D", "PUD", "PMD"]
    assert re.search(r"-> 0x[0-9a-f]+123 .*effective r-x", lines[-1]), lines


def test_info_says_from_where_and_what_is_assumed(tables: Path) -> None:
    done = fastwalk("info", tables)
    assert done.returncode == 0, done
    assert re.search(
        r"^kernel +6\.12\.117 +OSRELEASE in VMCOREINFO of the dump$", done.stdout, re.M
    )
    assert "init_uts_ns at" not in done.stdout
    assert "warning: init_uts_ns is not in the image" in done.stderr


def endless(tmp_path: Path) -> Path:
    """2^36 rows in a file of a page."""
    path = tmp_path / "self.raw"
    path.write_bytes(TABLE.to_bytes(8, "little") * 512)
    return path


LONG = ("walk", "--image-format", "raw", "--mode", "x86_64-4level", "--root", "0x0")


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAIN, *LONG, str(endless(tmp_path)), "--coalesce", "none"]
    command += ["--end", "0x40000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"0x0000000000000000-")
        process.stdout.close()
        assert process.wait(30) == 0
        assert process.stderr.read() == b""


def test_a_full_disk_is_one_line(tables: Path, layout: Path) -> None:
    image = (tables, "--layout", layout)
    commands: list[tuple[str | Path, ...]] = [
        ("ptdump", *image),
        ("walk", *image, "--coalesce", "none", "--end", "0xffff888000800000"),
        ("report", *image, "-o", "/dev/full"),
        ("walk", *image, "--format", "csv", "-o", "/dev/full"),
        ("walk", *image, "--format", "parquet", "-o", "/dev/full"),
    ]
    for command in commands:
        where = "/dev/full" if "-o" in command else "standard output"
        with open("/dev/full", "wb") as full:
            line = refused(*command, says=f"^fastwalk: {where}: No space left", stdout=full)
        assert "; " in line


def test_standard_output_that_is_closed(tables: Path, layout: Path) -> None:
    shell = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", MAIN]
    command = [*shell, "ptdump", str(tables), "--layout", str(layout)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 2
    assert done.stderr == "fastwalk: standard output is closed; give one, or /dev/null\n"


def test_names_that_the_output_cannot_show(tables: Path, layout: Path, tmp_path: Path) -> None:
    """Any bytes may be in the name of a file, and standard output may be plain ASCII."""
    strange = os.fsdecode(bytes(tmp_path / "caf") + b"\xc3\xa9 \xff.elf")
    os.symlink(tables, strange)
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    out = ("-o", tmp_path / "out")
    commands: list[tuple[str | Path, ...]] = [
        ("info",),
        ("audit", "--format", "sarif"),
        ("audit", "--format", "json", *out),
        ("report",),
        ("report", *out),
    ]
    for command, *more in commands:
        done = fastwalk(command, strange, "--layout", layout, *more, env=environment)
        assert (done.returncode, done.stderr) == (0, ""), command


def test_names_in_csv_may_have_commas(tables: Path, layout: Path, tmp_path: Path) -> None:
    odd = tmp_path / "layout.json"
    odd.write_text(layout.read_text().replace('"init_top_pgt"', '"init, or so"'))
    done = fastwalk("walk", tables, "--layout", odd, "--all-spaces", "--format", "csv")
    assert done.returncode == 0, done
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {row["space"] for row in rows} == {"init, or so", "current"}
    names = ("--view", "kernel", "--after-layout", odd, "--format", "csv")
    done = fastwalk("diff", tables, tables, "--layout", layout, *names, "--shift", "0x1000")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert rows
    assert all(int(row["start"], 16) >= 0 and None not in row for row in rows)


def test_interrupt_ends_a_long_walk_at_once(tmp_path: Path) -> None:
    """Ctrl-C while the core is at work, off the interpreter's lock."""
    command = [sys.executable, "-c", MAIN, *LONG, str(endless(tmp_path)), "--coalesce", "none"]
    command += ["--end", "0x4000000000", "--output", "/dev/null"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        time.sleep(1.0)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        assert process.wait(30) == 130
        assert time.monotonic() - started < 5
        assert process.stderr.read() == b"fastwalk: interrupted\n"


# ---- the same from Python ---------------------------------------------------------------


def space_of(tmp_path: Path) -> fw.AddressSpace:
    return fw.open(endless(tmp_path), format="raw").space("x86_64-4level", root=0)


def test_an_audit_of_more_mappings_than_can_be_looked_at(tmp_path: Path) -> None:
    """2^36 of them; joined by attributes they are two, and what is W+X shows all the same."""
    raw = ("--image-format", "raw", "--mode", "x86_64-4level", "--root", "0x0")
    done = fastwalk("audit", *raw, endless(tmp_path), "--fail-on", "never")
    assert (done.returncode, done.stderr) == (0, "")
    assert "[wx]" in done.stdout
    assert "[alias-wx]: needs the true mappings" in done.stdout


def test_progress_is_told_and_can_cancel(tmp_path: Path) -> None:
    space = space_of(tmp_path)
    seen: list[tuple[int, int]] = []

    def note(tables: int, rows: int) -> None:
        seen.append((tables, rows))

    maps = space.walk(0, 1 << 32, coalesce="none", progress=note)
    assert len(maps) == 1 << 20
    assert seen[-1][0] == 4
    assert seen == sorted(seen)
    started = time.monotonic()
    with pytest.raises(WalkCancelledError):
        space.walk(0, 1 << 37, coalesce="none", progress=lambda *_: True)
    assert time.monotonic() - started < 5

    def fail(*_: int) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        space.walk(0, 1 << 37, coalesce="none", progress=fail)


def test_the_lock_is_free_during_a_walk(tmp_path: Path) -> None:
    space = space_of(tmp_path)
    counted, stop = 0, threading.Event()

    def count() -> None:
        nonlocal counted
        while not stop.is_set():
            counted += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    space.walk(0, 1 << 35, coalesce="none")
    stop.set()
    thread.join()
    assert counted > 3


def test_images_by_descriptor_and_by_bytes(tables: Path, layout: Path) -> None:
    want = fw.open(tables, layout=layout).kernel().ptdump()
    data = tables.read_bytes()
    for source in (data, bytearray(data), memoryview(data)):
        assert fw.open(source, layout=layout).kernel().ptdump() == want
    with tables.open("rb") as file:
        file.seek(100)
        image = fw.open(file.fileno(), layout=layout)
        assert image.kernel().ptdump() == want
        assert file.tell() == 100
    # The image has a descriptor of its own.
    assert image.kernel().ptdump() == want
    assert fw.open(tables, layout=layout, mapped=False).kernel().ptdump() == want


def test_read_gives_the_bytes_behind_addresses() -> None:
    pages = [bytes([number]) * PAGE for number in range(4)]
    word = [(4 * PAGE + PAGE * (depth + 1)) | TABLE for depth in range(3)]
    upper = [w.to_bytes(8, "little").ljust(PAGE, b"\0") for w in word]
    # Virtual pages 0, 1, 2 are physical pages 3, 1, absent; page 3 is a hole.
    last = [3 * PAGE | TABLE, 1 * PAGE | TABLE, 1 << 30 | TABLE]
    table = b"".join(entry.to_bytes(8, "little") for entry in last).ljust(PAGE, b"\0")
    core = elfwriter.core([(0, b"".join(pages) + b"".join(upper) + table)])
    space = fw.open(core).space("x86_64-4level", root=4 * PAGE)
    assert space.read(PAGE - 2, 4) == b"\3\3\1\1"
    assert space.read(0, 2 * PAGE) == pages[3] + pages[1]
    assert space.read(5, 0) == b""
    with pytest.raises(fw.errors.ImageError, match=r"0x3000 is not mapped \(hole at depth 3\)"):
        space.read(3 * PAGE, 1)
    with pytest.raises(fw.errors.ImageError, match="0x40000000"):
        space.read(2 * PAGE - 1, 2)


SHRINK = """
import os, sys, threading
import fastwalk as fw
from fastwalk.errors import ImageError
path = sys.argv[1]
space = fw.open(path, format="raw").space("x86_64-4level", root=0)
assert len(space.walk()) == 2
os.truncate(path, 0)
for attempt in (space.walk, space.count, space.tables, space.ptdump, lambda: space.lookup([0])):
    try:
        attempt()
    except ImageError as error:
        print(type(error).__name__, str(error))
    else:
        print("nothing")
"""


def test_an_image_that_shrinks_is_an_error_and_no_signal(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHRINK, str(endless(tmp_path))],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    path = tmp_path / "self.raw"
    said = f"{path}: changed while it was read: of 0x1000 bytes those from offset 0x0 on are gone"
    advice = "copy it first, or stop what writes it, and open it again"
    assert done.stdout.splitlines() == [f"{ImageChangedError.__name__} {said}; {advice}"] * 5
