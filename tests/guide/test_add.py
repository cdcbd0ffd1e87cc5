"""`offloop add`: copies of patterns, what becomes of them, and the tests that are made from their proofs."""

from __future__ import annotations

import ast
import hashlib
import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from offloop.cli import main
from offloop.guide import add
from offloop.guide.add import Copy, CopyState, copies_of, patterns, write_copies
from offloop.guide.fences import Fence
from offloop.guide.pages import docs_folder, read_page
from offloop.guide.proofs import proofs_as_tests

ROOT = Path(__file__).parents[2]
ON_WINDOWS = os.name == "nt"

MAIN = '"""The main file."""\n\nprint("main")\n'
HELPER = '"""Another file."""\n\nVALUE = 1\n'
PAGE = f"""\
---
description: A sentence about it.
---
# A pattern

```python {{ title="main_file.py" }}
{MAIN}```

```python {{ title="helper_file.py" }}
{HELPER}```

```python {{ #proof-value }}
from helper_file import VALUE

assert VALUE == 1
```
"""


class Guide:
    """A guide with one page, and the folder of a user."""

    def __init__(self, docs: Path, target: Path) -> None:
        self.docs, self.target = docs, target

    def write_page(self, text: str, name: str = "a-pattern") -> None:
        (self.docs / "patterns" / f"{name}.md").write_text(text, "utf-8")

    def add(self, *words: str) -> int:
        return main(["add", "a-pattern", "--path", str(self.target), *words])

    def files(self) -> dict[str, str]:
        return {path.name: path.read_text("utf-8") for path in self.target.iterdir()}


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guide:
    made = Guide(tmp_path / "docs", tmp_path / "project")
    (made.docs / "patterns").mkdir(parents=True)
    made.write_page(PAGE)
    monkeypatch.setattr(add, "docs_folder", lambda: made.docs)
    return made


def code_of(words: list[str]) -> int:
    """The exit code, also where argparse ends the program."""
    try:
        return main(words)
    except SystemExit as end:
        return int(end.code or 0)


# ---- the list ----------------------------------------------------------------------------------------


def test_without_a_name_the_patterns_are_listed(guide: Guide, capsys: pytest.CaptureFixture[str]) -> None:
    """Name, files and description; a page without a file is no pattern."""
    guide.write_page("---\ndescription: x\n---\n# Overview\n", "index")

    assert main(["add"]) == 0
    assert capsys.readouterr().out == "a-pattern: main_file.py, helper_file.py\n    A sentence about it.\n"


@pytest.mark.parametrize(
    ("terminal", "variables", "coloured"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {"WT_SESSION": "x"}, True),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {}, False),
        (False, {"TERM": "xterm"}, False),
    ],
)
def test_colour_is_for_terminals(
    guide: Guide,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    variables: dict[str, str],
    coloured: bool,
) -> None:
    """Those that understand it, and whose user has not said no."""
    for name in ("TERM", "WT_SESSION", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)

    main(["add"])

    assert ("\033" in capsys.readouterr().out) is coloured


def test_every_page_of_a_pattern_is_offered() -> None:
    """A page in the folder of the patterns without a file to copy would be a mistake."""
    pages = [path.stem for path in sorted((docs_folder() / "patterns").glob("*.md"))]

    assert [pattern.name for pattern in patterns()] == pages
    assert all(pattern.description.endswith(".") for pattern in patterns())


# ---- copies ------------------------------------------------------------------------------------------


def test_a_copy_says_where_it_is_from(guide: Guide, capsys: pytest.CaptureFixture[str]) -> None:
    """Page, version and hash stand above the content, which is that of the page."""
    assert guide.add() == 0

    first, second, third, content = guide.files()["main_file.py"].split("\n", 3)
    assert first == "# from https://offloop.readthedocs.io/en/latest/patterns/a-pattern/"
    assert re.fullmatch(r"# offloop .+", second)
    assert third == f"# sha256 {hashlib.sha256(MAIN.encode()).hexdigest()}"
    assert content == MAIN
    assert ast.get_docstring(ast.parse(guide.files()["main_file.py"])) == "The main file."
    assert sorted(guide.files()) == ["helper_file.py", "main_file.py"]
    assert (guide.target / "main_file.py").read_bytes().count(b"\r") == 0


def test_the_steps_are_said(guide: Guide, capsys: pytest.CaptureFixture[str]) -> None:
    """The new folder too."""
    guide.add()

    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"create     {guide.target}{os.sep}",
        f"create     {guide.target / 'main_file.py'}",
        f"create     {guide.target / 'helper_file.py'}",
    ]


