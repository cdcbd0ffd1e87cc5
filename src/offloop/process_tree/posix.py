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

__all__ = (
    "FOLLOWED_BY_DESCRIPTORS",
    "RUNS_BATCH_FILES",
    "ProcessTree",
    "StartOptions",
    "environment",
    "leash_in_use",
    "prepare_start",
)

log: logging.Logger = logging.getLogger("offloop")

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

    __slots__ = ("_detached", "_leashed", "_lock", "exit_fd", "pid", "popen")

    def __init__(self, popen: subprocess.Popen[bytes], *, leash: bool, detach: bool) -> None:
        self.pid: int = popen.pid
        self.popen: subprocess.Popen[bytes] = popen
        self.exit_fd = _open_pidfd(popen.pid)
        self._leashed = leash
        self._detached = detach
        # Between the look whether the root has been reaped and the signal, nobody may reap it.
        self._lock = threading.Lock()
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
            if self.popen.returncode is not None:
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
                log.warning(
                    "offloop: somebody else reaped pid %d: its exit code is lost, 255 stands for it", self.pid
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
        try:
            self.popen.wait(_REAP_WITHIN_S)
        except subprocess.TimeoutExpired:
            # A process in an uninterruptible call dies when that returns.
            log.warning("offloop: pid %d has not died within %g s of SIGKILL", self.pid, _REAP_WITHIN_S)
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

# Reads "+ 4711" and "- 4711"; when its input ends, this program is gone, and what is left is killed. It ignores polite
# signals: a service manager sends them to all processes of a service, and the helper must outlive the program.
# dash wants `-s KILL` and the `--`.
_HELPER = """
trap '' HUP INT TERM
groups=' '
while read -r sign group; do
  case $sign in
    +) groups="$groups$group " ;;
    -) groups="${groups%%" $group "*} ${groups#*" $group "}" ;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
"""


class _Leash:
    """The one helper of this program, alive while it is in use or holds a group."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._groups: set[int] = set()
        self._pipe = -1
        self._helper_pid = 0
        self._missing = False

    def start_helper(self) -> None:
        with self._lock:
            self._start_helper()

    def _start_helper(self) -> None:
        if self._helper_pid or self._missing:
            return
        # Python makes it close-on-exec: a child that inherited it would keep the leash from firing.
        theirs, ours = os.pipe()
        try:
            helper = subprocess.Popen(
                ["/bin/sh", "-c", _HELPER, "offloop-leash"],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
                start_new_session=True,
            )
        except OSError as error:
            os.close(ours)
            if error.errno not in (errno.ENOENT, errno.EACCES):
                raise
            log.warning("offloop: no leash, /bin/sh cannot be started: %s", error)
            self._missing = True
            return
        finally:
            os.close(theirs)
        helper.returncode = 0  # reaped by number, see _stop_helper; its destructor must not complain
        os.set_blocking(ours, False)
        self._helper_pid = helper.pid
        self._pipe = ours
        for group in self._groups:
            self._tell(f"+ {group}\n")

    def hold(self, group: int) -> None:
        with self._lock:
            self._groups.add(group)
            self._tell(f"+ {group}\n")

    def forget(self, group: int) -> None:
        with self._lock:
            self._groups.discard(group)
            self._tell(f"- {group}\n")
            self._stop_if_idle()

    def _tell(self, line: str) -> None:
        if not self._helper_pid:
            return
        try:
            os.write(self._pipe, line.encode())  # shorter than PIPE_BUF: whole or not at all
        except OSError as error:
            # A full pipe (the helper hangs) or a closed one (it was killed). What it has not been told to forget it
            # might kill later, when the number is a stranger's: so it must go.
            log.warning(
                "offloop: the helper that holds the leash does not answer (%s), the leash is off", error
            )
            self._stop_helper()

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
        if self._helper_pid and not self._users and not self._groups:
            self._stop_helper()

    def _stop_helper(self) -> None:
        pid, self._helper_pid = self._helper_pid, 0
        # Killed, not only told by the end of its pipe: waiting for it must not depend on what it does.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        os.close(self._pipe)
        self._pipe = -1

    def after_fork_in_child(self) -> None:
        # A forked child that kept the pipe open would keep the leash from firing.
        if self._pipe != -1:
            os.close(self._pipe)
        self.__init__()


_leash = _Leash()
os.register_at_fork(after_in_child=_leash.after_fork_in_child)
leash_in_use: Callable[[], AbstractContextManager[None]] = _leash.in_use
"""Keeps the helper alive between two children: a context manager, for as long as a wrapper is open."""
