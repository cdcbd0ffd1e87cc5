"""Copies of the pages for programs that read: Markdown beside the HTML, and an index of all of it.

    python -m offloop.guide.plain_copies SITE

writes into a site that MkDocs has built:

- beside each page `index.html.md`, where the convention of `llms.txt` looks for it: the page as it is written, with its
  listings and the words of its recordings, its links leading to other copies, and its front matter as sentences,
- `llms.txt`: every page by section, with its description,
- `robots.txt`, which names the sitemap.

It needs the package `griffe`, which mkdocstrings brings: the API pages are made from docstrings.
"""

from __future__ import annotations

import functools
import inspect
import posixpath
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import griffe

from offloop.guide.casts import Cast, read_cast
from offloop.guide.evidence import Evidence
from offloop.guide.fences import scan
from offloop.guide.pages import docs_folder

__all__ = ("COPY", "Source", "copy_of", "index", "sources", "write_copies")

COPY = "index.html.md"
"""What an address that ends with a slash is followed by."""

_LINK = re.compile(r"(?P<code>(?P<ticks>`+).*?(?<!`)(?P=ticks)(?!`))|\]\((?P<target>[^)\s]+)\)")
_RECORDING = re.compile(r" *<!-- cast: (?P<name>\S+) --> *")
_DOCUMENTED = re.compile(r"^::: (?P<name>\S+)\n(?P<options>(?: {4}.*\n?)*)", re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """A page as it is written."""

    name: str
    """Its path below `docs/`, with slashes."""
    section: str
    text: str

    @property
    def folder(self) -> str:
        """Where the site has it: empty, or a path that ends with a slash."""
        return _folder(self.name)

    @property
    def body(self) -> str:
        """Everything below the front matter."""
        return self.text.split("---\n", 2)[2]

    @property
    def title(self) -> str:
        """The heading of the first level."""
        return next(line[2:] for line in self.body.splitlines() if line.startswith("# "))

    def meta(self, key: str) -> str:
        """A value of the front matter, as it is written there; empty if there is none."""
        found = re.search(rf"^{key}: *(.*)$", self.text.split("---\n", 2)[1], re.MULTILINE)
        return found[1].strip("[]\"'") if found else ""


def _folder(name: str) -> str:
    folder, last = posixpath.split(name.removesuffix(".md"))
    return posixpath.join(folder, "" if last == "index" else last, "").lstrip("/")


def _setting(settings: str, name: str) -> str:
    found = re.search(rf"^{name}: (.+)$", settings, re.MULTILINE)
    if found is None:
        raise ValueError(f"mkdocs.yml has no {name}, which the copies need")
    return found[1]


def sources(settings: str, docs: Path) -> Iterator[Source]:
    """The pages in the order of the navigation; *settings* is the text of `mkdocs.yml`."""
    section = "Guide"
    for line in settings.partition("\nnav:\n")[2].splitlines():
        item = re.match(r"(?P<indent> *)- (?:(?P<title>[^:]+):)? *(?P<name>\S+\.md)?$", line)
        if item is None:
            break  # the next setting
        if not item["name"]:
            section = item["title"]
            continue
        top = len(item["indent"]) == 2
        yield Source(item["name"], "Guide" if top else section, (docs / item["name"]).read_text("utf-8"))


def copy_of(page: Source, evidence: Evidence, casts: Path, site_url: str) -> str:
    """The page for programs: it starts with its title, what it is about and where it is."""
    lines: list[str] = []
    fences, _ = scan(page.body)
    in_a_block = {number for fence in fences for number in range(fence.line, fence.end + 1)}
    for number, line in enumerate(page.body.splitlines(), 1):
        lines.append(line if number in in_a_block else _for_programs(line, page, evidence, casts))
        if line.startswith("# ") and number not in in_a_block:
            where = f"{site_url}{page.folder}"
            lines += [
                "",
                f"> {page.meta('description')}",
                "",
                f"Page: <{where}>, revised {page.meta('revised')}.",
            ]
    text = "\n".join(lines).strip() + "\n"
    return _DOCUMENTED.sub(lambda match: _documented(match["name"], match["options"]), text)


def _for_programs(line: str, page: Source, evidence: Evidence, casts: Path) -> str:
    if line.strip() == "///":
        return ""  # the end of a tab
    tab = re.match(r" */// \w+ \| (.+)", line)
    if tab:
        return f"**{tab[1]}**"
    recording = _RECORDING.fullmatch(line)
    if recording:
        cast = read_cast(casts, recording["name"])
        return _transcript(cast) if cast else ""
    return _LINK.sub(lambda match: _link(match, page), evidence.filled_in(line))


def _transcript(cast: Cast) -> str:
    """In a fence that is longer than any in it."""
    ticks = max((len(found) for found in re.findall(r"`+", cast.transcript)), default=0)
    fence = "`" * max(3, ticks + 1)
    return f"{cast.title}:\n\n{fence}text\n{cast.transcript.strip()}\n{fence}"


def _link(match: re.Match[str], page: Source) -> str:
    """From copy to copy: each lies one folder deeper than its page was written."""
    target: str | None = match["target"]
    if target is None or re.match(r"[a-z]+:|#|/", target):
        return match[0]
    path, mark, anchor = target.partition("#")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page.name), path))
    if path.endswith(".md"):
        path = _folder(path) + COPY
    return f"]({posixpath.relpath(path, page.folder or '.')}{mark}{anchor})"


