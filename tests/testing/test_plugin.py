"""Collection, guards, outputs and commands: what the plugin does with whole pages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.testing.conftest import Project, Run, environment

WORKER = '```python { title="worker.py" }\ndef double(n: int) -> int:\n    return n * 2\n```\n\n'
SITE = "site_name: x\ndocs_dir: docs\nmarkdown_extensions: [attr_list, pymdownx.highlight, pymdownx.superfences]\nplugins: []\n"


def run_pages(
    factory: pytest.TempPathFactory, pages: Iterable[str], *arguments: str, site: bool = False
) -> Run:
    """One run over many pages, `docs/0.md` and so on: a test looks at its own."""
    project = Project(factory.mktemp("pages"))
    for number, page in enumerate(pages):
        project.write(f"docs/{number}.md", page)
    if site:
        project.write("mkdocs.yml", SITE)
        project.write("docs/index.md", "# x\n")
    return project.run("docs", *arguments)


def last_line(text: str) -> str:
    return text.rstrip().splitlines()[-1]


# ---- nothing happens unasked ------------------------------------------------------------------------


def test_a_run_that_does_not_ask_is_left_alone(project: Project) -> None:
    """No page is collected, no option exists, and no module of ours is loaded."""
    project.write("pytest.ini", "[pytest]\n")
    project.write("docs/page.md", "```python\nraise SystemError\n```\n")
    project.write("test_x.py", "import sys\ndef test_x():\n    assert 'offloop' not in sys.modules\n")

    run = project.run(without=("tally",), alone=True)

    assert run.code == 0, run.text
    assert "1 passed" in run.text
    assert "doc blocks" not in run.text


def test_garbage_of_other_tests_is_not_held_against_a_page(project: Project) -> None:
    """What a test left to the garbage collector complains before the first block of a page, not inside of it."""
    project.write(
        "test_x.py",
        "import gc\n"
        "class Faulty:\n    def __del__(self):\n        1 / 0\n"
        "def test_x():\n    gc.disable()\n    it = Faulty()\n    it.it = it\n",
    )
    project.write("docs/page.md", "```python\nimport gc\n\ngc.collect()\n```\n")

    run = project.run("test_x.py", "docs", "-p", "no:unraisableexception")

    assert run.code == 0, run.text
    assert "2 passed" in run.text


def test_how_long_a_block_may_hold_the_loop_can_be_said(project: Project) -> None:
    """For an emulator, which holds programs up itself."""
    project.write(
        "docs/page.md", "```python\nimport asyncio, time\n\ntime.sleep(0.4)\nawait asyncio.sleep(0)\n```\n"
    )

    assert "held the event loop" in project.run("docs").text
    assert "(more than 300 ms needs" in project.run("docs", "--hold-limit", "0.3").text
    assert project.run("docs", "--hold-limit", "3").code == 0


HELD = """```python
import asyncio, pathlib, time

runs = pathlib.Path(RUNS)
runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
time.sleep(0.4 if runs.read_text() in HOLDS else 0)
await asyncio.sleep(0)
```
"""


def test_a_block_that_held_the_loop_once_is_run_again(project: Project) -> None:
    """A busy machine is not its fault. One that holds the loop each time fails, after the second run."""

    def page(name: str, holds: tuple[str, ...]) -> Path:
        runs = project.root / f"{name}.txt"
        project.write(f"docs/{name}.md", HELD.replace("RUNS", repr(str(runs))).replace("HOLDS", repr(holds)))
        return runs

    page("once", ("x",))
    runs = page("always", ("x", "xx"))
    once = project.run("docs/once.md")
    always = project.run("docs/always.md")

    assert once.code == 0, once.text
    assert "run again docs/once.md:1: held the event loop for" in once.text
    assert always.code == 1
    assert "run again" not in always.text
    assert runs.read_text() == "xx"


def test_a_run_without_pages_prints_no_tally(project: Project) -> None:
    """Ordinary tests next to it are what they were."""
    project.write("test_x.py", "def test_x():\n    pass\n")

    run = project.run()

    assert run.code == 0, run.text
    assert "doc blocks" not in run.text


def test_without_pytest_markdown_docs_the_error_says_what_to_install(project: Project) -> None:
    """And where it is switched off, that it is."""
    run = project.run("-p", "no:pytest_markdown_docs", without=("tally",))

    assert run.code == 4
    assert "needs the plugin pytest_markdown_docs, which is switched off" in run.text


# ---- bad input ---------------------------------------------------------------------------------------


BAD = (
    (
        '# x\n\n```python { data-timout="5" }\nx = 1\n```\n',
        3,
        "unknown key 'data-timout'; did you mean data-timeout?",
    ),
    ('```python { data-leaks="tasks" }\nx = 1\n```\n', 1, "did you mean task?"),
    ("```python { fixture:tmp_paht }\nx = 1\n```\n", 1, "unknown fixture 'tmp_paht'; did you mean tmp_path?"),
    (WORKER + WORKER, 6, "'worker.py' is already the file on line 1"),
    ("# x\n\n```text { .output }\n1\n```\n", 3, "has no python block directly before it"),
    ("```python\nx = 1\n", 1, "the fence is never closed"),
)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_pages(tmp_path_factory, (page for page, _, _ in BAD), "--continue-on-collection-errors")


@pytest.mark.parametrize("number", range(len(BAD)))
def test_bad_input_is_a_collection_error_with_file_line_and_advice(bad: Run, number: int) -> None:
    """Nothing of the page runs, the run fails, and the block counts as unaccounted."""
    _, line, says = BAD[number]
    page = f"docs/{number}.md"

    assert bad.code != 0
    assert bad.outcome(page) == "error"
    assert (line, "unaccounted") in bad.states(page)
    assert re.search(rf"^(E +)?{page}:{line}: .*{re.escape(says)}", bad.text, re.MULTILINE), bad.text


def test_a_page_that_is_not_utf_8_is_a_collection_error(project: Project) -> None:
    """The byte and its line are named; there is no traceback of ours."""
    (project.root / "page.md").write_bytes(b"# x\n\ncaf\xe9\n")

    run = project.run("page.md")

    assert run.code != 0
    assert "page.md:3: byte 0xe9 is not UTF-8" in run.text
    assert "Traceback" not in run.text


def test_every_fault_of_a_page_is_named_at_once(project: Project) -> None:
    """One run is enough to mend them all."""
    project.write("docs/page.md", "```python notest\nx\n```\n\n```Python\nx\n```\n")

    text = project.run("docs").text

    assert "docs/page.md:1: " in text
    assert "docs/page.md:5: " in text


# ---- files of a page ---------------------------------------------------------------------------------


def test_blocks_below_a_file_import_it_and_its_name_may_be_used_twice(project: Project) -> None:
    """Each page has its own folder; a block above the file does not see it."""
    project.write(
        "docs/a.md", WORKER + "```python\nfrom worker import double\n\nassert double(2) == 4\n```\n"
    )
    project.write(
        "docs/b.md",
        WORKER.replace("* 2", "* 3") + "```python\nfrom worker import double\n\nassert double(2) == 6\n```\n",
    )
    project.write(
        "docs/c.md",
        '```python { data-raises="ModuleNotFoundError" }\nimport worker\n```\n\n'
        + WORKER.replace("def", "\ndef"),
    )

    run = project.run("docs")

    assert [run.outcome(f"docs/{name}.md") for name in "abc"] == ["passed"] * 3, run.text


def test_one_block_alone_has_the_files_it_needs(project: Project) -> None:
    """Choosing a block does not change its result."""
    project.write(
        "docs/a.md",
        WORKER + "```python { #proof }\nfrom worker import double\n\nassert double(2) == 4\n```\n",
    )

    run = project.run("docs/a.md::[CodeFence#2][line:6]")

    assert run.code == 0, run.text
    assert last_line(run.text) == "doc blocks: 1 executed, 0 excused (only some blocks were chosen)"


def test_blocks_share_nothing(project: Project) -> None:
    """Not names, not a module's state, not files, not the environment, not the folder, not loggers."""
    change = (
        "```python\nimport logging, os\nimport worker\nworker.double = None\nos.environ['X'] = '1'\n"
        "open('made', 'w').close()\nos.chdir('..')\nlogging.basicConfig()\n```\n\n"
    )
    look = (
        "```python\nimport logging, os\nimport worker\nassert worker.double(1) == 2\nassert 'X' not in os.environ\n"
        "assert not os.path.exists('made')\nassert os.path.exists('worker.py')\n"
        "assert not any(type(h) is logging.StreamHandler for h in logging.root.handlers)\n```\n"
    )
    project.write("docs/a.md", WORKER + change + look)

    run = project.run("docs")

    assert run.outcome("docs/a.md") == "passed", run.text


