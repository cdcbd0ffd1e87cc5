"""The leash: when the program itself is killed, its trees die, too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.children import ON_WINDOWS, eventually, kill, left_alive, registered, tree

posix_only = pytest.mark.skipif(ON_WINDOWS, reason="about the helper process, which Windows does not need")

PROGRAM = """
import asyncio, json, os, subprocess, sys
from offloop import SubprocessWrapper
async def main():
    mode, settings, argv = json.loads(sys.argv[1])
    async with SubprocessWrapper(mode, **settings) as wrapper:
        process, stdout, _ = await wrapper.create_subprocess(*argv, detach=DETACH)
        AFTERWARDS
        print("running", flush=True)
        await process.wait()
asyncio.run(main())
"""


def start_program(
    mode: str, register: Path, *, afterwards: str = "", detach: bool = False, **settings: object
) -> subprocess.Popen[bytes]:
    """A program with a running tree, both of whose processes are there."""
    import json

    code = PROGRAM.replace("AFTERWARDS", afterwards).replace("DETACH", repr(detach))
    program = subprocess.Popen(
        [sys.executable, "-c", code, json.dumps([mode, settings, tree(register)])],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert program.stdout is not None
    with program.stdout:
        assert program.stdout.readline().strip() == b"running"
    assert eventually(lambda: len(registered(register)) == 2)
    return program


@pytest.mark.parametrize("mode", ["async", "threaded"])
def test_killed_parent_leaves_no_grandchild(mode: str, register: Path) -> None:
    """A program that is killed takes child and grandchild along."""
    program = start_program(mode, register)
    program.kill()
    program.wait()

    assert eventually(lambda: not left_alive(register))


def test_without_a_leash_the_tree_lives_on(register: Path) -> None:
    """leash=False lets the tree survive a killed program."""
    program = start_program("threaded", register, leash=False)
    program.kill()
    program.wait()

    assert not eventually(lambda: not left_alive(register), 0.3)


def test_detached_tree_lives_on(register: Path) -> None:
    """detach=True lets the tree survive a killed program, whatever the leash says."""
    program = start_program("async", register, detach=True)
    program.kill()
    program.wait()

    assert not eventually(lambda: not left_alive(register), 0.3)


@posix_only
def test_forked_child_does_not_hold_the_leash(register: Path) -> None:
    """A process that the program has forked, as multiprocessing does, does not keep the leash from firing."""
    forks = (
        "pid = os.fork()\n        if pid == 0:\n            import time\n"
        "            open(os.path.join(argv[3], '..', 'forked'), 'w').write(str(os.getpid()))\n"
        "            time.sleep(30)\n            os._exit(0)\n        "
    )
    program = start_program("threaded", register, afterwards=forks)
    forked = register / ".." / "forked"
    assert eventually(lambda: forked.exists() and forked.read_text())
    program.kill()
    program.wait()

    assert eventually(lambda: not left_alive(register))
    kill(int(forked.read_text()))


@posix_only
def test_helper_of_the_leash_ends_with_the_wrapper() -> None:
    """The helper lives while a wrapper is open, in a session of its own, and not longer."""
    code = """
import asyncio, os, sys
from offloop import SubprocessWrapper
from offloop.process_tree import posix
async def main():
    helper = posix._leash
    async with SubprocessWrapper("threaded") as one, SubprocessWrapper("async") as two:
        await one.run(sys.executable, "-c", "")
        await two.run(sys.executable, "-c", "")
        pid = helper._helper_pid
        print(pid > 0, os.getsid(pid) == pid)
        await one.aclose()
        print(helper._helper_pid == pid)
    print(helper._helper_pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        print("gone")
asyncio.run(main())
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)

    assert ran.stdout.split() == ["True", "True", "True", "0", "gone"]


@posix_only
def test_killed_helper_is_replaced(register: Path) -> None:
    """When somebody kills the helper, the next start makes a new one that holds all trees."""
    code = (
        "from offloop.process_tree import posix\n"
        "        os.kill(posix._leash._helper_pid, 9)\n"
        "        os.waitid(os.P_PID, posix._leash._helper_pid, os.WEXITED | os.WNOWAIT)\n"
        "        for _ in range(3): await wrapper.run('true')"
    )
    program = start_program("async", register, afterwards=code)
    program.kill()
    program.wait()

    assert eventually(lambda: not left_alive(register))
    assert os.path.exists(register)
