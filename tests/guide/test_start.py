"""The tutorial: its application with a real uvicorn, read by a real client."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from offloop.guide.pages import docs_folder, read_page
from tests.contract.children import eventually

pytest.importorskip("uvicorn", reason="uvicorn is not installed")
pytest.importorskip("fastapi", reason="fastapi is not installed")
httpx = pytest.importorskip("httpx", reason="httpx is not installed")

from tests.serving import Server  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    for fence in read_page(docs_folder() / "start.md").fences:
        if fence.file:
            (tmp_path / fence.file).write_text(fence.content, encoding="utf-8")
    server = Server(tmp_path)
    yield server
    server.close()


def reports(folder: Path) -> list[str]:
    """The running reports of the application in *folder*."""
    found: list[str] = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                is_here = (process / "cwd").readlink() == folder
            except OSError:
                continue
            if is_here and any(word.endswith(b"report.py") for word in words):
                found.append(process.name)
    return found


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the report is looked for in /proc")


def test_lines_arrive_as_they_are_printed(server: Server) -> None:
    """While the report runs, its first lines are there and other requests are answered; then comes the rest."""
    with (
        httpx.Client(base_url=server.address, timeout=60) as client,
        client.stream("GET", "/report") as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        events = (line for line in response.iter_lines() if line)
        assert next(events) == "data: 0 % done"
        assert next(events) == "data: 20 % done"

        assert "Run the report" in client.get("/").text
        assert list(events)[-3:] == ["data: 100 % done", "event: end", "data: 0"]


@linux_only
def test_a_reader_who_leaves_ends_the_report(server: Server, tmp_path: Path) -> None:
    """The connection is closed in the middle, and nothing of the report is left."""
    with httpx.Client(base_url=server.address, timeout=60) as client:
        with client.stream("GET", "/report") as response:
            lines = response.iter_lines()
            assert next(lines) == "data: 0 % done"
            assert len(reports(tmp_path)) == 1

        assert eventually(lambda: not reports(tmp_path))


@linux_only
@pytest.mark.parametrize("way", ["terminate", "kill"])
def test_the_end_of_the_server_ends_the_report(server: Server, tmp_path: Path, way: str) -> None:
    """Asked to stop or killed: nothing of the report is left."""
    with (
        httpx.Client(base_url=server.address, timeout=60) as client,
        client.stream("GET", "/report") as response,
    ):
        lines = response.iter_lines()
        assert next(lines) == "data: 0 % done"
        assert len(reports(tmp_path)) == 1
        getattr(server.process, way)()

    server.wait()
    assert eventually(lambda: not reports(tmp_path))
