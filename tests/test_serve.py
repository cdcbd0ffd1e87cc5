"""offloop serve: real servers on real loops, and what is left of their children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from offloop import RunMode
from tests.contract.children import ON_WINDOWS, eventually, kill, left_alive, registered, tree

pytest.importorskip("uvicorn", reason="uvicorn is not installed")
pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from tests.serving import Server

APP = """
import asyncio
from contextlib import asynccontextmanager
from fastapi import FastAPI
from offloop import SubprocessWrapper

TREE = {tree!r}

@asynccontextmanager
async def lifespan(app):
    async with SubprocessWrapper(grace_s=0.2) as app.wrapper:
        yield

app = FastAPI(lifespan=lifespan)

@app.get("/start")
async def start():
    process, stdout, _ = await app.wrapper.create_subprocess(*TREE)
    await stdout.readline()
    return {{"mode": app.wrapper.mode.value, "loop": type(asyncio.get_running_loop()).__module__}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    register = tmp_path / "register"
    register.mkdir()
    (tmp_path / "app.py").write_text(APP.format(tree=tree(register)))
    yield tmp_path
    for pid in left_alive(register):
        kill(pid)


PLACES = [[], ["--loop", "asyncio"], ["--workers", "2"], ["--reload"]]


@pytest.mark.slow
@pytest.mark.skipif(ON_WINDOWS, reason="there a server is ended by its console")
@pytest.mark.parametrize("way", ["SIGTERM", "SIGINT", "SIGINT twice", "SIGKILL"])
@pytest.mark.parametrize("options", PLACES, ids=" ".join)
def test_no_child_outlives_the_server(folder: Path, options: list[str], way: str) -> None:
    """However the server is ended: its children and their children are gone."""
    if way == "SIGKILL" and options and options[0] != "--loop":
        pytest.skip("uvicorn's own workers outlive a supervisor that was killed")
    register = folder / "register"
    server = Server(folder, *options)
    try:
        server.get("/start")
        assert eventually(lambda: len(registered(register)) == 2)
        number = getattr(signal, way.split()[0])
        server.process.send_signal(number)
        if way.endswith("twice"):
            server.process.send_signal(number)
        server.wait()

        assert eventually(lambda: not left_alive(register)), "".join(server.lines)
    finally:
        server.close()


@pytest.mark.parametrize("options", PLACES, ids=" ".join)
def test_the_line_at_the_start_is_true(folder: Path, options: list[str]) -> None:
    """Loop and run mode that are printed are those of the application."""
    server = Server(folder, *options)
    try:
        real = server.get("/start")
        line = next(line for line in server.lines if line.startswith("offloop: "))

        assert f"the loop is {real['loop'].split('.')[0]}" in line
        assert f"run mode {real['mode']}: " in line
    finally:
        server.close()


def test_the_loop_is_uvicorns_choice() -> None:
    """With --reload and --workers a selector loop on Windows, so processes go through a thread; else what it prefers."""
    from offloop.serve import loop_and_mode

    plain, plain_choice = loop_and_mode(loop="asyncio", reload=False, workers=1)
    reload, reload_choice = loop_and_mode(loop="asyncio", reload=True, workers=1)
    workers, _ = loop_and_mode(loop="asyncio", reload=False, workers=2)

    assert workers == reload
    if ON_WINDOWS:
        assert "ProactorEventLoop" in plain
        assert "Selector" in reload
        assert plain_choice.mode is reload_choice.mode is RunMode.THREADED
    else:
        assert plain == reload
        assert plain_choice.mode is reload_choice.mode is RunMode.ASYNC


def test_a_wish_for_a_mode_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """OFFLOOP_RUN_MODE wins."""
    from offloop.serve import loop_and_mode

    monkeypatch.setenv("OFFLOOP_RUN_MODE", "threaded")

    assert loop_and_mode(loop="auto", reload=False, workers=None)[1].mode is RunMode.THREADED


def _command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    source = str(Path(__file__).parents[1] / "src")
    return subprocess.run(
        [sys.executable, "-m", "offloop", *words],
        env={**os.environ, "PYTHONPATH": source, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ((), 2, "serve"),
        (("--version",), 0, "offloop"),
        (("srve",), 2, "choose from"),
        (("serve", "--help"), 0, "--workers"),
        (("serve",), 2, "Missing argument"),
        (("serve", "app:app", "--no-such"), 2, "--no-such"),
    ],
)
def test_the_command_line(words: tuple[str, ...], code: int, says: str) -> None:
    """Help and errors as a user of the command expects them."""
    done = _command(*words)

    assert done.returncode == code
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_run_mode_ends_it() -> None:
    """Before anything is served, with the valid ones."""
    began = time.monotonic()
    done = _command("serve", "app:app", OFFLOOP_RUN_MODE="asinc")

    assert done.returncode == 2
    assert "async, threaded, local, dry-run" in done.stderr
    assert time.monotonic() - began < 30
