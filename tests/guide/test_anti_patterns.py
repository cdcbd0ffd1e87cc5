"""Each anti-pattern page fails because of its bad listing: with the good one in its place, nothing on it is true."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest

from offloop.guide import add
from offloop.guide.fences import Fence
from offloop.guide.pages import Page, docs_folder, guide_pages, read_page
from tests.testing.conftest import Project, Run

PAGES = sorted((docs_folder() / "anti-patterns").glob("*.md"))
KINDS = (
    "raises",
    "stalls the loop",
    "leaves a process behind",
    "loses an error",
    "loses output",
    "grows without end",
    "hangs",
    "runs what it should not",
)
HEADINGS = ["What it looks like", "What happens", "Why", "Instead", "When it is fine", "Sources"]
each_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)


def public_names(fence: Fence) -> set[str]:
    """What a listing defines for others."""
    body = ast.parse(fence.content).body
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")}


def bad_listing(page: Page) -> Fence:
    """The one that the page warns of."""
    (fence,) = (fence for fence in page.fences if fence.file and "bad" in fence.classes)
    return fence


def good_listing(page: Page) -> Fence:
    """The first below it that defines the same names."""
    bad = bad_listing(page)
    return next(
        fence
        for fence in page.fences
        if fence.file and "bad" not in fence.classes and public_names(fence) >= public_names(bad)
    )


def proofs_of_the_bad(page: Page) -> list[Fence]:
    """The blocks that show what goes wrong."""
    return [fence for fence in page.fences if fence.runs and not fence.file and "bad" in fence.classes]


def swapped(path: Path) -> str:
    """The text of the page with the good listing under the name of the bad one."""
    page = read_page(path)
    bad, good = bad_listing(page), good_listing(page)
    lines = path.read_text("utf-8").splitlines(keepends=True)
    return "".join([*lines[: bad.line], good.content, *lines[bad.end - 1 :]])


def may_be_swapped_here(path: Path) -> bool:
    """Under Wine, where each proof takes a second, only a page that has something to prove there alone."""
    only_there = any("win32" in fence.platforms for fence in proofs_of_the_bad(read_page(path)))
    return os.environ.get("OFFLOOP_WINE") != "1" or only_there


@pytest.fixture(scope="module")
def swapped_pages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """The folder of all pages, each with its good listing in the place of the bad one, and one run over them."""
    project = Project(tmp_path_factory.mktemp("swapped"))
    for path in filter(may_be_swapped_here, PAGES):
        project.write(f"docs/{path.name}", swapped(path))
    return project.root / "docs", project.run("docs")


@each_page
def test_the_good_listing_makes_every_proof_of_the_bad_one_fail(
    path: Path, swapped_pages: tuple[Path, Run]
) -> None:
    """So they prove what the page says, and not something that is true of both."""
    if not may_be_swapped_here(path):
        pytest.skip(
            "under Wine only pages with proofs for Windows alone are swapped: each takes a second there"
        )
    folder, run = swapped_pages
    states = dict(run.states(f"docs/{path.name}"))
    proofs = {fence.line for fence in proofs_of_the_bad(read_page(folder / path.name))}
    ran = {line for line in proofs if states[line] != "not run here"}

    assert ran, f"no proof runs on this system: {states}"
    assert {line for line, state in states.items() if state == "failed"} == ran


@each_page
def test_the_good_listing_is_proved_by_blocks_without_a_label(path: Path) -> None:
    """Under the default contract: nothing raised, nothing left, the loop not held."""
    page = read_page(path)
    module = (good_listing(page).file or "").removesuffix(".py")
    plain = [
        fence
        for fence in page.fences
        if fence.runs
        and not fence.file
        and "bad" not in fence.classes
        and re.search(rf"\b{module}\b", fence.content)
        and all(fence.key(key) is None for key in ("leaks", "hangs", "blocks-loop", "raises"))
    ]

    assert plain


@each_page
def test_a_page_has_the_anatomy(path: Path) -> None:
    """The headings in their order, and a line with the rule and the kind."""
    text = path.read_text("utf-8")
    (kind,) = re.findall(r"^\*\*Rule\*\* .+ · \*\*Kind\*\* (.+)$", text, re.MULTILINE)

    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    assert kind in KINDS
    assert "no-copy" in bad_listing(read_page(path)).classes


def test_bad_listings_cannot_be_copied() -> None:
    """What ``offloop add`` offers has none, and anti-patterns are not offered."""
    bad = {fence.content for page in guide_pages() for fence in page.fences if "bad" in fence.classes}
    offered = list(add.patterns())

    assert {pattern.name for pattern in offered} & {path.stem for path in PAGES} == set()
    assert [pattern.name for pattern in offered if any(fence.content in bad for fence in pattern.files)] == []
