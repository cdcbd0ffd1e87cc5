"""Which pages stand for all the others."""

from __future__ import annotations

import re
from pathlib import Path

from offloop.guide.pages import Page, docs_folder, guide_pages


def kinds_of_parts(page: Page) -> int:
    """How many things that look different are on it: blocks by language, class and label, asides, tables, notes."""
    text = page.path.read_text("utf-8")
    blocks = {word for f in page.fences for word in (f.language, *f.classes, *f.values, *f.flags)}
    return len(blocks) + len(set(re.findall(r"^ *(?:/// \w+|!!! \w+|\|--|\[\^|: {3})", text, re.MULTILINE)))


def one_of_each_kind() -> list[str]:
    """Each page of the top, of each folder the one with the most kinds of parts, the API, and the page for what is missing."""
    folders: dict[Path, list[Page]] = {}
    for page in guide_pages():
        folders.setdefault(page.path.parent, []).append(page)
    chosen = folders.pop(docs_folder())
    chosen += [max(pages, key=kinds_of_parts) for pages in folders.values()]
    paths = [page.path.relative_to(docs_folder()).with_suffix("").as_posix() for page in chosen]
    addresses = ["" if path == "index" else f"{path}/" for path in paths]
    return [*dict.fromkeys([*addresses, "reference/api/"]), "no/such/page/"]
