"""Record what a run did: the steps of its tasks, its processes, and where its loop was held up.

    with recording() as recorded:
        asyncio.run(main())
    print(recorded.timeline().summary())

Every loop of asyncio that runs in this thread is seen, and every process of this program: those of the wrapper, in
each of its modes, those of the loop's own `subprocess_exec()`, and those of the `subprocess` module. Works on each
system and in a browser. A loop that is written in C (uvloop) and trio are not seen.

It adds about 15 microseconds to each step, most of it for the clock. Nothing is scheduled on the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import re
import subprocess
import sys
import threading
import time
import weakref
from asyncio import base_events, events
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, cast

import anyio

import offloop
from offloop import events as process_events
from offloop.engines.child import Child
from offloop.guide.timeline import STALL_S, Process, Span, Task, Timeline
from offloop.testing.loop_lag import loop_lag, now_s

__all__ = ("Recorded", "recording")

_SYSTEMS = {"linux": "Linux", "win32": "Windows", "darwin": "macOS", "emscripten": "your browser"}

# What asyncio, anyio and offloop do for themselves would hide what the reader's tasks do.
_PLUMBING = tuple(str(Path(str(module.__file__)).parent) + os.sep for module in (asyncio, anyio, offloop))
_ASYNCIO = _PLUMBING[0]
_MAKE_TASKS = {"create_task", "ensure_future", "_ensure_future", "gather"}


@dataclass
class _Life:
    argv: tuple[str, ...]
    begin: float
    end: float | None = None
    returncode: int | None = None
    output: list[float] = field(default_factory=list[float])


class _Lane:
    """The steps of one task, or of one callback that held the loop.

    The task is not held: what becomes of one that nobody holds is what a page may want to show.
    """

    def __init__(self, owner: Any, *, is_asked_for: bool) -> None:
        self.steps: list[Span] = []
        self.stalls: list[Span] = []
        self.is_main = False
        self.coroutine: str | None = None
        self.name: str = ""
        self.is_plumbing = False
        if isinstance(owner, asyncio.Task):
            self.owner: Callable[[], object] = weakref.ref(cast("asyncio.Task[object]", owner))
            coroutine: Any = cast("asyncio.Task[object]", owner).get_coro()
            self.coroutine = str(getattr(coroutine, "__qualname__", "task"))
            self.is_plumbing = _is_plumbing(coroutine) and not is_asked_for
        else:
            self.owner = lambda: owner
            function: Any = getattr(owner, "func", owner)  # of a functools.partial
            self.name = f"callback {getattr(function, '__qualname__', type(function).__qualname__)}"

    @property
    def has_own_name(self) -> bool:
        """asyncio counts tasks, and anyio names them by module and function."""
        if self.coroutine is None:
            return False
        module = self.name.removesuffix(f".{self.coroutine}")
        return re.fullmatch(r"Task-\d+", self.name) is None and (
            module == self.name or module not in sys.modules
        )

    @property
    def is_shown(self) -> bool:
        return self.is_main or bool(self.stalls) or not self.is_plumbing or self.has_own_name

    @property
    def label(self) -> str:
        if self.is_main:
            return "main"
        if self.coroutine is None:
            return self.name.replace("<locals>.", "")
        return self.name if self.has_own_name else self.coroutine.rpartition("<locals>.")[2]


class Recorded:
    """What was seen so far.

    Attributes:
        main: The task whose lane is called `main`, whatever it runs; else the name is that of its coroutine.
    """

    def __init__(self) -> None:
        self.main: asyncio.Task[Any] | None = None
        self._thread = threading.get_ident()
        self._began = time.perf_counter()
        self._monotonic = time.monotonic() - self._began
        self._duration: float | None = None
        # The one that runs now: its callback, and two clocks at its beginning.
        self._step: tuple[Callable[..., object], float, float] | None = None
        self._lanes: list[_Lane] = []
        self._lane_of: dict[object, _Lane] = {}
        self._asked_for: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self._lives: dict[int, _Life] = {}

    # --- while it runs ---------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """See nothing more; what comes after is not part of the run."""
        if self._duration is None:
            if self._step is not None:  # it is called in the middle of one
                self._note(*self._step)
            self._duration = self._now()

    def _now(self) -> float:
        return time.perf_counter() - self._began

    def sees_steps(self) -> bool:
        """Whether the steps of the loop that runs in this thread are to be noted."""
        return self._duration is None and threading.get_ident() == self._thread

    def step(self, callback: Callable[..., object], run: Callable[[], None]) -> None:
        """Run one step of a loop, and note whose it was and how long it took."""
        outer, self._step = self._step, (callback, self._now(), now_s())
        try:
            run()
        finally:
            if self._duration is None:
                self._note(*self._step)
            self._step = outer

    def _note(self, callback: Callable[..., object], began: float, clock: float) -> None:
        span = began, self._now()
        held = span[1] - began >= STALL_S and now_s() - clock >= STALL_S
        task = getattr(callback, "__self__", None)
        owner: object = task
        if not isinstance(task, asyncio.Task):
            if not held:
                return
            owner = callback
        lane = self._lane(owner)
        lane.steps.append(span)
        if held:
            lane.stalls.append(span)

    def _lane(self, owner: Any) -> _Lane:
        key = _key(owner)
        lane = self._lane_of.get(key)
        is_task = isinstance(owner, asyncio.Task)
        # Another task may have got the number of one that is gone.
        if lane is None or (is_task and lane.owner() is not owner):
            lane = self._lane_of[key] = _Lane(owner, is_asked_for=is_task and owner in self._asked_for)
            self._lanes.append(lane)
        if is_task:
            lane.is_main = owner is self.main
            lane.name = owner.get_name()  # it may have been given another one
        return lane

    def asked_for(self, task: asyncio.Task[Any]) -> None:
        """Note that the reader's code asked for *task*, whosever coroutine it runs."""
        if self.sees_steps():
            self._asked_for.add(task)

    def started(self, pid: int, argv: tuple[str, ...], at: float | None = None) -> None:
        """Note that a process was started. It may be said twice, by a loop and by what is below it."""
        at = self._now() if at is None else at
        if pid > 0 and not self._is_over(at):
            life = self._lives.setdefault(pid, _Life(argv, at))
            life.begin = min(life.begin, at)

    def wrote(self, pid: int, argv: tuple[str, ...]) -> None:
        """Note that output of a process arrived, which may be known before its start is."""
        self.started(pid, argv)
        at = self._now()
        if pid in self._lives and not self._is_over(at):
            self._lives[pid].output.append(at)

    def exited(self, pid: int, returncode: int, at: float | None = None) -> None:
        """Note the end of a process; the first time counts."""
        at = self._now() if at is None else at
        life = self._lives.get(pid)
        if life is not None and life.end is None and not self._is_over(at):
            life.end, life.returncode = at, returncode

    def _is_over(self, at: float) -> bool:
        return self._duration is not None and at > self._duration

    def on_event(self, event: process_events.Event) -> None:
        """Note what the wrapper says, by the time at which it happened: it may be told later."""
        at = event.at - self._monotonic - self._began
        if isinstance(event, process_events.Started):
            self.started(event.pid, event.argv, at)
        elif isinstance(event, process_events.Ended):
            self.exited(event.pid, event.returncode, at)

    # --- afterwards ------------------------------------------------------------------------------------------------

    def timeline(self) -> Timeline:
        """What happened until now, or until `stop()`."""
        duration = self._now() if self._duration is None else self._duration
        processes = tuple(
            Process(
                life.argv,
                max(life.begin, 0.0),
                min(duration if life.end is None else life.end, duration),
                life.returncode,
                tuple(life.output),
            )
            for life in sorted(self._lives.values(), key=lambda life: life.begin)
        )
        return Timeline(
            duration,
            tuple(self._task_lanes()),
            processes,
            f"{_SYSTEMS.get(sys.platform, sys.platform)}, Python {sys.version_info[0]}.{sys.version_info[1]}",
            sys.platform == "emscripten",
        )

    def _task_lanes(self) -> Iterator[Task]:
        taken: set[str] = set()
        numbers: dict[str, Iterator[int]] = {}
        for lane in self._lanes:
            if lane.is_shown:
                name = label = lane.label
                counting = numbers.setdefault(label, itertools.count(2))
                while name in taken:
                    name = f"{label} {next(counting)}"
                taken.add(name)
                yield Task(name, tuple(lane.steps), tuple(lane.stalls))