def test_the_current_folder_is_the_default(guide: Guide, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --path."""
    guide.target.mkdir()
    monkeypatch.chdir(guide.target)

    assert main(["add", "a-pattern"]) == 0
    assert sorted(guide.files()) == ["helper_file.py", "main_file.py"]


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        ("#!/usr/bin/env python\n", MAIN),
        ("# -*- coding: utf-8 -*-\n", MAIN),
        ("#!/usr/bin/env python\n# vim: set fileencoding=utf-8 :\n", MAIN),
        ("", "# A remark.\n" + MAIN),
        ("", MAIN + "# coding: later than line 2 is a remark\n"),
    ],
)
def test_shebang_and_encoding_stay_first(first: str, rest: str) -> None:
    """They work in the first two lines only; and the header is found again below them."""
    copy = Copy(Path("x.py"), "https://page/", "1", first + rest, None)

    assert copy.text.startswith(f"{first}# from https://page/\n# offloop 1\n# sha256 ")
    assert copy.text.endswith(rest)
    assert Copy(copy.path, copy.page, "2", copy.content, copy.text).state is CopyState.CURRENT


def test_what_is_up_to_date_is_not_written(guide: Guide, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever its line ends are, whether an editor has put a mark before it, and by which version it was written."""
    guide.add()
    path = guide.target / "main_file.py"
    text = re.sub("# offloop .*", "# offloop 0.0.1", path.read_text("utf-8"))
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    before = path.read_bytes()
    capsys.readouterr()

    assert guide.add() == 0
    assert path.read_bytes() == before
    assert capsys.readouterr().out.splitlines()[0] == f"unchanged  {path}"
    assert guide.add("--diff") == 0


def test_an_unedited_copy_is_updated(guide: Guide, capsys: pytest.CaptureFixture[str]) -> None:
    """When its page has changed."""
    guide.add()
    guide.write_page(PAGE.replace("VALUE = 1", "VALUE = 2"))
    capsys.readouterr()

    assert guide.add() == 0
    assert "VALUE = 2" in guide.files()["helper_file.py"]
    assert "update     " in capsys.readouterr().out
    assert guide.add("--diff") == 0


def edit(guide: Guide) -> None:
    path = guide.target / "helper_file.py"
    path.write_text(path.read_text("utf-8") + "# mine\n", "utf-8")


def foreign(guide: Guide) -> None:
    (guide.target / "helper_file.py").write_text("mine\n", "utf-8")


def of_another_page(guide: Guide) -> None:
    path = guide.target / "helper_file.py"
    path.write_text(path.read_text("utf-8").replace("/a-pattern/", "/other/").replace("= 1", "= 3"), "utf-8")


def not_text(guide: Guide) -> None:
    (guide.target / "helper_file.py").write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (edit, "you have edited it, and the page has changed since it was copied"),
        (foreign, "offloop add did not write it"),
        (of_another_page, "is from another page"),
        (not_text, "offloop add did not write it"),
    ],
)
def test_what_is_the_users_is_not_overwritten(
    guide: Guide, capsys: pytest.CaptureFixture[str], change: Callable[[Guide], None], reason: str
) -> None:
    """And no other file is written then, unless --overwrite."""
    guide.add()
    change(guide)
    before = {path: path.read_bytes() for path in guide.target.iterdir()}
    guide.write_page(PAGE.replace('"main"', '"new"').replace("VALUE = 1", "VALUE = 2"))
    capsys.readouterr()

    assert guide.add() == 1
    said = capsys.readouterr()
    assert f"refuse     {guide.target / 'helper_file.py'}: {reason}\n" in said.out
    assert "Nothing was written." in said.out
    assert "--overwrite" in said.err
    assert {path: path.read_bytes() for path in guide.target.iterdir()} == before

    assert guide.add("--overwrite") == 0
    assert f"overwrite  {guide.target / 'helper_file.py'}: {reason}\n" in capsys.readouterr().out
    assert 'print("new")' in guide.files()["main_file.py"]
    assert guide.add("--diff") == 0


