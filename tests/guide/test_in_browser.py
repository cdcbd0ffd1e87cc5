"""What examples run on in a browser, run here by an ordinary Python: the loop, and the processes that are simulated.

`tests/site/test_run.py` presses the buttons in a browser; this finds the faults without one.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from offloop import python_argv
from offloop.guide.in_browser import DeadlockError, NotSimulatedError, SimulatedLoop, machine
from offloop.guide.in_browser.child_code import compile_child
from offloop.guide.in_browser.machine import PIPE_BYTES, START_S
from offloop.guide.in_browser.popen import SimulatedPopen
from offloop.guide.pages import Page, guide_pages
from offloop.loops import can_start_processes
from offloop.testing import loop_lag_s
from offloop.testing.expected_output import difference, matches
from offloop.testing.recorder import recording


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """The machine is one for all tests."""
    machine.reset()
    yield
    machine.reset()


def run(main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(main)


async def output_of(code: str, **options: Any) -> tuple[bytes, bytes, int | None]:
    process = await asyncio.create_subprocess_exec(
        *python_argv("-c", code), stdout=PIPE, stderr=PIPE, **options
    )
    out, err = await process.communicate()
    return out, err, process.returncode


# ---- the loop -------------------------------------------------------------------------------------------


def test_timers_tasks_and_cancellation_are_those_of_asyncio() -> None:
    """The loop only waits in another way."""

    async def main() -> list[str]:
        seen: list[str] = []

        async def say(what: str, after_s: float) -> None:
            await asyncio.sleep(after_s)
            seen.append(what)

        async with asyncio.TaskGroup() as group:
            group.create_task(say("second", 0.02))
            group.create_task(say("first", 0.01))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(say("never", 60), 0.01)
        return seen

    assert run(main()) == ["first", "second"]


def test_a_deadlock_is_named() -> None:
    """Nothing is left that could wake the task: the error says which one, and where it waits."""

    async def waits_for_nobody() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await waits_for_nobody()

    with pytest.raises(DeadlockError, match=r"Task-\d+ in line \d+ of waits_for_nobody"):
        run(main())


def test_the_lag_of_the_loop_is_measured() -> None:
    """By the same function as on any other loop."""

    async def holds() -> None:
        SimulatedPopen([sys.executable, "-c", "import time; time.sleep(0.1)"]).wait()

    assert run(loop_lag_s(holds)) > 0.1


def test_a_socket_is_refused() -> None:
    """There are none in a browser."""

    async def connect() -> None:
        await asyncio.open_connection("127.0.0.1", 9)

    async def watch() -> None:
        with socket.socket() as one:
            asyncio.get_running_loop().add_reader(one, print)

    with pytest.raises(OSError, match="no network in a browser"):
        run(connect())
    with pytest.raises(NotSimulatedError, match="socket"):
        run(watch())


def test_the_loop_says_that_it_can_start_processes() -> None:
    """A loop that has lost the ability says so, too."""
    lost = type("Lost", (SimulatedLoop,), {"_make_subprocess_transport": None})

    for kind, can in ((SimulatedLoop, True), (lost, False)):
        loop = kind()
        assert can_start_processes(loop) is can
        loop.close()


# ---- processes ------------------------------------------------------------------------------------------

PROGRAMS = {
    "print": ("print('hello'); print('there')", b"hello\nthere\n", b"", 0),
    "exit code": ("raise SystemExit(3)", b"", b"", 3),
    "exit text": ("import sys; sys.exit('no')", b"", b"no\n", 1),
    "sleep": ("import time\ntime.sleep(0.01)\nprint('slept')", b"slept\n", b"", 0),
    "other names": ("import time as t\nfrom time import sleep as s\nt.sleep(0.01); s(0.01); print(1)", b"1\n", b"", 0),
    "in a function": ("import time\ndef f(n):\n    time.sleep(0.01)\n    return n\nprint(f(1) + f(2))", b"3\n", b"", 0),
    "in two": (
        "import time\ndef f():\n    time.sleep(0.01)\ndef g():\n    f()\n    print('g')\ng()", b"g\n", b"", 0,
    ),
    "arguments": ("import sys; print(sys.argv)", b"['-c']\n", b"", 0),
    "own globals": ("print(__name__, 'PIPE' in globals())", b"__main__ False\n", b"", 0),
}  # fmt: skip


@pytest.mark.parametrize(("code", "out", "err", "returncode"), PROGRAMS.values(), ids=PROGRAMS.keys())
def test_a_simulated_process_does_what_a_real_one_does(
    code: str, out: bytes, err: bytes, returncode: int
) -> None:
    """The same program, once on the simulated loop and once on the system."""
    real = subprocess.run(python_argv("-c", code), capture_output=True, check=False)

    assert run(output_of(code)) == (out, err, returncode)
    assert (real.stdout.replace(b"\r", b""), real.stderr.replace(b"\r", b""), real.returncode) == (
        out,
        err,
        returncode,
    )


def test_an_error_is_a_traceback_on_stderr() -> None:
    """With the lines of the program, and none of the simulation."""
    out, err, returncode = run(output_of("def f():\n    1 / 0\nf()"))

    assert (out, returncode) == (b"", 1)
    assert err.endswith(b"ZeroDivisionError: division by zero\n")
    assert b'File "<string>", line 2, in f' in err
    assert b"in_browser" not in err


def test_a_syntax_error_is_the_program_s() -> None:
    """It is not raised in the parent."""
    _, err, returncode = run(output_of("print('"))

    assert returncode == 1
    assert b"SyntaxError" in err


def test_input_is_read() -> None:
    """Whole, by lines, and line by line as the parent writes."""
    read = "import sys; print(len(sys.stdin.read()))"
    lines = "import sys\nfor line in sys.stdin: print(line.upper(), end='')"

    async def main() -> tuple[bytes, bytes, bytes]:
        process = await asyncio.create_subprocess_exec(*python_argv("-c", read), stdin=PIPE, stdout=PIPE)
        whole, _ = await process.communicate(b"x" * (3 * PIPE_BYTES))
        process = await asyncio.create_subprocess_exec(*python_argv("-c", lines), stdin=PIPE, stdout=PIPE)
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"one\n")
        answer = await process.stdout.readline()
        process.stdin.write(b"two")
        process.stdin.close()
        return whole, answer, await process.stdout.read()

    assert run(main()) == (f"{3 * PIPE_BYTES}\n".encode(), b"ONE\n", b"TWO")


def test_lines_are_read_one_by_one() -> None:
    """Also empty ones, and a last one without an end."""
    code = "import sys\nprint([sys.stdin.readline()])\nfor line in sys.stdin: print([line])"

    async def main() -> bytes:
        process = await asyncio.create_subprocess_exec(*python_argv("-c", code), stdin=PIPE, stdout=PIPE)
        return (await process.communicate(b"a\n\n\nb"))[0]

    assert run(main()) == b"['a\\n']\n['\\n']\n['\\n']\n['b']\n"


def test_a_process_that_never_stops_does_not_stop_the_loop() -> None:
    """It sleeps for no time at all, again and again; the timers of the loop fire all the same."""

    async def main() -> int | None:
        process = await asyncio.create_subprocess_exec(
            *python_argv("-c", "import time\nwhile True: time.sleep(0)"), stdout=DEVNULL
        )
        await asyncio.sleep(START_S * 3)
        process.kill()
        return await process.wait()

    assert run(main()) == -9


def test_output_is_held_back_without_u() -> None:
    """As Python does it for a pipe; a kill loses what is held back."""
    code = "import time\nprint('held back')\ntime.sleep(60)"

    async def main(*options: str) -> bytes:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, *options, "-c", code, stdout=PIPE, env=environment
        )
        await asyncio.sleep(START_S * 2)
        process.kill()
        return (await process.communicate())[0]

    assert run(main()) == b""
    assert run(main("-u")) == b"held back\n"


def test_a_full_pipe_holds_the_process_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until somebody reads: it does not come to its next line, and who waits for its exit first is told."""
    loud = f"print('x' * {2 * PIPE_BYTES})\nprint('done')"
    held_up = f"print('x' * {2 * PIPE_BYTES}, flush=True)\nopen('next line', 'w').close()"

    async def waits_first() -> None:
        process = await asyncio.create_subprocess_exec(*python_argv("-c", held_up), stdout=PIPE, limit=1024)
        try:
            await process.wait()
        finally:
            came_on.append(os.path.exists("next line"))  # noqa: ASYNC240 - a local file
            process.kill()
            await process.communicate()

    came_on: list[bool] = []
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeadlockError):
        run(waits_first())
    assert came_on == [False]
    assert len(run(output_of(loud))[0]) == 2 * PIPE_BYTES + 6


