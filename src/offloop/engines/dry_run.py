"""DRY_RUN mode: the command is logged and recorded, and nothing is started."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from offloop import events
from offloop.engines import Command
from offloop.engines.child import Child
from offloop.loops import Latch

__all__ = ("DryRunEngine",)


class DryRunEngine:
    """Records commands. *planned* is filled, oldest first."""

    def __init__(self, planned: list[tuple[str, ...]]) -> None:
        self._planned = planned

    def start(
        self,
        command: Command,
        *,
        run_soon: Callable[[Callable[[], None]], bool],
        on_ended: Callable[[], None],
    ) -> Child:
        self._planned.append(command.argv)
        events.note(logging.INFO, "offloop: %s", _one_line(command.argv))
        child = _PlannedChild(command, run_soon=run_soon, on_ended=on_ended)
        child.begin()
        return child

    def begin_close(self, grace_s: float) -> Latch:
        closed = Latch()
        closed.set()
        return closed

    def close_now(self) -> None:
        pass


def _one_line(argv: tuple[str, ...]) -> str:
    import shlex  # it loads shutil, and that three compressors

    return "DRY_RUN: " + shlex.join(argv).replace("\r", "\\r").replace("\n", "\\n")


class _NoLoop(asyncio.AbstractEventLoop):
    """Stands for the loop of a child that no loop follows."""

    def call_soon_threadsafe(self, *args: object, **kwargs: object) -> asyncio.Handle:
        raise RuntimeError("no loop")


class _PlannedChild(Child):
    """Has ended with code 0 and one line of output as soon as it began."""

    def __init__(
        self,
        command: Command,
        *,
        run_soon: Callable[[Callable[[], None]], bool],
        on_ended: Callable[[], None],
    ) -> None:
        super().__init__(command, loop=_NoLoop(), run_soon=run_soon, on_ended=on_ended)

    def begin(self) -> None:
        self._emit(events.Started)
        if not self.command.detach:
            self.output(self.stdout, f"{_one_line(self.command.argv)}\n".encode())
        for stream in (self.stdout, self.stderr):
            stream.end(complete=True)
        self.root_exited(0)

    def settle(self) -> None:
        pass

    def resume_pipe(self, number: int) -> None:
        pass

    def has_open_pipes(self) -> bool:
        return False

    def release(self) -> None:
        pass

    def write_stdin(self, data: bytes) -> Latch:
        taken = Latch()
        taken.set()
        return taken

    def close_stdin(self) -> None:
        pass

    @property
    def reads_stdin(self) -> bool:
        return True
