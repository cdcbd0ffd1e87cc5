"""The command ``offloop``."""

from __future__ import annotations

import argparse
import difflib
import importlib.metadata
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from offloop.doctor import CHECKS, command
from offloop.guide import add

__all__ = ("main",)

_ADD = """\
Copy a pattern into your project: the files of its page, each with a header
that says where it is from. Without NAME, list the patterns.
"""
_ADD_EXIT_CODES = """\
exit codes:
  0  done; with --diff, nothing differs
  1  refused, and nothing was written; with --diff, something differs
  2  a wrong argument, an unknown pattern, or a folder that cannot be used
"""
_DOCTOR = """\
Examine whether programs can be run from async code here: interpreter, loop,
run mode, limits, environment, and processes that an earlier run has left.
Starts an empty Python in each run mode, and changes nothing.

With --app, uvicorn's own options may follow, and its loop is examined:
  offloop doctor --app main:app --reload
The application is looked for, and not imported.
"""
_DOCTOR_EXIT_CODES = """\
exit codes:
  0  nothing was found, or notes only
  1  something was found
  2  a wrong argument
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line *arguments*, those of this program if None; return its exit code."""
    try:
        code = _run(arguments)
        if sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison] - it is where it was closed
            sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads has seen enough
        # What is left in the buffer would fail once more at the end of the program.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except KeyboardInterrupt:
        return 130


