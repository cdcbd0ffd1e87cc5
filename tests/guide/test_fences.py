"""The grammar of a fence line, and finding every fence."""

import pytest

from offloop.guide.fences import Fence, scan

TICKS = "```"


def only(text: str) -> Fence:
    fences, faults = scan(text)
    assert not faults
    assert len(fences) == 1
    return fences[0]


def block(info: str, *lines: str, indent: str = "") -> str:
    return "".join(f"{indent}{line}\n" for line in (TICKS + info, *(lines or ("pass",)), TICKS))


def test_a_plain_fence_has_its_language_lines_and_content() -> None:
    """`line` and `end` are the fence lines, counted from 1; the content keeps its line ends."""
    fence = only("text\n\n" + block("python", "x = 1", "y = 2"))

    assert (fence.line, fence.end, fence.language, fence.content) == (3, 6, "python", "x = 1\ny = 2\n")
    assert fence.faults == ()


def test_braces_hold_classes_id_values_and_flags() -> None:
    """Everything inside the one pair of braces is found, a brace inside quotes too."""
    fence = only(block('python { .bad #x hl_lines="1 2" data-raises="KeyError: {a}" fixture:tmp_path }'))

    assert fence.faults == ()
    assert fence.classes == {"bad"}
    assert fence.id == "x"
    assert fence.values == {"hl_lines": "1 2", "data-raises": "KeyError: {a}"}
    assert fence.fixtures == ("tmp_path",)


@pytest.mark.parametrize(
    ("info", "says"),
    [
        ("python notest", "did you mean `python { notest }`?"),
        ("python continuation", "is not `word` or `word { ... }`"),
        ('python raises="E"', "is not `word` or `word { ... }`"),
        ('python title="x" { .bad }', 'did you mean `python { title="x" .bad }`?'),
        ("python {notest}", "did you mean `python { notest }`?"),
        ("{.python notest}", "did you mean `python { notest }`?"),
        ("{ .python .x }", "did you mean `python { .x }`?"),
        ("{.annotate .python}", "did you mean `python { .annotate }`?"),
        ("python,notest", "did you mean `python { notest }`?"),
        ("Python", "did you mean `python`?"),
        ("python3", "did you mean python?"),
        ("pycon", "did you mean python?"),
        ("py", "did you mean python?"),
        ("pyhton", "did you mean python?"),
        ("consle", "did you mean console?"),
        ("", "a fence needs a language word"),
        (" python", "nothing stands between the ticks and the language word"),
        ('python { data-timout="5" }', "did you mean data-timeout?"),
        ('python { data-rasies="E" }', "did you mean data-raises?"),
        ('python { raises="E" }', "unknown key 'raises'"),
        ("python { notset }", "did you mean notest?"),
        ("python { continuation }", "unknown flag 'continuation'"),
        ("python { .bda }", "did you mean .bad?"),
        ("text { .outptu }", "did you mean .output?"),
        ("python { .output }", "an output is written `text { .output }`"),
        ("python { notest }", 'notest needs data-because="reason"'),
        ('python { notest data-because=" " }', "must be a reason"),
        ('python { data-because="x" }', "data-because belongs to notest"),
        ('text { notest data-because="x" }', "data-because belongs on python or console"),
        ('python { data-timeout="soon" }', "must be a number above 0"),
        ('python { data-timeout="-1" }', "must be a number above 0"),
        ('python { data-timeout="nan" }', "must be a number above 0"),
        ('python { data-blocks-loop="0" }', "must be a number above 0"),
        ('python { data-hangs="inf" }', "must be a number above 0"),
        ('python { data-leaks="proces" }', "did you mean process?"),
        ('python { data-only="windows" }', "did you mean win32?"),
        ('python { data-only="linux," }', "'' is not known"),
        ('python { data-backend="asyncio,tokio" }', "'tokio' is not known"),
        ('python { data-backend="trio,trio" }', "names trio twice"),
        ('python { data-raises=": no type" }', 'must be "Type"'),
        ('python { data-exit="3" }', "data-exit belongs on console, not on python"),
        ('console { data-raises="E" }', "data-raises belongs on python, not on console"),
        ('console { data-exit="x" }', "must be an exit code"),
        ('text { data-raises="E" }', "data-raises belongs on python, not on text"),
        ('python { title="a.py" data-raises="E" }', "put it on the block that imports a.py"),
        ('python { title="a.py" fixture:tmp_path }', "a fixture on a file"),
        ('python { .run title="a.py" }', "a Run button belongs on a Python block without a file name"),
        ("console { .run }", "a Run button belongs on a Python block without a file name"),
        ('python { title="../a.py" }', "cannot be imported"),
        ('python { title="my-file.py" }', "cannot be imported"),
        ('python { title="queue.py" }', "hides the standard library's module queue"),
        ('python { data-hangs="1" data-raises="E" }', "cannot be joined with data-raises"),
        ('python { data-hangs="1" fixture:tmp_path }', "it gets no fixtures"),
        ("python { title=x }", "'title=x' is not .class, #id"),
        ("python { title='x' }", "is not .class, #id"),
        ('python { data-only="linux" data-only="win32" }', "data-only is given twice"),
    ],
)
def test_a_wrong_fence_line_is_a_fault_that_says_what_is_right(info: str, says: str) -> None:
    """Nothing outside the one form is accepted, and nothing is dropped in silence."""
    fences, _ = scan(block(info))

    assert len(fences) == 1
    assert any(says in fault for fault in fences[0].faults), fences[0].faults


