"""A process tree on Windows: a Job Object.

The child is created suspended, put into its job and resumed, so nothing that it starts is outside. The job has
``KILL_ON_JOB_CLOSE``: when this program dies, the system closes the job and with it ends the tree.

Source: Microsoft, "Job Objects" and "GenerateConsoleCtrlEvent"; Raymond Chen, "Destroying all child processes
(and grandchildren) when the parent exits".
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import contextlib
import ctypes
import os
import subprocess
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from ctypes import wintypes
from typing import NamedTuple

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

RUNS_BATCH_FILES = True
"""Whether starting a .bat or .cmd file starts a shell."""

_EXIT_CODE_OF_KILLED = 1
_REAP_WITHIN_S = 5.0
_CREATE_SUSPENDED = 0x4
_KILL_ON_JOB_CLOSE = 0x2000
_EXTENDED_LIMIT_INFORMATION = 9
_PROCESS_TERMINATE, _PROCESS_SET_QUOTA, _PROCESS_SUSPEND_RESUME = 0x1, 0x100, 0x800
_CTRL_BREAK_EVENT = 1

_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_ntdll = ctypes.WinDLL("ntdll")
_kernel32.CreateJobObjectW.restype = wintypes.HANDLE
_kernel32.CreateJobObjectW.argtypes = (wintypes.LPVOID, wintypes.LPCWSTR)
_kernel32.SetInformationJobObject.argtypes = (wintypes.HANDLE, ctypes.c_int, wintypes.LPVOID, wintypes.DWORD)
_kernel32.AssignProcessToJobObject.argtypes = (wintypes.HANDLE, wintypes.HANDLE)
_kernel32.TerminateJobObject.argtypes = (wintypes.HANDLE, wintypes.UINT)
_kernel32.OpenProcess.restype = wintypes.HANDLE
_kernel32.OpenProcess.argtypes = (wintypes.DWORD, wintypes.BOOL, wintypes.DWORD)
_kernel32.CloseHandle.argtypes = (wintypes.HANDLE,)
_kernel32.GenerateConsoleCtrlEvent.argtypes = (wintypes.DWORD, wintypes.DWORD)
_kernel32.GetConsoleCP.restype = wintypes.UINT
_ntdll.NtResumeProcess.argtypes = (wintypes.HANDLE,)


class _BasicLimits(ctypes.Structure):
    _fields_ = (
        ("per_process_user_time_limit", ctypes.c_int64),
        ("per_job_user_time_limit", ctypes.c_int64),
        ("limit_flags", wintypes.DWORD),
        ("minimum_working_set_size", ctypes.c_size_t),
        ("maximum_working_set_size", ctypes.c_size_t),
        ("active_process_limit", wintypes.DWORD),
        ("affinity", ctypes.c_size_t),
        ("priority_class", wintypes.DWORD),
        ("scheduling_class", wintypes.DWORD),
    )


class _ExtendedLimits(ctypes.Structure):
    _fields_ = (
        ("basic", _BasicLimits),
        ("io_counters", ctypes.c_uint64 * 6),
        ("process_memory_limit", ctypes.c_size_t),
        ("job_memory_limit", ctypes.c_size_t),
        ("peak_process_memory_used", ctypes.c_size_t),
        ("peak_job_memory_used", ctypes.c_size_t),
    )


class StartOptions(NamedTuple):
    """Arguments of ``subprocess.Popen``; both systems take all of them."""

    process_group: int | None = None
    start_new_session: bool = False
    creationflags: int = 0


def prepare_start(*, leash: bool, detach: bool) -> StartOptions:
    """The options with which a process must be started to become the root of a tree.

    It is created suspended: ``adopt()`` lets it run.

    CTRL_BREAK reaches only processes on the console of the sender, and CREATE_NO_WINDOW gives the child another, hidden
    one. So the child shares the console of this program if there is one, and gets the hidden one, instead of a window
    that flashes, only if there is none (a service, pythonw.exe).
    """
    flags = _CREATE_SUSPENDED | subprocess.CREATE_NEW_PROCESS_GROUP
    if detach or not _has_console():
        flags |= subprocess.CREATE_NO_WINDOW
    return StartOptions(creationflags=flags)


def _has_console() -> bool:
    return bool(_kernel32.GetConsoleCP())


def environment(changes: Mapping[str, str | None] | None) -> dict[str, str] | None:
    """The current environment with *changes*: a value of None removes the name, except PATH and SYSTEMROOT.

    Names are compared without regard to case, as Windows does. Without SystemRoot a child cannot open sockets
    (WinError 10106), and Python cannot start (gh-118234).

    Returns None for no changes.
    """
    if not changes:
        return None
    merged = dict(os.environ)
    for name, value in changes.items():
        key = name.upper()
        if value is not None:
            merged[key] = value
        elif key not in ("PATH", "SYSTEMROOT"):
            merged.pop(key, None)
    return merged


def leash_in_use() -> AbstractContextManager[None]:
    """Nothing to keep alive here: the system itself holds the leash."""
    return contextlib.nullcontext()


class ProcessTree:
    """A running process and its job.

    Attributes:
        pid: Process id of the root.
        popen: The root.
        exit_fd: None: Windows has no descriptor for an exit.
    """

    __slots__ = ("_detached", "_job", "_lock", "_shares_console", "exit_fd", "pid", "popen")

    def __init__(self, popen: subprocess.Popen[bytes], *, leash: bool, detach: bool) -> None:
        self.pid: int = popen.pid
        self.popen: subprocess.Popen[bytes] = popen
        self.exit_fd: int | None = None
        self._detached = detach
        self._shares_console = not detach and _has_console()
        self._lock = threading.Lock()
        self._job: int | None = _create_job(kill_on_close=leash and not detach)
        try:
            _put_into_job_and_resume(self._job, popen.pid)
        except BaseException:
            _kernel32.CloseHandle(self._job)
            raise

    def ask_to_stop(self) -> bool:
        """Send CTRL_BREAK to the group of the root. Returns whether that was possible.

        A child on another console, or on none, cannot be asked.
        """
        with self._lock:
            if self._job is None or not self._shares_console or self.popen.poll() is not None:
                return False
            return bool(_kernel32.GenerateConsoleCtrlEvent(_CTRL_BREAK_EVENT, self.pid))

    def kill(self) -> None:
        """Terminate the job with exit code 1. Does nothing once the tree has been closed."""
        with self._lock:
            if self._job is not None:
                _kernel32.TerminateJobObject(self._job, _EXIT_CODE_OF_KILLED)

    def exit_code(self) -> int | None:
        """The exit code of the root, None while it runs."""
        return self.popen.poll()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Block until the root exits, at most *timeout_s* seconds.

        Returns:
            The exit code, or None if the time was up.
        """
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """Kill what is left of the tree and release everything. A detached tree is left alone."""
        if not self._detached:
            self.kill()
            self.wait(_REAP_WITHIN_S)
        elif self.popen.poll() is None:
            self.popen.returncode = 0  # its destructor must not complain
        with self._lock:
            if self._job is not None:
                _kernel32.CloseHandle(self._job)
                self._job = None


def _create_job(*, kill_on_close: bool) -> int:
    job = _kernel32.CreateJobObjectW(None, None)
    if not job:
        raise ctypes.WinError(ctypes.get_last_error())
    limits = _ExtendedLimits()
    limits.basic.limit_flags = _KILL_ON_JOB_CLOSE if kill_on_close else 0
    if not _kernel32.SetInformationJobObject(
        job, _EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), ctypes.sizeof(limits)
    ):
        error = ctypes.WinError(ctypes.get_last_error())
        _kernel32.CloseHandle(job)
        raise error
    return job


def _put_into_job_and_resume(job: int, pid: int) -> None:
    process = _kernel32.OpenProcess(
        _PROCESS_TERMINATE | _PROCESS_SET_QUOTA | _PROCESS_SUSPEND_RESUME, False, pid
    )
    if not process:
        raise ctypes.WinError(ctypes.get_last_error())
    try:
        if not _kernel32.AssignProcessToJobObject(job, process):
            raise ctypes.WinError(ctypes.get_last_error())
        # Not ResumeThread: Popen keeps no handle of the thread.
        if _ntdll.NtResumeProcess(process) < 0:
            raise OSError("NtResumeProcess failed")
    finally:
        _kernel32.CloseHandle(process)
