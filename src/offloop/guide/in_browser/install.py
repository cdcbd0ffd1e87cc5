"""Put what a browser has in the place of what it lacks: loop, processes, signals; what it has not at all says so."""

from __future__ import annotations

import asyncio
import builtins
import errno
import importlib.util
import io
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
import types
from asyncio import events
from typing import Any, NoReturn

from offloop.guide.in_browser.loop import SimulatedLoop, no_network
from offloop.guide.in_browser.machine import machine
from offloop.guide.in_browser.popen import SimulatedPopen

__all__ = ("install",)

_PYTHON = "/usr/bin/python3"
# By which asyncio makes a loop, or names its class.
_LOOPS = ("new_event_loop", "EventLoop", "SelectorEventLoop", "_UnixSelectorEventLoop")


def install() -> None:
    """Make the simulated loop the loop of this interpreter, and its processes those of `subprocess`."""
    places: list[Any] = [asyncio, events, sys.modules.get("asyncio.unix_events")]
    for place, name in itertools.product(places, _LOOPS):
        if hasattr(place, name):
            setattr(place, name, SimulatedLoop)
    # Whatever has loaded this interpreter may have set one, whose loops are other ones.
    set_policy = "_set_event_loop_policy" if sys.version_info >= (3, 14) else "set_event_loop_policy"
    getattr(events, set_policy)(None)
    subprocess.Popen = SimulatedPopen  # type: ignore[misc,assignment]
    if not hasattr(time, "thread_time"):
        time.thread_time = time.process_time  # there is one thread, and it has the processor for itself
    if sys.platform == "emscripten":
        sys.executable = _PYTHON  # else the name of whatever loaded it, or none
        os.makedirs("/dev/fd", exist_ok=True)  # programs count what is in it
        threading.Thread.start = _no_thread  # type: ignore[method-assign]
        builtins.input = _no_input
        sys.stdin = _NoTerminal()  # that of Pyodide ends in "I/O error"
        # Its own sockets seem to connect, to whatever there is or is not.
        for name in ("connect", "connect_ex", "bind", "sendto"):
            setattr(socket.socket, name, no_network)
        for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
            setattr(socket, name, no_network)
        os.kill = os.killpg = _signal_simulated
        os.system = os.popen = _no_shell
    if importlib.util.find_spec("resource") is None:
        sys.modules["resource"] = _without_limits()


def _no_thread(thread: threading.Thread) -> None:
    raise RuntimeError(
        "There are no threads in a browser. Await the program with asyncio.create_subprocess_exec() or "
        "SubprocessWrapper, or run this on your computer."
    )


def _no_input(*_: object) -> NoReturn:
    raise OSError("There is no terminal in a browser: put what you would type into the code.")


class _NoTerminal(io.TextIOBase):
    read = readline = readlines = _no_input


def _no_shell(*_: object, **__: object) -> NoReturn:
    raise OSError("There is no shell in a browser: run this on your computer.")


def _signal_simulated(pid: int, sig: int) -> None:
    """In place of `os.kill` and `os.killpg`: a simulated process has a group of its own."""
    process = machine.process(pid)
    if process is None:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    if sig:
        process.send_signal(sig)


def _without_limits() -> types.ModuleType:
    """In place of `resource`, which a browser does not have: nothing is limited."""
    module = types.ModuleType("resource")

    def getrlimit(resource: int) -> tuple[int, int]:
        return (-1, -1)

    module.__dict__.update(RLIM_INFINITY=-1, RLIMIT_NOFILE=7, getrlimit=getrlimit)
    return module