def test_a_word_of_a_title_is_no_option() -> None:
    """A title may hold the words that are flags elsewhere."""
    fence = only(block('python { title="how notest works" }'))

    assert fence.faults == ()
    assert fence.excuse is None


@pytest.mark.parametrize(
    "text",
    [
        '=== "Linux"\n\n' + block("python", indent="    "),
        "!!! note\n\n" + block("python", indent="    "),
        "- item\n\n" + block("python", indent="    "),
        "> quoted\n>\n" + block("python", indent="> "),
        "- item\n\n    > quoted\n    >\n" + block("python", indent="    > "),
        "<div markdown>\n" + block("python") + "</div>\n",
        "/// tab | Linux\n" + block("python") + "///\n",
        "!!! note\n\n" + block("python", indent="\t"),
        "- item\n\n    - item\n\n" + block("python", indent="    \t"),
        "~~~python\npass\n~~~\n",
        "`````python\npass\n`````\n",
    ],
)
def test_a_fence_is_found_in_every_container(text: str) -> None:
    """Tabs, admonitions, lists, quotes, HTML and longer or other ticks; the container's prefix is taken off."""
    fence = only(text)

    assert (fence.language, fence.content, fence.faults) == ("python", "pass\n", ())


def test_indentation_inside_a_block_is_kept() -> None:
    """Only the indentation of the fence itself is removed."""
    fence = only("- x\n\n" + block("python", "if True:", "    pass", indent="    "))

    assert fence.content == "if True:\n    pass\n"


def test_a_tab_of_the_indentation_is_four_columns() -> None:
    """As in the renderer: a page may be indented with tabs, with spaces, or with both."""
    fence = only("- x\n\n" + block("python", "if True:", "\tpass", indent="\t"))

    assert fence.content == "if True:\n    pass\n"


def test_a_fence_inside_a_longer_fence_is_text() -> None:
    """A page can show a fence."""
    fence = only("````markdown\n" + block("python") + "````\n")

    assert fence.language == "markdown"


def test_a_block_inside_a_comment_is_a_fault() -> None:
    """It is neither shown nor run; plain text in a comment is nobody's business."""
    fences, faults = scan(
        "<!--\n" + block("python") + "-->\n" + "<!--\nfree\n-->\n" + block("python", "x = 1")
    )

    assert [fence.content for fence in fences] == ["x = 1\n"]
    assert [(fault.line, "inside an HTML comment" in fault.text) for fault in faults] == [(2, True)]


def test_a_comment_that_is_never_closed_is_a_fault() -> None:
    """It may hide the rest of the page."""
    _, faults = scan("text <!-- free\n\n" + block("python"))

    assert (faults[0].line, faults[0].text) == (1, "the HTML comment is never closed")


def test_the_mark_of_a_comment_in_inline_code_hides_nothing() -> None:
    """A page may speak of `<!--`."""
    assert only("Write `<!--` here.\n\n" + block("python")).language == "python"


def test_a_fence_on_the_line_of_a_list_marker_is_a_fault() -> None:
    """The site prints it as text."""
    _, faults = scan("- ```python\n  x\n  ```\n")

    assert "on the line of a list marker" in faults[0].text


def test_a_fence_that_is_never_closed_is_a_fault() -> None:
    """It would swallow the rest of the page."""
    fences, _ = scan("```python\nx = 1\n")

    assert "the fence is never closed" in fences[0].faults


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (('--8<-- "snip.py"',), "is not expanded"),
        (("print('a\tb')",), "shows it as spaces"),
        (("",), "the block is empty"),
    ],
)
def test_content_that_would_run_as_something_else_is_a_fault(lines: tuple[str, ...], says: str) -> None:
    """What the site would show differs from what would run."""
    fences, _ = scan(block("python", *lines))

    assert any(says in fault for fault in fences[0].faults)
