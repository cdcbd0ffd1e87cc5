"""Start a process so that it can be ended together with everything it started.

Each system offers the same few names; which system it is, nothing outside of this package asks. In a browser there are only
simulated processes (``offloop.guide.in_browser``), and ``simulated.py`` is for them.

    tree = process_tree.start(["make", "-j4"], stdout=subprocess.DEVNULL)
    tree.ask_to_stop()                # True: the tree was asked
    if tree.wait(timeout_s=5.0) is None:
        tree.kill()                   # the whole tree, as often as one likes
    tree.close()                      # kills what is left, reaps, releases

**What a tree is.** POSIX: the process group that the child leads; a descendant that leaves it (``setsid``, coreutils
``timeout``) is not covered. Windows: a Job Object; nothing leaves it.

**What a leash is.** With ``leash=True`` the tree dies with this program, also when that is killed. POSIX: one
``/bin/sh`` for the whole program kills the groups that are left when its pipe closes. Windows: the job is closed by the
system, and has ``KILL_ON_JOB_CLOSE``. What is killed between its birth and its registration there is not covered.

The methods of a tree may be called from any thread, in any order and any number of times.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO

from offloop.errors import (
    ArgumentTooLongError,
    CommandNotExecutableError,
    CommandNotFoundError,
    OffloopError,
    ResourceLimitError,
    WorkingDirectoryError,
)

if sys.platform == "emscripten":
    from offloop.process_tree.simulated import (
        FOLLOWED_BY_DESCRIPTORS,
        RUNS_BATCH_FILES,
        ProcessTree,
        StartOptions,
        environment,
        leash_in_use,
        prepare_start,
    )
elif sys.platform != "win32":
    from offloop.process_tree.posix import (
        FOLLOWED_BY_DESCRIPTORS,
        RUNS_BATCH_FILES,
        ProcessTree,
        StartOptions,
        environment,
        leash_in_use,
        prepare_start,
    )
else:
    from offloop.process_tree.windows import (
        FOLLOWED_BY_DESCRIPTORS,
        RUNS_BATCH_FILES,
        ProcessTree,
        StartOptions,
        environment,
        leash_in_use,
        prepare_start,
    )

__all__ = (
    "FOLLOWED_BY_DESCRIPTORS",
    "RUNS_BATCH_FILES",
    "ProcessTree",
    "StartOptions",
    "adopt",
    "environment",
    "explain_start_error",
    "leash_in_use",
    "prepare_start",
    "start",
)

# A folder of PATH that may not be entered, a file in place of a folder, a name that no file can have.
_MAYBE_MISSING = {errno.EACCES, errno.ENOTDIR, errno.ENAMETOOLONG}
_NO_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM}
# ERROR_TOO_MANY_OPEN_FILES, _NOT_ENOUGH_MEMORY, _OUTOFMEMORY, _NO_SYSTEM_RESOURCES, _COMMITMENT_LIMIT
_NO_RESOURCES_ON_WINDOWS = {4, 8, 14, 1450, 1455}
_FILENAME_EXCED_RANGE_ON_WINDOWS = 206
_DIRECTORY_ON_WINDOWS = 267


def start(
    argv: Sequence[str],
    *,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    leash: bool = True,
    detach: bool = False,
) -> ProcessTree:
    """Start *argv* as the root of a new tree. Blocks until the program has been loaded.

    Args:
        argv: The program and its arguments, at least one word. Never a shell string.
        cwd: Folder to start in; None is the current one.
        env: The whole environment; None is the current one. See ``environment()``.
        stdin, stdout, stderr: As for ``subprocess.Popen``. The ends of a ``subprocess.PIPE`` are in ``tree.popen``.
        leash: Whether the tree is killed when this program ends, however it ends.
        detach: Whether the tree may outlive this program, so that ``close()`` leaves it running. Wins over *leash*.

    Raises:
        CommandNotFoundError: There is no such program.
        WorkingDirectoryError: *cwd* is missing, is no folder or may not be entered.
        CommandNotExecutableError: The program exists and the system refuses to run it.
        ArgumentTooLongError: The system does not take arguments of this length.
        ResourceLimitError: No memory, descriptors or processes are left.

    After an error nothing is left behind.
    """
    try:
        options = prepare_start(leash=leash and not detach, detach=detach)
        popen = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=env,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            process_group=options.process_group,
            start_new_session=options.start_new_session,
            creationflags=options.creationflags,
        )
        return adopt(popen, leash=leash and not detach, detach=detach)
    except OSError as error:
        raise explain_start_error(error, argv, cwd=cwd, env=env) from error


def adopt(popen: subprocess.Popen[bytes], *, leash: bool, detach: bool) -> ProcessTree:
    """Make the tree of a process that was started with the options of ``prepare_start()``, and let it run.

    Raises:
        OSError: The system refused; the process has been killed and reaped.
    """
    try:
        return ProcessTree(popen, leash=leash, detach=detach)
    except BaseException:
        popen.kill()
        popen.wait()
        for pipe in (popen.stdin, popen.stdout, popen.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        raise


def explain_start_error(
    error: OSError,
    argv: Sequence[str],
    *,
    cwd: str | os.PathLike[str] | None,
    env: Mapping[str, str] | None,
) -> OffloopError:
    """The error of offloop that says what the *error* of a failed start means."""
    number = error.errno or 0
    number_on_windows = getattr(error, "winerror", None)
    reason = error.strerror or str(error)
    if number in _NO_RESOURCES or number_on_windows in _NO_RESOURCES_ON_WINDOWS:
        return ResourceLimitError(argv, reason=reason, number=number)
    if number == errno.E2BIG or number_on_windows == _FILENAME_EXCED_RANGE_ON_WINDOWS:
        return ArgumentTooLongError(argv)
    # The system says the same of a missing folder and of a missing program.
    if cwd is not None and (not os.path.isdir(cwd) or not os.access(cwd, os.X_OK)):
        return WorkingDirectoryError(argv, cwd=os.fspath(cwd))
    if number == errno.ENOENT and number_on_windows != _DIRECTORY_ON_WINDOWS:
        return _explain_missing_program(argv, cwd=cwd, env=env)
    if number in _MAYBE_MISSING and not _is_there(argv[0], cwd=cwd, env=env):
        return CommandNotFoundError(
            argv, search_path=_search_path(env) if not os.path.dirname(argv[0]) else None
        )
    return CommandNotExecutableError(argv, reason=reason, number=number)


def _search_path(env: Mapping[str, str] | None) -> str:
    return (os.environ if env is None else env).get("PATH", os.defpath)


def _is_there(program: str, *, cwd: str | os.PathLike[str] | None, env: Mapping[str, str] | None) -> bool:
    """Whether there is such a file, executable or not, as far as this user may look."""
    folders = _search_path(env).split(os.pathsep) if not os.path.dirname(program) else [cwd or ""]
    return any(os.path.exists(os.path.join(folder, program)) for folder in folders)


def _explain_missing_program(
    argv: Sequence[str], *, cwd: str | os.PathLike[str] | None, env: Mapping[str, str] | None
) -> OffloopError:
    search_path = _search_path(env)
    if not os.path.dirname(argv[0]):
        import shutil  # it loads three compressors, and `import offloop` must be cheap

        found = shutil.which(argv[0], path=search_path)
        if found is None:
            return CommandNotFoundError(argv, search_path=search_path)
        if RUNS_BATCH_FILES and found.lower().endswith((".bat", ".cmd")):
            # The system looks for a name without an ending as .exe only; a shell knows the others.
            name = os.path.basename(found)
            return CommandNotExecutableError(
                argv, reason=f"by this name there is only a batch file: start {name!r}", number=errno.ENOENT
            )
    elif not os.path.exists(os.path.join(cwd or "", argv[0])):
        return CommandNotFoundError(argv, search_path=None)
    return CommandNotExecutableError(
        argv,
        reason="the file exists, and the interpreter or loader that it names does not",
        number=errno.ENOENT,
    )
