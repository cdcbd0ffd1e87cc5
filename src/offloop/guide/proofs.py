"""A pytest file from the blocks of a page that prove its promises.

It needs pytest and anyio's plugin for it, which comes with offloop; not `offloop.testing`. A block becomes a function
and its contract what pytest has for it: `data-raises` is `pytest.raises`, an output is compared with what was written.
What plain pytest does not tell (`data-blocks-loop`, `data-leaks`, `data-hangs`) is left out, with a comment in its place.
The text depends on the page alone: not on the system, nor on what is installed.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import io
import json
import re
import subprocess
import sys
import textwrap
import tokenize
from types import CodeType

import offloop
from offloop.guide.fences import Fence, text_lines
from offloop.guide.pages import Page

__all__ = ("proofs_as_tests",)

_TOP = '''\
"""The proofs of a page of the guide, as tests: each function is a block of the page.

On the page a block must also leave nothing behind and must not hold the loop; pytest does not look at that.
"""

{imports}

import pytest

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent
FILES = {files}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def as_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block has a folder of its own with the files in it, and imports them anew."""
    for name in FILES:
        shutil.copy(HERE / f"{{name}}.py", tmp_path)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(HERE)
'''

_ASSERT_WROTE = '''\
def assert_wrote(capfd: pytest.CaptureFixture[str], expected: str) -> None:
    """Compare with what was written; `...` stands for any text."""
    lines = "".join(capfd.readouterr()).rstrip().splitlines()
    wrote = "".join(line.rstrip() + "\\n" for line in lines)
    same = doctest.OutputChecker().check_output(expected, wrote, doctest.ELLIPSIS)
    assert same, f"expected:\\n{expected}\\nwrote:\\n{wrote}"
'''

_LOGGERS = '''\
@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    """What a block sets up for logging ends with it."""
    before = {logger: (logger.level, logger.handlers[:]) for logger in all_loggers()}
    yield
    for logger in all_loggers():
        level, logger.handlers[:] = before.get(logger, (logging.NOTSET, []))
        logger.setLevel(level)


def all_loggers() -> list[logging.Logger]:
    known = logging.root.manager.loggerDict.values()
    return [logging.root, *(one for one in known if isinstance(one, logging.Logger))]
