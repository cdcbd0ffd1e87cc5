"""Without JavaScript nothing that a page says is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from offloop.guide.pages import docs_folder, guide_pages
from tests.site.kinds import one_of_each_kind

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

api = pytest.importorskip("playwright.sync_api", reason="python3 noxfile.py -s browser looks at the site")
WITH_TABS = next(page.path for page in guide_pages() if "\n/// tab" in page.path.read_text("utf-8"))
HIDDEN = """() => [...document.querySelectorAll("article :is(h1, h2, h3, p, li, td, pre, dt, dd)")]
  .filter((e) => !e.checkVisibility({opacityProperty: true, visibilityProperty: true}) && !e.closest(".tabbed-block, details, .cast-chapters"))
  .map((e) => e.textContent.slice(0, 80))"""
UNLABELLED = """() => [...document.querySelectorAll(
    ".highlight:is(.output, .bad, [data-raises], [data-blocks-loop], [data-leaks], [data-hangs], [data-only], [data-because], [data-backend])"
  )].filter((e) => !/\\w/.test(getComputedStyle(e, "::before").content.replace("none", ""))).map((e) => e.className)"""


@pytest.fixture(scope="module")
def plain(chromium: Browser) -> Iterator[Page]:
    """A page that runs no script of the site."""
    context = chromium.new_context(java_script_enabled=False)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("path", one_of_each_kind())
@pytest.mark.parametrize("width", [1280, 390])
def test_the_content_is_there(plain: Page, address: str, path: str, width: int) -> None:
    """Every heading, sentence, listing and cell is seen, and every label of a listing."""
    plain.set_viewport_size({"width": width, "height": 800})
    plain.goto(f"{address}{path}")

    assert plain.evaluate(HIDDEN) == []
    assert plain.evaluate(UNLABELLED) == []
    assert plain.locator("noscript").count() == 0


def test_every_tab_opens(plain: Page, address: str) -> None:
    """They are radio buttons, which need no script."""
    plain.set_viewport_size({"width": 1280, "height": 800})
    plain.goto(f"{address}{WITH_TABS.relative_to(docs_folder()).with_suffix('').as_posix()}/")
    tabs = plain.locator(".tabbed-set").first
    blocks = tabs.locator(".tabbed-block")
    api.expect(blocks.nth(1)).to_be_hidden()
    tabs.locator(".tabbed-labels label").nth(1).click()

    api.expect(blocks.nth(1)).to_be_visible()


def test_the_menu_of_a_narrow_page_opens(plain: Page, address: str) -> None:
    """It is a checkbox, which needs no script."""
    plain.set_viewport_size({"width": 390, "height": 800})
    plain.goto(address)
    plain.locator(".md-header [for=__drawer]").click()

    api.expect(
        plain.locator(".md-nav--primary").get_by_role("link", name="Start", exact=True)
    ).to_be_in_viewport()
