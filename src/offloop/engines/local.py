"""LOCAL mode: the calling thread is blocked until the process has ended.

On purpose: a debugger stops where the process was started, and nothing else happens meanwhile. It also blocks the
event loop and everything on it, so it is for debugging and for scripts. A deadline holds here, too; a cancellation
cannot arrive.
"""

from __future__ import annotations

import queue
from collections.abc import Callable

from offloop.engines import Command
from offloop.engines.child import Child
from offloop.engines.hub import HubEngine
from offloop.loops import Latch

__all__ = ("LocalEngine",)

# On Windows a wait without a limit does not notice Ctrl-C.
_LOOK_FOR_CTRL_C_S = 0.1


class LocalEngine:
    """Blocks in ``start()``. What follows the process meanwhile is a hub."""

    def __init__(self) -> None:
        self._hub = HubEngine()

    def start(self, command: Command, on_ended: Callable[[], None]) -> Child:
        calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

        def run_soon(function: Callable[[], None]) -> bool:
            calls.put(function)
            return True

        def ended() -> None:
            on_ended()
            calls.put(lambda: None)

        child = self._hub.start(command, ended, run_soon)
        until = child.started if command.detach else child.ended
        try:
            _run_calls(calls, until)
        except BaseException:  # Ctrl-C
            child.abandon()
            _run_calls(calls, child.ended)
            raise
        return child

    def begin_close(self, grace_s: float) -> Latch:
        return self._hub.begin_close(grace_s)

    def close_now(self) -> None:
        self._hub.close_now()


def _run_calls(calls: queue.SimpleQueue[Callable[[], None]], until: Latch) -> None:
    """Run in this thread what is put into *calls*, until the latch is set."""
    while not (until.is_set and calls.empty()):
        try:
            call = calls.get(timeout=_LOOK_FOR_CTRL_C_S)
        except queue.Empty:
            continue
        call()
