"""Who waits for a process: a run mode, and the reason for it."""

from __future__ import annotations

import asyncio
import sys
from enum import Enum
from typing import NamedTuple

from offloop.errors import SettingsError, SubprocessPolicyError
from offloop.loops import can_start_processes, current_caller, name_of, running_loop, simulates_processes
from offloop.settings import RUN_MODE

__all__ = ("ModeChoice", "RunMode", "check_setting", "choose_mode", "parse_mode")

_WITHOUT_PROCESSES = ("emscripten", "wasi", "ios", "tvos", "watchos")


class RunMode(Enum):
    """What follows the processes of a wrapper.

    ASYNC
        The running asyncio loop. Not on a loop that cannot start processes, and not on trio.
    THREADED
        One thread with a loop of its own. Everywhere: any asyncio loop, uvloop, trio.
    LOCAL
        The calling thread, which is blocked until the process has ended: for a debugger and for scripts.
    DRY_RUN
        Nothing: the command is logged and recorded, and not run.
    """

    ASYNC = "async"
    THREADED = "threaded"
    LOCAL = "local"
    DRY_RUN = "dry-run"


class ModeChoice(NamedTuple):
    """A run mode and, in one sentence, why."""

    mode: RunMode
    reason: str


def parse_mode(value: RunMode | str, *, name: str) -> RunMode:
    """The mode that *value* names; *name* says in the error where the value came from.

    Raises:
        SettingsError: There is no such mode. The message lists those that there are.
    """
    try:
        return RunMode(value)
    except ValueError:
        valid = ", ".join(mode.value for mode in RunMode)
        raise SettingsError(name, value, allowed=valid) from None


def check_setting() -> None:
    """Raise SettingsError if ``OFFLOOP_RUN_MODE`` has an unknown value."""
    if (wish := RUN_MODE.read()) is not None:
        parse_mode(wish, name=RUN_MODE.name)


def choose_mode() -> ModeChoice:
    """Choose a mode for the running loop, without starting anything.

    ``OFFLOOP_RUN_MODE`` wins. Else THREADED on Windows, on trio and on a loop that cannot start processes, and ASYNC on
    Linux and macOS with asyncio or uvloop.

    Raises:
        SettingsError: ``OFFLOOP_RUN_MODE`` has an unknown value.
        SubprocessPolicyError: This platform has no processes.
    """
    wish = RUN_MODE.read()
    if wish is not None:
        return ModeChoice(parse_mode(wish, name=RUN_MODE.name), f"{RUN_MODE.name} is set to {wish!r}.")
    if sys.platform in _WITHOUT_PROCESSES and not simulates_processes(running_loop()):
        raise SubprocessPolicyError(
            sys.platform,
            problem=f"There are no processes on {sys.platform}.",
            next_step="SubprocessWrapper(mode=RunMode.DRY_RUN) shows what would be started.",
        )
    return _choose_by_loop(is_windows=sys.platform == "win32")


def _choose_by_loop(*, is_windows: bool) -> ModeChoice:
    if is_windows:
        return ModeChoice(
            RunMode.THREADED,
            "On Windows a host (uvicorn --reload, Jupyter) often installs a loop that cannot start processes; a thread "
            "with a Proactor loop of its own works on every loop.",
        )
    try:
        loop = current_caller().loop
    except RuntimeError:
        return ModeChoice(
            RunMode.ASYNC, "No loop is running, and asyncio's default loop here can start processes."
        )
    if loop is None:
        return ModeChoice(RunMode.THREADED, "The running loop is trio's, and ASYNC mode is for asyncio.")
    return _choose_by_ability(loop)


def _choose_by_ability(loop: asyncio.AbstractEventLoop) -> ModeChoice:
    if can_start_processes(loop):
        return ModeChoice(RunMode.ASYNC, f"The running loop, {name_of(loop)}, can start processes.")
    return ModeChoice(RunMode.THREADED, f"The running loop, {name_of(loop)}, cannot start processes.")
