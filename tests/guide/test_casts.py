"""A recording on a page: the figure, its chapters and its transcript."""

from __future__ import annotations

import json
from pathlib import Path

import markdown
import pytest

PAGE = "Before.\n\n<!-- cast: demo -->\n\n```text\n<!-- cast: demo -->\n```\n"
EVENTS = [
    {"version": 3, "term": {"cols": 80, "rows": 10}, "title": "A <demo>"},
    [0.5, "m", "First & last"],
    [0.25, "o", "$ x\r\n"],
    [1.0, "m", "Second"],
]


def render(docs: Path, page: str = PAGE) -> str:
    settings = {"offloop.guide.casts": {"docs": str(docs)}}
    return markdown.markdown(
        page, extensions=["pymdownx.superfences", "offloop.guide.casts"], extension_configs=settings
    )


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder of pages with one recording."""
    casts = tmp_path / "casts"
    casts.mkdir()
    (casts / "demo.cast").write_text("\n".join(map(json.dumps, EVENTS)), "utf-8")
    (casts / "demo.txt").write_text("$ x\n<b>\n", "utf-8")
    return tmp_path


def test_the_transcript_is_there_without_a_player(docs: Path) -> None:
    """Open, escaped, and alone where there is nothing to play it with."""
    html = render(docs)

    assert '<details class="cast-text" open>' in html
    assert "$ x\n&lt;b&gt;" in html
    assert "A &lt;demo&gt;" in html
    assert "cast-screen" not in html


def test_with_a_player_there_are_chapters(docs: Path) -> None:
    """Each with the second at which it begins."""
    (docs / "vendor" / "asciinema-player").mkdir(parents=True)

    html = render(docs)

    assert 'data-cols="80" data-rows="10"' in html
    assert '<button type="button" data-at="0.50">First &amp; last</button>' in html
    assert 'data-at="1.75">Second' in html


def test_in_a_block_the_words_stay(docs: Path) -> None:
    """A page can say how it is written."""
    html = render(docs)

    assert html.count("<figure") == 1
    assert "&lt;!-- cast: demo --&gt;" in html


def test_a_recording_that_was_not_made_is_said(tmp_path: Path) -> None:
    """The page is built all the same."""
    assert "The recording <code>demo</code> was not made" in render(tmp_path)


def test_where_nothing_can_be_recorded_the_commands_are_shown(docs: Path) -> None:
    """As text, below the sentence that says so."""
    (docs / "casts" / "demo.cast").unlink()

    html = render(docs)

    assert "The recording <code>demo</code> was not made" in html
    assert '<pre class="cast-commands" tabindex="0">$ x\n&lt;b&gt;' in html


def test_what_is_no_recording_is_named(docs: Path) -> None:
    """With its file and the next step."""
    (docs / "casts" / "demo.cast").write_text("{}\n", "utf-8")

    with pytest.raises(ValueError, match=r"demo\.cast is not an asciicast.*record it anew"):
        render(docs)
