"""Whoever has no mouse reaches every part of a page, and sees where the focus is."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

api = pytest.importorskip("playwright.sync_api", reason="python3 noxfile.py -s browser looks at the site")
PAGE = "patterns/simple-execution/"
STILL = "*, ::before, ::after { transition: none !important; scroll-behavior: auto !important; }"
FOCUS = """() => {
  const element = document.activeElement;
  // A radio button has no size: what stands for it is beside it.
  const shown = element.matches(".md-option") ? element.nextElementSibling
    : element.matches(".tabbed-set > input") ? element.parentElement.querySelector(".tabbed-labels") : element;
  const {x, y, width, height} = shown.getBoundingClientRect();
  const above = (n) => n ? [n, ...above(n.parentElement)] : [];
  const grounds = above(shown.parentElement).map((n) => getComputedStyle(n).backgroundColor);
  const style = getComputedStyle(shown);
  const area = [".md-skip", ".md-search", ".md-tabs, .md-nav--primary", "article"].find((s) => element.closest(s));
  const top = document.elementFromPoint(
    Math.min(x + Math.min(width, 200) / 2, innerWidth - 1), Math.max(y, 0) + Math.min(height, 16) / 2
  );
  return {
    name: element.outerHTML.slice(0, 120), area: area ?? "", ring: style.outlineStyle + " " + style.outlineWidth,
    colour: style.outlineColor, ground: grounds.find((c) => !/^rgba/.test(c)) ?? "rgb(255, 255, 255)",
    at: [x, y, width, height], top: top?.outerHTML.slice(0, 80) ?? "",
    seen: !!top && (shown.contains(top) || top.contains(shown)) && width > 0 && style.opacity > 0,
  };
}"""


@pytest.fixture
def tab(page: Page, address: str) -> Callable[[], dict[str, Any]]:
    """Presses Tab on a page that has just been opened; returns what has the focus."""
    page.goto(f"{address}{PAGE}", wait_until="networkidle")
    page.add_style_tag(content=STILL)

    def press() -> dict[str, Any]:
        page.keyboard.press("Tab")
        with contextlib.suppress(api.TimeoutError):  # what opens for the focus needs a moment
            seen = f"() => {{ const focus = ({FOCUS})(); return focus.seen && focus; }}"
            return page.wait_for_function(seen, timeout=2000).json_value()
        return page.evaluate(FOCUS)

    return press


def light(colour: str) -> float:
    """The relative luminance of `rgb(...)`, as WCAG 2 defines it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, bright = sorted((light(one), light(other)))
    return (bright + 0.05) / (dark + 0.05)


def until_the_content(tab: Callable[[], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What has the focus, one after the other, and a few places of the content."""
    inside = 0
    for _ in range(200):
        focus = tab()
        yield focus
        inside += focus["area"] == "article"
        if inside > 12:
            return


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_place_that_the_tab_key_reaches_is_seen(
    page: Page, tab: Callable[[], dict[str, Any]], width: int, scheme: str
) -> None:
    """It is on the screen, below nothing else, and its ring stands out 3 to 1 from the ground."""
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)  # pyright: ignore[reportArgumentType]

    for focus in until_the_content(tab):
        assert focus["seen"], str(focus)
        assert focus["ring"] == "solid 2px", str(focus)
        assert contrast(focus["colour"], focus["ground"]) >= 3, str(focus)


def test_the_tab_key_reaches_every_part(tab: Callable[[], dict[str, Any]]) -> None:
    """The link past the navigation first, then the search, the navigation and the content."""
    areas = [focus["area"] for focus in until_the_content(tab)]

    assert [*dict.fromkeys(filter(None, areas))] == [
        ".md-skip",
        ".md-search",
        ".md-tabs, .md-nav--primary",
        "article",
    ]


def test_the_first_link_leads_past_the_navigation(page: Page, tab: Callable[[], dict[str, Any]]) -> None:
    """The next place is in the content."""
    tab()
    page.keyboard.press("Enter")

    assert tab()["area"] == "article"


def test_the_menu_of_a_narrow_page_opens_and_closes(page: Page, tab: Callable[[], dict[str, Any]]) -> None:
    """The focus goes into it, stays on what is seen of it, and returns to its button."""
    page.set_viewport_size({"width": 390, "height": 800})
    menu = page.get_by_role("button", name="Menu")
    menu.focus()
    page.keyboard.press("Enter")
    api.expect(menu).to_have_attribute("aria-expanded", "true")
    api.expect(page.locator(".md-nav--primary a:focus")).to_be_in_viewport()
    for focus in (tab(), tab(), tab()):
        assert focus["seen"], str(focus)
        assert focus["area"] == ".md-tabs, .md-nav--primary", str(focus)
    page.keyboard.press("Escape")

    api.expect(menu).to_have_attribute("aria-expanded", "false")
    api.expect(menu).to_be_focused()


def test_a_page_is_found_and_opened_from_the_keyboard(page: Page, address: str) -> None:
    """The slash leads to the search, Enter to the first result."""
    page.goto(address)
    page.keyboard.press("/")
    api.expect(page.locator(".md-search-result__meta")).to_have_text("Type to start searching")
    page.keyboard.type("WinError 87")
    first = page.locator(".md-search-result__item > a").first
    api.expect(first).to_have_attribute("href", re.compile("/winerror-87/"))
    page.keyboard.press("Enter")

    page.wait_for_url("**/troubleshooting/winerror-87/**")
