"""What all tests share: what only Windows itself can show is skipped elsewhere, with its reason."""

from __future__ import annotations

import os
import signal
import sys

import pytest

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell starts what it puts into the background with SIGINT ignored, and every child would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked real_windows on other systems and under Wine."""
    if sys.platform == "win32" and os.environ.get("OFFLOOP_WINE") != "1":
        return
    for item in items:
        mark = item.get_closest_marker("real_windows")
        if mark is not None:
            item.add_marker(pytest.mark.skip(reason=f"needs Windows itself: {mark.args[0]}"))
