"""What is there that an end should have taken away: tasks, processes, threads, descriptors.

A census is a set of names; what a piece of code left behind is the difference of two. No third-party
package is needed, so that it works wherever Python does.

- Processes. Linux: descendants in `/proc`, and orphans that carry this process's mark in their
  environment (a child started with an empty environment, whose parent has ended, is not seen).
  macOS: descendants by `ps`. Windows: members of a Job Object that this process joins; it is never
  asked to end anything.
- Threads: those that `threading` knows.
- Descriptors. Linux and macOS: all. Windows: those of the C runtime, so files and pipes opened by
  `os`, but no sockets or handles.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Set
from dataclasses import dataclass, field, replace

__all__ = ("Census", "LeftBehind", "census", "end_processes", "left_behind", "marked", "named")

GRACE_S = 0.5
_MARK = "OFFLOOP_CENSUS"
# Threads that belong to a runtime and not to the code it runs: the child watcher of asyncio before 3.12,
# and trio's cache of idle threads.
EXEMPT_THREADS = ("asyncio-waitpid", "Trio thread")


@dataclass(frozen=True)
class Process:
    """One process; `started` tells it from a later one with the same pid."""

    pid: int
    started: str = ""
    command: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"pid {self.pid}{self.command}"


@dataclass(frozen=True)
class Census:
    """What is there at one moment."""

    processes: frozenset[Process]
    threads: frozenset[threading.Thread]
    descriptors: frozenset[tuple[int, str]]

    def __sub__(self, before: Census) -> Census:
        return Census(
            self.processes - before.processes,
            self.threads - before.threads,
            self.descriptors - before.descriptors,
        )

    def kinds(self) -> set[str]:
        """Which of `"process"`, `"thread"`, `"fd"` are not empty."""
        found = {"process": self.processes, "thread": self.threads, "fd": self.descriptors}
        return {kind for kind, members in found.items() if members}

    def describe(self, kind: str) -> str:
        """The members of one kind, for a message."""
        if kind == "process":
            return ", ".join(sorted(map(str, self.processes)))
        if kind == "thread":
            return ", ".join(sorted(repr(thread.name) for thread in self.threads))
        return ", ".join(f"{number} ({to})" if to else str(number) for number, to in sorted(self.descriptors))


@dataclass(frozen=True)
class LeftBehind:
    """What a call left behind, as text; false when that is nothing."""

    tasks: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()
    descriptors: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tasks or self.processes or self.threads or self.descriptors)


# ---- processes ---------------------------------------------------------------------------------------

if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel32.CreateJobObjectW.restype = wintypes.HANDLE
    _kernel32.CreateJobObjectW.argtypes = [wintypes.LPVOID, wintypes.LPCWSTR]
    _kernel32.GetCurrentProcess.restype = wintypes.HANDLE
    _kernel32.AssignProcessToJobObject.argtypes = [wintypes.HANDLE, wintypes.HANDLE]
    _kernel32.QueryInformationJobObject.argtypes = [
        wintypes.HANDLE,
        ctypes.c_int,
        wintypes.LPVOID,
        wintypes.DWORD,
        wintypes.LPVOID,
    ]
    _kernel32.CloseHandle.argtypes = [wintypes.HANDLE]
    _PROCESS_ID_LIST = 3  # JobObjectBasicProcessIdList
    _MOST_PROCESSES = 4096

    _kernel32.CreateToolhelp32Snapshot.restype = wintypes.HANDLE
    _kernel32.CreateToolhelp32Snapshot.argtypes = [wintypes.DWORD, wintypes.DWORD]
    _kernel32.Process32FirstW.argtypes = [wintypes.HANDLE, wintypes.LPVOID]
    _kernel32.Process32NextW.argtypes = [wintypes.HANDLE, wintypes.LPVOID]
    _SNAPSHOT_OF_PROCESSES = 0x2

    class _ProcessEntry(ctypes.Structure):
        _fields_ = [
            ("size", wintypes.DWORD),
            ("usage", wintypes.DWORD),
            ("pid", wintypes.DWORD),
            ("default_heap_id", ctypes.c_size_t),
            ("module_id", wintypes.DWORD),
            ("threads", wintypes.DWORD),
            ("parent", wintypes.DWORD),
            ("base_priority", wintypes.LONG),
            ("flags", wintypes.DWORD),
            ("program", wintypes.WCHAR * 260),
        ]

    class _ProcessIds(ctypes.Structure):
        _fields_ = [
            ("assigned", wintypes.DWORD),
            ("listed", wintypes.DWORD),
            ("ids", ctypes.c_size_t * _MOST_PROCESSES),
        ]

    _job: int | None = None

    def _own_job() -> int:
        """A job without limits that holds this process, and so all it will ever start, orphans too."""
        global _job
        if _job is None:
            job: int | None = _kernel32.CreateJobObjectW(None, None)
            if not job or not _kernel32.AssignProcessToJobObject(job, _kernel32.GetCurrentProcess()):
                raise ctypes.WinError(ctypes.get_last_error())
            _job = job
        return _job

    def _processes() -> frozenset[Process]:
        found = _ProcessIds()
        size = ctypes.sizeof(found)
        if not _kernel32.QueryInformationJobObject(
            _own_job(), _PROCESS_ID_LIST, ctypes.byref(found), size, None
        ):
            raise ctypes.WinError(ctypes.get_last_error())
        members = {int(pid) for pid in found.ids[: found.listed]} - {os.getpid()}
        # Wine 8 keeps a console host in the job for good whose parent was killed while creating it. It cannot be named
        # nor ended, and is in no list of processes.
        return frozenset(Process(pid) for pid in members & _programs().keys()) if members else frozenset()

    def _programs() -> dict[int, str]:
        """Which program each process on this machine runs."""
        snapshot = _kernel32.CreateToolhelp32Snapshot(_SNAPSHOT_OF_PROCESSES, 0)
        if snapshot == wintypes.HANDLE(-1).value:
            raise ctypes.WinError(ctypes.get_last_error())
        found: dict[int, str] = {}
        entry = _ProcessEntry(size=ctypes.sizeof(_ProcessEntry))
        try:
            more = _kernel32.Process32FirstW(snapshot, ctypes.byref(entry))
            while more:
                found[entry.pid] = entry.program
                more = _kernel32.Process32NextW(snapshot, ctypes.byref(entry))
        finally:
            _kernel32.CloseHandle(snapshot)
        return found

    def _command_of(pid: int) -> str:
        program = _programs().get(pid)
        return f" ({program})" if program else " (has ended)"

    def _kill(pid: int) -> None:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGTERM)  # on Windows any signal but CTRL_* is TerminateProcess

    def _reap(pid: int) -> None:
        """Windows keeps nothing of a process that has ended."""

else:

    def _processes() -> frozenset[Process]:
        return _from_proc() if os.path.isdir("/proc/self") else _from_ps()

    def _from_proc() -> frozenset[Process]:
        parents: dict[int, int] = {}
        started: dict[int, str] = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                # By descriptor: open() takes three times as long, and each block counts all processes four times.
                try:
                    stat = os.open(f"/proc/{name}/stat", os.O_RDONLY)
                except OSError:  # has ended
                    continue
                try:
                    # The command's name is in parentheses and may hold anything, so read behind the last one.
                    words = os.read(stat, 4096).rpartition(b")")[2].split()
                except OSError:
                    continue
                finally:
                    os.close(stat)
                parents[int(name)] = int(words[1])
                started[int(name)] = words[19].decode()
        ours = _descendants(parents)
        ours |= {pid for pid in parents if pid not in ours and _is_orphan(Process(pid, started[pid]))}
        return frozenset(Process(pid, started[pid]) for pid in ours - {os.getpid()} if not _is_helper(pid))

    def _from_ps() -> frozenset[Process]:
        listing = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=True)
        pairs = [line.split() for line in listing.stdout.splitlines()]
        parents = {int(pid): int(parent) for pid, parent in pairs}
        # ps has ended by now, but is in its own list.
        return frozenset(Process(pid) for pid in _descendants(parents) if _exists(pid))

    def _exists(pid: int) -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            return True
        return False

    def _descendants(parents: dict[int, int]) -> set[int]:
        children: dict[int, list[int]] = {}
        for pid, parent in parents.items():
            children.setdefault(parent, []).append(pid)
        found: set[int] = set()
        waiting = [os.getpid()]
        while waiting:
            for child in children.get(waiting.pop(), ()):
                found.add(child)
                waiting.append(child)
        return found

    # As long as an exec may take on a busy machine.
    _EXEC_MS = 20

    # Processes that were looked at and are not ours, so that each is opened once in a run.
    _strangers: set[Process] = set()
    # Those without an environment, for which nothing is waited again.
    _empty: set[Process] = set()

    def _is_orphan(process: Process) -> bool:
        mark = os.environ.get(_MARK)
        if mark is None or process in _strangers:
            return False
        environment = _environment_of(process)
        if f"{_MARK}={mark}".encode() in environment.split(b"\0"):
            return True
        if environment:  # empty in the middle of an exec: look again next time
            _strangers.add(process)
        return False

    def _environment_of(process: Process) -> bytes:
        """Empty for a process of the system or of somebody else, and for one that was started without any."""
        for _ in range(1 if process in _empty else _EXEC_MS):
            try:
                with open(f"/proc/{process.pid}/environ", "rb") as environ:
                    if found := environ.read():
                        return found
                os.readlink(f"/proc/{process.pid}/exe")  # a process of the system has none
            except OSError:
                break
            time.sleep(
                0.001
            )  # an orphan that is just being born has none for a moment, and must not be missed
        _empty.add(process)
        return b""

    def _is_helper(pid: int) -> bool:
        """multiprocessing keeps one resource tracker, and perhaps a fork server, for the whole run."""
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/cmdline", "rb") as cmdline:
                command = cmdline.read()
            return b"resource_tracker" in command or b"multiprocessing.forkserver" in command
        return False

    def _command_of(pid: int) -> str:
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/cmdline", "rb") as cmdline:
                words = cmdline.read().decode("utf-8", "replace").split("\0")
            command = " ".join(words).strip()
            return f" ({command[:80]})" if command else " (has ended, nobody waited for it)"
        return ""

    def _kill(pid: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)

    def _reap(pid: int) -> None:
        with contextlib.suppress(ChildProcessError, OSError):
            os.waitpid(pid, os.WNOHANG)


@contextlib.contextmanager
def marked() -> Generator[None]:
    """Give this process's children a mark in their environment, by which orphans are found on Linux."""
    before = os.environ.get(_MARK)
    if before is None:
        os.environ[_MARK] = secrets.token_hex(8)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_MARK, None)


