"""What a simulated process sees in place of its parent: its own output, arguments, environment, folder and modules."""

from __future__ import annotations

import asyncio
import atexit
import builtins
import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

from offloop.guide.in_browser.child_code import PROCESS_NAME, NotSimulatedError

__all__ = ("World",)

_REFUSED = (
    # Descriptors 0 to 2 are those of the parent.
    (
        os,
        "_exit|abort|dup2?|read|write|pipe2?|kill|killpg|system|popen|wait.*|fork.*|exec.*|spawn.*|posix_spawnp?",
    ),
    (signal, "alarm|pause|setitimer|raise_signal|sigwait.*|pthread_kill"),
    (atexit, "register"),
)


class World:
    """A context manager: inside of it, this interpreter looks as it does to the process."""

    def __init__(
        self,
        *,
        pid: int,
        folder: str,
        search: str,
        argv: list[str],
        environment: dict[str, str],
        stdout: TextIO,
        stderr: TextIO,
        set_handler: Callable[[int, Any], Any],
        process: object,
    ) -> None:
        self.exit_code: int = 0
        self._folder = folder
        self._stdout, self._stderr = stdout, stderr
        self._module = types.ModuleType("__main__")
        self._module.__dict__[PROCESS_NAME] = process
        self._modules: dict[str, types.ModuleType] = {"__main__": self._module}
        installed = [entry for entry in sys.path if not _is_page_folder(entry)]
        self._replaced: list[tuple[Any, str, Any]] = [
            (sys, "stdin", _NoInput()),
            (sys, "stdout", stdout),
            (sys, "stderr", stderr),
            (sys, "argv", argv),
            (sys, "path", [search, *installed]),
            (os, "environ", environment),
            (os, "getpid", lambda: pid),
            (os, "getppid", lambda: 4000),
            *((owner, name, _refusal(f"{owner.__name__}.{name}()")) for owner, name in _refused()),
            (signal, "signal", set_handler),
            # Or its messages would go where the parent's go.
            (logging.root, "handlers", []),
            (logging.root, "level", logging.WARNING),
            (subprocess, "Popen", _refusal("a process of a process")),
            (threading.Thread, "start", _refusal("a thread")),
            (time, "sleep", _refusal("time.sleep() called from here")),
            (asyncio, "run", _refusal("asyncio in a process")),
            (asyncio, "Runner", _refusal("asyncio in a process")),
            (asyncio, "new_event_loop", _refusal("asyncio in a process")),
            (builtins, "input", _refusal("input() called from here")),
        ]
        self._outside: list[Any] = []

    def __enter__(self) -> None:
        self._outside = [
            os.getcwd(),
            self._swap_modules(self._modules),
        ]
        self._swap_attributes()
        if self._folder != self._outside[0]:
            os.chdir(self._folder)

    def __exit__(self, *_: object) -> None:
        folder, modules = self._outside
        self._folder = os.getcwd()  # it may have gone to another
        self._swap_attributes()
        self._modules = self._swap_modules(modules)
        if os.getcwd() != folder:
            os.chdir(folder)

    def _swap_attributes(self) -> None:
        for place, (owner, name, value) in enumerate(self._replaced):
            self._replaced[place] = (owner, name, getattr(owner, name, None))
            setattr(owner, name, value)
        cast("Any", logging.root.manager)._clear_cache()  # of which levels are heard

    def _swap_modules(self, new: dict[str, types.ModuleType]) -> dict[str, types.ModuleType]:
        """Those of the page and `__main__`: a process has its own."""
        old = {
            name: module
            for name, module in sys.modules.items()
            if name == "__main__" or _is_page_folder(os.path.dirname(getattr(module, "__file__", None) or ""))
        }
        for name in old:
            del sys.modules[name]
        sys.modules.update(new)
        return old

    async def main(self, code: types.CodeType) -> None:
        """Run the program to its end, whatever that is."""
        if not code.co_filename.startswith("<"):
            self._module.__file__ = code.co_filename
        try:
            done = eval(code, self._module.__dict__)
            if done is not None:  # it waits for something
                await done
        except BaseException as error:
            if isinstance(error, GeneratorExit):
                raise
            self.finish(error)
        else:
            self.finish(None)

    def finish(self, error: BaseException | None) -> None:
        """What Python does at the end: say what is wrong, and write what was held back."""
        if isinstance(error, SystemExit):
            self.exit_code = _exit_code(error.code, self._stderr)
        elif error is not None:
            # Python ends itself by the signal, so that whoever waits for it knows.
            self.exit_code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
            shown = traceback.TracebackException.from_exception(error)
            here = os.path.dirname(__file__)
            shown.stack[:] = [frame for frame in shown.stack if not frame.filename.startswith(here)]
            with contextlib.suppress(OSError):
                print("".join(shown.format()), end="", file=self._stderr)
        try:
            self._stdout.flush()
            self._stderr.flush()
        except OSError:
            self.exit_code = self.exit_code or 120


def _refused() -> Iterator[tuple[Any, str]]:
    """Functions that would do to the parent what the process means for itself."""
    for owner, pattern in _REFUSED:
        yield from ((owner, name) for name in dir(owner) if re.fullmatch(pattern, name))


class _NoInput:
    """sys.stdin where it is not read in one of the ways that are understood."""

    def __getattr__(self, name: str) -> Any:
        raise NotSimulatedError(f"sys.stdin.{name} used like this")

    def __iter__(self) -> Any:
        raise NotSimulatedError("sys.stdin read like this")

    def __enter__(self) -> Any:
        raise NotSimulatedError("`with sys.stdin`")

    def __exit__(self, *_: object) -> None: ...


def _exit_code(code: object, stderr: TextIO) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=stderr)
    return 1


def _refusal(what: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise NotSimulatedError(what)

    return refuse


def _is_page_folder(folder: str) -> bool:
    return os.path.basename(folder).startswith("offloop-page-")
