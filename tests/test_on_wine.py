"""Starts that Wine refuses now and then are repeated, and nothing else is."""

from __future__ import annotations

import subprocess
import sys

import pytest

if sys.platform != "win32":
    pytest.skip("there is no CreateProcess on this system", allow_module_level=True)

from tests import on_wine


@pytest.mark.parametrize(("number", "starts"), [(1359, 2), (2, 1)], ids=["internal error", "no such program"])
def test_only_the_internal_error_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, number: int, starts: int
) -> None:
    """One more start after WinError 1359; any other error is raised at once."""
    asked: list[object] = []

    def refuse(*arguments: object) -> object:
        asked.append(arguments)
        raise OSError(None, "refused", None, number)

    monkeypatch.setattr(on_wine, "_create_process", refuse)
    monkeypatch.setattr("_winapi.CreateProcess", on_wine._create_process_or_try_again)

    with pytest.raises(OSError, match="refused"):
        subprocess.run([sys.executable, "-c", ""], check=False)

    assert len(asked) == starts
