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


def _codes(folder: Path, *arguments: str) -> dict[str, set[str]]:
    """What Ruff finds with the rules of this project and *arguments*: codes by the name of the file."""
    command = [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [*command, "--output-format", "json", *arguments, str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder.anchor,  # inside of it, its files would be sorted as the project's own
    )
    found: dict[str, set[str]] = {}
    for finding in json.loads(done.stdout):
        place = Path(finding["filename"]).relative_to(folder.resolve())
        found.setdefault(place.as_posix(), set()).add(finding["code"])
    return found


def _named(page: Path) -> list[str]:
    """The rules that the page names and Ruff knows. A page that begins with none names what one may configure."""
    line = "".join(re.findall(r"^\*\*Rule\*\* (?!none)(.*) · ", page.read_text("utf-8"), re.MULTILINE))
    codes = re.findall(r"`([A-Z]+\d+)`", line)
    known = [sys.executable, "-m", "ruff", "rule"]
    return [code for code in codes if not subprocess.run([*known, code], capture_output=True).returncode]


def test_listings_draw_the_findings_that_their_page_names_and_no_others(tmp_path: Path) -> None:
    """Of Ruff, with the rules of this project and those of the page. A good listing draws none."""
    pytest.importorskip("ruff", reason="ruff is not installed")
    write_listings(tmp_path)
    for page in guide_pages():
        folder = tmp_path / page.path.relative_to(docs_folder()).with_suffix("")
        if not any(fence.file for fence in page.fences):
            continue
        named = _named(page.path)
        also = ["--extend-select", ",".join(named)] if named else []
        bad = {fence.file for fence in page.fences if fence.file and "bad" in fence.classes}

        expected = {file: set(named) for file in bad} if named else {}
        assert _codes(folder, *also) == expected, page.path.name