def _key(owner: Any) -> object:
    """What a lane belongs to: a task, or a function with its object, which is another method at each look."""
    if isinstance(owner, asyncio.Task):
        return id(cast("object", owner))
    function = getattr(owner, "func", owner)  # of a functools.partial
    return id(getattr(function, "__func__", function)), id(getattr(function, "__self__", None))


def _is_plumbing(coroutine: Any) -> bool:
    code: CodeType | None = getattr(coroutine, "cr_code", None)
    return code is not None and code.co_filename.startswith(_PLUMBING)


def _is_asked_for(frame: FrameType | None) -> bool:
    """Whether a task of asyncio's or offloop's own code was made for the reader, as by `gather(wrapper.run(...))`."""
    while frame is not None and frame.f_code.co_filename.startswith(_ASYNCIO):
        if frame.f_code.co_name not in _MAKE_TASKS:  # `wait_for()`, or the `gather()` of `communicate()`
            return False
        frame = frame.f_back
    return frame is not None and not frame.f_code.co_filename.startswith(_PLUMBING)


# ---- where it listens -----------------------------------------------------------------------------------

_recorders: list[Recorded] = []
_hooks = contextlib.ExitStack()
_lock = threading.RLock()


@contextlib.contextmanager
def recording() -> Generator[Recorded]:
    """Record what happens in this thread while the block runs. Several may run at the same time."""
    recorded = Recorded()
    with contextlib.ExitStack() as own:
        # For the clock: it is closed when the last one that measures ends.
        own.enter_context(loop_lag())
        own.callback(process_events.subscribe(recorded.on_event))
        with _lock:
            if not _recorders:
                _listen()
            _recorders.append(recorded)
        try:
            yield recorded
        finally:
            recorded.stop()
            with _lock:
                _recorders.remove(recorded)
                if not _recorders:
                    _hooks.close()


