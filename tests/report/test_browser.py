"""The report in a real browser, opened from disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from example_round import ATTACK, Round, made, make_round  # noqa: F401 - a fixture

from espnet_egl.bin import al_report

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
FLAGS += ["--autoplay-policy=no-user-gesture-required"]
ROWS = "#table-clips tbody tr"

if not CHROMIUM and os.environ.get("CI") != "true":
    pytest.skip("no chromium: tests/report/install_browser.sh", allow_module_level=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Opens a report; at the end, nothing was loaded, complained of or popped up."""
    troubles: list[str] = []
    requests: list[str] = []
    contexts = []

    def get(path: Path, width: int = 1280, height: int = 900) -> Any:
        contexts.append(browser.new_context(viewport={"width": width, "height": height}))
        page = contexts[-1].new_page()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        return page

    yield get
    for context in contexts:
        context.close()
    assert troubles == []
    assert {url.split(":")[0] for url in requests} <= {"file", "data"}


@pytest.fixture
def index(made: Round) -> Path:
    return made.home / "report" / "index.html"


def ranks(page: Any) -> list[int]:
    return [int(text) for text in page.locator(f"{ROWS} td:first-child").all_inner_texts()]


def test_rows_are_sorted_filtered_and_searched(open_page: Any, index: Path) -> None:
    from playwright.sync_api import expect

    page = open_page(index)
    assert ranks(page) == list(range(1, 26))
    head = page.locator("#table-clips thead th").first
    button = head.get_by_role("button")
    button.focus()
    for direction in ("ascending", "descending"):
        page.keyboard.press("Enter")
        # The page may sort a moment later.
        expect(head).to_have_attribute("aria-sort", direction, timeout=30000)
    assert ranks(page)[:3] == [30, 29, 28]
    speaker = page.locator(".filters label", has_text="speaker").first.locator("select")
    speaker.select_option(label="spk1")
    expect(page.locator(ROWS)).not_to_have_count(25, timeout=30000)
    shown = page.locator(ROWS).all_inner_texts()
    assert 0 < len(shown) < 25
    assert all("spk1" in text for text in shown)
    speaker.select_option(label="all")
    search = page.locator(".records[data-source=clips] .dt-search input")
    search.fill("東京")
    expect(page.locator(f"{ROWS} .texts").first).to_contain_text("東京", timeout=30000)
    found = page.locator(f"{ROWS} .texts").all_inner_texts()
    assert found
    assert all("東京" in text for text in found)
    # Of a hypothesis that is shown in pieces.
    search.fill("東京とです")
    expect(page.locator(f"{ROWS} .texts").first).to_contain_text("東京とです", timeout=30000)
    search.fill("onerror=alert(1)> &")
    expect(page.locator(ROWS)).to_have_count(5, timeout=30000)
    page.locator(".records[data-source=clips] .filters select").last.select_option("0 asc")
    assert ranks(page) == sorted(ranks(page))


def test_the_keyboard_reaches_the_sort_buttons(open_page: Any, index: Path) -> None:
    page = open_page(index)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator(".records[data-source=clips] .dt-length select").focus()
    page.keyboard.press("Tab")
    reached = set()
    for _ in range(12):
        reached.add(page.evaluate("document.activeElement.getAttribute('aria-label')"))
        page.keyboard.press("Tab")
    assert "rank: sort by it" in reached
    assert "confidence: sort by it" in reached


def test_what_was_recognised_stays_text(open_page: Any, index: Path) -> None:
    page = open_page(index)
    page.locator(".records[data-source=clips] .dt-length select").select_option("100")
    texts = page.locator(f"{ROWS} .texts li:first-child .speech").all_inner_texts()
    assert texts.count(ATTACK) == 5
    assert page.locator("main img:not(figure img)").count() == 0
    assert ATTACK in page.locator("#left").inner_text()
    hebrew = page.locator(".speech", has_text="שלום").first
    assert hebrew.evaluate("node => getComputedStyle(node).direction") == "rtl"
    marks = page.locator(f"{ROWS} .texts li:nth-child(2) mark").all_inner_texts()
    assert set(marks) == {"x"}


@pytest.mark.parametrize("table", ["clips", "left_out"])
def test_a_clip_is_heard(open_page: Any, index: Path, table: str) -> None:
    page = open_page(index)
    player = page.locator(f"#table-{table} audio").first
    assert player.evaluate("node => [node.preload, node.readyState]") == ["none", 0]
    player.evaluate("node => node.play()")
    for _ in range(100):
        if player.evaluate("node => node.currentTime") > 0.1:
            break
        page.wait_for_timeout(50)
    assert player.evaluate("node => node.currentTime") > 0.1
    assert player.evaluate("node => node.error") is None
    # The clip, of a file that has what is around it, too.
    assert 1 <= player.evaluate("node => node.currentTime") < 2.7


def test_what_is_around_a_clip_is_heard(open_page: Any, index: Path) -> None:
    page = open_page(index)
    player = page.locator("#table-clips audio").first
    button = page.locator("#table-clips .around").first
    clip = player.evaluate("node => node.src")
    start, end = map(float, clip.split("#t=")[1].split(","))
    assert 0.9 < end - start < 1.8
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert player.evaluate("node => node.src") == clip.split("#")[0]
    for _ in range(100):
        if player.evaluate("node => node.currentTime") > 0.1:
            break
        page.wait_for_timeout(50)
    # From the beginning of what is before it.
    assert 0.1 < player.evaluate("node => node.currentTime") < start
    assert player.evaluate("node => node.duration") > end
    button.click()
    assert player.evaluate("node => node.src") == clip


def test_on_a_phone_nothing_is_wider_than_the_screen(open_page: Any, index: Path) -> None:
    page = open_page(index, 390, 844)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator(ROWS).first.bounding_box()["width"] <= 390


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (768, 1024), (375, 812)])
def test_the_first_screen_answers(open_page: Any, index: Path, width: int, height: int) -> None:
    page = open_page(index, width, height)
    assert page.locator(".figures strong").count() == 3
    glance = page.locator(".glance").bounding_box()
    assert glance["y"] + glance["height"] <= height
    picture = page.locator(".glance img").bounding_box()
    assert picture["x"] + picture["width"] <= width
    assert page.locator("table").first.bounding_box()["y"] > glance["y"] + glance["height"]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_axe_finds_no_serious_violation(
    open_page: Any, index: Path, width: int, scheme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(index, width)
    page.emulate_media(color_scheme=scheme)
    # The page's policy lets no script in but its own: axe comes in from outside.
    found = Axe().run(page).response["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in serious] == []


def test_printing_shows_all_rows(open_page: Any, index: Path) -> None:
    page = open_page(index)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(ROWS).count() == 30
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator(ROWS).count() == 25


def test_two_thousand_clips_are_a_small_page(open_page: Any, tmp_path: Path) -> None:
    made = make_round(tmp_path, 2100, "2000utt", text_length=4)
    al_report.main([*made.options(), "--max_audio", "2000", "--report_lang", "ja"])
    index = made.home / "report" / "index.html"
    assert index.stat().st_size < 10e6
    page = open_page(index)
    assert page.locator("html").get_attribute("lang") == "ja"
    assert page.locator(ROWS).count() == 25
    assert page.locator("#table-clips audio").count() == 25
    assert "2000" in page.locator(".records[data-source=clips] .dt-info").inner_text().replace(
        ",", ""
    )
