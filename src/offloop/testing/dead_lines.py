"""Which statements of a page did no green block ever run?

Lines are recorded while a block runs, in this process and in the Python programs that it starts.
From Python 3.12 on by `sys.monitoring`, which costs one call a line; on 3.11 by `sys.settrace`.
Not seen: children started with an empty environment or with `-I` or `-E`, and children made by `os.fork`.
"""

from __future__ import annotations

import ast
import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Generator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from offloop.testing.child_lines import FOLDER_VARIABLE, REPORT_VARIABLE

__all__ = ("Lines", "dead_statements", "recorded_lines")

# A condition that reads one of these has a branch that this system cannot enter.
_CONDITIONAL = ("sys.platform", "os.name", "sys.version_info", "platform.system")


class Lines:
    """Line numbers that ran, by file name."""

    def __init__(self) -> None:
        self.by_file: dict[str, set[int]] = {}

    def add(self, name: str, line: int) -> None:
        """Note that *line* of the file *name* ran."""
        self.by_file.setdefault(name, set()).add(line)


# ---- recording ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def recorded_lines(page: str, folder: str) -> Generator[Lines]:
    """Record the lines of code whose file name is *page* or lies in *folder*."""
    lines = Lines()
    record = _by_monitoring if sys.version_info >= (3, 12) else _by_settrace
    with _from_children(lines, folder), record(lines, page, folder + os.sep):
        yield lines


@contextlib.contextmanager
def _by_settrace(lines: Lines, page: str, folder: str) -> Generator[None]:
    def local(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            lines.add(frame.f_code.co_filename, frame.f_lineno)
        return local

    def start(frame: FrameType, event: str, argument: object) -> Any:
        name = frame.f_code.co_filename
        if name == page or name.startswith(folder):
            lines.add(name, frame.f_lineno)
            return local
        return None

    before, before_in_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(start)
    threading.settrace(start)
    try:
        yield
    finally:
        sys.settrace(before)
        threading.settrace(before_in_threads)


@contextlib.contextmanager
def _by_monitoring(lines: Lines, page: str, folder: str) -> Generator[None]:
    if sys.version_info < (3, 12):  # only for the type checker: recorded_lines() has chosen
        raise NotImplementedError
    monitoring = sys.monitoring
    tool = next((number for number in (3, 4, 2, 1) if monitoring.get_tool(number) is None), None)
    if tool is None:  # a debugger, a profiler and a coverage tool are all at work
        yield
        return
    events = monitoring.events

    def start(code: CodeType, offset: int) -> object:
        if code.co_filename == page or code.co_filename.startswith(folder):
            lines.add(code.co_filename, code.co_firstlineno)
            monitoring.set_local_events(tool, code, events.LINE)
        return monitoring.DISABLE

    def line(code: CodeType, number: int) -> object:
        lines.add(code.co_filename, number)
        return monitoring.DISABLE

    monitoring.use_tool_id(tool, "offloop")
    monitoring.register_callback(tool, events.PY_START, start)
    monitoring.register_callback(tool, events.LINE, line)
    monitoring.set_events(tool, events.PY_START)
    monitoring.restart_events()
    try:
        yield
    finally:
        monitoring.set_events(tool, events.NO_EVENTS)
        monitoring.register_callback(tool, events.PY_START, None)
        monitoring.register_callback(tool, events.LINE, None)
        monitoring.free_tool_id(tool)


@contextlib.contextmanager
def _from_children(lines: Lines, folder: str) -> Generator[None]:
    """Python programs started meanwhile find our `sitecustomize`, which reports the lines they run."""
    with tempfile.TemporaryDirectory(prefix="offloop-lines-", ignore_cleanup_errors=True) as reports:
        paths = [str(Path(__file__).parent / "child_lines"), os.environ.get("PYTHONPATH", "")]
        added = {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            FOLDER_VARIABLE: folder,
            REPORT_VARIABLE: reports,
        }
        before = {name: os.environ.get(name) for name in added}
        os.environ.update(added)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
            for report in Path(reports).iterdir():
                for entry in report.read_text("utf-8", "replace").splitlines():
                    number, _, name = entry.partition("\t")
                    if number.isdigit():
                        lines.add(name, int(number))


# ---- which statements there are ------------------------------------------------------------------------


def dead_statements(source: str, ran: set[int]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Statements of *source* that no line of *ran* touches, as (first, last) lines, in two lists.

    The second list holds those that only another system or Python can reach: below a condition on
    `sys.platform`, `os.name` or `sys.version_info`. Of a dead statement the parts are not listed.
    """
    dead: list[tuple[int, int]] = []
    elsewhere: list[tuple[int, int]] = []
    _visit(ast.parse(source).body, ran, dead, elsewhere, False)
    return _joined(dead), _joined(elsewhere)


def _visit(
    body: list[Any],
    ran: set[int],
    dead: list[tuple[int, int]],
    elsewhere: list[tuple[int, int]],
    conditional: bool,
) -> None:
    for node in body:
        if _has_no_code(node):
            continue
        parts = [
            part
            for name in ("body", "orelse", "finalbody", "handlers", "cases")
            for part in getattr(node, name, ())
        ]
        first = min(
            (d.lineno for d in getattr(node, "decorator_list", ())), default=getattr(node, "lineno", 0)
        )
        head_end = (
            min((_first_line(part) for part in parts), default=getattr(node, "end_lineno", first) + 1) - 1
        )
        head = range(first, max(head_end, first) + 1) if first else range(0)
        inner = conditional or _is_conditional(node)
        if first and not ran.intersection(head) and not isinstance(node, ast.Try):
            (elsewhere if conditional else dead).append((first, node.end_lineno or first))
        else:
            _visit(parts, ran, dead, elsewhere, inner)


def _first_line(node: Any) -> int:
    if isinstance(node, ast.match_case):
        return node.pattern.lineno
    return min((d.lineno for d in getattr(node, "decorator_list", ())), default=node.lineno)


def _is_conditional(node: Any) -> bool:
    test = getattr(node, "test", None)
    return test is not None and any(word in ast.unparse(test) for word in _CONDITIONAL)


def _has_no_code(node: Any) -> bool:
    """Statements for which nothing is executed: docstrings, `...`, declarations, imports for a type checker."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.AnnAssign):
        return node.value is None
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, ast.Global | ast.Nonlocal | ast.Pass)


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans that follow each other directly become one."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return joined