def test_a_file_works_in_a_spawned_process(project: Project) -> None:
    """Pickled by name, imported by the child."""
    project.write(
        "docs/a.md",
        WORKER
        + "```python\nimport multiprocessing\nfrom concurrent.futures import ProcessPoolExecutor\nfrom worker import double\n\n"
        "with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn')) as pool:\n"
        "    assert pool.submit(double, 4).result() == 8\n```\n",
    )

    assert project.run("docs").code == 0


def test_a_failed_assert_in_a_file_explains_itself(project: Project) -> None:
    """As one in a block does."""
    project.write(
        "docs/a.md",
        '```python { title="checks.py" }\ndef check(n: int) -> None:\n    assert n + 1 == 4\n```\n\n'
        "```python\nfrom checks import check\n\ncheck(1)\n```\n",
    )

    run = project.run("docs")

    assert run.code == 1
    assert "assert (1 + 1) == 4" in run.text


# ---- output ------------------------------------------------------------------------------------------

PRINTS = "```python\nimport subprocess, sys\nprint('mine')\nsubprocess.run([sys.executable, '-c', 'print(42)'], check=True)\n```\n"


def test_an_output_is_compared_exactly_children_included(project: Project) -> None:
    """`...` stands for anything."""
    project.write("docs/a.md", PRINTS + "\n```text { .output }\nmine\n42\n```\n")
    project.write("docs/b.md", PRINTS + "\n```text { .output }\nmi...\n42\n```\n")
    project.write("docs/c.md", PRINTS + "\n```text { .output }\nmine\n43\n```\n")

    run = project.run("docs")

    assert [run.outcome(f"docs/{name}.md") for name in "abc"] == ["passed", "passed", "failed"], run.text
    assert "- 43\n+ 42" in run.text


