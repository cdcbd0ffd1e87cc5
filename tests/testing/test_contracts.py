"""Every contract key, and the defaults of a block with no key: kept, and broken.

All cases are pages of one project and run in one pytest; each test looks at its page.
"""

from __future__ import annotations

import sys
import textwrap
from typing import NamedTuple

import pytest

from tests.testing.conftest import Project, Run

# One run serves all tests here, so one worker takes them all.
SLEEPING_CHILD = "[sys.executable, '-c', 'import time; time.sleep(60)']"


class Case(NamedTuple):
    """A block, whether it keeps its contract, and what the report says."""

    braces: str
    code: str
    passes: bool = True
    says: str = ""


CASES = {
    # ---- no key ------------------------------------------------------------------------------------
    "plain": Case("", "x = 1"),
    "awaits": Case("", "import asyncio\nawait asyncio.sleep(0)"),
    "raises": Case("", "x = 1\n1 / 0", False, "ZeroDivisionError: division by zero"),
    "awaits with a fixture that is not async": Case(
        "fixture:tmp_path", "import asyncio\nassert await asyncio.to_thread(tmp_path.is_dir)"
    ),
    "leaks a task with a fixture": Case(
        'fixture:tmp_path data-leaks="task"',
        "import asyncio\nt = asyncio.create_task(asyncio.sleep(60))\nawait asyncio.sleep(0)",
    ),
    "changes the folder through a fixture": Case(
        "fixture:tmp_path fixture:monkeypatch", "monkeypatch.chdir(tmp_path)"
    ),
    "exits the process": Case("", "import os\nos._exit(0)", False, "os._exit(0) would end the whole run"),
    "a form feed in a string": Case("", "assert len('a\x0cb\u2028') == 4"),
    "swallows the end of its time": Case(
        'data-timeout="0.2"',
        "import time\ntry:\n    time.sleep(5)\nexcept BaseException:\n    pass",
        False,
        "was still running after 0.2 s",
    ),
    "sets a context variable": Case("", "import decimal\ndecimal.getcontext().prec = 3"),
    "sees no context variable": Case("", "import decimal\nassert decimal.getcontext().prec != 3"),
    "sets a level": Case("", "import logging\nlogging.getLogger('a').setLevel(1)"),
    "sees no level": Case("", "import logging\nassert logging.getLogger('a').level == 0"),
    "raises in a coroutine": Case(
        "", "async def f():\n    return {}['key']\nawait f()", False, "KeyError: 'key'"
    ),
    "system exit": Case("", "raise SystemExit(3)", False, "ended with SystemExit(3)"),
    "cancelled": Case("", "import asyncio\nraise asyncio.CancelledError\nawait f()", False, "CancelledError"),
    "skips itself": Case("", "import pytest\npytest.skip('no')", False, "data-only or notest"),
    "syntax error": Case("", "x =", False, "SyntaxError"),
    "a failed assert explains itself": Case("", "a = [1, 2]\nassert sum(a) == 4", False, "assert 3 == 4"),
    "a failed assert after await": Case(
        "", "import asyncio\nassert await asyncio.sleep(0, 3) == 4", False, "assert 3 == 4"
    ),
    "leaves a task": Case(
        "",
        "import asyncio\nt = asyncio.create_task(asyncio.sleep(60))\nawait asyncio.sleep(0)",
        False,
        "left a task behind",
    ),
    "leaves a thread": Case(
        "",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(2,)).start()",
        False,
        "left a thread behind",
    ),
    "leaves an executor's thread at work": Case(
        "",
        "import asyncio, time\nasyncio.get_running_loop().run_in_executor(None, time.sleep, 2)\nawait asyncio.sleep(0)",
        False,
        "left a thread behind",
    ),
    "an idle thread of to_thread is the loop's": Case("", "import asyncio\nawait asyncio.to_thread(int)"),
    "leaves a descriptor": Case("", "import os\nos.dup(0)", False, "left a fd behind"),
    "leaves an open file": Case("", "f = open('x', 'w')", False, "left a fd behind"),
    "leaves a process": Case(
        "", f"import subprocess, sys\np = subprocess.Popen({SLEEPING_CHILD})", False, "left a process behind"
    ),
    "leaves an asyncio process": Case(
        "",
        f"import asyncio, sys\np = await asyncio.create_subprocess_exec(*{SLEEPING_CHILD})",
        False,
        "left a process behind",
    ),
    "leaves an orphan": Case(
        "",
        "import subprocess, sys\n"
        "code = \"import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\"\n"
        "subprocess.run([sys.executable, '-c', code], check=True)",
        False,
        "left a process behind",
    ),
    "error in a thread": Case(
        "",
        "import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()",
        False,
        "an error that nobody saw",
    ),
    "task error nobody retrieved": Case(
        "",
        "import asyncio\nasync def f():\n    1 / 0\nt = asyncio.create_task(f())\nawait asyncio.sleep(0.01)\ndel t",
        False,
        "Task exception was never retrieved",
    ),
    "task error in the block's own loop": Case(
        "",
        "import asyncio\nasync def f():\n    1 / 0\nasync def main():\n    asyncio.create_task(f())\n"
        "    await asyncio.sleep(0.01)\nasyncio.run(main())",
        False,
        "Task exception was never retrieved",
    ),
    "coroutine never awaited": Case("", "async def f(): ...\nf()", False, "was never awaited"),
    "coroutine kept and never awaited": Case("", "async def f(): ...\nc = f()", False, "was never awaited"),
    "error in a finaliser": Case(
        "", "class A:\n    def __del__(self):\n        1 / 0\nA()", False, "an error that nobody saw"
    ),
    "holds the loop": Case(
        "", "import asyncio, time\nawait asyncio.sleep(0)\ntime.sleep(0.4)", False, "held the event loop"
    ),
    "holds its own loop": Case(
        "",
        "import asyncio, time\nasync def main():\n    time.sleep(0.4)\nasyncio.run(main())",
        False,
        "held the event loop",
    ),
    "a sleep without a loop holds none": Case("", "import time\ntime.sleep(0.4)"),
    "a failure does not hide behind `except Exception`": Case(
        'data-timeout="0.5"',
        "import time\nwhile True:\n    try:\n        time.sleep(5)\n    except Exception:\n        pass",
        False,
        "still running after 0.5 s",
    ),
    # ---- data-raises --------------------------------------------------------------------------------
    "raises as said": Case('data-raises="ValueError: inval"', "int('x')"),
    "raises a subclass": Case('data-raises="LookupError"', "{}[1]"),
    "raises, with its module": Case(
        'data-raises="subprocess.TimeoutExpired"',
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import time; time.sleep(9)'], timeout=0.1)",
    ),
    "raises an empty message": Case('data-raises="NotImplementedError"', "raise NotImplementedError"),
    "raises system exit as said": Case('data-raises="SystemExit: 3"', "raise SystemExit(3)"),
    "raises another type": Case(
        'data-raises="KeyError"', "int('x')", False, "is documented to raise 'KeyError'"
    ),
    "raises another message": Case(
        'data-raises="ValueError: no such"', "int('x')", False, "is documented to raise"
    ),
    "does not raise": Case('data-raises="ValueError"', "int('1')", False, "but ran to its end"),
    "raises as said and leaves a thread": Case(
        'data-raises="ValueError"',
        "import threading, time\nthreading.Thread(target=time.sleep, args=(2,)).start()\nint('x')",
        False,
        "left a thread behind",
    ),
    "type error runs once": Case(
        "",
        "import pathlib, os\nprint(len(os.listdir()))\nopen('ran', 'w').close()\nlen(5)",
        False,
        "TypeError",
    ),
    # ---- data-blocks-loop ---------------------------------------------------------------------------
    "blocks as said": Case(
        'data-blocks-loop="100"', "import asyncio, time\nawait asyncio.sleep(0)\ntime.sleep(0.15)"
    ),
    "blocks at its first step": Case(
        'data-blocks-loop="100"', "import asyncio, time\ntime.sleep(0.15)\nawait asyncio.sleep(0)"
    ),
    "does not block": Case(
        'data-blocks-loop="100"', "import asyncio\nawait asyncio.sleep(0.15)", False, "the longest hold was"
    ),
    "sums up one turn of the loop": Case(
        'data-blocks-loop="150"',
        "import asyncio, time\nasync def f():\n    time.sleep(0.06)\nawait asyncio.gather(f(), f(), f())",
    ),
    # ---- data-leaks ---------------------------------------------------------------------------------
    "leaks a task": Case(
        'data-leaks="task"',
        "import asyncio\nt = asyncio.create_task(asyncio.sleep(60))\nawait asyncio.sleep(0)",
    ),
    "leaks a thread": Case(
        'data-leaks="thread"',
        "import threading, time\nthreading.Thread(target=time.sleep, args=(2,)).start()",
    ),
    "leaks a process whose pipe is paused": Case(
        'data-leaks="process"',
        "import asyncio, sys\n"
        "code = \"print('x' * 300_000, flush=True); import time; time.sleep(60)\"\n"
        "p = await asyncio.create_subprocess_exec(sys.executable, '-c', code, stdout=asyncio.subprocess.PIPE)\n"
        "assert await p.stdout.read(1) == b'x'\n"
        "while p.stdout._buffer.__len__() < 131_072:\n    await asyncio.sleep(0)",
    ),
    "leaks a descriptor": Case('data-leaks="fd"', "import os\nos.dup(0)"),
    "leaks a process": Case(
        'data-leaks="process"', f"import subprocess, sys\nsubprocess.Popen({SLEEPING_CHILD})"
    ),
    "leaks an asyncio process with pipes": Case(
        'data-leaks="process"',
        f"import asyncio, sys\np = await asyncio.create_subprocess_exec(*{SLEEPING_CHILD}, stdout=asyncio.subprocess.PIPE)",
    ),
    "leaks something else": Case(
        'data-leaks="task"', "import os\nos.dup(0)", False, "documented to leave a task behind"
    ),
    "leaks nothing": Case('data-leaks="fd"', "import os\nos.close(os.dup(0))", False, "but did not"),
    "a leak allows no other": Case(
        'data-leaks="fd"',
        "import os, threading, time\nos.dup(0)\nthreading.Thread(target=time.sleep, args=(2,)).start()",
        False,
        "left a thread behind",
    ),
    # ---- data-hangs ---------------------------------------------------------------------------------
    "hangs": Case('data-hangs="0.5"', "import time\ntime.sleep(60)"),
    "hangs on await": Case('data-hangs="0.5"', "import asyncio\nawait asyncio.sleep(60)"),
    "hangs on a child": Case(
        'data-hangs="0.5"',
        f"import subprocess, sys\np = subprocess.Popen({SLEEPING_CHILD}, stdout=subprocess.PIPE)\np.communicate()",
    ),
    "does not hang": Case('data-hangs="30"', "print('done')", False, "ended with exit code 0"),
    "fails instead of hanging": Case('data-hangs="30"', "1 / 0", False, "ZeroDivisionError"),
    # ---- data-backend -------------------------------------------------------------------------------
    "on asyncio": Case('data-backend="asyncio"', "import anyio\nawait anyio.sleep(0)"),
    "leaves a task on a backend": Case(
        'data-backend="asyncio"',
        "import asyncio\nt = asyncio.create_task(asyncio.sleep(60))\nawait asyncio.sleep(0)",
        False,
        "left a task behind",
    ),
    "a backend for nothing": Case(
        'data-backend="asyncio"', "x = 1", False, "data-backend is for a block with top-level await"
    ),
    # ---- data-timeout -------------------------------------------------------------------------------
    "in time": Case('data-timeout="30"', "x = 1"),
    "a sleep out of time": Case(
        'data-timeout="0.3"', "import time\ntime.sleep(60)", False, "still running after 0.3 s"
    ),
    "a loop out of time": Case(
        'data-timeout="0.3"', "import asyncio\nawait asyncio.sleep(60)", False, "still running after 0.3 s"
    ),
    "busy out of time": Case(
        'data-timeout="0.3"', "while True:\n    pass", False, "still running after 0.3 s"
    ),
    "waiting for a child out of time": Case(
        'data-timeout="0.3"',
        f"import subprocess, sys\nsubprocess.Popen({SLEEPING_CHILD}).wait()",
        False,
        "still running after 0.3 s",
    ),
    # ---- data-only, notest --------------------------------------------------------------------------
    "only here": Case(f'data-only="{sys.platform}"', "1 / 0", False, "ZeroDivisionError"),
    "a fixture": Case("fixture:tmp_path", "assert tmp_path.is_dir()"),
    "two fixtures": Case(
        "fixture:monkeypatch fixture:tmp_path",
        "import os\nmonkeypatch.setenv('X', str(tmp_path))\nassert os.environ['X']",
    ),
    # ---- what a block can rely on -------------------------------------------------------------------
    "its module can be found": Case(
        "",
        "from __future__ import annotations\nimport dataclasses, pickle, typing\n@dataclasses.dataclass\nclass A:\n    x: int = 1\n"
        "assert pickle.loads(pickle.dumps(A())) == A()\nassert typing.get_type_hints(A) == {'x': int}",
    ),
    "several complaints": Case(
        "",
        "import os, asyncio, time\nos.dup(0)\ntime.sleep(0.4)\nawait asyncio.sleep(0)",
        False,
        "left a fd behind",
    ),
}
if sys.platform != "win32":
    CASES["on trio"] = Case('data-backend="asyncio,trio"', "import anyio\nawait anyio.sleep(0)")
    CASES["fails on trio"] = Case(
        'data-backend="asyncio,trio"',
        "import asyncio\nawait asyncio.sleep(0)",
        False,
        "trio.run received unrecognized yield message",
    )
    CASES["holds trio"] = Case(
        'data-backend="trio"',
        "import anyio, time\nawait anyio.sleep(0)\ntime.sleep(0.4)",
        False,
        "held the event loop",
    )

