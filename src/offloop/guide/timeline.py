"""What one run did: the steps of its tasks, the lives of its processes, and where its loop was held up.

A timeline is data: `offloop.testing` records it, a page shows it as a picture and as a sentence. The picture is an SVG
of a few kilobytes that stands by itself: it has a title and a description, and takes its colours from the style sheet
of the page (`docs/stylesheets/timeline.css`), light and dark. Needs the standard library only, and runs in a browser.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any, cast

__all__ = ("STALL_S", "Process", "Span", "Task", "Timeline", "shape_faults", "wrong_shape")

STALL_S = 0.1
"""A step that takes longer has held up everything else: from here on asyncio itself complains.

Source: `loop.slow_callback_duration`, 100 milliseconds since Python 3.4.
"""

Span = tuple[float, float]
"""Begin and end, in seconds since the run began."""


@dataclass(frozen=True)
class Task:
    """A task, or a callback that held the loop: when it ran on its loop, and when it held it."""

    name: str
    steps: tuple[Span, ...]
    stalls: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Process:
    """A process: its life, and when output of it arrived. A return code of None: it was still running."""

    argv: tuple[str, ...]
    begin: float
    end: float
    returncode: int | None
    output: tuple[float, ...] = ()


@dataclass(frozen=True)
class Timeline:
    """One run. All times are seconds since its beginning."""

    duration_s: float
    tasks: tuple[Task, ...]
    processes: tuple[Process, ...]
    where: str = ""
    """System and Python of the run, such as `Linux, Python 3.11`."""
    are_simulated: bool = False
    """Whether its processes were simulated, as in a browser."""

    @property
    def stalls(self) -> list[tuple[str, float]]:
        """Who held the loop and for how many seconds, in the order of time."""
        found = [(begin, task.name, end - begin) for task in self.tasks for begin, end in task.stalls]
        return [(name, seconds) for _, name, seconds in sorted(found)]

    @property
    def at_once(self) -> int:
        """How many processes there were at the same time, at most."""
        changes = sorted(
            change for process in self.processes for change in ((process.begin, 1), (process.end, -1))
        )
        most = now = 0
        for _, change in changes:
            now += change
            most = max(most, now)
        return most

    def summary(self) -> str:
        """The picture in two sentences."""
        parts = [_count(len(self.tasks), "task")]
        if self.processes:
            kind = "simulated process" if self.are_simulated else "process"
            at_once = f" ({self.at_once} at once)" if len(self.processes) > 1 else ""
            parts.append(_count(len(self.processes), kind) + at_once)
        return f"{', '.join(parts)}, {self.duration_s:.2f} s. {self._about_stalls()}"

    def _about_stalls(self) -> str:
        if self.stalls:
            name, longest_s = max(self.stalls, key=lambda stall: stall[1])
            often = "" if len(self.stalls) == 1 else f"{len(self.stalls)} times, the longest "
            others = ", and no other task ran" if len(self.tasks) > 1 else ""
            return f"{_shown(name)} held the loop {often}for {longest_s * 1000:.0f} ms{others}."
        steps = [end - begin for task in self.tasks for begin, end in task.steps]
        if not steps:
            return "No step of a loop was seen."
        longest_s = max(steps)
        return f"Nothing held the loop: the longest step took {max(longest_s * 1000, 1):.0f} ms."

    def svg(self, title: str, *, axis_s: float | None = None, name: str = "timeline") -> str:
        """The picture.

        Args:
            title: For those who do not see it; what it shows is said by the description.
            axis_s: Length of the time axis, where several pictures are to be compared. The run's own if None.
            name: Begins the ids in it, which have to be unique on the page.
        """
        axis_s = max(axis_s or 0.0, self.duration_s, 0.001)
        gap_s = axis_s / _WIDTH / 2
        while True:
            drawn = _Drawing(self, axis_s, gap_s).svg(title, name)
            if len(drawn.encode()) < _MOST_BYTES or gap_s > axis_s:
                return drawn
            gap_s *= 2

    def to_json(self) -> str:
        """As one line of text."""
        return json.dumps(_rounded(asdict(self)))

    @classmethod
    def from_json(cls, text: str) -> Timeline:
        """Read what `to_json` wrote.

        Raises:
            ValueError: It is something else.
        """
        try:
            data = cast("dict[str, Any]", json.loads(text))
            tasks = tuple(
                Task(task["name"], _spans(task["steps"]), _spans(task["stalls"]))
                for task in data.pop("tasks")
            )
            processes = tuple(
                Process(tuple(found.pop("argv")), output=tuple(found.pop("output")), **found)
                for found in data.pop("processes")
            )
            return cls(float(data.pop("duration_s")), tasks, processes, **data)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a timeline: {error!r}") from error


def _count(number: int, what: str) -> str:
    plural = what + ("es" if what.endswith("s") else "s")
    return f"{number} {what if number == 1 else plural}"


def _spans(found: Iterable[Sequence[float]]) -> tuple[Span, ...]:
    return tuple((begin, end) for begin, end in found)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in cast("list[Any]", value)]
    return value


# ---- the shape that a block asserts ---------------------------------------------------------------------

_FACTS = {
    "stall": re.compile(r"(?P<lane>.+) (?:stalls|stall)"),
    "processes": re.compile(r"(?P<number>\d+) process(?:es)?"),
    "at_once": re.compile(r"(?P<number>\d+) at once"),
    "tasks": re.compile(r"(?P<number>\d+) tasks?"),
}
_FORM = '"NAME stalls", "4 processes", "2 at once" or "3 tasks", joined by commas'


def wrong_shape(text: str) -> str:
    """What is wrong with a shape as it is written on a page; empty if nothing is."""
    for part in _parts(text):
        if not any(form.fullmatch(part) for form in _FACTS.values()):
            return f"{part!r} is not {_FORM}"
    return ""


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")] if text else []


def shape_faults(timeline: Timeline, text: str, *, must_stall: bool) -> tuple[list[str], list[str]]:
    """How a timeline differs from the shape that its block asserts.

    Args:
        timeline: What was recorded.
        text: The shape as it is written on the page; empty if the block only asks for the picture.
        must_stall: Whether the block promises to hold the loop in another way.

    Returns:
        What the block promised and did not do, and what it did and never said. The second makes the picture a wrong
        one, and not the block: on a busy machine anything can take 100 ms.
    """
    stalled = {name for name, _ in timeline.stalls}
    expected: set[str] = set()
    missing: list[str] = []
    counts = {
        "processes": len(timeline.processes),
        "at_once": timeline.at_once,
        "tasks": len(timeline.tasks),
    }
    for part in _parts(text):
        kind, match = next((k, m) for k, form in _FACTS.items() if (m := form.fullmatch(part)))
        if kind == "stall":
            expected.add(match["lane"])
        elif counts[kind] != int(match["number"]):
            missing.append(f"its timeline has {counts[kind]}, not {part}")
    missing += [
        f"{lane} did not hold the loop for {STALL_S * 1000:.0f} ms; {_who(stalled)} did"
        for lane in sorted(expected - stalled)
    ]
    if must_stall and not expected:
        return missing, [] if stalled else ["no step of it took 100 ms"]
    return missing, [f"{lane} held the loop" for lane in sorted(stalled - expected)]


def _who(names: set[str]) -> str:
    return " and ".join(sorted(names)) or "nobody"


# ---- the picture ----------------------------------------------------------------------------------------

_WIDTH, _PAD = 640.0, 4.0
_LABEL, _BAR, _GAP = 19, 12, 7
_ROW = _LABEL + _BAR + _GAP
_MOST_LANES = 14
_MOST_TICKS = 6
_MOST_BYTES = 8000
_MOST_CHARACTERS = 80


class _Drawing:
    """One SVG. What happens closer together than *gap_s* is drawn as one, which bounds its size."""

    def __init__(self, timeline: Timeline, axis_s: float, gap_s: float) -> None:
        self.timeline = timeline
        self.axis_s = axis_s
        self.gap_s = gap_s
        self.top = 4.0

    def svg(self, title: str, name: str) -> str:
        lanes = list(self.lanes())
        bottom = self.top + len(lanes) * _ROW
        height = bottom + 22
        stalls = [stall for task in self.timeline.tasks for stall in task.stalls]
        tall = bottom - self.top
        band = f'<path class="band" stroke-width="{tall:g}" d="{self.line(stalls, self.top + tall / 2)}"/>'
        return "".join(
            (
                f'<svg class="timeline" viewBox="0 0 {_WIDTH:g} {height:g}" role="img" ',
                f'aria-labelledby="{name}-title" aria-describedby="{name}-text" xmlns="http://www.w3.org/2000/svg">',
                f'<title id="{name}-title">{escape(_shown(title))}</title>',
                f'<desc id="{name}-text">{escape(self.timeline.summary())}</desc>',
                band if stalls else "",
                *self.axis(bottom),
                *lanes,
                "</svg>",
            )
        )

    def x(self, seconds: float) -> float:
        return _PAD + (_WIDTH - 2 * _PAD) * min(seconds, self.axis_s) / self.axis_s

    def axis(self, bottom: float) -> Iterator[str]:
        # 1, 2 or 5 of whatever power of ten leaves room for the words.
        power = 10 ** math.floor(math.log10(self.axis_s / _MOST_TICKS))
        step = next(step for n in (1, 2, 5, 10) if self.axis_s / (step := n * power) <= _MOST_TICKS)
        for number in range(int(self.axis_s / step + 1e-9) + 1):
            at, shown = self.x(number * step), f"{number * step:g} s"
            # At the ends the text would leave the picture.
            anchor = "start" if number == 0 else "end" if at > _WIDTH - 20 else "middle"
            yield f'<path class="tick" d="M{at:.1f} {self.top:g}V{bottom:g}"/>'
            yield f'<text class="axis" x="{at:.1f}" y="{bottom + 15:g}" text-anchor="{anchor}">{shown}</text>'

    def lanes(self) -> Iterator[str]:
        """One string each: tasks, then processes; of too many those that held the loop, and then the first."""
        tasks = list(enumerate(self.timeline.tasks))
        tasks.sort(key=lambda numbered: not numbered[1].stalls)
        room = max(_MOST_LANES - len(self.timeline.processes), _MOST_LANES // 2)
        shown = [task for _, task in sorted(tasks[:room], key=lambda numbered: numbered[0])]
        processes = self.timeline.processes[: _MOST_LANES - len(shown)]
        tops = (self.top + row * _ROW for row in itertools.count())
        for task in shown:
            yield "".join(self.task(task, next(tops)))
        for number, process in enumerate(processes, 1):
            yield "".join(self.process(process, number, next(tops)))
        hidden = len(self.timeline.tasks) + len(self.timeline.processes) - len(shown) - len(processes)
        if hidden:
            yield _text("label", _PAD, next(tops) + 14, f"and {hidden} more")

    def task(self, task: Task, y: float) -> Iterator[str]:
        held_s = max((end - begin for begin, end in task.stalls), default=0.0)
        held = f": held the loop for {held_s * 1000:.0f} ms" if held_s else ""
        yield _text("label", _PAD, y + 14, task.name + held)
        if task.steps:
            middle = y + _LABEL + _BAR / 2 - 1.5
            yield _rect("wait", self.x(task.steps[0][0]), middle, self.x(task.steps[-1][1]), 3)
        if task.steps:
            yield f'<path class="run" d="{self.line(task.steps, y + _LABEL + _BAR / 2, self.gap_s)}"/>'
        if task.stalls:
            yield f'<path class="stall" d="{self.line(task.stalls, y + _LABEL + _BAR / 2)}"/>'

    def process(self, process: Process, number: int, y: float) -> Iterator[str]:
        simulated = "simulated " if self.timeline.are_simulated else ""
        end = "its end was not seen" if process.returncode is None else f"exit code {process.returncode}"
        yield _text("label", _PAD, y + 14, f"{simulated}process {number}: {_program(process.argv)}, {end}")
        yield _rect("process", self.x(process.begin), y + _LABEL, self.x(process.end), _BAR)
        if process.output:
            marks = _merged([(at, at) for at in process.output], 4 * self.gap_s)
            path = "".join(f"M{self.x(at):.1f} {y + _LABEL + 2:g}v{_BAR - 4}" for at, _ in marks)
            yield f'<path class="mark" d="{path}"/>'

    def line(self, spans: Sequence[Span], y: float, gap_s: float | None = None) -> str:
        """A thick line with gaps: a third of the bytes of as many boxes.

        Stalls are joined much later than steps are: between two of them the loop was free.
        """
        path = ""
        for begin, end in _merged(spans, self.gap_s / 16 if gap_s is None else gap_s):
            left = self.x(begin)
            path += f"M{left:.1f} {y:g}h{max(self.x(end) - left, 1.2):.1f}"
        return path


def _merged(spans: Sequence[Span], gap_s: float) -> list[Span]:
    merged: list[Span] = []
    for begin, end in sorted(spans):
        if merged and begin - merged[-1][1] < gap_s:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def _rect(kind: str, left: float, top: float, right: float, height: float) -> str:
    width = max(right - left, 1.2)
    return f'<rect class="{kind}" x="{left:.1f}" y="{top:g}" width="{width:.1f}" height="{height:g}"/>'


def _text(kind: str, x: float, y: float, text: str) -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(_shown(text))}</text>'


def _shown(text: str) -> str:
    """What XML can hold, and not too long: names come from programs."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\ufffe\uffff]", "\N{REPLACEMENT CHARACTER}", text)
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"


def _program(argv: Sequence[str]) -> str:
    """The first words that tell what runs, without the folder and the version of an interpreter."""
    if not argv:
        return "?"
    name = re.split(r"[\\/]", argv[0])[-1].removesuffix(".exe")
    words = [re.sub(r"^python[\d.]*$", "python", name)]
    arguments = [word for word in argv[1:] if word not in ("-u", "-I", "-X", "utf8")]
    if arguments[:1] in (["-c"], ["/c"]):
        return f"{words[0]} {arguments[0]}"
    words += [re.split(r"[\\/]", word)[-1] for word in arguments[:1]]
    return " ".join(words)[:40]
