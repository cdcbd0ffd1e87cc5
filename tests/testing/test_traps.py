"""The traps of plain pytest-markdown-docs 0.9.2: each reproduced, and ours does not fall into it.

A trap whose stock outcome changes with another version fails here: look again before moving the pin.
"""

from __future__ import annotations

import subprocess
import sys
from typing import NamedTuple

import pytest

from tests.testing.conftest import Project, Run, environment

# One run serves all tests here, so one worker takes them all.
TICKS = "```"
FAIL = "raise SystemError"


def fence(info: str, *lines: str, indent: str = "") -> str:
    return "".join(f"{indent}{line}\n" for line in (TICKS + info, *lines, TICKS))


class Trap(NamedTuple):
    """A page; what the stock plugin makes of it, with `superfences` syntax or the default; and what ours does."""

    page: str
    stock: str
    ours: str
    says: str = ""
    syntax: str = "superfences"


TRAPS = {
    "1 fence in a tab": Trap('=== "Linux"\n\n' + fence("python", FAIL, indent="    "), "nothing", "failed"),
    "1 fence in an admonition": Trap("!!! note\n\n" + fence("python", FAIL, indent="    "), "nothing", "failed"),
    "1 fence in a collapsed admonition": Trap("??? note\n\n" + fence("python", FAIL, indent="    "), "nothing", "failed"),
    "2 fence in a list": Trap("- x\n\n" + fence("python", FAIL, indent="    "), "failed", "failed"),
    "2 fence in a quote": Trap(fence("python", FAIL, indent="> "), "failed", "failed"),
    "3 in HTML without a blank line": Trap("<div markdown>\n" + fence("python", FAIL) + "</div>\n", "nothing", "failed"),
    "3 in an HTML comment": Trap("<!--\n" + fence("python", FAIL) + "-->\n", "nothing", "error", "inside an HTML comment"),
    "4 brace form without a word": Trap(
        fence("{.python .x}", FAIL), "nothing", "error", "did you mean `python { .x }`?", "default"
    ),
    "5 class before language": Trap(fence("{.annotate .python}", FAIL), "nothing", "error", "`python { .annotate }`"),
    "6 language in capitals": Trap(fence("Python", FAIL), "nothing", "error", "did you mean `python`?"),
    "6 word after a comma": Trap(fence("python,notest", FAIL), "nothing", "error", "did you mean"),
    "6 pycon": Trap(fence("pycon", ">>> 1/0"), "nothing", "error", "did you mean python?"),
    "7 notest inside a title": Trap(fence('python { title="how notest works" }', FAIL), "nothing", "failed"),
    "8 notest without braces": Trap(fence("python notest", FAIL), "nothing", "error", "did you mean `python { notest }`?"),
    "9 notest without inner spaces": Trap(fence("python {notest}", FAIL), "failed", "error", "`python { notest }`?"),
    "10 annotation": Trap(fence('python { hl_lines="1" }', "x = 1  # (1)!"), "passed", "passed"),
    "11 a snippet line": Trap(fence("python", '--8<-- "x.py"'), "failed", "error", "is not expanded"),
    "12 TypeError runs the block twice": Trap(
        fence(
            "python", "import pathlib", "p = pathlib.Path('FILE')", "first = not p.exists()",
            "p.touch()", "if first:", "    len(5)", "p.unlink()",
        ),
        "passed", "failed", "TypeError",
    ),
    "13 capsys sees nothing": Trap(
        fence("python { fixture:capsys }", "print('x')", "assert capsys.readouterr().out == ''"),
        "passed", "error", "capsys sees nothing here",
    ),
    "14 a fixture with parameters": Trap(
        fence("python { fixture:anyio_backend }", "anyio_backend"), "error", "error", "has parameters; data-backend"
    ),
    "15 main guard that is never true": Trap(fence("python", 'if __name__ == "__main__":', "    " + FAIL), "passed", "passed"),
    "16 pickle of a block's function": Trap(fence("python", "import pickle", "def f(): ...", "pickle.dumps(f)"), "failed", "passed"),
    "17 dataclass with future annotations": Trap(
        fence("python", "from __future__ import annotations", "import dataclasses", "@dataclasses.dataclass", "class A:", "    x: int = 1"),
        "failed", "passed",
    ),
    "18 continuation": Trap(fence("python { continuation }", "x = 1"), "passed", "error", "unknown flag 'continuation'"),
    "18 retry": Trap(fence("python { retry:2 }", "x = 1"), "passed", "error", "unknown flag 'retry:2'"),
    "19 a task left behind": Trap(
        fence("python", "import asyncio", "t = asyncio.create_task(asyncio.sleep(60))", "await asyncio.sleep(0)"),
        "passed", "failed", "left a task behind",
    ),
    "19 an error that nobody saw": Trap(
        fence("python", "import asyncio", "async def f(): 1 / 0", "t = asyncio.create_task(f())", "await asyncio.sleep(0.01)", "del t"),
        "passed", "failed", "never retrieved",
    ),
    "19 a process left behind": Trap(
        fence("python", "import subprocess, sys", "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1)'])"),
        "passed", "failed", "left a process behind",
    ),
    "19 a thread left behind": Trap(
        fence("python", "import threading, time", "threading.Thread(target=time.sleep, args=(2,)).start()"),
        "passed", "failed", "left a thread behind",
    ),
    "19 a coroutine never awaited": Trap(
        fence("python", "async def f(): ...", "f()"), "passed", "failed", "never awaited"
    ),
    "19 the loop held for 0.4 s": Trap(
        fence("python", "import asyncio, time", "await asyncio.sleep(0)", "time.sleep(0.4)"), "passed", "failed", "held the event loop"
    ),
    "20 SystemExit": Trap(fence("python", "raise SystemExit"), "failed", "failed", "ended with SystemExit"),
    "20 CancelledError": Trap(fence("python", "import asyncio", "raise asyncio.CancelledError"), "failed", "failed", "CancelledError"),
    "21 assert explains nothing": Trap(fence("python", "a = [1, 2]", "assert sum(a) == 4"), "failed", "failed", "assert 3 == 4"),
    "22 an error from outside the block": Trap(
        fence("python", "import json", "json.loads('x')"), "failed", "failed", 'line 3, in <module>'
    ),
}  # fmt: skip


