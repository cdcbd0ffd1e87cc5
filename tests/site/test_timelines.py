"""Each block that asks for a timeline has its picture on the built page."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from offloop.guide.pages import Page, docs_folder, guide_pages
from tests.site.conftest import SITE

pytest.importorskip("playwright.sync_api", reason="python3 noxfile.py -s browser looks at the site")
PAGES = [page for page in guide_pages() if any(fence.shape is not None for fence in page.fences)]


def built(page: Page) -> Path:
    return SITE / page.path.relative_to(docs_folder()).with_suffix("") / "index.html"


@pytest.mark.skipif(not SITE.is_dir(), reason="python3 noxfile.py -s browser builds the site")
@pytest.mark.parametrize("page", PAGES, ids=[page.path.stem for page in PAGES])
def test_a_block_with_a_timeline_is_drawn(page: Page) -> None:
    """Small enough, with a name, a description and a sentence of its own, all on the same axis."""
    wanted = [
        fence.id
        for fence in page.fences
        if fence.shape is not None and (not fence.platforms or sys.platform in fence.platforms)
    ]

    html = built(page).read_text("utf-8")
    figures = re.findall(
        r'<figure class="timeline-figure">(<svg.*?</svg>)<figcaption>(.*?)</figcaption>', html
    )

    assert len(figures) == len(wanted)
    assert {name for name in wanted if name} <= set(re.findall(r'"timeline-([\w-]+)-title"', html))
    for svg, sentence in figures:
        assert len(svg.encode()) < 8000
        assert "<title" in svg
        assert "<desc" in svg
        assert re.match(r"\d+ task", sentence)
    assert (
        len(
            {
                svg[svg.rindex('class="axis"') :].partition("</text>")[0].partition(">")[2]
                for svg, _ in figures
            }
        )
        == 1
    )
