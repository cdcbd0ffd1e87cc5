"""Every link and anchor of a built site leads somewhere in it.

    python -m tests.guide.links site

MkDocs checks links, too, and does not see the ids of code blocks, to which the quick reference leads. Nor does it see
the Markdown copies of the pages, `llms.txt`, and addresses that are written in full, which begin as the canonical
address of the home page does. The sitemap has to have every page, and nothing else.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Read(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.canonical = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if ("rel", "canonical") in attrs:
            self.canonical = dict(attrs)["href"] or ""
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.ids.add(value)
            elif name in ("href", "src", "content") and value and tag != "base":
                if name == "content" and not value.startswith("http"):
                    continue  # what a meta element says, and where nothing is
                self.links.append(value)


def faults(site: Path) -> list[str]:
    """What is wrong with the links of *site*, a line each."""
    pages: dict[Path, _Read] = {}
    for file in sorted(site.rglob("*.html")):
        pages[file] = read = _Read()
        read.feed(file.read_text(encoding="utf-8"))
    # The page for a missing address is shown below any address, so its links start at the root.
    links = {file: read.links for file, read in pages.items() if file.name != "404.html"}
    for file in (*sorted(site.rglob("*.html.md")), *site.glob("llms.txt")):
        links[file] = _markdown_links(file.read_text(encoding="utf-8"))
    root = pages[site / "index.html"].canonical if site / "index.html" in pages else ""
    found: list[str] = []
    for file, targets in links.items():
        for link in sorted(set(targets)):
            if wrong := _fault(link, file, pages, site, root):
                found.append(f"{file.relative_to(site).as_posix()}: {link}: {wrong}")
    if root:
        found += _address_faults(site, pages, root)
    return found


def _markdown_links(text: str) -> list[str]:
    text = re.sub(r"^( *)(`{3,}|~{3,}).*?^\1\2$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"(`+).*?\1", "", text))


def _fault(link: str, file: Path, pages: dict[Path, _Read], site: Path, root: str) -> str | None:
    inside = bool(root) and link.startswith(root)
    parts = urlsplit(link.removeprefix(root) if inside else link)
    if parts.scheme or parts.netloc:
        return None
    folder = site if inside else file.parent
    target = (folder / unquote(parts.path)).resolve() if parts.path or inside else file.resolve()
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return "there is no such file"
    # A copy of a page has the anchors of the page.
    anchors = pages.get(target.with_name(target.name.removesuffix(".md")))
    if anchors is None or not parts.fragment or unquote(parts.fragment) in anchors.ids:
        return None
    return "there is no such anchor"


def _address_faults(site: Path, pages: dict[Path, _Read], root: str) -> list[str]:
    """A page that says it is elsewhere, and what the sitemap has too many or too few."""
    at = {
        file: root + file.parent.relative_to(site).as_posix().removeprefix(".") + "/"
        for file in pages
        if file.name == "index.html"
    }
    at[site / "index.html"] = root
    found = [
        f"{file.relative_to(site).as_posix()}: says that its address is {pages[file].canonical or 'unknown'}"
        for file, address in at.items()
        if pages[file].canonical != address
    ]
    sitemap = site / "sitemap.xml"
    listed = re.findall(r"<loc>(.*?)</loc>", sitemap.read_text("utf-8")) if sitemap.is_file() else []
    found += [f"sitemap.xml: {address} is missing" for address in sorted({*at.values()} - {*listed})]
    found += [f"sitemap.xml: {address} is not a page" for address in sorted({*listed} - {*at.values()})]
    return found


def main() -> int:
    site = Path(sys.argv[1]).resolve()
    found = faults(site)
    print("\n".join(found), end="\n" if found else "")
    print(f"links: {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
