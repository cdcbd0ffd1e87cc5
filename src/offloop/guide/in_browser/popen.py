"""`subprocess.Popen` for simulated processes: who waits for one blocks, as on a computer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

from offloop.guide.in_browser.child_code import NotSimulatedError
from offloop.guide.in_browser.machine import Pipe, Process, machine

__all__ = ("SimulatedPopen",)


class _Reader:
    """The parent's end of an output, for those who read it by hand."""

    def __init__(self, pipe: Pipe, decode: bool) -> None:
        self.pipe = pipe
        self._decode = decode

    def _text(self, data: bytes) -> Any:
        return data.decode() if self._decode else data

    def read(self, size: int | None = -1) -> Any:
        """Everything until the end, or at least a byte and at most *size*."""
        pipe = self.pipe
        if size is None or size < 0:
            return self._text(b"".join(iter(self._some, b"")))
        machine.run(lambda: pipe.is_readable, None)
        return self._text(pipe.read(size))

    def readline(self) -> Any:
        """Up to the end of a line."""
        pipe = self.pipe
        line = b""
        while not line.endswith(b"\n"):
            machine.run(lambda: pipe.is_readable, None)
            end = pipe.held.find(b"\n") + 1
            if not (part := pipe.read(end or len(pipe.held))):
                break
            line += part
        return self._text(line)

    def _some(self) -> bytes:
        machine.run(lambda: self.pipe.is_readable, None)
        return self.pipe.read(len(self.pipe.held))

    def __iter__(self) -> Any:
        return iter(self.readline, self._text(b""))

    def close(self) -> None:
        """Read no more."""
        self.pipe.close()


class _Writer:
    def __init__(self, pipe: Pipe, encode: bool) -> None:
        self.pipe = pipe
        self._encode = encode

    def write(self, data: Any) -> int:
        """Add to what the process reads."""
        content = data.encode() if self._encode else bytes(data)
        self.pipe.write(content)
        return len(data)

    def writelines(self, lines: Iterable[Any]) -> None:
        """Each of them, as it is."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """The process reads the end."""
        self.pipe.has_writer = False

    @property
    def closed(self) -> bool:
        """Whether the process will read the end."""
        return not self.pipe.has_writer


class SimulatedPopen:
    """Takes the arguments that a simulated process can fulfil; refuses the others."""

    def __init__(
        self,
        args: Sequence[str],
        bufsize: int = -1,
        *,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        universal_newlines: bool | None = None,
        **options: Any,
    ) -> None:
        if isinstance(args, str | bytes):
            raise NotSimulatedError("a command that is one string")
        self._process = process = Process(args, stdin=stdin, stdout=stdout, stderr=stderr, **options)
        is_text = bool(text or encoding or errors or universal_newlines)
        self.args = args
        self.pid: int = process.pid
        self.stdin: _Writer | None = _Writer(process.stdin, is_text) if process.stdin else None
        self.stdout: _Reader | None = _Reader(process.stdout, is_text) if process.stdout else None
        self.stderr: _Reader | None = _Reader(process.stderr, is_text) if process.stderr else None

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return self._process.returncode

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        machine.turn_now()
        return self._process.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Block until it has ended."""
        return self._process.wait(timeout)

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Write, read everything, and block until it has ended."""
        if self.stdin is not None:
            if input:
                self.stdin.write(input)
            self.stdin.close()
        self._process.drains = True
        self._process.wait(timeout)
        return self.stdout and self.stdout.read(), self.stderr and self.stderr.read()

    def send_signal(self, sig: int) -> None:
        """Nothing if it has ended."""
        self._process.send_signal(sig)

    def terminate(self) -> None:
        """Ask it to stop."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def __enter__(self) -> SimulatedPopen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, shown: TracebackType | None
    ) -> None:
        if self.stdin is not None:
            self.stdin.close()
        self.wait()

    def __class_getitem__(cls, item: Any) -> Any:
        return cls
