"""The first page that a reader opens is light."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("playwright.sync_api", reason="python3 noxfile.py -s browser looks at the site")
MOST_BYTES = 150_000


def test_the_home_page_is_light(page: Page, address: str, sent: dict[str, int]) -> None:
    """All that the server sends until nothing more is asked, compressed as any static host does it."""
    sent.clear()
    page.goto(address, wait_until="networkidle")

    assert sum(sent.values()) <= MOST_BYTES, sent


def test_the_index_of_the_search_comes_with_the_first_look_at_the_search(
    page: Page, address: str, sent: dict[str, int]
) -> None:
    """It weighs more than the page."""
    sent.clear()
    page.goto(address, wait_until="networkidle")
    before = [path for path in sent if path.endswith("search_index.json")]
    with page.expect_response("**/search_index.json"):
        page.get_by_role("textbox", name="Search").focus()

    assert before == []


@pytest.mark.parametrize("query", ["?q=timeout", "?h=timeout"])
def test_whoever_comes_with_a_query_does_not_wait(page: Page, address: str, query: str) -> None:
    """A shared search opens with its results, and a page that was found marks the words."""
    with page.expect_response("**/search_index.json"):
        page.goto(f"{address}{query}")
