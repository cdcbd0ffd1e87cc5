"""Does the site show as code what was collected as blocks, and nothing else?

A page is rendered with the Markdown extensions of the site's own `mkdocs.yml`. It catches what a
strict build accepts: a fence that comes out as text with its ticks, or one that swallows the next.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

from offloop.guide.pages import Page

__all__ = ("disagreements", "site_renderer")


class Renderer(Protocol):
    """The part of `markdown.Markdown` that is used."""

    def reset(self) -> Renderer:
        """Forget the page before, and return itself."""
        ...

    def convert(self, source: str) -> str:
        """The HTML of a page."""
        ...


class _SiteConfig(Protocol):
    """What is read of mkdocs' configuration, whose own types are incomplete."""

    markdown_extensions: list[str]
    mdx_configs: dict[str, dict[str, Any]]


@cache
def site_renderer(configuration: Path) -> tuple[Renderer | None, str]:
    """The site's Markdown renderer, or None and the reason why there is none."""
    if not configuration.is_file():
        return None, f"there is no {configuration.name} in {configuration.parent}"
    try:
        import markdown
        from mkdocs.config import load_config  # pyright: ignore[reportUnknownVariableType] - types are incomplete
    except ImportError as error:
        return None, f"{error.name} is not installed"
    config = cast("_SiteConfig", load_config(str(configuration)))
    options = dict(config.mdx_configs)
    # Plain code instead of coloured spans, so that the text can be compared.
    options["pymdownx.highlight"] = {**options.get("pymdownx.highlight", {}), "use_pygments": False}
    return markdown.Markdown(extensions=list(config.markdown_extensions), extension_configs=options), ""


def disagreements(page: Page, renderer: Renderer) -> list[str]:
    """One sentence for each block that only the page or only the site has; empty when they agree."""
    text = page.path.read_text("utf-8")
    body = re.sub(r"\A---\n.*?\n---\n", "", text, count=1, flags=re.DOTALL)
    rendered = re.sub(r"<!--.*?-->", "", renderer.reset().convert(body), flags=re.DOTALL)
    shown = Counter(
        _bare(html.unescape(re.sub(r"</?span[^>]*>", "", code)))
        for code in re.findall(
            r"<pre[^>]*>(?:<span></span>)?<code[^>]*>(.*?)</code></pre>", rendered, re.DOTALL
        )
    )
    found = [
        f"line {fence.line}: the site does not show this block as code"
        for fence in page.fences
        if not _take(shown, _bare(fence.content))
    ]
    return found + [f"the site shows as code what is no block: {code[:60]!r}" for code in shown.elements()]


def _bare(code: str) -> str:
    return re.sub(r"\s+", "", code)


def _take(shown: Counter[str], code: str) -> bool:
    if shown[code] <= 0:
        return False
    shown[code] -= 1
    return True
