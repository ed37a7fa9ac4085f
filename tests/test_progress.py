"""Progress: shown on a terminal and in a notebook, not when piped, and not for what is quick."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import golden_cases
import pytest

import fastwalk
from fastwalk import progress
from fastwalk.errors import WalkCancelledError


class Terminal(io.StringIO):
    """Standard error, as a terminal is."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """All work counts as long."""
    monkeypatch.setattr(progress, "PATIENCE", -1)
    monkeypatch.setattr(progress, "_INTERVAL", 0)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """rich is not installed."""
    monkeypatch.setitem(sys.modules, "rich.console", None)


@pytest.mark.usefixtures("slow", "plain")
def test_a_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress.Progress("walking") as shown:
        shown(1234, 0)
        shown(5678, 12)
        shown.step(3, 4)
    written = terminal.getvalue()
    assert "\rfastwalk: walking: 1,234 tables" in written
    assert "\rfastwalk: walking: 5,678 tables, 12 rows" in written
    assert "walking: 3 of 4" in written
    assert written.endswith("\r")
    assert "\n" not in written


@pytest.mark.usefixtures("slow")
def test_rich_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    status = SimpleNamespace(
        start=lambda: told.append("start"), update=told.append, stop=lambda: told.append("stop")
    )
    console = SimpleNamespace(status=lambda text: status)
    module = SimpleNamespace(Console=lambda stderr: console)
    monkeypatch.setitem(sys.modules, "rich.console", module)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.Progress("walking") as shown:
        shown(1, 2)
    assert told == ["start", "fastwalk: walking: 1 tables, 2 rows", "stop"]


@pytest.mark.usefixtures("slow")
def test_nothing_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.Progress("walking") as shown:
        shown(1, 2)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("plain")
def test_nothing_for_what_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress.Progress("walking") as shown:
        shown(1, 2)
    assert terminal.getvalue() == ""


@pytest.mark.usefixtures("slow")
def test_a_bar_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    bar = SimpleNamespace(
        set_description_str=lambda text, refresh: told.append(text),
        close=lambda: told.append("closed"),
    )
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "tqdm.auto", SimpleNamespace(tqdm=lambda leave: bar))
    with progress.reporting(None, "walking") as report:
        assert report is not None
        report(7, 0)
    assert told == ["walking: 7 tables", "closed"]
    with progress.reporting(False, "walking") as report:
        assert report is None


def test_what_is_given_is_what_is_called() -> None:
    def given(tables: int, rows: int) -> None:
        """Takes both."""

    with progress.reporting(given, "walking") as report:
        assert report is given
    with progress.reporting(None, "walking") as report:
        assert report is None
    with progress.reporting(True, "walking") as report:
        assert isinstance(report, progress.Progress)


def test_a_walk_reports_and_ends_when_told() -> None:
    case = golden_cases.Case("x86_64-6.12-4level")
    space = fastwalk.open(case.files["tables.elf"], layout=case.layout).kernel()
    seen: list[tuple[int, int]] = []
    space.walk(progress=lambda *at: seen.append(at))
    assert seen[-1][1] == len(space.walk())

    def stop(tables: int, rows: int) -> None:
        raise WalkCancelledError("enough")

    with pytest.raises(WalkCancelledError, match="enough"):
        space.walk(progress=stop)
