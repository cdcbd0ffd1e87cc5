"""Run the commands of a `console` block and compare what they print.

A line that starts with `$ ` is a command, split like a POSIX shell would, but run without one; the
lines below it, up to the next command, are its output. `python` and `offloop` stand for the
interpreter that runs the tests. Every command must exit with 0, the last one with `data-exit`.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass

from offloop.guide.fences import Fence
from offloop.guide.pages import Page
from offloop.testing import census
from offloop.testing.dead_lines import recorded_lines
from offloop.testing.expected_output import difference, matches
from offloop.testing.page_folder import on_page
from offloop.testing.watchdog import DEFAULT_TIMEOUT_S

__all__ = ("commands_of", "run_console")


@dataclass(frozen=True)
class Command:
    """One command with the output that the page shows, and its line on the page."""

    line: int
    text: str
    expected: str

    @property
    def argv(self) -> list[str]:
        """The program and its arguments; ValueError where a quote is not closed."""
        words = shlex.split(self.text)
        names = {"python": [sys.executable], "offloop": [sys.executable, "-m", "offloop"]}
        return names.get(words[0], words[:1]) + words[1:]


def commands_of(fence: Fence) -> list[Command]:
    """The commands of the block, in order; a trailing backslash continues a command on the next line."""
    commands: list[Command] = []
    going_on = False
    for number, line in enumerate(fence.content.splitlines(), fence.line + 1):
        if going_on or line.startswith("$ "):
            text = line if going_on else line[2:]
            last = commands.pop() if going_on else Command(number, "", "")
            going_on = text.endswith("\\")
            commands.append(Command(last.line, last.text + text.removesuffix("\\"), ""))
        elif commands:
            last = commands[-1]
            commands[-1] = Command(last.line, last.text, f"{last.expected}{line}\n")
    return commands


def run_console(page: Page, fence: Fence) -> tuple[list[str], set[int], str]:
    """Run the block; return the complaints, the lines of the page's files that ran, and its real text."""
    commands = commands_of(fence)
    if not commands or not fence.content.startswith("$ "):
        return ["a console block starts with a command: `$ python worker.py`"], set(), fence.content
    found: list[str] = []
    real: list[str] = []
    with census.marked(), on_page(page, fence) as folder, recorded_lines(str(page.path), folder) as lines:
        for place, command in enumerate(commands):
            last = place == len(commands) - 1
            expected_code = int(fence.key("exit") or 0) if last else 0
            code, output, wrong = _run(command, fence.seconds("timeout", DEFAULT_TIMEOUT_S))
            if code is not None and code != expected_code:
                wrong.append(f"exit code {code}, documented {expected_code}\n{output.rstrip()}")
            elif code is not None and not matches(command.expected, output):
                wrong.append(
                    f"output differs; --fix-output rewrites it\n{difference(command.expected, output)}"
                )
            found += [f"`{command.text}` (line {command.line}): {text}" for text in wrong]
            real.append(
                _shown(fence, command) + (command.expected if matches(command.expected, output) else output)
            )
    ran: set[int] = set()
    for file in page.files_until(fence):
        ran |= {file.line + line for line in lines.by_file.get(os.path.join(folder, file.file or ""), ())}
    return found, ran, "".join(text if text.endswith("\n") else text + "\n" for text in real)


def _shown(fence: Fence, command: Command) -> str:
    """The command's own lines as they stand on the page."""
    lines = fence.content.splitlines(keepends=True)[command.line - fence.line - 1 :]
    count = next(n for n, line in enumerate(lines, 1) if not line.rstrip("\n").endswith("\\"))
    return "".join(lines[:count])


def _run(command: Command, limit_s: float) -> tuple[int | None, str, list[str]]:
    before = census.census()
    try:
        child = subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "80", "NO_COLOR": "1"},
        )
    except (OSError, ValueError, IndexError) as error:
        return None, "", [f"cannot be started: {error}"]
    wrong: list[str] = []
    try:
        data, _ = child.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        census.end_processes(census.census().processes - before.processes)
        data, _ = child.communicate()
        return None, _text(data), [f"was still running after {limit_s:g} s and was ended\n{_text(data)}"]
    left = census.since(before)
    if left.processes:
        wrong.append(f"left a process behind: {left.describe('process')}")
        census.end_processes(left.processes)
    return child.returncode, _text(data), wrong


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\r\n", "\n")
