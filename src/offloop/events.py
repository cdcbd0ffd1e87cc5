"""What happened to processes, as frozen values, and how to subscribe.

    unsubscribe = offloop.events.subscribe(print)

A callback runs on the event loop of the caller that started the process, in a copy of the context variables it had
then: request ids and log contexts are there. Where that loop has ended it runs in the thread in which the event
happened. A slow callback is logged, one that raises is logged, and neither harms a process.

Every event is also logged by the logger ``offloop``, with its attributes as ``extra`` fields and its kind as ``event``:
``Escalated`` and ``Dropped`` as warnings, the others for debugging. Of a command its words are logged, and never its
environment.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

__all__ = (
    "Dropped",
    "Ended",
    "Escalated",
    "Event",
    "FirstOutput",
    "Started",
    "emit",
    "is_heard",
    "note",
    "subscribe",
)

log: logging.Logger = logging.getLogger("offloop")
SLOW_CALLBACK_S = 0.1


@dataclass(frozen=True, kw_only=True)
class _About:
    pid: int
    """Process id; -1 in DRY_RUN mode."""
    argv: tuple[str, ...]
    mode: str
    """Value of the run mode, such as ``"async"``."""
    at: float = field(default_factory=time.monotonic)
    """When it happened, in seconds of ``time.monotonic()``."""

    level: ClassVar[int] = logging.DEBUG
    """At which it is logged."""


@dataclass(frozen=True, kw_only=True)
class Started(_About):
    """A process was started."""

    def __str__(self) -> str:
        return f"pid {self.pid} was started: {list(self.argv)!r}"


@dataclass(frozen=True, kw_only=True)
class FirstOutput(_About):
    """The first bytes arrived, on whichever of the two streams.

    Of a process that ends at once it may come after ``Ended``: the exit is noticed first, and then the output is read.
    """

    def __str__(self) -> str:
        return f"pid {self.pid} wrote its first output"


@dataclass(frozen=True, kw_only=True)
class Escalated(_About):
    """The process was asked to stop, did not within its grace, and is killed with its tree."""

    level = logging.WARNING

    def __str__(self) -> str:
        return f"pid {self.pid} was asked to stop, did not in time, and is killed with its tree"


@dataclass(frozen=True, kw_only=True)
class Dropped(_About):
    """Output that nobody read was dropped, oldest first. Emitted when a stream has ended."""

    level = logging.WARNING
    dropped_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.dropped_bytes} bytes of the output of pid {self.pid} were dropped, since nobody read them"
        )


@dataclass(frozen=True, kw_only=True)
class Ended(_About):
    """The process exited."""

    returncode: int
    timed_out: bool
    duration_s: float

    def __str__(self) -> str:
        why = ", its time was up" if self.timed_out else ""
        return f"pid {self.pid} ended with {self.returncode} after {self.duration_s:.3f} s{why}"


Event: TypeAlias = Started | FirstOutput | Escalated | Dropped | Ended
Callback: TypeAlias = Callable[[Event], object]

_lock = threading.RLock()  # a signal handler may subscribe, too
_callbacks: tuple[Callback, ...] = ()


def subscribe(callback: Callback) -> Callable[[], None]:
    """Call *callback* with every event from now on.

    Returns:
        A function that ends the subscription; calling it again does nothing.
    """
    global _callbacks
    ours = [callback]  # the same callback may be subscribed twice, and ends once each
    with _lock:
        _callbacks = (*_callbacks, callback)

    def unsubscribe() -> None:
        global _callbacks
        with _lock:
            if ours:
                left = list(_callbacks)
                left.remove(ours.pop())
                _callbacks = tuple(left)

    return unsubscribe


def is_heard(kind: type[Event]) -> bool:
    """Whether anybody has subscribed, or events of this kind are logged."""
    return bool(_callbacks) or log.isEnabledFor(kind.level)


def emit(event: Event, context: Context, run_soon: Callable[[Callable[[], None]], bool]) -> None:
    """Log *event*, and hand it to the callbacks through *run_soon*, or at once if that returns False."""
    if log.isEnabledFor(event.level):
        # Not env, which has secrets. argv may have, too, but every user of the machine can see that.
        extra = {"event": type(event).__name__, **vars(event)}
        context.copy().run(note, event.level, "offloop: %s", event, extra=extra)
    for callback in _callbacks:
        # A copy each: a context that is entered already cannot be entered again.
        def call(callback: Callback = callback) -> None:
            context.copy().run(_call, callback, event)

        if not run_soon(call):
            call()


def note(
    level: int,
    message: str,
    *args: object,
    exc_info: bool = False,
    extra: Mapping[str, object] | None = None,
) -> None:
    """Log. A handler, filter or record factory that raises is shown on stderr, and harms nothing."""
    try:
        log.log(level, message, *args, exc_info=exc_info, extra=extra)
    except BaseException:
        traceback.print_exc()


def _call(callback: Callback, event: Event) -> None:
    began = time.monotonic()
    try:
        callback(event)
    except BaseException:
        note(logging.ERROR, "offloop: the callback %r raised on %r", callback, event, exc_info=True)
    took_s = time.monotonic() - began
    if took_s > SLOW_CALLBACK_S:
        note(
            logging.WARNING,
            "offloop: the callback %r took %.2f s and blocked its event loop",
            callback,
            took_s,
        )