def test_fix_output_rewrites_what_differs_and_nothing_else(project: Project) -> None:
    """Outputs and console blocks, at any indentation; the next run is green."""
    page = (
        "# x\n\n" + PRINTS + '\n```text { .output }\nold\n```\n\n=== "Tab"\n\n'
        "    ```python\n    print('b')\n    ```\n\n    ```text { .output }\n    old\n    old\n    ```\n\nEnd.\n\n"
        '```console\n$ python -c "print(1)"\n2\n$ python -c "print(3)"\n...\n```\n'
    )
    path = project.write("docs/a.md", page)

    first = project.run("docs", "--fix-output")
    second = project.run("docs")

    assert (first.code, second.code) == (0, 0), first.text + second.text
    fixed = (
        page.replace("{ .output }\nold\n", "{ .output }\nmine\n42\n")
        .replace("    old\n    old\n", "    b\n")
        .replace("\n2\n$", "\n1\n$")
    )
    assert path.read_text("utf-8") == fixed
    assert "rewrote the output" in first.text


def test_fix_output_does_not_hide_another_failure(project: Project) -> None:
    """A block that raises fails in this mode too."""
    project.write("docs/a.md", "```python\nprint(1)\n1 / 0\n```\n\n```text { .output }\n2\n```\n")

    assert project.run("docs", "--fix-output").code == 1


# ---- console -----------------------------------------------------------------------------------------


COMMANDS = (
    ('```console\n$ python -c "print(1)"\n1\n```\n', True, ""),
    ('```console\n$ python -c "print(1)"\n2\n```\n', False, "output differs"),
    ('```console\n$ python -c "print(1)"\n```\n', False, "output differs"),
    ('```console { data-exit="3" }\n$ python -c "raise SystemExit(3)"\n```\n', True, ""),
    (
        '```console { data-exit="4" }\n$ python -c "raise SystemExit(3)"\n```\n',
        False,
        "exit code 3, documented 4",
    ),
    ('```console\n$ python -c "raise SystemExit(3)"\n```\n', False, "exit code 3, documented 0"),
    (
        '```console { data-exit="3" }\n$ python -c "raise SystemExit(3)"\n$ python -c "raise SystemExit(3)"\n```\n',
        False,
        "documented 0",
    ),
    ('```console\n$ python -c \\\n  "print(1)"\n1\n```\n', True, ""),
    ("```console\n$ no-such-program\n```\n", False, "cannot be started"),
    ('```console\n$ python -c "\n```\n', False, "cannot be started"),
    ("```console\npython -V\n```\n", False, "starts with a command"),
    (
        '```console { data-timeout="0.5" }\n$ python -c "import time; time.sleep(60)"\n```\n',
        False,
        "still running after 0.5 s",
    ),
    (
        "```console\n$ python -c \"import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], "
        'stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)"\n```\n',
        False,
        "left a process behind",
    ),
)


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_pages(tmp_path_factory, (page for page, _, _ in COMMANDS))


