"""Children for tests: short Python programs, since Windows has few tools; and a register of who is alive."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

ON_WINDOWS = sys.platform == "win32"
DEADLINE_S = 30.0


def python(code: str, *args: str) -> list[str]:
    """A Python child that starts fast: without site-packages and without the caller's settings."""
    return [sys.executable, "-I", "-S", "-c", code, *args]


SLEEP = python("import time; time.sleep(60)")
CAT = python("import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)")
READY_THEN_SLEEP = python("import time; print('ready', flush=True); time.sleep(60)")


def exits(code: int) -> list[str]:
    return python(f"raise SystemExit({code})")


def prints(*, out: int = 0, err: int = 0) -> list[str]:
    """Writes *out* bytes to standard output after *err* bytes to standard error, in lines of 64 bytes."""
    return python(
        "import sys\n"
        f"sys.stderr.buffer.write((b'e' * 63 + b'\\n') * ({err} // 64))\n"
        f"sys.stdout.buffer.write((b'o' * 63 + b'\\n') * ({out} // 64))"
    )


IGNORES_SIGTERM = python(
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)\ntime.sleep(60)"
)
FLUSHES_A_LOT_WHEN_ASKED = python(
    "import os, signal, time\n"
    "def stop(*_):\n"
    "    for _ in range(1000): os.write(1, b'x' * 1000)\n"  # print() may be under way just now
    "    os._exit(7)\n"
    "signal.signal(signal.SIGTERM, stop)\n"
    "print('ready', flush=True)\n"
    "time.sleep(60)"
)

_REGISTER = "import os, sys; open(os.path.join(sys.argv[1], str(os.getpid())), 'w').close()\n"
_START_GRANDCHILD = (
    "import subprocess, time\n"
    f"subprocess.Popen([sys.executable, '-I', '-S', '-c', {_REGISTER + 'import time; time.sleep(60)'!r}, *sys.argv[1:]])\n"
)


def tree(register: Path) -> list[str]:
    """A root with a grandchild that holds its pipes. Each writes its pid as a file name into *register*."""
    if ON_WINDOWS:
        return python(
            _REGISTER + _START_GRANDCHILD + "print('ready', flush=True)\ntime.sleep(60)", str(register)
        )
    # A shell starts ten times faster, and the sweeps start hundreds.
    inner = 'echo > "$0/$$"; exec sleep 60'
    return [
        "/bin/sh",
        "-c",
        'echo > "$0/$$"; /bin/sh -c "$1" "$0" & echo ready; wait',
        str(register),
        inner,
    ]


def root_that_leaves_a_grandchild(register: Path) -> list[str]:
    """A root that ends with code 5 as soon as its grandchild, which holds its pipes, is there."""
    waits = "while len(os.listdir(sys.argv[1])) < 2: time.sleep(0.01)\n"
    return python(
        _REGISTER + _START_GRANDCHILD + waits + "print('bye', flush=True)\nos._exit(5)", str(register)
    )


def registered(register: Path) -> list[int]:
    return [int(name) for name in os.listdir(register)]


def left_alive(register: Path) -> list[int]:
    """Who of the register is alive."""
    return [pid for pid in registered(register) if is_alive(pid)]


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _kernel32 = ctypes.WinDLL("kernel32")
    _kernel32.OpenProcess.restype = wintypes.HANDLE
    _kernel32.WaitForSingleObject.argtypes = (wintypes.HANDLE, wintypes.DWORD)
    _kernel32.CloseHandle.argtypes = (wintypes.HANDLE,)
    _SYNCHRONIZE, _WAIT_TIMEOUT = 0x00100000, 0x102

    def is_alive(pid: int) -> bool:
        handle = _kernel32.OpenProcess(_SYNCHRONIZE, False, pid)
        if not handle:
            return False
        try:
            return _kernel32.WaitForSingleObject(handle, 0) == _WAIT_TIMEOUT
        finally:
            _kernel32.CloseHandle(handle)

    def kill(pid: int) -> None:
        try:
            os.kill(pid, 9)
        except OSError:
            pass
else:
    import signal

    def is_alive(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        try:
            # A zombie takes signals, too.
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except ProcessLookupError:
            # Reaped between open() and read().
            return False
        except FileNotFoundError:
            return sys.platform != "linux"

    def kill(pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def eventually(condition: Callable[[], object], within_s: float = 10.0) -> bool:
    """Whether *condition* comes true: SIGKILL, for example, takes its time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
