"""What the running loop can do, loops for special purposes, and how to wake a task from another thread.

Nothing here touches event-loop policies: they are deprecated in Python 3.14 and gone in 3.16.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import select
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from typing import Protocol, cast

import anyio

__all__ = (
    "Caller",
    "Latch",
    "Watcher",
    "can_start_processes",
    "checkpoint",
    "close_watcher",
    "current_caller",
    "hub_loop",
    "name_of",
    "running_loop",
    "selector_loop_without_processes",
    "shielded",
    "simulates_processes",
    "watcher_for",
)


# --- loops ---------------------------------------------------------------------------------------------------------


def can_start_processes(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether *loop* has what ``asyncio.create_subprocess_exec()`` needs.

    True for a Proactor loop, for uvloop and winloop, and for a Unix selector loop that has not lost it. The answer is
    found alike on every system, by looking and not by trying, so nothing is started.
    """
    kinds = type(loop).__mro__
    if any(kind.__module__.partition(".")[0] in ("uvloop", "winloop") for kind in kinds):
        return True
    if any(kind.__name__ == "ProactorEventLoop" for kind in kinds):
        return True
    # asyncio has no public name for this ability. The base class has the method, too, and there it raises.
    makes = getattr(type(loop), "_make_subprocess_transport", None)
    provides = [
        kind
        for kind in kinds
        if kind.__name__ == "_UnixSelectorEventLoop" or "simulates_processes" in kind.__dict__
    ]
    return bool(provides) and makes is getattr(provides[0], "_make_subprocess_transport", None)


def simulates_processes(loop: asyncio.AbstractEventLoop | None) -> bool:
    """Whether the processes of *loop* are only simulated, as in a browser: such a loop says so by this name."""
    return bool(getattr(loop, "simulates_processes", False))


def name_of(loop: asyncio.AbstractEventLoop) -> str:
    """Module and class of *loop*, such as ``"asyncio.windows_events._WindowsSelectorEventLoop"``."""
    return f"{type(loop).__module__}.{type(loop).__qualname__}"


if sys.platform == "win32":

    def hub_loop() -> asyncio.AbstractEventLoop:
        """A new loop for the thread of THREADED mode: Proactor on Windows, selector elsewhere."""
        return asyncio.ProactorEventLoop()

    def selector_loop_without_processes() -> asyncio.AbstractEventLoop:
        """A new loop that cannot start processes: the selector loop that uvicorn installs with --reload."""
        return asyncio.SelectorEventLoop()

else:

    def hub_loop() -> asyncio.AbstractEventLoop:
        """A new loop for the thread of THREADED mode: Proactor on Windows, selector elsewhere.

        Raises:
            OSError: No descriptors are left.
        """
        # Asked for beforehand: a loop that finds none left while it is made leaves one behind, and complains on stderr.
        with contextlib.ExitStack() as spare:
            for _ in range(3):  # its epoll or kqueue, and the two ends that wake it
                spare.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        return asyncio.SelectorEventLoop()

    def selector_loop_without_processes() -> asyncio.AbstractEventLoop:
        """A new loop that cannot start processes, on Unix as on Windows: to show there what happens here.

        It fails as the selector loop of Windows does: with a NotImplementedError that has no message.
        """
        # Made here and not above: in a browser asyncio has another selector loop by now (offloop.guide.in_browser).
        fails: object = asyncio.BaseEventLoop._make_subprocess_transport  # type: ignore[attr-defined, unused-ignore]  # pyright: ignore
        members: dict[str, object] = {"_make_subprocess_transport": fails, "__module__": __name__}
        return type("_SelectorLoopWithoutProcesses", (asyncio.SelectorEventLoop,), members)()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The asyncio loop that runs in this thread, or None."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


# --- descriptors ---------------------------------------------------------------------------------------------------


