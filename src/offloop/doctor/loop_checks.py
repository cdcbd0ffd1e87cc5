"""The running loop, the server that chose it, and the run mode on it."""

from __future__ import annotations

import asyncio
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import anyio.to_thread

from offloop.doctor.findings import KINDS, Fact, Finding, Section
from offloop.errors import SettingsError, SubprocessPolicyError
from offloop.loops import can_start_processes, current_caller
from offloop.modes import ModeChoice, RunMode, choose_mode

__all__ = ("Server", "loop", "server")


class Server(NamedTuple):
    """The uvicorn that is asked about.

    Attributes:
        app: ``"module:app"``. It is looked for and not imported, the packages around it neither: that would run them.
        app_dir: The folder in which uvicorn looks for it.
        options: The options that decide the loop, such as ``"--reload"``.
        has_several_processes: Whether uvicorn hands the socket to others: with ``--reload``, or several workers.
        shutdown_limit_s: Seconds that open requests have at the end; None if they have for ever.
    """

    app: str
    app_dir: str
    options: str
    has_several_processes: bool
    shutdown_limit_s: int | None


def server(about: Server | None) -> Section:
    """uvicorn and its relatives."""
    facts = [Fact(name, _version_of(name)) for name in ("uvicorn", "uvloop", "winloop")]
    findings: list[Finding] = []
    if about is not None:
        facts.append(Fact("application", about.app))
        facts.append(Fact("options for the loop", about.options or "none"))
        if problem := _problem_with(about):
            findings.append(Finding(KINDS["app-not-found"], problem))
        limit = about.shutdown_limit_s
        end = "waits for open requests" if limit is None else f"open requests have {limit} s"
        facts.append(Fact("at the end", end))
        if limit is None:
            findings.append(
                Finding(
                    KINDS["no-shutdown-limit"],
                    "uvicorn waits without a limit for open requests, and background tasks are part of them.",
                )
            )
    return Section("server", tuple(facts), tuple(findings))


def _version_of(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _problem_with(about: Server) -> str:
    """Empty if the module of the application is there. Nothing is imported, the packages around it neither."""
    module, colon, attribute = about.app.partition(":")
    if not (module and colon and attribute) or module.startswith("."):
        return f"{about.app!r} is not of the form MODULE:APP."
    folder = os.path.abspath(about.app_dir)
    path = list(sys.path)
    sys.path.insert(0, folder)
    try:
        if not _is_there(module):
            return f"There is no module {module!r} in {folder}, nor among the installed ones."
    finally:
        sys.path[:] = path
    return ""


def _is_there(module: str) -> bool:
    first, *others = module.split(".")
    spec = importlib.util.find_spec(first)
    name = first
    for other in others:
        if spec is None or spec.submodule_search_locations is None:
            return False
        name = f"{name}.{other}"
        spec = importlib.machinery.PathFinder.find_spec(name, list(spec.submodule_search_locations))
    return spec is not None


async def loop(about: Server | None) -> Section:
    """The running loop, what it can do, and what offloop makes of it."""
    caller = current_caller()
    can_start = caller.loop is not None and can_start_processes(caller.loop)
    facts = [
        Fact("loop", caller.name),
        Fact("asyncio can start processes on it", "yes" if can_start else "no"),
    ]
    findings: list[Finding] = []
    if caller.loop is not None and not can_start:
        findings.append(
            Finding(
                KINDS["loop-without-processes"],
                f"asyncio.create_subprocess_exec() raises NotImplementedError on {caller.name}.",
            )
        )
    findings += _on_proactor(caller.name, about)
    if caller.loop is not None and await _wait_for_loses_cancellations():
        findings.append(
            Finding(
                KINDS["wait-for-loses-cancellations"],
                "Tried: a task that was cancelled when its asyncio.wait_for() had a result ran on.",
            )
        )
    if kind := _policy():
        facts.append(Fact("event-loop policy", kind))
        findings.append(Finding(KINDS["policy-is-set"], f"The policy of this program is {kind}."))
    mode_fact, mode_finding = _mode(can_start)
    facts.append(mode_fact)
    if mode_finding is not None:
        findings.append(mode_finding)
    if caller.loop is not None:
        facts.append(Fact("default executor", _executor(caller.loop)))
    tokens = anyio.to_thread.current_default_thread_limiter().total_tokens
    facts.append(
        Fact("anyio's threads", f"{tokens:g}, shared with handlers of Starlette written with plain def")
    )
    return Section("loop", tuple(facts), tuple(findings))


def _on_proactor(loop_name: str, about: Server | None) -> list[Finding]:
    """What else does not work on the loop of Windows that can start processes."""
    found: list[Finding] = []
    if not loop_name.endswith("ProactorEventLoop"):
        return found
    if about is not None and about.has_several_processes:
        found.append(
            Finding(
                KINDS["proactor-with-several-processes"],
                "The socket that uvicorn hands over cannot be used by a Proactor loop: WinError 87.",
            )
        )
    if importlib.util.find_spec("psycopg") is not None:
        found.append(
            Finding(KINDS["psycopg-on-proactor"], "psycopg is installed, and cannot connect on this loop.")
        )
    return found


async def _wait_for_loses_cancellations() -> bool:
    """Tried, since versions differ. It takes some turns of the loop."""
    result: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(asyncio.wait_for(result, 60))
    await asyncio.sleep(0)
    result.set_result(None)
    task.cancel()
    await asyncio.wait([task])
    return not task.cancelled()


def _policy() -> str:
    """The class of the event-loop policy, if somebody has set another than the default."""
    # Not by get_event_loop_policy(), which is deprecated since Python 3.14, and makes one where there is none.
    policy: object = getattr(asyncio.events, "_event_loop_policy", None)
    kind = type(policy)
    if policy is None or kind is getattr(asyncio, "DefaultEventLoopPolicy", None):
        return ""
    return f"{kind.__module__}.{kind.__qualname__}"


def _mode(can_start: bool) -> tuple[Fact, Finding | None]:
    try:
        choice = choose_mode()
    except SettingsError as error:
        return Fact("run mode", "none"), Finding(KINDS["unknown-run-mode"], error.problem)
    except SubprocessPolicyError as error:
        return Fact("run mode", "none"), Finding(KINDS["start-fails"], error.problem)
    return Fact("run mode", f"{choice.mode.value}: {choice.reason}"), _mode_finding(choice, can_start)


def _mode_finding(choice: ModeChoice, can_start: bool) -> Finding | None:
    if choice.mode is RunMode.ASYNC and not can_start:
        return Finding(KINDS["mode-not-on-this-loop"], f"{choice.reason} This loop cannot start processes.")
    if choice.mode is RunMode.LOCAL:
        return Finding(KINDS["mode-blocks-the-loop"], choice.reason)
    if choice.mode is RunMode.DRY_RUN:
        return Finding(KINDS["mode-runs-nothing"], choice.reason)
    return None


def _executor(loop: asyncio.AbstractEventLoop) -> str:
    # The formula is that of concurrent.futures, which has no public name for it; asked of an executor that is
    # never used, since Python 3.13 counts other processors than 3.12.
    executor: object = getattr(loop, "_default_executor", None) or ThreadPoolExecutor()
    threads = getattr(executor, "_max_workers", None)
    return f"{threads or 'unknown number of'} threads, shared by to_thread() and the resolution of host names"
