"""A recording plays in the page, and can be read without playing."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from offloop.guide.pages import docs_folder
from tests.site.conftest import MAY_LACK_ASSETS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo-terminal for Python: nothing was recorded", allow_module_level=True)

from tests.casts.scenarios import SCENARIOS

api = pytest.importorskip("playwright.sync_api", reason="python3 noxfile.py -s browser looks at the site")
CASTS = [
    (path.relative_to(docs_folder()).with_suffix("").as_posix().removesuffix("index"), name)
    for path in sorted(docs_folder().rglob("*.md"))
    for name in re.findall(r"^<!-- cast: (\S+) -->$", path.read_text("utf-8"), re.MULTILINE)
]


@pytest.fixture
def player_is_there(page: Page, address: str) -> None:
    """Skips where the site was built without what the pages serve themselves."""
    if MAY_LACK_ASSETS and not page.request.get(f"{address}vendor/asciinema-player/asciinema-player.min.js").ok:
        pytest.skip("the site was built without the player: that needs Node")


def test_there_are_four() -> None:
    """On four pages."""
    assert len(CASTS) >= 4


@pytest.mark.usefixtures("player_is_there")
@pytest.mark.parametrize(("path", "name"), CASTS)
def test_a_recording_plays_from_a_chapter(
    page: Page, address: str, foreign: list[str], path: str, name: str
) -> None:
    """The player comes when it is scrolled to, and not before; a chapter shows what happens in it."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}{path}", wait_until="networkidle")
    figure = page.locator(f'figure[data-cast="{name}"]')
    assert not [url for url in asked if "asciinema" in url]

    figure.scroll_into_view_if_needed()
    terminal = figure.locator(".ap-term")
    api.expect(terminal).to_be_visible()
    figure.locator(".cast-chapters button").last.click()

    # The first command of the last chapter is typed.
    (scenario,) = (scenario for scenario in SCENARIOS if scenario.name == name)
    command = [step.command for step in scenario.steps if step.chapter][-1]
    api.expect(terminal).to_contain_text(f"$ {command}"[:60], timeout=30_000)
    assert foreign == []


@pytest.mark.parametrize(("path", "name"), CASTS)
def test_without_javascript_the_transcript_is_read(
    chromium: Browser, address: str, path: str, name: str
) -> None:
    """It is open, and nothing invites to play."""
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}{path}")
    figure = page.locator(f'figure[data-cast="{name}"]')

    api.expect(figure.locator("details pre")).to_be_visible()
    api.expect(figure.locator(".cast-screen")).to_be_hidden()
    api.expect(figure.get_by_role("button")).to_have_count(0)
    context.close()