class Watcher(Protocol):
    """Calls back on the thread of a loop. All loops of asyncio are watchers."""

    def add_reader(self, fd: int, callback: Callable[[], object], /) -> object: ...
    def remove_reader(self, fd: int, /) -> object: ...
    def add_writer(self, fd: int, callback: Callable[[], object], /) -> object: ...
    def remove_writer(self, fd: int, /) -> object: ...


if sys.platform == "linux":

    class _Epoll:
        """Watches any number of descriptors for a loop, which itself watches only the epoll.

        ``loop.add_reader()`` and ``remove_reader()`` take 8 to 17 microseconds a descriptor, and every call back runs in
        a Handle; a child has three. In here it is 2 to 3, and what has become ready is called back in one go.
        """

        # As many callbacks before other tasks have their turn. The kernel gives the others first, next time.
        _AT_ONCE = 64

        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self._loop = loop
            self._epoll = select.epoll()
            self._callbacks: dict[int, Callable[[], object]] = {}
            loop.add_reader(self._epoll.fileno(), self._call_back)

        def add_reader(self, fd: int, callback: Callable[[], object], /) -> None:
            self._epoll.register(fd, select.EPOLLIN)
            self._callbacks[fd] = callback

        def add_writer(self, fd: int, callback: Callable[[], object], /) -> None:
            self._epoll.register(fd, select.EPOLLOUT)
            self._callbacks[fd] = callback

        def remove_reader(self, fd: int, /) -> None:
            del self._callbacks[fd]
            self._epoll.unregister(fd)

        remove_writer = remove_reader

        def _call_back(self) -> None:
            with wakes_in_one():
                for fd, _ in self._epoll.poll(0, self._AT_ONCE):
                    # None: an earlier one has removed it.
                    if (callback := self._callbacks.get(fd)) is not None:
                        callback()

        def close(self) -> None:
            if not self._epoll.closed:
                with contextlib.suppress(RuntimeError):  # the loop is closed, and has forgotten it
                    self._loop.remove_reader(self._epoll.fileno())
                self._epoll.close()

    def watcher_for(loop: asyncio.AbstractEventLoop) -> Watcher:
        """What watches descriptors for *loop*. Close it with ``close_watcher()``.

        Raises:
            OSError: No descriptors are left.
        """
        return _Epoll(loop)

    def close_watcher(watcher: Watcher) -> None:
        """On the thread of the loop, or when the loop does not run. May be called again."""
        if isinstance(watcher, _Epoll):
            watcher.close()

else:

    def watcher_for(loop: asyncio.AbstractEventLoop) -> Watcher:
        """What watches descriptors for *loop*. Close it with ``close_watcher()``."""
        return loop

    def close_watcher(watcher: Watcher) -> None:
        """On the thread of the loop, or when the loop does not run. May be called again."""


# --- callers -------------------------------------------------------------------------------------------------------


class _TrioToken(Protocol):
    def run_sync_soon(self, function: Callable[[], object], /) -> None: ...


