"""The site says where each block was last run: what the tallies say, and nothing without them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from offloop.guide.pages import docs_folder
from tests.testing.conftest import Project

markdown = pytest.importorskip("markdown", reason="Python-Markdown comes with the group docs")

PAGE = """\
# A page

```python { title="one.py" }
A = 1
```

```python { #proof-one }
import sys

from one import A

print(A)
```

```text { .output }
1
```

- in a list:

    ```python { data-only="win32" }
    import winreg
    ```

| page | proved on |
|---|---|
| this | <!-- evidence: page.md --> |
| another | <!-- evidence: other.md --> |

```text
<!-- evidence: page.md -->
```

<!-- evidence -->
"""


def html(text: str, tallies: Path) -> str:
    """*text* as a page of the site."""
    extensions = ["attr_list", "tables", "pymdownx.superfences", "offloop.guide.evidence"]
    settings = {"offloop.guide.evidence": {"tallies": f"{tallies.name}/*.json"}}
    return markdown.markdown(text, extensions=extensions, extension_configs=settings)


@pytest.fixture
def tallies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tally of a real run over the page, and the same as if another system had written it."""
    project = Project(tmp_path)
    project.write("docs/page.md", PAGE)
    run = project.run("docs")
    assert run.code == 0, run.text
    folder = project.root / "tallies"
    folder.mkdir()
    text = (project.root / "tally.json").read_text("utf-8")
    (folder / "here.json").write_text(text)
    other = json.loads(text) | {"system": "darwin", "python": "3.99", "emulator": "", "date": "2999-01-01"}
    (folder / "there.json").write_text(json.dumps(other))
    monkeypatch.chdir(project.root)
    return folder


def test_each_block_says_where_it_ran(tallies: Path) -> None:
    """Below its output, if it has one; a block that ran nowhere says nothing."""
    text = html(PAGE, tallies)
    lines = re.findall(r'<p class="evidence">(.*?)</p>', text)
    shown = re.sub(r"<[^>]+>", "", text)

    assert len(lines) == (3 if "Windows" in text else 2)
    assert all(line.startswith("Run on ") and "macOS 3.99" in line for line in lines)
    assert shown.index("Run on", shown.index("print(A)")) > shown.index("\n1\n")


def test_a_place_is_filled_in(tallies: Path) -> None:
    """In the text and in tables, and not inside of a block."""
    text = html(PAGE, tallies)

    assert re.search(r"<td>this</td>\s*<td>[^<]*macOS 3\.99", text)
    assert re.search(r"<td>another</td>\s*<td>-</td>", text)
    assert text.count("evidence: page.md") == 1
    assert re.search(r"Blocks run: \d on \w+ [\d.]+.*, \d on macOS 3.99; 2999-01-01\.", text)


def test_two_tallies_of_one_system_count_once(tallies: Path) -> None:
    """The same one under another name changes nothing."""
    before = html(PAGE, tallies)
    (tallies / "again.json").write_text((tallies / "here.json").read_text("utf-8"))

    assert html(PAGE, tallies) == before


def test_without_tallies_it_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build on a machine that ran no test is no error."""
    monkeypatch.chdir(tmp_path)
    text = html(PAGE, tmp_path / "none")

    assert "Run on" not in text
    assert "Blocks run" not in text
    assert re.search(r"<td>this</td>\s*<td>-</td>", text)


def test_a_file_that_is_no_tally_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops the build."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tallies").mkdir()
    (tmp_path / "tallies" / "x.json").write_text("{}")

    with pytest.raises(ValueError, match=r"x\.json is not a tally"):
        html(PAGE, tmp_path / "tallies")


# ---- the page of all failures ------------------------------------------------------------------------


def rows() -> dict[str, str]:
    """The rows of the failures, by their number or letter."""
    text = (docs_folder() / "reference" / "what-goes-wrong.md").read_text("utf-8")
    return dict(re.findall(r"^\| (\d+|[a-z]) \| (.*) \|$", text, re.MULTILINE))


def test_all_failures_are_listed() -> None:
    """By their numbers, which other places name."""
    assert list(rows()) == [*map(str, range(1, 45)), *"abcdefghijkl"]


def test_a_row_takes_its_evidence_from_a_page_that_it_names() -> None:
    """The first one. A row without a page says why."""
    for number, row in rows().items():
        pages = re.findall(r"\]\(([^)]+\.md)\)", row)
        place = re.search(r"<!-- evidence: (\S+) -->", row)
        folder = docs_folder() / "reference"
        if not pages:
            assert "| Not shown: " in row, number
        else:
            assert place is not None, number
            assert (folder / pages[0]).resolve() == (docs_folder() / place[1]).resolve(), number


def test_every_page_about_a_failure_is_in_a_row() -> None:
    """Anti-patterns and troubleshooting."""
    text = "\n".join(rows().values())
    pages = [
        f"../{folder}/{path.name}"
        for folder in ("anti-patterns", "troubleshooting")
        for path in sorted((docs_folder() / folder).glob("*.md"))
    ]

    assert [page for page in pages if f"({page})" not in text] == []
