"""Break good pages one place at a time: every mutation turns the run red, or says why it cannot."""

from __future__ import annotations

import os

import pytest

from tests.testing.conftest import Project, Run
from tests.testing.good_pages import MUTATIONS, PAGES

pytestmark = pytest.mark.skipif(
    os.environ.get("OFFLOOP_WINE") == "1",
    reason="under Wine each page takes a second; that a mutation is seen does not depend on the system",
)
SITE = """\
site_name: x
plugins: []
markdown_extensions:
  - admonition
  - attr_list
  - pymdownx.details
  - pymdownx.highlight
  - pymdownx.superfences
  - pymdownx.tabbed: {alternate_style: true}
"""


def place(number: int, page: str) -> str:
    """Markdown in the site's folder; a module of its own name elsewhere."""
    return f"docs/m{number}-{page}" if page.endswith(".md") else f"src/m{number}_{page}"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Run:
    project = Project(tmp_path_factory.mktemp("good"))
    project.write("mkdocs.yml", SITE)
    for page, text in PAGES.items():
        project.write(place(0, page), text)
    return project.run("docs", "src")


@pytest.fixture(scope="module")
def mutated(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All mutations in one run: pages share nothing, so each is judged by itself."""
    project = Project(tmp_path_factory.mktemp("mutated"))
    project.write("mkdocs.yml", SITE)
    for number, mutation in enumerate(MUTATIONS.values()):
        text = PAGES[mutation.page]
        assert text.count(mutation.old) == 1, mutation
        project.write(place(number, mutation.page), text.replace(mutation.old, mutation.new))
    return project.run("docs", "src", "--continue-on-collection-errors")


def is_red(run: Run, page: str) -> bool:
    """A failed block, a page that cannot be collected or rendered, a block unaccounted for, a dead line."""
    failed = f"FAILED {page}::renderer-agrees" in run.text
    dead = any(f"dead {page}:{line}: " in run.text for line in run.dead(page))
    unaccounted = any(state == "unaccounted" for _, state in run.states(page))
    return failed or dead or unaccounted or run.outcome(page) in ("failed", "error")


def test_the_good_pages_are_green(good: Run) -> None:
    """What is mutated was right before."""
    assert good.code == 0, good.text


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_turns_the_run_red(mutated: Run, name: str) -> None:
    """The survivors are named, with the reason."""
    mutation = MUTATIONS[name]
    page = place(list(MUTATIONS).index(name), mutation.page)

    assert is_red(mutated, page) == (not mutation.survives), mutated.text


def test_the_score() -> None:
    """At least 40 mutations, and at most 1 in 10 survives."""
    survivors = [name for name, mutation in MUTATIONS.items() if mutation.survives]

    assert len(MUTATIONS) >= 40
    assert len(survivors) <= len(MUTATIONS) // 10
