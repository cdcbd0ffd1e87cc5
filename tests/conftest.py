"""What all tests share: what only Windows itself can show is skipped elsewhere, with its reason."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell starts what it puts into the background with SIGINT ignored, and every child would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked real_windows on other systems and under Wine."""
    if sys.platform == "win32" and os.environ.get("OFFLOOP_WINE") != "1":
        return
    for item in items:
        mark = item.get_closest_marker("real_windows")
        if mark is not None:
            item.add_marker(pytest.mark.skip(reason=f"needs Windows itself: {mark.args[0]}"))
