"""What annotators see and do on Label Studio's own page, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from label_studio_server import Server, server  # noqa: F401 - a fixture
from test_real_label_studio import Team, hand_over, select_dir, take_back, title  # noqa: F401

from espnet_egl.store.tables import read_rows

pytestmark = pytest.mark.integration
CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture
def page(server: Server) -> Iterator[Any]:
    """Signed in as the project's owner; nothing but the server is asked."""
    if CHROMIUM is None:
        pytest.skip("no chromium: tests/report/install_browser.sh")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=120_000)  # its page takes a while on a busy machine
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(120_000)
        # Its page would send reports of errors.
        page.route(
            lambda url: not url.startswith((server.url, "blob:", "data:")),
            lambda route: route.abort(),
        )
        page.goto(f"{server.url}/user/login/")
        for name, value in server.owner.items():
            page.fill(f"input[name={name}]", value)
        page.locator("button[type=submit]").first.click()
        page.wait_for_url(lambda url: "login" not in url, wait_until="commit")
        yield page
        browser.close()


def test_who_goes_from_task_to_task_has_everything(
    hand_over: Callable[..., Team],
    take_back: Callable[..., dict[str, str]],
    page: Any,
    tmp_path: Path,
) -> None:
    from playwright.sync_api import expect

    team = hand_over()
    page.goto(f"{team.server.url}/projects/{team.project.id}/data?labeling=1")
    draft = page.get_by_test_id("htx-textbox-content")
    submit = page.get_by_role("button", name="Submit current annotation")

    # The clip is heard and seen, with its draft, its alternatives and both marks.
    expect(draft).to_have_text("one too")
    page.wait_for_function(
        "[...document.querySelectorAll('audio')].some(a => a.readyState >= 2 && a.duration == 0.75)"
    )
    expect(page.locator("canvas").first).to_be_visible()
    expect(page.get_by_text("What the recogniser heard, too:")).to_be_visible()
    assert "too:\nwon too\n" in page.locator("body").inner_text()
    for mark in ("not speech", "cannot understand"):
        expect(page.get_by_text(mark)).to_be_visible()
    draft.hover()
    page.get_by_role("button", name="Edit Region").click()
    page.keyboard.press("Control+A")
    page.keyboard.type("one two")
    page.keyboard.press("Enter")
    submit.click()

    # A mark, with the draft left where it is.
    expect(draft).to_have_text("five")
    assert "too:" not in page.locator("body").inner_text()
    page.get_by_text("not speech").click()
    submit.click()

    # No draft: the box is open, and what is typed counts as it is sent.
    page.locator("textarea[name=transcript]").fill("typed")
    submit.click()
    expect(draft).to_have_text("nine")
    page.get_by_role("button", name="skip-task").click()
    expect(page.get_by_text("No More Tasks Left in Queue")).to_be_visible()

    assert take_back("labelled") == {"a": "one two", "c": "typed"}
    rows = read_rows(tmp_path / "labelled" / "returned.tsv")
    states = {row["utterance"]: row["state"] for row in rows}
    assert states == {"a": "labelled", "b/2": "not_speech", "c": "labelled", "d": "out"}
    assert all(float(row["annotator_seconds"]) > 0 for row in rows)


def test_where_the_clip_is_in_what_is_heard_is_drawn(
    hand_over: Callable[..., Team],
    take_back: Callable[..., dict[str, str]],
    page: Any,
    tmp_path: Path,
) -> None:
    from playwright.sync_api import expect

    team = hand_over("--context_seconds", "1")
    page.goto(f"{team.server.url}/projects/{team.project.id}/data?labeling=1")
    draft = page.get_by_test_id("htx-textbox-content")
    expect(draft).to_have_text("one too")
    expect(page.get_by_text("Only from 0.0 s to 0.8 s")).to_be_visible()
    # In the outliner: the region, which stays when the draft is submitted.
    expect(page.get_by_text("the clip").first).to_be_visible()
    page.get_by_role("button", name="Submit current annotation").click()
    expect(draft).to_have_text("five")
    assert take_back("labelled") == {"a": "one too"}
    (annotation,) = team.tasks()["a"].annotations
    assert {part["from_name"] for part in annotation["result"]} == {"transcript", "clip_region"}
    unused = tmp_path / "labelled" / "not_used.tsv"
    assert not unused.exists() or "region" not in unused.read_text()
