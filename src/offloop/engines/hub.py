"""THREADED mode: processes are followed by one thread with a loop of its own.

The hub is the same as ASYNC mode, on another loop: it needs no executor and no thread for each child, so any number of
children can neither starve nor lock each other. Its loop can start processes on every system, whatever the caller runs
on: an asyncio loop that cannot, uvloop, trio.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from offloop import process_tree
from offloop.engines import Command
from offloop.engines.child import Child, Family, start_thread
from offloop.engines.on_loop import make_child
from offloop.loops import Latch, current_caller, hub_loop

__all__ = ("HubEngine",)

_CLOSE_WITHIN_S = 30.0


class HubEngine:
    """Follows processes on a thread of its own. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._loop = hub_loop()
        self._family = Family()
        self._closed = Latch()
        try:
            self._thread = start_thread("offloop-hub", self._work)
        except BaseException:
            self._loop.close()
            raise

    def _work(self) -> None:
        try:
            with process_tree.leash_in_use():
                self._loop.run_forever()
                # Transports close their handles a few iterations after close().
                self._loop.run_until_complete(_a_few_iterations())
        finally:
            self._loop.close()
            self._closed.set()

    def start(
        self,
        command: Command,
        on_ended: Callable[[], None],
        run_soon: Callable[[Callable[[], None]], bool] | None = None,
    ) -> Child:
        def begin() -> None:
            self._family.add(child)
            child.begin()

        child = make_child(
            command, loop=self._loop, run_soon=run_soon or current_caller().run_soon, on_ended=on_ended
        )
        self._loop.call_soon_threadsafe(begin)
        return child

    def begin_close(self, grace_s: float) -> Latch:
        self._post(lambda: self._family.begin_close(grace_s, self._loop.stop))
        return self._closed

    def close_now(self) -> None:
        self._post(self._close_here)
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_WITHIN_S)

    def _close_here(self) -> None:
        self._family.close_now()
        self._loop.stop()

    def _post(self, function: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            return  # closed already


async def _a_few_iterations() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
