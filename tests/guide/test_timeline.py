"""The picture of a run, the sentence below it, and the shape that its block asserts."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import markdown
import pytest

from offloop.guide.fences import scan
from offloop.guide.pages import docs_folder, guide_pages, recording_name
from offloop.guide.timeline import Process, Task, Timeline, shape_faults, wrong_shape
from offloop.guide.timeline_figures import pages_without_recording

SVG = "{http://www.w3.org/2000/svg}"
STALLING = Timeline(
    0.6,
    (Task("main", ((0.0, 0.01), (0.1, 0.412)), ((0.1, 0.412),)), Task("tick", ((0.01, 0.02),))),
    (
        Process(("/usr/bin/python3.11", "-u", "-c", "print()"), 0.05, 0.3, 0, (0.1, 0.2)),
        Process(("sleep", "9"), 0.2, 0.6, None),
    ),
    "Linux, Python 3.11",
)
QUIET = Timeline(0.3, (Task("main", ((0.0, 0.004),)),), ())


def drawn(timeline: Timeline, **options: float) -> ElementTree.Element:
    return ElementTree.fromstring(timeline.svg("A <title>", axis_s=options.get("axis_s")))


def test_the_summary_says_what_the_picture_shows() -> None:
    """Counts, duration, and who held the loop for how long."""
    assert STALLING.summary() == (
        "2 tasks, 2 processes (2 at once), 0.60 s. main held the loop for 312 ms, and no other task ran."
    )
    assert QUIET.summary() == "1 task, 0.30 s. Nothing held the loop: the longest step took 4 ms."


def test_simulated_processes_are_called_so() -> None:
    """In the sentence and in each lane."""
    simulated = Timeline(0.1, (), STALLING.processes[:1], are_simulated=True)

    assert "1 simulated process" in simulated.summary()
    assert "simulated process 1: python -c, exit code 0" in simulated.svg("t")


def test_a_timeline_survives_json() -> None:
    """Written and read, it draws the same."""
    again = Timeline.from_json(STALLING.to_json())

    assert again == STALLING
    assert again.svg("t") == STALLING.svg("t")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"tasks": [1]}', '{"tasks": [], "processes": [], "duration_s": "x"}', "\x00"]
)
def test_what_is_no_timeline_is_refused(text: str) -> None:
    """With a ValueError, whatever it is."""
    with pytest.raises(ValueError, match=r".+"):
        Timeline.from_json(text)


def test_the_picture_is_accessible() -> None:
    """It is one image, with a name and a description, and its text is escaped."""
    svg = drawn(STALLING)

    title, description = svg.find(f"{SVG}title"), svg.find(f"{SVG}desc")
    assert svg.get("role") == "img"
    assert title is not None
    assert title.text == "A <title>"
    assert description is not None
    assert description.text == STALLING.summary()
    assert (svg.get("aria-labelledby"), svg.get("aria-describedby")) == (
        title.get("id"),
        description.get("id"),
    )


def test_each_task_and_each_process_has_a_lane() -> None:
    """With what it is, how it ended, and marks where output arrived; a stall is not told by colour alone."""
    labels = [text.text for text in drawn(STALLING).iter(f"{SVG}text") if text.get("class") == "label"]

    assert labels == [
        "main: held the loop for 312 ms",
        "tick",
        "process 1: python -c, exit code 0",
        "process 2: sleep 9, its end was not seen",
    ]
    (marks,) = [
        path.get("d", "") for path in drawn(STALLING).iter(f"{SVG}path") if path.get("class") == "mark"
    ]
    assert marks.count("M") == 2


def test_a_common_axis_makes_pictures_comparable() -> None:
    """The same moment is at the same place."""
    quiet, stalling = drawn(QUIET, axis_s=0.6), drawn(STALLING)

    def ticks(svg: ElementTree.Element) -> list[tuple[str | None, str | None]]:
        return [(t.get("x"), t.text) for t in svg.iter(f"{SVG}text") if t.get("class") == "axis"]

    assert ticks(quiet) == ticks(stalling)


def test_a_long_run_stays_small() -> None:
    """Under 8 kB, with 40 tasks of 2,000 steps each."""
    steps = tuple((n / 200, n / 200 + 0.001) for n in range(2000))
    busy = Timeline(10.0, tuple(Task(f"task {n}", steps) for n in range(40)), ())

    assert len(busy.svg("t").encode()) < 8000
    assert "and 26 more" in busy.svg("t")


def test_many_stalls_stay_many() -> None:
    """Between two of them the loop was free, and the picture says so, also with much else to draw."""
    stalls = tuple((n / 2, n / 2 + 0.15) for n in range(100))
    steps = tuple((n / 200, n / 200 + 0.001) for n in range(10_000))
    timeline = Timeline(50.0, (Task("main", stalls, stalls), *(Task(f"t{n}", steps) for n in range(12))), ())

    drawn_ = timeline.svg("t")
    (line,) = (
        path.get("d", "")
        for path in ElementTree.fromstring(drawn_).iter(f"{SVG}path")
        if path.get("class") == "stall"
    )
    assert line.count("M") == 100
    assert len(drawn_.encode()) < 8000


@pytest.mark.parametrize("duration_s", [0.0, 0.003, 7200.0, 36_000.0])
def test_an_axis_has_room_for_its_words(duration_s: float) -> None:
    """However short or long the run."""
    ticks = [t.text for t in drawn(Timeline(duration_s, (), ())).iter(f"{SVG}text")]

    assert 2 <= len(ticks) <= 7


def test_names_from_programs_are_made_harmless() -> None:
    """Control characters, undecodable bytes, and very long ones."""
    names = ("\x1b[31mred\x00", "\udcff", "語" * 5000)
    timeline = Timeline(1.0, tuple(Task(name, ((0.0, 0.2),), ((0.0, 0.2),)) for name in names), ())

    svg = timeline.svg("t")
    assert ElementTree.fromstring(svg) is not None
    assert len(svg.encode()) < 8000
    assert Timeline.from_json(timeline.to_json()) == timeline


def test_without_a_loop_nothing_is_said_of_one() -> None:
    """No step is invented."""
    assert Timeline(0.1, (), ()).summary() == "0 tasks, 0.10 s. No step of a loop was seen."


def test_of_too_many_tasks_the_one_that_held_the_loop_is_shown() -> None:
    """Also when it was the last."""
    tasks = (
        *(Task(f"task {n}", ((0.0, 0.01),)) for n in range(40)),
        Task("culprit", ((0.1, 0.3),), ((0.1, 0.3),)),
    )

    assert "culprit: held" in Timeline(0.4, tasks, ()).svg("t")


@pytest.mark.parametrize(
    ("shape", "must_stall", "missing", "unsaid"),
    [
        ("main stalls, 2 processes, 2 at once, 2 tasks", False, 0, 0),
        ("", True, 0, 0),
        ("", False, 0, 1),
        ("tick stalls", False, 1, 1),
        ("main stalls, 3 processes", False, 1, 0),
        ("main stalls, 1 at once, 4 tasks", False, 2, 0),
    ],
)
def test_a_shape_is_compared_with_the_run(shape: str, must_stall: bool, missing: int, unsaid: int) -> None:
    """What the block promised and did not do, and what it did and never said."""
    found = shape_faults(STALLING, shape, must_stall=must_stall)

    assert tuple(map(len, found)) == (missing, unsaid), found


def test_a_block_that_should_stall_and_did_not_has_no_picture() -> None:
    """Its own contract fails it, by a finer measure."""
    assert shape_faults(QUIET, "", must_stall=True) == ([], ["no step of it took 100 ms"])


@pytest.mark.parametrize("text", ["two processes", "stalls", "main stalls; 2 at once", "main stalls,"])
def test_a_shape_that_is_none_is_a_fault_of_the_page(text: str) -> None:
    """The fence names it, and says what may be written."""
    fences, _ = scan(f'```python {{ data-timeline="{text}" }}\npass\n```\n')

    assert wrong_shape(text)
    assert any("joined by commas" in fault for fault in fences[0].faults)


@pytest.mark.parametrize(
    "fence",
    [
        '```console { data-timeline }\n$ python -c "0"\n```',
        '```python { title="a.py" data-timeline }\npass\n```',
        '```python { data-timeline data-backend="asyncio" }\nawait f()\n```',
        '```python { data-timeline data-hangs="1" }\npass\n```',
    ],
)
def test_a_timeline_of_what_cannot_be_recorded_is_a_fault(fence: str) -> None:
    """Not silently left out."""
    fences, _ = scan(fence + "\n")

    assert any("data-timeline" in fault for fault in fences[0].faults)


PAGE = """\
```python { title="work.py" }
x = 1
```