def test_a_dry_run_says_the_same_and_writes_nothing(guide: Guide, capsys: pytest.CaptureFixture[str]) -> None:
    """Its exit code, too, is that of the real run."""
    assert guide.add("--dry-run") == 0
    assert "create     " in capsys.readouterr().out
    assert not guide.target.exists()

    guide.add()
    edit(guide)
    before = guide.files()
    capsys.readouterr()

    assert guide.add("--dry-run") == 1
    out = capsys.readouterr().out
    assert f"unchanged  {guide.target / 'main_file.py'}\n" in out
    assert f"refuse     {guide.target / 'helper_file.py'}: you have edited it\n" in out
    assert guide.add("--dry-run", "--overwrite") == 0
    assert "overwrite  " in capsys.readouterr().out
    assert guide.files() == before


def test_view_prints_the_files(guide: Guide, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them, as they would be written; nothing is written."""
    assert guide.add("--view", "--with-test") == 0

    out = capsys.readouterr().out
    assert re.findall("^# ---- (.*)$", out, re.MULTILINE) == [
        "main_file.py",
        "helper_file.py",
        "test_a_pattern.py",
    ]
    assert MAIN in out
    assert not guide.target.exists()


def test_a_console_without_a_character_shows_another(guide: Guide, monkeypatch: pytest.MonkeyPatch) -> None:
    """A code page of Windows does not end the command."""
    guide.write_page(PAGE.replace("The main file.", "The main file \u2192."))
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(data, "ascii"))

    assert guide.add("--view") == 0
    sys.stdout.flush()
    assert b"The main file ?." in data.getvalue()


# ---- what differs, and why ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edited", "page_changed", "says"),
    [
        (True, False, "you have edited it"),
        (False, True, "the page has changed since it was copied"),
        (True, True, "you have edited it, and the page has changed since it was copied"),
    ],
)
def test_diff_tells_an_edit_from_a_change_of_the_page(
    guide: Guide, capsys: pytest.CaptureFixture[str], edited: bool, page_changed: bool, says: str
) -> None:
    """By the hash that was recorded; the header is no part of the difference."""
    guide.add()
    if edited:
        edit(guide)
    if page_changed:
        guide.write_page(PAGE.replace("VALUE = 1", "VALUE = 2"))
    before = guide.files()
    capsys.readouterr()

    assert guide.add("--diff") == 1
    out = capsys.readouterr().out
    assert f"{guide.target / 'main_file.py'}: is up to date\n" in out
    assert f"{guide.target / 'helper_file.py'}: {says}\n--- " in out
    assert ("\n-# mine\n" in out) is edited
    assert ("\n-VALUE = 1\n" in out and "\n+VALUE = 2\n" in out) is page_changed
    assert "sha256" not in out
    assert guide.files() == before


def test_diff_with_nothing_there_shows_the_whole_file(
    guide: Guide, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of it is new."""
    assert guide.add("--diff") == 1
    out = capsys.readouterr().out
    assert f"{guide.target / 'main_file.py'}: is not there\n" in out
    assert '+print("main")\n' in out


def test_diff_shows_that_the_last_line_has_no_end(guide: Guide, capsys: pytest.CaptureFixture[str]) -> None:
    """As other tools do; else nothing would be seen."""
    guide.add()
    path = guide.target / "main_file.py"
    path.write_text(path.read_text("utf-8").removesuffix("\n"), "utf-8")
    capsys.readouterr()

    assert guide.add("--diff") == 1
    assert '-print("main")\n\\ No newline at end of file\n+print("main")\n' in capsys.readouterr().out


def test_the_same_content_without_a_header_is_up_to_date() -> None:
    """There is nothing to lose, and nothing to do."""
    assert Copy(Path("x.py"), "p", "1", MAIN, MAIN).state is CopyState.CURRENT


# ---- where it may write ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "title",
    ["../main_file.py", "sub/main_file.py", "..\\main_file.py", "/main_file.py", "C:main_file.py", ".py"],
)
def test_a_name_that_is_no_files_is_refused(
    guide: Guide, capsys: pytest.CaptureFixture[str], title: str
) -> None:
    """Nothing is written, neither there nor here."""
    guide.write_page(PAGE.replace("main_file.py", title))

    assert code_of(["add", "a-pattern", "--path", str(guide.target)]) == 2
    assert "cannot be imported" in capsys.readouterr().err
    assert not guide.target.exists()