@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_commands_are_run_and_compared(commands: Run, number: int) -> None:
    """Output, exit code, time and what is left behind."""
    _, passes, says = COMMANDS[number]
    page = f"docs/{number}.md"

    assert commands.outcome(page) == ("passed" if passes else "failed"), commands.text
    assert says in commands.text.partition(f"{page}:1: ")[2].partition("____ [")[0]


def test_a_command_runs_a_file_of_the_page(project: Project) -> None:
    """In the page's folder; the lines it runs are not dead."""
    page = '```python { title="main.py" }\nif __name__ == "__main__":\n    print("ran")\n```\n\n'
    project.write("docs/a.md", page + "```console\n$ python main.py\nran\n```\n")
    project.write("docs/b.md", page)

    run = project.run("docs")

    assert (run.dead("docs/a.md"), run.dead("docs/b.md")) == ([], [3]), run.text


# ---- accounted for -----------------------------------------------------------------------------------


def test_the_last_line_is_the_tally_and_excuses_are_printed(project: Project) -> None:
    """Below pytest's own last line."""
    elsewhere = "win32" if sys.platform != "win32" else "linux"
    project.write(
        "docs/a.md",
        '```python\nx = 1\n```\n\n```python { notest data-because="needs a mail server" }\nx\n```\n\n'
        f'```python {{ data-only="{elsewhere}" }}\nx\n```\n\n```toml\nx = 1\n```\n',
    )

    run = project.run("docs")

    lines = run.text.rstrip().splitlines()
    assert run.code == 0
    assert "1 passed" in lines[-4]
    assert lines[-3:] == [
        "  excused docs/a.md:5: needs a mail server",
        f"  not run here docs/a.md:9: only on {elsewhere}",
        "doc blocks: 1 executed, 1 excused, 1 not run here, 0 UNACCOUNTED",
    ]


def test_a_page_that_pytest_does_not_collect_fails_the_run(project: Project) -> None:
    """Whatever hid it: a setting, a conftest, a folder's name."""
    project.write("docs/a.md", "```python\nx = 1\n```\n")
    project.write("docs/build/b.md", "```python\nx = 1\n```\n")

    run = project.run("docs")

    assert run.code == 1
    assert last_line(run.text) == "doc blocks: 1 executed, 0 excused, 1 UNACCOUNTED"
    assert "UNACCOUNTED docs/build/b.md:1: this python block was not executed" in run.text


def test_a_run_of_chosen_blocks_prints_the_tally_and_cannot_fail_for_the_others(project: Project) -> None:
    """With `-k`, and with a block's own name."""
    project.write("docs/a.md", "```python\nx = 1\n```\n")
    project.write("docs/b.md", "```python\nx = 1\n```\n")

    run = project.run("docs", "-k", "a.md")

    assert run.code == 0, run.text
    assert last_line(run.text) == "doc blocks: 1 executed, 0 excused (only some blocks were chosen)"


def test_stopping_at_the_first_failure_leaves_the_rest_unaccounted(project: Project) -> None:
    """It is said, and the exit code is pytest's."""
    project.write("docs/a.md", "```python\n1 / 0\n```\n\n```python\nx = 1\n```\n")

    run = project.run("docs", "-x")

    assert run.code == 1
    assert last_line(run.text) == "doc blocks: 1 executed, 0 excused, 1 UNACCOUNTED"


def test_a_colour_only_where_the_terminal_has_one(project: Project) -> None:
    """The tally in a pipe is plain text."""
    project.write("docs/a.md", "```python\nx = 1\n```\n")

    assert "\x1b" not in project.run("docs").text
    assert "\x1b[32mdoc blocks" in project.run("docs", "--color=yes").text


# ---- the renderer agrees -----------------------------------------------------------------------------

needs_mkdocs = pytest.mark.skipif(
    "not __import__('importlib.util').util.find_spec('mkdocs')", reason="mkdocs is not installed"
)


