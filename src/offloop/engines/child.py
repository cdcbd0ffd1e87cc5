"""The life of one process: born, asked to stop, exited, ended.

Everything here happens on the thread of one loop, by callbacks and timers. There is no task of the caller in it that
could be cancelled: the caller's tasks only wait for the latches.

    started   there is a process, or there is an error
    exited    the root has exited; its pipes may be open
    ended     the pipes are closed, the tree is dead, the root is reaped
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import copy_context
from typing import cast

from offloop import events
from offloop.engines import Command
from offloop.errors import OffloopError, ResourceLimitError, UsageError
from offloop.loops import Latch, running_loop, shielded
from offloop.output import Stream
from offloop.process_tree import ProcessTree

__all__ = ("Child", "Family", "given_up", "start_thread")

_DIE_WITHIN_S = 5.0


class Child(ABC):
    """One process. Only what says so may be called from other threads."""

    family: Family | None = None

    def __init__(
        self,
        command: Command,
        *,
        loop: asyncio.AbstractEventLoop,
        run_soon: Callable[[Callable[[], None]], bool],
        on_ended: Callable[[], None],
    ) -> None:
        """
        Args:
            command: What to start.
            loop: The loop that follows it.
            run_soon: Runs callbacks of events where the caller wants them.
            on_ended: Called once, when the child has ended or could not be started.
        """
        self.command = command
        self.loop = loop
        self.tree: ProcessTree | None = None
        self.error: OffloopError | None = None
        self.pid: int = -1
        self.returncode: int | None = None
        self.timed_out: bool = False
        self.started: Latch = Latch()
        self.exited: Latch = Latch()
        self.ended: Latch = Latch()
        self.stdout: Stream = self._make_stream()
        self.stderr: Stream = self._make_stream()
        self._run_soon = run_soon
        self._on_ended = on_ended
        self._context = copy_context()
        self._program = os.getpid()
        self._started_at = time.monotonic()
        self._exited_at: float | None = None
        self._abandoned = False
        self._is_draining = False
        self._has_output = False
        self._is_finished = False
        self._deadline: asyncio.TimerHandle | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._drain: asyncio.TimerHandle | None = None

    def _make_stream(self) -> Stream:
        return Stream(
            max_line_bytes=self.command.max_line_bytes,
            buffer_bytes=self.command.buffer_bytes,
            owner=self,
        )

    # --- what each way to follow a process does itself -------------------------------------------------------------

    @abstractmethod
    def begin(self) -> None:
        """Begin to start it; call ``born()`` or ``failed()`` later."""

    @abstractmethod
    def settle(self) -> None:
        """Take over what has been started in another thread, if anything has."""

    @abstractmethod
    def resume_pipe(self, number: int) -> None:
        """Read on from pipe 1 or 2, if it is paused."""

    @abstractmethod
    def has_open_pipes(self) -> bool:
        """Whether more output may come."""

    @abstractmethod
    def release(self) -> None:
        """Take what is left in the pipes, close them, and stop to watch for the exit. May be called twice."""

    @abstractmethod
    def write_stdin(self, data: bytes) -> Latch:
        """Write to the child; from any thread. The latch is set when it is time to write more."""

    @abstractmethod
    def close_stdin(self) -> None:
        """Close it when everything is written; from any thread."""

    @property
    @abstractmethod
    def reads_stdin(self) -> bool:
        """Whether the child still has its end open, as far as is known."""

    # --- from any thread -------------------------------------------------------------------------------------------

    @property
    def duration_s(self) -> float:
        return (self._exited_at or time.monotonic()) - self._started_at

    def check_program(self) -> None:
        """
        Raises:
            UsageError: This program is a fork of the one that started the process, and nothing is followed in here.
        """
        if self._program != os.getpid():
            raise UsageError(
                f"pid {self.pid} was started by the program {self._program}, of which this one is a fork.",
                "Start processes after the fork, with a wrapper that was made after it.",
            )

    def post(self, function: Callable[[], object]) -> None:
        """Run *function* on the thread of the loop: at once if this is it."""
        if running_loop() is self.loop:
            function()
            return
        self._unless_closed(lambda: self.loop.call_soon_threadsafe(function))

    def _unless_closed(self, call: Callable[[], object]) -> None:
        try:
            call()
        except RuntimeError:
            events.note(logging.DEBUG, "offloop: the loop that follows pid %d is closed", self.pid)

    def resume(self, stream: Stream) -> None:
        number = 1 if stream is self.stdout else 2
        # Never at once: a garbage collection may end the last reader between the answer to pause a pipe and the pause.
        call_soon = self.loop.call_soon if running_loop() is self.loop else self.loop.call_soon_threadsafe
        self._unless_closed(lambda: call_soon(self.resume_pipe, number))

    def ask_to_stop(self) -> None:
        if self.tree is not None:
            self.tree.ask_to_stop()

    def kill(self) -> None:
        if self.tree is not None:
            self.tree.kill()

    def abandon(self) -> None:
        """Kill it, now or as soon as it is born, and wait for nothing more."""
        # In this order: whoever sets `tree` looks at the flag afterwards.
        self._abandoned = True
        self.kill()
        self.post(self._hurry)

    async def cancelled(self) -> None:
        """What a task does that was cancelled while it waited for this child. Returns when nothing is left of it.

        A detached one goes on, unless nobody has a handle of it yet.
        """
        if self.command.detach and self.tree is not None:
            return
        self.abandon()
        await shielded(self.ended)

    # --- on the thread of the loop ---------------------------------------------------------------------------------

    def born(self, tree: ProcessTree) -> None:
        self.tree = tree
        self.pid = tree.pid
        if self._abandoned:
            tree.kill()
        if self.command.detach:
            events.note(
                logging.INFO,
                "offloop: pid %d is detached and may outlive this program: %s",
                self.pid,
                self.command.argv,
            )
        self._emit(events.Started)
        if self.command.timeout_s is not None and not self.loop.is_closed():
            self._deadline = self.loop.call_later(self.command.timeout_s, self._time_is_up)
        self.started.set()

    def failed(self, error: OffloopError) -> None:
        self.error = error
        self._is_finished = True
        self._end_everything()

    def output(self, stream: Stream, data: bytes) -> bool:
        """Hand on what arrived. True: pause the pipe until ``resume_pipe()``."""
        if not self._has_output:
            self._has_output = True
            self._emit(events.FirstOutput)
        return stream.feed(data)

    def _time_is_up(self) -> None:
        if self.tree is not None and self.tree.exit_code() is None:
            self.timed_out = True
            self.begin_stop(self.command.grace_s)

    def begin_stop(self, grace_s: float) -> None:
        """Ask the tree to stop, and kill what is left after *grace_s*. Again with a shorter one: the shorter holds."""
        if self.tree is None:
            self.abandon()
            return
        if self.returncode is not None:
            self._hurry_drain(grace_s)
            return
        if not self._is_draining:
            # A child that flushes a lot before it ends must not wait for a reader.
            self._is_draining = True
            self.stdout.begin_drain()
            self.stderr.begin_drain()
        if grace_s <= 0 or not self.tree.ask_to_stop():
            self.tree.kill()
            return
        at = self.loop.time() + grace_s
        if self._grace is None or at < self._grace.when():
            self._cancel_timer(self._grace)
            self._grace = self.loop.call_at(at, self._escalate)

    def _hurry_drain(self, grace_s: float) -> None:
        """The root has exited: ask its descendants, and give them and the pipes that they hold no longer than *grace_s*."""
        if self._is_finished or self.tree is None:
            return
        self.tree.ask_to_stop()
        at = self.loop.time() + grace_s
        if self._drain is not None and at < self._drain.when():
            self._cancel_timer(self._drain)
            self._drain = self.loop.call_at(at, self.drain_is_over)

    def _escalate(self) -> None:
        self.kill()
        self._emit(events.Escalated)

    def root_exited(self, returncode: int) -> None:
        if self.returncode is not None:
            return
        self._exited_at = time.monotonic()
        self.returncode = returncode
        self._cancel_timer(self._deadline)
        self._cancel_timer(self._grace)
        self.exited.set()
        self._emit(events.Ended, returncode=returncode, timed_out=self.timed_out, duration_s=self.duration_s)
        if self._abandoned or not self.has_open_pipes():
            self.finish()
        else:
            self._drain = self.loop.call_later(self.command.drain_s, self.drain_is_over)

    def drain_is_over(self) -> None:
        """The root has exited, and somebody still holds a pipe."""
        self.finish()

    def pipe_ended(self) -> None:
        if self.returncode is not None and not self.has_open_pipes():
            self.finish()

    def _hurry(self) -> None:
        if self.returncode is not None:
            self.finish()

    def finish(self) -> None:
        """Kill what is left of the tree, and only then reap the root: until then its number is not a stranger's."""
        if self._is_finished:
            return
        self._is_finished = True
        self._cancel_timer(self._drain)
        if not self.command.detach:
            self.kill()
        self.release()
        if self.tree is not None:
            self.tree.close()
        self._end_everything()

    def _end_everything(self) -> None:
        for stream in (self.stdout, self.stderr):
            stream.end(complete=False)  # nothing more, if its end was seen
            if stream.dropped_bytes:
                self._emit(events.Dropped, dropped_bytes=stream.dropped_bytes)
        self._on_ended()
        if self.family is not None:
            self.family.remove(self)
        self.ended.set()
        self.exited.set()
        self.started.set()

    def end_now(self) -> None:
        """Kill it and block until nothing is left; a detached one is left running."""
        self.settle()
        self._abandoned = True
        self._cancel_timer(self._deadline)
        self._cancel_timer(self._grace)
        if self.tree is not None and not self.command.detach:
            self.tree.kill()
            returncode = self.tree.wait(_DIE_WITHIN_S)
            if returncode is not None:
                self.root_exited(returncode)
        self.finish()

    @staticmethod
    def _cancel_timer(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()

    def _emit(self, kind: type[events.Event], **details: object) -> None:
        if events.is_heard(kind):
            make = cast("Callable[..., events.Event]", kind)
            event = make(pid=self.pid, argv=self.command.argv, mode=self.command.mode.value, **details)
            events.emit(event, self._context, self._run_soon)


def given_up() -> OffloopError:
    """The error of a start that the end of the wrapper has overtaken, or a cancellation, which nobody sees then."""
    return UsageError(
        "This SubprocessWrapper was closed before the process was started.",
        "Nothing was started; make a new wrapper.",
    )


class Family:
    """The children that one loop follows. Everything on the thread of that loop, or while the loop does not run."""

    def __init__(self) -> None:
        self._children: set[Child] = set()
        self._on_empty: Callable[[], None] | None = None

    def add(self, child: Child) -> None:
        child.family = self
        self._children.add(child)

    def remove(self, child: Child) -> None:
        self._children.discard(child)
        self._look_if_empty()

    def begin_close(self, grace_s: float, on_empty: Callable[[], None]) -> None:
        """Stop all; call *on_empty* once when there are none."""
        self._on_empty = on_empty
        for child in list(self._children):
            if child.command.detach and child.tree is not None:
                child.end_now()
            else:
                child.begin_stop(grace_s)
        self._look_if_empty()

    def close_now(self) -> None:
        for child in list(self._children):
            child.end_now()

    def _look_if_empty(self) -> None:
        if not self._children and self._on_empty is not None:
            on_empty, self._on_empty = self._on_empty, None
            on_empty()


def start_thread(name: str, target: Callable[[], None]) -> threading.Thread:
    """Start a daemon thread: a wrapper that nobody closed must not keep the program from ending.

    Raises:
        ResourceLimitError: The system has no threads left.
    """
    thread = threading.Thread(target=target, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise ResourceLimitError([name], reason=str(error), number=errno.EAGAIN) from error
    return thread
