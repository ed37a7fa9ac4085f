"""The report's file: whole, self-contained, and safe whatever the image calls things."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from report_pages import HOSTILE, hostile_page, largest_page, space_of

import fastwalk
from fastwalk.cli import run
from fastwalk.view.report import MOST_ROWS, render


class Page(HTMLParser):
    """Elements that a test asks for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: dict[str, str] = {}
        self.visible = ""
        self._open: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._open = dict(attrs).get("id") or tag

    def handle_endtag(self, tag: str) -> None:
        self._open = None

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.texts[self._open] = self.texts.get(self._open, "") + data
        self.visible += data

    def column(self, name: str, dtype: str) -> np.ndarray:
        return np.frombuffer(base64.b64decode(self.texts[name]), dtype)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> fastwalk.AddressSpace:
    return space_of("x86_64-6.12-wx", tmp_path_factory.mktemp("wx"))


def test_the_command_writes_the_rows_of_the_walk(tmp_path: Path) -> None:
    space = space_of("x86_64-6.12-wx", tmp_path)
    out = tmp_path / "report.html"
    files = [str(tmp_path / "tables.elf"), "--layout", str(tmp_path / "layout.json")]
    assert run(["report", *files, "-o", str(out)]) == 0
    page = Page(out.read_text())
    maps = space.walk(coalesce="physical")
    assert (page.column("start", "<u8") == maps.start).all()
    assert (page.column("size", "<u8") == maps.size).all()
    assert (page.column("pa", "<u8") == maps.pa).all()
    assert "6.12.117" in page.visible
    assert "x86_64-4level" in page.visible
    assert "0xffffc90000005000" in page.visible
    assert page.texts["findings-title"] == "Findings"


def test_a_machine_with_too_many_rows_is_joined_by_attributes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastwalk.view.report.MOST_ROWS", 50)
    rows = len(space_of("x86_64-6.12-wx", tmp_path).walk())
    out = tmp_path / "report.html"
    files = [str(tmp_path / "tables.elf"), "--layout", str(tmp_path / "layout.json")]
    assert run(["report", *files, "-o", str(out)]) == 0
    page = Page(out.read_text())
    assert json.loads(page.texts["data"])["physical"] is False
    assert len(page.column("start", "<u8")) == 50
    assert "physical addresses are not shown" in page.visible
    assert f"Only the first 50 of {rows:,} rows are here." in page.visible


def test_nothing_is_loaded_from_anywhere(space: fastwalk.AddressSpace) -> None:
    text = render(space.walk(), space.tables())
    page = Page(text)
    for name, value in page.attributes:
        assert name not in ("src", "href", "srcset", "action"), (name, value)
        assert not name.startswith("on")
        assert name != "style"
    policy = next(value for name, value in page.attributes if value and "default-src" in value)
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert script is not None
    assert style is not None
    assert "default-src 'none'" in policy
    for part in (script[1], style[1]):
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "url(" not in text
    assert "http:" not in text
    assert "https:" not in text


def test_hostile_names_stay_text(space: fastwalk.AddressSpace) -> None:
    text = hostile_page(space)
    page = Page(text)
    assert "img" not in page.tags
    assert page.tags.count("script") == 11
    assert page.visible.count(HOSTILE) > 10
    names = [region["name"] for region in json.loads(page.texts["data"])["regions"]]
    assert HOSTILE in names


def test_no_more_rows_than_a_page_can_take(space: fastwalk.AddressSpace) -> None:
    page = Page(largest_page(space))
    assert len(page.column("start", "<u8")) == MOST_ROWS
    assert "Only the first 100,000 of 100,002 rows are here." in page.visible


def test_a_report_of_nothing(space: fastwalk.AddressSpace) -> None:
    maps = space.walk(0, 4096)
    assert len(maps) == 0
    page = Page(render(maps, findings=[]))
    assert "no rule of the audit found anything" in page.visible
