"""Starting: what is passed on, and every bad command has its own error and leaves nothing behind."""

from __future__ import annotations

import errno
import math
import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

import offloop
from offloop import (
    ArgumentTooLongError,
    CommandNotExecutableError,
    CommandNotFoundError,
    OffloopError,
    ResourceLimitError,
    RunMode,
    SettingsError,
    SubprocessPolicyError,
    SubprocessWrapper,
    UnsafeCommandError,
    UsageError,
    WorkingDirectoryError,
    events,
)
from tests.contract.children import ON_WINDOWS, SLEEP, exits, python
from tests.contract.conftest import Place, run_on

ENVIRONMENT = python("import json, os; print(json.dumps(dict(os.environ)))")


def test_environment_is_merged(any_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """env= changes the environment; None removes a name; PATH and SystemRoot stay."""
    import json

    monkeypatch.setenv("OFFLOOP_TEST_OLD", "1")
    monkeypatch.setenv("OFFLOOP_TEST_KEPT", "2")

    async def body() -> None:
        async with any_place.wrapper() as wrapper:
            env = {"OFFLOOP_TEST_NEW": "3", "OFFLOOP_TEST_OLD": None, "PATH": None, "SystemRoot": None}
            seen = json.loads((await wrapper.run(*ENVIRONMENT, env=env)).stdout)

            assert (seen["OFFLOOP_TEST_NEW"], seen["OFFLOOP_TEST_KEPT"]) == ("3", "2")
            assert "OFFLOOP_TEST_OLD" not in seen
            assert seen["PATH"] == os.environ["PATH"]
            assert not ON_WINDOWS or "SYSTEMROOT" in seen

    any_place.run(body)


def test_working_directory(any_place: Place, tmp_path: Path) -> None:
    """cwd= is where the child starts; a path works as well as a string."""
    seen: list[str] = []

    async def body() -> None:
        async with any_place.wrapper() as wrapper:
            result = await wrapper.run(*python("import os; print(os.getcwd())"), cwd=tmp_path)

            seen.append(result.stdout.decode().strip())

    any_place.run(body)

    assert os.path.samefile(seen[0], tmp_path)


def test_python_argv_is_this_interpreter_unbuffered() -> None:
    """python_argv() names this interpreter, whatever is on PATH."""
    assert offloop.python_argv("-m", Path("x")) == [sys.executable, "-u", "-m", "x"]


BAD_CALLS = {
    "no command": ((), {}, UsageError),
    "empty program": (("",), {}, UsageError),
    "a list": ((["ls", "-l"],), {}, UsageError),
    "a number": (("ls", 1), {}, UsageError),
    "a shell string": (("ls -l | wc",), {}, UnsafeCommandError),
    "NUL": (("ls", "a\0b"), {}, UnsafeCommandError),
    "NUL in env": (("ls",), {"env": {"A": "\0"}}, UnsafeCommandError),
    "= in env": (("ls",), {"env": {"A=": "1"}}, UsageError),
    "number in env": (("ls",), {"env": {"A": 1}}, UsageError),
    "negative": (("ls",), {"timeout_s": -1}, SettingsError),
    "NaN": (("ls",), {"timeout_s": math.nan}, SettingsError),
    "cwd is no path": (("ls",), {"cwd": 3}, UsageError),
    "NUL in cwd": (("ls",), {"cwd": "a\0b"}, UnsafeCommandError),
    "env is no mapping": (("ls",), {"env": ["x"]}, UsageError),
    "a bool for seconds": (("ls",), {"timeout_s": True}, SettingsError),
    "infinite": (("ls",), {"timeout_s": math.inf}, SettingsError),
    "more than a float": (("ls",), {"timeout_s": 10**400}, SettingsError),
    "a shell string in no folder": (("ls -l",), {"cwd": 3}, UsageError),
    "str as stdin": (("ls",), {"stdin": "text"}, UsageError),
    "PIPE in run()": (("ls",), {"stdin": offloop.PIPE}, UsageError),
    "bytes": ((b"ls",), {}, UsageError),
    "bytes as cwd": (("ls",), {"cwd": b"/tmp"}, UsageError),
    "a word for a flag": (("ls",), {"detach": "no"}, SettingsError),
    "check is a word": (("ls",), {"check": "no"}, SettingsError),
    **(
        {}
        if ON_WINDOWS  # whose names are UTF-16 with any surrogates
        else {
            "half a character": (("ls", "\ud800"), {}, UsageError),
            "half a character in env": (("ls",), {"env": {"A": "\ud800"}}, UsageError),
        }
    ),
}


@pytest.mark.parametrize("mode", list(RunMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_call_is_refused_in_every_mode(mode: RunMode, name: str) -> None:
    """A call that cannot be right has its error, before anything is started, in DRY_RUN, too."""
    argv, options, error = BAD_CALLS[name]

    async def body() -> None:
        async with SubprocessWrapper(mode) as wrapper:
            with pytest.raises(error) as caught:
                await wrapper.run(*argv, **options)

            assert isinstance(caught.value, OffloopError)
            assert "https://" in str(caught.value)

    Place(mode, "asyncio").run(body)


def test_missing_program(any_place: Place, tmp_path: Path) -> None:
    """A missing program is a FileNotFoundError that says where was looked."""

    async def body() -> None:
        async with any_place.wrapper() as wrapper:
            with pytest.raises(CommandNotFoundError) as on_path:
                await wrapper.run("no-such-program-anywhere")
            with pytest.raises(FileNotFoundError) as with_folder:
                await wrapper.run(str(tmp_path / "missing"))

            assert on_path.value.search_path is not None
            assert isinstance(with_folder.value, CommandNotFoundError)
            assert with_folder.value.search_path is None

    any_place.run(body)


@pytest.mark.skipif(ON_WINDOWS, reason="there are no such folders")
def test_missing_program_in_a_place_that_cannot_be_looked_at(any_place: Place, tmp_path: Path) -> None:
    """A file in place of a folder, or a name that no file can have, is a missing program."""
    (tmp_path / "file").touch()

    async def body() -> None:
        async with any_place.wrapper() as wrapper:
            for program in (str(tmp_path / "file" / "x"), "x" * 5000):
                with pytest.raises(CommandNotFoundError):
                    await wrapper.run(program)

    any_place.run(body)


def test_missing_working_directory(any_place: Place, tmp_path: Path) -> None:
    """A missing cwd, or one that is a file, is told apart from a missing program."""
    file = tmp_path / "file"
    file.touch()

    async def body() -> None:
        async with any_place.wrapper() as wrapper:
            for cwd in (tmp_path / "missing", file):
                with pytest.raises(WorkingDirectoryError) as caught:
                    await wrapper.run(*exits(0), cwd=cwd)
                assert caught.value.cwd == str(cwd)

    any_place.run(body)


def test_program_that_cannot_be_run(any_place: Place, tmp_path: Path) -> None:
    """A file that is no program, and a script whose interpreter is missing, are not "not found"."""
    file = tmp_path / "text.exe"
    file.write_text("no program")
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)

    async def body() -> None:
        async with any_place.wrapper() as wrapper:
            for program in (file,) if ON_WINDOWS else (file, script):
                with pytest.raises(CommandNotExecutableError):
                    await wrapper.run(program)

    any_place.run(body)


@pytest.mark.skipif(ON_WINDOWS, reason="Wine has no limit for a command line")
def test_argument_that_is_too_long(any_place: Place) -> None:
    """An argument of 5 MB is refused with the limit and the way out."""

    async def body() -> None:
        async with any_place.wrapper() as wrapper:
            with pytest.raises(ArgumentTooLongError) as caught:
                await wrapper.run(*exits(0), "x" * 5_000_000)

            assert caught.value.longest == 5_000_000
            assert "stdin=" in str(caught.value)

    any_place.run(body)


@pytest.mark.skipif(not ON_WINDOWS, reason="only on Windows a batch file is run by a shell")
def test_batch_file_with_arguments(tmp_path: Path) -> None:
    """A batch file takes arguments only with allow_batch=True."""
    batch = tmp_path / "hello.bat"
    batch.write_text("@echo hello %1\r\n")

    async def body() -> None:
        async with SubprocessWrapper(RunMode.THREADED) as wrapper:
            with pytest.raises(UnsafeCommandError):
                await wrapper.run(batch, "x & calc")
            result = await wrapper.run(batch, "you", allow_batch=True)

            assert result.stdout.split() == [b"hello", b"you"]

    run_on("asyncio", body)


@pytest.mark.skipif(not ON_WINDOWS, reason="only Windows has batch files")
def test_batch_file_by_its_short_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell finds npm.cmd as npm; the system does not, and the error says which name to use."""
    (tmp_path / "shortname.cmd").write_text("@echo hello\r\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    async def body() -> None:
        async with SubprocessWrapper(RunMode.THREADED) as wrapper:
            with pytest.raises(CommandNotExecutableError, match=r"start 'shortname\.cmd'"):
                await wrapper.run("shortname")

    run_on("asyncio", body)


@pytest.mark.skipif(ON_WINDOWS, reason="there is no limit of descriptors to lower")
def test_no_descriptors_left(place: Place) -> None:
    """Without descriptors a start fails with its own error, leaves none behind, and the next one works."""
    import resource

    async def body() -> None:
        async with place.wrapper() as wrapper:
            await wrapper.run(*exits(0))
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
            highest = max(taken)
            for free in range(7):
                for fd in taken[:free]:
                    os.close(fd)
                del taken[:free]
                resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
                try:
                    await wrapper.run(*exits(0))
                except ResourceLimitError as error:
                    assert error.errno == 24  # noqa: PT017
                else:
                    break
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            else:
                pytest.fail("never enough")
            assert free > 0
            for fd in taken:
                os.close(fd)
            assert (await wrapper.run(*exits(0))).returncode == 0

    place.run(body)


def _limited(program: str, *args: str) -> str:
    """What *program*, which changes limits of its own, prints; it prints no complaints."""
    argv = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, *args]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


FROM_THE_FIRST_START_ON = """
import asyncio, os, resource, sys, threading
import anyio._backends._asyncio, offloop.engines.hub, offloop.engines.on_loop  # while files can be read
from offloop import ResourceLimitError, SubprocessWrapper

def settled():
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(5)
    return len(os.listdir("/dev/fd")), threading.active_count()

async def main():
    mode, kind = sys.argv[1], getattr(resource, sys.argv[2])
    if kind == resource.RLIMIT_NPROC and os.getuid() == 0:
        os.setresuid(65534, 65534, 65534)  # root has no such limit
    soft, hard = resource.getrlimit(kind)
    before = settled()
    taken = max(int(fd) for fd in os.listdir("/dev/fd")) if kind == resource.RLIMIT_NOFILE else 1
    for free in range(30):
        async with SubprocessWrapper(mode) as wrapper:
            resource.setrlimit(kind, (taken + free, hard))
            try:
                for _ in range(2):
                    await wrapper.run("/bin/true")
            except ResourceLimitError as error:
                print(error.argv, error.errno)
            else:
                print("enough")
                break
            finally:
                resource.setrlimit(kind, (soft, hard))
            await wrapper.run("/bin/true")  # what failed for want of something works when it is there
        assert settled() == before, (free, before, settled())
asyncio.run(main())
"""


@pytest.mark.skipif(ON_WINDOWS, reason="there are no such limits")
@pytest.mark.parametrize("limit", ["RLIMIT_NOFILE", "RLIMIT_NPROC"])
@pytest.mark.parametrize("mode", ["async", "threaded", "local"])
def test_nothing_left_from_the_first_start_on(mode: str, limit: str) -> None:
    """With any number of descriptors, or of processes and threads, too few: its own error, and nothing is left."""
    if limit == "RLIMIT_NPROC" and os.getuid() != 0:
        pytest.skip("only root can become a user without other processes")
    *failed, last = _limited(FROM_THE_FIRST_START_ON, mode, limit).splitlines()

    number = errno.EMFILE if limit == "RLIMIT_NOFILE" else errno.EAGAIN
    assert last == "enough"
    assert len(failed) > 2
    assert set(failed) == {f"('/bin/true',) {number}"}


IN_A_FORK = """
import asyncio, os, sys
from offloop import SubprocessWrapper, UsageError

async def in_fork(wrapper, process, stdout):
    calls = [wrapper.run("true"), process.wait(), process.stop(), process.stdin.write(b"x"), stdout.readline()]
    for call in calls:
        try:
            await call
        except UsageError as error:
            assert "fork" in str(error), error
            print("refused", flush=True)
    process.terminate()
    process.kill()
    wrapper.cleanup()
    await wrapper.aclose()
    async with SubprocessWrapper(sys.argv[1]) as own:
        print((await own.run("echo", "own")).stdout.decode().strip(), flush=True)

async def main():
    async with SubprocessWrapper(sys.argv[1]) as wrapper:
        process, stdout, _ = await wrapper.create_subprocess("cat", stdin=-1)
        fork = os.fork()
        if not fork:
            code = 1
            try:
                asyncio.run(in_fork(wrapper, process, stdout))
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 0
        await process.stdin.write(b"alive\\n")
        print((await stdout.readline()).decode().strip(), flush=True)
        await process.stop()
asyncio.run(main())
"""


@pytest.mark.skipif(ON_WINDOWS, reason="there is no fork")
@pytest.mark.parametrize("mode", ["async", "threaded"])
def test_in_a_fork_of_the_program(mode: str) -> None:
    """A fork can neither use nor harm what its parent has started, and starts processes of its own."""
    assert _limited(IN_A_FORK, mode).split() == ["refused"] * 5 + ["own", "alive"]


@pytest.mark.parametrize("loop", ["selector", "trio"])
def test_async_mode_on_a_loop_that_cannot(loop: str) -> None:
    """ASYNC mode says before anything is started that this loop cannot start processes."""
    if loop == "trio" and ON_WINDOWS:
        pytest.skip("Wine 8.0 does not have what trio polls with")

    async def body() -> None:
        async with SubprocessWrapper(RunMode.ASYNC) as wrapper:
            with pytest.raises(SubprocessPolicyError) as caught:
                await wrapper.run("no-such-program")

            assert isinstance(caught.value, NotImplementedError)
            assert "THREADED" in str(caught.value)

    Place(RunMode.ASYNC, loop).run(body)


@pytest.mark.parametrize("mode", list(RunMode), ids=lambda mode: mode.value)
def test_wrapper_of_another_loop(mode: RunMode) -> None:
    """A wrapper belongs to one loop, in every mode."""
    wrapper = SubprocessWrapper(mode)

    async def first() -> None:
        await wrapper.run(*exits(0))

    async def second() -> None:
        with pytest.raises(UsageError):
            await wrapper.run(*exits(0))
        await wrapper.aclose()

    run_on("asyncio", first)
    run_on("asyncio", second)


def test_at_most_max_running_at_once_first_come_first_served(place: Place) -> None:
    """Of ten starts two run at once, in the order in which they were asked for."""
    order: list[int] = []
    running: list[int] = [0]

    def count(event: events.Event) -> None:
        # Not in the tasks: one that is about to hear of an exit may run after the next start.
        if isinstance(event, events.Started | events.Ended):
            running.append(running[-1] + (1 if isinstance(event, events.Started) else -1))

    async def body() -> None:
        async with place.wrapper(max_running=2) as wrapper:

            async def one(number: int) -> None:
                process, _, _ = await wrapper.create_subprocess(*exits(0))
                order.append(number)
                await process.wait()

            async with anyio.create_task_group() as tasks:
                for number in range(10):
                    tasks.start_soon(one, number)
                    await anyio.lowlevel.checkpoint()

            assert sorted(order) == list(range(10))
            assert place.loop == "trio" or order == list(range(10))

    unsubscribe = events.subscribe(count)
    try:
        place.run(body)
    finally:
        unsubscribe()

    assert len(running) == 21
    assert max(running) == 2


def test_forty_children_need_no_forty_threads(place: Place) -> None:
    """Forty children that write 200 KB each and are only waited for all finish, with at most one thread more."""
    import threading

    async def body() -> None:
        async with place.wrapper() as wrapper:
            await wrapper.run(*exits(0))
            threads = threading.active_count()
            most = 0
            count = 8 if ON_WINDOWS else 40
            children = [
                (await wrapper.create_subprocess(*python("print('x' * 200_000)")))[0] for _ in range(count)
            ]
            most = threading.active_count()
            codes = [await process.wait() for process in children]

            assert codes == [0] * count
            assert most <= threads

    place.run(body)


SLOW_DISK = """
import asyncio, importlib.abc, sys, threading

has_begun = threading.Event()
may_go_on = threading.Event()

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "offloop.engines.hub":
            has_begun.set()
            assert may_go_on.wait(30), "the loop was held"

async def main():
    sys.meta_path.insert(0, Slow())
    from offloop import SubprocessWrapper

    async def others_run():
        while not has_begun.is_set():
            await asyncio.sleep(0)
        may_go_on.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(others_run())
        async with SubprocessWrapper("threaded"):
            pass

asyncio.run(main())
"""


def test_the_loop_runs_on_while_the_package_loads_the_rest_of_itself() -> None:
    """Which it does at the first ``async with``; from a slow disk that takes long."""
    done = subprocess.run([sys.executable, "-c", SLOW_DISK], capture_output=True, timeout=60)

    assert done.returncode == 0, done.stderr.decode()


def test_the_loop_runs_on_while_a_program_is_loaded(place: Place) -> None:
    """During ten starts the loop is never blocked for long: other tasks get many turns."""

    async def body() -> None:
        async with place.wrapper() as wrapper:
            await wrapper.run(*exits(0))
            turns = 0
            is_over = False

            async def count() -> None:
                nonlocal turns
                while not is_over:
                    turns += 1
                    await anyio.lowlevel.checkpoint()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(count)
                for _ in range(3):
                    process, _, _ = await wrapper.create_subprocess(*SLEEP)
                    process.kill()
                is_over = True

            assert turns > 3

    place.run(body)
