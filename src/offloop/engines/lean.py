"""Follow a process by descriptors: pipes of our own, raw reads when they are ready, a pidfd for the exit.

No transports, protocols or StreamReaders of asyncio: about half of the CPU of a spawn, a fifth of the memory of an
idle child, and ``wait()`` does not depend on pipes. Of the loop it uses only the public ``add_reader()``, so it runs on
every selector loop and on uvloop.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from offloop import process_tree
from offloop.engines import Command
from offloop.engines.child import Child, given_up, start_thread
from offloop.errors import OffloopError
from offloop.loops import Latch, Watcher
from offloop.output import Stream
from offloop.process_tree import ProcessTree

__all__ = ("LeanChild", "Spawner")

# The size of a pipe. A larger buffer is not filled, and would be mapped anew for every read.
_READ_BYTES = 64 * 1024
# A pipe holds at most 1 MiB (fs.pipe-max-size) unless somebody is writing still.
_LAST_READ_BYTES = 1024 * 1024
_LOOK_IF_CLOSED_S = 0.5


class _Newborn(NamedTuple):
    tree: ProcessTree
    stdin: int | None
    stdout: int | None
    stderr: int | None

    def end(self) -> None:
        """Of one that came when nobody waited for it any more."""
        for fd in (self.stdin, self.stdout, self.stderr):
            if fd is not None:
                os.close(fd)
        self.tree.kill()
        self.tree.close()


class Spawner(Protocol):
    """A thread that starts processes."""

    def spawn(self, child: LeanChild, /) -> None:
        """Call ``child.spawn()`` there and ``child.settle()`` on the thread of the loop."""
        ...


class LeanChild(Child):
    """A child that is followed by descriptors."""

    spawner: Spawner | None = None
    """Starts the process in another thread; None: it is started in place."""

    _newborn: _Newborn | OffloopError | None = None
    _outlets: tuple[_Outlet, ...] = ()
    _inlet: _Inlet | None = None
    _watched: int | None = None

    def __init__(
        self,
        command: Command,
        *,
        loop: asyncio.AbstractEventLoop,
        watcher: Watcher,
        run_soon: Callable[[Callable[[], None]], bool],
        on_ended: Callable[[], None],
    ) -> None:
        """*watcher* calls back on the thread of *loop*; for the rest see ``Child``."""
        super().__init__(command, loop=loop, run_soon=run_soon, on_ended=on_ended)
        self.watcher = watcher

    def begin(self) -> None:
        if self.spawner is not None:
            self.spawner.spawn(self)
        else:
            self.spawn()
            self.settle()

    def spawn(self) -> None:
        """Start the process, in whatever thread; ``settle()`` follows on that of the loop."""
        if self._abandoned:
            self._newborn = given_up()
        else:
            self._newborn = _start_or_error(self.command)

    def settle(self) -> None:
        newborn, self._newborn = self._newborn, None
        if isinstance(newborn, OffloopError):
            self.failed(newborn)
        elif newborn is not None and self._is_finished:
            newborn.end()
        elif newborn is not None:
            self._attach(newborn)

    def _attach(self, newborn: _Newborn) -> None:
        self._outlets = tuple(
            _Outlet(self, fd, stream)
            for fd, stream in ((newborn.stdout, self.stdout), (newborn.stderr, self.stderr))
            if fd is not None
        )
        if newborn.stdin is not None:
            self._inlet = _Inlet(self.watcher, newborn.stdin)
        self.born(newborn.tree)
        for stream in (self.stdout, self.stderr):
            if not self._outlets:
                stream.end(complete=True)
        if self.loop.is_closed():
            return  # only end_now() comes here
        for outlet in self._outlets:
            outlet.resume()
        if isinstance(self.command.stdin, bytes) and self._inlet is not None:
            self._inlet.write(self.command.stdin)
            self._inlet.close_when_written()
        self._watch_for_exit(newborn.tree)

    def _watch_for_exit(self, tree: ProcessTree) -> None:
        if tree.exit_fd is not None:
            self._watched = tree.exit_fd
            self.watcher.add_reader(tree.exit_fd, self._look_for_exit)
        else:
            start_thread(f"offloop-wait-{tree.pid}", lambda: self._wait_in_thread(tree))

    def _look_for_exit(self) -> None:
        returncode = self.tree.exit_code() if self.tree is not None else None
        if returncode is not None:
            self._stop_watching()
            self.root_exited(returncode)

    def _wait_in_thread(self, tree: ProcessTree) -> None:
        # A detached one may outlive the wrapper, and then this thread must end.
        while not self._is_finished:
            returncode = tree.wait(_LOOK_IF_CLOSED_S if self.command.detach else None)
            if returncode is not None:
                self.post(lambda returncode=returncode: self.root_exited(returncode))
                return

    def _stop_watching(self) -> None:
        if self._watched is not None:
            _unwatch(self.watcher.remove_reader, self._watched)
            self._watched = None

    def resume_pipe(self, number: int) -> None:
        if self._outlets:
            self._outlets[number - 1].resume()

    def has_open_pipes(self) -> bool:
        for outlet in self._outlets:
            if outlet.fd is not None:
                return True
        return False

    def drain_is_over(self) -> None:
        # Before the kill: the end of a pipe that comes from the kill is not the end of the output.
        for outlet in self._outlets:
            outlet.take_rest_and_close()
        self.finish()

    def release(self) -> None:
        for outlet in self._outlets:
            outlet.take_rest_and_close()
        if self._inlet is not None:
            self._inlet.close()
        self._stop_watching()

    def write_stdin(self, data: bytes) -> Latch:
        taken = Latch()
        self.post(lambda: self._write_stdin(data, taken))
        return taken

    def _write_stdin(self, data: bytes, taken: Latch) -> None:
        if self._inlet is None:
            taken.set()
        else:
            self._inlet.write(data, taken)

    def close_stdin(self) -> None:
        if self._inlet is not None:
            self.post(self._inlet.close_when_written)

    @property
    def reads_stdin(self) -> bool:
        return self._inlet is not None and self._inlet.fd is not None


class _Outlet:
    """Our end of the pipe that the child writes to."""

    __slots__ = ("_child", "_is_watched", "_stream", "fd")

    def __init__(self, child: LeanChild, fd: int, stream: Stream) -> None:
        self._child = child
        self._stream = stream
        self._is_watched = False
        self.fd: int | None = fd

    def resume(self) -> None:
        if self.fd is not None and not self._is_watched:
            self._is_watched = True
            self._child.watcher.add_reader(self.fd, self._readable)

    def _pause(self) -> None:
        if self.fd is not None and self._is_watched:
            self._is_watched = False
            _unwatch(self._child.watcher.remove_reader, self.fd)

    def _readable(self) -> None:
        data = self._read()
        if data is None:
            return
        if not data:
            self._close(complete=True)
            self._child.pipe_ended()
        elif self._child.output(self._stream, data):
            self._pause()

    def _read(self) -> bytes | None:
        """What there is; ``b""`` at the end; None for nothing now."""
        if self.fd is None:
            return b""
        try:
            return os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def take_rest_and_close(self) -> None:
        """Read what is in the pipe, without waiting for what may still be written."""
        taken = 0
        while self.fd is not None:
            data = self._read()
            if data:
                self._child.output(self._stream, data)
                taken += len(data)
            if not data or taken > _LAST_READ_BYTES:
                self._close(complete=data == b"")

    def _close(self, *, complete: bool) -> None:
        self._pause()
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
        self._stream.end(complete=complete)


class _Inlet:
    """Our end of the pipe that the child reads from."""

    __slots__ = ("_is_closing", "_is_watched", "_waiting", "_watcher", "fd")

    def __init__(self, watcher: Watcher, fd: int) -> None:
        self._watcher = watcher
        self._waiting: deque[tuple[memoryview, Latch | None]] = deque()
        self._is_watched = False
        self._is_closing = False
        self.fd: int | None = fd

    def write(self, data: bytes, taken: Latch | None = None) -> None:
        """Write as the child reads. *taken* is set when the last byte is in the pipe, or never will be."""
        self._waiting.append((memoryview(data), taken))
        self._write_on()

    def close_when_written(self) -> None:
        self._is_closing = True
        self._write_on()

    def _write_on(self) -> None:
        while self._waiting and self.fd is not None:
            data, taken = self._waiting[0]
            try:
                written = os.write(self.fd, data)
            except BlockingIOError:
                self._watch()
                return
            except OSError:  # the child reads no more, which is its right
                self.close()
                return
            if written < len(data):
                self._waiting[0] = (data[written:], taken)
            else:
                self._waiting.popleft()
                if taken is not None:
                    taken.set()
        self._unwatch()
        if self._is_closing or self.fd is None:
            self.close()

    def _watch(self) -> None:
        if self.fd is not None and not self._is_watched:
            self._is_watched = True
            self._watcher.add_writer(self.fd, self._write_on)

    def _unwatch(self) -> None:
        if self.fd is not None and self._is_watched:
            self._is_watched = False
            _unwatch(self._watcher.remove_writer, self.fd)

    def close(self) -> None:
        self._unwatch()
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
        while self._waiting:
            _, taken = self._waiting.popleft()
            if taken is not None:
                taken.set()


def _unwatch(remove: Callable[[int], object], fd: int) -> None:
    try:
        remove(fd)
    except RuntimeError:
        pass  # a closed loop has forgotten it already


def _start_or_error(command: Command) -> _Newborn | OffloopError:
    try:
        return _start(command)
    except OffloopError as error:
        return error
    except OSError as error:
        explained = process_tree.explain_start_error(error, command.argv, cwd=command.cwd, env=command.env)
        explained.__cause__ = error
        return explained
    except Exception as error:
        # What is left are values that Popen refuses and that the checks of the wrapper let through.
        refused = OffloopError(f"Popen refused {command.argv!r}: {error!r}.", "Check the arguments.")
        refused.__cause__ = error
        return refused


def _start(command: Command) -> _Newborn:
    theirs: list[int] = []
    ours: list[int] = []

    def pipe(*, to_child: bool) -> tuple[int, int]:
        reads, writes = os.pipe()  # close-on-exec
        their_end, our_end = (reads, writes) if to_child else (writes, reads)
        theirs.append(their_end)
        ours.append(our_end)
        os.set_blocking(our_end, False)  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
        return their_end, our_end

    try:
        stdin, our_stdin = (subprocess.DEVNULL, None) if command.stdin is None else pipe(to_child=True)
        if command.detach:
            # A detached child outlives our ends of its pipes, and would die of writing to them.
            stdout = stderr = subprocess.DEVNULL
            our_stdout = our_stderr = None
        else:
            stdout, our_stdout = pipe(to_child=False)
            stderr, our_stderr = pipe(to_child=False)
        tree = process_tree.start(
            command.argv,
            cwd=command.cwd,
            env=command.env,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            leash=command.leash,
            detach=command.detach,
        )
    except BaseException:
        for fd in ours:
            os.close(fd)
        raise
    finally:
        for fd in theirs:
            os.close(fd)
    return _Newborn(tree, our_stdin, our_stdout, our_stderr)
