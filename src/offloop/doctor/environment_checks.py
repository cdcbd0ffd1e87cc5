"""The interpreter, and what programs inherit from this one."""

from __future__ import annotations

import codecs
import locale
import os
import platform
import shutil
import signal
import sys

from offloop.doctor.findings import KINDS, Fact, Finding, Section

__all__ = ("environment", "interpreter")


def interpreter() -> Section:
    """Which Python this is, and in which encodings it speaks."""
    name = platform.python_implementation()
    encoding = locale.getencoding()
    out = getattr(sys.stdout, "encoding", None) or "none"
    facts = (
        Fact("interpreter", f"{name} {platform.python_version()} at {sys.executable}"),
        Fact("virtual environment", sys.prefix if sys.prefix != sys.base_prefix else "none"),
        Fact("encoding of text=True", "utf-8, by UTF-8 mode" if sys.flags.utf8_mode else encoding),
        Fact("encoding of stdout", out),
    )
    findings: list[Finding] = []
    if not sys.flags.utf8_mode and codecs.lookup(encoding).name != "utf-8":
        findings.append(
            Finding(
                KINDS["not-utf-8"],
                f"subprocess with text=True decodes as {encoding}, and most programs write UTF-8.",
            )
        )
    return Section("interpreter", facts, tuple(findings))


def environment() -> Section:
    """Variables and signals that a program gets from the one that starts it."""
    facts = [_buffering()]
    findings: list[Finding] = []
    path = os.environ.get("PATH", "")
    folders = [folder for folder in path.split(os.pathsep) if folder]
    missing = [folder for folder in folders if not os.path.isdir(folder)]  # False where one may not look, too
    facts.append(Fact("PATH", f"{len(folders)} folders" + (f", {len(missing)} missing" if missing else "")))
    if not folders:
        findings.append(Finding(KINDS["no-path"], "PATH is not set, or empty."))
    else:
        python = shutil.which("python")
        facts.append(Fact("python on PATH", python or "none"))
        if not _is_this_python(python):
            findings.append(
                Finding(
                    KINDS["another-python-on-path"],
                    f"The command `python` is {python or 'not on PATH'}, and this one is {sys.executable}.",
                )
            )
    if sys.platform == "win32":
        root = os.environ.get("SYSTEMROOT", "")
        facts.append(Fact("SystemRoot", root or "not set"))
        if not root:
            findings.append(Finding(KINDS["no-system-root"], "SystemRoot is not set."))
    elif signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        # Inherited through exec. waitpid() then fails with ECHILD, and asyncio reports 255 or 0.
        findings.append(
            Finding(KINDS["exit-codes-are-lost"], "SIGCHLD is ignored, so the system keeps no exit codes.")
        )
    return Section("environment", tuple(facts), tuple(findings))


def _buffering() -> Fact:
    state = (
        "set"
        if os.environ.get("PYTHONUNBUFFERED")
        else "not set: Python writes to a pipe in blocks without -u"
    )
    return Fact("PYTHONUNBUFFERED", state)


def _is_this_python(python: str | None) -> bool:
    """Whether that command runs this interpreter, with the same packages."""
    if python is None:
        return False
    # Not the file: `python` of a virtual environment is a link to the one outside.
    folders = os.path.dirname(python), os.path.dirname(sys.executable)
    if os.path.normcase(folders[0]) == os.path.normcase(folders[1]):
        return True
    return sys.prefix == sys.base_prefix and os.path.realpath(python) == os.path.realpath(sys.executable)