SIGNALS = {
    "terminate": ("", "terminate", -15),
    "kill": ("", "kill", -9),
    "ignored": ("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)", "terminate", 0),
    "handled": ("import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))", "terminate", 7),
    "interrupted": ("import signal", "interrupt", -2),
    "kill is not ignored": ("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)", "kill", -9),
}


@pytest.mark.parametrize(("prepare", "how", "returncode"), SIGNALS.values(), ids=SIGNALS.keys())
def test_signals_end_it_as_on_posix(prepare: str, how: str, returncode: int) -> None:
    """What a process that is killed would still do, it does not do; one that handles the signal does it."""
    code = (
        f"{prepare}\nimport time\ntry:\n    print('up')\n    time.sleep({0.1 if returncode == 0 else 60})\n"
        "finally:\n    print('cleaned')"
    )

    async def main() -> tuple[int, bytes]:
        process = await asyncio.create_subprocess_exec(*python_argv("-c", code), stdout=PIPE)
        assert process.stdout
        await process.stdout.readline()
        process.send_signal(signal.SIGINT) if how == "interrupt" else getattr(process, how)()
        return await process.wait(), await process.stdout.read()

    assert run(main()) == (returncode, b"cleaned\n" if returncode in (0, 7, -2) else b"")


def test_processes_run_beside_each_other_and_beside_the_loop() -> None:
    """Ten that sleep for 0.5 s take as long as one."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.gather(*(output_of("import time; time.sleep(0.5)") for _ in range(10)))
        return loop.time() - began

    assert 0.5 <= run(main()) < 2.5


def test_a_process_makes_up_for_a_loop_that_was_held() -> None:
    """It has a processor of its own, so what the loop does costs it no time."""

    async def main() -> float:
        process = await asyncio.create_subprocess_exec(
            *python_argv("-c", "import time\nfor _ in range(4): time.sleep(0.2)"), stdout=DEVNULL
        )
        SimulatedPopen([sys.executable, "-c", "import time; time.sleep(1)"]).wait()
        loop = asyncio.get_running_loop()
        began = loop.time()
        await process.wait()
        return loop.time() - began

    assert run(main()) < 0.4


def test_anyio_starts_simulated_processes() -> None:
    """Through the same method of the loop."""

    async def main() -> bytes:
        done = await anyio.run_process(python_argv("-c", "print(input())"), input=b"through anyio\n")
        return done.stdout

    assert run(main()) == b"through anyio\n"


def test_the_recorder_sees_them() -> None:
    """With their output."""
    with recording() as recorded:
        run(output_of("print('hello')"))

    (process,) = recorded.timeline().processes
    assert process.returncode == 0
    assert process.output


def test_a_program_that_waits_blocks_its_parent_in_popen() -> None:
    """`subprocess.run()` works, too, and blocks."""
    done = SimulatedPopen(python_argv("-c", "print(input())"), stdin=PIPE, stdout=PIPE, text=True)

    assert done.communicate("hello\n") == ("hello\n", None)
    assert done.returncode == 0


def test_another_program_is_not_found() -> None:
    """As on a computer that does not have it."""

    async def main() -> None:
        await asyncio.create_subprocess_exec("git", "status")

    with pytest.raises(FileNotFoundError):
        run(main())


def test_a_handler_that_raises_is_caught_where_the_process_waits() -> None:
    """It goes on, as on a system."""
    code = (
        "import signal, time\n"
        "def stop(*_):\n    raise ValueError('stop')\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "try:\n    print('up')\n    time.sleep(9)\nexcept ValueError as error:\n    print('caught', error)\n"
        "time.sleep(0.01)\nprint('went on')\n"
    )

    async def main() -> tuple[int, bytes]:
        process = await asyncio.create_subprocess_exec(*python_argv("-c", code), stdout=PIPE)
        assert process.stdout
        await process.stdout.readline()
        process.terminate()
        return await process.wait(), await process.stdout.read()

    assert run(main()) == (0, b"caught stop\nwent on\n")


def test_an_interrupt_that_nobody_catches_ends_it_by_the_signal() -> None:
    """With its traceback, and with no line of the simulation in it."""
    out, err, returncode = run(output_of("raise KeyboardInterrupt"))

    assert (out, returncode) == (b"", -2)
    assert err.splitlines()[-1] == b"KeyboardInterrupt"
    assert b"in_browser" not in err


def test_more_than_a_pipe_holds_is_read_by_hand() -> None:
    """The process goes on as it is read."""
    process = SimulatedPopen([sys.executable, "-c", "for i in range(20000): print(i)"], stdout=PIPE)
    assert process.stdout

    assert process.stdout.readline() == b"0\n"
    assert len(process.stdout.read()) == 108_888
    assert process.wait() == 0


def test_a_process_stays_in_the_folder_that_it_has_gone_to() -> None:
    """Also after it has waited."""
    code = "import os, time\nos.chdir('/')\ntime.sleep(0.01)\nprint(os.getcwd() == os.path.abspath('/'))\n"

    assert run(output_of(code)) == (b"True\n", b"", 0)


REFUSED_AT_START = {
    "a lambda": "import time\nf = lambda: time.sleep(1)\nf()",
    "a method": "import time\nclass A:\n    def f(self): time.sleep(1)\nA().f()",
    "a generator": "import time\ndef f():\n    time.sleep(1)\n    yield 1\nlist(f())",
    "a comprehension": "import time\n[time.sleep(1) for _ in range(2)]",
    "passed on": "import time\ndef f():\n    time.sleep(1)\nmap(f, [1])",
}


@pytest.mark.parametrize("code", REFUSED_AT_START.values(), ids=REFUSED_AT_START.keys())
def test_a_program_that_cannot_be_stopped_is_refused(code: str) -> None:
    """Before it runs, and not by running it wrong."""
    with pytest.raises(NotSimulatedError, match="is not simulated"):
        compile_child(code, "<string>")


REFUSED_IN_IT = (
    "import subprocess, sys; subprocess.run([sys.executable, '-c', ''])",
    "import threading; threading.Thread(target=print).start()",
    "import os; os.dup2(2, 1)",
    "import os; os.kill(os.getpid(), 9)",
    "import asyncio; asyncio.run(asyncio.sleep(0))",
    "import timeit; timeit.timeit('time.sleep(0.01)', 'import time', number=1)",
    "import atexit; atexit.register(print)",
)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("code", REFUSED_IN_IT)
def test_what_a_process_cannot_do_is_an_error_of_it(code: str) -> None:
    """It is told after the run, too, whatever the process does with the error."""
    _, err, returncode = run(output_of(code))

    assert returncode == 1
    assert b"NotSimulatedError: simulated process: " in err
    assert NotSimulatedError.said


def test_options_that_are_not_simulated_are_refused() -> None:
    """A shell, a variable that changes Python, an option of Python."""
    for start in (
        lambda: SimulatedPopen(["echo"], shell=True),
        lambda: SimulatedPopen([sys.executable, "-c", ""], shell=True),
        lambda: SimulatedPopen([sys.executable, "-c", ""], env={"PYTHONIOENCODING": "ascii"}),
        lambda: SimulatedPopen([sys.executable, "-X", "dev", "-c", ""]),
        lambda: SimulatedPopen([sys.executable, "-c", ""], preexec_fn=print),
    ):
        with pytest.raises(NotSimulatedError):
            start()


def test_a_process_that_computes_is_noted() -> None:
    """On a computer it would not hold the loop."""
    run(output_of("import time\nend = time.monotonic() + 0.15\nwhile time.monotonic() < end: pass"))

    assert [note for note in machine.notes if "computed" in note]


# ---- the blocks of the pages ----------------------------------------------------------------------------

# As in a browser: no threads, and the platform says which.
IN_A_BROWSER = """
import contextlib, io, sys, threading
from json import dumps, loads

