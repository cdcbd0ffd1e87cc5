"""Run the commands of a scenario in a terminal, and write down what appears and when.

The recording is an asciicast of version 3 (https://docs.asciinema.org/manual/asciicast/v3/), with a marker at each
chapter; beside it stands the text that was on the screen. A command that ends in another way than the scenario says,
or does not show what it should, fails the recording: what is shown has happened.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from offloop import process_tree
from tests.casts.scenarios import Scenario, Step

__all__ = ("Recording", "RecordingError", "record")

COLUMNS, ROWS = 88, 24
COMMAND_WITHIN_S = 60.0
# The pauses of somebody who types, reads, and thinks at the beginning of a chapter.
_BEFORE_TYPING_S, _KEY_S, _READING_S = 0.8, 0.03, 0.6
# Cut here and not by the player: the seconds of the chapters would be others there.
_LONGEST_PAUSE_S = 2.0
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[()][A-Z0-9]")


class RecordingError(Exception):
    """A command of a scenario did not do what the scenario says; the text has its output."""


@dataclass
class Recording:
    """Events, each with its kind (`o` output, `m` marker) and the seconds since the one before it."""

    title: str
    events: list[tuple[float, str, str]] = field(default_factory=list[tuple[float, str, str]])

    def add(self, pause_s: float, kind: str, data: str) -> None:
        """Add one event; a long pause is cut."""
        self.events.append((round(min(pause_s, _LONGEST_PAUSE_S), 3), kind, data))

    @property
    def text(self) -> str:
        """What is on the screen in the end, without colours."""
        shown = "".join(data for _, kind, data in self.events if kind == "o")
        text = _CONTROL.sub("", shown).replace("\r\n", "\n").replace("\r", "")
        return text.removesuffix("$ ")

    def asciicast(self) -> str:
        """The file that a player reads."""
        term = {"cols": COLUMNS, "rows": ROWS, "type": "xterm-256color"}
        head = {"version": 3, "term": term, "title": self.title}
        lines: list[object] = [head, *self.events, (0.0, "x", "0")]
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def record(scenario: Scenario, *, within_s: float = COMMAND_WITHIN_S) -> Recording:
    """Run the commands of *scenario* and return what appeared.

    Args:
        scenario: What to run.
        within_s: Seconds for each command; then it is ended with all that it started.

    Raises:
        RecordingError: A command ended in another way than it should, or did not show what it should.
    """
    recording = Recording(scenario.title)
    with tempfile.TemporaryDirectory(prefix="offloop-cast-") as name:
        folder = Path(name).resolve() / "project"
        folder.mkdir()
        for file, text in scenario.files.items():
            (folder / file).write_text(text, "utf-8")
        for step in scenario.steps:
            if step.chapter:
                recording.add(0.0, "m", step.chapter)
            recording.add(_BEFORE_TYPING_S, "o", "$ ")
            for key in step.command:
                recording.add(_KEY_S, "o", key)
            recording.add(_READING_S, "o", "\r\n")
            _run(step, folder, recording, within_s)
    recording.add(_READING_S, "o", "$ ")
    return recording


def _run(step: Step, folder: Path, recording: Recording, within_s: float) -> None:
    begin = len(recording.events)
    code = _in_a_terminal(step.command, folder, recording, within_s)
    shown = Recording("", recording.events[begin:]).text
    if code is None:
        raise RecordingError(
            f"$ {step.command}\n{shown}\nwas still running after {within_s:g} s, and was ended"
        )
    if code != step.exit_code:
        raise RecordingError(f"$ {step.command}\n{shown}\nended with {code}, not with {step.exit_code}")
    missing = [text for text in step.says if text not in shown]
    if missing:
        raise RecordingError(f"$ {step.command}\n{shown}\ndid not show {missing[0]!r}")


def _in_a_terminal(command: str, folder: Path, recording: Recording, within_s: float) -> int | None:
    """Run it; returns its exit code, or None if its time was up."""
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        with os.fdopen(theirs, "r+b", buffering=0) as terminal:
            tree = process_tree.start(
                ["/bin/sh", "-c", command],
                cwd=folder,
                env=_environment(folder),
                stdin=terminal,
                stdout=terminal,
                stderr=terminal,
            )
        try:
            for pause_s, line in _lines(ours, time.monotonic() + within_s):
                recording.add(pause_s, "o", _without_places(line, folder))
            # The terminal has ended, or the time is up: there is nothing to wait for.
            return tree.wait(0.5)
        finally:
            tree.close()
    finally:
        os.close(ours)


def _lines(descriptor: int, deadline: float) -> Iterator[tuple[float, str]]:
    """What appears until the terminal ends, in whole lines, each with the seconds since the one before it."""
    rest, last = b"", time.monotonic()
    while (left_s := deadline - time.monotonic()) > 0:
        # A line without an end is shown when nothing follows it for some time: a prompt, a row of dots.
        ready, _, _ = select.select([descriptor], [], [], min(left_s, 0.1))
        try:
            data = os.read(descriptor, 65536) if ready else b""
        except OSError:  # Linux says so when nobody has the terminal open
            ready, data = [descriptor], b""
        ended = bool(ready) and not data
        lines = (rest + data).splitlines(keepends=True)
        rest = lines.pop() if lines and not lines[-1].endswith(b"\n") and ready and not ended else b""
        now = time.monotonic()
        for line in lines:
            yield now - last, line.decode("utf-8", "replace")
            last = now
        if ended:
            return


def _environment(folder: Path) -> dict[str, str]:
    """What the programs see: nothing of whoever records."""
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "COLUMNS": str(COLUMNS),
        "LINES": str(ROWS),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _without_places(text: str, folder: Path) -> str:
    """The same without the folders of this machine."""
    for place, shown in ((str(folder), "~"), (sys.prefix, "~/.venv"), (sys.base_prefix, "/usr")):
        text = text.replace(place, shown)
    return text
