"""What a page's example runs on in the reader's browser: CPython's event loop, and processes that are simulated.

    from offloop.guide.in_browser import install, run_block

    install()                      # before anything imports offloop
    run_block(files, code, print)

`install()` makes this loop the one that `asyncio.run()` and everybody else gets, and lets `subprocess` start simulated
processes. It is for a program that does nothing else; nothing here takes it back. Needs the standard library only.
"""

from offloop.guide.in_browser.child_code import NotSimulatedError
from offloop.guide.in_browser.install import install
from offloop.guide.in_browser.loop import DeadlockError, SimulatedLoop
from offloop.guide.in_browser.machine import Process, machine
from offloop.guide.in_browser.run_block import Ended, answer, run_block

__all__ = (
    "DeadlockError",
    "Ended",
    "NotSimulatedError",
    "Process",
    "SimulatedLoop",
    "answer",
    "install",
    "machine",
    "run_block",
)
