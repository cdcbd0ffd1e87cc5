"""What a user installs, and the exact versions that the project is tested with."""

from __future__ import annotations

import re
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def _name(requirement: str) -> str:
    """The normalized name that a requirement starts with."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def _files(folder: Path, pattern: str = "**/*") -> set[str]:
    files = (path for path in folder.glob(pattern) if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in files}


def _wheel(root: Path, folder: Path, version: str = "standard") -> set[str]:
    """The names in a wheel of *root*, without those of its metadata."""
    builders = pytest.importorskip("hatchling.builders.wheel")
    [path] = builders.WheelBuilder(str(root)).build(directory=str(folder), versions=[version])
    with zipfile.ZipFile(path) as wheel:
        return {name for name in wheel.namelist() if ".dist-info/" not in name}


# ---------------------------------------------------------------------------------------------------
# The wheel
# ---------------------------------------------------------------------------------------------------


def test_the_wheel_holds_the_package_and_the_pages(tmp_path: Path) -> None:
    """Every file of the package, every page beneath offloop/guide/docs, and nothing else."""
    package = {f"offloop/{name}" for name in _files(ROOT / "src" / "offloop")}
    pages = {f"offloop/guide/docs/{name}" for name in _files(ROOT / "docs", "**/*.md")}

    assert _wheel(ROOT, tmp_path) == package | pages
    assert "offloop/py.typed" in package


def test_an_editable_install_holds_no_pages(tmp_path: Path) -> None:
    """Only the path to the checkout: a copy of the pages would hide the ones that are being edited."""
    assert _wheel(ROOT, tmp_path, "editable") == {"_offloop.pth"}


def test_the_sdist_is_enough_to_build_the_wheel(tmp_path: Path) -> None:
    """A wheel made from the sdist has the same files as one made from the checkout."""
    builders = pytest.importorskip("hatchling.builders.sdist")
    [path] = builders.SdistBuilder(str(ROOT)).build(directory=str(tmp_path))
    with tarfile.open(path) as sdist:
        # The first releases of 3.11 have no filters, and the later ones ask for one.
        if hasattr(tarfile, "data_filter"):
            sdist.extractall(tmp_path, filter="data")
        else:
            sdist.extractall(tmp_path)

    assert _wheel(tmp_path / Path(path).name.removesuffix(".tar.gz"), tmp_path) == _wheel(ROOT, tmp_path)


# ---------------------------------------------------------------------------------------------------
# The pins
# ---------------------------------------------------------------------------------------------------


def test_each_pin_is_a_name_and_a_version() -> None:
    """No address, no path and no range: a name, its exact version, perhaps the systems it is for."""
    pin = re.compile(r"[a-z0-9-]+==[0-9a-z.]+( ; [\w .'<>=!]+)?|#.*")

    assert [line for line in CONSTRAINTS if not pin.fullmatch(line)] == []


def test_whatever_is_asked_for_is_pinned() -> None:
    """Every dependency, of every extra and every group, has an exact version."""
    asked = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    for group in (
        *PROJECT["project"]["optional-dependencies"].values(),
        *PROJECT["dependency-groups"].values(),
    ):
        asked += group
    asked += [
        line
        for line in (ROOT / ".ci" / "windows-requirements.txt").read_text().splitlines()
        if line[0] not in "#-"
    ]
    pinned = {_name(line) for line in CONSTRAINTS if not line.startswith("#")}

    assert {_name(requirement) for requirement in asked} <= pinned


def test_the_hooks_use_the_pinned_versions() -> None:
    """What a commit is checked with is what the session checks with."""
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")

    assert set(re.findall(r"[\w-]+==[\w.]+", hooks)) <= set(CONSTRAINTS)


def test_the_bootstrap_asks_for_the_same_nox() -> None:
    """The noxfile says three times which nox it needs, and means one."""
    noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    needed = set(re.findall(r'NOX_NEEDED = "([\d.]+)"|nox>=([\d.]+)"', noxfile))
    groups = PROJECT["dependency-groups"]

    assert {a or b for a, b in needed} == {
        r.partition(">=")[2] for r in groups["nox"] + groups["types"] if "nox>=" in r
    }


# ---------------------------------------------------------------------------------------------------
# The Pythons
# ---------------------------------------------------------------------------------------------------


def test_the_supported_pythons_are_the_tested_ones() -> None:
    """Classifiers, noxfile, workflows and README name the same versions."""
    names = "|".join(re.findall(r":: (3\.\d+)$", "\n".join(PROJECT["project"]["classifiers"]), re.MULTILINE))
    supported = set(names.split("|"))
    noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    matrix = workflow[workflow.index("matrix:") : workflow.index("steps:")]
    pythons = re.search(r"^PYTHONS = (.*)$", noxfile, re.MULTILINE)

    assert pythons is not None
    assert set(re.findall(r"3\.\d+", pythons[1])) == supported
    assert set(re.findall(r"3\.\d+", matrix)) == supported
    assert PROJECT["project"]["requires-python"] == f">={min(supported, key=_minor)}"
    assert set(re.findall(r"3\.\d+", (ROOT / "README.md").read_text(encoding="utf-8"))) == supported


def _minor(version: str) -> int:
    return int(version.partition(".")[2])
