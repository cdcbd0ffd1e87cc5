"""Small pages that keep every contract, and ways to break each of them.

Markdown in strings and not in files: a `.md` file here would be a page of this project.
"""

from __future__ import annotations

from typing import NamedTuple

FAILING = """\
# Blocks that fail as they say

```python { .bad data-raises="NotImplementedError: Selector" }
raise NotImplementedError("SelectorEventLoop cannot start processes")
```

```python { data-raises="TypeError: has no len" }
len(5)
```
"""

LOOP = """\
# Blocks and the loop

```python { .bad title="handler.py" }
import time


async def handler() -> None:
    time.sleep(0.3)
```

```python { .bad data-blocks-loop="200" }
from handler import handler

await handler()
```

```python { title="offloaded.py" }
import asyncio
import time


async def handler() -> None:
    await asyncio.to_thread(time.sleep, 0.3)
```

```python { #proof }
import offloaded

await offloaded.handler()
```

```python { data-timeout="20" }
import asyncio

assert await asyncio.sleep(0, 45) == 45
```

```python { .bad data-hangs="0.5" }
import subprocess
import sys

child = subprocess.Popen([sys.executable, "-c", "print('x' * 10**6)"], stdout=subprocess.PIPE)
child.wait()
```
"""

LEAKS = """\
# Blocks that leave something behind

!!! danger "A task"

    ```python { .bad data-leaks="task" }
    import asyncio

    task = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    ```

    ```python { .bad data-leaks="process" }
    import asyncio
    import sys

    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(30)")
    ```

    ```python { .bad data-leaks="fd" }
    import os

    os.dup(0)
    ```

    ```python { .bad data-leaks="thread" }
    import threading
    import time

    threading.Thread(target=time.sleep, args=(1.5,)).start()
    ```
"""

CLEAN = """\
# Blocks that leave nothing behind

```python { #clean-process }
import asyncio
import sys

child = await asyncio.create_subprocess_exec(sys.executable, "-c", "pass")
assert await child.wait() == 0
```

```python { #clean-task }
import asyncio

task = asyncio.create_task(asyncio.sleep(0))
await task
```

```python { #clean-thread }
import threading

thread = threading.Thread(target=int)
thread.start()
thread.join()
```

```python { #clean-file }
with open("made", "w") as file:
    file.write("x")
```

```python { #clean-coroutine }
async def answer() -> int:
    return 42


assert await answer() == 42
```
"""

FILES = """\
# A file of its page

```python { title="worker.py" }
import sys


def double(n: int) -> int:
    return n * 2


if __name__ == "__main__":
    print(double(21))
    sys.exit(3)
```

```python
from worker import double

print(double(4))
```

```text { .output }
8
```

```console { data-exit="3" }
$ python -c "print('first')"
first
$ python worker.py
42
```

```python { notest data-because="needs a mail server" }
send()
```
"""

CONTAINERS = """\
# Everywhere a block can stand

=== "Linux"

    ```python
    linux = "tab"
    assert linux == "tab"
    ```

- A list.

    ```python
    listed = "list"
    assert listed == "list"
    ```

> A quote.
>
> ```python
> quoted = "quote"
> assert quoted == "quote"
> ```

??? note "Collapsed"

    ```python
    hidden = "hidden"
    assert hidden == "hidden"
    ```

```python { data-backend="asyncio" }
import anyio

with anyio.move_on_after(0.01) as scope:
    await anyio.sleep(5)
assert scope.cancelled_caught
```

```text
only shown
```
"""

MODULE = '''\
"""A module with an example.

```python
total = sum([1, 2])
assert total == 3
```
"""
'''

PAGES = {
    "failing.md": FAILING,
    "loop.md": LOOP,
    "leaks.md": LEAKS,
    "clean.md": CLEAN,
    "files.md": FILES,
    "containers.md": CONTAINERS,
    "module.py": MODULE,
}


class Mutation(NamedTuple):
    """One change of one page; `survives` says why the run stays green, where it does."""

    page: str
    old: str
    new: str
    survives: str = ""


