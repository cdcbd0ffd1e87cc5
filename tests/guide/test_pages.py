"""Reading a page, or a module's docstrings, as blocks."""

from pathlib import Path

import pytest

from offloop.guide.pages import Page, read_page

FILE = '```python { title="worker.py" }\nx = 1\n```\n'
BLOCK = "```python\nprint(1)\n```\n"
OUTPUT = "```text { .output }\n1\n```\n"


def page(tmp_path: Path, text: str, name: str = "page.md") -> Page:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return read_page(path)


def faults(tmp_path: Path, text: str, name: str = "page.md") -> list[tuple[int, str]]:
    return [(fault.line, fault.text) for fault in page(tmp_path, text, name).faults]


def test_an_output_belongs_to_the_block_directly_before_it(tmp_path: Path) -> None:
    """Blank lines between them are nothing."""
    read = page(tmp_path, BLOCK + "\n\n" + OUTPUT)

    assert read.faults == ()
    assert read.output_of(read.fences[0]) is read.fences[1]


@pytest.mark.parametrize(
    "before",
    [
        "",
        "text\n\n",
        BLOCK + "\nIt prints:\n\n",
        "```console\n$ python -V\n```\n",
        FILE,
        '```python { notest data-because="x" }\ny\n```\n',
        '```python { data-hangs="1" }\ny\n```\n',
    ],
)
def test_an_output_without_its_block_is_a_fault(tmp_path: Path, before: str) -> None:
    """It would never be compared with anything."""
    found = faults(tmp_path, before + OUTPUT)

    assert [line for line, _ in found] == [before.count("\n") + 1]


def test_two_files_of_one_name_are_a_fault(tmp_path: Path) -> None:
    """Also where only the case differs: one system would keep one of them."""
    found = faults(tmp_path, FILE + FILE.replace("worker", "Worker"))

    assert found == [(4, "'Worker.py' is already the file on line 1; choose another name")]


@pytest.mark.parametrize("other", ["```text { #proof }\nx\n```\n", "## Proof\n", "## Why { #proof }\n"])
def test_an_id_is_unique_on_its_page(tmp_path: Path, other: str) -> None:
    """Headings have ids too."""
    found = faults(tmp_path, other + "```python { #proof }\nx = 1\n```\n")

    assert len(found) == 1
    assert "the id #proof is already taken on line 1" in found[0][1]


def test_a_page_that_is_not_utf_8_is_a_fault_with_its_line(tmp_path: Path) -> None:
    """The byte and the line are named."""
    path = tmp_path / "page.md"
    path.write_bytes(b"# ok\ncaf\xe9\n")

    (fault,) = read_page(path).faults

    assert (fault.line, fault.text) == (2, "byte 0xe9 is not UTF-8: save the page as UTF-8")


def test_files_until_a_block_are_those_above_it(tmp_path: Path) -> None:
    """A file below a block does not exist when the block runs."""
    read = page(tmp_path, FILE + BLOCK + FILE.replace("worker", "later"))

    assert [fence.file for fence in read.files_until(read.fences[1])] == ["worker.py"]


def test_blocks_of_docstrings_have_the_lines_of_the_module(tmp_path: Path) -> None:
    """Docstrings of the module, of classes and of functions; other strings are no docstrings."""
    read = page(
        tmp_path,
        '"""Doc.\n\n```python\nx = 1\n```\n"""\n\nclass A:\n    """Doc.\n\n    ```python\n    if x:\n        y\n    ```\n    """\n'
        'TEXT = """\n```python\nno\n```\n"""\n',
        "module.py",
    )

    assert read.faults == ()
    assert [(fence.line, fence.content) for fence in read.fences] == [(3, "x = 1\n"), (11, "if x:\n    y\n")]


def test_a_backslash_in_a_docstring_needs_a_raw_one(tmp_path: Path) -> None:
    r"""What is written and what the docstring says would differ."""
    text = '"""Doc.\n\n```python\nprint("a\\\\n")\n```\n"""\n'

    assert [line for line, _ in faults(tmp_path, text, "module.py")] == [3]
    assert faults(tmp_path, "r" + text, "raw.py") == []


def test_reading_a_module_does_not_import_it(tmp_path: Path) -> None:
    """A module that ends the program when imported is only read."""
    read = page(tmp_path, '"""```python"""\nraise SystemExit\n', "module.py")

    assert read.fences == ()