class Caller:
    """The event loop that a task runs on, asyncio or trio, as a place to which other threads send work."""

    __slots__ = ("_loop", "_token")

    def __init__(self, loop: asyncio.AbstractEventLoop | None, token: _TrioToken | None) -> None:
        self._loop = loop
        self._token = token

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The asyncio loop; None on trio."""
        return self._loop

    @property
    def name(self) -> str:
        """Module and class of the loop; ``"trio"`` on trio."""
        return name_of(self._loop) if self._loop is not None else "trio"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Caller) and self._loop is other._loop and self._token is other._token

    def run_soon(self, function: Callable[[], object]) -> bool:
        """Run *function* on the loop, from any thread. Returns False if the loop has ended."""
        try:
            if self._token is not None:
                self._token.run_sync_soon(function)
            elif self._loop is not None:
                self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # "Event loop is closed"; trio's RunFinishedError is one, too
            return False
        return True


def current_caller() -> Caller:
    """The caller for the running task.

    Raises:
        RuntimeError: Neither asyncio nor trio runs in this thread.
    """
    # trio first: in its guest mode an asyncio loop runs below it. Whoever is inside of trio has imported it.
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return Caller(None, cast(_TrioToken, trio.lowlevel.current_trio_token()))
    return Caller(asyncio.get_running_loop(), None)


async def checkpoint() -> None:
    """Let the other tasks of this loop have their turn; a cancellation arrives here."""
    if current_caller().loop is not None:
        await asyncio.sleep(0)
    else:
        import anyio.lowlevel  # it takes its time, and `import offloop` must be cheap

        await anyio.lowlevel.checkpoint()


# --- waiting -------------------------------------------------------------------------------------------------------


class _Wakes(threading.local):
    """What the thread that works off many things at once has held back."""

    held: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] | None = None


_wakes = _Wakes()


@contextlib.contextmanager
def wakes_in_one() -> Generator[None]:
    """Wake the tasks that wait for latches at the end of this block, those of one loop by one call.

    Each call to another thread is a system call in which that thread takes the GIL, and this one then waits for it.
    """
    held: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}
    _wakes.held = held
    try:
        yield
    finally:
        _wakes.held = None
        for loop, wakes in held.items():
            Caller(loop, None).run_soon(functools.partial(_run_all, wakes))


def _run_all(functions: list[Callable[[], None]]) -> None:
    for function in functions:
        function()


class _Parked:
    """One waiting task, which any thread can wake."""

    __slots__ = ("_caller", "_event", "_future")

    def __init__(self) -> None:
        self._caller = current_caller()
        loop = self._caller.loop
        # A future of the loop itself where there is one: half the price of anyio.Event, and no backend to load.
        self._future: asyncio.Future[None] | None = loop.create_future() if loop is not None else None
        self._event = anyio.Event() if loop is None else None

    async def sleep(self) -> None:
        if self._future is not None:
            await self._future
        elif self._event is not None:
            await self._event.wait()

    def wake(self) -> None:
        loop = self._caller.loop
        if loop is None:
            self._caller.run_soon(self._wake)
        elif loop is running_loop():
            self._wake()
        elif _wakes.held is not None:
            _wakes.held.setdefault(loop, []).append(self._wake)
        else:
            self._caller.run_soon(self._wake)

    def _wake(self) -> None:
        if self._event is not None:
            self._event.set()
        elif self._future is not None and not self._future.done():
            self._future.set_result(None)


class Latch:
    """Something that happens once: set from any thread, awaited by any number of tasks on any loop."""

    __slots__ = ("_is_set", "_parked")

    # One for all: it is held for less than a microsecond, and every child would have three.
    # Reentrant: a garbage collection inside of the lock may run code that sets a latch.
    _lock = threading.RLock()

    def __init__(self) -> None:
        self._is_set = False
        self._parked: list[_Parked] = []

    @property
    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        with self._lock:
            self._is_set = True
            parked, self._parked = self._parked, []
        for one in parked:
            one.wake()

    async def wait(self) -> None:
        """Wait until it is set. Returns at once, without a checkpoint, if it is."""
        parked = _Parked()
        with self._lock:
            if self._is_set:
                return
            self._parked.append(parked)
        try:
            await parked.sleep()
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._parked.remove(parked)


def _new_lock() -> None:
    Latch._lock = threading.RLock()  # pyright: ignore[reportPrivateUsage]


if sys.platform != "win32":
    # Another thread may have held it when this process was forked, and is not here to release it.
    os.register_at_fork(after_in_child=_new_lock)


async def shielded(latch: Latch) -> None:
    """Wait for *latch* although cancelled, any number of times; then raise the last cancellation.

    Two shields, since one is not enough: a second ``task.cancel()`` passes through anyio's, and a loop around the
    await spins inside of a cancelled anyio scope, which cancels again in every iteration.
    """
    await until(latch.wait, lambda: latch.is_set)


async def until(step: Callable[[], Awaitable[None]], is_over: Callable[[], bool]) -> None:
    """Repeat *step* until *is_over*, although cancelled; then raise the last cancellation."""
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not is_over():
            try:
                await step()
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled
