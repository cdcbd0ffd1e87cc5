"""What run() tells, in every mode."""

from __future__ import annotations

import pytest

from offloop import ModuleExecutionError, ModuleTimeoutError, RunMode, SubprocessWrapper
from tests.contract.children import CAT, SLEEP, eventually, exits, left_alive, prints, python, tree
from tests.contract.conftest import Place


def test_result_has_all_output_and_the_exit_code(any_place: Place) -> None:
    """A result has the exit code, all of both outputs, and says that they are complete."""

    async def body() -> None:
        async with any_place.wrapper() as wrapper:
            result = await wrapper.run(*prints(out=640_000, err=320_000))

            assert (result.returncode, result.timed_out, result.complete, result.dropped_bytes) == (
                0,
                False,
                True,
                0,
            )
            assert (len(result.stdout), len(result.stderr)) == (640_000, 320_000)
            assert result.pid > 0
            assert result.duration_s > 0

    any_place.run(body)


def test_failure_raises_only_with_check(any_place: Place) -> None:
    """A failed program raises with check=True, and is a result with check=False."""

    async def body() -> None:
        async with any_place.wrapper() as wrapper:
            with pytest.raises(ModuleExecutionError) as caught:
                await wrapper.run(*python("import sys; print('why', file=sys.stderr); sys.exit(3)"))
            result = await wrapper.run(*exits(3), check=False)

            assert (caught.value.returncode, caught.value.last_output, result.returncode) == (3, "why", 3)

    any_place.run(body)


def test_deadline_ends_the_whole_tree(any_place: Place, register) -> None:
    """At its deadline a tree is ended whole, in every mode."""

    async def body() -> None:
        async with any_place.wrapper() as wrapper:
            with pytest.raises(ModuleTimeoutError) as caught:
                await wrapper.run(*tree(register), timeout_s=1.0)
            result = await wrapper.run(*SLEEP, timeout_s=0.0, check=False)

            assert caught.value.timeout_s == 1.0
            assert isinstance(caught.value, TimeoutError)
            assert result.timed_out
            assert eventually(lambda: not left_alive(register))

    any_place.run(body)


def test_input_is_fed_while_output_is_read(any_place: Place) -> None:
    """A child that echoes 3 MB through both pipes does not lock up."""

    async def body() -> None:
        async with any_place.wrapper() as wrapper:
            data = b"0123456789" * 300_000
            result = await wrapper.run(*CAT, stdin=data)

            assert result.stdout == data

    any_place.run(body)


def test_child_may_leave_its_input_unread(any_place: Place) -> None:
    """A child that does not read its stdin is no error."""

    async def body() -> None:
        async with any_place.wrapper() as wrapper:
            result = await wrapper.run(*exits(0), stdin=b"x" * 1_000_000)

            assert result.returncode == 0

    any_place.run(body)


def test_stdin_is_never_inherited(any_place: Place) -> None:
    """Without stdin= a child reads the end of its input at once."""

    async def body() -> None:
        async with any_place.wrapper() as wrapper:
            assert (await wrapper.run(*CAT)).stdout == b""

    any_place.run(body)


def test_result_is_bounded(any_place: Place) -> None:
    """Of more output than buffer_bytes the newest is kept, and the rest is counted."""

    async def body() -> None:
        async with any_place.wrapper(buffer_bytes=1000) as wrapper:
            result = await wrapper.run(*python("print('a' * 500_000); print('the end')"))

            assert result.stdout.split()[-2:] == [b"the", b"end"]
            assert len(result.stdout) == 1000
            assert len(result.stdout) + result.dropped_bytes >= 500_008

    any_place.run(body)


def test_output_is_there_when_local_returns() -> None:
    """In LOCAL mode a process has ended when create_subprocess() returns."""

    async def body() -> None:
        async with SubprocessWrapper(RunMode.LOCAL) as wrapper:
            process, stdout, stderr = await wrapper.create_subprocess(*prints(out=6400))

            assert process.returncode == 0
            assert (stdout.total_bytes, stdout.complete, stderr.complete) == (6400, True, True)
            assert len([line async for line in stdout]) == 100

    Place(RunMode.LOCAL, "asyncio").run(body)


@pytest.mark.parametrize("loop", ["asyncio", "selector"])
def test_dry_run_starts_nothing(loop: str) -> None:
    """DRY_RUN records the command, and answers with code 0 and one line."""

    async def body() -> None:
        async with SubprocessWrapper(RunMode.DRY_RUN) as wrapper:
            process, stdout, _ = await wrapper.create_subprocess("no-such-program", "two\nlines")
            lines = [line async for line in stdout]
            result = await wrapper.run("another")

            assert (process.pid, await process.wait(), await process.stop(), result.returncode) == (
                -1,
                0,
                0,
                0,
            )
            assert len(lines) == 1
            assert lines[0].startswith(b"DRY_RUN: no-such-program")
            assert wrapper.planned == [("no-such-program", "two\nlines"), ("another",)]

    Place(RunMode.DRY_RUN, loop).run(body)
