"""uvicorn, and at its start one line that says which loop it runs on and what that means for processes.

The loop stays the one that uvicorn chooses, or that you name: no event-loop policy is touched and nothing is replaced.
On Windows with ``--reload`` or ``--workers`` that is a selector loop, which cannot start processes, and
``SubprocessWrapper`` then follows them in THREADED mode.

Needs uvicorn: ``pip install "offloop[serve]"``.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click
import uvicorn
from uvicorn.main import main as _uvicorn

from offloop.errors import SettingsError
from offloop.loops import name_of
from offloop.modes import ModeChoice, choose_mode

__all__ = ("GRACEFUL_SHUTDOWN_S", "command", "run")

GRACEFUL_SHUTDOWN_S = 10
"""Seconds that open requests have at the end. Without a limit one open event stream keeps uvicorn from ending."""


def run(app: str | Callable[..., Any], **options: Any) -> None:
    """Run *app* as ``uvicorn.run()`` does, which takes the same options.

    Prints loop, run mode and reason to standard error. Returns when the server has ended.

    Args:
        app: The application, or ``"module:app"``, which *reload* and *workers* need.
        options: As for ``uvicorn.run()``. *timeout_graceful_shutdown* is ``GRACEFUL_SHUTDOWN_S`` unless it is given.

    Raises:
        SettingsError: ``OFFLOOP_RUN_MODE`` has an unknown value.
        SystemExit: The server could not be started; uvicorn has said why.

    SIGTERM, and Ctrl-C once or twice, end the server and every process tree of a ``SubprocessWrapper`` that the lifespan
    of the application closes. After a second Ctrl-C uvicorn does not close the lifespan, and the leash ends them.
    """
    options.setdefault("timeout_graceful_shutdown", GRACEFUL_SHUTDOWN_S)
    _announce(**{name: options[name] for name in ("loop", "reload", "workers") if name in options})
    uvicorn.run(app, **options)


def command(arguments: Sequence[str]) -> int:
    """``offloop serve``: the command line of uvicorn, options, help and environment variables included.

    Returns:
        The exit code: 0, or 2 for a wrong argument or setting.
    """
    try:
        context = _uvicorn.make_context(
            "offloop serve",
            list(arguments),
            default_map={"timeout_graceful_shutdown": GRACEFUL_SHUTDOWN_S},
        )
        with context:
            _announce(**{name: context.params[name] for name in ("loop", "reload", "workers")})
            _uvicorn.invoke(context)
    except SettingsError as error:
        print(f"offloop: {error}", file=sys.stderr)
        return 2
    except click.exceptions.Exit as done:  # --help, --version
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return 0


def _announce(*, loop: str = "auto", reload: bool = False, workers: int | None = None) -> None:
    name, choice = loop_and_mode(loop=loop, reload=reload, workers=workers)
    print(
        f"offloop: the loop is {name}; run mode {choice.mode.value}: {choice.reason}",
        file=sys.stderr,
        flush=True,
    )


def loop_and_mode(*, loop: str, reload: bool, workers: int | None) -> tuple[str, ModeChoice]:
    """The name of the loop that uvicorn will run on with these options, and the run mode there.

    Asks uvicorn, and makes such a loop for a moment: uvicorn decides anew in each version.
    """
    # Without its logging, which uvicorn configures itself in a moment.
    config = uvicorn.Config("", loop=loop, reload=reload, workers=workers, log_config=None)

    async def look() -> tuple[str, ModeChoice]:
        return name_of(asyncio.get_running_loop()), choose_mode()

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        return runner.run(look())
