"""A real server: `python -m offloop serve` on a free port, with its standard error."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import httpx

from offloop import process_tree


class Server:
    """Runs ``app:app`` of a folder. *options* are uvicorn's."""

    def __init__(self, folder: Path, *options: str) -> None:
        argv = [sys.executable, "-m", "offloop", "serve", "--port", "0", *options, "app:app"]
        source = str(Path(__file__).parents[1] / "src")
        path = os.pathsep.join([source, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        self.lines: list[str] = []
        self.started = threading.Event()
        # A tree: the workers that uvicorn starts outlive a supervisor that is killed.
        self.tree = process_tree.start(
            argv,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            stderr=subprocess.PIPE,
            leash=False,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.tree.popen.stderr is not None
        with io.TextIOWrapper(self.tree.popen.stderr, encoding="utf-8") as errors:
            for line in errors:
                self.lines.append(line)
                if any("Uvicorn running on" in line for line in self.lines) and any(
                    "startup complete" in line for line in self.lines
                ):
                    self.started.set()
        self.started.set()

    @property
    def address(self) -> str:
        assert self.started.wait(60)
        line = next((line for line in self.lines if "Uvicorn running on" in line), None)
        assert line is not None, "".join(self.lines)
        return line.partition("Uvicorn running on ")[2].split()[0]

    def get(self, path: str) -> dict[str, str]:
        # A worker says that its application has started just before it opens the address.
        transport = httpx.HTTPTransport(retries=8)
        with httpx.Client(transport=transport, timeout=60) as client:
            return client.get(self.address + path).raise_for_status().json()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The server itself, or the supervisor of its workers."""
        return self.tree.popen

    def wait(self) -> None:
        """Until the server has ended."""
        assert self.tree.wait(60) is not None, "".join(self.lines)

    def close(self) -> None:
        """End what is left of it."""
        self.tree.close()
        self.reader.join(10)
