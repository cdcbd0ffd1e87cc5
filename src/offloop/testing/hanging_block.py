"""Run a block that is documented to hang in a process of its own, and end that with all it started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from offloop.guide.fences import Fence
from offloop.guide.pages import Page
from offloop.testing import census
from offloop.testing.page_folder import on_page

__all__ = ("run_hanging",)

# Its first byte says that the interpreter is up: that takes half a second on some systems, and is no hang.
_PROGRAM = r"""
import ast, asyncio, inspect, sys
path = sys.argv.pop(1)
sys.stdout.write("\0")
sys.stdout.flush()
with open(path, encoding="utf-8") as file:
    code = compile(file.read(), path, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
names = {"__name__": "fence"}
if code.co_flags & inspect.CO_COROUTINE:
    async def main():
        await eval(code, names)
    asyncio.run(main())
else:
    exec(code, names)
"""


def run_hanging(page: Page, fence: Fence) -> list[str]:
    """Return how the run differs from `data-hangs`: empty when it was still running at the end."""
    seconds = fence.seconds("hangs", 0)
    with census.marked(), on_page(page, fence) as folder:
        # A name that no file of a page can have.
        source = Path(folder, "hanging-block.txt")
        source.write_text("\n" * fence.line + fence.content, "utf-8")
        before = census.census()
        argv = [sys.executable, "-c", _PROGRAM, str(source)]
        child = subprocess.Popen(
            argv,
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
        assert child.stdout is not None
        try:
            child.stdout.read(1)
            output, _ = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return []
        finally:
            census.end_processes(census.census().processes - before.processes)
            child.wait()
            child.stdout.close()
    text = output.decode("utf-8", "replace").rstrip()
    return [f"is documented to hang for {seconds:g} s, but ended with exit code {child.returncode}\n{text}"]