# ---- data-timeline ---------------------------------------------------------------------------------

CASES["stalls as it says"] = Case(
    'data-timeline="main stalls" data-blocks-loop="100"',
    "import asyncio, time\nawait asyncio.sleep(0)\ntime.sleep(0.15)",
)
CASES["stalls another way"] = Case(
    'data-timeline="worker stalls" data-blocks-loop="100"',
    "import asyncio, time\nawait asyncio.sleep(0)\ntime.sleep(0.15)",
    False,
    "worker did not hold the loop for 100 ms; main did",
)
CASES["starts fewer than it says"] = Case(
    'data-timeline="2 processes"',
    "import subprocess, sys\nsubprocess.run([sys.executable, '-c', ''], check=True)",
    False,
    "its timeline has 1, not 2 processes",
)


def page_name(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name) + ".md"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    project = Project(tmp_path_factory.mktemp("contracts"))
    for name, case in CASES.items():
        braces = f" {{ {case.braces} }}" if case.braces else ""
        project.write(f"docs/{page_name(name)}", f"# {name}\n\n```python{braces}\n{case.code}\n```\n")
    return project.run("docs")


@pytest.mark.parametrize("name", CASES)
def test_a_block_is_held_to_its_contract(run: Run, name: str) -> None:
    """It passes if it keeps its contract; else it fails and the report says how."""
    case, page = CASES[name], f"docs/{page_name(name)}"

    assert run.outcome(page) == ("passed" if case.passes else "failed"), run.text
    if case.says:
        report = run.text.partition(f"{page}:3")[2].partition("____ [")[0]
        assert case.says in report, report


