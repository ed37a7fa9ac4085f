"""layout.json: read, refused, written back."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import golden_cases
import pytest

from fastwalk import layout
from fastwalk.errors import LayoutError

GOOD: dict[str, Any] = {
    "schema": 1,
    "arch": "x86_64",
    "mode": "x86_64-4level",
    "kernel": "6.12.117",
    "page_size": 4096,
    "paging": {"levels": 4, "va_bits": 48},
    "roots": {"init": {"pa": "0x1000", "role": "kernel"}},
    "default_view": "kernel",
    "views": {
        "kernel": {
            "root": "init",
            "ranges": [["0x0", "0x7fff"], ["0xffff000000000000", "0xffffffffffffffff"]],
            "markers": [
                {"address": "0x0", "name": "User Space"},
                {"address": "0x8000", "name": "ESPfix Area", "max_lines": 16},
            ],
        }
    },
    "kasan": {"start": "0x1", "end": "0x2", "early_shadow": {"pte": "0x3000"}, "pte0": "0x25"},
}


@pytest.mark.parametrize("name", golden_cases.names())
def test_every_recorded_layout_survives_a_round_trip(name: str) -> None:
    text = golden_cases.Case(name).files["layout.json"]
    read = layout.loads(text)
    assert json.loads(read.to_json()) == json.loads(text)
    assert layout.loads(read.to_json()) == read


def test_what_is_read() -> None:
    read = layout.loads(json.dumps(GOOD))
    view = read.view()
    assert read.root(view.root) == layout.Root(0x1000, "kernel")
    assert view.ranges == ((0, 0x7FFF), (0xFFFF << 48, (1 << 64) - 1))
    assert view.markers[1] == layout.Marker(0x8000, "ESPfix Area", max_lines=16)
    assert read.kasan == layout.Kasan(1, 2, {"pte": 0x3000}, 0x25)
    assert read.paging == layout.Paging(levels=4, va_bits=48)
    assert read.mode_of(read.root("init")) == "x86_64-4level"


def test_headings() -> None:
    assert layout.Marker(0, "Kernel Image", edge="end").heading == "Kernel Image End"
    assert layout.Marker(0, "Modules").heading == "Modules"


# Where, what is written there, and what the error says.
WRONG: list[tuple[str, Any, str]] = [
    ("schema", 2, "schema: schema 2 is not known; this fastwalk reads 1"),
    ("colour", 1, "colour: unknown key; known here: schema, arch"),
    ("page_size", 4097, "page_size: 4097 is not a power of two"),
    ("mode", 4, "mode: must be text, not 4"),
    ("kernel", "", "kernel: must be text"),
    ("default_view", "user", "default_view: there is no view 'user'; views here: kernel"),
    ("paging.levels", 9, "paging.levels: 0x9 is out of range; use 0x1 .. 0x5"),
    ("paging.lpa2", "yes", "paging.lpa2: must be true or false"),
    ("paging.va_bit", 48, "paging.va_bit: unknown key"),
    ("roots", [], "roots: must be an object"),
    ("roots.init.pa", "1000", "roots.init.pa: \"1000\" is not a number; write hex"),
    ("roots.init.pa", "0x1_0", "roots.init.pa: \"0x1_0\" is not a number"),
    ("roots.init.pa", "0x10000000000000000", "roots.init.pa: 0x10000000000000000 is out of range"),
    ("roots.init.pa", -1, "roots.init.pa: -0x1 is out of range"),
    ("roots.init.pa", True, "roots.init.pa: must be a number, not true"),
    ("roots.init.role", "boss", 'roots.init.role: "boss" is not known here; use one of kernel'),
    ("views.kernel.root", "none", "views.kernel.root: there is no root 'none'; roots here: init"),
    ("views.kernel.ranges", [], "views.kernel.ranges: is empty"),
    ("views.kernel.ranges.0", ["0x1"], "views.kernel.ranges[0]: must be two addresses, not 1"),
    ("views.kernel.ranges.0", ["0x2", "0x1"], "views.kernel.ranges[0]: 0x2 is above 0x1"),
    ("views.kernel.ranges.1.0", "0x7000", "views.kernel.ranges[1]: begins inside the range before"),
    ("views.kernel.markers", {}, "views.kernel.markers: must be a list"),
    ("views.kernel.markers", [], "views.kernel.markers: is empty"),
    ("views.kernel.markers.1.address", "here", "views.kernel.markers[1].address: \"here\" is not"),
    ("views.kernel.markers.1.colour", 1, "views.kernel.markers[1].colour: unknown key"),
    ("views.kernel.markers.0.edge", "top", 'views.kernel.markers[0].edge: "top" is not known'),
    ("views.kernel.markers.0.name", "a\nb", "views.kernel.markers[0].name: \"a\\nb\" has a char"),
    ("kasan.end", "0x0", "kasan.end: 0x0 is not above start"),
    ("kasan.early_shadow.pgd", "0x0", "kasan.early_shadow.pgd: unknown key; known here: page, pte"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_what_is_wrong_is_named(path: str, value: Any, message: str) -> None:
    data = copy.deepcopy(GOOD)
    *parents, key = path.split(".")
    at: Any = data
    for parent in parents:
        at = at[int(parent)] if isinstance(at, list) else at[parent]
    at[int(key) if isinstance(at, list) else key] = value
    with pytest.raises(LayoutError) as caught:
        layout.loads(json.dumps(data), "my.json")
    text = str(caught.value)
    assert text.startswith(f"my.json: {message}")
    assert "; " in text
    assert "\n" not in text


@pytest.mark.parametrize("path", ["mode", "views.kernel.ranges", "roots.init.role"])
def test_a_missing_key_is_named(path: str) -> None:
    data = copy.deepcopy(GOOD)
    *parents, key = path.split(".")
    at: Any = data
    for parent in parents:
        at = at[parent]
    del at[key]
    with pytest.raises(LayoutError, match=f"key '{key}' is missing"):
        layout.loads(json.dumps(data))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[1",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"1e999",
        b"[" * 100_000,
        b'{"schema": 1, "schema": 1}',
    ],
)
def test_what_is_no_layout_ends_in_one_line(text: bytes) -> None:
    with pytest.raises(LayoutError) as caught:
        layout.loads(text, "my.json")
    assert str(caught.value).startswith("my.json: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="cannot be read"):
        layout.load(tmp_path / "layout.json")
    (tmp_path / "layout.json").write_text(json.dumps(GOOD))
    assert layout.load(tmp_path / "layout.json").mode == "x86_64-4level"


def test_names_that_are_not_there() -> None:
    read = layout.loads(json.dumps(GOOD))
    with pytest.raises(LayoutError, match="no view 'efi' in the layout; it has: kernel"):
        read.view("efi")
    with pytest.raises(LayoutError, match="no root 'efi' in the layout; it has: init"):
        read.root("efi")


def test_pte0_can_be_filled_in() -> None:
    read = layout.loads(json.dumps({k: v for k, v in GOOD.items() if k != "kasan"}))
    filled = read.with_pte0(7).kasan
    assert filled is not None
    assert filled.pte0 == 7


def test_the_example_of_the_documentation_is_one() -> None:
    page = (Path(__file__).parents[1] / "docs" / "layout.md").read_text()
    example = page.split("```json\n")[1].split("```")[0]
    assert layout.loads(example).view().root == "init_top_pgt"