def _listen() -> None:
    """Until the last recording ends. A test fails if one of these names goes; the private ones are there since 3.4."""
    # Every step of a loop.
    _replace(events.Handle, "_run", _note_step)
    _replace(base_events.BaseEventLoop, "create_task", _note_task)
    # Every process of a loop, for asyncio and for anyio alike.
    _replace(base_events.BaseEventLoop, "subprocess_exec", _note_start_on_loop)
    _replace(base_events.BaseEventLoop, "subprocess_shell", _note_start_on_loop)
    # What is started without a loop: subprocess.run() and its like.
    _replace(subprocess.Popen, "__init__", _note_start)
    _replace(subprocess.Popen, "wait", _note_end)
    _replace(subprocess.Popen, "poll", _note_end)
    # What the wrapper reads, in each of its modes, and in whatever thread. It tells the rest by its events.
    _replace(Child, "output", _note_output)


def _replace(owner: type[Any], name: str, wrap: Callable[[Any], Any]) -> None:
    original = owner.__dict__[name]
    setattr(owner, name, functools.wraps(original)(wrap(original)))
    _hooks.callback(setattr, owner, name, original)


def _note_step(original: Callable[[Any], None]) -> Callable[[Any], None]:
    def _run(self: Any) -> None:
        run = functools.partial(original, self)
        for recorded in tuple(_recorders):
            if recorded.sees_steps():
                run = functools.partial(recorded.step, self._callback, run)
        run()

    return _run


