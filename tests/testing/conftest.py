"""A project of pages, run by a pytest of its own, as a user's would be."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import offloop

CONFIGURATION = """\
[pytest]
addopts = -p offloop.testing -p no:cacheprovider
asyncio_default_fixture_loop_scope = function
"""


@dataclass(frozen=True)
class Run:
    """How a pytest run ended: its exit code, what it printed, and the tally it wrote."""

    code: int
    text: str
    tally: Mapping[str, list[dict[str, object]]]

    def states(self, page: str) -> list[tuple[int, str]]:
        """Line and state of each block of *page*."""
        return [(int(str(b["line"])), str(b["state"])) for b in self.tally["blocks"] if b["page"] == page]

    def dead(self, page: str) -> list[int]:
        """First lines of the statements of *page* that never ran."""
        return [int(str(b["line"])) for b in self.tally["dead"] if b["page"] == page]

    def outcome(self, page: str) -> str:
        """What pytest counted for one page: `"passed"`, `"failed"`, `"skipped"` or `"error"`, or `"nothing"`."""
        name = re.escape(page)
        if re.search(rf"^ERROR {name}", self.text, re.MULTILINE):
            return "error"
        found = re.findall(rf"^(PASSED|FAILED|SKIPPED) .*{name}.*CodeFence", self.text, re.MULTILINE)
        found += re.findall(rf"^(SKIPPED) \[\d+\] {name}", self.text, re.MULTILINE)
        return sorted(found, key=["FAILED", "SKIPPED", "PASSED"].index)[0].lower() if found else "nothing"


class Project:
    """A folder with pages and a pytest configuration."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("pytest.ini", CONFIGURATION)

    def write(self, name: str, text: str) -> Path:
        """Write one file of the project."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8", newline="\n")
        return path

    def run(self, *arguments: str, without: tuple[str, ...] = ()) -> Run:
        """Run pytest in the project; ends with an error after 120 s."""
        tally = self.root / "tally.json"
        tally.unlink(missing_ok=True)
        options = [] if "tally" in without else ["--tally", str(tally)]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-rA", *options, *arguments],
            cwd=self.root,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
        )
        text = done.stdout.decode("utf-8", "replace").replace("\r\n", "\n").replace("\\", "/")
        return Run(done.returncode, text, json.loads(tally.read_text("utf-8")) if tally.exists() else {})


def environment() -> dict[str, str]:
    """Ours without pytest's own settings, and with the package under test on the path."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("PYTEST_", "COV_", "OFFLOOP_PAGE", "OFFLOOP_LINES"))
    }
    package = str(Path(offloop.__file__).parents[1])
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [package, kept.get("PYTHONPATH", "")]))
    kept["COLUMNS"] = "200"
    return kept


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project."""
    return Project(tmp_path)