RENDERED = (
    ("```python\nx = 1\n```\n\n- x\n\n    ```text\n    y\n    ```\n", True, ""),
    (
        "text\n\n    ```text\n    x\n    ```\n\n```python\nx = 1\n```\n",
        False,
        "line 3: the site does not show this block as code",
    ),
    ("```python\nx = 1\n```\n\ntext\n\n    x = 1\n", False, "the site shows as code what is no block"),
)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_pages(tmp_path_factory, (page for page, _, _ in RENDERED), site=True)


@needs_mkdocs
@pytest.mark.parametrize("number", range(len(RENDERED)))
def test_what_the_site_shows_is_what_was_collected(rendered: Run, number: int) -> None:
    """A fence outside any container that is indented comes out with its ticks; an indented text comes out as code."""
    _, passes, says = RENDERED[number]
    state = "PASSED" if passes else "FAILED"

    assert f"{state} docs/{number}.md::renderer-agrees" in rendered.text
    assert says in rendered.text


def test_without_a_site_the_guard_says_that_it_is_off(project: Project) -> None:
    """In the header; there is nothing to run, and nothing to skip."""
    project.write("docs/a.md", "```python\nx = 1\n```\n")

    text = project.run("docs").text

    assert "the renderer guard is off: there is no mkdocs.yml" in text
    assert "1 passed" in text
    assert "skipped" not in text


# ---- what was found by trying to break it ------------------------------------------------------------


@pytest.mark.parametrize("name", ["page.markdown", "page.MD", "page.mkd"])
def test_every_page_of_mkdocs_is_a_page(project: Project, name: str) -> None:
    """Whatever its suffix: its blocks run."""
    project.write(f"docs/{name}", "```python\n1 / 0\n```\n")

    assert "ZeroDivisionError" in project.run("docs").text


def test_docstrings_below_assignments_are_docstrings(project: Project) -> None:
    """Where renderers of docstrings read them, too."""
    project.write("src/m.py", 'X = 1\n"""x\n\n```python\n1 / 0\n```\n"""\n')

    assert "m.py:4" in project.run("src").text


def test_a_module_that_cannot_be_read_hides_no_block(project: Project) -> None:
    """It is a collection error, if it may have blocks."""
    project.write("src/m.py", '"""x\n\n```python\nx = 1\n```\n"""\nx =\n')
    run = project.run("src")

    assert run.code != 0
    assert "src/m.py:7: the module is not valid Python" in run.text


def test_a_language_that_only_the_site_knows_is_shown(project: Project) -> None:
    """A diagram, for example."""
    project.write("docs/a.md", "```mermaid\ngraph LR\n```\n\n```jsonc\n1\n```\n\n```python\nx = 1\n```\n")

    assert project.run("docs").code == 0


def test_the_guard_reads_highlighted_code(project: Project) -> None:
    """A site without pymdownx.highlight colours its blocks."""
    project.write("mkdocs.yml", "site_name: x\nplugins: []\nmarkdown_extensions: [pymdownx.superfences]\n")
    project.write("docs/index.md", "# x\n\n```python\nx = '<span>' < '1'\n```\n")
    run = project.run("docs")

    assert run.code == 0, run.text


FIXED = (
    # the block fails: what it wrote until then is no output to show
    ("```python\nprint('a')\n1 / 0\n```\n\n```text { .output }\nb\n```\n", 1),
    ('```console\n$ python -c "print(1)"\n2\n$ no-such-program\nx\n```\n', 1),
    # it would be a fence
    ("```python\nprint('`' * 3)\n```\n\n```text { .output }\nb\n```\n", 1),
)


@pytest.mark.parametrize(("page", "code"), FIXED)
def test_fix_output_never_damages_a_page(project: Project, page: str, code: int) -> None:
    """What must not or cannot be written is said, and the page stays."""
    path = project.write("docs/a.md", page)
    run = project.run("docs", "--fix-output")

    assert run.code == code
    assert path.read_text("utf-8") == page


def test_a_tally_for_a_missing_folder_is_refused_at_once(project: Project) -> None:
    """Before anything runs."""
    run = project.run("--tally", "missing/t.json", without=("tally",))

    assert run.code == 4
    assert "there is no folder" in run.text


