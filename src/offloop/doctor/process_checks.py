"""Real starts in each run mode, who reaps orphans here, and what an earlier run has left."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import anyio

from offloop.doctor.findings import KINDS, Fact, Finding, Section
from offloop.errors import OffloopError, SubprocessPolicyError
from offloop.modes import RunMode
from offloop.wrapper import SubprocessWrapper, python_argv

__all__ = ("orphans", "starts")

_SHELL = "/bin/sh"
_SLOW_S = 1.0
_GIVE_UP_S = 10.0
# Some reap once in a while.
_REAPED_WITHIN_S = 1.0
_PAUSE_S = 0.05


async def starts() -> Section:
    """Start this interpreter once in each mode, and see what would hold the leash."""
    facts: list[Fact] = []
    findings: list[Finding] = []
    failures: dict[str, list[str]] = {}
    for mode in RunMode:
        try:
            took_s = await _start(mode)
        except SubprocessPolicyError:
            facts.append(Fact(mode.value, "not on this loop"))
        except (OffloopError, OSError) as error:
            facts.append(Fact(mode.value, "fails"))
            problem = error.problem if isinstance(error, OffloopError) else str(error)
            failures.setdefault(problem, []).append(mode.name)
        else:
            facts.append(Fact(mode.value, f"{took_s * 1000:.0f} ms"))
            if took_s > _SLOW_S:
                findings.append(
                    Finding(KINDS["slow-start"], f"{mode.name}: an empty Python took {took_s:.1f} s.")
                )
    for problem, modes in failures.items():
        findings.append(Finding(KINDS["start-fails"], f"{', '.join(modes)}: {problem}"))
    if sys.platform == "win32":
        facts.append(Fact("leash", "Job Objects"))
    elif os.access(_SHELL, os.X_OK):
        facts.append(Fact("leash", _SHELL))
    else:
        facts.append(Fact("leash", "none"))
        findings.append(Finding(KINDS["no-leash"], f"{_SHELL} cannot be run, and it would hold the leash."))
    return Section("starts", tuple(facts), tuple(findings))


async def _start(mode: RunMode) -> float:
    """Seconds from the start of an empty Python to its end."""
    async with SubprocessWrapper(mode) as wrapper:
        began = time.monotonic()
        await wrapper.run(*python_argv("-I", "-S", "-c", "pass"), timeout_s=_GIVE_UP_S)
        return time.monotonic() - began


# ---- other processes ---------------------------------------------------------------------------------


if sys.platform != "linux":

    async def orphans() -> Section:
        """Nothing is looked for on this system."""
        return Section("orphans", (Fact("orphans", "not looked for on this system"),))

else:

    class _Process(NamedTuple):
        pid: int
        state: str
        parent: int
        session: int
        age_s: float

    async def orphans() -> Section:
        """Zombies that PID 1 does not reap, and processes whose server is gone."""
        zombies = await _zombies()
        left = [process for process in _processes() if _is_left_over(process)]
        findings: list[Finding] = []
        if zombies:
            some = ", ".join(map(str, sorted(zombies)[:5]))
            findings.append(
                Finding(
                    KINDS["pid-1-does-not-reap"],
                    f"{len(zombies)} have ended and are not reaped, such as {some}.",
                )
            )
        if left:
            some = "; ".join(f"{p.pid} ({_name_of(p.pid)}, {_age(p.age_s)})" for p in left[:5])
            findings.append(
                Finding(
                    KINDS["left-by-an-earlier-run"],
                    f"{len(left)} running without the one that started it: {some}.",
                )
            )
        facts = (
            Fact("PID 1", _name_of(1) or "not visible"),
            Fact("zombies below it", str(len(zombies))),
            Fact("left by an earlier run", str(len(left))),
        )
        return Section("orphans", facts, tuple(findings))

    async def _zombies() -> set[int]:
        def look() -> set[int]:
            return {process.pid for process in _processes() if process.state == "Z" and process.parent == 1}

        found, give_up_at = look(), time.monotonic() + _REAPED_WITHIN_S
        while found and time.monotonic() < give_up_at:
            await anyio.sleep(_PAUSE_S)
            found &= look()
        return found

    def _is_left_over(process: _Process) -> bool:
        """Of this user and this project, no daemon, and without the parent that started it.

        Its parent is then PID 1, or the systemd of the user. A daemon, and a server that systemd runs, lead a session. Of
        this project is what works in the current folder or runs this interpreter.
        """
        folder = Path("/proc", str(process.pid))
        if process.state == "Z" or process.session == process.pid or process.pid == os.getpid():
            return False
        if process.parent != 1 and _name_of(process.parent) != "systemd":
            return False
        with contextlib.suppress(OSError):  # has ended
            if folder.stat().st_uid == os.getuid():
                this_python = os.path.realpath(sys.executable)
                return _link(folder / "cwd") == _link(Path("/proc/self/cwd")) != "" or (
                    _link(folder / "exe") == this_python
                )
        return False

    def _link(path: Path) -> str:
        """Empty if it is not ours to look at."""
        with contextlib.suppress(OSError):
            return os.readlink(path)
        return ""

    def _processes() -> Iterator[_Process]:
        """Source: proc(5), /proc/PID/stat."""
        up_s = float(Path("/proc/uptime").read_text().split()[0])
        ticks = os.sysconf("SC_CLK_TCK")
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # has ended
                # Behind the name of the program, which is in parentheses and may hold anything.
                fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
                yield _Process(
                    pid=int(folder.name),
                    state=fields[0],
                    parent=int(fields[1]),
                    session=int(fields[3]),
                    age_s=up_s - int(fields[19]) / ticks,
                )

    def _name_of(pid: int) -> str:
        """As the system knows it. Not its arguments: they may hold secrets, also the one that should be its name."""
        with contextlib.suppress(OSError):
            name = Path("/proc", str(pid), "comm").read_text(errors="replace").strip()
            return "".join(character if character.isprintable() else "?" for character in name)
        return ""

    def _age(seconds: float) -> str:
        hours, minutes = seconds / 3600, seconds / 60
        return (
            f"{hours:.0f} h" if hours >= 2 else f"{minutes:.0f} min" if minutes >= 2 else f"{seconds:.0f} s"
        )
