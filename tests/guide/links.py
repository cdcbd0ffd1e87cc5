"""Every link and anchor of a built site leads somewhere in it.

    python -m tests.guide.links site

MkDocs checks links, too, and does not see the ids of code blocks, to which the quick reference leads.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Read(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.ids.add(value)
            elif name in ("href", "src") and value and tag != "base":
                self.links.append(value)


def faults(site: Path) -> list[str]:
    """What is wrong with the links of *site*, a line each."""
    pages: dict[Path, _Read] = {}
    for file in sorted(site.rglob("*.html")):
        pages[file] = read = _Read()
        read.feed(file.read_text(encoding="utf-8"))
    found: list[str] = []
    for file, read in pages.items():
        # The page for a missing address is shown below any address, so its links start at the root.
        for link in sorted(set(read.links)) if file.name != "404.html" else ():
            if wrong := _fault(link, file, pages):
                found.append(f"{file.relative_to(site)}: {link}: {wrong}")
    return found


def _fault(link: str, file: Path, pages: dict[Path, _Read]) -> str | None:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file.resolve()
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return "there is no such file"
    anchors = pages.get(target)
    if anchors is None or not parts.fragment or unquote(parts.fragment) in anchors.ids:
        return None
    return "there is no such anchor"


def main() -> int:
    site = Path(sys.argv[1]).resolve()
    found = faults(site)
    print("\n".join(found), end="\n" if found else "")
    print(f"links: {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
