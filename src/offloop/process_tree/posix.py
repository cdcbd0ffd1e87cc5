"""A process tree on Linux and macOS: the process group that the child leads.

Linux: the exit is seen through a pidfd and with ``waitid(WNOWAIT)``, so the root stays a zombie, and its number stays
taken, until the group has been killed. macOS has no pidfd and, before Python 3.13, no ``os.waitid``: there, on all
versions alike, the exit is waited for in a thread and the root may be reaped first. macOS has not been tried.

Source: waitid(2), pidfd_open(2), POSIX 3.297 "Process ID Reuse".
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import contextlib
import errno
import logging
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

from offloop import events

__all__ = (
    "FOLLOWED_BY_DESCRIPTORS",
    "RUNS_BATCH_FILES",
    "ProcessTree",
    "StartOptions",
    "environment",
    "leash_in_use",
    "prepare_start",
)

FOLLOWED_BY_DESCRIPTORS = True
"""Whether pipes and exits are descriptors that a selector can watch."""

RUNS_BATCH_FILES = False
"""Whether starting a .bat or .cmd file starts a shell."""

# What asyncio reports when somebody else has reaped the child.
_EXIT_CODE_LOST = 255
_REAP_WITHIN_S = 5.0


class StartOptions(NamedTuple):
    """Arguments of ``subprocess.Popen``; both systems take all of them."""

    process_group: int | None = None
    start_new_session: bool = False
    creationflags: int = 0


def prepare_start(*, leash: bool, detach: bool) -> StartOptions:
    """The options with which a process must be started to become the root of a tree.

    Any of them also keeps ``Popen`` away from ``posix_spawn()``, which holds the GIL until the program is loaded:
    with them other threads go on, also when that takes long (gh-146181).

    Raises:
        OSError: The helper that holds the leash cannot be started.
    """
    _reap_left_running()
    if leash:
        _leash.start_helper()
    # A detached child gets a session of its own: it must survive the end of the terminal, too.
    return StartOptions(start_new_session=True) if detach else StartOptions(process_group=0)


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
    """A running process and its group.

    Attributes:
        pid: Process id of the root, which is also the id of the group.
        popen: The root. Wait for it with ``wait()`` below: ``popen.wait()`` reaps.
        exit_fd: Becomes readable when the root exits; None where there is no such thing.
    """

    __slots__ = ("_detached", "_is_reaped", "_leashed", "_lock", "_parent", "exit_fd", "pid", "popen")

    def __init__(self, popen: subprocess.Popen[bytes], *, leash: bool, detach: bool) -> None:
        self.pid: int = popen.pid
        self.popen: subprocess.Popen[bytes] = popen
        self.exit_fd = _open_pidfd(popen.pid)
        self._parent = os.getpid()
        self._leashed = leash
        self._detached = detach
        # Between the look whether the root has been reaped and the signal, nobody may reap it. Reentrant: a signal handler
        # may close the wrapper, in the middle of a close.
        self._lock = threading.RLock()
        self._is_reaped = False
        if leash:
            _leash.hold(popen.pid)

    def ask_to_stop(self) -> bool:
        """Send SIGTERM to the group. Returns whether there was anybody to ask."""
        return self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the group. Does nothing once the root has been reaped."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> bool:
        with self._lock:
            # In a fork of this program it is somebody else's tree, and its root may have been reaped there.
            if self._is_reaped or self.popen.returncode is not None or self._parent != os.getpid():
                return False
            try:
                os.killpg(self.pid, number)
            except (ProcessLookupError, PermissionError):
                # macOS answers EPERM for a group of zombies.
                return False
            return True

    def exit_code(self) -> int | None:
        """The exit code of the root, -N for signal N, None while it runs. Does not reap."""
        with self._lock:
            if self.popen.returncode is not None or sys.platform == "darwin":
                return self.popen.poll()
            try:
                found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                events.note(
                    logging.WARNING,
                    "offloop: somebody else reaped pid %d: its exit code is lost, 255 stands for it",
                    self.pid,
                )
                self.popen.returncode = _EXIT_CODE_LOST
                return _EXIT_CODE_LOST
            if found is None:
                return None
            return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Block until the root exits, at most *timeout_s* seconds. Does not reap.

        Returns:
            The exit code, or None if the time was up.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = 0.001
        while (code := self.exit_code()) is None:
            left_s = None if deadline is None else deadline - time.monotonic()
            if left_s is not None and left_s <= 0:
                return None
            if self.exit_fd is not None:
                watched = select.poll()
                watched.register(self.exit_fd, select.POLLIN)
                watched.poll(None if left_s is None else left_s * 1000)
            elif left_s is not None:
                time.sleep(min(pause_s, left_s))
                pause_s = min(pause_s * 2, 0.05)
            elif sys.platform == "darwin":
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, 0.05)
            else:
                with contextlib.suppress(ChildProcessError):
                    os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        return code

    def close(self) -> None:
        """Kill what is left of the tree, reap the root and release everything. A detached tree is left alone."""
        if not self._detached:
            self.kill()
        elif self.exit_code() is None:
            with self._lock:
                _leave_running(self.popen)
        with self._lock:
            if self._leashed:
                # Before the number can be taken by a stranger.
                _leash.forget(self.pid)
                self._leashed = False
            if self.popen.returncode is None:
                self._reap()
            if self.exit_fd is not None:
                os.close(self.exit_fd)
                self.exit_fd = None

    def _reap(self) -> None:
        self._is_reaped = True
        # First without Popen, which takes its time for the case that the root runs still.
        with contextlib.suppress(ChildProcessError):
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.popen.returncode = os.waitstatus_to_exitcode(status)
                return
        try:
            self.popen.wait(_REAP_WITHIN_S)
        except subprocess.TimeoutExpired:
            # A process in an uninterruptible call dies when that returns.
            events.note(
                logging.WARNING,
                "offloop: pid %d has not died within %g s of SIGKILL",
                self.pid,
                _REAP_WITHIN_S,
            )
            _leave_running(self.popen)


def _open_pidfd(pid: int) -> int | None:
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return None  # a Python that was built for an old kernel
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise
        return None  # an old kernel, or a sandbox that does not know the call


# --- processes that outlive their tree -----------------------------------------------------------------------------

_left_running: set[int] = set()


def _leave_running(popen: subprocess.Popen[bytes]) -> None:
    _left_running.add(popen.pid)
    # Nobody will wait for it through this object, and its destructor must not complain about that.
    popen.returncode = 0


def _reap_left_running() -> None:
    for pid in list(_left_running):
        try:
            reaped, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            reaped = pid
        if reaped:
            _left_running.discard(pid)


# --- the leash -----------------------------------------------------------------------------------------------------

# When its input ends, this program is gone, and what is in its table is killed: a line for each place, with a group or
# empty. A table and not messages: those wake the helper twice for each child, and what it has not read it does not know.
# The table is its descriptor 1, since a shell can be given that one without /dev/fd or a number above 9. It ignores polite signals: a service manager sends them to all processes of a service, and the
# helper must outlive the program. dash wants `-s KILL` and the `--`.
_HELPER = """
trap '' HUP INT TERM
read -r end
while read -r group; do
  [ -z "$group" ] || kill -s KILL -- "-$group"
