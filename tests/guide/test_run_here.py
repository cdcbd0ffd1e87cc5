"""A place for the buttons stands below each block of the class `run`, where the site has Python for the browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from offloop.guide.fences import scan
from offloop.guide.run_here import editable_files, place

markdown = pytest.importorskip("markdown", reason="Python-Markdown comes with the group docs")

PAGE = """\
# A page

```python { title="helper.py" }
NAME = "</script>"
```

```python { title="listing.py" }
from helper import NAME
```

```python { title="other.py" }
A = 1
```

```python { .bad .run #proof-it data-timeline }
from listing import NAME

print(NAME)
```

```text { .output }
</script>
```

```python { #no-button }
pass
```

- in a list:

    ```python { .run #in-a-list }
    print(2)
    ```
"""


@pytest.fixture
def vendor(tmp_path: Path) -> Path:
    """A folder as it is when it has been filled."""
    (tmp_path / "vendor" / "pyodide").mkdir(parents=True)
    return tmp_path / "vendor"


def rendered(vendor: Path) -> str:
    extensions = ["attr_list", "pymdownx.superfences", "offloop.guide.run_here"]
    settings = {"offloop.guide.run_here": {"vendor": str(vendor)}}
    return markdown.markdown(PAGE, extensions=extensions, extension_configs=settings)


def needs(html: str) -> list[dict[str, Any]]:
    found = re.findall(r'<script type="application/json">(.*?)</script>', html)
    return [json.loads(text) for text in found]


def test_each_block_has_what_it_needs(vendor: Path) -> None:
    """Its text, that of the files above it, and which of them it is worth to change."""
    first, second = needs(rendered(vendor))

    assert first == {
        "name": "proof-it",
        "code": "from listing import NAME\n\nprint(NAME)\n",
        "files": {
            "helper.py": 'NAME = "</script>"\n',
            "listing.py": "from helper import NAME\n",
            "other.py": "A = 1\n",
        },
        "editable": ["helper.py", "listing.py"],
        "timeline": True,
    }
    assert (second["name"], second["code"], second["timeline"]) == ("in-a-list", "print(2)\n", False)


def test_the_place_stands_between_the_block_and_its_output(vendor: Path) -> None:
    """So the reader's output is next to the one that is expected. It is hidden until a script makes buttons."""
    html = rendered(vendor)

    assert html.index("proof-it") < html.index('<div class="run-here" hidden>') < html.index("output")


def test_without_python_for_the_browser_nothing_is_added(tmp_path: Path) -> None:
    """The page is the same as without the extension."""
    plain = markdown.markdown(PAGE, extensions=["attr_list", "pymdownx.superfences"])

    assert rendered(tmp_path / "missing") == plain


def test_a_page_cannot_end_the_script(vendor: Path) -> None:
    """Text that looks like the end of a script element is written in another way."""
    fences, _ = scan(PAGE)

    assert "</script>" not in place(fences, fences[3]).removesuffix("</script></div>")


def test_a_child_is_found_by_its_file_name() -> None:
    """A program that is started by its name counts as one that is imported; a part of a word does not."""
    files = {"work.py": "", "worker.py": "", "pool.py": "start('worker.py')\n"}

    assert editable_files(files, "import pool\n") == ["worker.py", "pool.py"]
