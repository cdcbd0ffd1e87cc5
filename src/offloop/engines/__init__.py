"""Who waits for a process: four engines with one contract.

    on_loop   the running asyncio loop               ASYNC
    hub       one thread with a loop of its own      THREADED
    local     the calling thread, which is blocked   LOCAL
    dry_run   nobody, nothing is started             DRY_RUN

An engine makes a ``Child`` (child.py), the life of one process. How its pipes and its exit are followed is in lean.py
(descriptors, on Linux and macOS) and in protocol.py (a loop's own subprocess protocol, on Windows).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from offloop.modes import RunMode

if TYPE_CHECKING:
    from offloop.engines.child import Child
    from offloop.loops import Latch

__all__ = ("Command", "Engine")


class Command(NamedTuple):
    """What to start and how to treat it. Everything in it has been checked."""

    argv: tuple[str, ...]
    cwd: str | None
    env: dict[str, str] | None
    stdin: bytes | int | None
    timeout_s: float | None
    detach: bool
    mode: RunMode
    grace_s: float
    drain_s: float
    max_line_bytes: int
    buffer_bytes: int
    leash: bool


class Engine(Protocol):
    """Starts processes and follows them to their end."""

    def start(
        self,
        command: Command,
        *,
        run_soon: Callable[[Callable[[], None]], bool],
        on_ended: Callable[[], None],
    ) -> Child:
        """Begin to start *command* for the calling task.

        The child belongs to the engine from here on, before there is a process. Its ``started`` is set when there is
        one, or when there is an ``error``. Callbacks of events go through *run_soon*; *on_ended* is called, in any
        thread, when it has ended or failed.
        """
        ...

    def begin_close(self, grace_s: float) -> Latch:
        """Ask all to stop, and kill what is left after *grace_s*. The latch is set when nothing is left."""
        ...

    def close_now(self) -> None:
        """Kill all, and block until nothing is left."""
        ...
