"""The pytest plugin behind `-p offloop.testing`.

It stands on pytest-markdown-docs through that plugin's two extension points, its parser hook (our
scanner finds the blocks) and its registry of runners (ours run them), and adds what those cannot do:
docstrings are read without importing the module, a page with a fault is a collection error, and
every block is accounted for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest

try:
    from pytest_markdown_docs.definitions import FenceTestDefinition
    from pytest_markdown_docs.plugin import (
        MarkdownDocstringCodeModule,
        MarkdownInlinePythonItem,
        MarkdownTextFile,
    )
except ImportError as _error:
    raise pytest.UsageError(
        f"-p offloop.testing needs {_error.name}: pip install 'offloop[testing]'"
    ) from _error

from offloop.guide.fences import Fence, nearest, scan
from offloop.guide.pages import PAGE_SUFFIXES, Page
from offloop.testing import runners
from offloop.testing.accounts import Accounts, not_here
from offloop.testing.contract import DEFAULT_HOLD_S
from offloop.testing.expected_output import Fix, apply_fixes
from offloop.testing.renderer import disagreements, site_renderer
from offloop.testing.tally import NOT_HERE

_PROPERTY = "offloop"
_NodeT = TypeVar("_NodeT", bound=pytest.Collector | pytest.Item)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--fix-output`, `--tally`, `--timelines` and `--hold-limit`."""
    group = parser.getgroup("offloop", "pages as tests (offloop.testing)")
    group.addoption(
        "--fix-output",
        action="store_true",
        help="rewrite the outputs on the pages that differ from the real ones",
    )
    group.addoption("--tally", metavar="FILE", type=Path, help="write what became of every block, as JSON")
    group.addoption(
        "--timelines",
        metavar="FOLDER",
        type=Path,
        help="write there what the blocks with data-timeline did, for the site to draw; -m timeline runs just these",
    )
    group.addoption(
        "--hold-limit",
        metavar="SECONDS",
        type=float,
        default=DEFAULT_HOLD_S,
        help="how long a block without data-blocks-loop may hold the loop at a time, where the machine "
        f"itself holds programs up, such as in an emulator; default: {DEFAULT_HOLD_S}",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Switch pytest-markdown-docs on, in the syntax that our scanner writes for it."""
    if not config.pluginmanager.hasplugin("pytest_markdown_docs"):
        raise pytest.UsageError(
            "-p offloop.testing needs the plugin pytest_markdown_docs, which is switched off"
        )
    tally: Path | None = config.option.tally
    if tally is not None and not tally.absolute().parent.is_dir():
        raise pytest.UsageError(f"--tally {tally}: there is no folder {tally.absolute().parent}")
    timelines: Path | None = config.option.timelines
    if timelines is not None and timelines.exists() and not timelines.is_dir():
        raise pytest.UsageError(f"--timelines {timelines}: this is a file, and must be a folder")
    config.addinivalue_line("markers", "timeline: a block whose run the site draws (data-timeline)")
    config.option.markdowndocs = True
    config.option.markdowndocs_syntax = "superfences"
    runners.state.config = config
    config.stash[_accounts] = Accounts(config)


_accounts = pytest.StashKey[Accounts]()


def _site(config: pytest.Config) -> Path:
    return config.rootpath / "mkdocs.yml"


def pytest_report_header(config: pytest.Config) -> str | None:
    """Why pages are not compared with the site, if they are not."""
    _, reason = site_renderer(_site(config))
    return f"offloop: the renderer guard is off: {reason}" if reason else None


# ---- collection ------------------------------------------------------------------------------------


class _Scanner:
    """What pytest-markdown-docs asks for the blocks of a text."""

    def parse(self, text: str) -> list[SimpleNamespace]:
        fences, _ = scan(text)
        return [
            SimpleNamespace(type="fence", map=[f.line - 1, f.end], content=f.content, info=_info(f))
            for f in fences
            if f.runs
        ]


def _info(fence: Fence) -> str:
    runner = "PythonBlock" if fence.language == "python" else "ConsoleBlock"
    words = [".python", f"runner:{runner}", *(f"fixture:{name}" for name in fence.fixtures)]
    return "{" + " ".join(words) + "}"


@pytest.hookimpl(tryfirst=True)
def pytest_markdown_docs_markdown_it() -> _Scanner:
    """Our scanner, where the stock plugin would use a Markdown parser."""
    return _Scanner()


def _node(kind: type[_NodeT], parent: pytest.Collector, **given: object) -> _NodeT:
    """What pytest's `from_parent` makes, whose own keywords have no types."""
    return cast("Any", kind).from_parent(parent, **given)


class Docstrings(pytest.Module):
    """The blocks in a module's docstrings. The module is read, never imported: an example imports what it shows."""

    def collect(self) -> Iterator[MarkdownInlinePythonItem]:
        """One item for each block, with the lines of the module."""
        for number, fence in enumerate((f for f in runners.page_of(self.path).fences if f.runs), 1):
            test = FenceTestDefinition(
                "\n" * fence.line + fence.content,
                fence.fixtures,
                fence.line,
                self.path,
                "PythonBlock" if fence.language == "python" else "ConsoleBlock",
            )
            name = f"[CodeFence#{number}][line:{fence.line}]"
            yield _node(MarkdownInlinePythonItem, self, name=name, test_definition=test)


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(
    file_path: Path, parent: pytest.Collector
) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Put our collector of docstrings in the place of the stock one, which imports every `.py` it meets."""
    found = yield
    if file_path.suffix.lower() in PAGE_SUFFIXES and file_path.suffix != ".md":
        found.append(_node(MarkdownTextFile, parent, path=file_path))  # the stock plugin knows .md only
    kept = [node for node in found if not isinstance(node, MarkdownDocstringCodeModule)]
    if len(kept) < len(found):
        page = runners.page_of(file_path)
        if any(fence.runs for fence in page.fences) or page.faults:
            kept.append(_node(Docstrings, parent, path=file_path))
    return kept


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A page with a fault is not collected: the error names every fault with its line."""
    if not isinstance(collector, MarkdownTextFile | Docstrings):
        return (yield)
    page = runners.page_of(collector.path, fresh=True)
    collector.config.stash[_accounts].expect(page)
    collect = collector.collect

    def checked() -> list[Any]:
        faults = [
            f"{_where(collector.config, page.path)}:{fault.line}: {fault.text}" for fault in page.faults
        ]
        if faults:
            raise collector.CollectError("\n".join(faults))
        items: list[Any] = list(collect())
        faults = [wrong for item in items for wrong in _fixture_faults(item, page)]
        if faults:
            raise collector.CollectError("\n".join(faults))
        has_site = _site(collector.config).is_file()
        if isinstance(collector, MarkdownTextFile) and page.fences and has_site:
            items.append(_node(RendererAgrees, collector, name="renderer-agrees"))
        return items

    cast("Any", collector).collect = checked  # a method of this one collector, until its report is made
    return (yield)


def _where(config: pytest.Config, path: Path) -> str:
    return Path(os.path.relpath(path, config.rootpath)).as_posix()


# They see what pytest catches, and pytest's capture is off around a block.
_CAPTURES = ("capsys", "capfd", "capsysbinary", "capfdbinary", "capteesys")


def _fixture_faults(item: MarkdownInlinePythonItem, page: Page) -> Iterator[str]:
    line = item.test_definition.start_line
    manager = cast("Any", item.session)._fixturemanager  # private, and the only list of fixtures there is
    for name in page.at(line).fixtures:
        where = f"{_where(item.config, page.path)}:{line}"
        definitions = manager.getfixturedefs(name, item)
        if not definitions:
            yield f"{where}: unknown fixture {name!r}{nearest(name, _fixture_names(manager))}"
        elif definitions[-1].params is not None:
            yield f"{where}: the fixture {name!r} has parameters; data-backend runs a block on several backends"
        elif name in _CAPTURES:
            yield f"{where}: {name} sees nothing here; show the text with `text {{ .output }}`, or use contextlib.redirect_stdout"


def _fixture_names(manager: Any) -> list[str]:
    """All names that the registry has; only for the advice, so another pytest's registry gives none."""
    maps = ("_arg2node2fixturedefs", "_arg2nodeid2fixturedefs", "_arg2fixturedefs")  # pytest 9.2; before
    return sorted({name for each in maps for name in getattr(manager, each, ())})


class RendererAgrees(pytest.Item):
    """One page, rendered: the site shows exactly the blocks that were collected."""

    def runtest(self) -> None:
        """Render the page and compare; BlockFailed if they differ, skipped without MkDocs."""
        renderer, reason = site_renderer(_site(self.config))
        if renderer is None:
            pytest.skip(f"the renderer guard is off: {reason}")
        found = disagreements(runners.page_of(self.path), renderer)
        if found:
            raise runners.BlockFailed(
                "\n".join(f"{_where(self.config, self.path)}: {text}" for text in found)
            )

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        """The differences alone, or pytest's text for what is not ours."""
        if isinstance(excinfo.value, runners.BlockFailed):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the report says that this item stands: at the top of the page."""
        return self.path, 0, self.name


@pytest.hookimpl(tryfirst=True)  # pytest itself deselects by marks here
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip blocks that are excused, or cannot run on this system, each with its reason, and mark those to be drawn."""
    for item in items:
        if isinstance(item, MarkdownInlinePythonItem):
            fence = runners.page_of(item.path).at(item.test_definition.start_line)
            if fence.excuse is not None:
                item.add_marker(pytest.mark.skip(reason=f"excused: {fence.excuse}"))
            elif reason := not_here(fence):
                item.add_marker(pytest.mark.skip(reason=f"{NOT_HERE}: {reason}"))
            if fence.shape is not None:
                item.add_marker("timeline")


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Note that only some blocks were chosen: such a run cannot fail for the others."""
    if items:
        items[0].config.stash[_accounts].deselected = True


# ---- running ---------------------------------------------------------------------------------------


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Put off making pytest-asyncio's loop until a block uses it."""
    if isinstance(item, MarkdownInlinePythonItem):
        item.fixture_request = cast(
            "Any", runners.OnDemand(item.fixture_request)
        )  # it stands in for a request


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """What the runner found out travels with the report, so that it arrives under pytest-xdist too."""
    if not isinstance(item, MarkdownInlinePythonItem):
        return (yield)
    runners.state.ran, runners.state.fix = set(), None
    runners.state.unpublished = runners.state.held_once = ""
    try:
        return (yield)
    finally:
        fix = runners.state.fix
        found = {
            "page": str(item.path),
            "line": item.test_definition.start_line,
            "ran": sorted(runners.state.ran),
            "fix": asdict(fix) if fix else None,
            "unpublished": runners.state.unpublished,
            "held_once": runners.state.held_once,
        }
        item.user_properties.append((_PROPERTY, json.dumps(found)))


# ---- accounting ------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Enter into the accounts what a report says of its block; workers leave that to the main process."""
    accounts = _current.get("accounts")
    if accounts is None:
        return
    for name, value in report.user_properties:
        if name == _PROPERTY and report.when == "call":
            found = json.loads(str(value))
            fix = found.pop("fix")
            accounts.ran(**found, passed=report.passed, fix=Fix(**fix) if fix else None)


_current: dict[str, Accounts] = {}


def pytest_sessionstart(session: pytest.Session) -> None:
    """Open the accounts, in the main process only."""
    if not hasattr(session.config, "workerinput"):
        _current["accounts"] = session.config.stash[_accounts]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """Judge before pytest prints its last line; print ours below it."""
    config = session.config
    accounts = _current.pop("accounts", None)
    if accounts is None or config.option.collectonly:
        return (yield)
    accounts.close()
    if accounts.faults() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    fixed = apply_fixes(accounts.fixes)
    if config.option.tally:
        accounts.tally.write(config.option.tally)
    try:
        return (yield)
    finally:
        accounts.report(config.get_terminal_writer(), fixed)
