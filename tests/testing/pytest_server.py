"""Runs pytest many times in one process: each import of it takes a second, and eight on CPython for Windows under Wine.

A line of JSON on stdin asks for a run: ``folder``, ``arguments`` and the file to which its ``output`` goes. The answer
is a line with its ``code``. What a run has imported from its folder, and changed in the interpreter, is undone after it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest


def main() -> None:
    # Runs, and the programs that they start, get none of the requests and write none of the answers.
    with os.fdopen(os.dup(0)) as requests, os.fdopen(os.dup(1), "w") as answers, open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
        for line in requests:
            request = json.loads(line)
            with _output_to(Path(request["output"])), _undone(request["folder"]):
                code = int(pytest.main(request["arguments"]))
            print(json.dumps({"code": code}), file=answers, flush=True)


@contextlib.contextmanager
def _output_to(file: Path) -> Iterator[None]:
    sys.stdout.flush()
    sys.stderr.flush()
    kept, kept_streams = [os.dup(1), os.dup(2)], (sys.stdout, sys.stderr)
    with file.open("wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    # As in a new program, whose stdout is no terminal.
    sys.stdout = open(1, "w", closefd=False)
    sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = kept_streams
        for to, number in enumerate(kept, 1):
            os.dup2(number, to)
            os.close(number)


@contextlib.contextmanager
def _undone(folder: str) -> Iterator[None]:
    here, path, hooks, environment = os.getcwd(), list(sys.path), list(sys.meta_path), dict(os.environ)
    os.chdir(folder)
    sys.path.insert(0, "")  # as python -m does
    try:
        with warnings.catch_warnings():
            yield
    finally:
        os.chdir(here)
        sys.path[:], sys.meta_path[:] = path, hooks
        os.environ.clear()
        os.environ.update(environment)
        inside = os.path.realpath(folder)
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and os.path.realpath(file).startswith(inside):
                del sys.modules[name]
        sys.path_importer_cache.clear()
        gc.collect()


if __name__ == "__main__":
    main()