# ---- threads and descriptors -------------------------------------------------------------------------


def _threads() -> frozenset[threading.Thread]:
    return frozenset(thread for thread in threading.enumerate() if not thread.name.startswith(EXEMPT_THREADS))


def _descriptors() -> frozenset[tuple[int, str]]:
    if sys.platform == "win32":
        return frozenset((number, "") for number in range(2048) if _is_open(number))
    helpers = _descriptors_of_helpers()
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    found: set[tuple[int, str]] = set()
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):
            number = int(name)
            os.fstat(number)  # the listing's own descriptor is closed by now
            if number in helpers:
                continue
            to = os.readlink(f"{folder}/{name}") if folder.startswith("/proc") else ""
            if not to.endswith("/schedstat"):  # with which loop_lag measures meanwhile
                found.add((number, to))
    return frozenset(found)


def _descriptors_of_helpers() -> set[object]:
    """multiprocessing's resource tracker and fork server live, with a pipe each, for the whole run."""
    tracker = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    server = getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)
    return {getattr(tracker, "_fd", None), getattr(server, "_forkserver_alive_fd", None)}


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


# ---- the census and its difference -------------------------------------------------------------------


def census() -> Census:
    """What is there now."""
    return Census(_processes(), _threads(), _descriptors())


def since(before: Census, allowed: Set[str] = frozenset(), grace_s: float = GRACE_S) -> Census:
    """What is there now and was not there before; looks again for *grace_s*, since an end takes a moment."""
    deadline = time.monotonic() + grace_s
    while True:
        left = census() - before
        if left.kinds() <= allowed or time.monotonic() > deadline:
            return replace(left, processes=named(left.processes))
        gc.collect()
        time.sleep(0.01)


