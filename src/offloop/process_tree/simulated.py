"""A process tree in a browser, where processes are simulated: the root is all of it.

A loop that says ``simulates_processes`` starts them, and hands out something that has the methods of ``Popen``.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple

from offloop.errors import UsageError

__all__ = (
    "FOLLOWED_BY_DESCRIPTORS",
    "RUNS_BATCH_FILES",
    "ProcessTree",
    "StartOptions",
    "environment",
    "leash_in_use",
    "prepare_start",
)

FOLLOWED_BY_DESCRIPTORS = False
"""Whether pipes and exits are descriptors that a selector can watch."""

RUNS_BATCH_FILES = False
"""Whether starting a .bat or .cmd file starts a shell."""


class StartOptions(NamedTuple):
    """Arguments of ``subprocess.Popen``, none of which means anything here."""

    process_group: int | None = None
    start_new_session: bool = False
    creationflags: int = 0


def prepare_start(*, leash: bool, detach: bool) -> StartOptions:
    """Nothing is to be prepared.

    Raises:
        UsageError: It is to outlive the page.
    """
    if detach:
        raise UsageError("A simulated process cannot be detached.", "Try it on a computer.")
    return StartOptions()


def environment(changes: Mapping[str, str | None] | None) -> dict[str, str] | None:
    """The current environment with *changes*: a value of None removes the name, except PATH.

    Returns None for no changes.
    """
    if not changes:
        return None
    merged = dict(os.environ)
    for name, value in changes.items():
        if value is not None:
            merged[name] = value
        elif name != "PATH":
            merged.pop(name, None)
    return merged


class ProcessTree:
    """A simulated process, which has no descendants.

    Attributes:
        pid: A number that only the simulation knows.
        popen: The root.
    """

    __slots__ = ("pid", "popen")

    def __init__(self, popen: subprocess.Popen[bytes], *, leash: bool, detach: bool) -> None:
        self.pid: int = popen.pid
        self.popen: subprocess.Popen[bytes] = popen

    def ask_to_stop(self) -> bool:
        """Send SIGTERM. Returns whether there was anybody to ask."""
        is_there = self.exit_code() is None
        self.popen.terminate()
        return is_there

    def kill(self) -> None:
        """Send SIGKILL; nothing if it has ended."""
        self.popen.kill()

    def exit_code(self) -> int | None:
        """The exit code, -N for signal N, None while it runs."""
        return self.popen.poll()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Block until it exits, at most *timeout_s* seconds; None if the time was up."""
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """Kill it, if it runs still."""
        self.kill()


leash_in_use: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
"""Nothing has to be kept alive."""
