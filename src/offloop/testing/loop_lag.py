"""How long did an event loop not turn?

The figure is the longest time between two moments at which a loop could have served someone else:
from the moment it woke up until it went back to waiting. Nothing is scheduled on the loop to find
out, so measuring neither wakes it nor shows up among its tasks. A heartbeat would: it hides the bug
of a loop that sleeps although a thread left work for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import sys
import threading
import time
from asyncio import base_events, proactor_events, selector_events
from collections.abc import Awaitable, Callable, Generator
from typing import Any, cast

__all__ = ("LoopLag", "loop_lag", "loop_lag_s", "now_s")

_HEARTBEAT_S = 0.005


class _Clock:
    """Stands while the thread that asks is ready to run and has no processor, where the system says so (Linux).

    So a busy machine does not make a good block a bad one. What waits for a lock, a file or a child does count.
    Source: "Scheduler statistics" of the kernel's documentation: /proc/.../schedstat, second figure, nanoseconds.
    """

    def __init__(self) -> None:
        # Kept open while somebody measures: to open one takes ten times as long as to read it.
        self._descriptors: dict[int, int] = {}

    def now_s(self) -> float:
        now_s = time.perf_counter()
        if sys.platform != "linux":
            return now_s
        thread = threading.get_ident()
        try:
            if thread not in self._descriptors:
                self._descriptors[thread] = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
            return now_s - int(os.pread(self._descriptors[thread], 64, 0).split()[1]) / 1e9
        except (
            AttributeError,
            OSError,
            IndexError,
        ):  # no such call; no such file; an ended thread of this number
            return now_s

    def release(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])


_clock = _Clock()
now_s: Callable[[], float] = _clock.now_s
"""Seconds of a clock that stands while this thread is ready and has no processor, on Linux."""


class LoopLag:
    """The longest hold seen so far, in seconds."""

    def __init__(self) -> None:
        self.longest_s: float = 0.0

    def held(self, seconds: float) -> None:
        """Note that a loop was held for *seconds*."""
        self.longest_s = max(self.longest_s, seconds)


# ---- asyncio's own loops: from the end of select() to the end of the iteration ---------------------

_meters: list[LoopLag] = []
_woke = threading.local()
_originals: dict[type[Any], dict[str, Any]] = {}
_patch_lock = threading.Lock()


def _count_iteration(original: Callable[[Any], None]) -> Callable[[Any], None]:
    @functools.wraps(original)
    def _run_once(self: Any) -> None:
        _woke.at = None
        try:
            original(self)
        finally:
            _note_hold()
            _woke.at = None

    return _run_once


def _count_wake(original: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    @functools.wraps(original)
    def _process_events(self: Any, event_list: Any) -> None:
        _woke.at = now_s()
        original(self, event_list)

    return _process_events


def _note_hold() -> None:
    woke = getattr(_woke, "at", None)
    if woke is not None:
        seconds = now_s() - woke
        for meter in tuple(_meters):
            meter.held(seconds)


_PATCHES: tuple[tuple[type[Any], str, Callable[[Any], Any]], ...] = (
    # Both names are private and have been there since 3.4; test_loop_lag.py fails when one goes.
    (base_events.BaseEventLoop, "_run_once", _count_iteration),
    (selector_events.BaseSelectorEventLoop, "_process_events", _count_wake),
    (proactor_events.BaseProactorEventLoop, "_process_events", _count_wake),
)


def _patch() -> None:
    for owner, name, wrap in _PATCHES:
        original = owner.__dict__[name]
        _originals.setdefault(owner, {})[name] = original
        setattr(owner, name, wrap(original))


def _restore() -> None:
    for owner, names in _originals.items():
        for name, original in names.items():
            setattr(owner, name, original)
    _originals.clear()


@contextlib.contextmanager
def loop_lag() -> Generator[LoopLag]:
    """Measure every asyncio loop of this process, in any thread, while the block runs.

    Covers the loops that CPython ships. A loop that does its work in C (uvloop, winloop) is not
    seen here; `loop_lag_s()` measures the running one with a heartbeat.
    """
    meter = LoopLag()
    with _patch_lock:
        if not _meters:
            _patch()
        _meters.append(meter)
    on_loop = asyncio._get_running_loop() is not None  # the public name raises
    if on_loop:  # in the middle of an iteration: what it has held before is not ours
        _woke.at = now_s()
    try:
        yield meter
    finally:
        if on_loop:
            _note_hold()
        with _patch_lock:
            _meters.remove(meter)
            if not _meters:
                _restore()
                _clock.release()


# ---- other loops -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _heartbeat(loop: asyncio.AbstractEventLoop) -> Generator[LoopLag]:
    """A timer every 5 ms: the only view into a loop without Python code."""
    meter = LoopLag()
    last = now_s()
    handle: asyncio.TimerHandle | None = None

    def beat() -> None:
        nonlocal last, handle
        now = now_s()
        meter.held(now - last - (_HEARTBEAT_S if handle else 0.0))
        last = now
        handle = loop.call_later(_HEARTBEAT_S, beat)

    beat()
    try:
        yield meter
    finally:
        meter.held(now_s() - last - _HEARTBEAT_S)
        if handle is not None:
            handle.cancel()


class TrioHold:
    """A trio instrument: from the end of waiting for I/O to the next wait."""

    def __init__(self, meter: LoopLag) -> None:
        self.meter = meter
        self.woke: float = now_s()

    def after_io_wait(self, timeout: float) -> None:
        """Called by trio when it has looked for I/O."""
        self.woke = now_s()

    def before_io_wait(self, timeout: float) -> None:
        """Called by trio before it looks for I/O."""
        self.meter.held(now_s() - self.woke)


@contextlib.contextmanager
def _trio_lag() -> Generator[LoopLag]:
    from trio import abc, lowlevel  # only on trio, where it is loaded already

    meter = LoopLag()
    hold = TrioHold(meter)
    # trio takes whatever has some of the methods; the base class would need trio on every import.
    instrument = cast("abc.Instrument", hold)
    lowlevel.add_instrument(instrument)
    try:
        yield meter
    finally:
        meter.held(now_s() - hold.woke)
        lowlevel.remove_instrument(instrument)


def _running_loop_lag() -> contextlib.AbstractContextManager[LoopLag]:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _trio_lag()
    if isinstance(loop, base_events.BaseEventLoop):
        return loop_lag()
    return _heartbeat(loop)


async def loop_lag_s(call: Callable[..., Awaitable[object]], *args: object) -> float:
    """Await `call(*args)` and return the longest time that the running loop was held, in seconds.

    Works on asyncio, uvloop, winloop and trio. An exception of *call* is passed on.

    On asyncio and trio the time is taken where the loop starts and stops waiting, and the loop is
    not disturbed. On a loop written in C (uvloop) it comes from a 5 ms timer.
    Time for which the thread was ready and had no processor is left out on Linux, and included elsewhere: on a
    busy machine compare two measurements of one run, or ask for a lag far above a few milliseconds.
    """
    try:
        with _running_loop_lag() as lag:
            await call(*args)
    finally:
        if not _meters:
            _clock.release()
    return lag.longest_s
