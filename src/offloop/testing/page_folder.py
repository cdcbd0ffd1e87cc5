"""The surroundings of one block: a fresh folder with the page's files, and everything put back after it."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

from offloop.guide.fences import Fence
from offloop.guide.pages import Page

__all__ = ("on_page", "write_files")

_PREFIX = "offloop-page-"


def write_files(page: Page, fence: Fence, folder: Path) -> None:
    """Write every file of the page that stands above *fence*, or is it."""
    for file in page.files_until(fence):
        assert file.file is not None
        (folder / file.file).write_text(file.content, "utf-8", newline="\n")


@contextlib.contextmanager
def on_page(page: Page, fence: Fence) -> Generator[str]:
    """Run in a fresh folder that holds the page's files and is first on the import path.

    The folder, the modules imported from it, the environment, the working directory, signal handlers
    and loggers are as before when the block has ended, so the order of blocks, `-k` and pytest-xdist
    cannot change a result. What a block changes inside of an installed module stays changed.
    """
    folder = os.path.realpath(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        with _restored():
            write_files(page, fence, Path(folder))
            importlib.invalidate_caches()
            sys.path.insert(0, folder)
            os.chdir(folder)
            yield folder
    finally:
        _forget_modules()
        # Windows keeps a folder that is the working directory of a process which is just ending.
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _restored() -> Generator[None]:
    here, path, environment = os.getcwd(), list(sys.path), dict(os.environ)
    loggers = {logger: (logger.level, list(logger.handlers)) for logger in _loggers()}
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        os.chdir(here)
        sys.path[:] = path
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)
        for logger in _loggers():
            level, handlers = loggers.get(logger, (logging.NOTSET, []))
            logger.setLevel(level)
            logger.handlers[:] = handlers
        for number, handler in signals.items():
            if handler is not None and signal.getsignal(number) is not handler:
                with contextlib.suppress(ValueError):  # not in the main thread
                    signal.signal(number, handler)


def _loggers() -> list[logging.Logger]:
    known = logging.root.manager.loggerDict.values()
    return [logging.root, *(logger for logger in known if isinstance(logger, logging.Logger))]


def _forget_modules() -> None:
    """Two pages may each have a worker.py, and two blocks of a page each get a new one."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and _is_page_folder(os.path.dirname(file)):
            del sys.modules[name]
    for entry in [e for e in sys.path_importer_cache if _is_page_folder(e)]:
        del sys.path_importer_cache[entry]


def _is_page_folder(path: str) -> bool:
    return os.path.basename(path).startswith(_PREFIX)
