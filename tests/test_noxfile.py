"""The noxfile starts on a machine that has only Python, and says what is missing where it cannot.

No test here asks a package index. What would, the making of an environment, is replaced by a fake.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = (ROOT / "noxfile.py").read_text(encoding="utf-8")

# The start of every program below: this interpreter has no nox, whatever is installed.
WITHOUT_NOX = """
import importlib.metadata, importlib.util, runpy, sys

def version(name):
    raise importlib.metadata.PackageNotFoundError(name)

importlib.metadata.version = version
"""
RUN = 'sys.argv = ["noxfile.py", "-l"]; runpy.run_path("noxfile.py", run_name="__main__")'

# A nox that registers nothing, for the functions which need none.
WITH_A_FAKE_NOX = """
import sys, types

nox = types.ModuleType("nox")
nox.Session = object
nox.options = types.SimpleNamespace()
nox.session = lambda *function, **options: function[0] if function else lambda function: function
nox.project = types.ModuleType("nox.project")
nox.virtualenv = types.ModuleType("nox.virtualenv")
nox.virtualenv.VirtualEnv = type("VirtualEnv", (), {})
sys.modules |= {"nox": nox, "nox.project": nox.project, "nox.virtualenv": nox.virtualenv}
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A checkout in which nothing was run yet, with as much as the bootstrap needs."""
    for name in ("noxfile.py", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def noxfile(clone: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module, from a fresh clone and over a fake nox."""
    before = dict(sys.modules)
    monkeypatch.setenv("PATH", "")  # No pyenv.
    exec(WITH_A_FAKE_NOX, {})
    spec = importlib.util.spec_from_file_location("noxfile_under_test", clone / "noxfile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["nox.project"].load_toml = lambda path: tomllib.loads(path.read_text("utf-8"))  # type: ignore[attr-defined]
    yield module
    for name in ("nox", "nox.project", "nox.virtualenv"):
        sys.modules.pop(name, None)
        if name in before:
            sys.modules[name] = before[name]


def run(program: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def sessions() -> dict[str, str]:
    """Name and docstring of each session."""
    functions = [node for node in ast.parse(SOURCE).body if isinstance(node, ast.FunctionDef)]
    return {
        function.name: ast.get_docstring(function) or ""
        for function in functions
        if any("nox.session" in ast.unparse(decorator) for decorator in function.decorator_list)
    }


# ---------------------------------------------------------------------------------------------------
# Getting nox
# ---------------------------------------------------------------------------------------------------


def test_old_pythons_can_read_it() -> None:
    """Its syntax is one that a Python which is too old still reads."""
    ast.parse(SOURCE, feature_version=(3, 7))


def test_an_old_python_is_told_which_one_is_needed(clone: Path) -> None:
    """A Python before 3.11 ends with a sentence that names it and the one to take."""
    done = run(f"{WITHOUT_NOX}\nsys.version_info = (3, 10, 4)\n{RUN}", clone)

    assert done.returncode == 1
    assert "offloop needs Python 3.11 or later, and this is Python 3.10" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_ensurepip_the_missing_package_is_named(clone: Path) -> None:
    """Debian's Python without its venv package is answered with that package and the command."""
    hidden = "find = importlib.util.find_spec\n"
    hidden += "importlib.util.find_spec = lambda name, *a: None if name == 'ensurepip' else find(name, *a)"
    done = run(f"{WITHOUT_NOX}\n{hidden}\n{RUN}", clone)

    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    assert done.returncode == 1
    assert f"sudo apt install {package}" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_starts_itself_again_at_most_once(clone: Path) -> None:
    """A private environment in which nox is missing after all ends the run, and does not loop."""
    done = run(f"{WITHOUT_NOX}\n{RUN}", clone, OFFLOOP_NOXFILE_STARTED_AGAIN="1")

    assert done.returncode == 1
    assert "cannot be imported from there" in done.stderr
    assert not (clone / ".nox").exists()


def test_a_failed_installation_shows_what_was_printed(noxfile: ModuleType) -> None:
    """When pip fails, its own words and the command come before the advice."""
    with (noxfile.HERE / "lock").open("w") as lock, pytest.raises(SystemExit) as caught:
        noxfile._quietly([sys.executable, "-c", "print('no such index'); raise SystemExit(7)"], lock.fileno())

    assert str(caught.value).startswith("no such index")
    assert "ended with 7" in str(caught.value)


@pytest.fixture
def made(noxfile: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Each making of the private environment, by a fake that needs no index."""
    calls: list[Path] = []

    def make(python: Path, lock: int) -> None:
        calls.append(python)
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()

    monkeypatch.setattr(noxfile, "make_private_environment", make)
    return calls


def test_the_private_environment_is_made_once(noxfile: ModuleType, made: list[Path]) -> None:
    """The second run takes what the first has made."""
    assert noxfile.private_python() == noxfile.private_python()
    assert len(made) == 1


def test_a_half_made_private_environment_is_made_anew(noxfile: ModuleType, made: list[Path]) -> None:
    """An interpreter alone does not count: the run that made it was interrupted."""
    noxfile.private_python()
    noxfile.PRIVATE_COMPLETE.unlink()
    noxfile.private_python()

    assert len(made) == 2


def test_new_pins_make_the_private_environment_anew(noxfile: ModuleType, made: list[Path]) -> None:
    """What is installed follows constraints.txt."""
    noxfile.private_python()
    noxfile.CONSTRAINTS.write_text("nox==2099.1.1\n", encoding="utf-8")
    noxfile.private_python()

    assert len(made) == 2


@pytest.mark.skipif(
    sys.platform == "win32", reason="Windows cannot replace a process: there a child is started"
)
def test_the_second_start_has_the_same_arguments(
    noxfile: ModuleType, made: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program in the private environment gets every argument, and the mark that it is the second."""
    started: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *arguments: started.extend(arguments))
    monkeypatch.setattr(noxfile.subprocess, "Popen", _no_process)
    monkeypatch.setattr(sys, "argv", ["noxfile.py", "-s", "tests", "--", "-k", "name"])
    with pytest.raises(AssertionError):
        noxfile.start_again_with_nox()

    assert started[0] == str(made[0])
    assert started[1][2:] == ["-s", "tests", "--", "-k", "name"]
    assert started[2]["OFFLOOP_NOXFILE_STARTED_AGAIN"] == "1"


def _no_process(*_: object, **__: object) -> None:
    raise AssertionError("a child was started although the process can be replaced")


@pytest.mark.parametrize(
    ("version", "usable"),
    [("2026.10.20", True), ("2027.1.1", True), ("2026.9.30", False), ("2022.11.21", False)],
)
def test_an_older_nox_is_not_used(
    noxfile: ModuleType, monkeypatch: pytest.MonkeyPatch, version: str, usable: bool
) -> None:
    """A nox that the sessions were not written for is passed over, not asked to run them."""
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())

    assert noxfile.nox_is_usable() is usable


# ---------------------------------------------------------------------------------------------------
# What the sessions share
# ---------------------------------------------------------------------------------------------------


class FakeSession:
    """A session whose installations are counted and which installs nothing."""

    def __init__(self, location: Path) -> None:
        location.mkdir()
        self.virtualenv: Any = sys.modules["nox.virtualenv"].VirtualEnv()
        self.virtualenv.location = str(location)
        self.virtualenv.create = lambda: self.made_anew.append(True)
        self.installed: list[tuple[str, ...]] = []
        self.made_anew: list[bool] = []

    def install(self, *requirements: str) -> None:
        self.installed.append(requirements)


@pytest.fixture
def session(noxfile: ModuleType, tmp_path: Path) -> FakeSession:
    return FakeSession(tmp_path / "environment")


def test_a_session_installs_once(noxfile: ModuleType, session: FakeSession) -> None:
    """The second run of a session goes straight to its work."""
    noxfile.install(session, "--group", "test")
    noxfile.install(session, "--group", "test")

    assert len(session.installed) == 1
    assert {"--constraint", "--build-constraint"} < set(session.installed[0])


def _new_pin(root: Path) -> None:
    with (root / "constraints.txt").open("a", encoding="utf-8") as file:
        file.write("something==1.0\n")


def _new_dependency(root: Path) -> None:
    path = root / "pyproject.toml"
    path.write_text(path.read_text("utf-8").replace('"anyio>=', '"sniffio", "anyio>='), encoding="utf-8")


def _new_lint_rule(root: Path) -> None:
    path = root / "pyproject.toml"
    path.write_text(
        path.read_text("utf-8").replace("line-length = 110", "line-length = 99"), encoding="utf-8"
    )


@pytest.mark.parametrize(("change", "times"), [(_new_pin, 2), (_new_dependency, 2), (_new_lint_rule, 1)])
def test_a_session_installs_again_when_it_must(
    noxfile: ModuleType, session: FakeSession, clone: Path, change: Callable[[Path], None], times: int
) -> None:
    """A pin or a dependency that changes is installed; a setting of a tool is no reason to."""
    noxfile.install(session)
    change(clone)
    noxfile.install(session)

    assert len(session.installed) == times
    assert len(session.made_anew) == 1  # At the first time only: it came from nowhere.


def test_an_interrupted_installation_starts_anew(noxfile: ModuleType, session: FakeSession) -> None:
    """What an interrupted pip has left is thrown away and not repaired."""
    session.install = _interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        noxfile.install(session)
    del session.install
    session.made_anew.clear()
    noxfile.install(session)

    assert session.made_anew
    assert len(session.installed) == 1


def _interrupted(*_: str) -> None:
    raise KeyboardInterrupt


@pytest.mark.skipif(sys.platform == "win32", reason="the fake pyenv is a shell script")
def test_pyenv_lends_what_is_not_selected(
    noxfile: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest version of each supported series becomes reachable, after those that were selected."""
    pyenv = tmp_path / "bin" / "pyenv"
    pyenv.parent.mkdir()
    pyenv.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = version-name ]; then echo 3.11.7; else printf "%s\\n" 3.10.13 3.11.7 3.11.9 3.12.0 3.12.1 3.13.0; fi\n'
    )
    pyenv.chmod(0o755)
    monkeypatch.setenv("PATH", str(pyenv.parent))
    monkeypatch.setenv("PYENV_VERSION", "")
    noxfile.lend_pyenv_versions()

    assert os.environ["PYENV_VERSION"].split(":") == ["3.11.7", "3.13.0", "3.12.1"]


def test_a_named_windows_python_wins(
    noxfile: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OFFLOOP_WINDOWS_PYTHON names the folder, wherever the checkout is."""
    monkeypatch.setenv("OFFLOOP_WINDOWS_PYTHON", str(tmp_path))

    assert noxfile.windows_python() == tmp_path.resolve()


# ---------------------------------------------------------------------------------------------------
# The sessions
# ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no other process can be sent a Ctrl-C there")
@pytest.mark.parametrize("ending", ["SIGINT", "SIGTERM"])
def test_the_guide_is_served_until_it_is_told_to_end(clone: Path, ending: str) -> None:
    """The printed address answers; Ctrl-C and SIGTERM end it with exit code 0 and no traceback."""
    (clone / "site").mkdir()
    (clone / "site" / "index.html").write_text("the guide")
    # As a job that a shell has put into the background: Ctrl-C is ignored until someone asks for it.
    ignored = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    program = f"{ignored}\n{WITH_A_FAKE_NOX}\nimport noxfile; noxfile.serve(None, noxfile.SITE)"
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=clone, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        assert address is not None
        with urllib.request.urlopen(address[0], timeout=30) as answer:
            page = answer.read()
        process.send_signal(getattr(signal, ending))
        _, errors = process.communicate(timeout=30)

    assert page == b"the guide"
    assert process.returncode == 0
    assert errors == ""


def test_the_guide_refuses_an_argument_it_does_not_know(noxfile: ModuleType) -> None:
    """A misspelt --build is an error and not a server that nobody waits for."""

    def error(message: str) -> None:
        raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="--buidl"):
        noxfile.guide(SimpleNamespace(posargs=["--buidl"], error=error))


@pytest.mark.parametrize(("name", "line"), sessions().items())
def test_each_session_says_what_it_does(name: str, line: str) -> None:
    """The list of sessions is the manual: each has one line, and it is a sentence."""
    assert re.fullmatch(r"[A-Z].*\.", line), f"{name}: {line!r}"


def test_contributing_lists_the_sessions() -> None:
    """The table for contributors and the noxfile name the same sessions."""
    contributing = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")

    assert set(re.findall(r"^\| `(\w+)` \|", contributing, re.MULTILINE)) == set(sessions())


@pytest.mark.parametrize(
    "file",
    [
        ".ci/run",
        "README.md",
        ".github/CONTRIBUTING.md",
        ".github/workflows/tests.yml",
        ".github/workflows/wheel.yml",
        ".github/workflows/zensical.yml",
        ".readthedocs.yaml",
    ],
)
def test_every_command_that_is_written_down_exists(file: str) -> None:
    """A session that a file tells people or machines to run is one of the noxfile."""
    text = (ROOT / file).read_text(encoding="utf-8")
    words = re.findall(r"(?:noxfile\.py -s|^ *step) ((?:[a-z_]+ ?)+)", text, re.MULTILINE)

    assert words
    assert {word for line in words for word in line.split()} <= set(sessions())