'''

# Names that the test itself uses inside of a function.
_OURS = {"assert_wrote", "capfd", "pytest", "re"}
_COMES_WITH_IT = sys.stdlib_module_names | {"anyio", "offloop", "pytest"}
_WIDTH = 88


def proofs_as_tests(page: Page) -> str:
    """The text of a test file that stands beside the files of *page*."""
    parts: list[str] = []
    tested: list[Fence] = []
    names: set[str] = set()
    blocks = [fence for fence in page.fences if fence.runs and not fence.file]
    for number, fence in enumerate(blocks, 1):
        label = fence.id or f"block {number}"
        if reason := _why_left_out(page, fence):
            parts.append(_comment(f"{label} is left out: {reason}."))
            continue
        name = "test_" + re.sub(r"\W", "_", label)
        while name in names:  # else pytest would see the last one only
            name += "_"
        names.add(name)
        tested.append(fence)
        parts.append(_function(page, fence, name))
    return "\n\n".join([*_top(page, tested), *parts])


def _top(page: Page, tested: list[Fence]) -> list[str]:
    """What stands above the tests: imports, fixtures, and what a block needs."""
    imports = ["import shutil", "import sys", "from pathlib import Path"]
    parts: list[str] = []
    if any("logging" in _imported(fence) for fence in tested):
        imports += ["import logging", "from collections.abc import Iterator"]
        parts.append(_LOGGERS)
    if any(page.output_of(fence) for fence in tested):
        imports.append("import doctest")
        parts.append(_ASSERT_WROTE)
    if any(fence.key("raises") for fence in tested):
        imports.append("import re")
    imports.sort(key=lambda line: (line.startswith("from"), line))
    files = [json.dumps(_stem(fence)) for fence in page.fences if fence.file]
    return [_TOP.format(imports="\n".join(imports), files=f"[{', '.join(files)}]"), *parts]


def _stem(fence: Fence) -> str:
    return (fence.file or "").removesuffix(".py")


def _comment(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="# ", subsequent_indent="# ") + "\n"


# ---- one block ---------------------------------------------------------------------------------------


def _function(page: Page, fence: Fence, name: str) -> str:
    raises, shown = fence.key("raises"), page.output_of(fence)
    parameters = list(fence.fixtures)
    lines: list[str] = []
    if fence.platforms:
        systems = json.dumps(fence.platforms)
        reason = json.dumps("only on " + ", ".join(fence.platforms))
        lines.append(f"@pytest.mark.skipif(sys.platform not in {systems}, reason={reason})")
    if shown:
        parameters.append("capfd: pytest.CaptureFixture[str]")
    keyword = "async def" if _awaits(fence) else "def"
    lines.append(f"{keyword} {name}({', '.join(parameters)}) -> None:")
    if needs := _needs(page, fence):
        lines += [*(f"    pytest.importorskip({json.dumps(module)})" for module in needs), ""]
    if raises:
        kind, _, message = (part.strip() for part in raises.partition(": "))
        if line := _import_line(page, fence, kind):
            lines += [f"    {line}", ""]
        lines += _raises_lines(kind, message)
    lines.append(_indented(fence.content, 8 if raises else 4))
    if shown:
        lines += ["", *_shown_lines(shown)]
    return "\n".join(lines) + "\n"


def _raises_lines(kind: str, message: str) -> list[str]:
    if not message:
        return [f"    with pytest.raises({kind}):"]
    match = f"match=re.escape({json.dumps(message, ensure_ascii=False)})"
    line = f"    with pytest.raises({kind}, {match}):"
    if len(line) <= _WIDTH:
        return [line]
    return ["    with pytest.raises(", f"        {kind},", f"        {match},", "    ):"]


def _shown_lines(shown: Fence) -> list[str]:
    # Spaces at line ends and blank lines at the end cannot be seen on a page.
    lines = [line.rstrip() + "\n" for line in text_lines(shown.content.rstrip())]
    literals = [json.dumps(line, ensure_ascii=False) for line in lines]
    if len(literals) == 1:
        return [f"    assert_wrote(capfd, {literals[0]})"]
    return ["    assert_wrote(", "        capfd,", *(f"        {one}" for one in literals[:-1]),
            f"        {literals[-1]},", "    )"]  # fmt: skip


def _indented(code: str, width: int) -> str:
    """The code, indented; a line that begins inside of a string stays as it is."""
    in_string: set[int] = set()
    opened: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "STRING":
            in_string.update(range(token.start[0] + 1, token.end[0] + 1))
        elif kind.endswith("STRING_START"):  # f-strings since Python 3.12, t-strings since 3.14
            opened.append(token.start[0])
        elif kind.endswith("STRING_END"):
            in_string.update(range(opened.pop() + 1, token.end[0] + 1))
    lines: list[str] = []
    for number, line in enumerate(code.removesuffix("\n").split("\n"), 1):
        if number in in_string:
            lines.append(line)
        elif line or (lines and lines[-1]):  # between two functions inside of one stands one empty line
            lines.append(" " * width + line if line else "")
    return "\n".join(lines)


def _awaits(fence: Fence) -> bool:
    code = compile(fence.content, "block", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    return bool(code.co_flags & inspect.CO_COROUTINE)


# ---- what can be a test ------------------------------------------------------------------------------


def _why_left_out(page: Page, fence: Fence) -> str:
    """Why the block is no test, or ""."""
    if fence.language == "console":
        return "a session in a terminal"
    if fence.excuse is not None:
        return f"the page does not run it either: {fence.excuse}"
    if fence.key("blocks-loop"):
        return "it holds the loop on purpose, and pytest does not measure that"
    if leaks := fence.key("leaks"):
        return f"it leaves a {leaks} behind on purpose"
    if fence.key("hangs"):
        return "it hangs on purpose"
    if fence.backends and "asyncio" not in fence.backends:
        return f"it runs on {fence.backends[0]}"
    return _why_not_a_function(page, fence)


def _why_not_a_function(page: Page, fence: Fence) -> str:
    try:
        tree = _tree(fence)
        module = compile(f"async def test():\n{_indented(fence.content, 4)}\n", "block", "exec")
    except SyntaxError as error:
        return f"it is no part of a function: {error.msg}"
    if any(isinstance(node, ast.Global) for node in ast.walk(tree)):
        return "it has a global variable"
    raises = (fence.key("raises") or "").partition(":")[0]
    if raises and _import_line(page, fence, raises) is None:
        return f"{raises} cannot be imported before it runs"
    code = next(part for part in module.co_consts if isinstance(part, CodeType))
    own = _OURS.intersection(code.co_varnames + code.co_cellvars)
    if own and (raises or page.output_of(fence) or _needs(page, fence)):
        return f"it has its own {min(own)}, which the test needs"
    return ""


def _import_line(page: Page, fence: Fence, name: str) -> str | None:
    """The statement that makes an exception known, "" for a built-in one; None if there is no such statement."""
    package, _, _ = name.rpartition(".")
    if package:
        return f"import {package}"
    if hasattr(builtins, name):
        return ""
    for module in (offloop, asyncio, subprocess):
        if name in module.__all__:
            return f"from {module.__name__} import {name}"
    for file in page.files_until(fence):
        if any(isinstance(node, ast.ClassDef) and node.name == name for node in _tree(file).body):
            return f"from {_stem(file)} import {name}"
    for node in _tree(fence).body:
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            return f"from {node.module} import {name}"
    return None


def _needs(page: Page, fence: Fence) -> list[str]:
    """What the block, and the files that it imports, need beside offloop and pytest."""
    files = {_stem(file): file for file in page.files_until(fence)}
    found: set[str] = set()
    pending, seen = [fence], set[str]()
    while pending:
        new = _imported(pending.pop()) - seen
        seen |= new
        pending += [files[name] for name in new & files.keys()]
        found |= new - files.keys() - _COMES_WITH_IT
    return sorted(found)


def _imported(fence: Fence) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(_tree(fence)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def _tree(fence: Fence) -> ast.Module:
    return ast.parse(fence.content)  # top-level await is wrong only when it is compiled
