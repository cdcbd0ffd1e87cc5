"""The command ``offloop doctor``: what was seen as a table, then what was found."""

from __future__ import annotations

import argparse
import asyncio
import json
import textwrap
from collections.abc import Callable, Iterator, Sequence

from offloop.doctor import Report, Server, Severity, diagnose
from offloop.errors import guide_url

__all__ = ("run",)

_COLOURS = {Severity.ERROR: "\033[31m", Severity.WARNING: "\033[33m", Severity.NOTE: "\033[36m"}
_WIDTH = 100


def run(options: argparse.Namespace, of_uvicorn: Sequence[str], *, in_colour: bool) -> int:
    """Diagnose, print, and return the exit code.

    Raises:
        ValueError: A wrong argument; the message is for the user.
        ModuleNotFoundError: uvicorn is needed and not installed.
    """
    about, make_loop = _of_uvicorn(options.app, of_uvicorn) if options.app else (None, None)
    with asyncio.Runner(loop_factory=make_loop) as runner:
        report = runner.run(diagnose(options.only, about=about))
    if options.json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        for line in _lines(report, in_colour):
            print(line)
    return int(not report.is_healthy)


def _of_uvicorn(
    app: str, arguments: Sequence[str]
) -> tuple[Server, Callable[[], asyncio.AbstractEventLoop] | None]:
    """What uvicorn would do with *arguments*: it parses them itself, and makes the loop."""
    import click
    import uvicorn
    from uvicorn.main import main as command

    try:
        context = command.make_context("offloop doctor --app", [app, *arguments])
    except click.ClickException as error:
        raise ValueError(error.format_message()) from None
    names = "loop", "reload", "workers"
    given = {name: context.params[name] for name in names}
    config = uvicorn.Config("", **given, log_config=None)
    default = click.core.ParameterSource.DEFAULT
    shown = [f"--{name}={given[name]}" for name in names if context.get_parameter_source(name) is not default]
    about = Server(
        app=app,
        app_dir=context.params["app_dir"] or ".",
        options=" ".join(shown),
        has_several_processes=config.use_subprocess,
        shutdown_limit_s=context.params["timeout_graceful_shutdown"],
    )
    return about, config.get_loop_factory()


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
        _WIDTH,
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