def test_fix_output_never_damages_a_module(project: Project) -> None:
    """Three quotes would end the docstring."""
    text = '"""x\n\n```python\nprint(chr(34) * 3)\n```\n\n```text { .output }\n1\n```\n"""\n'
    path = project.write("src/m.py", text)
    run = project.run("src", "--fix-output")

    assert run.code == 1
    assert "three quotes" in run.text
    assert path.read_text("utf-8") == text


def test_fix_output_keeps_the_line_ends_of_a_page(project: Project) -> None:
    """A page that was written on Windows stays so."""
    path = project.root / "docs" / "a.md"
    path.parent.mkdir()
    path.write_bytes(b"# x\r\n\r\n```python\r\nprint(1)\r\n```\r\n\r\n```text { .output }\r\n2\r\n```\r\n")
    run = project.run("docs", "--fix-output")

    assert run.code == 0, run.text
    assert path.read_bytes().count(b"\r\n") == path.read_bytes().count(b"\n") == 9
    assert b"\r\n1\r\n" in path.read_bytes()


# ---- dead lines --------------------------------------------------------------------------------------


STATEMENTS = (
    ("x = 1\nif x:\n    y = 1\nelse:\n    y = 2", [6]),
    ("try:\n    x = 1\nexcept ValueError:\n    x = 2", [4]),
    ("def f():\n    return 1", [3]),
    ("def f():\n    '''Doc.'''\n    ...\n\n\nf()", []),
    ("import sys\nif sys.platform == 'none':\n    x = 1\nelse:\n    y = 2", []),
    ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import json", []),
    ("match 3:\n    case 3:\n        x = 1\n    case _:\n        x = 2", [6]),
    (
        "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return [\n        1,\n    ]\nawait f()",
        [],
    ),
    ("import threading\ndef f():\n    x = 1\nt = threading.Thread(target=f)\nt.start()\nt.join()", []),
    ("class A:\n    x: int\n    y: int = 2\n    def f(self):\n        pass", []),
)


