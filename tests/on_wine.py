"""What Wine gets wrong now and then, and Windows does not: `-p tests.on_wine` for pytest under Wine.

Wine 8 refuses about one start in some thousands with WinError 1359, STATUS_INTERNAL_ERROR: the newborn process
died before it had reported to the server. The same start works a moment later, so it is repeated once.
"""

from __future__ import annotations

import os
import sys
from typing import Any

assert sys.platform == "win32"

import _winapi  # noqa: E402 - there is none elsewhere

_ERROR_INTERNAL_ERROR = 1359

_create_process: Any = _winapi.CreateProcess


def _create_process_or_try_again(*arguments: Any) -> Any:
    try:
        return _create_process(*arguments)
    except OSError as error:
        if error.winerror != _ERROR_INTERNAL_ERROR:
            raise
        os.write(2, b"Wine refused a start with WinError 1359; once more.\n")
        return _create_process(*arguments)


if os.environ.get("OFFLOOP_WINE") == "1":
    _winapi.CreateProcess = _create_process_or_try_again  # type: ignore[misc]
