"""Whoever pastes an error into the search of the site gets its page first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from offloop.guide.pages import docs_folder, read_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

api = pytest.importorskip("playwright.sync_api", reason="python3 noxfile.py -s browser looks at the site")
PAGES = sorted((docs_folder() / "troubleshooting").glob("*.md"))


def title(path: Path) -> str:
    """Of the page, without the marks of code."""
    (found,) = re.findall(r"^# (.+)$", path.read_text("utf-8"), re.MULTILINE)[:1]
    return found.replace("`", "")


def error(path: Path) -> str:
    """The first error that the page shows, of a traceback its last line; the title if there is none."""
    shown = [fence.content for fence in read_page(path).fences if fence.language == "text"]
    found = re.findall(r"^[\w.]*(?:Error|Expired|Exception)\b.*$", "\n".join(shown[:1]), re.MULTILINE)
    return found[0] if found else title(path)


QUERIES = [(path, query) for path in PAGES for query in dict.fromkeys((title(path), error(path)))]


@pytest.fixture(scope="module")
def search(chromium: Browser, address: str) -> Iterator[Callable[[str], str]]:
    """Types into the search of the home page; returns the address of the first result."""
    page = chromium.new_page()
    page.goto(address)
    box = page.get_by_role("textbox", name="Search")
    box.focus()
    results = page.locator(".md-search-result__meta")
    api.expect(results).to_have_text("Type to start searching")

    def first(query: str) -> str:
        box.fill("")
        box.press("End")  # the search listens to keys
        api.expect(results).to_have_text("Type to start searching")
        box.fill(query)
        box.press("End")
        api.expect(results).to_contain_text("matching document")
        return page.locator(".md-search-result__item > a").first.get_attribute("href") or ""

    yield first
    page.close()


@pytest.mark.parametrize(("path", "query"), QUERIES, ids=[f"{p.stem}-{q[:40]}" for p, q in QUERIES])
def test_an_error_that_is_pasted_finds_its_page(
    search: Callable[[str], str], address: str, path: Path, query: str
) -> None:
    """As the first result, also with the colons and brackets of an error."""
    assert search(query).partition("?")[0] == f"{address}troubleshooting/{path.stem}/"
