"""What programs read is what people read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from offloop.guide.fences import scan
from offloop.guide.pages import docs_folder, guide_pages

pytest.importorskip("griffe", reason="griffe, which mkdocstrings brings, is not installed")
pytest.importorskip("markdown", reason="markdown is not installed")
from offloop.guide import plain_copies
from offloop.guide.evidence import Evidence
from tests.guide.links import faults

ROOT = Path(__file__).parents[2]
SETTINGS = (ROOT / "mkdocs.yml").read_text("utf-8")
SITE_URL = "https://offloop.example/latest/"
PAGES = list(plain_copies.sources(SETTINGS, docs_folder()))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with the copies of all pages, and with pages that are empty."""
    site = tmp_path_factory.mktemp("site")
    for page in PAGES:
        (site / page.folder).mkdir(parents=True, exist_ok=True)
    plain_copies.write_copies(site, SETTINGS, docs_folder(), Evidence([]))
    for picture in (docs_folder() / "assets").iterdir():
        (site / "assets").mkdir(exist_ok=True)
        (site / "assets" / picture.name).touch()
    return site


def made_of(text: str, casts: Path = Path("nowhere")) -> str:
    """The copy of `patterns/one.md` with *text* below its title."""
    head = "---\ndescription: What it is.\ntags: [one]\nrevised: 2026-01-02\n---\n# One\n\n"
    return plain_copies.copy_of(
        plain_copies.Source("patterns/one.md", "Patterns", head + text), Evidence([]), casts, SITE_URL
    )


def test_a_copy_says_first_what_it_is_and_where() -> None:
    """Instead of front matter."""
    assert made_of("Text.\n") == (
        "# One\n\n> What it is.\n\nPage: <https://offloop.example/latest/patterns/one/>, revised 2026-01-02.\n\nText.\n"
    )


@pytest.mark.parametrize(
    ("written", "copied"),
    [
        ("[a](two.md)", "[a](../two/index.html.md)"),
        ("[a](two.md#b)", "[a](../two/index.html.md#b)"),
        ("[`a`](../index.md)", "[`a`](../../index.html.md)"),
        ("![a](../assets/a.svg)", "![a](../../assets/a.svg)"),
        ("[a](#b) [c](https://d.example/e.md)", "[a](#b) [c](https://d.example/e.md)"),
        ("`[a](two.md)`", "`[a](two.md)`"),
        ("```text\n[a](two.md)\n```", "```text\n[a](two.md)\n```"),
        ("/// tab | Linux\nText.\n///", "**Linux**\nText."),
        ("| x | <!-- evidence: start.md --> |", "| x | - |"),
    ],
)
def test_what_only_the_site_understands_is_rewritten(written: str, copied: str) -> None:
    """Links, tabs and our comments; never what stands in code."""
    assert made_of(written + "\n").partition("2026-01-02.\n\n")[2] == copied + "\n"


def test_a_recording_becomes_its_words(tmp_path: Path) -> None:
    """Those of the transcript."""
    head = '{"version": 3, "term": {"cols": 80, "rows": 24}, "title": "A run"}'
    (tmp_path / "run.cast").write_text(head + '\n[0.1, "o", "x"]\n', "utf-8")
    (tmp_path / "run.txt").write_text("$ run\nx\n", "utf-8")

    assert made_of("<!-- cast: run -->\n", tmp_path).endswith("A run:\n\n```text\n$ run\nx\n```\n")


def test_a_recording_with_blocks_in_it_stays_one_block(tmp_path: Path) -> None:
    """Its fence is longer than those that it shows."""
    head = '{"version": 3, "term": {"cols": 80, "rows": 24}, "title": "A run"}'
    (tmp_path / "run.cast").write_text(head + '\n[0.1, "o", "x"]\n', "utf-8")
    (tmp_path / "run.txt").write_text("$ cat page.md\n```python\nx = 1\n```\n# no heading\n", "utf-8")

    copy = made_of("<!-- cast: run -->\n", tmp_path)

    assert "````text\n$ cat page.md\n```python" in copy
    assert copy.endswith("# no heading\n````\n")


def test_what_is_made_from_docstrings_is_in_the_copy() -> None:
    """The signature, the text, and the members that the page asks for."""
    found = made_of("::: offloop.Stream\n    options:\n      members: [readline, read]\n")

    assert "### `offloop.Stream`\n\n```python\nclass Stream" in found
    assert re.findall("^#### .*$", found, re.MULTILINE) == ["#### `Stream.readline`", "#### `Stream.read`"]
    assert "```python\nasync def readline(" in found


def test_every_page_has_a_copy_with_all_its_blocks(site: Path) -> None:
    """As they stand on the page."""
    assert {page.name for page in PAGES} == {
        page.path.relative_to(docs_folder()).as_posix() for page in guide_pages()
    }
    for page in PAGES:
        fences, _ = scan(page.text)
        copied, _ = scan((site / page.folder / plain_copies.COPY).read_text("utf-8"))
        ours = [fence.content for fence in copied]
        assert [fence.line for fence in fences if fence.content not in ours] == [], page.name


def test_nothing_is_left_that_only_the_site_understands(site: Path) -> None:
    """No front matter, no comment, no directive."""
    for copy in site.rglob("*.md"):
        assert not re.search(r"\A---|^(?::::|<!--| *///)", copy.read_text("utf-8"), re.MULTILINE), copy


def test_every_link_of_a_copy_leads_to_a_copy_or_a_picture(site: Path) -> None:
    """Anchors are those of the pages, which are looked at when the site is built."""
    assert [fault for fault in faults(site) if "no such file" in fault] == []


def test_the_index_names_every_page_with_its_description(site: Path) -> None:
    """Below the sections of the navigation, with the name and the summary of the site at the top."""
    text = (site / "llms.txt").read_text("utf-8")

    assert re.match(r"# offloop\n\n> .+\n\n", text)
    assert len(re.findall(r"^- \[.+\]\(https://\S+/index\.html\.md\): \S.+$", text, re.MULTILINE)) == len(
        PAGES
    )
    assert re.findall("^## (.+)$", text, re.MULTILINE) == list(dict.fromkeys(page.section for page in PAGES))


def test_robots_find_the_sitemap(site: Path) -> None:
    """And may look at everything."""
    text = (site / "robots.txt").read_text("utf-8")

    assert re.search(r"^Sitemap: https://\S+/sitemap\.xml$", text, re.MULTILINE)
    assert "Disallow" not in text
