"""A project of pages, run by a pytest of its own, as a user's would be."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import offloop

RUN_WITHIN_S = 120
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

    def run(self, *arguments: str, without: tuple[str, ...] = (), alone: bool = False) -> Run:
        """Run pytest in the project; ends with an error after 120 s.

        *alone* in a process of its own, for what depends on being in one.
        """
        tally = self.root / "tally.json"
        tally.unlink(missing_ok=True)
        options = [] if "tally" in without else ["--tally", str(tally)]
        words = ["-rA", *options, *arguments]
        code, output = self._run_alone(words) if alone else server.run(self.root, words)
        text = output.decode("utf-8", "replace").replace("\r\n", "\n").replace("\\", "/")
        return Run(code, text, json.loads(tally.read_text("utf-8")) if tally.exists() else {})

    def _run_alone(self, words: list[str]) -> tuple[int, bytes]:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words],
            cwd=self.root,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=RUN_WITHIN_S,
        )
        return done.returncode, done.stdout


class _Server:
    """The process of ``pytest_server.py``: started with the first run, and again if a run has ended it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, folder: Path, words: list[str]) -> tuple[int, bytes]:
        if self._process is None:
            script = str(Path(__file__).with_name("pytest_server.py"))
            self._process = subprocess.Popen(
                [sys.executable, script], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        output = folder / "output.txt"
        request = {"folder": str(folder), "arguments": words, "output": str(output)}
        limit = threading.Timer(RUN_WITHIN_S, process.kill)
        limit.start()
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        finally:
            limit.cancel()
        if not answer:
            self.end()
            raise AssertionError(f"the run ended its process: {output.read_text(errors='replace')}")
        return json.loads(answer)["code"], output.read_bytes()

    def end(self) -> None:
        if self._process is not None:
            with self._process as process:
                process.kill()
            self._process = None


server = _Server()


@pytest.fixture(scope="session", autouse=True)
def _end_of_server() -> Iterator[None]:
    yield
    server.end()


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
