"""What each page says of itself to search engines, to other sites and to programs."""

from __future__ import annotations

import struct
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.site.conftest import SITE, SITE_URL

pytest.importorskip("playwright.sync_api", reason="python3 noxfile.py -s browser looks at the site")
MOST_BYTES_OF_THE_PICTURE = 40_000


class Head(HTMLParser):
    """The title, the headings of the first level, and the elements that carry facts."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.language: str | None = None
        self.title = ""
        self.h1 = 0
        self.meta: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self._in_title = False
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._in_title = tag == "title" and not self.title
        self.h1 += tag == "h1"
        if tag == "html":
            self.language = values.get("lang")
        elif tag == "meta":
            self.meta[values.get("name") or values.get("property", "")] = values.get("content", "")
        elif tag == "link":
            self.links[values["rel"].strip()] = values["href"]

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data


@pytest.fixture(scope="module")
def heads(address: str) -> dict[str, Head]:
    """Of every page that has an address of its own, by that address."""
    found: dict[str, Head] = {}
    for file in sorted(SITE.rglob("index.html")):
        folder = file.parent.relative_to(SITE).as_posix()
        found[SITE_URL + ("" if folder == "." else f"{folder}/")] = Head(file)
    return found


def test_a_page_has_a_language_a_title_and_one_heading(heads: dict[str, Head]) -> None:
    """The title is that of no other page."""
    assert {where: head.language for where, head in heads.items() if head.language != "en"} == {}
    assert {where: head.h1 for where, head in heads.items() if head.h1 != 1} == {}
    assert len({head.title for head in heads.values()}) == len(heads)
    assert "" not in {head.title for head in heads.values()}


def test_a_page_says_what_it_is_about(heads: dict[str, Head]) -> None:
    """In one sentence, which no other page has."""
    descriptions = [head.meta.get("description", "") for head in heads.values()]

    assert "" not in descriptions
    assert len(set(descriptions)) == len(descriptions)


def test_a_page_names_its_address_and_its_copy(heads: dict[str, Head]) -> None:
    """One address, however it was reached, and Markdown beside it."""
    assert {
        where: head.links["canonical"] for where, head in heads.items() if head.links["canonical"] != where
    } == {}
    for where in heads:
        assert heads[where].links["alternate"] == "index.html.md"
        assert (SITE / where.removeprefix(SITE_URL) / "index.html.md").is_file()


def test_a_page_is_shown_well_by_other_sites(heads: dict[str, Head]) -> None:
    """With its title, its description and the one picture."""
    for where, head in heads.items():
        assert head.meta["og:url"] == where
        assert head.meta["og:title"] in head.title
        assert head.meta["og:description"] == head.meta["description"]
        assert head.meta["og:type"] == "article"
        assert head.meta["og:image"] == f"{SITE_URL}assets/social.png"
        assert head.meta["twitter:card"] == "summary_large_image"


def test_the_picture_is_small_and_of_the_size_that_is_said(heads: dict[str, Head]) -> None:
    """1200 x 630 pixels."""
    data = (SITE / "assets" / "social.png").read_bytes()
    meta = heads[SITE_URL].meta

    assert struct.unpack(">II", data[16:24]) == (int(meta["og:image:width"]), int(meta["og:image:height"]))
    assert len(data) <= MOST_BYTES_OF_THE_PICTURE
