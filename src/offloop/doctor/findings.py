"""What `offloop doctor` can find, and the form in which it says it.

The table in the guide is printed from ``KINDS``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from offloop.errors import guide_url

__all__ = ("KINDS", "Fact", "Finding", "Kind", "Report", "Section", "Severity")


class Severity(Enum):
    """How much a finding matters.

    ERROR
        Programs cannot be started, or their results are lost.
    WARNING
        Programs run here, and it goes wrong in one place or under load.
    NOTE
        Worth knowing when something is odd. The exit code does not count it.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Kind(NamedTuple):
    """One thing that can be found.

    Attributes:
        name: Words with hyphens, such as ``"few-descriptors"``.
        severity: How much it matters.
        next_step: One sentence: what to do.
        page: Path of the page of the guide that explains it, below ``offloop.errors.GUIDE_URL``.
    """

    name: str
    severity: Severity
    next_step: str
    page: str


_NO_PROCESSES_HERE = "troubleshooting/notimplementederror-on-windows/"
_RUN_MODES = "practice/run-modes/"
_RESOURCES = "practice/resource-management/"

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "loop-without-processes",
            Severity.WARNING,
            "Start programs with SubprocessWrapper, which follows them in THREADED mode on this loop.",
            _NO_PROCESSES_HERE,
        ),
        Kind(
            "proactor-with-several-processes",
            Severity.ERROR,
            "Leave the loop to uvicorn with --reload and --workers, and start programs with SubprocessWrapper.",
            "troubleshooting/winerror-87/",
        ),
        Kind(
            "psycopg-on-proactor",
            Severity.WARNING,
            "Run the application on a selector loop, and start programs with SubprocessWrapper, which works there.",
            "troubleshooting/psycopg-and-proactor/",
        ),
        Kind(
            "policy-is-set",
            Severity.NOTE,
            "Name the loop by a loop factory: policies are ignored by uvicorn since 0.36, and gone in Python 3.16.",
            "anti-patterns/late-policies/",
        ),
        Kind(
            "wait-for-loses-cancellations",
            Severity.NOTE,
            "Use asyncio.timeout() in place of asyncio.wait_for(), or Python 3.12 and later.",
            "troubleshooting/cancel-is-swallowed/",
        ),
        Kind(
            "mode-not-on-this-loop",
            Severity.ERROR,
            "Set OFFLOOP_RUN_MODE to threaded, or remove it: then the mode is chosen for the loop.",
            _NO_PROCESSES_HERE,
        ),
        Kind(
            "unknown-run-mode",
            Severity.ERROR,
            "Set OFFLOOP_RUN_MODE to async, threaded, local or dry-run, or remove it.",
            "reference/settings/",
        ),
        Kind(
            "mode-blocks-the-loop",
            Severity.WARNING,
            "Remove OFFLOOP_RUN_MODE: LOCAL is for a debugger and for scripts, and holds the loop of a server.",
            _RUN_MODES,
        ),
        Kind(
            "mode-runs-nothing",
            Severity.WARNING,
            "Remove OFFLOOP_RUN_MODE: DRY_RUN records commands and runs none.",
            _RUN_MODES,
        ),
        Kind(
            "app-not-found",
            Severity.ERROR,
            "Give MODULE:APP as uvicorn wants it, and --app-dir if the module is in another folder.",
            "practice/fastapi/",
        ),
        Kind(
            "no-shutdown-limit",
            Severity.WARNING,
            "Give uvicorn --timeout-graceful-shutdown 10, or run the application with `offloop serve`.",
            "troubleshooting/waiting-for-background-tasks/",
        ),
        Kind(
            "start-fails",
            Severity.ERROR,
            "Look at the other findings first: a limit or a signal may be the cause.",
            "reference/errors/",
        ),
        Kind(
            "slow-start",
            Severity.NOTE,
            "Look for a virus scanner or an overloaded machine; reuse processes where they are many.",
            "patterns/resource-pool/",
        ),
        Kind(
            "no-leash",
            Severity.WARNING,
            "Make /bin/sh available, or pass leash=False and accept that a killed server leaves its children.",
            _RESOURCES,
        ),
        Kind(
            "few-descriptors",
            Severity.WARNING,
            "Raise the limit (ulimit -n 4096, LimitNOFILE= of systemd, --ulimit nofile= of Docker) or lower max_running.",
            "troubleshooting/too-many-open-files/",
        ),
        Kind(
            "few-processes",
            Severity.WARNING,
            "Raise the limit (ulimit -u, TasksMax= of systemd, --pids-limit of Docker) or lower max_running.",
            "anti-patterns/unbounded-concurrency/",
        ),
        Kind(
            "little-memory",
            Severity.WARNING,
            "Give the machine or the container more memory, or run fewer programs at once with max_running.",
            "troubleshooting/memory-leaks/",
        ),
        Kind(
            "not-utf-8",
            Severity.NOTE,
            "Decode output yourself (stream.text_lines() does), and set PYTHONUTF8=1 for programs in Python.",
            "troubleshooting/unicodedecodeerror-charmap/",
        ),
        Kind(
            "no-path",
            Severity.ERROR,
            "Set PATH, or name programs by their whole path.",
            "anti-patterns/replaced-environment/",
        ),
        Kind(
            "no-system-root",
            Severity.ERROR,
            "Set SystemRoot to the folder of Windows: without it programs cannot open sockets.",
            "troubleshooting/winerror-10106/",
        ),
        Kind(
            "another-python-on-path",
            Severity.NOTE,
            "Start programs in Python with python_argv(), which names this interpreter.",
            "anti-patterns/bare-python/",
        ),
        Kind(
            "exit-codes-are-lost",
            Severity.ERROR,
            "Let the parent restore SIGCHLD (trap - CHLD in a shell, signal.SIG_DFL in Python) before it starts this program.",
            "troubleshooting/return-code-255/",
        ),
        Kind(
            "pid-1-does-not-reap",
            Severity.WARNING,
            "Run the container with an init as PID 1: docker run --init, or tini.",
            _RESOURCES,
        ),
        Kind(
            "left-by-an-earlier-run",
            Severity.WARNING,
            "Look at what they are, and end those that nobody needs.",
            "troubleshooting/process-does-not-terminate/",
        ),
    )
}
"""Every kind of finding by its name."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was found.

    Attributes:
        kind: What it is.
        evidence: One sentence with the data.
    """

    kind: Kind
    evidence: str

    def as_json(self) -> dict[str, str]:
        """For ``--json``."""
        return {
            "name": self.kind.name,
            "severity": self.kind.severity.value,
            "evidence": self.evidence,
            "next_step": self.kind.next_step,
            "page": guide_url(self.kind.page),
        }


class Fact(NamedTuple):
    """A name and a value, both for people."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Section:
    """What one check saw.

    Attributes:
        check: The name of the check.
        facts: What it saw, in the order in which it is shown.
        findings: What is wrong with it.
    """

    check: str
    facts: tuple[Fact, ...]
    findings: tuple[Finding, ...] = ()

    def as_json(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "check": self.check,
            "facts": dict(self.facts),
            "findings": [finding.as_json() for finding in self.findings],
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What all checks saw."""

    sections: tuple[Section, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Of all sections, the worst first."""
        order = list(Severity)
        found = [finding for section in self.sections for finding in section.findings]
        return tuple(sorted(found, key=lambda finding: order.index(finding.kind.severity)))

    @property
    def is_healthy(self) -> bool:
        """Whether nothing worse than a note was found."""
        return all(finding.kind.severity is Severity.NOTE for finding in self.findings)

    def as_json(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "is_healthy": self.is_healthy,
            "checks": [section.as_json() for section in self.sections],
        }