def named(processes: frozenset[Process]) -> frozenset[Process]:
    """With the command that each runs, which cannot be read any more when it has ended."""
    return frozenset(replace(process, command=_command_of(process.pid)) for process in processes)


def end_processes(processes: Iterable[Process]) -> None:
    """Kill each, and collect its exit code if it is a child that nobody waits for."""
    remaining = set(processes)
    for process in remaining:
        _kill(process.pid)
    deadline = time.monotonic() + 5
    while remaining and time.monotonic() < deadline:
        for process in remaining:
            _reap(process.pid)
        remaining &= _processes()
        if remaining:
            time.sleep(0.01)


async def end_processes_on_loop(before: Census, grace_s: float = 0.3) -> frozenset[Process]:
    """End what is still running while the loop is alive, and return it.

    asyncio's own watcher shall collect the exit codes: a transport that outlives its loop warns
    later, inside whatever runs then, and a foreign wait makes it report "Unknown child process".
    """
    deadline = time.monotonic() + grace_s
    while (left := _processes() - before.processes) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    left = named(left)
    for process in left:
        _kill(process.pid)
    deadline = time.monotonic() + 5
    while left & _processes() and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
        for process in left if time.monotonic() > deadline - 4 else ():
            _reap(process.pid)  # a Popen has no watcher
    return left


