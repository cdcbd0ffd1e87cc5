"""A process tree by itself, without any loop: what the wrapper and the page runner stand on."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from offloop import process_tree
from offloop.errors import CommandNotFoundError
from tests.contract.children import (
    IGNORES_SIGTERM,
    ON_WINDOWS,
    READY_THEN_SLEEP,
    SLEEP,
    eventually,
    exits,
    is_alive,
    kill,
    left_alive,
    registered,
    tree,
)

posix_only = pytest.mark.skipif(ON_WINDOWS, reason="about POSIX")


def start(argv: list[str], **options: object) -> process_tree.ProcessTree:
    return process_tree.start(argv, **options)  # type: ignore[arg-type]


def read_line(running: process_tree.ProcessTree) -> bytes:
    assert running.popen.stdout is not None
    return running.popen.stdout.readline().strip()


def close_output(running: process_tree.ProcessTree) -> None:
    assert running.popen.stdout is not None
    running.popen.stdout.close()


@pytest.fixture
def register(tmp_path: Path):
    yield tmp_path
    for pid in left_alive(tmp_path):
        kill(pid)


def test_wait_tells_the_exit_code_any_number_of_times() -> None:
    """wait() does not reap, and close() can be called again."""
    running = start(exits(3))

    assert [running.wait(30), running.wait(0), running.exit_code()] == [3, 3, 3]
    running.close()
    running.close()
    assert running.exit_code() == 3


def test_wait_comes_back_when_the_time_is_up() -> None:
    """wait() with a limit returns None."""
    running = start(SLEEP)

    assert running.wait(0.05) is None
    running.close()
    assert running.exit_code() not in (None, 0)


def test_kill_ends_the_tree_and_is_silent_afterwards(register: Path) -> None:
    """kill() ends the grandchild, too, and may be called for ever after."""
    running = start(tree(register), stdout=subprocess.PIPE)
    read_line(running)
    assert eventually(lambda: len(registered(register)) == 2)
    for _ in range(3):
        running.kill()
    running.wait(30)
    running.close()
    for _ in range(3):
        running.kill()
        assert not running.ask_to_stop()
    close_output(running)

    assert eventually(lambda: not left_alive(register))


def test_close_ends_the_tree(register: Path) -> None:
    """close() alone is enough."""
    running = start(tree(register), stdout=subprocess.PIPE)
    read_line(running)
    running.close()
    close_output(running)

    assert eventually(lambda: not left_alive(register))


@posix_only
def test_ask_to_stop_is_polite() -> None:
    """ask_to_stop() sends SIGTERM, which can be ignored."""
    polite, stubborn = start(READY_THEN_SLEEP), start(IGNORES_SIGTERM, stdout=subprocess.PIPE)
    read_line(stubborn)

    assert polite.ask_to_stop()
    assert polite.wait(30) == -15
    assert stubborn.ask_to_stop()
    assert stubborn.wait(0.1) is None
    for running in (polite, stubborn):
        running.close()
    close_output(stubborn)
    assert stubborn.exit_code() == -9


def test_failed_start_leaves_nothing() -> None:
    """A missing program is said with an error of offloop, and no descriptor is left."""
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    for _ in range(3):
        with pytest.raises(CommandNotFoundError):
            start(["no-such-program-anywhere"], leash=False)

    assert sys.platform != "linux" or len(os.listdir("/proc/self/fd")) == before


def test_environment() -> None:
    """Changes are merged; no changes are None, which lets the system pass on its own."""
    os.environ["OFFLOOP_TEST"] = "1"
    merged = process_tree.environment({"OFFLOOP_TEST": None, "OFFLOOP_NEW": "2", "PATH": None})
    del os.environ["OFFLOOP_TEST"]

    assert process_tree.environment(None) is process_tree.environment({}) is None
    assert merged is not None
    assert "OFFLOOP_TEST" not in merged
    assert (merged["OFFLOOP_NEW"], merged["PATH"]) == ("2", os.environ["PATH"])


def test_explanations_of_start_errors() -> None:
    """What the system says is told as what it means, on both systems."""
    from offloop import errors

    def explained(
        number: int, winerror: int | None = None, program: str = "nope"
    ) -> type[errors.OffloopError]:
        error = OSError(number, os.strerror(number))
        if winerror is not None:
            error.winerror = winerror
        return type(process_tree.explain_start_error(error, [program], cwd=None, env=None))

    assert explained(errno.EMFILE) is explained(errno.EAGAIN) is errors.ResourceLimitError
    assert explained(errno.E2BIG) is explained(errno.ENOENT, 206) is errors.ArgumentTooLongError
    assert explained(errno.ENOEXEC) is errors.CommandNotExecutableError
    assert explained(errno.EACCES, program=__file__) is errors.CommandNotExecutableError
    assert explained(errno.ENOENT) is explained(errno.EACCES) is errors.CommandNotFoundError
    assert explained(errno.ENOMEM, 1455) is errors.ResourceLimitError


@posix_only
class TestPosix:
    def test_number_stays_taken_until_the_tree_is_closed(self) -> None:
        """The root stays a zombie, so its number cannot be a stranger's while signals may be sent to it."""
        running = start(exits(0))
        running.wait(30)
        os.kill(running.pid, 0)
        running.close()

        with pytest.raises(ProcessLookupError):
            os.kill(running.pid, 0)

    def test_reaped_number_is_never_signalled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """After close() no signal is sent at all."""
        running = start(exits(0))
        running.close()
        monkeypatch.setattr(os, "killpg", lambda *_: pytest.fail("a signal was sent"))
        running.kill()
        running.ask_to_stop()

    def test_status_that_somebody_else_took(self, caplog: pytest.LogCaptureFixture) -> None:
        """When a SIGCHLD handler of the host has reaped the child, 255 stands for its code, and nobody is signalled."""
        running = start(exits(3))
        os.waitpid(running.pid, 0)
        with caplog.at_level(logging.WARNING):
            assert running.wait(5) == 255
        running.close()

        assert "somebody else reaped" in caplog.text

    @pytest.mark.parametrize("system", ["linux", "darwin"])
    def test_without_pidfd(self, system: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a pidfd, and as on macOS without waitid, the exit is still seen."""
        monkeypatch.delattr(os, "pidfd_open", raising=False)
        monkeypatch.setattr(sys, "platform", system)
        running = start(READY_THEN_SLEEP)

        assert running.exit_fd is None
        assert running.wait(0.05) is None
        running.kill()
        assert running.wait(30) == -9
        running.close()

    @pytest.mark.parametrize("mode", ["async", "threaded"])
    def test_wrapper_without_pidfd(self, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a pidfd the wrapper waits in a thread, and keeps its promises."""
        import asyncio

        from offloop import SubprocessWrapper

        monkeypatch.delattr(os, "pidfd_open", raising=False)

        async def body() -> None:
            async with SubprocessWrapper(mode) as wrapper:
                assert (await wrapper.run(*exits(3), check=False)).returncode == 3
                process, stdout, _ = await wrapper.create_subprocess(*READY_THEN_SLEEP)
                await stdout.readline()
                assert await process.stop() == -15

        asyncio.run(body())

    def test_detached_root_is_reaped_later(self) -> None:
        """A detached child that ends after its tree was closed does not stay a zombie for ever."""
        running = start(SLEEP, detach=True)
        running.close()
        assert is_alive(running.pid)
        kill(running.pid)
        assert eventually(lambda: not is_alive(running.pid))
        start(exits(0)).close()

        with pytest.raises(ProcessLookupError):
            os.kill(running.pid, 0)

    def test_no_descriptor_for_the_exit_is_a_failed_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """When the pidfd cannot be had, the child that was born already is killed and reaped."""
        from offloop.errors import ResourceLimitError

        born: list[int] = []

        def fails(pid: int) -> int:
            born.append(pid)
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(os, "pidfd_open", fails, raising=False)
        with pytest.raises(ResourceLimitError):
            start(SLEEP)

        with pytest.raises(ProcessLookupError):
            os.kill(born[0], 0)