@functools.cache
def _load(package: str) -> griffe.Object | griffe.Alias:
    return griffe.load(package, resolve_aliases=True)


def _documented(name: str, options: str) -> str:
    """What stands on the page in the place of `::: name`."""
    package, *rest = name.split(".")
    wanted = re.search(r"members: \[(.+)\]", options)
    members = re.split(r",\s*", wanted[1]) if wanted else None
    return "\n".join(_description(_load(package)[".".join(rest)], name, 3, members)) + "\n"


def _description(
    item: griffe.Object | griffe.Alias, name: str, level: int, members: Sequence[str] | None
) -> Iterator[str]:
    if isinstance(item, griffe.Alias):
        item = item.final_target
    yield f"{'#' * min(level, 6)} `{name}`\n"
    if not item.is_module:
        yield f"```python\n{_signature(item)}\n```\n"
    made_by = item.members.get("__init__") if item.is_class else None
    for docstring in (item.docstring, made_by.docstring if made_by is not None else None):
        if docstring:
            yield inspect.cleandoc(docstring.value) + "\n"
    if not isinstance(item, griffe.Module | griffe.Class):
        return
    for key, member in item.members.items():
        shown = key in members if members else member.is_public and member is not made_by
        if shown and member.docstring:
            yield from _description(member, f"{name.rpartition('.')[2]}.{key}", level + 1, None)


def _signature(item: griffe.Object) -> str:
    if isinstance(item, griffe.Class):
        if item.parameters:
            return f"class {item.signature()}"
        bases = ", ".join(str(base) for base in item.bases)
        return f"class {item.name}({bases})" if bases else f"class {item.name}"
    if isinstance(item, griffe.Function):
        return ("async " if "async" in item.labels else "") + f"def {item.signature(return_type=True)}"
    if isinstance(item, griffe.Attribute):
        annotation = f": {item.annotation}" if item.annotation else ""
        value = f" = {item.value}" if item.value is not None else ""
        return f"{item.name}{annotation}{value}"
    return item.name


def index(pages: Sequence[Source], settings: str) -> str:
    """The text of `llms.txt`."""
    site_url = _setting(settings, "site_url")
    lines = [f"# {_setting(settings, 'site_name')}", "", f"> {_setting(settings, 'site_description')}", ""]
    lines.append(
        "The listings are run by the tests, and what stands below one as its output is what it printed."
        f" Each link leads to the Markdown of a page; without `{COPY}` it leads to the page for people."
    )
    for section in dict.fromkeys(page.section for page in pages):
        lines += ["", f"## {section}", ""]
        lines += [
            f"- [{page.title}]({site_url}{page.folder}{COPY}): {page.meta('description')}"
            for page in pages
            if page.section == section
        ]
    return "\n".join(lines) + "\n"


def write_copies(site: Path, settings: str, docs: Path, evidence: Evidence) -> list[Path]:
    """Write all of it below *site*; returns the files.

    Raises:
        FileNotFoundError: *site* has no such page: build it first.
        ValueError: *settings* lack what is needed.
    """
    site_url = _setting(settings, "site_url")
    pages = list(sources(settings, docs))
    texts = {page.folder + COPY: copy_of(page, evidence, docs / "casts", site_url) for page in pages}
    texts["llms.txt"] = index(pages, settings)
    texts["robots.txt"] = f"User-agent: *\nAllow: /\nSitemap: {site_url}sitemap.xml\n"
    for name, text in texts.items():
        (site / name).write_text(text, "utf-8", newline="\n")
    return [site / name for name in texts]


def main(arguments: list[str]) -> int:
    """The command line; returns the exit code."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m offloop.guide.plain_copies SITE", file=sys.stderr)
        return 2
    docs = docs_folder()
    settings = (docs.parent / "mkdocs.yml").read_text("utf-8")
    evidence = Evidence(Path().glob("tally-*.json"))
    written = write_copies(Path(arguments[0]), settings, docs, evidence)
    print(f"Markdown copies: {len(written) - 2} pages, llms.txt and robots.txt")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