def link(path: Path, to: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    try:
        path.symlink_to(to)
    except OSError as error:
        pytest.skip(f"no symbolic links here: {error}")
    if not path.is_symlink():
        pytest.skip("Wine says that it has made a link, and has not")


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("words", [[], ["--overwrite"], ["--diff"]])
def test_a_link_is_not_followed(
    guide: Guide, capsys: pytest.CaptureFixture[str], there: bool, words: list[str]
) -> None:
    """Not even with --overwrite, and whether or not it leads to a file."""
    outside = guide.docs / "mine.py"
    link(guide.target / "helper_file.py", outside)
    if there:
        outside.write_text("mine\n")

    assert code_of(["add", "a-pattern", "--path", str(guide.target), *words]) == 2
    assert "links are not followed" in capsys.readouterr().err
    assert outside.exists() is there
    assert [path.name for path in guide.target.iterdir()] == ["helper_file.py"]


def test_links_in_a_circle_are_refused(guide: Guide, capsys: pytest.CaptureFixture[str]) -> None:
    """Each Python says it in other words."""
    link(guide.target / "helper_file.py", guide.target / "helper_file.py")

    assert code_of(["add", "a-pattern", "--path", str(guide.target)]) == 2
    assert "offloop add: " in capsys.readouterr().err


def test_the_folder_itself_may_be_a_link(guide: Guide) -> None:
    """The user has named it."""
    real = guide.docs.parent / "real"
    real.mkdir()
    link(guide.target, real)

    assert guide.add() == 0
    assert (real / "main_file.py").is_file()


@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_cannot_be_written_is_said(guide: Guide, capsys: pytest.CaptureFixture[str], what: str) -> None:
    """A file where the folder should be, a folder where a file should be."""
    if what == "file":
        guide.target.write_text("a file")
    else:
        (guide.target / "main_file.py").mkdir(parents=True)

    assert code_of(["add", "a-pattern", "--path", str(guide.target)]) == 2
    assert capsys.readouterr().err.startswith("offloop add: [")


@pytest.mark.parametrize("call", [1, 2])
def test_an_error_in_writing_leaves_everything_as_it_was(
    guide: Guide, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """A full disk at the second file: the first one is the old one, and nothing else is left."""
    guide.add()
    before = guide.files()
    guide.write_page(PAGE.replace('"main"', '"new"').replace("VALUE = 1", "VALUE = 2"))
    real, calls = Path.write_text, list[Path]()

    def full(self: Path, data: str, encoding: str, newline: str) -> int:
        calls.append(self)
        real(self, data[:10], encoding, newline=newline)
        if len(calls) == call:
            raise OSError("No space left on device")
        return len(data)

    monkeypatch.setattr(Path, "write_text", full)
    (pattern,) = patterns()
    with pytest.raises(OSError, match="No space left"):
        write_copies(copies_of(pattern, guide.target, "1"))

    assert guide.files() == before


@pytest.mark.skipif(ON_WINDOWS, reason="files have no such bits")
def test_the_permissions_stay(guide: Guide) -> None:
    """A new file gets what the umask says, an old one keeps what it has."""
    guide.add()
    path = guide.target / "main_file.py"
    plain = guide.target / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode

    path.chmod(0o750)
    guide.write_page(PAGE.replace('"main"', '"new"'))
    guide.add()
    assert path.stat().st_mode & 0o777 == 0o750


# ---- the command line --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a_patern"], "there is no pattern 'a_patern'; did you mean a-pattern?"),
        (["zzz"], "there is no pattern 'zzz'; `offloop add` lists them."),
        (["--diff"], "these options need a NAME"),
        (["--path", "x"], "these options need a NAME"),
        (["a-pattern", "--diff", "--view"], "not allowed with argument"),
        (["a-pattern", "--dif-f"], "unrecognized arguments"),
    ],
)
def test_a_wrong_argument_ends_it(
    guide: Guide, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    """With exit code 2, and the nearest right name."""
    assert code_of(["add", *words]) == 2
    assert says in capsys.readouterr().err


def test_the_help_says_what_the_exit_codes_mean(capsys: pytest.CaptureFixture[str]) -> None:
    """All three."""
    assert code_of(["add", "--help"]) == 0
    assert re.findall(r"^  (\d)  ", capsys.readouterr().out, re.MULTILINE) == ["0", "1", "2"]


@pytest.mark.slow
def test_it_works_from_a_wheel(tmp_path: Path) -> None:
    """The pages travel in it."""
    builders = pytest.importorskip("hatchling.builders.wheel")
    [wheel] = builders.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "installed")
    done = subprocess.run(
        [sys.executable, "-m", "offloop", "add", "simple-execution", "--path", "copied"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "copied" / "run_module.py").is_file()


# ---- tests from proofs -------------------------------------------------------------------------------


def blocks_as_tests(tmp_path: Path, *blocks: str) -> str:
    """The test file that a page with these blocks makes; the parts that every one has are cut off."""
    path = tmp_path / "page.md"
    path.write_text('```python { title="worker.py" }\n"""A file."""\nclass Full(Exception): ...\n```\n\n')
    with path.open("a", encoding="utf-8") as file:
        file.write("\n".join(blocks))
    text = proofs_as_tests(read_page(path))
    ast.parse(text)
    return text.partition("syspath_prepend(HERE)\n\n\n")[2]


def block(info: str, code: str) -> str:
    return f"```{info}\n{code}\n```\n"


@pytest.mark.parametrize(
    ("info", "code", "expected"),
    [
        ("{ #proof-a.b }", "assert True", "def test_proof_a_b() -> None:\n    assert True\n"),
        ("{ #x }", "await f()", "async def test_x() -> None:\n    await f()\n"),
        (
            "{ fixture:tmp_path fixture:monkeypatch }",
            "x = 1",
            "def test_block_1(monkeypatch, tmp_path) -> None:\n    x = 1\n",
        ),
        (
            '{ #x data-only="linux,darwin" }',
            "x = 1",
            '@pytest.mark.skipif(sys.platform not in ["linux", "darwin"], reason="only on linux, darwin")\n'
            "def test_x() -> None:\n    x = 1\n",
        ),
        (
            '{ #x data-raises="ValueError: a (b)" }',
            "f()",
            'def test_x() -> None:\n    with pytest.raises(ValueError, match=re.escape("a (b)")):\n        f()\n',
        ),
        (
            '{ #x data-raises="ModuleTimeoutError" }',
            "await f()",
            "async def test_x() -> None:\n    from offloop import ModuleTimeoutError\n\n"
            "    with pytest.raises(ModuleTimeoutError):\n        await f()\n",
        ),
        (
            '{ #x data-raises="asyncio.CancelledError" }',
            "await f()",
            "async def test_x() -> None:\n    import asyncio\n\n"
            "    with pytest.raises(asyncio.CancelledError):\n        await f()\n",
        ),
        (
            '{ #x data-raises="Full" }',
            "f()",
            "def test_x() -> None:\n    from worker import Full\n\n    with pytest.raises(Full):\n        f()\n",
        ),
        (
            '{ #x data-raises="Cancelled" }',
            "from trio import Cancelled\nf()",
            'def test_x() -> None:\n    pytest.importorskip("trio")\n\n    from trio import Cancelled\n\n'
            "    with pytest.raises(Cancelled):\n        from trio import Cancelled\n        f()\n",
        ),
        ('{ #x data-backend="asyncio,trio" }', "await f()", "async def test_x() -> None:\n    await f()\n"),
    ],
)
def test_a_block_becomes_a_function(tmp_path: Path, info: str, code: str, expected: str) -> None:
    """And its contract what pytest has for it."""
    assert blocks_as_tests(tmp_path, block(f"python {info}", code)) == expected


@pytest.mark.parametrize(
    ("info", "code", "reason"),
    [
        ("console", "$ python worker.py", "a session in a terminal"),
        ('python { data-blocks-loop="9" }', "x = 1", "it holds the loop on purpose, and pytest does not"),
        ('python { data-leaks="task" }', "x = 1", "it leaves a task behind on purpose"),
        ('python { data-hangs="1" }', "x = 1", "it hangs on purpose"),
        ('python { data-backend="trio" }', "await f()", "it runs on trio"),
        ('python { notest data-because="no net" }', "x = 1", "the page does not run it either: no net"),
        ('python { data-raises="Odd" }', "x = 1", "Odd cannot be imported before it runs"),
        (
            'python { data-raises="SyntaxError" }',
            "x = (",
            "it is no part of a function: '(' was never closed",
        ),
        ('python { data-raises="KeyError" }', "import re", "it has its own re, which the test needs"),
        ("python", "from worker import *", "it is no part of a function: import * only allowed at module"),
        ("python", "from __future__ import annotations", "it is no part of a function: from __future__"),
        ("python", "def f():\n    global x\n    x = 1", "it has a global variable"),
    ],
)
def test_what_pytest_cannot_say_is_left_out_with_the_reason(
    tmp_path: Path, info: str, code: str, reason: str
) -> None:
    """In its place."""
    text = blocks_as_tests(tmp_path, block(info, code), block("python { #x }", "y = 2"))

    comment, _, rest = text.partition("\n\n\n")
    assert f"# block 1 is left out: {reason}" in comment.replace("\n# ", " ")
    assert rest == "def test_x() -> None:\n    y = 2\n"


def test_an_output_is_compared(tmp_path: Path) -> None:
    """As the page is: `...` is any text, spaces at line ends are nothing."""
    text = blocks_as_tests(
        tmp_path, block("python { #x }", "print(1)"), block("text { .output }", '"1"...\n\n\\ 2  \n')
    )

    assert text.endswith(
        "def test_x(capfd: pytest.CaptureFixture[str]) -> None:\n    print(1)\n\n"
        "    assert_wrote(\n        capfd,\n"
        '        "\\"1\\"...\\n"\n        "\\n"\n        "\\\\ 2\\n",\n    )\n'
    )


def test_two_blocks_are_two_functions(tmp_path: Path) -> None:
    """Also where their names would be the same in Python."""
    text = blocks_as_tests(tmp_path, block("python { #a-b }", "x = 1"), block("python { #a_b }", "x = 2"))

    assert re.findall("def (.*)\\(", text) == ["test_a_b", "test_a_b_"]


@pytest.mark.parametrize(
    "code",
    [
        'x = """\nfirst\n\n\n  second"""\ny = 1',
        "x = f'''\n{1 +\n1}\n{'''\n  in\n''' if 1 else 2}\n'''\ny = 1"
        if sys.version_info >= (3, 12)
        else "x = 1",
        "x = f'''\na {1 + 1}\n\n\nb\n'''",
        "x = 'a\\\nb'\nif x:\n    y = '''\n'''",
        "x = (\n    'a'\n    'b'\n)\n\n\ndef f():\n    '''Doc.\n\n\n    More.\n    '''\n\n\n    return 1\n\n\ny = 1",
        "x = 1 + \\\n    2  # '''\ny = '#'",
        "x = [\n\n\n    1,\n]",
        "class A:\n    async def f(self):\n        return rb'''\n\\ '''\n\n\nawait A().f()",
        "if __name__ == '__main__':\n    raise SystemExit",
    ],
)
def test_indenting_changes_no_meaning(tmp_path: Path, code: str) -> None:
    """A string over several lines stays what it is."""
    tree = ast.parse(blocks_as_tests(tmp_path, block("python { #x }", code)))

    (function,) = tree.body
    assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    assert [ast.dump(node) for node in function.body] == [ast.dump(node) for node in ast.parse(code).body]


def statements(fence: Fence) -> list[str]:
    return [ast.dump(node) for node in ast.parse(fence.content).body]


@pytest.mark.parametrize("pattern", patterns(), ids=lambda pattern: pattern.name)
def test_every_block_of_a_pattern_is_in_its_test(pattern: add.Pattern) -> None:
    """Unchanged, or named in a comment."""
    text = proofs_as_tests(pattern.page)
    blocks = [fence for fence in pattern.page.fences if fence.runs and not fence.file]
    tests = {
        node.name: [ast.dump(part) for part in ast.walk(node) if isinstance(part, ast.stmt)]
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }
    left_out = re.findall("^# (.+?) is left out: ", text, re.MULTILINE)

    assert len(tests) + len(left_out) == len(blocks)
    for number, fence in enumerate(blocks, 1):
        if (fence.id or f"block {number}") not in left_out:
            name = "test_" + re.sub(r"\W", "_", fence.id or f"block {number}")
            assert not set(statements(fence)) - set(tests[name])


@pytest.mark.slow
@pytest.mark.parametrize("pattern", patterns(), ids=lambda pattern: pattern.name)
def test_the_test_of_a_pattern_passes(pattern: add.Pattern, tmp_path: Path) -> None:
    """In an empty folder, with no plugin but anyio's, and with no warning."""
    if sys.platform == "win32" and pattern.name != "simple-execution":
        pytest.skip("its blocks run there as a page, and that a copied test runs is shown by one of them")
    assert main(["add", pattern.name, "--path", str(tmp_path), "--with-test"]) == 0
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-m",
            "pytest",
            "-p",
            "anyio",
            "-p",
            "no:cacheprovider",
            "-W",
            "error",
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": str(Path(add.__file__).parents[2]),
        },
        capture_output=True,
        text=True,
        timeout=170,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{pattern.test_name} ." in done.stdout
    assert {path.name for path in tmp_path.iterdir() if path.suffix} == {
        *(fence.file for fence in pattern.files),
        pattern.test_name,
    }
