"""Modes: chosen by what the running loop can do, with a reason."""

from __future__ import annotations

import asyncio
import sys

import pytest

from offloop import RunMode, SettingsError, SubprocessPolicyError, SubprocessWrapper, choose_mode, modes
from tests.contract.conftest import run_on

on_windows = sys.platform == "win32"


@pytest.fixture(autouse=True)
def no_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OFFLOOP_RUN_MODE", raising=False)


@pytest.mark.skipif(on_windows, reason="on Windows THREADED is always chosen")
@pytest.mark.parametrize(
    ("loop", "mode"),
    [
        ("asyncio", RunMode.ASYNC),
        ("uvloop", RunMode.ASYNC),
        ("selector", RunMode.THREADED),
        ("trio", RunMode.THREADED),
    ],
)
def test_mode_is_chosen_by_the_loop(loop: str, mode: RunMode) -> None:
    """ASYNC where the loop can start processes, else THREADED; the reason is a sentence."""

    async def body() -> None:
        choice = choose_mode()
        wrapper = SubprocessWrapper()

        assert choice.mode is wrapper.mode is mode
        assert choice.reason.endswith(".")
        await wrapper.aclose()

    run_on(loop, body)


def test_windows_is_threaded() -> None:
    """On Windows it is THREADED on every loop."""
    assert modes._choose_by_loop(is_windows=True).mode is RunMode.THREADED


def test_outside_of_a_loop_it_is_a_guess() -> None:
    """A wrapper asked before a loop runs answers, and decides when it starts something."""
    assert choose_mode().mode in (RunMode.ASYNC, RunMode.THREADED)


def test_platform_without_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no processes the error offers DRY_RUN."""
    monkeypatch.setattr(modes, "_WITHOUT_PROCESSES", (sys.platform,))

    with pytest.raises(SubprocessPolicyError, match="DRY_RUN"):
        choose_mode()


def test_mode_is_settled_by_the_first_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is read once, when the first process is started."""
    monkeypatch.setenv("OFFLOOP_RUN_MODE", "dry-run")

    async def body() -> None:
        async with SubprocessWrapper() as wrapper:
            await wrapper.run("x")
            monkeypatch.setenv("OFFLOOP_RUN_MODE", "local")
            await wrapper.run("y")

            assert wrapper.mode is RunMode.DRY_RUN
            assert wrapper.planned == [("x",), ("y",)]

    asyncio.run(body())


def test_unknown_setting_is_said_before_anything_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrapper that was given no mode refuses an unknown OFFLOOP_RUN_MODE at once."""
    monkeypatch.setenv("OFFLOOP_RUN_MODE", "asinc")

    with pytest.raises(SettingsError, match="async, threaded, local, dry-run"):
        SubprocessWrapper()
    SubprocessWrapper(RunMode.LOCAL)
