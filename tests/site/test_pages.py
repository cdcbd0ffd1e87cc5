"""What holds for every page of the built site."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from offloop.guide.pages import docs_folder, guide_pages

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("playwright.sync_api", reason="python3 noxfile.py -s browser looks at the site")
ADDRESSES = [
    page.path.relative_to(docs_folder()).with_suffix("").as_posix().removesuffix("index")
    for page in guide_pages()
]


@pytest.mark.parametrize("path", ADDRESSES)
def test_a_page_stays_on_its_host_and_in_its_width(
    page: Page, address: str, foreign: list[str], path: str
) -> None:
    """Nothing is asked from another host, nothing fails to load, and no width makes it scroll sideways."""
    failed: list[str] = []
    page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
    page.on("pageerror", lambda error: failed.append(str(error)))

    page.goto(f"{address}{path}", wait_until="load")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"at {width} pixels it is {wide} too wide"

    assert foreign == []
    assert failed == []
