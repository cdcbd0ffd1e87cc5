"""The command ``offloop``."""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence

__all__ = ("main",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line *arguments*, those of this program if None; return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser()
    if words[:1] == ["serve"]:
        # Not argparse's: everything behind the word is uvicorn's, --help included.
        return _serve(words[1:], parser)
    parser.parse_args(words)
    parser.print_help(sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="offloop", description="Keep work off the loop.")
    parser.add_argument("--version", action="version", version=f"offloop {_version()}")
    commands = parser.add_subparsers(metavar="COMMAND")
    commands.add_parser(
        "serve", help="run uvicorn, and say which loop and run mode it gets; takes uvicorn's arguments"
    )
    return parser


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
