"""Run a block of a page as the tests run it: in a fresh folder with the page's files, on a loop of its own."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import gc
import importlib
import inspect
import io
import linecache
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
import types
import warnings
from asyncio import events
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from json import dumps, loads  # by name: a block may change the module
from typing import Any, cast

from offloop.guide.in_browser.child_code import NotSimulatedError
from offloop.guide.in_browser.loop import DeadlockError, SimulatedLoop
from offloop.guide.in_browser.machine import machine

__all__ = ("Ended", "answer", "run_block")

_PREFIX = "offloop-page-"


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        error: The traceback, from the first line of the reader's code on; empty if there was no error.
        processes: How many processes were simulated.
        notes: What was not as it would be on a computer.
        seconds: How long it took.
    """

    error: str
    processes: int
    notes: tuple[str, ...]
    seconds: float


def answer(request: str, recording: Callable[[], AbstractContextManager[Any]]) -> str:
    """What `docs/javascripts/worker.mjs` asks for, and gets: run a block, and draw what it did. Both are JSON.

    Only a block that asks for its timeline is recorded, as in the tests.
    """
    asked = loads(request)
    is_drawn = bool(asked["timeline"])
    ended, recorded = run_block(
        asked["files"], asked["code"], recording=recording if is_drawn else nullcontext
    )
    summary = svg = ""
    if is_drawn:
        timeline = recorded.timeline()
        summary, svg = timeline.summary(), timeline.svg("What your run did", name=f"run-{asked['name']}")
    return dumps({**asdict(ended), "summary": summary, "svg": svg})


def run_block(
    files: Mapping[str, str],
    code: str,
    *,
    recording: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> tuple[Ended, Any]:
    """Run *code* with *files* beside it; what it prints goes to this program's output.

    Args:
        files: By name, what `import` finds.
        code: With top-level `await`.
        recording: What records the run, entered around it; its value is returned.
    """
    # The loop that the browser has made for itself would be in the way.
    events._set_running_loop(None)
    machine.reset()
    error, began = "", time.monotonic()
    streams = sys.stdin, sys.stdout, sys.stderr
    with _on_page(files) as folder, recording() as recorded:
        try:
            _run(code, recorded)
        except SystemExit as ended:
            machine.note(_about_exit(ended.code))
        except BaseException as raised:
            error = _traceback(raised, folder)
            for name in _missing_modules(raised):
                machine.note(
                    f"There is no {name} in this browser, only anyio, offloop and most of Python's own library."
                )
            for name in machine.missing:
                machine.note(f"There is no {name} in a browser: only programs in Python are simulated.")
        seconds = time.monotonic() - began
        machine.kill_all()
        sys.stdin, sys.stdout, sys.stderr = streams
        # What has no end of a line belongs to this run, too.
        sys.stdout.flush()
        sys.stderr.flush()
    notes = (*dict.fromkeys(NotSimulatedError.said), *machine.notes)
    return Ended(error, machine.started, notes, seconds), recorded


def _missing_modules(error: BaseException) -> set[str | None]:
    """Also of each error in a group. Subclasses speak of something else, such as of the version of a package."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return {name for each in group.exceptions for name in _missing_modules(each)}
    return {error.name} if type(error) is ModuleNotFoundError else set()


def _about_exit(code: object) -> str:
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    return f"It ended itself with exit code {0 if code is None else code}."


def _run(code: str, recorded: Any) -> None:
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    # So that a traceback shows the line.
    linecache.cache["<block>"] = (len(code), None, code.splitlines(keepends=True), "<block>")
    compiled = compile(code, "<block>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    if not compiled.co_flags & inspect.CO_COROUTINE:
        exec(compiled, module.__dict__)
        return

    async def main() -> None:
        if recorded is not None:
            recorded.main = asyncio.current_task()
        await eval(compiled, module.__dict__)
        if recorded is not None:
            recorded.stop()

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.run(main())


@contextlib.contextmanager
def _on_page(files: Mapping[str, str]) -> Generator[str]:
    folder = os.path.realpath(tempfile.mkdtemp(prefix=_PREFIX))
    here, path, environment = os.getcwd(), list(sys.path), dict(os.environ)
    modules, handlers = set(sys.modules), {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    loggers = {logger: (logger.level, logger.handlers[:], logger.propagate) for logger in _loggers()}
    standard, recursion_limit, main = _standard_modules(), sys.getrecursionlimit(), sys.modules["__main__"]
    try:
        for name, content in files.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as file:
                file.write(content)
        importlib.invalidate_caches()
        linecache.clearcache()
        sys.path.insert(0, folder)
        os.chdir(folder)
        with warnings.catch_warnings():
            yield folder
    finally:
        gc.collect()  # "Task exception was never retrieved" and its like belong to the run
        os.chdir(here)
        sys.path[:] = path
        os.environ.clear()
        os.environ.update(environment)
        for number, handler in handlers.items():
            if handler is not None:
                signal.signal(number, handler)
        for logger in _loggers():
            level, kept, logger.propagate = loggers.get(logger, (logging.NOTSET, [], True))
            logger.setLevel(level)
            logger.handlers[:] = kept
        sys.modules["__main__"] = main
        _forget_modules(folder, modules)
        _restore(standard)
        sys.setrecursionlimit(recursion_limit)
        sys.path_importer_cache.pop(folder, None)
        shutil.rmtree(folder, ignore_errors=True)


def _standard_modules() -> dict[types.ModuleType, dict[str, Any]]:
    """What the names of Python's own modules stand for; a block may give them another meaning."""
    return {
        module: dict(vars(module))
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in sys.stdlib_module_names and type(module) is types.ModuleType
    }


def _restore(names_of: Mapping[types.ModuleType, Mapping[str, Any]]) -> None:
    """What has come since stays: the modules of a package that were imported, among others."""
    for module, names in names_of.items():
        now = vars(module)
        for name, value in names.items():
            if name not in now or now[name] is not value:
                setattr(module, name, value)


def _loggers() -> list[logging.Logger]:
    known = logging.root.manager.loggerDict.values()
    return [logging.root, *(logger for logger in known if isinstance(logger, logging.Logger))]


def _forget_modules(folder: str, before: set[str]) -> None:
    """Without a word of what was in them: a program on a computer would have ended with all of it still there."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if os.path.dirname(file) == folder:
                del sys.modules[name]
        gc.collect()


def _traceback(error: BaseException, folder: str) -> str:
    """From the first frame of the reader's code on; none where that is not in it, as for its syntax."""
    shown = error.__traceback__
    while shown is not None and not shown.tb_frame.f_code.co_filename.startswith(("<block>", folder)):
        shown = shown.tb_next
    if shown is None and not isinstance(error, SyntaxError | DeadlockError):
        shown = error.__traceback__
    lines = traceback.format_exception(type(error), error, shown)
    return "".join(lines).replace(folder + os.sep, "").replace('"<block>"', '"this block"')
