"""The check of the built site finds what leads nowhere."""

from __future__ import annotations

from pathlib import Path

from tests.guide.links import faults


def test_every_dead_link_and_anchor_is_named(tmp_path: Path) -> None:
    """Files, folders, anchors of other pages and of the same page; addresses elsewhere are not asked."""
    (tmp_path / "page").mkdir()
    (tmp_path / "a b.css").touch()
    (tmp_path / "index.html").write_text(
        '<link href="a%20b.css"><a href="page/#here">1</a><a href="page/#gone">2</a><a href="#gone">3</a>'
        '<a href="missing/">4</a><a href="https://example.org/#x">5</a><img src="no.svg">'
    )
    (tmp_path / "page" / "index.html").write_text(
        '<h2 id="here">x</h2><a href="..">1</a><a href="?q=1#here">2</a>'
    )

    assert faults(tmp_path) == [
        "index.html: #gone: there is no such anchor",
        "index.html: missing/: there is no such file",
        "index.html: no.svg: there is no such file",
        "index.html: page/#gone: there is no such anchor",
    ]
