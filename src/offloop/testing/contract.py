"""What a block promises by its keys, and by having none, against what was seen when it ran."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from _pytest.outcomes import OutcomeException

from offloop.guide.fences import Fence
from offloop.guide.timeline import Timeline, shape_faults
from offloop.testing.census import Census
from offloop.testing.expected_output import difference, matches

__all__ = ("DEFAULT_HOLD_S", "Observed", "allowed_kinds", "complaints", "picture_faults")

DEFAULT_HOLD_S = 0.25
"""A block without `data-blocks-loop` may hold a loop for at most so many seconds at a time."""

_NOTHING = Census(frozenset(), frozenset(), frozenset())

# What goes with a process that is left behind: its pipes, and the thread that waits for it.
_TOGETHER = {"process": {"process", "fd", "thread"}}


@dataclass
class Observed:
    """What one run of a block did."""

    raised: BaseException | None = None
    traceback: str = ""
    output: str = ""
    longest_hold_s: float = 0.0
    tasks: list[str] = field(default_factory=list[str])
    left: Census = _NOTHING
    unseen: list[str] = field(default_factory=list[str])
    timed_out_s: float | None = None
    where: list[str] = field(default_factory=list[str])
    """Where the block was when its time was up, a line for each thread, task and process."""
    timeline: Timeline | None = None

    def left_kinds(self) -> set[str]:
        """Which of `"task"`, `"process"`, `"thread"`, `"fd"` were left behind."""
        return self.left.kinds() | ({"task"} if self.tasks else set())


def allowed_kinds(fence: Fence) -> set[str]:
    """The kinds of things that the block may leave behind."""
    leaks = fence.key("leaks")
    return _TOGETHER.get(leaks, {leaks}) if leaks else set()


def complaints(
    fence: Fence, seen: Observed, expected: Fence | None, *, hold_limit_s: float = DEFAULT_HOLD_S
) -> list[str]:
    """How the run differs from the contract; empty when the block kept it."""
    if seen.timed_out_s is not None:
        limit = (
            f"was still running after {seen.timed_out_s:g} s and was ended; data-timeout sets another limit"
        )
        return ["\n    ".join([limit, *seen.where])]
    found = [*_raised(fence, seen), *_left(fence, seen), *_held(fence, seen, hold_limit_s)]
    found += [f"an error that nobody saw: {error}" for error in seen.unseen]
    found += _shape(fence, seen)[0]
    if expected is not None and not matches(expected.content, seen.output):
        found.append(
            f"output differs from line {expected.line}; --fix-output rewrites it\n{difference(expected.content, seen.output)}"
        )
    return found


def picture_faults(fence: Fence, seen: Observed) -> list[str]:
    """Why the timeline of a block that kept its contract is not to be shown; empty when it is."""
    return _shape(fence, seen)[1]


def _shape(fence: Fence, seen: Observed) -> tuple[list[str], list[str]]:
    if seen.timeline is None:
        return [], []
    return shape_faults(seen.timeline, fence.shape or "", must_stall=fence.key("blocks-loop") is not None)


def _raised(fence: Fence, seen: Observed) -> Iterator[str]:
    wanted = fence.key("raises")
    if wanted is None:
        if seen.raised is not None:
            yield _failure(seen)
        return
    if seen.raised is None:
        yield f"is documented to raise {wanted!r}, but ran to its end"
        return
    name, _, message = (part.strip() for part in wanted.partition(": "))
    names = {c.__name__ for c in type(seen.raised).__mro__}
    names |= {f"{c.__module__}.{c.__qualname__}" for c in type(seen.raised).__mro__}
    if name not in names or message not in str(seen.raised):
        yield f"is documented to raise {wanted!r}\n{_failure(seen)}"


def _failure(seen: Observed) -> str:
    error = seen.raised
    if isinstance(error, SystemExit):
        return f"ended with SystemExit({error.code!r})\n{seen.traceback}"
    if isinstance(error, OutcomeException):
        return (
            "ended itself with a pytest outcome; a block that cannot run here has data-only or "
            f"notest with data-because\n{seen.traceback}"
        )
    return f"raised {type(error).__name__}\n{seen.traceback}"


def _left(fence: Fence, seen: Observed) -> Iterator[str]:
    leaks = fence.key("leaks")
    if leaks and leaks not in seen.left_kinds():
        yield f"is documented to leave a {leaks} behind, but did not"
    for kind in sorted(seen.left_kinds() - allowed_kinds(fence)):
        what = ", ".join(seen.tasks) if kind == "task" else seen.left.describe(kind)
        yield f"left a {kind} behind: {what}"


def _held(fence: Fence, seen: Observed, hold_limit_s: float) -> Iterator[str]:
    limit = fence.key("blocks-loop")
    if limit is not None and seen.longest_hold_s * 1000 < float(limit):
        yield (
            f"is documented to hold the event loop for {limit} ms or more; "
            f"the longest hold was {seen.longest_hold_s * 1000:.0f} ms"
        )
    if limit is None and seen.longest_hold_s > hold_limit_s:
        yield (
            f"held the event loop for {seen.longest_hold_s * 1000:.0f} ms "
            f"(more than {hold_limit_s * 1000:.0f} ms needs data-blocks-loop)"
        )