@pytest.fixture(scope="module")
def statements(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_pages(tmp_path_factory, (f"```python\n{code}\n```\n" for code, _ in STATEMENTS))


@pytest.mark.parametrize("number", range(len(STATEMENTS)))
def test_statements_that_never_ran_fail_the_run(statements: Run, number: int) -> None:
    """Whole statements, not lines; a branch for another system is left to the merge of the tallies."""
    page = f"docs/{number}.md"
    named = [line for line in statements.dead(page) if f"dead {page}:{line}: " in statements.text]

    assert statements.code == 1
    assert named == STATEMENTS[number][1], statements.text


def test_a_bad_listing_may_have_lines_it_never_reaches(project: Project) -> None:
    """That is often what is bad about it."""
    project.write(
        "docs/a.md",
        '```python { .bad title="worker.py" }\ndef f() -> None:\n    raise ValueError\n    print()\n```\n\n'
        '```python { data-raises="ValueError" }\nfrom worker import f\n\nf()\n```\n',
    )

    assert project.run("docs").code == 0


# ---- docstrings and fixtures -------------------------------------------------------------------------


def test_examples_in_docstrings_run(project: Project) -> None:
    """With the same grammar and the same contracts."""
    project.write(
        "src/module.py",
        'def f() -> int:\n    """One.\n\n    ```python\n    from module import f\n\n    assert f() == 1\n    ```\n\n'
        '    ```python { data-raises="ValueError" }\n    int("x")\n    ```\n    """\n    return 1\n',
    )
    project.write("pytest.ini", (project.root / "pytest.ini").read_text("utf-8") + "pythonpath = src\n")

    run = project.run("src")

    assert run.code == 0, run.text
    assert run.states("src/module.py") == [(4, "executed"), (10, "executed")]


def test_an_async_fixture_and_its_block_share_a_loop(project: Project) -> None:
    """The loop is pytest-asyncio's."""
    pytest.importorskip("pytest_asyncio", reason="pytest-asyncio is not installed")
    project.write(
        "conftest.py",
        "import asyncio\nimport pytest_asyncio\n@pytest_asyncio.fixture\nasync def loop():\n    yield asyncio.get_running_loop()\n",
    )
    project.write(
        "docs/a.md",
        "```python { fixture:loop }\nimport asyncio\n\nawait asyncio.sleep(0)\nassert asyncio.get_running_loop() is loop\n```\n",
    )

    run = project.run("docs")

    assert run.code == 0, run.text


# ---- ending ------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to one process, which Windows cannot")
def test_ctrl_c_ends_the_run_and_what_the_block_has_started(project: Project) -> None:
    """pytest's own exit code for it is 2."""
    project.write(
        "docs/a.md",
        "```python\nimport asyncio, os, signal\n\nasync def main():\n    os.kill(os.getpid(), signal.SIGINT)\n    await asyncio.sleep(60)\n\n"
        "await main()\n```\n\n```python\nprint('next')\n```\n",
    )

    run = project.run("docs")

    assert run.code == 2, run.text


def test_merge_fails_for_what_ran_nowhere(project: Project) -> None:
    """The tallies of several systems together: a table, the faults, and the exit code."""
    project.write(
        "docs/a.md",
        '```python { data-only="win32" }\nx = 1\n```\n\n```python { data-only="linux,darwin" }\nx = 1\n```\n',
    )
    project.run("docs")
    mine = json.loads((project.root / "tally.json").read_text("utf-8"))
    here, other = (1, 5) if sys.platform == "win32" else (5, 1)
    theirs = {**mine, "system": "elsewhere", "blocks": [
        {**block, "state": "executed" if block["line"] == other else "not run here"} for block in mine["blocks"]
    ]}  # fmt: skip
    project.write("other.json", json.dumps(theirs))
    project.write("broken.json", "[]")

    def merge(*files: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "offloop.testing.tally", "merge", *files]
        return subprocess.run(
            command, cwd=project.root, env=environment(), capture_output=True, text=True, timeout=60
        )

    alone, both, broken = merge("tally.json"), merge("tally.json", "other.json"), merge("broken.json")

    assert (alone.returncode, both.returncode, broken.returncode) == (1, 0, 2), (alone, both, broken)
    assert f"FAULT docs/a.md:{other}: ran nowhere" in alone.stdout
    assert f"docs/a.md:{here}" not in alone.stdout
    assert "broken.json is not a tally" in broken.stderr


# ---- timelines -----------------------------------------------------------------------------------------

STALLS = "import asyncio, time\nawait asyncio.sleep(0)\ntime.sleep(0.15)\n"


def test_timelines_are_written_for_blocks_that_kept_their_contract(project: Project) -> None:
    """Under xdist, too, and `-m timeline` runs just these."""
    project.write(
        "docs/page.md",
        "# A\n\n```python { data-timeline }\nimport asyncio\n\nawait asyncio.sleep(0)\n```\n\n"
        "```python\nx = 1\n```\n\n"
        "```python { data-timeline }\nassert False\n```\n",
    )

    run = project.run("docs", "-n", "2", "-m", "timeline", "--timelines", "seen/here")

    assert "1 failed, 1 passed" in run.text
    (written,) = (project.root / "seen" / "here").iterdir()
    assert [task["name"] for task in json.loads(written.read_text("utf-8"))["tasks"]] == ["main"]


def test_a_timeline_with_a_stall_that_nobody_stated_is_not_written(project: Project) -> None:
    """The block is right, its picture would not be; the run says so."""
    project.write("docs/page.md", f"# A\n\n```python {{ data-timeline }}\n{STALLS}```\n")

    run = project.run("docs", "--timelines", "seen")

    assert run.code == 0, run.text
    assert "no timeline of docs/page.md:3: main held the loop, and the page does not say so" in run.text
    assert not (project.root / "seen").exists()


def test_timelines_in_a_file_are_refused_at_once(project: Project) -> None:
    """Before anything has run."""
    project.write("docs/page.md", "# A\n")
    project.write("seen", "")

    run = project.run("docs", "--timelines", "seen", without=("tally",))

    assert run.code == 4
    assert "--timelines seen: this is a file, and must be a folder" in run.text


def test_a_timeline_of_an_earlier_run_does_not_stay(project: Project) -> None:
    """A block that fails has no picture, whatever it did before."""
    project.write(
        "docs/page.md",
        "# A\n\n```python { data-timeline }\nimport os\n\nassert not os.environ.get('BREAK')\n```\n",
    )
    project.write("conftest.py", "")

    first = project.run("docs", "--timelines", "seen")
    before = list((project.root / "seen").iterdir())
    project.write("conftest.py", "import os\nos.environ['BREAK'] = '1'\n")
    second = project.run("docs", "--timelines", "seen", alone=True)

    assert (first.code, second.code) == (0, 1), second.text
    assert len(before) == 1
    assert list((project.root / "seen").iterdir()) == []
