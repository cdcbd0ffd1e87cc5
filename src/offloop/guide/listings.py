"""Write the files of all pages to a folder, one folder a page, for tools that read Python files.

    python -m offloop.guide.listings FOLDER

A type checker or a linter then sees what a reader would copy: each file beside the others of its page, and of
no other. Listings that are bad on purpose are written too; what a checker has to say of one stands on its page.
"""

from __future__ import annotations

import sys
from pathlib import Path

from offloop.guide.pages import docs_folder, guide_pages

__all__ = ("write_listings",)


def write_listings(folder: Path) -> list[Path]:
    """Write every file block below *folder*, and return the paths, in the order of the pages.

    `docs/patterns/simple-execution.md` becomes the folder `patterns/simple-execution/`. A file is written as it
    stands on the page, so a line of it is the line on the page less that of the opening fence.
    """
    written: list[Path] = []
    for page in guide_pages():
        place = folder / page.path.relative_to(docs_folder()).with_suffix("")
        for fence in page.fences:
            if fence.file:
                place.mkdir(parents=True, exist_ok=True)
                (place / fence.file).write_text(fence.content, "utf-8", newline="\n")
                written.append(place / fence.file)
    return written


def main(arguments: list[str]) -> int:
    """The command line; returns the exit code."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m offloop.guide.listings FOLDER", file=sys.stderr)
        return 2
    for path in write_listings(Path(arguments[0])):
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
