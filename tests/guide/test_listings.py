"""The files of all pages, as tools see them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from offloop.guide.listings import main, write_listings
from offloop.guide.pages import docs_folder, guide_pages

ROOT = Path(__file__).parents[2]


def test_each_page_has_a_folder_with_its_files(tmp_path: Path) -> None:
    """As they stand on the page."""
    written = write_listings(tmp_path)

    expected = sum(1 for page in guide_pages() for fence in page.fences if fence.file)
    text = (tmp_path / "patterns/simple-execution/run_module.py").read_text("utf-8")
    assert len(written) == len(set(written)) == expected
    assert text in (docs_folder() / "patterns/simple-execution.md").read_text("utf-8")


def test_the_command_needs_one_folder(capsys: pytest.CaptureFixture[str]) -> None:
    """Else it says how it is called, and writes nothing."""
    assert main([]) == main(["--help"]) == 2
    assert "usage: python -m offloop.guide.listings FOLDER" in capsys.readouterr().err


def test_listings_draw_the_findings_that_their_page_names_and_no_others(tmp_path: Path) -> None:
    """Of Ruff, with the rules of this project. A good listing draws none."""
    pytest.importorskip("ruff", reason="ruff is not installed")
    write_listings(tmp_path)
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--config",
        str(ROOT / "pyproject.toml"),
        "--output-format",
        "json",
    ]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    found: dict[str, set[str]] = {}
    for finding in json.loads(done.stdout):
        place = Path(finding["filename"]).relative_to(tmp_path.resolve())
        found.setdefault(place.as_posix(), set()).add(finding["code"])

    expected: dict[str, set[str]] = {}
    for page in guide_pages():
        named = set(re.findall(r"\*\*Rule\*\* `([A-Z]+\d+)`", page.path.read_text("utf-8")))
        place = page.path.relative_to(docs_folder()).with_suffix("")
        for fence in page.fences:
            if fence.file and "bad" in fence.classes and named:
                expected[(place / fence.file).as_posix()] = named
    assert found == expected
