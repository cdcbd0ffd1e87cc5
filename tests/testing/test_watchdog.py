"""Ending a block that does not end."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from offloop.testing.watchdog import TimeLimit, time_limit


def no_children() -> None:
    """A block that started nothing."""


def nobody_looks() -> None:
    """Where a block was is not asked."""


def spin() -> None:
    """Keep the interpreter busy for ever."""
    while True:
        pass


def test_a_block_in_time_is_not_disturbed() -> None:
    """And nothing is left of the limit: no thread, no handler."""
    threads, handler = threading.active_count(), signal.getsignal(signal.SIGINT)

    with time_limit(30, nobody_looks, no_children):
        pass

    assert (threading.active_count(), signal.getsignal(signal.SIGINT)) == (threads, handler)


def test_a_sleep_is_interrupted() -> None:
    """Long before it would end."""
    started = time.monotonic()

    with pytest.raises(TimeLimit), time_limit(0.2, nobody_looks, no_children):
        time.sleep(30)

    assert time.monotonic() - started < 15


def test_a_busy_loop_is_interrupted() -> None:
    """At its next Python instruction."""
    with pytest.raises(TimeLimit), time_limit(0.2, nobody_looks, no_children):
        spin()


def test_a_block_is_interrupted_though_nobody_can_look() -> None:
    """To say where it was must not spare it."""

    def cannot_look() -> None:
        raise OSError("no descriptors are left")

    with pytest.raises(TimeLimit), time_limit(0.2, cannot_look, no_children):
        spin()


def test_a_block_is_interrupted_though_looking_does_not_end() -> None:
    """Its next interruption ends the looking."""
    with pytest.raises(TimeLimit), time_limit(0.2, spin, no_children):
        spin()


def test_a_block_in_another_thread_is_interrupted() -> None:
    """pytest may run tests in one."""
    caught: list[BaseException] = []

    def work() -> None:
        try:
            with time_limit(0.2, nobody_looks, no_children):
                spin()
        except TimeLimit as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)

    assert len(caught) == 1


def test_a_limit_that_was_ended_early_raises_nothing() -> None:
    """Cleaning up may take its time."""
    with time_limit(0.2, nobody_looks, no_children) as block_ended:
        block_ended()
        time.sleep(0.5)


def test_a_wait_that_cannot_be_interrupted_ends_with_its_child() -> None:
    """The second step: what the block has started is killed."""
    code = "import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code]) as child:

        def wait_again_and_again() -> None:
            while True:
                try:
                    child.wait()
                    return
                except TimeLimit:
                    pass

        with time_limit(0.2, nobody_looks, child.kill):
            wait_again_and_again()

    assert child.returncode is not None
