"""Is this machine, interpreter, loop and server able to run programs from async code?

    report = await diagnose()
    for finding in report.findings:
        print(finding.kind.severity.value, finding.evidence, finding.kind.next_step)

The loop that is examined is the one that runs: call it inside of your server to see what the server has. ``offloop
doctor`` makes the loop that uvicorn would make, or else that of ``asyncio.run()``.
"""

from __future__ import annotations

import inspect
import platform
from collections.abc import Awaitable, Callable, Sequence

from offloop.doctor.environment_checks import environment, interpreter
from offloop.doctor.findings import KINDS, Fact, Finding, Kind, Report, Section, Severity
from offloop.doctor.limit_checks import limits
from offloop.doctor.loop_checks import Server, loop, server
from offloop.doctor.process_checks import orphans, starts
from offloop.errors import SettingsError

__all__ = (
    "CHECKS",
    "KINDS",
    "Fact",
    "Finding",
    "Kind",
    "Report",
    "Section",
    "Server",
    "Severity",
    "diagnose",
)


def _machine() -> Section:
    return Section("machine", (Fact("system", platform.platform()), Fact("processor", platform.machine())))


CHECKS: tuple[str, ...] = (
    "machine",
    "interpreter",
    "server",
    "loop",
    "starts",
    "limits",
    "environment",
    "orphans",
)
"""The names of the checks, in their order."""


async def diagnose(only: str | Sequence[str] = (), *, about: Server | None = None) -> Report:
    """Examine the running loop and everything around it. Needs about a quarter of a second on Linux.

    Starts this interpreter three times, without work to do, and changes nothing else. The one in LOCAL mode holds the
    loop until it has ended: tens of milliseconds, and at most 10 s; ``only`` without ``"starts"`` leaves it out.

    Args:
        only: Names of ``CHECKS``, or one of them; none means all.
        about: The uvicorn that is asked about.

    Raises:
        SettingsError: There is no such check.
    """
    only = [only] if isinstance(only, str) else only
    for name in only:
        if name not in CHECKS:
            raise SettingsError("only", name, allowed=", ".join(CHECKS))
    checks: dict[str, Callable[[], Section | Awaitable[Section]]] = {
        "machine": _machine,
        "interpreter": interpreter,
        "server": lambda: server(about),
        "loop": lambda: loop(about),
        "starts": starts,
        "limits": limits,
        "environment": environment,
        "orphans": orphans,
    }
    sections: list[Section] = []
    for name in CHECKS:
        if not only or name in only:
            try:
                seen = checks[name]()
                sections.append(await seen if inspect.isawaitable(seen) else seen)
            except (OSError, ValueError, IndexError) as error:
                # A system that shows less than others must not cost the other checks.
                sections.append(Section(name, (Fact("cannot be seen", f"{type(error).__name__}: {error}"),)))
    return Report(tuple(sections))
