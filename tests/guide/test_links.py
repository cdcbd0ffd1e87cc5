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


def test_copies_and_full_addresses_are_looked_at(tmp_path: Path) -> None:
    """Links in Markdown outside of code, those that begin with the address of the site, and the sitemap."""
    root = "https://offloop.example/latest/"
    head = '<link rel="canonical" href="{}">'
    (tmp_path / "page").mkdir()
    (tmp_path / "index.html").write_text(head.format(root) + f'<meta content="{root}no.png">')
    (tmp_path / "page" / "index.html").write_text(head.format(root + "other/") + '<h2 id="here">x</h2>')
    (tmp_path / "page" / "index.html.md").write_text(
        "`[1](no)`\n[2](../no/)\n```text\n[3](no)\n```\n[4](#no)\n"
    )
    (tmp_path / "llms.txt").write_text(f"- [5]({root}page/index.html.md#here)\n- [6]({root}no/)\n")
    (tmp_path / "sitemap.xml").write_text(f"<loc>{root}</loc><loc>{root}404.html</loc>")

    assert faults(tmp_path) == [
        f"index.html: {root}no.png: there is no such file",
        f"page/index.html: {root}other/: there is no such file",
        "page/index.html.md: #no: there is no such anchor",
        "page/index.html.md: ../no/: there is no such file",
        f"llms.txt: {root}no/: there is no such file",
        f"page/index.html: says that its address is {root}other/",
        f"sitemap.xml: {root}page/ is missing",
        f"sitemap.xml: {root}404.html is not a page",
    ]