def _note_task(original: Callable[..., Any]) -> Callable[..., Any]:
    def create_task(self: Any, coro: Any, **options: Any) -> Any:
        task = original(self, coro, **options)
        frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        if _is_plumbing(coro) and _is_asked_for(frame):
            for recorded in tuple(_recorders):
                recorded.asked_for(task)
        return task

    return create_task


def _note_start_on_loop(original: Callable[..., Any]) -> Callable[..., Any]:
    async def start(self: Any, /, protocol_factory: Callable[[], Any], *args: Any, **options: Any) -> Any:
        named = [options[name] for name in ("program", "cmd") if name in options]
        watched = _Watched((*named, *args))
        transport, protocol = await original(
            self, lambda: watched.watch(protocol_factory()), *args, **options
        )
        watched.has_started(transport)
        return transport, protocol

    return start


class _Watched:
    """One protocol of a subprocess, and what it hears."""

    def __init__(self, argv: tuple[Any, ...]) -> None:
        self._argv = tuple(os.fsdecode(word) for word in argv)
        self._transport: Any = None

    def watch(self, protocol: Any) -> Any:
        made, received, ended = protocol.connection_made, protocol.pipe_data_received, protocol.process_exited

        def connection_made(transport: Any) -> None:
            self._transport = transport
            made(transport)

        def pipe_data_received(fd: int, data: bytes) -> None:
            for recorded in tuple(_recorders):
                recorded.wrote(self._transport.get_pid(), self._argv)
            received(fd, data)

        def process_exited() -> None:
            self._note_end(self._transport)
            ended()

        with contextlib.suppress(AttributeError):  # one with __slots__: its end is not seen
            protocol.connection_made = connection_made
            protocol.pipe_data_received = pipe_data_received
            protocol.process_exited = process_exited
        return protocol

    def has_started(self, transport: Any) -> None:
        for recorded in tuple(_recorders):
            recorded.started(transport.get_pid(), self._argv)
        self._note_end(transport)

    def _note_end(self, transport: Any) -> None:
        _tell_exit(transport.get_pid(), transport.get_returncode())


def _tell_exit(pid: int, returncode: int | None) -> None:
    if returncode is not None:
        for recorded in tuple(_recorders):
            recorded.exited(pid, returncode)


def _note_start(original: Callable[..., None]) -> Callable[..., None]:
    def __init__(self: Any, args: Any, *others: Any, **options: Any) -> None:
        is_one = isinstance(args, str | bytes | os.PathLike)
        words: list[Any] = [args] if is_one else list(args)  # an iterator can be read once
        original(self, args if is_one else words, *others, **options)
        # What the wrapper starts is told by its events, and what it needs for itself is not of interest.
        if not _is_ours(sys._getframe(1)):  # pyright: ignore[reportPrivateUsage]
            for recorded in tuple(_recorders):
                recorded.started(self.pid, tuple(os.fsdecode(word) for word in words))

    return __init__


def _is_ours(frame: Any) -> bool:
    while frame is not None and frame.f_globals.get("__name__") == "subprocess":
        frame = frame.f_back
    return frame is not None and str(frame.f_globals.get("__name__")).startswith("offloop.")


def _note_end(original: Callable[..., Any]) -> Callable[..., Any]:
    def look(self: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return original(self, *arguments, **options)
        finally:
            _tell_exit(self.pid, self.returncode)

    return look


def _note_output(original: Callable[..., bool]) -> Callable[..., bool]:
    def output(self: Child, stream: Any, data: bytes) -> bool:
        for recorded in tuple(_recorders):
            recorded.wrote(self.pid, self.command.argv)
        return original(self, stream, data)

    return output
