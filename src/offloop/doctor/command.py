"""The command ``offloop doctor``: what was seen as a table, then what was found."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from offloop.doctor import Report, Server, Severity, diagnose
from offloop.errors import guide_url

__all__ = ("run",)

_COLOURS = {Severity.ERROR: "\033[31m", Severity.WARNING: "\033[33m", Severity.NOTE: "\033[36m"}
_WIDEST = 100


def run(options: argparse.Namespace, of_uvicorn: Sequence[str], *, in_colour: bool) -> int:
    """Diagnose, print, and return the exit code.

    Raises:
        ValueError: A wrong argument; the message is for the user.
        ModuleNotFoundError: uvicorn is needed and not installed.
    """
    about, loop = None, asyncio.new_event_loop
    if options.app is not None:
        import click

        try:
            about, loop = _of_uvicorn(options.app, of_uvicorn)
        except click.exceptions.Exit as done:  # uvicorn's --help or --version
            return done.exit_code
        except click.ClickException as error:
            raise ValueError(error.format_message()) from None
    with asyncio.Runner(loop_factory=loop) as runner:
        report = runner.run(diagnose(options.only, about=about))
    if options.json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        for line in _lines(report, in_colour):
            print(line)
    return int(not report.is_healthy)


def _of_uvicorn(app: str, arguments: Sequence[str]) -> tuple[Server, Callable[[], asyncio.AbstractEventLoop]]:
    """What uvicorn would do with *arguments*: it parses them itself, and makes the loop."""
    import click
    import uvicorn
    from uvicorn.main import main as command

    context = command.make_context("offloop doctor --app", [app, *arguments])
    params = context.params
    app_dir: str = params["app_dir"] or "."
    sys.path.insert(0, os.path.abspath(app_dir))  # as uvicorn does, which imports a custom loop from there
    names = "loop", "reload", "workers", "env_file"
    config = uvicorn.Config("", **{name: params[name] for name in names}, log_config=None)
    try:
        factory = config.get_loop_factory()
        loop = cast("object", factory() if factory is not None else asyncio.new_event_loop())
    except SystemExit:  # uvicorn has said why
        raise ValueError(f"uvicorn cannot make the loop {params['loop']!r}") from None
    if not isinstance(loop, asyncio.AbstractEventLoop):
        raise ValueError(f"{params['loop']!r} returns {loop!r}, which is no event loop")
    default = click.core.ParameterSource.DEFAULT
    shown = [
        f"--{name}={params[name]}"
        for name in ("loop", "workers")
        if context.get_parameter_source(name) is not default
    ]
    shown += ["--reload"] if config.reload else []
    if config.workers > 1 and not params["workers"]:
        shown.append(f"WEB_CONCURRENCY={config.workers}")
    about = Server(
        app=app,
        app_dir=app_dir,
        options=" ".join(shown),
        has_several_processes=config.use_subprocess,
        shutdown_limit_s=params["timeout_graceful_shutdown"],
    )
    return about, lambda: loop


def _lines(report: Report, in_colour: bool) -> Iterator[str]:
    bold, plain = ("\033[1m", "\033[0m") if in_colour else ("", "")
    names = [fact.name for section in report.sections for fact in section.facts]
    width = max(map(len, names), default=0)
    for section in report.sections:
        yield f"{bold}{section.check}{plain}"
        for fact in section.facts:
            yield f"  {fact.name:{width}}  {fact.value}"
    for finding in report.findings:
        severity = finding.kind.severity
        colour = _COLOURS[severity] if in_colour else ""
        yield ""
        yield f"{colour}{severity.value}{plain} {bold}{finding.kind.name}{plain}"
        for text in (finding.evidence, finding.kind.next_step, guide_url(finding.kind.page)):
            yield from _wrapped(text)
    yield ""
    yield _summary(report)


def _wrapped(text: str) -> list[str]:
    # Paths and addresses are left whole.
    return textwrap.wrap(
        text,
        max(40, min(_WIDEST, shutil.get_terminal_size().columns)) if sys.stdout.isatty() else _WIDEST,
        initial_indent="  ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _summary(report: Report) -> str:
    counts = [
        f"{count} {severity.value}{'s' if count != 1 else ''}"
        for severity in Severity
        if (count := sum(finding.kind.severity is severity for finding in report.findings))
    ]
    return ", ".join(counts) or "Nothing was found."