def start(self):
    raise RuntimeError("can't start new thread")

sys.platform, threading.Thread.start = "emscripten", start
from offloop.guide.in_browser import answer, install
from offloop.testing.recorder import recording

requests = sys.stdin
install()
for line in requests:
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        answered = loads(answer(line, recording))
    print(dumps({**answered, "output": output.getvalue(), "errors": errors.getvalue()}), flush=True)
"""


like_a_browser = pytest.mark.skipif(
    sys.platform != "linux", reason="what stands in for a browser needs a Python that is much like its own"
)


def request(code: str, files: dict[str, str] | None = None, timeline: bool = False) -> str:
    """As a page sends it."""
    return json.dumps({"files": files or {}, "code": code, "name": "x", "timeline": timeline})


def run_in_a_browser(requests: list[str]) -> list[dict[str, Any]]:
    """The answers to all of them, one after the other in one interpreter."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IN_A_BROWSER],
        input="\n".join(requests),
        text=True,
        capture_output=True,
        check=True,
        timeout=120,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def runnable() -> list[tuple[Page, int]]:
    return [(page, f.line) for page in guide_pages() for f in page.fences if "run" in f.classes]


@like_a_browser
@pytest.mark.slow
def test_each_block_with_a_run_button_does_in_a_browser_what_it_does_here() -> None:
    """All of them, one after the other in one interpreter, as one reader may press the buttons."""
    requests: list[str] = []
    for page, line in runnable():
        fence = page.at(line)
        files = {str(other.file): other.content for other in page.files_until(fence)}
        timeline = fence.shape is not None
        requests.append(request(fence.content, files, timeline))

    answers = run_in_a_browser(requests)

    assert len(answers) == len(requests)
    for (page, line), answer in zip(runnable(), answers, strict=True):
        fence, where = page.at(line), f"{page.path}:{line}"
        shown = page.output_of(fence)
        expected = "" if shown is None else shown.content
        raises = (fence.key("raises") or "").partition(":")[0]
        assert matches(expected, answer["output"]), f"{where}\n{difference(expected, answer['output'])}"
        assert bool(answer["error"]) == bool(raises), f"{where}\n{answer['error']}"
        assert raises in answer["error"], where
        assert answer["notes"] == [], where
        assert answer["svg"].startswith("<svg") == (fence.shape is not None)


