"""A Python-Markdown extension: below each block with `data-timeline`, the picture of what it did when it last ran.

`pytest --timelines FOLDER` writes what the blocks did. A block that was changed since, in itself or in the files that
it imports, has no picture until it has run again. All pictures of one page have the same time axis, so that a bad and
a good listing can be compared by eye.

`python -m offloop.guide.timeline_figures FOLDER` prints the pages with a block that has no recording in the folder.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor

from offloop.guide.fences import Fence, scan
from offloop.guide.pages import guide_pages, recording_name
from offloop.guide.timeline import Timeline

__all__ = ("figure", "makeExtension", "pages_without_recording")

# After snippets are in place and before fences become HTML; before the evidence, which then stands nearer to its block.
_BEFORE_THE_EVIDENCE = 29


def _recordings(folder: Path, fences: Sequence[Fence]) -> Mapping[int, Timeline]:
    """The timelines there are, by the line of their block."""
    found: dict[int, Timeline] = {}
    for fence in fences:
        file = folder / recording_name(fences, fence)
        if fence.shape is not None and file.is_file():
            try:
                found[fence.line] = Timeline.from_json(file.read_text("utf-8"))
            except ValueError as error:
                raise ValueError(
                    f"{file}: {error}. Delete it: the next run of its block writes it."
                ) from error
    return found


def figure(timeline: Timeline, fence: Fence, *, axis_s: float) -> str:
    """The HTML of one picture: the SVG, and the same as a sentence."""
    name = f"timeline-{fence.id or fence.line}"
    words = (fence.id or "").removeprefix("proof-").replace("-", " ")
    title = f"Timeline: {words}" if words else "Timeline of this block"
    drawn = timeline.svg(title, axis_s=axis_s, name=name)
    where = f" <span>Recorded on {escape(timeline.where)}.</span>" if timeline.where else ""
    return (
        f'<figure class="timeline-figure">{drawn}'
        f"<figcaption>{escape(timeline.summary())}{where}</figcaption></figure>"
    )


class _AddFigures(Preprocessor):
    def __init__(self, md: markdown.Markdown, folder: Path) -> None:
        super().__init__(md)
        self._folder = folder

    def run(self, lines: list[str]) -> list[str]:
        fences, _ = scan("\n".join(lines))
        recordings = _recordings(self._folder, fences)
        axis_s = max((timeline.duration_s for timeline in recordings.values()), default=0.0)
        below = {
            _last_line(fences, fence): (fence, recordings[fence.line])
            for fence in fences
            if fence.line in recordings
        }
        result: list[str] = []
        for number, line in enumerate(lines, 1):
            result.append(line)
            if number in below:
                fence, timeline = below[number]
                # A place that becomes the HTML in the end: Markdown does not see HTML inside of a list.
                place: str = self.md.htmlStash.store(figure(timeline, fence, axis_s=axis_s))
                result += ["", fence.prefix + place, ""]
        return result


def _last_line(fences: Sequence[Fence], fence: Fence) -> int:
    """The end of the block, or of the output that is shown below it."""
    following = fences[fences.index(fence) + 1 :][:1]
    return following[0].end if following and "output" in following[0].classes else fence.end


class _FiguresExtension(Extension):
    def __init__(self, **settings: Any) -> None:
        self.config = {"folder": [".timelines", "Where pytest --timelines has put them"]}
        super().__init__(**settings)

    def extendMarkdown(self, md: markdown.Markdown) -> None:
        md.preprocessors.register(
            _AddFigures(md, Path(str(self.getConfig("folder")))), "timeline_figures", _BEFORE_THE_EVIDENCE
        )


def makeExtension(**settings: Any) -> Extension:
    """Called by Python-Markdown, by this name."""
    return _FiguresExtension(**settings)


def pages_without_recording(folder: Path) -> Iterator[Path]:
    """The pages with a block that can run here, wants a picture, and has none of this text."""
    for page in guide_pages():
        wanted = [
            fence
            for fence in page.fences
            if fence.shape is not None and (not fence.platforms or sys.platform in fence.platforms)
        ]
        if len(_recordings(folder, page.fences)) < len(wanted):
            yield page.path


if __name__ == "__main__":
    print(*pages_without_recording(Path(sys.argv[1])), sep="\n")