done <&1
"""
_LINE = "{:>10}\n"
_LINE_BYTES = 11


class _Leash:
    """The one helper of this program, alive while it is in use or holds a group."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._users = 0
        self._places: dict[int, int] = {}  # by group: its line in the table
        self._free_places: list[int] = []
        self._table = -1
        self._pipe = -1
        self._helper_pid = 0
        self._is_impossible = False

    def start_helper(self) -> None:
        """
        Raises:
            OSError: No descriptors, memory or processes are left.
        """
        with self._lock:
            if self._helper_pid and self._has_died():
                events.note(
                    logging.WARNING,
                    "offloop: the helper that holds the leash has died, another one takes over; "
                    "a kill of this program in between would have left %d process trees behind",
                    len(self._places),
                )
                self._helper_pid = 0
                self._close_descriptors()
            if not self._helper_pid and not self._is_impossible:
                self._start_helper()

    def _has_died(self) -> bool:
        try:
            return os.waitpid(self._helper_pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            return True

    def _start_helper(self) -> None:
        # Python makes both close-on-exec: a child that inherited the pipe would keep the leash from firing.
        theirs, ours = os.pipe()
        table = -1
        try:
            table = _new_table()
            helper = subprocess.Popen(
                ["/bin/sh", "-c", _HELPER, "offloop-leash"],
                stdin=theirs,
                stdout=table,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
                start_new_session=True,
            )
        except OSError as error:
            os.close(ours)
            if table != -1:
                os.close(table)
            if error.errno not in (errno.ENOENT, errno.EACCES):
                raise
            events.note(logging.WARNING, "offloop: no leash, /bin/sh cannot be started: %s", error)
            self._is_impossible = True
            return
        finally:
            os.close(theirs)
        helper.returncode = 0  # reaped by number, see _release_helper; its destructor must not complain
        self._helper_pid = helper.pid
        self._pipe = ours
        self._table = table
        for group, place in self._places.items():
            self._write(place, group)

    def hold(self, group: int) -> None:
        with self._lock:
            place = self._free_places[-1] if self._free_places else len(self._places)
            self._write(place, group)
            self._places[group] = place
            if self._free_places:
                self._free_places.pop()

    def forget(self, group: int) -> None:
        with self._lock:
            place = self._places.pop(group)
            self._free_places.append(place)
            self._write(place, "")
            self._stop_if_idle()

    def _write(self, place: int, group: int | str) -> None:
        if self._helper_pid:
            os.pwrite(self._table, _LINE.format(group).encode(), place * _LINE_BYTES)

    @contextmanager
    def in_use(self) -> Generator[None]:
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                self._stop_if_idle()

    def _stop_if_idle(self) -> None:
        if self._helper_pid and not self._users and not self._places:
            self._release_helper()

    def _release_helper(self) -> None:
        pid, self._helper_pid = self._helper_pid, 0
        # Killed, not only told by the end of its pipe: waiting for it must not depend on what it does.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        for fd in (self._pipe, self._table):
            if fd != -1:
                os.close(fd)
        self._pipe = self._table = -1

    def after_fork_in_child(self) -> None:
        # A forked child that kept the pipe open would keep the leash from firing.
        self._close_descriptors()
        self.__init__()


def _new_table() -> int:
    """A file without a name, in memory where the system has such files."""
    if sys.platform == "linux":
        return os.memfd_create("offloop-leash")
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


_leash = _Leash()
os.register_at_fork(after_in_child=_leash.after_fork_in_child)
leash_in_use: Callable[[], AbstractContextManager[None]] = _leash.in_use
"""Keeps the helper alive between two children: a context manager, for as long as a wrapper is open."""