@like_a_browser
def test_what_a_run_writes_belongs_to_it() -> None:
    """Also without the end of a line, and what a block does to the streams of Python is undone."""
    codes = ("import sys\nsys.stdout.write('no end')", "import sys\nsys.stdout = None", "print('third')")

    answers = run_in_a_browser([request(code) for code in codes])

    assert [answer["error"] for answer in answers] == ["", "", ""]
    assert [answer["output"] for answer in answers] == ["no end", "", "third\n"]


ONE_AFTER_THE_OTHER = {
    "the error of a task that nobody asks for is told in its own run": (
        "import asyncio\nasync def job(): raise ValueError('lost')\n"
        "asyncio.create_task(job())\nawait asyncio.sleep(0)\nawait asyncio.sleep(0)",
        "ValueError: lost",
        "",
    ),
    "nothing of it is left for the next": ("print('second')", "second\n", ""),
    "a logger is as it was": (
        "import logging\nlogger = logging.getLogger('mine')\nlogger.setLevel('INFO')\n"
        "logger.addHandler(logging.StreamHandler())\nlogger.info('once')",
        "once\n",
        "",
    ),
    "in each run": (
        "import logging\nlogger = logging.getLogger('mine')\nlogger.setLevel('INFO')\n"
        "logger.addHandler(logging.StreamHandler())\nlogger.info('once')",
        "once\n",
        "",
    ),
    "a process has its own root logger": (
        "import logging, subprocess, sys\n"
        "child = 'import logging; logging.basicConfig(); logging.warning(1)'\n"
        "subprocess.run([sys.executable, '-c', child], capture_output=True)\n"
        "logging.warning('from the parent')",
        "WARNING:root:from the parent\n",
        "",
    ),
    "json may be changed": ("import json\njson.dumps = json.loads = None", "", ""),
    "for its own run": ("import json\nprint(json.dumps([1]))", "[1]\n", ""),
    "asyncio may be changed": (
        "import asyncio, sys\nasync def at_once(delay, result=None): return result\n"
        "asyncio.sleep = at_once\nsys.setrecursionlimit(90)\ndel asyncio.timeout",
        "",
        "",
    ),
    "for its own run, too": (
        "import asyncio, sys, time\nbegan = time.monotonic()\nasync with asyncio.timeout(5): await asyncio.sleep(0.2)\n"
        "print(time.monotonic() - began > 0.1, sys.getrecursionlimit() > 90)",
        "True True\n",
        "",
    ),
    "a block is the main program": (
        "import asyncio\nasync def main(): print('hello')\nif __name__ == '__main__': asyncio.run(main())",
        "hello\n",
        "",
    ),
    "a module that was imported stays whole": ("import xml.dom.minidom", "", ""),
    "in the next run": ("import xml.dom.minidom\nprint(xml.dom.minidom.parseString('<a/>'))", "<xml.dom", ""),
    "a thousand tasks of one name are drawn": (
        "import asyncio\nasync def one(): await asyncio.sleep(0)\n"
        "await asyncio.gather(*(one() for _ in range(3000)))",
        "",
        "",
    ),
    "an exit is no error": ("import sys\nprint('bye')\nsys.exit()", "bye\n", ""),
    "a syntax error shows its line and nothing else": (
        "print('a'\nb = 1",
        "",
        '  File "this block", line 1\n',
    ),
    "a deadlock shows no frames of ours": (
        "import asyncio\nasync def worker(): await asyncio.Event().wait()\nawait worker()",
        "",
        "offloop.guide.in_browser.loop.DeadlockError: Deadlock: ",
    ),
}


