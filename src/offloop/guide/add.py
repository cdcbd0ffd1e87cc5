"""Copy a pattern into a project, and tell later what has become of the copy.

Each file of the pattern's page is written below three lines of comment: the page, the version of offloop, and
the hash of what follows. By that hash a copy that was edited is told from one that is only older than the page.
Nothing here prints and nothing is overwritten unless it is asked for; the command `offloop add` is in `offloop.cli`.
"""

from __future__ import annotations

import difflib
import enum
import hashlib
import io
import os
import re
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from offloop.errors import GUIDE_URL
from offloop.guide.fences import Fence
from offloop.guide.pages import Page, docs_folder, read_page
from offloop.guide.proofs import proofs_as_tests

__all__ = ("Copy", "CopyState", "Pattern", "PlaceRefused", "copies_of", "patterns", "write_copies")

_HEADER = re.compile(
    r"^# from (?P<page>\S+)\n# offloop (?P<version>.+)\n# sha256 (?P<digest>[0-9a-f]{64})\n", re.MULTILINE
)
# Python looks for them in the first two lines only.
_SHEBANG_AND_ENCODING = re.compile(r"(#!.*\n)?([ \t\f]*#.*?coding[:=][ \t]*[-\w.]+.*\n)?")


class PlaceRefused(Exception):
    """A file would not be written where its name says; the text says why."""


@dataclass(frozen=True)
class Pattern:
    """A page of `docs/patterns/` with files that can be copied."""

    page: Page

    @property
    def name(self) -> str:
        """The name of the page, such as `"simple-execution"`."""
        return self.page.path.stem

    @property
    def address(self) -> str:
        """Where the page is read."""
        return f"{GUIDE_URL}patterns/{self.name}/"

    @property
    def description(self) -> str:
        """One sentence, from the front matter."""
        found = re.search(r"^description: *(.+)$", self.page.path.read_text("utf-8"), re.MULTILINE)
        return found[1].strip("\"'") if found else ""

    @property
    def files(self) -> tuple[Fence, ...]:
        """The blocks of the page that are files, in its order."""
        return tuple(fence for fence in self.page.fences if fence.file)

    @property
    def test_name(self) -> str:
        """The name of the file that its proofs become."""
        return f"test_{self.name.replace('-', '_')}.py"


class CopyState(enum.Enum):
    """How the file at the target stands to the page of today; the value completes a sentence about it."""

    MISSING = "is not there"
    CURRENT = "is up to date"
    OUTDATED = "the page has changed since it was copied"
    EDITED = "you have edited it"
    EDITED_AND_OUTDATED = "you have edited it, and the page has changed since it was copied"
    OF_ANOTHER_PAGE = "is from another page"
    FOREIGN = "offloop add did not write it"

    @property
    def may_be_written(self) -> bool:
        """Whether nothing of the user's is lost when the file of today is written."""
        return self in (CopyState.MISSING, CopyState.CURRENT, CopyState.OUTDATED)


@dataclass(frozen=True)
class Copy:
    """A file to be written to `path`, and the `before` that is there now (None: nothing)."""

    path: Path
    page: str
    version: str
    content: str
    before: str | None

    @property
    def text(self) -> str:
        """The whole file: the content, and the header where docstring, shebang and encoding stay what they are."""
        header = f"# from {self.page}\n# offloop {self.version}\n# sha256 {_digest(self.content)}\n"
        first = _SHEBANG_AND_ENCODING.match(self.content)
        at = first.end() if first else 0
        return self.content[:at] + header + self.content[at:]

    @property
    def state(self) -> CopyState:
        """What the header of the file that is there, and its content, say about it."""
        if self.before is None:
            return CopyState.MISSING
        content, header = _parted(self.before)
        if content == self.content:
            return CopyState.CURRENT
        if header is None:
            return CopyState.FOREIGN
        if header["page"] != self.page:
            return CopyState.OF_ANOTHER_PAGE
        edited = _digest(content) != header["digest"]
        outdated = _digest(self.content) != header["digest"]
        if edited and outdated:
            return CopyState.EDITED_AND_OUTDATED
        return CopyState.EDITED if edited else CopyState.OUTDATED

    @property
    def difference(self) -> str:
        """A unified diff from the file that is there to the page, headers left out; empty if they are the same."""
        before, _ = _parted(self.before or "")
        lines = difflib.unified_diff(_lines(before), _lines(self.content), str(self.path), self.page)
        return "".join(
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
        )


def _parted(text: str) -> tuple[str, re.Match[str] | None]:
    """A file without its header, and the header."""
    header = _HEADER.search(text)
    return (text, None) if header is None else (text[: header.start()] + text[header.end() :], header)


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def _lines(text: str) -> list[str]:
    return list(io.StringIO(text))  # not splitlines(), which also cuts at form feeds and U+2028


# ---- what there is -----------------------------------------------------------------------------------


def patterns() -> list[Pattern]:
    """Every pattern, in the order of its name."""
    pages = sorted((docs_folder() / "patterns").glob("*.md"))
    return [pattern for path in pages if (pattern := Pattern(read_page(path))).files]


def copies_of(pattern: Pattern, folder: Path, version: str, *, with_test: bool = False) -> list[Copy]:
    """What *pattern* is in *folder*, and what is there now; nothing is written.

    Args:
        version: Of offloop, for the header.
        with_test: Also the test that the page's proofs make.

    Raises:
        PlaceRefused: A name on the page is not a file's of *folder*, or a link stands there.
        OSError: A file that is there cannot be read.
    """
    contents: dict[str, str] = {}
    for fence in pattern.files:
        if fence.faults:
            raise PlaceRefused(f"{pattern.page.path}:{fence.line}: {fence.faults[0]}")
        contents[fence.file or ""] = fence.content
    if with_test:
        contents[pattern.test_name] = proofs_as_tests(pattern.page)
    return [
        Copy(folder / name, pattern.address, version, content, _read(folder, name))
        for name, content in contents.items()
    ]


def _read(folder: Path, name: str) -> str | None:
    """The text of a file, line ends as `\\n`; bytes that are not UTF-8 are U+FFFD, so it counts as edited."""
    try:
        place = folder.resolve() / name
        real = place.resolve()
    except RuntimeError as error:  # Python before 3.13, for links in a circle
        raise PlaceRefused(str(error)) from None
    if real != place:
        raise PlaceRefused(f"{folder / name} leads to {real}: links are not followed")
    try:
        data = place.read_bytes()
    except FileNotFoundError:
        return None
    return data.decode("utf-8-sig", "replace").replace("\r\n", "\n")


# ---- writing -----------------------------------------------------------------------------------------


def write_copies(copies: Iterable[Copy]) -> None:
    """Write those that are not up to date. That each may be written is the caller's to check, before.

    All are written beside their targets first and then put into place, so a full disk changes nothing.

    Raises:
        OSError: A folder or a file cannot be written.
    """
    written: list[tuple[Path, Path]] = []
    try:
        for copy in copies:
            if copy.state is not CopyState.CURRENT:
                copy.path.parent.mkdir(parents=True, exist_ok=True)
                beside = copy.path.with_name(f".{copy.path.name}.{secrets.token_hex(4)}.tmp")
                written.append((beside, copy.path))
                beside.write_text(copy.text, "utf-8", newline="\n")
                if copy.before is not None:
                    shutil.copymode(copy.path, beside)
        for beside, path in written:
            os.replace(beside, path)
    finally:
        for beside, _ in written:
            beside.unlink(missing_ok=True)