MUTATIONS = {
    # a contract is weakened, sharpened or dropped
    "raises another type": Mutation("failing.md", '"TypeError: has', '"ValueError: has'),
    "raises another message": Mutation("failing.md", "NotImplementedError: Selector", "NotImplementedError: Proactor"),
    "no longer raises": Mutation("failing.md", "len(5)", "len([5])"),
    "raises key dropped": Mutation("failing.md", ' data-raises="TypeError: has no len"', ""),
    "raises something else first": Mutation("failing.md", "len(5)", "{}[5]"),
    "message dropped from the contract": Mutation(
        "failing.md", '"TypeError: has no len"', '"TypeError"', "a weaker contract that the block still keeps"
    ),
    "parent type in the contract": Mutation(
        "failing.md", '"TypeError: has no len"', '"Exception: has no len"', "a subclass is allowed by the grammar"
    ),
    "bad listing no longer blocks": Mutation(
        "loop.md", "import time\n\n\nasync def handler() -> None:\n    time.sleep(0.3)",
        "import asyncio\n\n\nasync def handler() -> None:\n    await asyncio.sleep(0.3)",
    ),
    "blocks-loop key dropped": Mutation("loop.md", ' data-blocks-loop="200"', ""),
    "blocks-loop asks for more": Mutation("loop.md", 'data-blocks-loop="200"', 'data-blocks-loop="900"'),
    "blocks-loop asks for less": Mutation(
        "loop.md", 'data-blocks-loop="200"', 'data-blocks-loop="100"', "a weaker contract that the block still keeps"
    ),
    "good listing blocks": Mutation("loop.md", "await asyncio.to_thread(time.sleep, 0.3)", "time.sleep(0.4 + 0 * len(repr(asyncio)))"),
    "swap the good listing in": Mutation("loop.md", "from handler import handler", "from offloaded import handler"),
    "swap the bad listing in": Mutation("loop.md", "import offloaded\n", "import handler as offloaded\n"),
    "result differs after await": Mutation("loop.md", "sleep(0, 45) == 45", "sleep(0, 45) == 46"),
    "out of time": Mutation("loop.md", 'data-timeout="20" }\nimport asyncio\n', 'data-timeout="0.2" }\nimport asyncio\nawait asyncio.sleep(9)\n'),
    "no longer hangs": Mutation("loop.md", "child.wait()", "child.communicate()"),
    "hangs key dropped": Mutation("loop.md", ' data-hangs="0.5"', ' data-timeout="1"'),
    "fails where it should hang": Mutation("loop.md", "child.wait()", "child.wiat()"),
    "task key dropped": Mutation("leaks.md", ' data-leaks="task"', ""),
    "process key dropped": Mutation("leaks.md", ' data-leaks="process"', ""),
    "fd key dropped": Mutation("leaks.md", ' data-leaks="fd"', ""),
    "thread key dropped": Mutation("leaks.md", ' data-leaks="thread"', ""),
    "another kind is leaked": Mutation("leaks.md", 'data-leaks="fd"', 'data-leaks="thread"'),
    "fd no longer leaked": Mutation("leaks.md", "os.dup(0)", "os.close(os.dup(0))"),
    "task no longer leaked": Mutation("leaks.md", "asyncio.sleep(60)", "asyncio.sleep(0)"),
    "thread no longer leaked": Mutation(
        "leaks.md", "threading.Thread(target=time.sleep, args=(1.5,)).start()", "time.sleep(0)"
    ),
    "process no longer leaked": Mutation(
        "leaks.md", 'import time; time.sleep(30)")', 'pass")\n    await child.wait()'
    ),
    "a leaking block fails": Mutation("leaks.md", "    os.dup(0)", "    os.dup(0)\n    1 / 0"),
    # a good block goes wrong
    "process left running": Mutation("clean.md", '"pass")\nassert await child.wait() == 0', '"import time; time.sleep(30)")'),
    "process killed by nobody": Mutation("clean.md", "assert await child.wait() == 0", "assert await child.wait() == 1"),
    "task left running": Mutation("clean.md", "asyncio.sleep(0))\nawait task", "asyncio.sleep(60))\nawait asyncio.sleep(0)"),
    "task fails unseen": Mutation(
        "clean.md", "task = asyncio.create_task(asyncio.sleep(0))\nawait task",
        "task = asyncio.create_task(asyncio.sleep('x'))\nawait asyncio.sleep(0.01)\ndel task",
    ),
    "thread left running": Mutation(
        "clean.md", "target=int)\nthread.start()\nthread.join()", "target=__import__('time').sleep, args=(1.5,))\nthread.start()"
    ),
    "thread fails unseen": Mutation("clean.md", "target=int)", "target=int, args=('x',))"),
    "file left open": Mutation(
        "clean.md", 'with open("made", "w") as file:\n    file.write("x")', 'file = open("made", "w")\nfile.write("x")'
    ),
    "coroutine never awaited": Mutation("clean.md", "assert await answer() == 42", "answer()\nassert await answer() == 42"),
    "loop held": Mutation("clean.md", "return 42", "__import__('time').sleep(0.4)\n    return 42"),
    "loop held for less than the limit": Mutation(
        "clean.md", "return 42", "__import__('time').sleep(0.1)\n    return 42", "under 250 ms, the limit of a block without a key"
    ),
    "a line that never runs": Mutation("clean.md", "    return 42", "    if not __name__:\n        return 41\n    return 42"),
    # files, output, commands
    "file changed": Mutation("files.md", "return n * 2", "return n * 3"),
    "file renamed": Mutation("files.md", 'title="worker.py"', 'title="wroker.py"'),
    "file is no file any more": Mutation("files.md", 'title="worker.py"', 'title="worker"'),
    "file has a syntax error": Mutation("files.md", "return n * 2", "return n *"),
    "output changed": Mutation("files.md", "```text { .output }\n8", "```text { .output }\n9"),
    "output emptied": Mutation("files.md", "```text { .output }\n8\n", "```text { .output }\n"),
    "output moved away": Mutation("files.md", "\n```text { .output }", "\nIt prints:\n\n```text { .output }"),
    "output misspelt": Mutation("files.md", "{ .output }", "{ .ouput }"),
    "output loses its class": Mutation("files.md", "text { .output }", "text", "text that is only shown is not compared"),
    "print removed": Mutation("files.md", "print(double(4))", "double(4)"),
    "exit code changed": Mutation("files.md", 'data-exit="3"', 'data-exit="4"'),
    "exit code dropped": Mutation("files.md", ' { data-exit="3" }', ""),
    "output of a command changed": Mutation("files.md", "\n42\n", "\n43\n"),
    "output of a command dropped": Mutation("files.md", "\nfirst\n", "\n"),
    "command misspelt": Mutation("files.md", "$ python worker.py", "$ python wroker.py"),
    "command removed": Mutation("files.md", "$ python worker.py\n42\n", ""),
    "prompt removed": Mutation("files.md", "$ python worker.py", "python worker.py"),
    "reason removed": Mutation("files.md", ' data-because="needs a mail server"', ""),
    "excuse removed": Mutation("files.md", ' { notest data-because="needs a mail server" }', ""),
    # hidden and misspelt
    "tab block fails": Mutation("containers.md", 'linux == "tab"', 'linux == "tba"'),
    "list block fails": Mutation("containers.md", 'listed == "list"', 'listed == "lits"'),
    "quote block fails": Mutation("containers.md", 'quoted == "quote"', 'quoted == "quite"'),
    "collapsed block fails": Mutation("containers.md", 'hidden == "hidden"', 'hidden == "hiden"'),
    "backend block fails": Mutation("containers.md", "assert scope.cancelled_caught", "assert not scope.cancelled_caught"),
    "backend misspelt": Mutation("containers.md", 'data-backend="asyncio"', 'data-backend="asincio"'),
    "key misspelt": Mutation("loop.md", 'data-timeout="20"', 'data-timout="20"'),
    "value misspelt": Mutation("leaks.md", 'data-leaks="thread"', 'data-leaks="tread"'),
    "class misspelt": Mutation("failing.md", "{ .bad data-raises", "{ .bda data-raises"),
    "language in capitals": Mutation("clean.md", "```python { #clean-file }", "```Python { #clean-file }"),
    "language misspelt": Mutation("clean.md", "```python { #clean-file }", "```pyhton { #clean-file }"),
    "language py": Mutation("clean.md", "```python { #clean-file }", "```py { #clean-file }"),
    "language dropped": Mutation("clean.md", "```python { #clean-file }", "```"),
    "flag without braces": Mutation("clean.md", "```python { #clean-file }", "```python notest"),
    "braces without spaces": Mutation("clean.md", "```python { #clean-file }", "```python {#clean-file}"),
    "language in the braces": Mutation("clean.md", "```python { #clean-file }", "```{ .python #clean-file }"),
    "id given twice": Mutation("clean.md", "#clean-file", "#clean-task"),
    "fence commented out": Mutation(
        "clean.md", 'with open("made", "w") as file:\n    file.write("x")\n```\n',
        '```\n\n<!--\n```python\nwith open("made", "w") as file:\n    file.write("x")\n```\n-->\n',
    ),
    "comment never closed": Mutation("clean.md", "```python { #clean-thread }", "<!--\n```python { #clean-thread }"),
    "fence not closed": Mutation("clean.md", "assert await answer() == 42\n```\n", "assert await answer() == 42\n"),
    "fence indented for no reason": Mutation("containers.md", "```text\nonly shown\n```", "    ```text\n    only shown\n    ```"),
    "fence on a list marker": Mutation("containers.md", "```text\nonly shown\n```", "- ```text\n  only shown\n  ```"),
    "snippet in a block": Mutation("clean.md", 'with open("made", "w") as file:', '--8<-- "made"\nwith open("made", "w") as file:'),
    "unknown fixture": Mutation("clean.md", "{ #clean-file }", "{ #clean-file fixture:tmp_paht }"),
    "docstring fails": Mutation("module.py", "total == 3", "total == 4"),
    "docstring misspelt": Mutation("module.py", "```python", "```python notest"),
}  # fmt: skip
