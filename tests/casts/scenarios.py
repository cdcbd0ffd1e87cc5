"""What the guide shows of a terminal: files, commands, and what has to appear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from offloop.guide.pages import docs_folder, read_page

__all__ = ("SCENARIOS", "Scenario", "Step")


@dataclass(frozen=True)
class Step:
    """One command, as it is typed into a shell."""

    command: str
    says: tuple[str, ...] = ()
    """What has to appear."""
    exit_code: int = 0
    chapter: str = ""
    """The chapter that begins here, if one does."""


@dataclass(frozen=True)
class Scenario:
    """What to record: in an empty folder with *files*, one command after the other."""

    name: str
    title: str
    files: Mapping[str, str]
    steps: tuple[Step, ...]

    def commands(self) -> str:
        """What is typed, for where nothing can be recorded."""
        return "".join(f"$ {step.command}\n" for step in self.steps)


PYTEST_INI = """\
[pytest]
addopts = -p offloop.testing -p no:cacheprovider
asyncio_default_fixture_loop_scope = function
"""

REPORT_PAGE = """\
# The daily report

The handler does not hold the loop:

```python
import time


async def handler():
    time.sleep(0.4)
    return "the report"


assert await handler() == "the report"
```
"""

KILL_THE_LAUNCHER = """\
import asyncio

from offloop.testing import left_behind
from server import server


async def start_and_kill():
    # The server holds the pipe that server() reads to the end.
    async with asyncio.timeout(1), server() as line:
        print("the server is", line.decode().strip())
        print("kill the launcher")


left = asyncio.run(left_behind(start_and_kill))
print("left behind:", len(left.processes), "process")
"""

STOP_THE_TREE = (
    KILL_THE_LAUNCHER.replace("from server import", "from server_tree import")
    .replace("kill the launcher", "stop the tree")
    .replace('"process"', '"processes"')
)


def _listing(page: str, name: str) -> str:
    fences = read_page(docs_folder() / page).fences
    return next(fence.content for fence in fences if fence.file == name)


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "first-steps",
        "First steps: a program, and a page as a test",
        {
            "run_a_report.py": _listing("index.md", "run_a_report.py"),
            "report.md": REPORT_PAGE,
            "pytest.ini": PYTEST_INI,
        },
        (
            Step("cat run_a_report.py", ("SubprocessWrapper",), chapter="A program and its output"),
            Step("python run_a_report.py", ("hello",)),
            Step("cat report.md", ("time.sleep",), chapter="A page that promises too much"),
            Step("pytest -q report.md", ("held the event loop for 4", "1 failed"), exit_code=1),
            Step(
                "sed 's/import time/import asyncio/; s/time.sleep/await asyncio.sleep/' report.md > mended.md",
                chapter="The page is mended",
            ),
            Step("pytest -q mended.md", ("1 passed", "1 executed")),
        ),
    ),
    Scenario(
        "add-a-pattern",
        "offloop add: copy a pattern into a project, with its test",
        {"pytest.ini": PYTEST_INI},
        (
            Step("offloop add", ("simple-execution",), chapter="Which patterns are there?"),
            Step(
                "offloop add simple-execution --with-test",
                ("run_module.py",),
                chapter="Copy one, with its test",
            ),
            Step("ls *.py", ("run_module.py",)),
            Step("pytest -q", ("passed",)),
            Step("echo '# mine' >> run_module.py", chapter="An edited copy is kept"),
            Step("offloop add simple-execution", exit_code=1),
            Step("offloop add simple-execution --diff", ("# mine",), exit_code=1),
        ),
    ),
    Scenario(
        "doctor",
        "offloop doctor: a broken set-up, and the same one mended",
        {},
        (
            Step(
                "ulimit -n 20; OFFLOOP_RUN_MODE=treaded offloop doctor --only loop --only limits",
                ("unknown-run-mode", "few-descriptors"),
                exit_code=1,
                chapter="Too few descriptors, and a run mode that is misspelt",
            ),
            Step(
                "OFFLOOP_RUN_MODE=threaded offloop doctor --only loop --only limits",
                ("run mode", "threaded"),
                chapter="Mended",
            ),
        ),
    ),
    Scenario(
        "kill-a-tree",
        "Kill a launcher, and stop a tree",
        {
            "server.py": _listing("anti-patterns/tree-survives-its-root.md", "server.py"),
            "server_tree.py": _listing("anti-patterns/tree-survives-its-root.md", "server_tree.py"),
            "kill_the_launcher.py": KILL_THE_LAUNCHER,
            "stop_the_tree.py": STOP_THE_TREE,
        },
        (
            Step("tail -n 14 server.py", ("process.kill()",), chapter="kill() ends the launcher"),
            Step("cat kill_the_launcher.py"),
            Step("python kill_the_launcher.py", ("the server is up", "left behind: 1 process")),
            Step("tail -n 6 server_tree.py", ("SubprocessWrapper",), chapter="The wrapper ends the tree"),
            Step("python stop_the_tree.py", ("the server is up", "left behind: 0 processes")),
        ),
    ),
)
