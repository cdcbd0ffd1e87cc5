"""Follow a process by the subprocess protocol of its loop: on Windows, where pipes are no descriptors.

The protocol hears of the exit when it happens, not when the pipes end, and has no limit for lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from typing import cast

from offloop import process_tree
from offloop.engines.child import Child, given_up
from offloop.errors import OffloopError
from offloop.loops import Latch

__all__ = ("ProtocolChild",)

_LAST_WORDS_WITHIN_S = 0.25
_LAST_WORDS_BYTES = 1024 * 1024


class ProtocolChild(Child):
    """A child that is followed by a subprocess transport."""

    _starting: asyncio.Task[None] | None = None
    _transport: asyncio.SubprocessTransport | None = None
    _open_pipes: frozenset[int] = frozenset()
    _still_takes_bytes = 0
    _stdin_is_full = False
    _waiting_writers: tuple[Latch, ...] = ()

    # --- start -----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        self._starting = self.loop.create_task(self._start())

    async def _start(self) -> None:
        # Not the task of the caller: a start must not be cancelled between the birth and the job.
        command = self.command
        try:
            if self._abandoned:
                raise given_up()
            options = process_tree.prepare_start(leash=command.leash, detach=False)
            transport, _ = await self.loop.subprocess_exec(
                lambda: _Protocol(self),
                *command.argv,
                stdin=subprocess.DEVNULL if command.stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=command.cwd,
                env=command.env,
                creationflags=options.creationflags,
            )
            self._own(transport)
        except OffloopError as error:
            self.failed(error)
        except OSError as error:
            explained = process_tree.explain_start_error(
                error, command.argv, cwd=command.cwd, env=command.env
            )
            explained.__cause__ = error
            self.failed(explained)
        except asyncio.CancelledError:
            # The loop is being torn down; the transport has killed the process, which was suspended still.
            self.failed(
                OffloopError("The event loop ended during the start.", "Close the wrapper before the loop.")
            )
            raise
        except Exception as error:
            refused = OffloopError(f"The loop refused {command.argv!r}: {error!r}.", "Check the arguments.")
            refused.__cause__ = error
            self.failed(refused)

    def _own(self, transport: asyncio.SubprocessTransport) -> None:
        popen = cast("subprocess.Popen[bytes]", transport.get_extra_info("subprocess"))
        try:
            tree = process_tree.adopt(popen, leash=self.command.leash, detach=False)
        except BaseException:
            transport.close()
            raise
        self._transport = transport
        self._open_pipes = frozenset((1, 2))
        self.born(tree)
        if isinstance(self.command.stdin, bytes):
            self._write_stdin(self.command.stdin, Latch())
            self._close_stdin()

    def settle(self) -> None:
        if self.tree is None and self._starting is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._starting.cancel()

    # --- output ----------------------------------------------------------------------------------------------------

    def received(self, number: int, data: bytes) -> None:
        stream = self.stdout if number == 1 else self.stderr
        self._still_takes_bytes -= len(data)
        if self.output(stream, data) and self._still_takes_bytes <= 0:
            pipe = self._pipe(number)
            if isinstance(pipe, asyncio.ReadTransport):
                pipe.pause_reading()

    def resume_pipe(self, number: int) -> None:
        pipe = self._pipe(number)
        if isinstance(pipe, asyncio.ReadTransport) and not pipe.is_closing():
            pipe.resume_reading()

    def pipe_lost(self, number: int) -> None:
        if number == 0:
            self._stdin_is_full = False
            self._wake_writers()
            return
        if number in self._open_pipes:
            self._open_pipes -= {number}
            (self.stdout if number == 1 else self.stderr).end(complete=True)
            self.pipe_ended()

    def has_open_pipes(self) -> bool:
        return bool(self._open_pipes)

    def drain_is_over(self) -> None:
        """Take what a slow reader has left in the pipes: it arrives in later iterations of the loop.

        The kill comes after it: the end of a pipe that comes from the kill is not the end of the output.
        """
        self._still_takes_bytes = _LAST_WORDS_BYTES
        for number in self._open_pipes:
            self.resume_pipe(number)
        self._drain = self.loop.call_later(_LAST_WORDS_WITHIN_S, self.finish)

    def release(self) -> None:
        self._open_pipes = frozenset()
        if self._transport is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._transport.close()
        self._wake_writers()

    def _pipe(self, number: int) -> asyncio.BaseTransport | None:
        return self._transport.get_pipe_transport(number) if self._transport is not None else None

    # --- stdin -----------------------------------------------------------------------------------------------------

    def write_stdin(self, data: bytes) -> Latch:
        taken = Latch()
        self.post(lambda: self._write_stdin(data, taken))
        return taken

    def _write_stdin(self, data: bytes, taken: Latch) -> None:
        pipe = self._pipe(0)
        if isinstance(pipe, asyncio.WriteTransport) and not pipe.is_closing():
            pipe.write(data)
        if self._stdin_is_full:
            self._waiting_writers += (taken,)
        else:
            taken.set()

    def stdin_is_full(self, is_full: bool) -> None:
        self._stdin_is_full = is_full
        if not is_full:
            self._wake_writers()

    def _wake_writers(self) -> None:
        writers, self._waiting_writers = self._waiting_writers, ()
        for taken in writers:
            taken.set()

    def close_stdin(self) -> None:
        self.post(self._close_stdin)

    def _close_stdin(self) -> None:
        pipe = self._pipe(0)
        if pipe is not None:
            pipe.close()  # writes what is buffered first

    @property
    def reads_stdin(self) -> bool:
        pipe = self._pipe(0)
        return pipe is not None and not pipe.is_closing()


class _Protocol(asyncio.SubprocessProtocol):
    """Hands on to the child what the transport says."""

    def __init__(self, child: ProtocolChild) -> None:
        self._child = child
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._child.received(fd, data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._child.pipe_lost(fd)

    def process_exited(self) -> None:
        returncode = self._transport.get_returncode() if self._transport is not None else None
        if returncode is not None:
            self._child.root_exited(returncode)

    def pause_writing(self) -> None:
        self._child.stdin_is_full(True)

    def resume_writing(self) -> None:
        self._child.stdin_is_full(False)
