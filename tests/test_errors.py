"""Errors: one tree, sentences of their own, and nothing lost on the way to another process."""

from __future__ import annotations

import pickle

import pytest

from offloop import errors

RAN = {"argv": ["ffmpeg", "-i", "x"], "pid": 4711, "stdout": b"", "stderr": b"frame=1\n", "duration_s": 1.5}
EXAMPLES = [
    errors.SubprocessPolicyError("asyncio.SelectorEventLoop"),
    errors.ModuleExecutionError(returncode=3, **RAN),
    errors.ModuleTimeoutError(returncode=-9, timeout_s=30.0, **RAN),
    errors.CommandNotFoundError(["nope"], search_path="/bin"),
    errors.WorkingDirectoryError(["ls"], cwd="/nope"),
    errors.CommandNotExecutableError(["./x"], reason="Permission denied"),
    errors.ArgumentTooLongError(["x", "y" * 200_000]),
    errors.UnsafeCommandError(["ls -l"], problem="it is one string", next_step="Split it."),
    errors.ResourceLimitError(["ls"], reason="Too many open files", number=24),
    errors.SettingsError("grace_s", -1, allowed="0 or more"),
    errors.UsageError("It is closed.", "Make a new one."),
]
BUILT_INS = {
    "SubprocessPolicyError": NotImplementedError,
    "ModuleTimeoutError": TimeoutError,
    "CommandNotFoundError": FileNotFoundError,
    "WorkingDirectoryError": FileNotFoundError,
    "CommandNotExecutableError": OSError,
    "ArgumentTooLongError": OSError,
    "UnsafeCommandError": ValueError,
    "ResourceLimitError": OSError,
    "SettingsError": ValueError,
    "UsageError": RuntimeError,
}


@pytest.fixture(params=EXAMPLES, ids=lambda error: type(error).__name__)
def error(request: pytest.FixtureRequest) -> errors.OffloopError:
    return request.param


def test_sentence_says_problem_next_step_and_page(error: errors.OffloopError) -> None:
    """Every error says what happened, what to do, and which page explains it."""
    assert str(error) == f"{error.problem} {error.next_step} See {errors.GUIDE_URL}{error.page}"
    assert error.problem.endswith(".")
    assert error.next_step.endswith(".")


def test_errors_inherit_what_callers_catch(error: errors.OffloopError) -> None:
    """Every error is also the built-in that code without offloop would catch."""
    assert isinstance(error, BUILT_INS.get(type(error).__name__, Exception))


def test_errors_survive_pickling(error: errors.OffloopError) -> None:
    """An error from another process has its sentence and its data."""
    again = pickle.loads(pickle.dumps(error))

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
    assert getattr(again, "errno", None) == getattr(error, "errno", None)


def test_every_class_is_drawn_in_the_tree_and_has_an_example() -> None:
    """The tree at the head of the module names each public class."""
    classes = {name for name in errors.__all__ if name.endswith("Error")} - {"OffloopError"}

    assert errors.__doc__ is not None
    assert {name for name in classes if f"+-- {name}" not in errors.__doc__} == set()
    assert {type(example).__name__ for example in EXAMPLES} == classes


def test_signal_has_its_name() -> None:
    """A negative exit code is told as the name of the signal."""
    killed = errors.ModuleExecutionError(returncode=-15, **RAN)
    unknown = errors.ModuleExecutionError(returncode=-99, **RAN)

    assert killed.signal_name in ("SIGTERM", "signal 15")
    assert unknown.signal_name == "signal 99"
    assert EXAMPLES[1].signal_name is None


def test_last_output_is_short() -> None:
    """However much a program wrote, the message stays readable."""
    error = errors.ModuleExecutionError(returncode=1, **{**RAN, "stderr": b"x" * 1_000_000})

    assert len(error.last_output) == 500
    assert len(str(error)) < 1200
