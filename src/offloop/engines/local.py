"""LOCAL mode: the calling thread is blocked until the process has ended.

On purpose: a debugger stops where the process was started, and nothing else happens meanwhile. It also blocks the
event loop and everything on it, so it is for debugging and for scripts. A deadline holds here, too, and Ctrl-C ends
the tree; no other cancellation can arrive.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable

from offloop.engines import Command
from offloop.engines.child import Child
from offloop.engines.hub import HubEngine
from offloop.loops import Latch, running_loop

__all__ = ("LocalEngine",)

# On Windows a wait without a limit does not notice Ctrl-C. And below asyncio.run() the first Ctrl-C only cancels the
# task, which hears of it when it awaits; so it is asked.
_LOOK_FOR_CTRL_C_S = 0.1


class LocalEngine:
    """Blocks in ``start()``. What follows the process meanwhile is a hub."""

    def __init__(self) -> None:
        self._hub = HubEngine()

    def start(
        self,
        command: Command,
        *,
        run_soon: Callable[[Callable[[], None]], bool],
        on_ended: Callable[[], None],
    ) -> Child:
        # What would be run soon on the caller's loop, which is blocked, is run in here.
        calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

        def run_here(function: Callable[[], None]) -> bool:
            calls.put(function)
            return True

        def ended() -> None:
            on_ended()
            calls.put(lambda: None)

        child = self._hub.start(command, run_soon=run_here, on_ended=ended)
        until = child.started if command.detach else child.ended
        try:
            _run_calls(calls, until, _cancellations)
        except BaseException:  # Ctrl-C
            child.abandon()
            _run_calls(calls, child.ended, int)
            raise
        return child

    def begin_close(self, grace_s: float) -> Latch:
        return self._hub.begin_close(grace_s)

    def close_now(self) -> None:
        self._hub.close_now()


def _cancellations() -> int:
    """How often the running asyncio task has been asked to end."""
    task = asyncio.current_task() if running_loop() is not None else None
    return task.cancelling() if task is not None else 0


def _run_calls(
    calls: queue.SimpleQueue[Callable[[], None]], until: Latch, cancellations: Callable[[], int]
) -> None:
    """Run in this thread what is put into *calls*, until the latch is set, or the task is asked to end."""
    before = cancellations()
    while not (until.is_set and calls.empty()):
        try:
            call = calls.get(timeout=_LOOK_FOR_CTRL_C_S)
        except queue.Empty:
            if cancellations() > before:
                raise asyncio.CancelledError from None
            continue
        call()