def page_name(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name) + ".md"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Run:
    project = Project(tmp_path_factory.mktemp("traps"))
    for name, trap in TRAPS.items():
        project.write(f"docs/{page_name(name)}", trap.page.replace("FILE", (project.root / "ran").as_posix()))
    return project.run("docs", "--continue-on-collection-errors")


@pytest.mark.parametrize("name", TRAPS)
def test_our_runner_does_not_fall_into_the_trap(ours: Run, name: str) -> None:
    """It runs what should run, and says what is wrong with what cannot."""
    trap, page = TRAPS[name], f"docs/{page_name(name)}"

    assert ours.outcome(page) == trap.ours, ours.text
    assert trap.says in ours.text


def run_stock(project: Project, *arguments: str) -> Run:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-rA",
            "-p",
            "no:cacheprovider",
            "-c",
            "stock.ini",
            "--markdown-docs",
            *arguments,
        ],
        cwd=project.root,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
    )
    return Run(done.returncode, done.stdout.decode("utf-8", "replace").replace("\\", "/"), {})


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    project = Project(tmp_path_factory.mktemp("stock"))
    project.write("stock.ini", "[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    runs: dict[str, Run] = {}
    for syntax in ("superfences", "default"):
        for name, trap in TRAPS.items():
            if trap.syntax == syntax:
                project.write(
                    f"{syntax}/{page_name(name)}",
                    trap.page.replace("FILE", (project.root / "ran").as_posix()),
                )
        runs[syntax] = run_stock(project, f"--markdown-docs-syntax={syntax}", syntax)
    return runs


@pytest.mark.parametrize("name", TRAPS)
def test_the_stock_plugin_still_has_the_trap(stock: dict[str, Run], name: str) -> None:
    """The pin can be moved when this changes, and the code that avoids the trap may go."""
    trap = TRAPS[name]

    assert stock[trap.syntax].outcome(f"{trap.syntax}/{page_name(name)}") == trap.stock


def test_trap_13_output_is_not_on_the_terminal(project: Project) -> None:
    """Not even that of a child; the stock plugin switches pytest's capture off."""
    project.write("docs/page.md", fence("python", "import os", "os.write(1, b'SEEN')", "print('SEEN')"))

    run = project.run("docs")

    assert run.code == 0
    assert "SEEN" not in run.text


def test_trap_15_dead_lines_are_named(ours: Run) -> None:
    """The block is green, and the line below the main guard is dead; that fails the run."""
    assert ours.dead(f"docs/{page_name('15 main guard that is never true')}") == [3]


def test_trap_22_lines_of_docstrings_are_right(project: Project) -> None:
    """The line of the error is the line in the module."""
    project.write("src/module.py", '"""Doc.\n\n```python\nx = 1\n1 / 0\n```\n"""\n')

    run = project.run("src")

    assert run.code == 1
    assert 'module.py", line 5, in <module>' in run.text


def test_trap_23_no_module_is_imported_to_look_for_examples(project: Project) -> None:
    """A module that ends the program on import is read, and its example runs."""
    project.write("src/module.py", '"""Doc.\n\n```python\nx = 1\n```\n"""\n\nraise SystemExit("imported")\n')
    project.write("src/other.py", 'raise SystemExit("imported")\n')

    run = project.run(".")

    assert run.code == 0, run.text
    assert run.states("src/module.py") == [(3, "executed")]


def test_trap_24_no_loop_is_made_for_a_block_that_awaits_nothing(project: Project) -> None:
    """The stock plugin makes one for every block."""
    project.write("docs/page.md", fence("python", "x = 1") * 5)
    project.write(
        "conftest.py",
        "import asyncio\n"
        "made, original = [], asyncio.new_event_loop\n"
        "def count():\n    made.append(1)\n    return original()\n"
        "asyncio.new_event_loop = asyncio.runners.events.new_event_loop = count\n"
        "def pytest_unconfigure():\n    print(f'loops made: {len(made)}')\n",
    )
    project.write("stock.ini", "[pytest]\nasyncio_default_fixture_loop_scope = function\n")

    assert "loops made: 0" in project.run("docs").text
    assert "loops made: 5" in run_stock(project, "docs").text


def test_trap_25_xdist_gives_the_same_result(project: Project) -> None:
    """The tally, the dead lines and the exit code are those of one process."""
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    project.write(
        "docs/a.md", fence("python", "x = 1") * 3 + fence("python", "if False:", "    x = 1", "y = 2")
    )
    project.write(
        "docs/b.md",
        fence('python { title="worker.py" }', "N = 1") + fence("python", "from worker import N", "print(N)"),
    )

    one, two = project.run("docs"), project.run("docs", "-n", "2")

    assert two.code == one.code == 1
    assert two.tally == one.tally
    assert two.text.splitlines()[-1] == one.text.splitlines()[-1]