def _run(arguments: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser, add_parser, doctor_parser = _parsers()
    if words[:1] == ["serve"]:
        # Not argparse's: everything behind the word is uvicorn's, --help included.
        return _serve(words[1:], parser)
    options, others = parser.parse_known_args(words)
    if options.command == "doctor":
        return _doctor(options, others, doctor_parser)
    if others:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    if options.command == "add":
        return _add(options, add_parser)
    parser.print_help(sys.stderr)
    return 2


def _parsers() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser, argparse.ArgumentParser]:
    """That of ``offloop``, of ``offloop add`` and of ``offloop doctor``."""
    parser = argparse.ArgumentParser(prog="offloop", description="Keep work off the loop.")
    parser.add_argument("--version", action="version", version=f"offloop {_version()}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command")
    commands.add_parser(
        "serve", help="run uvicorn, and say which loop and run mode it gets; takes uvicorn's arguments"
    )
    add_parser = commands.add_parser(
        "add",
        help="copy a pattern of the guide into your project",
        usage="offloop add [NAME] [options]",
        description=_ADD,
        epilog=_ADD_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_parser.add_argument("name", metavar="NAME", nargs="?", help="the pattern: the name of its page")
    add_parser.add_argument("--path", metavar="DIR", type=Path, help="where to; else the current folder")
    add_parser.add_argument(
        "--with-test", action="store_true", help="also a test: the proofs of the page, for pytest"
    )
    add_parser.add_argument(
        "--overwrite",
        action="store_true",
        help="also files that you have edited, or that are not from the page",
    )
    instead = add_parser.add_mutually_exclusive_group()
    for word, says in (
        ("--dry-run", "say what would be written, and write nothing"),
        ("--diff", "show how DIR and the page differ, and why; write nothing"),
        ("--view", "print the files, and write nothing"),
    ):
        instead.add_argument(word, dest="instead", action="store_const", const=word, help=says)
    doctor_parser = commands.add_parser(
        "doctor",
        help="examine whether programs can be run from async code here",
        usage="offloop doctor [--only CHECK] [--json] [--app MODULE:APP [options of uvicorn]]",
        description=_DOCTOR,
        epilog=_DOCTOR_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    doctor_parser.add_argument(
        "--only",
        metavar="CHECK",
        action="append",
        default=[],
        choices=CHECKS,
        help=f"one check; may be repeated: {', '.join(CHECKS)}",
    )
    doctor_parser.add_argument("--json", action="store_true", help="print JSON, for other programs")
    doctor_parser.add_argument(
        "--app", metavar="MODULE:APP", help="examine the loop that uvicorn gives to this application"
    )
    return parser, add_parser, doctor_parser


def _version() -> str:
    try:
        return importlib.metadata.version("offloop")
    except importlib.metadata.PackageNotFoundError:
        return "from a folder, not installed"


def _serve(arguments: Sequence[str], parser: argparse.ArgumentParser) -> int:
    try:
        from offloop import serve
    except ModuleNotFoundError as error:
        if error.name not in ("uvicorn", "click"):
            raise
        parser.exit(2, "offloop serve needs uvicorn: pip install 'offloop[serve]'\n")
    return serve.command(arguments)


def _doctor(options: argparse.Namespace, others: Sequence[str], parser: argparse.ArgumentParser) -> int:
    if others and options.app is None:
        parser.error(f"unrecognized arguments: {' '.join(others)} (options of uvicorn need --app)")
    _write_what_the_console_can()
    try:
        return command.run(options, others, in_colour=_in_colour())
    except ModuleNotFoundError as error:
        if error.name not in ("uvicorn", "click"):
            raise
        parser.exit(2, "offloop doctor --app needs uvicorn: pip install 'offloop[serve]'\n")
    except ValueError as error:
        parser.exit(2, f"offloop doctor: {error}\n")


# ---- offloop add -------------------------------------------------------------------------------------


def _add(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    _write_what_the_console_can()
    name: str | None = options.name
    folder: Path | None = options.path
    try:
        if name is not None:
            return _add_pattern(_pattern(name, parser), folder or Path(), options)
        if folder or options.with_test or options.overwrite or options.instead:
            parser.error("these options need a NAME")
        _list_patterns()
    except (OSError, add.PlaceRefused) as error:
        parser.exit(2, f"offloop add: {error}\n")
    return 0


def _write_what_the_console_can() -> None:
    """A console may not have every character of a page, or of a path."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # pyright: ignore[reportUnknownMemberType] - of a generic class


def _list_patterns() -> None:
    bold, plain = ("\033[1m", "\033[0m") if _in_colour() else ("", "")
    for pattern in add.patterns():
        files = ", ".join(fence.file or "" for fence in pattern.files)
        print(f"{bold}{pattern.name}{plain}: {files}\n    {pattern.description}")


def _in_colour() -> bool:
    """In a terminal that understands it. On Windows only a modern one says so, by one of the variables."""
    terminal = "WT_SESSION" in os.environ or os.environ.get("TERM", "dumb") != "dumb"
    return terminal and bool(sys.stdout) and sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _pattern(name: str, parser: argparse.ArgumentParser) -> add.Pattern:
    known = {pattern.name: pattern for pattern in add.patterns()}
    if name not in known:
        close = difflib.get_close_matches(name, known, 3, 0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else "`offloop add` lists them."
        parser.exit(2, f"offloop add: there is no pattern {name!r}; {hint}\n")
    return known[name]


def _add_pattern(pattern: add.Pattern, folder: Path, options: argparse.Namespace) -> int:
    copies = add.copies_of(pattern, folder, _version(), with_test=options.with_test)
    if options.instead == "--view":
        for copy in copies:
            print(f"# ---- {copy.path.name}\n{copy.text}")
        return 0
    if options.instead == "--diff":
        for copy in copies:
            print(f"{copy.path}: {copy.state.value}\n{copy.difference}", end="")
        return int(any(copy.difference for copy in copies))
    return _write(copies, folder, overwrite=options.overwrite, dry_run=bool(options.instead))


def _write(copies: list[add.Copy], folder: Path, *, overwrite: bool, dry_run: bool) -> int:
    refused = not overwrite and not all(copy.state.may_be_written for copy in copies)
    is_new = not folder.exists()
    if not dry_run and not refused:
        add.write_copies(copies)
    if is_new:
        print(f"create     {folder}{os.sep}")
    for copy in copies:
        print(_step(copy, overwrite))
    if dry_run or refused:
        print("Nothing was written.")
    if refused:
        print("offloop add: see --diff; --overwrite writes all the same", file=sys.stderr)
    return int(refused)


def _step(copy: add.Copy, overwrite: bool) -> str:
    """A line such as `refuse     run_module.py: you have edited it`."""
    if copy.state is add.CopyState.MISSING:
        return f"create     {copy.path}"
    if copy.state is add.CopyState.CURRENT:
        return f"unchanged  {copy.path}"
    if copy.state is add.CopyState.OUTDATED:
        return f"update     {copy.path}: {copy.state.value}"
    return f"{'overwrite' if overwrite else 'refuse':<9}  {copy.path}: {copy.state.value}"
