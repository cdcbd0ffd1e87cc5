"""Every error of offloop, what it carries, and what to do next.

    OffloopError
    +-- SubprocessPolicyError(NotImplementedError)   this loop, or this platform, cannot start processes
    +-- ModuleExecutionError                         a program ran and failed
    |   +-- ModuleTimeoutError(TimeoutError)         ... because its time was up
    +-- CommandNotFoundError(FileNotFoundError)      the program is missing
    +-- WorkingDirectoryError(FileNotFoundError)     the program may exist, its working directory does not
    +-- CommandNotExecutableError(OSError)           no permission, or no format that this system runs
    +-- ArgumentTooLongError(OSError)                the system takes no arguments of this length
    +-- UnsafeCommandError(ValueError)               a shell string, a NUL, a batch file with arguments
    +-- ResourceLimitError(OSError)                  no memory, descriptors or processes left
    +-- SettingsError(ValueError)                    a setting or an argument has a value that is not allowed
    +-- UsageError(RuntimeError)                     right values at a wrong moment or place

Each inherits the built-in that callers already catch, builds its own sentence from its data, says the next
step and names the page that explains it. All of them can be pickled. Cancellation is never one of them.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Sequence
from typing import ClassVar

__all__ = (
    "GUIDE_URL",
    "ArgumentTooLongError",
    "CommandNotExecutableError",
    "CommandNotFoundError",
    "ModuleExecutionError",
    "ModuleTimeoutError",
    "OffloopError",
    "ResourceLimitError",
    "SettingsError",
    "SubprocessPolicyError",
    "UnsafeCommandError",
    "UsageError",
    "WorkingDirectoryError",
    "guide_url",
)

GUIDE_URL = "https://offloop.readthedocs.io/en/latest/"


def guide_url(page: str) -> str:
    """The address of *page* of the guide, a path such as ``"reference/errors/"``."""
    return GUIDE_URL + page


class OffloopError(Exception):
    """Base of all errors of offloop.

    Attributes:
        problem: One sentence: what happened.
        next_step: One sentence: what to do.
        page: Path of the page of the guide that explains it, below ``GUIDE_URL``.

    Catch it to handle whatever goes wrong around a process:

        try:
            result = await wrapper.run("git", "fetch")
        except OffloopError as error:
            log.error("%s", error)
    """

    page: ClassVar[str] = "reference/errors/"

    def __init__(self, problem: str, next_step: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.problem} {self.next_step} See {guide_url(self.page)}"

    def __reduce__(self) -> tuple[object, ...]:
        # The default calls the class with `args`, which are not the arguments of these constructors.
        state = dict(self.__dict__)
        if isinstance(self, OSError):
            state |= {"errno": self.errno, "filename": self.filename}
        return _rebuild, (type(self), self.args, state)


def _rebuild(kind: type[OffloopError], args: tuple[object, ...], state: dict[str, object]) -> OffloopError:
    error = kind.__new__(kind)
    error.args = args
    for name, value in state.items():
        setattr(error, name, value)
    return error


class SubprocessPolicyError(OffloopError, NotImplementedError):
    """Raised before anything is started when ASYNC mode meets a loop that cannot start processes,
    and by ``choose_mode()`` on a platform that has no processes at all.

    Attributes:
        loop_name: Module and class of the loop, or the name of the platform.
    """

    page = "troubleshooting/notimplementederror-on-windows/"

    def __init__(self, loop_name: str, *, problem: str | None = None, next_step: str | None = None) -> None:
        self.loop_name = loop_name
        super().__init__(
            problem
            or f"ASYNC mode needs an event loop that can start processes, and {loop_name} cannot. On Windows "
            "such a loop is usually installed by uvicorn with --reload or --workers, by Jupyter, or for a "
            "database driver.",
            next_step
            or "Use SubprocessWrapper(mode=RunMode.THREADED), which works on every loop, or start the program on "
            "a loop that can: asyncio.run(main(), loop_factory=asyncio.ProactorEventLoop) on Windows.",
        )


class ModuleExecutionError(OffloopError):
    """Raised by ``run(check=True)`` when the program ran and its exit code is not 0.

    Attributes:
        argv: The command.
        pid: Process id it had.
        returncode: Exit code; on POSIX -N if signal N ended it.
        stdout, stderr: What was kept of its output, as bytes.
        duration_s: Seconds between start and exit.
    """

    def __init__(
        self,
        *,
        argv: Sequence[str],
        pid: int,
        returncode: int,
        stdout: bytes,
        stderr: bytes,
        duration_s: float,
    ) -> None:
        self.argv: tuple[str, ...] = tuple(argv)
        self.pid = pid
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr
        self.duration_s = duration_s
        super().__init__(
            f"{shown(argv)} (pid {pid}) {self._what_happened()}. {self._last_output()}",
            self._next_step(),
        )

    @property
    def signal_name(self) -> str | None:
        """Name of the signal that ended it, such as ``"SIGKILL"``; None if none did (always, on Windows)."""
        if self.returncode >= 0:
            return None
        try:
            return signal.Signals(-self.returncode).name
        except ValueError:
            return f"signal {-self.returncode}"

    @property
    def last_output(self) -> str:
        """The end of standard error, or of standard output if that is empty; at most 500 characters."""
        return (self.stderr.strip() or self.stdout.strip())[-2000:].decode("utf-8", "replace")[-500:]

    def _what_happened(self) -> str:
        how = (
            f"was ended by {self.signal_name}"
            if self.signal_name
            else f"failed with exit code {self.returncode}"
        )
        return f"{how} after {self.duration_s:.3g} s"

    def _last_output(self) -> str:
        return f"Last output: {self.last_output!r}." if self.last_output else "It wrote nothing."

    def _next_step(self) -> str:
        return "Read its output in .stdout and .stderr, or pass check=False to get a Result instead."


class ModuleTimeoutError(ModuleExecutionError, TimeoutError):
    """Raised by ``run(check=True)`` when the program was ended because *timeout_s* was over.

    Attributes:
        timeout_s: Seconds it was given. The other attributes are those of ``ModuleExecutionError``.
    """

    page = "practice/error-handling/"

    def __init__(
        self,
        *,
        timeout_s: float,
        argv: Sequence[str],
        pid: int,
        returncode: int,
        stdout: bytes,
        stderr: bytes,
        duration_s: float,
    ) -> None:
        self.timeout_s = timeout_s
        super().__init__(
            argv=argv, pid=pid, returncode=returncode, stdout=stdout, stderr=stderr, duration_s=duration_s
        )

    def _what_happened(self) -> str:
        return f"was still running after {self.timeout_s:g} s and was ended with all that it started"

    def _next_step(self) -> str:
        return "Give it a longer timeout_s, or find in its last output what it was waiting for."


class _StartError(OffloopError, OSError):
    """What the errors of a failed start have in common: the command, and the errno of the system."""

    def __init__(self, problem: str, next_step: str, *, argv: Sequence[str], number: int, name: str) -> None:
        super().__init__(problem, next_step)
        self.argv: tuple[str, ...] = tuple(argv)
        self.errno: int | None = number
        self.filename: str = name


class CommandNotFoundError(_StartError, FileNotFoundError):
    """Raised when the program is missing.

    Attributes:
        argv: The command.
        search_path: The PATH that was searched; None if the program was given with a folder.
    """

    def __init__(self, argv: Sequence[str], *, search_path: str | None) -> None:
        self.search_path = search_path
        where = "There is no such file." if search_path is None else f"It is not on PATH={search_path!r}."
        super().__init__(
            f"Cannot start {argv[0]!r}: the program was not found. {where}",
            "Install it or give its whole path; for a child in Python use python_argv().",
            argv=argv,
            number=errno.ENOENT,
            name=argv[0],
        )


class WorkingDirectoryError(_StartError, FileNotFoundError):
    """Raised when the folder given as *cwd* is missing, is not a folder or may not be entered.

    Attributes:
        argv: The command.
        cwd: The folder.
    """

    def __init__(self, argv: Sequence[str], *, cwd: str) -> None:
        self.cwd = cwd
        super().__init__(
            f"Cannot start {argv[0]!r}: its working directory {cwd!r} cannot be entered.",
            "Create the folder first, or pass another cwd.",
            argv=argv,
            number=errno.ENOENT,
            name=cwd,
        )


class CommandNotExecutableError(_StartError):
    """Raised when the program exists and the system refuses to run it: no permission, or a wrong format.

    Attributes:
        argv: The command.
        reason: What the system said.
    """

    def __init__(self, argv: Sequence[str], *, reason: str, number: int = errno.EACCES) -> None:
        self.reason = reason
        super().__init__(
            f"Cannot start {argv[0]!r}: {reason}.",
            "Check its permissions and its first line; run a script through its interpreter, "
            "for Python with python_argv().",
            argv=argv,
            number=number,
            name=argv[0],
        )


class ArgumentTooLongError(_StartError):
    """Raised when the system does not take arguments of this length.

    Linux takes 131,071 bytes in one argument and about 2 MiB in all, the environment included; Windows takes
    32,767 characters in all, and 8,191 through a batch file.

    Attributes:
        argv: The command.
        longest: Length in bytes of the longest argument.
        total: Length in bytes of all arguments together.
    """

    page = "troubleshooting/argument-list-too-long/"

    def __init__(self, argv: Sequence[str]) -> None:
        lengths = [len(word.encode("utf-8", "surrogatepass")) for word in argv]
        self.longest: int = max(lengths)
        self.total: int = sum(lengths) + len(lengths)
        super().__init__(
            f"Cannot start {argv[0]!r}: its arguments are too long ({self.total} bytes, the longest "
            f"{self.longest}). Linux takes 131071 bytes in one argument, Windows 32767 characters in all.",
            "Pass the content through stdin= or in a file.",
            argv=argv,
            number=errno.E2BIG,
            name=argv[0],
        )


class UnsafeCommandError(OffloopError, ValueError):
    """Raised for a command that would not do what it seems to do.

    A shell string, a NUL inside of an argument, or on Windows a ``.bat`` or ``.cmd`` file with arguments:
    cmd.exe reads those by rules of its own, and no quoting is safe against it (CVE-2024-24576).

    Attributes:
        argv: The command.
    """

    page = "anti-patterns/shell-strings/"

    def __init__(self, argv: Sequence[str], *, problem: str, next_step: str) -> None:
        self.argv: tuple[str, ...] = tuple(argv)
        super().__init__(f"Refused to start {shown(argv)}: {problem}.", next_step)


class ResourceLimitError(_StartError):
    """Raised when the system has no memory, file descriptors or processes left for a new child.

    Attributes:
        argv: The command.
        reason: What the system said.
    """

    page = "troubleshooting/too-many-open-files/"

    def __init__(self, argv: Sequence[str], *, reason: str, number: int) -> None:
        self.reason = reason
        super().__init__(
            f"Cannot start {argv[0]!r}: {reason}.",
            "Pass max_running= to have fewer children at once (each needs 3 descriptors on Linux), or raise the "
            "limit (ulimit -n, ulimit -u).",
            argv=argv,
            number=number,
            name=argv[0],
        )


class SettingsError(OffloopError, ValueError):
    """Raised when an ``OFFLOOP_*`` variable or an argument has a value that is not allowed.

    Attributes:
        name: Name of the variable or argument.
        value: The value, as text.
        allowed: What is allowed, in words.
    """

    page = "reference/settings/"

    def __init__(self, name: str, value: object, *, allowed: str) -> None:
        self.name = name
        self.value: str = str(value)
        self.allowed = allowed
        super().__init__(f"{name} is {value!r}.", f"Allowed: {allowed}.")


class UsageError(OffloopError, RuntimeError):
    """Raised for a call that cannot be right where or when it was made: a closed wrapper, another event loop,
    two readers of one stream, no command at all."""


def shown(argv: Sequence[str]) -> str:
    """*argv* as text of at most about 200 characters, for messages."""
    text = repr(list(argv))
    return text if len(text) <= 200 else f"{text[:190]} ...]"
