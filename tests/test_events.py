"""Events: told in order, in the caller's context, and harmless whatever a callback does."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import time

import pytest

from offloop import ModuleTimeoutError, RunMode, SubprocessWrapper, events
from tests.contract.children import IGNORES_SIGTERM, exits, prints

REQUEST = contextvars.ContextVar("request", default="none")
MODES = pytest.mark.parametrize("mode", list(RunMode), ids=lambda mode: mode.value)


def run_one(mode: RunMode, callback: events.Callback, *, argv: list[str] | None = None) -> None:
    async def body() -> None:
        unsubscribe = events.subscribe(callback)
        try:
            async with SubprocessWrapper(mode) as wrapper:
                REQUEST.set("r1")
                await wrapper.run(*(argv or prints(out=64)), check=False)
            await asyncio.sleep(0)  # what is called soon is called
        finally:
            unsubscribe()
            unsubscribe()

    asyncio.run(body())


@MODES
def test_events_in_order_and_context(mode: RunMode) -> None:
    """Started comes first, then FirstOutput and Ended, with the context variables of the caller."""
    seen: list[events.Event] = []
    contexts: list[str] = []

    def callback(event: events.Event) -> None:
        seen.append(event)
        contexts.append(REQUEST.get())

    run_one(mode, callback)
    first, *others = seen
    # A process that ends at once may be seen to end before its output is read.
    ended, output = sorted(others, key=lambda event: type(event).__name__)

    assert isinstance(first, events.Started)
    assert isinstance(output, events.FirstOutput)
    assert set(contexts) == {"r1"}
    assert {event.mode for event in seen} == {mode.value}
    assert isinstance(ended, events.Ended)
    assert (ended.returncode, ended.timed_out) == (0, False)
    assert first.at <= ended.at <= time.monotonic()


@MODES
def test_raising_callback_is_logged_and_harmless(mode: RunMode, caplog: pytest.LogCaptureFixture) -> None:
    """A callback may raise whatever it likes."""

    def callback(event: events.Event) -> None:
        raise KeyboardInterrupt("from a callback")

    run_one(mode, callback)

    assert "raised on" in caplog.text


def test_slow_callback_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A callback that blocks its loop is named."""

    def slow(event: events.Event) -> None:
        if isinstance(event, events.Ended):
            time.sleep(0.15)

    with caplog.at_level(logging.WARNING):
        run_one(RunMode.THREADED, slow, argv=exits(0))

    assert "blocked its event loop" in caplog.text


def test_same_callback_twice_ends_once_each() -> None:
    """Each subscription ends by itself."""
    seen: list[events.Event] = []
    first, second = events.subscribe(seen.append), events.subscribe(seen.append)
    first()
    first()
    event = events.Started(pid=1, argv=("x",), mode="async")
    events.emit(event, contextvars.copy_context(), lambda call: False)
    second()
    events.emit(event, contextvars.copy_context(), lambda call: False)

    assert seen == [event]
    assert not events.is_heard(events.Started)


def test_events_are_logged_with_their_fields(caplog: pytest.LogCaptureFixture) -> None:
    """Each event is a record with the attributes of the event; no value of the environment is in any."""
    caplog.set_level(logging.DEBUG, "offloop")

    async def main() -> None:
        async with SubprocessWrapper("threaded", grace_s=0.1, buffer_bytes=10) as wrapper:
            secret = {"OFFLOOP_TEST_SECRET": "s3cret"}
            loud = [sys.executable, "-c", "print('x' * 100)"]
            await wrapper.run(*loud, env=secret)
            with pytest.raises(ModuleTimeoutError):
                await wrapper.run(*IGNORES_SIGTERM, env=secret, timeout_s=1.0)

    asyncio.run(main())

    records = {record["event"]: record for record in map(vars, caplog.records) if "event" in record}
    assert set(records) >= {"Started", "FirstOutput", "Dropped", "Ended"}
    assert records["Started"]["levelname"] == "DEBUG"
    assert records["Dropped"]["levelname"] == "WARNING"
    assert records["Dropped"]["dropped_bytes"] >= 90
    assert records["Ended"]["timed_out"] is True
    assert records["Ended"]["argv"] == tuple(IGNORES_SIGTERM)
    if sys.platform != "win32":  # where nobody can be asked, nothing is escalated
        assert records["Escalated"]["levelname"] == "WARNING"
    everything = "".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "s3cret" not in everything


class _Raises(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("the disk is full")


@pytest.mark.parametrize("mode", ["async", "threaded", "local"])
def test_a_log_handler_that_raises_harms_no_process(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The deadline still kills, the call returns, and what was raised is on stderr."""
    log, handler = logging.getLogger("offloop"), _Raises()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)

    async def main() -> None:
        async with SubprocessWrapper(mode, grace_s=0.1) as wrapper:
            with pytest.raises(ModuleTimeoutError):
                await wrapper.run(*IGNORES_SIGTERM, timeout_s=0.5)

    try:
        asyncio.run(asyncio.wait_for(main(), 60))
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    assert "the disk is full" in capsys.readouterr().err
