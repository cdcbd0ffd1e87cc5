"""THREADED mode: processes are followed by one thread with a loop of its own.

The hub is the same as ASYNC mode, on another loop: it needs no executor and no thread for each child, so any number of
children can neither starve nor lock each other. Its loop can start processes on every system, whatever the caller runs
on: an asyncio loop that cannot, uvloop, trio.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable

from offloop import process_tree
from offloop.engines import Command
from offloop.engines.child import Child, Family, given_up, start_thread
from offloop.engines.on_loop import TOGETHER_S, make_child
from offloop.loops import Latch, close_watcher, hub_loop, wakes_in_one, watcher_for

__all__ = ("HubEngine",)

_CLOSE_WITHIN_S = 30.0


class HubEngine:
    """Follows processes on a thread of its own. Its methods may be called from any thread."""

    def __init__(self) -> None:
        """
        Raises:
            OSError: No descriptors or threads are left.
        """
        self._loop = hub_loop()
        self._family = Family()
        self._orders: deque[Child] = deque()
        self._is_called = False
        self._is_closing = False
        self._closed = Latch()
        with contextlib.ExitStack() as undo:
            undo.callback(self._loop.close)
            self._watcher = watcher_for(self._loop)
            undo.callback(close_watcher, self._watcher)
            self._thread = start_thread("offloop-hub", self._work)
            undo.pop_all()

    def _work(self) -> None:
        try:
            with process_tree.leash_in_use():
                self._loop.run_forever()
                self._loop.run_until_complete(_last_tasks())
        finally:
            close_watcher(self._watcher)
            self._loop.close()
            self._closed.set()
            # In this order, and start() the other way round: one of the two sees an order that comes at this moment.
            self._give_up_orders()

    def start(
        self,
        command: Command,
        *,
        run_soon: Callable[[Callable[[], None]], bool],
        on_ended: Callable[[], None],
    ) -> Child:
        child = make_child(
            command,
            loop=self._loop,
            watcher=self._watcher,
            run_soon=run_soon,
            on_ended=on_ended,
        )
        self._orders.append(child)
        # One call for several orders: each is a system call in which the hub takes the GIL.
        if not self._is_called:
            self._is_called = True
            self._post(self._begin)
        if self._closed.is_set:
            self._give_up_orders()
        return child

    def _begin(self) -> None:
        self._is_called = False
        if self._is_closing:
            self._give_up_orders()
        pause_at = time.monotonic() + TOGETHER_S
        with wakes_in_one():
            while self._orders:
                if time.monotonic() > pause_at:  # what runs already wants to be read
                    self._is_called = True
                    self._loop.call_soon(self._begin)
                    return
                child = self._orders.popleft()
                self._family.add(child)
                child.begin()

    def _give_up_orders(self) -> None:
        """From any thread, once nothing is begun any more: whoever waits for a start gets an error."""
        while self._orders:
            with contextlib.suppress(IndexError):  # another thread was faster
                self._orders.popleft().failed(given_up())

    def begin_close(self, grace_s: float) -> Latch:
        self._post(lambda: self._close_politely(grace_s))
        return self._closed

    def _close_politely(self, grace_s: float) -> None:
        self._is_closing = True
        self._give_up_orders()
        self._family.begin_close(grace_s, self._loop.stop)

    def close_now(self) -> None:
        self._post(self._close_here)
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_WITHIN_S)

    def _close_here(self) -> None:
        self._is_closing = True
        self._give_up_orders()
        self._family.close_now()
        self._loop.stop()

    def _post(self, function: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            return  # closed already


async def _last_tasks() -> None:
    # A start that was cancelled waits for the end of its process, which takes a moment on Windows.
    starts = asyncio.all_tasks() - {asyncio.current_task()}
    if starts:
        await asyncio.wait(starts, timeout=_CLOSE_WITHIN_S)
    for _ in range(5):  # transports close their handles a few iterations after close()
        await asyncio.sleep(0)
