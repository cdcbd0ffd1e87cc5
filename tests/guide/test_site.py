"""The pages agree with each other and with the site's settings."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from offloop import cli, errors
from offloop.guide.pages import docs_folder, guide_pages, read_page
from offloop.settings import SETTINGS

ROOT = Path(__file__).parents[2]


def program(path: Path) -> str:
    (fence,) = (fence for fence in read_page(path).fences if fence.file == "run_a_report.py")
    return fence.content


def test_readme_and_home_show_the_same_program() -> None:
    """Of about 15 lines."""
    assert program(ROOT / "README.md") == program(docs_folder() / "index.md")
    assert len(program(ROOT / "README.md").splitlines()) <= 16


def test_pages_have_no_faults() -> None:
    """Every fence is in the one form."""
    assert [(page.path.name, fault) for page in guide_pages() for fault in page.faults] == []


def test_every_page_is_in_the_navigation_once() -> None:
    """And the navigation has no other."""
    text = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:")[2]
    listed = [line.rpartition(" ")[2] for line in text.splitlines() if line.endswith(".md")]
    pages = [page.path.relative_to(docs_folder()).as_posix() for page in guide_pages()]

    assert sorted(listed) == sorted(pages)


@pytest.mark.parametrize("page", [page.path for page in guide_pages()], ids=lambda path: path.stem)
def test_a_page_has_its_front_matter(page: Path) -> None:
    """A description for the search, tags, and the date of its last change in substance."""
    head = page.read_text("utf-8").split("---")[1]

    assert all(f"\n{key}: " in head for key in ("description", "tags", "revised"))


@pytest.mark.parametrize("page", [page.path for page in guide_pages()], ids=lambda path: path.stem)
def test_highlighted_lines_exist(page: Path) -> None:
    """A listing that became shorter would lose its mark in silence."""
    for fence in read_page(page).fences:
        marks = fence.values.get("hl_lines", "").replace("-", " ").split()
        assert all(1 <= int(mark) <= fence.content.count("\n") for mark in marks), f"{page}:{fence.line}"


@pytest.mark.parametrize("page", [page.path for page in guide_pages()], ids=lambda path: path.stem)
def test_every_column_of_a_table_has_a_head(page: Path) -> None:
    """A screen reader says it with every cell."""
    lines = page.read_text("utf-8").splitlines()
    heads = [head for head, rule in itertools.pairwise(lines) if re.match(r" *\|:?--", rule)]

    assert [
        head for head in heads if "" in (cell.strip() for cell in head.strip().strip("|").split("|"))
    ] == []


def test_nothing_is_fetched_from_another_host() -> None:
    """No hooks, no plugin of our own, no font, script or style from outside."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    plugins = [next(iter(plugin)) if isinstance(plugin, dict) else plugin for plugin in settings["plugins"]]

    assert settings["theme"]["font"] is False
    assert "hooks" not in settings
    assert set(plugins) <= {"search", "tags", "mkdocstrings"}
    assert not any(
        "//" in str(path) for key in ("extra_css", "extra_javascript") for path in settings.get(key, ())
    )


def test_every_error_is_on_its_page() -> None:
    """By its name."""
    text = (docs_folder() / "reference" / "errors.md").read_text(encoding="utf-8")
    names = [name for name in errors.__all__ if name.endswith("Error")]

    assert [name for name in names if name not in text] == []


def test_every_error_names_a_page_that_exists() -> None:
    """Its address below ``GUIDE_URL``."""
    kinds: list[type[errors.OffloopError]] = [
        getattr(errors, name) for name in errors.__all__ if name.endswith("Error")
    ]

    assert [kind for kind in kinds if not (docs_folder() / f"{kind.page.rstrip('/')}.md").is_file()] == []


def test_every_setting_is_on_its_page() -> None:
    """By its name."""
    text = (docs_folder() / "reference" / "settings.md").read_text(encoding="utf-8")

    assert [setting.name for setting in SETTINGS if setting.name not in text] == []


def test_every_command_has_a_section(capsys: pytest.CaptureFixture[str]) -> None:
    """And each section is a command."""
    text = (docs_folder() / "reference" / "cli.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^## `offloop ([a-z]+)`$", text, re.MULTILINE))
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    commands = set(re.findall(r"^    ([a-z]+) ", capsys.readouterr().out, re.MULTILINE))

    assert sections == commands


def test_every_pattern_is_in_the_quick_reference() -> None:
    """With the command that copies it."""
    text = (docs_folder() / "reference" / "quick-reference.md").read_text(encoding="utf-8")
    patterns = {page.stem for page in (docs_folder() / "patterns").glob("*.md")}

    assert {name for name in patterns if f"`offloop add {name}`" not in text} == set()
    assert {name for name in patterns if f"(../patterns/{name}.md)" not in text} == set()


def test_every_pattern_is_in_the_decision_picture() -> None:
    """Whose text is broken into lines."""

    def letters(text: str) -> str:
        return "".join(character for character in text.lower() if character.isalpha())

    picture = (docs_folder() / "assets" / "which-pattern.svg").read_text(encoding="utf-8")
    labels = letters("".join(re.findall(r"<text[^>]*>([^<]*)</text>", picture)))
    patterns = [page.stem for page in (docs_folder() / "patterns").glob("*.md")]

    assert [name for name in patterns if letters(name) not in labels] == []