async def left_behind(call: Callable[..., Awaitable[object]], *args: object) -> LeftBehind:
    """Await `call(*args)`, and return what it left behind; then end that.

    Tasks are cancelled and processes killed before this returns; threads and descriptors cannot be
    taken away from outside. What ends by itself within 0.5 s is not counted. An exception of *call* is
    dropped: the question is what stays behind, also after a failure. Needs asyncio.

    What each system can see is said at the head of this module; on Windows sockets are not seen.
    """
    with marked():
        before = census()
        tasks_before = asyncio.all_tasks()
        with contextlib.suppress(Exception):
            await call(*args)
        tasks = await end_tasks(asyncio.all_tasks() - tasks_before)
        processes = await end_processes_on_loop(before, GRACE_S)
        deadline = time.monotonic() + GRACE_S
        while (left := census() - before).kinds() and time.monotonic() < deadline:
            gc.collect()
            await asyncio.sleep(0.01)
    return LeftBehind(
        tuple(sorted(task.get_name() for task in tasks)),
        tuple(sorted(str(process) for process in processes)),
        tuple(sorted(thread.name for thread in left.threads)),
        tuple(f"{number} {to}".strip() for number, to in sorted(left.descriptors)),
    )


async def end_tasks(
    tasks: Iterable[asyncio.Task[object]], grace_s: float = 0.05
) -> set[asyncio.Task[object]]:
    """Give *tasks* a moment, cancel those still there and return them."""
    pending = set(tasks)
    if pending:
        _, pending = await asyncio.wait(pending, timeout=grace_s)
    for task in pending:
        task.cancel()
    if pending:
        await asyncio.wait(pending, timeout=1)
    return pending
