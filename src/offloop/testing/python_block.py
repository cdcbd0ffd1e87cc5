"""Run one Python block and see what it did."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import functools
import gc
import importlib
import inspect
import logging
import os
import subprocess
import sys
import threading
import time
import traceback
import types
import warnings
from collections.abc import Callable, Coroutine, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import pytest
from _pytest.assertion.rewrite import rewrite_asserts

from offloop.guide.fences import Fence
from offloop.guide.pages import Page
from offloop.testing import census, loop_lag, recorder
from offloop.testing.capture import capture
from offloop.testing.contract import Observed, allowed_kinds
from offloop.testing.dead_lines import Lines, recorded_lines
from offloop.testing.page_folder import on_page
from offloop.testing.watchdog import DEFAULT_TIMEOUT_S, TimeLimit, time_limit
from offloop.testing.whereabouts import whereabouts

__all__ = ("AsyncRunner", "backend_problem", "run_python")


_Code: TypeAlias = Callable[[], Coroutine[Any, Any, object]]


@functools.cache
def backend_problem(backend: str) -> str:
    """Why *backend* cannot run on this system at all, or "". That it is not installed is a failure, not a reason."""
    import anyio

    try:
        anyio.run(anyio.sleep, 0, backend=backend)
    except OSError as error:  # trio opens a device that Wine does not have
        return f"{backend} does not run on this system: {error}"
    except LookupError:
        return ""
    return ""


# What a transport says that was left behind with a paused pipe, when it is collected: on Unix and on Windows.
_AFTER_ITS_LOOP = ("Event loop is closed", "I/O operation on closed pipe")


class AsyncRunner(Protocol):
    """The part of `asyncio.Runner` that is used; pytest-asyncio's has it too."""

    def run(self, coro: Coroutine[Any, Any, object], /) -> object:
        """Run *coro* to its end on the runner's loop."""
        ...

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The runner's loop, which is made at the first call."""
        ...


def run_python(
    page: Page,
    fence: Fence,
    names: Mapping[str, object],
    fixtures_runner: AsyncRunner | None = None,
    config: pytest.Config | None = None,
) -> tuple[Observed, set[int]]:
    """Run *fence* with *names* as its globals; return what was seen and the lines of the page that ran.

    *fixtures_runner* is pytest-asyncio's, needed where the block uses async fixtures: only there do
    they share a loop. Every other block gets a loop of its own, and only if it awaits something.
    """
    seen = Observed()
    module = types.ModuleType("fence")
    module.__dict__.update(names)
    ran: set[int] = set()
    if fixtures_runner is not None and fence.fixtures and not fence.backends and _awaits(fence):
        fixtures_runner.get_loop()  # before the census: its descriptors are not the block's
    with census.marked(), _module_in_place(module), on_page(page, fence) as folder, _only_its_own_garbage():
        with (
            _unseen_errors(seen, fence),
            recorded_lines(str(page.path), folder) as lines,
            capture() as captured,
            loop_lag.loop_lag() as lag,
            contextlib.ExitStack() as recordings,
        ):
            before = census.census()
            recorded = recordings.enter_context(recorder.recording()) if fence.shape is not None else None
            limit = fence.seconds("timeout", DEFAULT_TIMEOUT_S)
            began, took_s = time.monotonic(), list[float]()
            try:
                with time_limit(
                    limit, lambda: _look(seen, before), lambda: _kill_since(before)
                ) as spare_the_rest:

                    def ended() -> None:
                        took_s.append(time.monotonic() - began)
                        if recorded is not None:
                            recorded.stop()
                        spare_the_rest()

                    with _no_exit(), _undone(names):
                        _Block(page, fence, module, before, seen, ended, recorded).run(
                            fixtures_runner, config
                        )
                    ended()
            except BaseException as error:
                took_s.append(time.monotonic() - began)
                seen.raised = error
            # By the clock, too: a block can swallow the exception that should have ended it.
            if isinstance(seen.raised, TimeLimit) or took_s[0] > limit:
                seen.timed_out_s = limit
            _give_way_to_interrupt(fence, seen)
            seen.longest_hold_s = max(seen.longest_hold_s, lag.longest_s)
            if recorded is not None:
                seen.timeline = recorded.timeline()
                recordings.close()
                recorded = None  # it holds the tasks
            _let_go(page, folder, seen)
            _collect_what_is_left(fence, seen, before)
            _forget(module, seen)
        seen.output = captured.text
        ran = _page_lines(page, fence, folder, lines)
    return seen, ran


def _give_way_to_interrupt(fence: Fence, seen: Observed) -> None:
    """A user's Ctrl-C ends the run, unless the page says that the block raises it."""
    if isinstance(seen.raised, KeyboardInterrupt) and "KeyboardInterrupt" not in (fence.key("raises") or ""):
        raise seen.raised


