"""A recording is a real run: what is shown has happened, and what should not happen fails it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo-terminal that Python can open", allow_module_level=True)


from tests.casts.__main__ import record_all
from tests.casts.recorder import RecordingError, record
from tests.casts.scenarios import SCENARIOS, Scenario, Step


def scenario(*steps: Step, **files: str) -> Scenario:
    return Scenario("a", "A title", {f"{name}.py": text for name, text in files.items()}, steps)


def test_what_is_shown_has_happened() -> None:
    """The command as it is typed, its output, and the prompt; colours, since it is a terminal."""
    recording = record(
        scenario(
            Step("python a.py", ("True",)),
            a="import sys\nprint(sys.stdout.isatty(), '\\x1b[31mred\\x1b[0m')\n",
        )
    )

    assert recording.text == "$ python a.py\nTrue red\n"
    assert "\x1b[31mred" in recording.asciicast().replace("\\u001b", "\x1b")


def test_the_file_is_an_asciicast_with_chapters() -> None:
    """Version 3: a head, events with the seconds since the one before, markers, and the exit."""
    lines = record(scenario(Step("echo one", chapter="One"), Step("echo two", chapter="Two"))).asciicast()

    head, *events = map(json.loads, lines.splitlines())
    assert head["version"] == 3
    assert head["title"] == "A title"
    assert all(pause_s >= 0 for pause_s, _, _ in events)
    assert [data for _, kind, data in events if kind == "m"] == ["One", "Two"]
    assert events[-1][1:] == ["x", "0"]


def test_no_folder_of_this_machine_is_shown() -> None:
    """Neither the one it runs in nor the interpreter's."""
    program = "import os, sys\nprint(os.getcwd())\nprint(sys.executable)\n"

    text = record(scenario(Step("python a.py"), a=program)).text

    assert text.splitlines()[1] == "~"
    assert sys.prefix not in text


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (Step("exit 3"), "ended with 3, not with 0"),
        (Step("true", exit_code=1), "ended with 0, not with 1"),
        (Step("echo one", ("two",)), "did not show 'two'"),
        (Step("no-such-program"), "ended with 127"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.command,
)
def test_what_should_not_happen_fails_the_recording(step: Step, says: str) -> None:
    """With the command, its output and the difference."""
    with pytest.raises(RecordingError, match=says):
        record(scenario(step))


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    """And named."""
    here = tmp_path / "alive"
    starts = "import subprocess, sys, time\nsubprocess.Popen([sys.executable, 'b.py'])\ntime.sleep(60)\n"
    lives = f"import time\nwhile True:\n    open({str(here)!r}, 'a').write('x')\n    time.sleep(0.01)\n"

    with pytest.raises(RecordingError, match=r"python a.py(.|\n)*still running after 1 s"):
        record(scenario(Step("python a.py"), a=starts, b=lives), within_s=1)

    size = here.stat().st_size
    assert size > 0
    assert record(scenario(Step("sleep 0.2"))).text
    assert here.stat().st_size == size


def test_a_row_without_an_end_is_shown() -> None:
    """Such as a prompt, or the dots of pytest."""
    assert record(scenario(Step("printf abc", ("abc",)))).text.startswith("$ printf abc\nabc")


def test_a_long_pause_is_cut() -> None:
    """To two seconds, also in the seconds of the chapters that follow."""
    lines = record(scenario(Step("sleep 2.5; echo one"))).asciicast().splitlines()

    assert max(json.loads(line)[0] for line in lines[1:]) == 2.0


def test_there_are_four_with_chapters() -> None:
    """Each scenario has its own name, and at least one chapter."""
    assert len({scenario.name for scenario in SCENARIOS}) >= 4
    assert all(scenario.steps[0].chapter for scenario in SCENARIOS)


def test_a_recording_is_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --missing, unless the scenario has changed."""
    assert record_all(["kill-a-tree"], tmp_path, only_missing=True) == 0
    first = (tmp_path / "kill-a-tree.cast").read_bytes()
    assert record_all(["kill-a-tree"], tmp_path, only_missing=True) == 0
    (tmp_path / ".kill-a-tree").write_text("of another scenario")
    capsys.readouterr()
    assert record_all(["kill-a-tree"], tmp_path, only_missing=True) == 0

    assert (tmp_path / "kill-a-tree.cast").read_bytes() != first
    assert "kill-a-tree: recording" in capsys.readouterr().out


def test_what_failed_leaves_no_old_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says that there is none, and the command fails."""
    monkeypatch.setattr("tests.casts.__main__.SCENARIOS", [scenario(Step("exit 3"))])
    (tmp_path / "a.cast").touch()
    (tmp_path / "a.txt").touch()

    assert record_all([], tmp_path, only_missing=True) == 1
    assert "ended with 3, not with 0" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is recorded, with those that there are."""
    assert record_all(["doctr"], tmp_path, only_missing=False) == 2
    assert "There is no scenario doctr; there are first-steps" in capsys.readouterr().err
