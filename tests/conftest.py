"""What all tests share: what only Windows itself can show is skipped elsewhere, with its reason."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Generator

import pytest

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell starts what it puts into the background with SIGINT ignored, and every child would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

LOST_START = 0xC0000142
"""How a program ends that Wine could not start, see LOST_BY_WINE in noxfile.py: it is run again by this number."""

if sys.platform == "win32" and os.environ.get("OFFLOOP_WINE") == "1":
    # Wine 8 can lose the wake-up of a loop: the thread of an executor had done its work and was idle, and the loop slept on
    # until its next timer, when it had the result at once. Seen once in 2,100 openings of a database, beside other programs,
    # and never in 70,000 calls of an executor alone. Here no loop sleeps for longer than a second.
    _select = asyncio.IocpProactor.select

    def _select_in_turns(
        self: asyncio.IocpProactor, timeout: float | None = None
    ) -> list[asyncio.Future[object]]:
        return _select(self, 1.0 if timeout is None else min(timeout, 1.0))  # pyright: ignore[reportArgumentType]

    asyncio.IocpProactor.select = _select_in_turns

    _lost: list[int] = []

    class _Noted:
        """The exit code of a Popen, which is noted where it says that the start was lost."""

        def __get__(self, popen: subprocess.Popen[bytes] | None, kind: object) -> int | None:
            return None if popen is None else popen.__dict__.get("returncode")

        def __set__(self, popen: subprocess.Popen[bytes], code: int | None) -> None:
            popen.__dict__["returncode"] = code
            if code == LOST_START:
                _lost.append(popen.pid)

    subprocess.Popen.returncode = _Noted()  # type: ignore[assignment, method-assign, unused-ignore]  # pyright: ignore

    class LostStarts:
        """Says of a test that failed that Wine had lost a start in it: what a page shows of that may be anything."""

        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_call(self) -> Generator[None, object, object]:
            _lost.clear()
            try:
                return (yield)
            except BaseException as error:
                if _lost:
                    first: BaseException = error
                    while (before := first.__cause__ or first.__context__) is not None:
                        first = before
                    first.__context__ = ChildProcessError(f"a program ended with {LOST_START}, lost by Wine")
                raise

    def pytest_configure(config: pytest.Config) -> None:
        """For the pages, too, which stand beside this folder."""
        config.pluginmanager.register(LostStarts())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked real_windows on other systems and under Wine."""
    if sys.platform == "win32" and os.environ.get("OFFLOOP_WINE") != "1":
        return
    for item in items:
        mark = item.get_closest_marker("real_windows")
        if mark is not None:
            item.add_marker(pytest.mark.skip(reason=f"needs Windows itself: {mark.args[0]}"))
