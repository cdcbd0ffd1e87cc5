"""Each block that asks for a timeline has its picture on the built page."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from offloop.guide.pages import Page, docs_folder, guide_pages
from tests.site.conftest import SITE

if TYPE_CHECKING:
    from playwright.sync_api import Page as BrowserPage

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


COLOURS = """kinds => Object.fromEntries(kinds.map(kind => {
  const style = getComputedStyle(document.querySelector(`svg.timeline .${kind}`));
  return [kind, (kind === "process" ? style.fill : style.stroke).match(/\\d+/g).map(Number)];
}))"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_stall_is_red_and_nothing_else_is(page: BrowserPage, address: str, scheme: str) -> None:
    """In both schemes, each with colours of its own."""
    page.emulate_media(color_scheme=scheme)  # pyright: ignore[reportArgumentType]
    page.goto(f"{address}anti-patterns/blocking-calls/")
    colours = page.evaluate(COLOURS, ["stall", "run", "process"])

    def is_red(kind: str) -> bool:
        red, green, blue = colours[kind][:3]
        return red > 1.5 * max(green, blue)

    assert is_red("stall"), colours
    assert not is_red("run"), colours
    assert not is_red("process"), colours
    assert len({tuple(colour) for colour in colours.values()}) == 3
