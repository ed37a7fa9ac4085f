"""The report in a browser: what it shows, and what happens when it is clicked.

``make test-browser`` runs this; Playwright drives Debian's Chromium, which FASTWALK_CHROMIUM
may name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from report_pages import hostile_page, largest_page, space_of

from fastwalk.cli import run

MOST_SECONDS = 2.0
LARGEST_SIZES = ["32 M", "24 M"]
READY = "html[data-ready=yes]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = os.environ.get("FASTWALK_CHROMIUM") or shutil.which("chromium")
    assert path, "there is no chromium; apt-get install chromium"
    with sync_playwright() as playwright:
        # Root, as in a container, has no sandbox of Chromium's.
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    space = space_of("x86_64-6.12-wx", folder)
    image = [str(folder / "tables.elf"), "--layout", str(folder / "layout.json")]
    assert run(["report", *image, "-o", str(folder / "report.html")]) == 0
    (folder / "hostile.html").write_text(hostile_page(space))
    (folder / "largest.html").write_text(largest_page(space))
    return folder


def shown(browser: Browser, file: Path, dark: bool = False) -> Page:
    """The page, ready; anything that it asks for or complains about fails the test."""
    page = browser.new_page(
        viewport={"width": 1400, "height": 1000}, color_scheme="dark" if dark else "light"
    )
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("request", lambda request: wrong.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_selector(READY, timeout=60_000)
    assert wrong == [file.as_uri()]
    return page


def first_row(page: Page) -> str:
    return page.locator('#space .row[aria-rowindex="1"]').inner_text()


def test_it_shows_the_machine(browser: Browser, files: Path) -> None:
    page = shown(browser, files / "report.html")
    expect(page.locator(".sub").first).to_contain_text("Linux 6.12.117, x86_64-4level")
    # Findings come first; what the image is, unfolds.
    expect(page.locator("#findings")).to_contain_text("PGD 0x1a16000[402]")
    expect(page.locator("#facts")).not_to_be_visible()
    page.locator("#image summary").click()
    expect(page.locator("#facts")).to_be_visible()
    expect(page.locator("#facts")).to_contain_text("init_top_pgt")
    expect(page.locator("#regions")).to_contain_text("vmalloc() Area")
    expect(page.locator("#counted")).to_contain_text("65,637 of 65,637 rows")
    assert "0xffff888000000000" in first_row(page)


def test_a_finding_leads_to_its_row(browser: Browser, files: Path) -> None:
    page = shown(browser, files / "report.html")
    page.locator("#findings [data-address='0xffffc90000005000']").first.click()
    found = page.locator("#space .row.found")
    expect(found).to_contain_text("0xffffc90000005000")
    expect(found).to_contain_text("W+X")
    expect(found).to_be_in_viewport()


def test_rows_are_filtered_and_sorted(browser: Browser, files: Path) -> None:
    page = shown(browser, files / "report.html")
    page.fill("#filter", "w+x")
    expect(page.locator("#counted")).to_contain_text("2 of 65,637 rows, 24 KiB mapped")
    page.fill("#filter", "0xffffc90000006123")
    expect(page.locator("#counted")).to_contain_text("1 of 65,637")
    assert "0xffffc90000005000" in first_row(page)
    page.fill("#filter", "modules nx")
    expect(page.locator('#space .row[aria-rowindex="1"]')).to_contain_text("Modules")
    page.fill("#filter", "")
    expect(page.locator("#counted")).to_contain_text("65,637 of 65,637")
    page.click("#head [data-key=size]")
    page.click("#head [data-key=size]")
    assert page.get_attribute("#head [data-key=size]", "aria-sort") == "descending"
    sizes = [page.locator(f'#space .row[aria-rowindex="{n}"] > *').nth(1) for n in (1, 2)]
    assert [size.inner_text() for size in sizes] == LARGEST_SIZES
    page.uncheck("[data-class='0']")
    expect(page.locator("#counted")).to_contain_text("84 of 65,637")


def test_a_region_fills_the_bar_and_the_table(browser: Browser, files: Path) -> None:
    page = shown(browser, files / "report.html")
    whole = page.inner_text("#shown-part")
    before = page.locator("#bar").screenshot()
    page.click("#regions button:has-text('vmalloc() Area')")
    expect(page.locator("#shown-part")).to_contain_text("0xffffc90000000000 to 0xffffe9ffffffffff")
    expect(page.locator("#counted")).to_contain_text("48 of 65,637")
    assert page.locator("#bar").screenshot() != before
    page.click("#in")
    assert page.inner_text("#shown-part") != whole
    page.click("#all")
    assert page.inner_text("#shown-part") == whole


def test_a_click_into_the_bar_finds_the_row(browser: Browser, files: Path) -> None:
    page = shown(browser, files / "report.html")
    page.click("#regions button:has-text('Vmemmap')")
    box = page.locator("#bar").bounding_box()
    assert box is not None
    lane = 22 + (box["height"] - 26) * 1.5 / 4
    page.mouse.move(box["x"] + box["width"] * 0.05, box["y"] + lane)
    expect(page.locator("#under")).to_contain_text("0xffffea0000000000")
    page.mouse.click(box["x"] + box["width"] * 0.05, box["y"] + lane)
    expect(page.locator("#space .row.found")).to_contain_text("0xffffea0000000000")


def test_the_wheel_zooms(browser: Browser, files: Path) -> None:
    page = shown(browser, files / "report.html")
    whole = page.inner_text("#shown-part")
    page.hover("#bar")
    page.mouse.wheel(0, -400)
    expect(page.locator("#shown-part")).not_to_have_text(whole)


def test_dark_follows_the_system(browser: Browser, files: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    assert shown(browser, files / "report.html").evaluate(ground) == "rgb(255, 255, 255)"
    assert shown(browser, files / "report.html", dark=True).evaluate(ground) == "rgb(20, 24, 31)"


def test_hostile_names_do_nothing(browser: Browser, files: Path) -> None:
    page = shown(browser, files / "hostile.html")
    page.fill("#filter", "img")
    expect(page.locator("#counted")).not_to_contain_text("0 of")
    page.locator("#findings [data-address]").click()
    assert "onerror" in page.title()
    assert page.locator("img").count() == 0


def test_100_000_rows_open_and_scroll_at_once(browser: Browser, files: Path) -> None:
    times = []
    for _ in range(3):
        page = shown(browser, files / "largest.html")
        times.append(page.evaluate("performance.now()") / 1000)
        if times[-1] < MOST_SECONDS:
            break
        page.close()
    assert min(times) < MOST_SECONDS, times
    expect(page.locator("#counted")).to_contain_text("100,000 of 100,000 rows")
    assert page.locator("#space .row").count() < 100
    page.evaluate("document.getElementById('body').scrollTop = 1e9")
    expect(page.locator('#space .row[aria-rowindex="100000"]')).to_be_visible()
    page.click("#head [data-key=flags]")
    expect(page.locator('#space .row[aria-rowindex="1"]')).to_be_visible()
    took = page.evaluate(
        "() => { const t = performance.now(); "
        "document.querySelector('#head [data-key=pa]').click(); return performance.now() - t; }"
    )
    assert took < 1000 * MOST_SECONDS