@contextlib.contextmanager
def _only_its_own_garbage() -> Generator[None]:
    """Keep the collector from what was there before.

    What a test before left to it would complain inside of the block. And looking at all objects of pytest takes half of
    the time of a small block.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.contextmanager
def _no_exit() -> Generator[None]:
    """Let `os._exit()` in a block be an error of the block: it would end the run, green and without a word."""
    real, pid = os._exit, os.getpid()  # pyright: ignore[reportPrivateUsage] - public for all its name

    def refuse(status: int) -> None:
        if os.getpid() != pid:  # a forked child ends with it
            real(status)
        raise RuntimeError(f"os._exit({status}) would end the whole run")

    os._exit = refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        os._exit = real


@contextlib.contextmanager
def _undone(names: Mapping[str, object]) -> Generator[None]:
    """Undo pytest's monkeypatch while the folder that it may have left is there."""
    try:
        yield
    finally:
        for value in names.values():
            if isinstance(value, pytest.MonkeyPatch):
                value.undo()


def _awaits(fence: Fence) -> bool:
    with contextlib.suppress(SyntaxError, ValueError):
        code = compile(fence.content, "fence", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        return bool(code.co_flags & inspect.CO_COROUTINE)
    return False


@contextlib.contextmanager
def _module_in_place(module: types.ModuleType) -> Generator[None]:
    """dataclasses, pickle and get_type_hints look a class's module up in sys.modules."""
    before = sys.modules.get("fence")
    sys.modules["fence"] = module
    try:
        yield
    finally:
        if before is None:
            sys.modules.pop("fence", None)
        else:
            sys.modules["fence"] = before


# ---- running -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Block:
    page: Page
    fence: Fence
    module: types.ModuleType
    before: census.Census
    seen: Observed
    ended: Callable[[], None]
    """To be called when the block's own code is over, so that the time limit spares the cleaning up."""
    recorded: recorder.Recorded | None

    def run(self, fixtures_runner: AsyncRunner | None, config: pytest.Config | None) -> None:
        fence = self.fence
        if config is not None:
            # A failed assert in a file of the page explains itself too.
            names = [file.removesuffix(".py") for f in self.page.files_until(fence) if (file := f.file)]
            config.pluginmanager.rewrite_hook.mark_rewrite(*names)
        if fence.file:
            copy_context().run(importlib.import_module, fence.file.removesuffix(".py"))
            return
        code = self.compiled(config)
        names = self.module.__dict__
        if not code.co_flags & inspect.CO_COROUTINE:
            if fence.backends:
                raise SyntaxError("data-backend is for a block with top-level await")
            copy_context().run(exec, code, names)
        elif fence.backends:
            for backend in (b for b in fence.backends if not backend_problem(b)):
                # Each backend starts from the names given, not from what the other one left.
                given = dict(names)
                self.on_backend(backend, lambda given=given: eval(code, given))
        elif fixtures_runner is not None and fence.fixtures:
            fixtures_runner.run(self.on_loop(lambda: eval(code, names)))
        else:
            with asyncio.Runner() as runner:
                runner.run(self.on_own_loop(lambda: eval(code, names)))

    def compiled(self, config: pytest.Config | None) -> types.CodeType:
        """Compile with the page's own line numbers, and with asserts that explain themselves."""
        source = "\n" * self.fence.line + self.fence.content
        path = str(self.page.path)
        tree = ast.parse(source, path)
        if config is None or config.getoption("assertmode") == "rewrite":
            rewrite_asserts(tree, source.encode(), path, config)
        return compile(tree, path, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)

    async def on_loop(self, block: _Code) -> None:
        seen, others = self.seen, asyncio.all_tasks()
        if self.recorded is not None:
            self.recorded.main = asyncio.current_task()
        try:
            await block()
        except BaseException as error:
            seen.raised = error
        self.ended()
        left = await census.end_tasks(asyncio.all_tasks() - others)
        seen.tasks += sorted(_describe_task(task) for task in left)
        ended = await census.end_processes_on_loop(self.before)
        seen.left = census.Census(ended, seen.left.threads, seen.left.descriptors)
        if isinstance(seen.raised, asyncio.CancelledError):
            raise seen.raised  # asyncio.Runner turns it into KeyboardInterrupt if it was a Ctrl-C

    async def on_own_loop(self, block: _Code) -> None:
        """The loop's executor is ours, so that its idle threads can be told to go before the census."""
        loop = asyncio.get_running_loop()
        executor = ThreadPoolExecutor(thread_name_prefix="asyncio")
        loop.set_default_executor(executor)
        try:
            await self.on_loop(block)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            # Runner.close() waits for the default executor, and a thread of the old one may be busy for long.
            loop.set_default_executor(ThreadPoolExecutor(1))

    def on_backend(self, backend: str, block: _Code) -> None:
        import anyio.lowlevel

        meter = loop_lag.LoopLag()
        options: dict[str, Any] = {"instruments": [loop_lag.TrioHold(meter)]} if backend == "trio" else {}

        async def main() -> None:
            ours = {task.id for task in anyio.get_running_tasks()}
            await block()
            await anyio.lowlevel.checkpoint()
            self.seen.tasks += sorted(str(t.name) for t in anyio.get_running_tasks() if t.id not in ours)

        try:
            anyio.run(main, backend=backend, backend_options=options)
        finally:
            self.seen.longest_hold_s = max(self.seen.longest_hold_s, meter.longest_s)


def _describe_task(task: asyncio.Task[object]) -> str:
    coroutine = task.get_coro()
    return f"{task.get_name()} ({getattr(coroutine, '__qualname__', coroutine)})"


# ---- afterwards --------------------------------------------------------------------------------------


@contextlib.contextmanager
def _unseen_errors(seen: Observed, fence: Fence) -> Generator[None]:
    """Note errors that Python only prints: in a thread, in a finaliser, in a task that nobody asked."""
    leaking = fence.key("leaks") is not None

    def in_finaliser(unraisable: Any) -> None:
        if leaking and (
            isinstance(unraisable.exc_value, ResourceWarning) or str(unraisable.exc_value) in _AFTER_ITS_LOOP
        ):
            return
        seen.unseen.append(f"{type(unraisable.exc_value).__name__}: {unraisable.exc_value}")

    def in_thread(arguments: Any) -> None:
        if arguments.exc_type is not SystemExit:
            name = getattr(arguments.thread, "name", "a thread")
            seen.unseen.append(f"{arguments.exc_type.__name__}: {arguments.exc_value} (in {name})")

    class InTask(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[1] if record.exc_info else None
            first = record.getMessage().splitlines()[0]
            seen.unseen.append(f"{first} {error!r}" if error else first)

    hooks = sys.unraisablehook, threading.excepthook
    handler = InTask(logging.ERROR)  # asyncio's default exception handler logs there
    logging.getLogger("asyncio").addHandler(handler)
    sys.unraisablehook, threading.excepthook = in_finaliser, in_thread
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", ".* was never awaited", RuntimeWarning)
            warnings.simplefilter("error", ResourceWarning)
            yield
    finally:
        sys.unraisablehook, threading.excepthook = hooks
        logging.getLogger("asyncio").removeHandler(handler)


def _look(seen: Observed, before: census.Census) -> None:
    """Note where the block is: what it waits for, and which processes there are."""
    seen.where = whereabouts(before.threads)
    processes = census.named(census.census().processes - before.processes)
    seen.where += sorted(f"process {process}" for process in processes)


def _kill_since(before: census.Census) -> None:
    census.end_processes(census.census().processes - before.processes)


def _let_go(page: Page, folder: str, seen: Observed) -> None:
    """Keep the text of the error, and not its frames: they hold files, processes and tasks."""
    error = seen.raised
    if error is None:
        return
    seen.traceback = _own_traceback(error, page, folder)
    pending, done = [error], set[int]()
    while pending:
        each = pending.pop()
        if id(each) in done:
            continue
        done.add(id(each))
        traceback.clear_frames(each.__traceback__)
        each.__traceback__ = None
        pending += [e for e in (each.__cause__, each.__context__) if e is not None]
        if isinstance(each, BaseExceptionGroup):
            pending += cast("BaseExceptionGroup[BaseException]", each).exceptions


def _own_traceback(error: BaseException, page: Page, folder: str) -> str:
    """The traceback from the first frame of the page on; the runner's own frames explain nothing."""
    tb = error.__traceback__
    while tb is not None and not tb.tb_frame.f_code.co_filename.startswith((str(page.path), folder)):
        tb = tb.tb_next
    return "".join(traceback.format_exception(type(error), error, tb or error.__traceback__)).rstrip()


def _collect_what_is_left(fence: Fence, seen: Observed, before: census.Census) -> None:
    ended = seen.left.processes
    left = census.since(before, allowed_kinds(fence))
    seen.left = census.Census(ended | left.processes, left.threads, left.descriptors)
    if fence.fixtures:  # the executor of pytest-asyncio's loop lives as long as the fixtures
        threads = frozenset(t for t in left.threads if not t.name.startswith("asyncio_"))
        seen.left = census.Census(seen.left.processes, threads, left.descriptors)
    census.end_processes(left.processes)


def _forget(module: types.ModuleType, seen: Observed) -> None:
    """Let the block's objects go now, where a warning is theirs, and not inside the next block."""
    with warnings.catch_warnings():
        if seen.left_kinds() or seen.raised is not None:
            warnings.simplefilter("ignore", ResourceWarning)
        module.__dict__.clear()
        cast("Any", subprocess)._cleanup()  # reaps children whose Popen is gone; not in the typed interface
        gc.collect()


def _page_lines(page: Page, fence: Fence, folder: str, lines: Lines) -> set[int]:
    """Lines in the page's own numbers: the block's, and those of the page's files."""
    ran = {line for line in lines.by_file.get(str(page.path), ()) if fence.line < line < fence.end}
    for file in page.files_until(fence):
        name = str(Path(folder, file.file or ""))
        ran |= {file.line + line for line in lines.by_file.get(name, ())}
    return ran