@like_a_browser
def test_runs_do_not_see_each_other() -> None:
    """One after the other in one interpreter, each drawn: output and errors are those of its own run."""
    requests = [request(code, timeline=True) for code, _, _ in ONE_AFTER_THE_OTHER.values()]

    answers = dict(zip(ONE_AFTER_THE_OTHER, run_in_a_browser(requests), strict=True))

    for name, (_, output, error) in ONE_AFTER_THE_OTHER.items():
        told = answers[name]["output"] + answers[name]["errors"]
        assert output in told if "Traceback" in told or output == "<xml.dom" else told == output, name
        assert answers[name]["error"].startswith(error), name
        assert bool(answers[name]["error"]) == bool(error), name
    assert "in line 2 of worker()" in answers["a deadlock shows no frames of ours"]["error"]
    assert answers["an exit is no error"]["notes"] == ["It ended itself with exit code 0."]


MISSING = {
    "import module_of_mine": "There is no module_of_mine in this browser, only anyio, offloop and most of Python's own",
    "import socket\nsocket.create_connection(('127.0.0.1', 1))": "There is no network in a browser",
    "import socket\nsocket.socket().bind(('127.0.0.1', 0))": "There is no network in a browser",
    "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:1')": "There is no network in a browser",
    "import asyncio\nawait asyncio.open_connection('127.0.0.1', 1)": "There is no network in a browser",
    "import asyncio\nawait asyncio.open_connection('localhost', 1)": "There is no network in a browser",
    "import asyncio\nawait asyncio.start_server(print, 'localhost', 0)": "There is no network in a browser",
    "import asyncio\nawait asyncio.start_server(print, '127.0.0.1', 0)": "There is no network in a browser",
    "import socket\nsocket.gethostbyname('localhost')": "There is no network in a browser",
    "import os\nos.system('echo')": "There is no shell in a browser",
    "import sys\nsys.stdin.readline()": "There is no terminal in a browser",
    "import sys\nfor line in sys.stdin: print(line)": "There is no terminal in a browser",
    "import asyncio\nasync def one(): import module_of_mine\n"
    "async with asyncio.TaskGroup() as tasks: tasks.create_task(one())": "There is no module_of_mine in this browser",
    "import asyncio\nawait asyncio.create_subprocess_exec('ls')": "There is no ls in a browser: only programs in Python",
    "import subprocess, sys\nsubprocess.run([sys.executable, '-c', ''], stdout=3)": "stdout=3 instead of PIPE or DEVNULL is not",
    "import asyncio, signal\nasyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print)\n"
    "await asyncio.sleep(0)": "There are no signals in a browser",
}