def test_what_a_block_leaves_behind_does_not_fail_the_next_one(run: Run) -> None:
    """The blocks ran in one process, one after another, and each was judged alone."""
    good = [name for name, case in CASES.items() if case.passes]

    assert [run.outcome(f"docs/{page_name(name)}") for name in good] == ["passed"] * len(good)


def test_a_failed_block_shows_its_page_line_code_and_error(project: Project) -> None:
    """Lines are the page's own, so an editor can jump to them."""
    project.write("docs/page.md", "# A\n\n```python { #proof }\nx = 1\nassert x == 2, 'no'\n```\n")

    text = project.run("docs").text

    assert "docs/page.md:3: #proof" in text
    assert (
        textwrap.dedent("""
        Traceback (most recent call last):
          File "{}", line 5, in <module>
            assert x == 2, 'no'
    """).format((project.root / "docs/page.md").as_posix())
        in text
    )
    assert "assert 1 == 2" in text
    assert "    5  assert x == 2, 'no'" in text


def test_what_a_failed_block_wrote_is_shown(project: Project) -> None:
    """Its own output and that of its children."""
    project.write(
        "docs/page.md",
        "```python\nimport subprocess, sys\nprint('mine')\n"
        "subprocess.run([sys.executable, '-c', 'print(\"its\")'], check=True)\n1 / 0\n```\n",
    )

    assert "it wrote:\nmine\nits\n" in project.run("docs").text
