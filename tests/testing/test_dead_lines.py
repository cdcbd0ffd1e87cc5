"""Recording which lines ran."""

from __future__ import annotations

import threading
from pathlib import Path
from types import FrameType

from offloop.testing.dead_lines import recorded_lines


def test_the_trace_function_of_new_threads_is_back_afterwards(tmp_path: Path) -> None:
    """It need not be that of this thread: a coverage tool has one for each."""

    def of_another_tool(frame: FrameType, event: str, argument: object) -> None:
        """Trace nothing."""

    before = threading.gettrace()
    threading.settrace(of_another_tool)
    try:
        with recorded_lines("page.md", str(tmp_path)):
            pass
        after = threading.gettrace()
    finally:
        threading.settrace(before)

    assert after is of_another_tool