1. In a list:

    ```python { #proof-it data-timeline }
    import work
    ```

    ```text { .output }
    shown
    ```

    Below.
"""


def render(page: str, folder: Path) -> str:
    extensions = ["attr_list", "pymdownx.superfences", "offloop.guide.timeline_figures"]
    settings = {"offloop.guide.timeline_figures": {"folder": str(folder)}}
    return markdown.markdown(page, extensions=extensions, extension_configs=settings)


def test_the_picture_stands_below_the_output(tmp_path: Path) -> None:
    """Inside of a list, too, with its sentence and where it was recorded."""
    fences, _ = scan(PAGE)
    tmp_path.joinpath(recording_name(fences, fences[1])).write_text(STALLING.to_json(), "utf-8")

    html = render(PAGE, tmp_path)

    assert html.index("shown") < html.index('<figure class="timeline-figure"><svg') < html.index("Below.")
    assert html.index("<li>") < html.index("<figure") < html.index("</li>")
    assert "<p><figure" not in html
    assert "Recorded on Linux, Python 3.11." in html


def test_a_picture_of_another_text_is_not_shown(tmp_path: Path) -> None:
    """Neither after a change of the block, nor of a file that it can import."""
    fences, _ = scan(PAGE)
    tmp_path.joinpath(recording_name(fences, fences[1])).write_text(STALLING.to_json(), "utf-8")

    assert "<figure" not in render(PAGE.replace("x = 1", "x = 2"), tmp_path)
    assert "<figure" not in render(PAGE.replace("import work", "import work as w"), tmp_path)
    assert "<figure" not in render(PAGE, tmp_path / "none")


def test_a_broken_recording_is_named(tmp_path: Path) -> None:
    """With its file and the way out."""
    fences, _ = scan(PAGE)
    name = recording_name(fences, fences[1])
    tmp_path.joinpath(name).write_text("half of i", "utf-8")

    with pytest.raises(ValueError, match=rf"{name}.*Delete it"):
        render(PAGE, tmp_path)


def test_pages_without_a_recording_are_found(tmp_path: Path) -> None:
    """In an empty folder: all that want a picture."""
    wanted = {page.path for page in guide_pages() if any(fence.shape is not None for fence in page.fences)}

    assert set(pages_without_recording(tmp_path)) == wanted


def pages_that_need_a_picture() -> list[Path]:
    stalling = [
        path
        for path in (docs_folder() / "anti-patterns").glob("*.md")
        if "**Kind** stalls the loop" in path.read_text("utf-8")
    ]
    return sorted((*stalling, *(docs_folder() / "patterns").glob("*.md")))


@pytest.mark.parametrize("path", pages_that_need_a_picture(), ids=lambda path: path.stem)
def test_every_pattern_and_every_stall_is_drawn(path: Path) -> None:
    """A pattern has at least one picture; a page about a held loop a pair, one of them with a stall."""
    page = next(page for page in guide_pages() if page.path == path)
    shapes = [fence.shape for fence in page.fences if fence.shape is not None]

    assert shapes
    if path.parent.name == "anti-patterns":
        assert len(shapes) >= 2
        assert 1 <= sum("stalls" in shape for shape in shapes) < len(shapes)
