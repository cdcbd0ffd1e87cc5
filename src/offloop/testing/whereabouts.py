"""Where a block is at this moment: what each of its threads does and what each task of its loop waits for."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import types
from collections.abc import Iterable, Iterator, Set
from typing import Any

__all__ = ("whereabouts",)

_MOST_FRAMES = 12
_MOST_LINES = 20
# What asyncio makes of `async for` and of `await` on an object: they do not say what they wait for.
_WRAPPERS = frozenset(
    {"async_generator_asend", "async_generator_athrow", "anext_awaitable", "coroutine_wrapper"}
)

# What has a frame of its own, and by which names it gives the frame and what it waits for.
_SUSPENDED: tuple[tuple[type, str, str], ...] = (
    (types.CoroutineType, "cr_frame", "cr_await"),
    (types.AsyncGeneratorType, "ag_frame", "ag_await"),
    (types.GeneratorType, "gi_frame", "gi_yieldfrom"),
)


def whereabouts(not_threads: Set[threading.Thread] = frozenset()) -> list[str]:
    """A line for each thread and each task, the innermost place first: `name: file.py:7 in function, ...`.

    Tasks are those of the asyncio loop that runs in this thread; trio's are not seen. They are where their awaits lead to,
    down to the future that is not done. *not_threads* are left out, all but this thread. Of many threads or tasks the first
    come, and the number of the others. From a signal handler it describes what was interrupted.
    """
    loop = asyncio._get_running_loop()
    tasks: set[asyncio.Task[Any]] = asyncio.all_tasks(loop) if loop is not None else set()
    return [
        *_first(_threads(not_threads)),
        *_first(sorted(f"task {task.get_name()}: {_joined(_awaits(task))}" for task in tasks)),
    ]


def _first(lines: list[str]) -> list[str]:
    left_out = len(lines) - _MOST_LINES
    return lines if left_out <= 0 else [*lines[:_MOST_LINES], f"and {left_out} more"]


def _threads(left_out: Set[threading.Thread]) -> list[str]:
    here = threading.current_thread()
    frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage] - public for all its name
    try:
        return [
            f"thread {thread.name}: {_joined(_stack(frames[thread.ident]))}"
            for thread in threading.enumerate()
            if thread.ident in frames and (thread is here or thread not in left_out)
        ]
    finally:
        frames.clear()  # it holds the frame of this call, which holds it, and with it all that any thread has


def _joined(places: Iterable[str]) -> str:
    return ", ".join(places)


def _place(code: types.CodeType, line: int | None) -> str:
    file = code.co_filename.replace("\\", "/").rpartition("/")[2]
    return f"{file}:{line} in {code.co_qualname}"


def _stack(frame: types.FrameType | None) -> Iterator[str]:
    shown = 0
    while frame is not None and shown < _MOST_FRAMES:
        # The runner's own say nothing of what was interrupted.
        if not str(frame.f_globals.get("__name__")).startswith("offloop.testing."):
            shown += 1
            yield _place(frame.f_code, frame.f_lineno)
        frame = frame.f_back


def _awaits(task: asyncio.Task[object]) -> list[str]:
    """From the future that the task waits for out to its first coroutine."""
    places: list[str] = []
    waits_for: object = task.get_coro()
    while waits_for is not None:
        frame, inner = _step(waits_for)
        if frame is not None:
            places.append(_place(frame.f_code, frame.f_lineno))
        elif not isinstance(waits_for, types.CoroutineType) and not _is_wrapper(waits_for):
            places.append(type(waits_for).__name__)
        waits_for = inner
    return places[::-1][:_MOST_FRAMES]


def _step(waiting: object) -> tuple[types.FrameType | None, object]:
    """The frame of what is awaited, and what it awaits itself."""
    for kind, frame, awaits in _SUSPENDED:
        if isinstance(waiting, kind):
            return getattr(waiting, frame), getattr(waiting, awaits)
    inside: Iterable[object] = gc.get_referents(waiting) if _is_wrapper(waiting) else ()
    kinds = tuple(kind for kind, _, _ in _SUSPENDED)
    return None, next((each for each in inside if isinstance(each, kinds) or _is_wrapper(each)), None)


def _is_wrapper(waiting: object) -> bool:
    return type(waiting).__name__ in _WRAPPERS
