"""Nobody is kept out: axe-core finds nothing on a page of each kind, by day and by night, wide and narrow."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.site.conftest import MAY_LACK_ASSETS
from tests.site.kinds import one_of_each_kind

if TYPE_CHECKING:
    from playwright.sync_api import Page

api = pytest.importorskip("playwright.sync_api", reason="python3 noxfile.py -s browser looks at the site")
AXE = Path(__file__).parents[2] / ".nox" / "npm" / "node_modules" / "axe-core" / "axe.min.js"
SCHEMES = ("light", "dark")
WIDTHS = (1280, 390)
FOUND = """async () => {
  const {violations} = await axe.run(document, {resultTypes: ["violations"]});
  return violations.map(({id, nodes}) => `${id} in ${nodes.length} places, first ${nodes[0].target}: ${nodes[0].failureSummary}`);
}"""


@pytest.fixture(scope="module")
def axe() -> str:
    """The program that finds the faults; nothing of it is in the site."""
    if MAY_LACK_ASSETS and not AXE.is_file():
        pytest.skip("axe-core is not installed: python3 noxfile.py -s browser does that, and needs Node")
    return AXE.read_text("utf-8")


def faults(page: Page, axe: str, widths: Sequence[int] = WIDTHS) -> list[str]:
    """What axe-core says of the page as it is, in each scheme and width."""
    # A colour on its way to another one would be measured.
    page.add_style_tag(
        content="*, ::before, ::after { transition: none !important; animation: none !important; }"
    )
    page.evaluate(axe)
    found: list[str] = []
    for scheme, width in itertools.product(SCHEMES, widths):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        found += [f"{scheme}, {width} pixels: {fault}" for fault in page.evaluate(FOUND)]
    return found


@pytest.mark.parametrize("path", one_of_each_kind())
def test_a_page_has_no_fault(page: Page, address: str, axe: str, path: str) -> None:
    """Neither in its structure, nor in its names, nor in its colours."""
    page.goto(f"{address}{path}")

    assert faults(page, axe) == []


def test_an_open_search_has_no_fault(page: Page, address: str, axe: str) -> None:
    """With results."""
    page.goto(address)
    box = page.get_by_role("textbox", name="Search")
    box.focus()
    api.expect(page.locator(".md-search-result__meta")).to_have_text("Type to start searching")
    box.press_sequentially("timeout")
    api.expect(page.locator(".md-search-result__meta")).to_contain_text("matching documents")

    assert faults(page, axe) == []


def test_an_open_menu_has_no_fault(page: Page, address: str, axe: str) -> None:
    """On a narrow page, where it lies above the content."""
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{address}start/")
    page.get_by_role("button", name="Menu").click()

    assert faults(page, axe, [390]) == []