@like_a_browser
def test_what_a_browser_lacks_is_said() -> None:
    """Python's own error would speak of something else, or there would be none."""
    answers = run_in_a_browser([request(code) for code in MISSING])

    for code, answer in zip(MISSING, answers, strict=True):
        assert answer["error"], code
        assert MISSING[code] in "\n".join([answer["error"], *answer["notes"]]), code


@like_a_browser
def test_a_package_without_a_version_is_not_said_to_be_missing() -> None:
    """Its error is a kind of the other; offloop itself has no version in a browser."""
    (answer,) = run_in_a_browser([request("import importlib.metadata as m\nm.version('no-such-package')")])

    assert "PackageNotFoundError" in answer["error"]
    assert answer["notes"] == []


BY_HAND = {
    "the input ends with the block": (
        "import subprocess, sys\nread = 'import sys; print(len(sys.stdin.read()))'\n"
        "with subprocess.Popen([sys.executable, '-c', read], stdin=subprocess.PIPE, text=True) as process:\n"
        "    process.stdin.writelines(['a', 'b'])\n"
        "print(process.returncode, process.stdin.closed)",
        "2\n0 True\n",
    ),
    "a signal by number": (
        "import os, signal, subprocess, sys\nwait = 'import time; time.sleep(60)'\n"
        "process = subprocess.Popen([sys.executable, '-c', wait])\nos.kill(process.pid, 0)\n"
        "os.kill(process.pid, signal.SIGTERM)\nprint(process.wait())\n"
        "try: os.kill(process.pid, 0)\nexcept ProcessLookupError: print('gone')",
        "-15\ngone\n",
    ),
    "a Python of some version": (
        "import subprocess\nsubprocess.run(['python3.12', '-c', 'print(1)'])",
        "1\n",
    ),
}


