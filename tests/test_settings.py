"""Settings: each variable is described, and a wrong value is said."""

from __future__ import annotations

import pytest

from offloop import RunMode, SettingsError, SubprocessWrapper, choose_mode
from offloop.settings import RUN_MODE, SETTINGS


def test_every_setting_is_described() -> None:
    """The table in the guide has no empty cell."""
    for setting in SETTINGS:
        assert setting.name.startswith("OFFLOOP_")
        assert all((setting.type, setting.default, setting.meaning))


@pytest.mark.parametrize("mode", list(RunMode), ids=lambda mode: mode.value)
def test_run_mode_is_read_when_it_is_needed(mode: RunMode, monkeypatch: pytest.MonkeyPatch) -> None:
    """OFFLOOP_RUN_MODE decides for wrappers that were not told a mode, and says so."""
    monkeypatch.setenv(RUN_MODE.name, f" {mode.value} ")

    assert choose_mode().mode is SubprocessWrapper().mode is mode
    assert RUN_MODE.name in SubprocessWrapper().mode_reason
    assert SubprocessWrapper(RunMode.LOCAL).mode is RunMode.LOCAL


def test_unknown_run_mode_is_an_error_that_lists_the_valid_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt mode is never a silent default."""
    monkeypatch.setenv(RUN_MODE.name, "asink")

    with pytest.raises(SettingsError, match="async, threaded, local, dry-run") as caught:
        choose_mode()
    assert (caught.value.name, caught.value.value) == (RUN_MODE.name, "asink")


def test_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable is the same as none."""
    monkeypatch.setenv(RUN_MODE.name, "")

    assert RUN_MODE.read() is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"grace_s": -1},
        {"drain_s": float("nan")},
        {"grace_s": float("inf")},
        {"max_running": 0},
        {"max_line_bytes": 0},
        {"buffer_bytes": "1"},
        {"mode": "fast"},
    ],
    ids=str,
)
def test_wrong_argument_is_named(wrong: dict[str, object]) -> None:
    """A wrapper that is made with a wrong value says which."""
    with pytest.raises(SettingsError) as caught:
        SubprocessWrapper(**wrong)  # type: ignore[arg-type]
    assert caught.value.name in wrong
