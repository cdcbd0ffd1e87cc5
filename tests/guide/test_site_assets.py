"""What the pages serve themselves is complete, or it is not there, and the reason is printed."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from offloop.guide import site_assets
from offloop.guide.pages import docs_folder
from offloop.guide.site_assets import AssetsMissingError, fill_vendor, install_npm, python_zip

PACKAGE = Path(site_assets.__file__).parents[1]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A docs folder with what the assets are made from."""
    folder = tmp_path / "docs"
    (folder / "javascripts").mkdir(parents=True)
    for name in (*site_assets.FOR_NPM, "editor.mjs"):
        shutil.copyfile(docs_folder() / "javascripts" / name, folder / "javascripts" / name)
    return folder


@pytest.fixture
def no_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without Node."""
    monkeypatch.setenv("PATH", str(tmp_path))


def npm_that(program: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put programs named npm and node first on PATH; npm runs *program*."""
    if sys.platform == "win32":
        pytest.skip("a script that stands in for npm is a shell script here")
    folder.mkdir()
    for name in ("npm", "node"):
        (folder / name).write_text(f"#!/bin/sh\n{program}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_without_node_there_is_no_folder(docs: Path, tmp_path: Path, no_node: None) -> None:
    """Not even an old one, which would not fit the pages."""
    (docs / "vendor").mkdir()

    with pytest.raises(AssetsMissingError, match="Node is not installed"):
        fill_vendor(docs, tmp_path / "npm")
    assert not (docs / "vendor").exists()


def test_an_npm_that_fails_is_quoted(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its last lines; the next run tries again."""
    npm_that("echo 'npm error network'; exit 7", tmp_path / "bin", monkeypatch)

    for _ in range(2):
        with pytest.raises(AssetsMissingError, match=r"npm ci ended with 7:\nnpm error network"):
            fill_vendor(docs, tmp_path / "npm")
    assert not (docs / "vendor").exists()


def test_npm_runs_once_for_a_lock_file(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And again when it changes, and after an installation that was interrupted."""
    count = tmp_path / "count"
    npm_that(f"echo ran >> {count}; mkdir -p node_modules", tmp_path / "bin", monkeypatch)
    lock = docs / "javascripts" / "package-lock.json"

    def times() -> int:
        install_npm(docs / "javascripts", tmp_path / "npm")
        return len(count.read_text().splitlines())

    assert [times(), times()] == [1, 1]
    lock.write_text(lock.read_text() + "\n")
    assert [times(), times()] == [2, 2]
    (tmp_path / "npm" / "complete").unlink()
    assert times() == 3


def test_a_package_that_lacks_a_file_leaves_no_folder(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of it would be worse than nothing."""
    npm_that("mkdir -p node_modules/pyodide", tmp_path / "bin", monkeypatch)

    with pytest.raises(AssetsMissingError, match=r"pyodide .* has no file pyodide\.mjs"):
        fill_vendor(docs, tmp_path / "npm")
    assert not (docs / "vendor").exists()


def test_the_build_goes_on_without_them(
    tmp_path: Path, no_node: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 0, and one line says what is left out and why."""
    monkeypatch.setattr(site_assets, "fill_vendor", lambda *_: _missing())

    assert site_assets.main() == 0
    assert capsys.readouterr().out == (
        "The site is built without Run buttons and without the player of recordings: no network\n"
    )


def _missing() -> Path:
    raise AssetsMissingError("no network")


def test_the_lock_file_names_no_host() -> None:
    """Whoever builds the site says where packages come from."""
    lock = json.loads((docs_folder() / "javascripts" / "package-lock.json").read_text("utf-8"))

    assert all("resolved" not in package for package in lock["packages"].values())
    assert all("integrity" in package for name, package in lock["packages"].items() if name)


def test_the_zip_is_the_same_for_the_same_files() -> None:
    """So a build that changes nothing changes no file of the site."""
    assert python_zip(PACKAGE) == python_zip(PACKAGE)


def test_the_zip_is_small_and_has_what_a_browser_needs() -> None:
    """And nothing that needs a computer."""
    archive = python_zip(PACKAGE)
    names = zipfile.ZipFile(io.BytesIO(archive)).namelist()

    assert len(archive) < 300_000
    assert {"offloop/wrapper.py", "offloop/guide/in_browser/loop.py", "anyio/__init__.py"} <= set(names)
    assert not [name for name in names if "pytest" in name or "/doctor" in name or "posix.py" in name]


@pytest.mark.skipif(sys.platform == "win32", reason="Python on Windows is too unlike that of a browser")
def test_what_is_in_the_zip_imports_nothing_that_is_not(tmp_path: Path) -> None:
    """Every module of offloop in it, in an interpreter that has nothing else and says that it is a browser."""
    zipfile.ZipFile(io.BytesIO(python_zip(PACKAGE))).extractall(tmp_path)
    modules = sorted(
        ".".join(file.relative_to(tmp_path).with_suffix("").parts).removesuffix(".__init__")
        for file in (tmp_path / "offloop").rglob("*.py")
    )
    code = f"""
import sys
sys.path[:] = [entry for entry in sys.path if "site-packages" not in entry]
sys.path.insert(0, {str(tmp_path)!r})
sys.platform = "emscripten"
from importlib import import_module
for name in {modules!r}:
    import_module(name)
print(import_module("offloop").__file__)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
    )

    assert done.stderr == ""
    assert str(tmp_path) in done.stdout
