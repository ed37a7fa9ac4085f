"""Pictures and notebook tables: that they show what the columns say, and can be read."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import golden_cases
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastwalk
from fastwalk.analysis.audit import audit
from fastwalk.analysis.stats import stats
from fastwalk.arch.spec import EXEC, WRITE
from fastwalk.layout import Marker
from fastwalk.mappings import Mappings
from fastwalk.view import changes, hilbert, regions, scale, treemap
from fastwalk.view.html import table

mpl.use("Agg")

LARGEST = (1 << 64) - 1


def opened(name: str, folder: Path) -> fastwalk.AddressSpace:
    case = golden_cases.Case(name).extract(folder)
    return fastwalk.open(case / "tables.elf", layout=case / "layout.json").kernel()


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> fastwalk.AddressSpace:
    return opened("x86_64-6.12-wx", tmp_path_factory.mktemp("wx"))


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def drawn(ax: Any) -> np.ndarray:
    """What a figure looks like: rows, columns, RGB."""
    buffer = io.BytesIO()
    ax.figure.savefig(buffer, format="rgba", dpi=60)
    width, height = (round(inches * 60) for inches in ax.figure.get_size_inches())
    pixels = np.frombuffer(buffer.getvalue(), np.uint8)
    return pixels.reshape(height, width, 4)[:, :, :3].astype(int)


def near(pixels: np.ndarray, color: str) -> int:
    """How many pixels have a colour."""
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(pixels - wanted).sum(axis=2) < 12).sum())


def test_regions_are_the_areas_between_markers(space: fastwalk.AddressSpace) -> None:
    found = regions.regions(space.origin())
    by_name = {region.name: region for region in found}
    assert by_name["vmalloc() Area"].first == 0xFFFFC90000000000
    assert by_name["Modules"].last == 0xFFFFFFFFFEFFFFFF
    assert found[-1].last == LARGEST
    ends = [(region.first, region.last) for region in found]
    assert ends == sorted(ends)
    assert sum(region.size for region in found) == 1 << 48


@pytest.mark.parametrize("name", golden_cases.names())
def test_regions_of_every_kernel_fill_its_address_space(name: str) -> None:
    from fastwalk.origin import Origin, Walked

    layout = golden_cases.Case(name).layout
    for view_name, view in layout.views.items():
        root = layout.root(view.root)
        mode = fastwalk.mode(layout.mode_of(root), root.index_va_bits)
        for half in mode.spec.halves:
            walked = Walked("it", mode.name, root.pa, half.name, "kernel", view_name)
            walked = walked._replace(index_va_bits=root.index_va_bits)
            found = regions.regions(Origin("image", layout, (walked,), "attributes"))
            assert sum(r.size for r in found) == sum(w.size for w in half.windows)
            for before, after in pairwise(found):
                assert before.last < after.first
            assert not any(r.name.lower().endswith((" end", " start")) for r in found)


def test_an_area_inside_another_one_gives_it_back(space: fastwalk.AddressSpace) -> None:
    markers = (
        Marker(0x0, "Identity Mapping", edge="start"),
        Marker(0x1000, "Lowcore", edge="start"),
        Marker(0x2000, "Lowcore", edge="end"),
        Marker(0x8000, "Identity Mapping", edge="end"),
    )
    layout = space.layout
    view = layout.view()._replace(markers=markers)
    origin = replace(space.origin(), layout=layout._replace(views={layout.default_view: view}))
    assert [(r.name, r.first) for r in regions.regions(origin)][:4] == [
        ("Identity Mapping", 0),
        ("Lowcore", 0x1000),
        ("Identity Mapping", 0x2000),
        ("", 0x8000),
    ]


def test_several_spaces_have_the_regions_of_all(tmp_path: Path) -> None:
    image = opened("arm64-6.12-4k-48", tmp_path).image
    maps = image.spaces().walk()
    found = regions.regions(maps.origin)
    assert regions.number_of(found, maps.start).min() >= 0
    assert found[0].first == 0
    assert sum(region.size for region in found) == 2 << 48
    for before, after in pairwise(found):
        assert before.last < after.first
    assert "2 address spaces" in maps.plot().get_title(loc="left")
    assert "space" in maps._repr_html_()


ROWS = st.lists(st.tuples(st.integers(0, LARGEST), st.integers(0, 1 << 50)), max_size=30)


@given(rows=ROWS, cuts=st.lists(st.integers(1, LARGEST), max_size=6, unique=True))
def test_places_are_in_order_and_fill_the_bar(rows: list[tuple[int, int]], cuts: list[int]) -> None:
    firsts = sorted([0, *cuts])
    areas = tuple(
        regions.Region(f"area {first}", first, next_first - 1)
        for first, next_first in zip(firsts, [*firsts[1:], 1 << 64], strict=True)
    )
    ordered = sorted(rows)
    start = np.array([first for first, _ in ordered], np.uint64)
    last = np.array([min(first + size, LARGEST) for first, size in ordered], np.uint64)
    made = scale.make(areas, start, last, 4096)
    assert [piece.begin for piece in made.pieces] == pytest.approx(
        [0.0, *(piece.end for piece in made.pieces[:-1])]
    )
    assert made.pieces[-1].end == pytest.approx(1)
    assert [p.first for p in made.pieces][1:] == [p.last + 1 for p in made.pieces][:-1]
    if ordered:
        places = made.place(start)
        assert (np.diff(places) >= 0).all()
        assert (places >= 0).all()
        assert (places <= 1).all()


def test_the_bar_shows_each_class_and_region(space: fastwalk.AddressSpace) -> None:
    maps = space.walk()
    for dark in (False, True):
        ax = maps.plot(dark=dark)
        pixels = drawn(ax)
        for lane in (regions.READ_ONLY, regions.WRITABLE, regions.WRITABLE_EXECUTABLE):
            of = regions.CLASSES[lane]
            assert near(pixels, of.dark if dark else of.light) > 20, of.name
        labels = [label.get_text() for label in ax.get_yticklabels()]
        assert "vmalloc() Area\n0xffffc90000000000" in labels
        boxes = [label.get_window_extent() for label in ax.get_yticklabels()]
        below = [box.y1 for box in boxes[:-1]]
        above = [box.y0 for box in boxes[1:]]
        assert all(y1 <= y0 + 2 for y1, y0 in zip(below, above, strict=True))


def test_a_bar_without_origin_or_rows(space: fastwalk.AddressSpace) -> None:
    maps = space.walk()
    plain = Mappings(maps.columns, maps.spec)
    assert len(plain.plot().get_yticklabels()) == 1
    none = maps[np.zeros(len(maps), bool)]
    assert none.plot().texts[0].get_text() == "nothing is mapped"


def test_a_bar_follows_the_style_in_force(space: fastwalk.AddressSpace) -> None:
    with plt.style.context("dark_background"):
        assert space.walk().plot().get_facecolor()[:3] < (0.2, 0.2, 0.2)


def test_the_hilbert_curve_visits_every_cell_once_by_neighbours() -> None:
    for order in range(1, 6):
        x, y = hilbert.curve(order)
        assert len(set(zip(x.tolist(), y.tolist(), strict=True))) == 4**order
        assert (np.abs(np.diff(x)) + np.abs(np.diff(y)) == 1).all()
        assert (int(x[0]), int(y[0])) == (0, 0)


def test_cells_count_the_mappings_of_their_memory(space: fastwalk.AddressSpace) -> None:
    maps = space.walk(coalesce="physical")
    total, most = hilbert.counts(maps, 0, 4096, 1 << 16)
    expected = np.zeros(1 << 16, int)
    both = np.zeros(1 << 16, bool)
    for row in maps:
        pages = slice(row.pa >> 12, (row.pa + row.size) >> 12)
        expected[pages] += 1
        both[pages] |= row.effective & (WRITE | EXEC) == WRITE | EXEC
    assert (total == expected).all()
    assert ((most == regions.WRITABLE_EXECUTABLE) == both).all()


def test_terabytes_of_shadow_are_one_page_of_memory(tmp_path: Path) -> None:
    golden_cases.Case("x86_64-6.12-kasan").extract(tmp_path)
    image = fastwalk.open(tmp_path / "tables.elf", layout=tmp_path / "layout.json")
    ax = image.kernel().walk_physical().plot.hilbert(dark=False)
    end = int(ax.get_title(loc="left").split(" to ")[1].split(",")[0], 16)
    assert end < 1 << 32


def test_a_hilbert_map_needs_physical_rows(space: fastwalk.AddressSpace) -> None:
    with pytest.raises(ValueError, match='coalesce="physical"'):
        space.walk().plot.hilbert()
    maps = space.walk(coalesce="physical")
    ax = maps.plot.hilbert(dark=False)
    assert "0x0" in [text.get_text() for text in ax.texts]
    assert len(np.unique(drawn(ax).reshape(-1, 3), axis=0)) > 5
    with pytest.raises(ValueError, match="no range"):
        maps.plot.hilbert(4096, 4096)
    with pytest.raises(ValueError, match="order 12"):
        maps.plot.hilbert(order=12)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=60))
def test_boxes_have_the_areas_of_their_weights(values: list[int]) -> None:
    sizes = sorted(map(float, values), reverse=True)
    boxes = treemap.squarify(sizes, treemap.Box(0, 0, 2, 1))
    for size, box in zip(sizes, boxes, strict=True):
        assert box.width * box.height == pytest.approx(2 * size / sum(sizes), rel=1e-6, abs=1e-9)
        assert box.x >= -1e-9
        assert box.x + box.width <= 2 + 1e-9
        assert box.y >= -1e-9
        assert box.y + box.height <= 1 + 1e-9


def test_the_treemap_hangs_every_table_below_another(space: fastwalk.AddressSpace) -> None:
    tables = space.tables()
    total, above = treemap.weights(tables)
    assert (above[tables.depth > 0] >= 0).all()
    assert total[tables.depth == 0].tolist() == [len(tables) * 4096]
    ax = tables.plot(dark=True)
    texts = " ".join(text.get_text() for text in ax.texts)
    assert "PUD 0xffffc90000000000" in texts
    assert ax.get_title(loc="left").startswith("376 KiB of page tables")


def test_notebook_tables_are_short(space: fastwalk.AddressSpace) -> None:
    html = space.walk()._repr_html_()
    assert html.count("<tr>") == 12
    assert "more ..." in html
    assert "0x" in html
    assert "<td" in space.tables()._repr_html_()
    notes = space.walk(coalesce="ptdump")
    assert "note" in notes._repr_html_()


def test_images_and_spaces_say_what_they_are(space: fastwalk.AddressSpace) -> None:
    html = space._repr_html_()
    assert "x86_64-4level, both half" in html
    assert "0x1a16000" in html
    assert "19 segments" in space.image._repr_html_()


def test_hostile_texts_are_escaped() -> None:
    hostile = "<script>alert(1)</script>&\"'"
    html = table(hostile, [hostile], [[hostile, hostile], [hostile]], [hostile])
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 6


@pytest.mark.parametrize("name", ["arm64-6.12-64k-52", "s390x-6.12-kasan", "i386-6.12-2level"])
def test_other_machines_are_drawn(name: str, tmp_path: Path) -> None:
    space = opened(name, tmp_path)
    for ax in (space.walk().plot(), space.tables().plot()):
        assert len(np.unique(drawn(ax).reshape(-1, 3), axis=0)) > 5


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> fastwalk.AddressSpace:
    return opened("x86_64-6.12-4level", tmp_path_factory.mktemp("plain"))


def test_changes_are_drawn_by_section_and_sort(
    plain: fastwalk.AddressSpace, space: fastwalk.AddressSpace
) -> None:
    found = fastwalk.diff(plain.walk_physical(), space.walk_physical())
    names, total, count = changes.bytes_by_section(found)
    assert count.sum() == len(found)
    assert total.sum() == found.columns["size"].sum()
    assert "vmalloc() Area" in names
    for dark in (False, True):
        ax = found.plot(dark=dark)
        pixels = drawn(ax)
        for lane in np.flatnonzero(count.sum(axis=0)).tolist():
            of = changes.LANES[lane]
            assert near(pixels, of.dark if dark else of.light) > 20, of.name
        assert [label.get_text() for label in ax.get_yticklabels()] == names


def test_no_change_is_said(plain: fastwalk.AddressSpace) -> None:
    found = fastwalk.diff(plain.walk(), plain.walk())
    assert found.plot().texts[0].get_text() == "no change"
    assert "no change" in found._repr_html_()


def test_notebook_tables_of_analyses(
    plain: fastwalk.AddressSpace, space: fastwalk.AddressSpace
) -> None:
    changed = fastwalk.diff(plain.walk_physical(), space.walk_physical())._repr_html_()
    assert changed.count("<tr>") == 12
    assert "appeared" in changed
    findings = audit(space.walk_physical(), space.tables())._repr_html_()
    assert "writable and executable by the kernel" in findings
    assert "vmalloc() Area+0x5000" in findings
    assert "10 more" in findings
    assert "init_top_pgt" in space.image.spaces()._repr_html_()
    counted = stats(space.walk_physical(), space.tables())
    assert counted._repr_html_().count("<tr>") == 1 + len(counted.leaves)
