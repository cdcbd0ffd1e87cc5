"""End a block that does not end, without ending the run.

Three steps, each tried when the one before has not helped: interrupt the Python code, kill what the
block has started (a call into the system that cannot be interrupted most often waits for a child),
and only then give up on the whole process with every thread's stack on standard error.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from types import FrameType

__all__ = ("DEFAULT_TIMEOUT_S", "TimeLimit", "time_limit")

DEFAULT_TIMEOUT_S = 60.0
_STEP_S = 2.0
_LAST_STEP_S = 10.0
_exit = os._exit  # the one that a block finds there is another, while it runs


class TimeLimit(BaseException):
    """Raised inside the block; not an Exception, so that the block's own `except Exception` cannot keep it."""


@contextlib.contextmanager
def time_limit(
    seconds: float, look: Callable[[], None], kill_children: Callable[[], None]
) -> Generator[Callable[[], None]]:
    """Raise TimeLimit in the block after *seconds*; *kill_children* is called if that does not end it.

    What is yielded ends the limit early: from then on nothing is raised. *look* is called in the main thread, before the
    first TimeLimit; if it fails, or does not end, the block is ended all the same.

    POSIX, main thread: by SIGALRM, which also interrupts a sleep or a wait in C.
    Windows, main thread: by a SIGINT that a watching thread raises; it interrupts `time.sleep`.
    Another thread: the exception is set from outside, and is seen at the next Python instruction.
    """
    finished = threading.Event()
    in_main = threading.current_thread() is threading.main_thread()
    if sys.platform != "win32" and in_main:
        with _alarm(seconds, finished, look, kill_children):
            yield finished.set
        return

    thread = threading.get_ident()

    def stop(number: int, frame: FrameType | None) -> None:
        """The handler of SIGINT on Windows: ours ends the block, the user's Ctrl-C ends the run."""
        if not _interrupting.is_set():
            raise KeyboardInterrupt
        _interrupting.clear()
        if finished.is_set():
            return
        _look_if_possible(look)
        raise TimeLimit

    def interrupt() -> None:
        if in_main:
            _interrupting.set()
            signal.raise_signal(signal.SIGINT)
        else:
            _raise_in(thread)

    before = signal.signal(signal.SIGINT, stop) if in_main else None
    escalate = threading.Thread(
        target=_escalate,
        args=(seconds, finished, interrupt, kill_children, lambda: _raise_in(thread)),
        name="offloop-watchdog",
        daemon=True,
    )
    escalate.start()
    try:
        yield finished.set
    finally:
        finished.set()
        escalate.join()
        if before is not None:
            signal.signal(signal.SIGINT, before)


_interrupting = threading.Event()


def _look_if_possible(look: Callable[[], None]) -> None:
    """What it finds is a help, and no reason to spare the block."""
    with contextlib.suppress(Exception):
        look()


if sys.platform != "win32":

    @contextlib.contextmanager
    def _alarm(
        seconds: float,
        finished: threading.Event,
        look: Callable[[], None],
        kill_children: Callable[[], None],
    ) -> Generator[None]:
        """No thread until the time is up: one would draw warnings from `os.fork` inside a block."""
        steps: list[threading.Thread] = []

        def ring(number: int, frame: FrameType | None) -> None:
            if finished.is_set():
                return
            signal.setitimer(signal.ITIMER_REAL, _STEP_S)  # once more, should the block swallow it
            if not steps:
                thread = threading.Thread(
                    target=_escalate,
                    args=(0.0, finished, _by_alarm, kill_children, _by_alarm),
                    name="offloop-watchdog",
                    daemon=True,
                )
                steps.append(thread)
                thread.start()
                _look_if_possible(look)
            raise TimeLimit

        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            finished.set()
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            for thread in steps:
                thread.join()


def _by_alarm() -> None:
    """Interrupt nothing: the alarm does it, again and again."""


def _escalate(
    seconds: float,
    finished: threading.Event,
    interrupt: Callable[[], None],
    kill_children: Callable[[], None],
    interrupt_again: Callable[[], None],
) -> None:
    if finished.wait(seconds):
        return
    interrupt()
    if finished.wait(_STEP_S):
        return
    kill_children()
    interrupt_again()
    if finished.wait(_LAST_STEP_S):
        return
    error = sys.__stderr__ or sys.stderr
    error.write(f"\noffloop: a block could not be interrupted after {seconds:g} s, ending the run\n")
    faulthandler.dump_traceback(file=error)
    _exit(70)


def _raise_in(thread: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TimeLimit))
