"""How many programs this one may run at once: descriptors, processes, memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from offloop.doctor.findings import KINDS, Fact, Finding, Section

__all__ = ("limits",)

# Two pipes and a pidfd, and three more ends while it is being started.
_DESCRIPTORS_PER_CHILD = 6
_ENOUGH_CHILDREN = 32
_ENOUGH_MEMORY_BYTES = 128 * 1024 * 1024
# Version 1 of cgroups says no limit by a number of pages that no machine has.
_NO_LIMIT_BYTES = 2**60
_CGROUP = Path("/sys/fs/cgroup")


def limits() -> Section:
    """What is left of each limit."""
    facts: list[Fact] = [Fact("processors", _processors())]
    findings: list[Finding] = []
    for look in (_descriptors, _processes, _memory):
        # A system that does not let us look has said so; the others are still worth a look.
        with contextlib.suppress(OSError, ValueError):
            for fact, finding in look():
                facts.append(fact)
                if finding is not None:
                    findings.append(finding)
    return Section("limits", tuple(facts), tuple(findings))


def _processors() -> str:
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    for text in _of_cgroup("cpu.max"):
        quota, _, period = text.partition(" ")
        if quota != "max":
            return f"{count}, and time of {int(quota) / int(period):g} (cgroup)"
    return str(count)


if sys.platform == "win32":

    def _descriptors() -> Iterator[tuple[Fact, Finding | None]]:
        yield Fact("open files", "not limited on Windows"), None

    def _processes() -> Iterator[tuple[Fact, Finding | None]]:
        yield Fact("processes", "not limited on Windows, unless by a Job Object around this program"), None

    def _free_memory() -> Iterator[tuple[str, int]]:
        class Status(ctypes.Structure):
            # MEMORYSTATUSEX of sysinfoapi.h
            _fields_ = (
                ("length", ctypes.c_ulong),
                ("load_percent", ctypes.c_ulong),
                ("total", ctypes.c_ulonglong),
                ("free", ctypes.c_ulonglong),
                ("total_page_file", ctypes.c_ulonglong),
                ("free_page_file", ctypes.c_ulonglong),
                ("total_virtual", ctypes.c_ulonglong),
                ("free_virtual", ctypes.c_ulonglong),
                ("free_extended_virtual", ctypes.c_ulonglong),
            )

        status = Status(length=ctypes.sizeof(Status))
        if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
            # What may be promised ends before what is there: Windows gives no more than the page file can hold.
            yield "machine", min(status.free, status.free_page_file)

else:
    import resource

    def _descriptors() -> Iterator[tuple[Fact, Finding | None]]:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = len(os.listdir("/dev/fd"))
        if soft == resource.RLIM_INFINITY:
            yield Fact("open files", f"{used}, not limited"), None
            return
        room = max(0, soft - used) // _DESCRIPTORS_PER_CHILD
        shown = "no limit" if hard == resource.RLIM_INFINITY else hard
        finding = Finding(
            KINDS["few-descriptors"],
            f"{soft} files may be open and {used} are: there is room for {room} more at once.",
        )
        yield (
            Fact("open files", f"{used} of {soft}, which may be raised to {shown}"),
            finding if room < _ENOUGH_CHILDREN else None,
        )

    def _processes() -> Iterator[tuple[Fact, Finding | None]]:
        soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
        if soft == resource.RLIM_INFINITY or (sys.platform == "linux" and os.getuid() == 0):
            yield Fact("processes of this user", "not limited"), None
        else:
            yield _rooms("processes of this user", _processes_of_this_user(), soft)
        most, now = next(_of_cgroup("pids.max"), "max"), next(_of_cgroup("pids.current"), "0")
        if most != "max":
            yield _rooms("processes in this cgroup", int(now), int(most))

    def _rooms(name: str, used: int, most: int) -> tuple[Fact, Finding | None]:
        room = max(0, most - used)
        finding = Finding(
            KINDS["few-processes"], f"{name}: {used} of {most}, threads counted: room for {room} more."
        )
        return Fact(name, f"{used} of {most}"), finding if room < _ENOUGH_CHILDREN else None

    def _processes_of_this_user() -> int:
        """Threads, since the limit counts them; on macOS unknown, 0."""
        count = 0
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # has ended
                if folder.stat().st_uid == os.getuid():
                    count += len(os.listdir(folder / "task"))
        return count

    def _free_memory() -> Iterator[tuple[str, int]]:
        with contextlib.suppress(OSError):
            for line in Path("/proc/meminfo").read_text().splitlines():
                if line.startswith("MemAvailable:"):
                    yield "machine", int(line.split()[1]) * 1024
        for most, now in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            for text in _of_cgroup(most):
                if text != "max" and int(text) < _NO_LIMIT_BYTES:
                    yield "cgroup", max(0, int(text) - int(next(_of_cgroup(now), "0")))


def _memory() -> Iterator[tuple[Fact, Finding | None]]:
    for whose, free in _free_memory():
        shown = f"{free / 1024**2:,.0f} MiB"
        finding = Finding(KINDS["little-memory"], f"{shown} are left in this {whose}; a Python takes 10.")
        yield Fact(f"free memory, {whose}", shown), finding if free < _ENOUGH_MEMORY_BYTES else None


def _of_cgroup(name: str) -> Iterator[str]:
    """The file *name* of this process's cgroup, if it is there: one line, or none.

    Version 2, or the hierarchy of version 1 that has such a file. In a container the path is often that of the
    machine, and the files are at the root.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    kind = name.partition(".")[0]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and kind not in controllers.split(","):
            continue
        for folder in (_CGROUP / controllers / path.lstrip("/"), _CGROUP / controllers):
            with contextlib.suppress(OSError):
                yield (folder / name).read_text().strip()
                return
