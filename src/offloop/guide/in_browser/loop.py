"""CPython's own event loop where there is no operating system to wait with.

Tasks, timers, futures, debug mode and `asyncio.run()` are those of asyncio. Only what a selector waits for is another
thing: time, and simulated processes. There are no sockets, no threads and no signals.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import sys
import time
from asyncio import base_subprocess, selector_events, transports
from concurrent.futures import Executor
from typing import Any, NoReturn, cast

from offloop.guide.in_browser.child_code import NotSimulatedError
from offloop.guide.in_browser.machine import NeverError, Pipe, Process, machine

__all__ = ("DeadlockError", "SimulatedLoop", "no_network")

_READ_BYTES = 64 * 1024
_NOT_THE_READERS = tuple(
    os.path.dirname(str(module.__file__)) + os.sep for module in (asyncio, sys.modules["offloop"])
)
# Of coroutines, of what `types.coroutine` makes, and of asynchronous generators.
_FRAMES = ("cr_frame", "gi_frame", "ag_frame")
_AWAITED = ("cr_await", "gi_yieldfrom", "ag_await")


def no_network(*_: object, **__: object) -> NoReturn:
    """In place of what would open a connection, or look for an address."""
    raise OSError("There is no network in a browser: run this on your computer.")


class DeadlockError(RuntimeError):
    """Every task waits for another one, and nothing will ever wake them."""


class _Selector(selectors._BaseSelectorImpl):  # pyright: ignore[reportPrivateUsage]
    """Waits for simulated pipes, and lets the simulated processes run meanwhile."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if not isinstance(fileobj, Pipe):
            raise NotSimulatedError("a socket, or another descriptor", who="event loop in a browser")
        return super().register(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = []

        def is_ready() -> bool:
            ready[:] = [(key, mask) for key in self.get_map().values() if (mask := _ready(key))]
            return bool(ready)

        deadline = None if timeout is None else time.monotonic() + max(timeout, 0.0)
        try:
            machine.run(is_ready, deadline)
        except NeverError:
            raise DeadlockError(_deadlock()) from None
        return list(ready)


def _ready(key: selectors.SelectorKey) -> int:
    pipe = cast(Pipe, key.fileobj)
    mask = selectors.EVENT_READ if pipe.is_readable else 0
    mask |= selectors.EVENT_WRITE if pipe.is_writable else 0
    return mask & key.events


def _deadlock() -> str:
    waiting = (f"{task.get_name()}{_place_of(task)}" for task in asyncio.all_tasks())
    return f"Deadlock: no timer and no process is left that could wake anybody. Waiting: {', '.join(sorted(waiting))}."


def _place_of(task: asyncio.Task[Any]) -> str:
    """The innermost line of the reader's code in which it waits."""
    place, awaited = "", cast(Any, task.get_coro())
    while awaited is not None:
        frame = next((f for name in _FRAMES if (f := getattr(awaited, name, None)) is not None), None)
        if frame is not None and not frame.f_code.co_filename.startswith(_NOT_THE_READERS):
            place = f" in line {frame.f_lineno} of {frame.f_code.co_name}()"
        awaited = next((a for name in _AWAITED if (a := getattr(awaited, name, None)) is not None), None)
    return place


class SimulatedLoop(selector_events.BaseSelectorEventLoop):
    """An asyncio loop whose processes are simulated."""

    simulates_processes = True

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        super().__init__(selector or _Selector())

    def _make_self_pipe(self) -> None:
        """No other thread can wake it."""
        self._ssock = self._csock = None
        self._internal_fds: int = 0

    def _close_self_pipe(self) -> None:
        """There is none."""

    def _write_to_self(self) -> None:
        """There is nobody to wake."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncio's
        """asyncio's own starts a thread for it."""
        self._executor_shutdown_called = True
        executor: Executor | None = getattr(self, "_default_executor", None)
        if executor is not None:
            executor.shutdown()

    # Those of asyncio ask a thread, or for what this module socket does not have.
    async def getaddrinfo(self, *_: Any, **__: Any) -> Any:
        no_network()

    async def create_server(self, *_: Any, **__: Any) -> Any:
        no_network()

    async def create_connection(self, *_: Any, **__: Any) -> Any:
        no_network()

    def add_signal_handler(self, sig: int, callback: Any, *args: Any) -> None:
        raise NotImplementedError("There are no signals in a browser: run this on your computer.")

    # Asked for by BaseEventLoop.subprocess_exec().
    async def _make_subprocess_transport(
        self, protocol: Any, args: Any, shell: bool, stdin: Any, stdout: Any, stderr: Any, bufsize: int,
        extra: Any = None, **options: Any,
    ) -> transports.SubprocessTransport:  # fmt: skip
        waiter = self.create_future()
        transport = _SubprocessTransport(
            self, protocol, args, shell, stdin, stdout, stderr, bufsize, waiter=waiter, extra=extra, **options
        )
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport

    def _make_read_pipe_transport(
        self, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None
    ) -> Any:
        return _ReadPipe(self, pipe, protocol, waiter)

    def _make_write_pipe_transport(
        self, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None
    ) -> Any:
        return _WritePipe(self, pipe, protocol, waiter)


class _SubprocessTransport(base_subprocess.BaseSubprocessTransport):
    """asyncio's own, above a simulated process."""

    _loop: Any
    _proc: Any

    def _start(
        self, args: Any, shell: bool, stdin: Any, stdout: Any, stderr: Any, bufsize: int, **options: Any
    ) -> None:
        self._proc = process = Process(
            args, shell=shell, stdin=stdin, stdout=stdout, stderr=stderr, **options
        )
        self._loop.add_reader(process.exit_pipe, self._has_exited)

    def _has_exited(self) -> None:
        process = self._proc
        if process is not None:
            self._loop.remove_reader(process.exit_pipe)
            self._process_exited(process.returncode)

    # asyncio sends signals by number, and the number of a simulated process may be that of a real one.
    def send_signal(self, signal: int) -> None:
        self._check_proc()
        self._proc.send_signal(signal)

    def terminate(self) -> None:
        self._check_proc()
        self._proc.terminate()

    def kill(self) -> None:
        self._check_proc()
        self._proc.kill()


class _ReadPipe(transports.ReadTransport):
    def __init__(self, loop: SimulatedLoop, pipe: Pipe, protocol: Any, waiter: Any) -> None:
        super().__init__({"pipe": pipe})
        self._loop, self._pipe, self._protocol = loop, pipe, protocol
        self._is_closing = self._is_paused = False
        loop.call_soon(protocol.connection_made, self)
        loop.call_soon(self._watch)
        if waiter is not None:
            loop.call_soon(_set_result, waiter)

    def _watch(self) -> None:
        if not self._is_closing and not self._is_paused:
            self._loop.add_reader(self._pipe, self._read)

    def _read(self) -> None:
        if data := self._pipe.read(_READ_BYTES):
            self._protocol.data_received(data)
        else:
            self._is_closing = True
            self._loop.remove_reader(self._pipe)
            self._loop.call_soon(self._protocol.eof_received)
            self._loop.call_soon(self._lost, None)

    def _lost(self, error: Exception | None) -> None:
        self._pipe.close()
        self._protocol.connection_lost(error)

    def pause_reading(self) -> None:
        if not self._is_closing and not self._is_paused:
            self._is_paused = True
            self._loop.remove_reader(self._pipe)

    def resume_reading(self) -> None:
        if not self._is_closing and self._is_paused:
            self._is_paused = False
            self._watch()

    def is_reading(self) -> bool:
        return not self._is_closing and not self._is_paused

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._loop.remove_reader(self._pipe)
            self._loop.call_soon(self._lost, None)


class _WritePipe(transports._FlowControlMixin, transports.WriteTransport):  # pyright: ignore[reportPrivateUsage]
    def __init__(self, loop: SimulatedLoop, pipe: Pipe, protocol: Any, waiter: Any) -> None:
        super().__init__({"pipe": pipe}, loop)
        self._pipe, self._protocol = pipe, protocol
        self._is_closing = False
        self._has_ended = False
        self._waiting = bytearray()
        loop.call_soon(protocol.connection_made, self)
        if waiter is not None:
            loop.call_soon(_set_result, waiter)

    def get_write_buffer_size(self) -> int:
        return len(self._waiting)

    def write(self, data: Any) -> None:
        if self._is_closing:
            return
        self._waiting += bytes(data)
        self._write_on()
        self._maybe_pause_protocol()  # pyright: ignore

    def _write_on(self) -> None:
        if not self._pipe.has_reader:
            self._end(BrokenPipeError())
            return
        while self._waiting and self._pipe.is_writable:
            self._pipe.write(bytes(self._waiting[:4096]))
            del self._waiting[:4096]
        if self._waiting:
            self._loop.add_writer(self._pipe, self._write_on)
            return
        self._loop.remove_writer(self._pipe)
        self._maybe_resume_protocol()  # pyright: ignore
        if self._is_closing:
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        if not self._has_ended:
            self._has_ended = self._is_closing = True
            self._waiting.clear()
            self._loop.remove_writer(self._pipe)
            self._pipe.has_writer = False
            self._loop.call_soon(self._protocol.connection_lost, error)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._is_closing = True
        if not self._waiting:
            self._end(None)

    def close(self) -> None:
        if not self._is_closing:
            self.write_eof()

    def abort(self) -> None:
        self._end(None)

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def is_closing(self) -> bool:
        return self._is_closing


def _set_result(waiter: Any) -> None:
    if not waiter.cancelled():
        waiter.set_result(None)
