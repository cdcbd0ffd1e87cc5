"""ASYNC mode: processes are followed by the running asyncio loop.

Where processes are followed by descriptors they are started in one thread of the engine: a start blocks until the
program has been loaded, and on the loop every other task would wait for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from offloop import process_tree
from offloop.engines import Command
from offloop.engines.child import Child, Family, start_thread
from offloop.engines.lean import LeanChild
from offloop.engines.protocol import ProtocolChild
from offloop.errors import SubprocessPolicyError
from offloop.loops import (
    Caller,
    Latch,
    Watcher,
    can_start_processes,
    close_watcher,
    name_of,
    running_loop,
    simulates_processes,
    watcher_for,
)

__all__ = ("TOGETHER_S", "OnLoopEngine", "make_child")

# What is started within so many seconds is handed over in one go. One by one took 1.2 to 1.4 times the CPU and 1.1 to 1.2
# times as long: each hand-over wakes the loop's thread, and then the two threads take the GIL from each other.
TOGETHER_S = 0.002
_CLOSE_WITHIN_S = 10.0


def make_child(
    command: Command,
    *,
    loop: asyncio.AbstractEventLoop,
    watcher: Watcher,
    run_soon: Callable[[Callable[[], None]], bool],
    on_ended: Callable[[], None],
) -> LeanChild | ProtocolChild:
    """The child for this system. A detached one has no pipes, so there is nothing for a protocol to do."""
    if process_tree.FOLLOWED_BY_DESCRIPTORS or command.detach:
        return LeanChild(command, loop=loop, watcher=watcher, run_soon=run_soon, on_ended=on_ended)
    return ProtocolChild(command, loop=loop, run_soon=run_soon, on_ended=on_ended)


class OnLoopEngine:
    """Follows processes on the asyncio loop of the caller."""

    def __init__(self, caller: Caller) -> None:
        """
        Raises:
            SubprocessPolicyError: *caller* is not on an asyncio loop that can start processes.
            OSError: No descriptors or threads are left.
        """
        loop = caller.loop
        if loop is None or not can_start_processes(loop):
            raise SubprocessPolicyError(caller.name)
        gives_them_out = hasattr(loop, "_proactor") or simulates_processes(loop)
        if not process_tree.FOLLOWED_BY_DESCRIPTORS and not gives_them_out:
            # winloop starts processes, but does not give out the handles that a Job Object needs.
            raise SubprocessPolicyError(name_of(loop))
        self._loop = loop
        self._family = Family()
        self._closed = Latch()
        self._watcher = watcher_for(loop)
        try:
            self._spawner = _Spawner(loop, self._closed) if process_tree.FOLLOWED_BY_DESCRIPTORS else None
        except BaseException:
            close_watcher(self._watcher)
            raise

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
        if self._spawner is not None and isinstance(child, LeanChild):
            child.spawner = self._spawner
        self._family.add(child)
        child.begin()
        return child

    def begin_close(self, grace_s: float) -> Latch:
        self._family.begin_close(grace_s, self._release)
        return self._closed

    def _release(self) -> None:
        close_watcher(self._watcher)
        if self._spawner is not None:
            self._spawner.close()
        else:
            self._closed.set()

    def close_now(self) -> None:
        if not self._loop.is_running() or running_loop() is self._loop:
            self._close_here()
            return
        # The loop runs in another thread, and its selector may only be touched there.
        closed = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (self._close_here(), closed.set()))
        closed.wait(_CLOSE_WITHIN_S)

    def _close_here(self) -> None:
        if self._spawner is not None:
            # First: it may be in the middle of a start.
            self._spawner.finish_what_was_begun()
        self._family.close_now()
        self._release()
        if self._spawner is not None:
            self._spawner.join()


class _Spawner:
    """One thread that starts processes, one after the other. It also holds the leash while it lives."""

    def __init__(self, loop: asyncio.AbstractEventLoop, closed: Latch) -> None:
        """*closed* is set as the last act of the thread."""
        self._loop = loop
        self._orders: SimpleQueue[LeanChild | threading.Event | None] = SimpleQueue()
        self._closed = closed
        self._lock = threading.RLock()
        self._is_closing = False
        self._thread = start_thread("offloop-spawner", self._work)

    def _work(self) -> None:
        try:
            with process_tree.leash_in_use():
                while self._spawn_together():
                    pass
        finally:
            self._closed.set()

    def _spawn_together(self) -> bool:
        """Work off what is waiting, for some time. Returns False when nothing more will come."""
        spawned: list[LeanChild] = []
        order = self._orders.get()
        pause_at = time.monotonic() + TOGETHER_S
        try:
            while isinstance(order, LeanChild):
                order.spawn()
                spawned.append(order)
                if time.monotonic() > pause_at:
                    return True
                order = self._orders.get_nowait()
        except Empty:
            return True
        finally:
            # If the loop has ended meanwhile, end_now() settles them.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_settle, spawned)
        if order is not None:
            order.set()
        return order is not None

    def spawn(self, child: LeanChild) -> None:
        self._orders.put(child)

    def finish_what_was_begun(self) -> None:
        finished = threading.Event()
        with self._lock:
            is_closing = self._is_closing
            if not is_closing:
                self._orders.put(finished)
        if is_closing:  # the thread would not come to one more order
            self.join()
        else:
            finished.wait(_CLOSE_WITHIN_S)

    def join(self) -> None:
        self._thread.join(_CLOSE_WITHIN_S)

    def close(self) -> None:
        with self._lock:
            self._is_closing = True
            self._orders.put(None)


def _settle(spawned: list[LeanChild]) -> None:
    for child in spawned:
        child.settle()