@like_a_browser
def test_processes_by_hand() -> None:
    """As a script on a system does it."""
    answers = run_in_a_browser([request(code) for code, _ in BY_HAND.values()])

    for (name, (_, output)), answer in zip(BY_HAND.items(), answers, strict=True):
        assert (answer["error"], answer["output"]) == ("", output), name


TWICE = """
import asyncio

from offloop import SubprocessWrapper, python_argv


async def job():
    async with SubprocessWrapper(grace_s=0.05) as wrapper:
        await wrapper.run(*python_argv("-c", "import time; time.sleep(60)"))


task = asyncio.create_task(job())
await asyncio.sleep(0.3)
task.cancel()
await asyncio.sleep(0)
task.cancel()
try:
    await task
except asyncio.CancelledError:
    print("cancelled")
"""


@like_a_browser
def test_the_wrapper_is_cancelled_twice_as_on_a_system() -> None:
    """The process is ended, and the cancellation arrives."""
    (answer,) = run_in_a_browser([request(TWICE)])

    assert (answer["error"], answer["output"], answer["processes"]) == ("", "cancelled\n", 1)
    assert answer["seconds"] < 10


def test_there_are_examples_to_run() -> None:
    """On at least 12 pages; and each can be reached by its name."""
    pages = {page.path for page, _ in runnable()}

    assert len(pages) >= 12
    assert all(page.at(line).id for page, line in runnable())


@pytest.mark.parametrize("name", ["child_code", "install", "loop", "machine", "popen", "run_block", "world"])
def test_nothing_but_the_standard_library_is_needed(name: str) -> None:
    """Only what is here itself."""
    import offloop.guide.in_browser as package

    text = (Path(str(package.__file__)).parent / f"{name}.py").read_text("utf-8")
    imported = [
        line.split()[1].partition(".")[0]
        for line in text.splitlines()
        if line.startswith(("import ", "from "))
    ]

    assert {name for name in imported if name != "offloop"} <= set(sys.stdlib_module_names)
