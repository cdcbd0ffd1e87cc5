"""Fill `docs/vendor/` with what the pages serve themselves: Python for the browser, an editor, a player of recordings.

    python -m offloop.guide.site_assets

The packages are those of `docs/javascripts/package-lock.json`, installed by npm into `.nox/npm/`. The folder is complete
or it is not there. Without Node, or without the network, a line says why, the site is built without the Run buttons and
the player, and the exit code is 0.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ("AssetsMissingError", "fill_vendor", "main", "python_zip")

PYODIDE = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json")
PLAYER = ("asciinema-player.min.js", "asciinema-player.css")
FOR_NPM = ("package.json", "package-lock.json")

# What the examples import. The rest of the package (the doctor, the command line, the runner of pages) needs a computer.
PARTS_OF_OFFLOOP = (
    "__init__.py",
    "errors.py",
    "events.py",
    "loops.py",
    "modes.py",
    "output.py",
    "settings.py",
    "wrapper.py",
    "engines/",
    "process_tree/__init__.py",
    "process_tree/simulated.py",
    "guide/__init__.py",
    "guide/timeline.py",
    "guide/in_browser/",
    "testing/__init__.py",
    "testing/census.py",
    "testing/loop_lag.py",
    "testing/recorder.py",
)
# anyio, and what it imports at once with the Python of the browser.
OTHER_PACKAGES = ("anyio", "typing_extensions")

_NO_TIME = (1980, 1, 1, 0, 0, 0)
_LINES_OF_NPM = 12


class AssetsMissingError(Exception):
    """The assets cannot be had here; the text says why."""


# ---- npm ------------------------------------------------------------------------------------------------


def install_npm(source: Path, folder: Path) -> Path:
    """Install the packages of the lock file in *source* into *folder*; returns its `node_modules`.

    Nothing is done if they are there already.

    Raises:
        AssetsMissingError: There is no Node, or npm failed.
    """
    modules, complete = folder / "node_modules", folder / "complete"
    wanted = hashlib.sha256(b"".join((source / name).read_bytes() for name in FOR_NPM)).hexdigest()
    if complete.is_file() and complete.read_text("utf-8") == wanted and modules.is_dir():
        return modules
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise AssetsMissingError(
            "Node is not installed (https://nodejs.org): neither node nor npm is on PATH"
        )
    complete.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    for name in FOR_NPM:
        shutil.copyfile(source / name, folder / name)
    done = subprocess.run(
        # Scripts of packages are not run: nothing that is installed here needs one.
        [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        lines = done.stdout.decode("utf-8", "replace").splitlines()[-_LINES_OF_NPM:]
        raise AssetsMissingError("\n".join([f"npm ci ended with {done.returncode}:", *lines]))
    complete.write_text(wanted, "utf-8")
    return modules


# ---- the folder -----------------------------------------------------------------------------------------


def fill_vendor(docs: Path, npm: Path) -> Path:
    """Make `vendor/` in *docs* anew, unless it is up to date; returns it.

    Raises:
        AssetsMissingError: What it is made from cannot be had. There is no `vendor/` then.
    """
    vendor = docs / "vendor"
    try:
        modules = install_npm(docs / "javascripts", npm)
        archive = python_zip(Path(__file__).parents[1])
    except AssetsMissingError:
        shutil.rmtree(vendor, ignore_errors=True)
        raise
    wanted = _digest(modules.parent / "complete", docs / "javascripts" / "editor.mjs", archive)
    stamp = vendor / "made-from.txt"
    if stamp.is_file() and stamp.read_text("utf-8") == wanted:
        return vendor
    # Beside it and then renamed: an interrupted build leaves no half of it.
    with tempfile.TemporaryDirectory(prefix="vendor-", dir=npm) as name:
        made = Path(name) / "vendor"
        _copy(modules / "pyodide", made / "pyodide", PYODIDE)
        _copy(modules / "asciinema-player" / "dist" / "bundle", made / "asciinema-player", PLAYER)
        (made / "python.zip").write_bytes(archive)
        bundle_editor(docs / "javascripts" / "editor.mjs", made / "editor.mjs", modules)
        (made / "made-from.txt").write_text(wanted, "utf-8")
        shutil.rmtree(vendor, ignore_errors=True)
        shutil.move(made, vendor)
    return vendor


def _digest(complete: Path, editor: Path, archive: bytes) -> str:
    this = Path(__file__)
    parts = [complete.read_bytes(), editor.read_bytes(), archive, this.read_bytes()]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _copy(source: Path, target: Path, names: Sequence[str]) -> None:
    target.mkdir(parents=True)
    for name in names:
        try:
            shutil.copyfile(source / name, target / name)
        except FileNotFoundError:
            raise AssetsMissingError(f"{source.name} in the lock file has no file {name}") from None


def bundle_editor(source: Path, target: Path, modules: Path) -> None:
    """One file from the editor of this site and the packages that it imports.

    Raises:
        AssetsMissingError: esbuild failed.
    """
    programs = sorted(modules.glob("@esbuild/*/bin/esbuild")) + sorted(modules.glob("@esbuild/*/esbuild.exe"))
    if not programs:
        raise AssetsMissingError("npm has installed no esbuild for this system")
    options = ("--bundle", "--minify", "--format=esm", "--log-level=warning")
    done = subprocess.run(
        [str(programs[0]), str(source), *options, f"--outfile={target}"],
        env={**os.environ, "NODE_PATH": str(modules)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        raise AssetsMissingError(
            f"esbuild ended with {done.returncode}:\n{done.stdout.decode('utf-8', 'replace')}"
        )


# ---- Python ---------------------------------------------------------------------------------------------


def python_zip(offloop: Path) -> bytes:
    """What Python in the browser imports, as a zip that is the same for the same files.

    Args:
        offloop: The package.

    Raises:
        AssetsMissingError: A package is not installed.
    """
    files = dict(_offloop_files(offloop))
    for name in OTHER_PACKAGES:
        files.update(_installed_files(name))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _NO_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name].read_bytes().replace(b"\r\n", b"\n"))
    return buffer.getvalue()


def _offloop_files(package: Path) -> Iterator[tuple[str, Path]]:
    for part in PARTS_OF_OFFLOOP:
        path = package / part
        for file in sorted(path.glob("*.py")) if part.endswith("/") else [path]:
            yield f"offloop/{file.relative_to(package).as_posix()}", file


def _installed_files(name: str) -> Iterator[tuple[str, Path]]:
    """The modules of an installed package without what needs pytest or trio, or the one module that it is."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise AssetsMissingError(f"{name} is not installed")
    if not spec.submodule_search_locations:
        yield f"{name}.py", Path(spec.origin)
        return
    package = Path(spec.origin).parent
    for file in sorted(package.rglob("*.py")):
        if file.stem not in ("pytest_plugin", "_trio"):
            yield f"{name}/{file.relative_to(package).as_posix()}", file


def main() -> int:
    """Fill the folder of this checkout; returns the exit code."""
    root = Path(__file__).resolve().parents[3]
    npm = root / ".nox" / "npm"
    npm.mkdir(parents=True, exist_ok=True)
    try:
        vendor = fill_vendor(root / "docs", npm)
    except AssetsMissingError as error:
        print(
            f"The site is built without Run buttons and without the player of recordings: {error}", flush=True
        )
        return 0
    size = sum(file.stat().st_size for file in vendor.rglob("*") if file.is_file())
    print(f"{vendor.relative_to(root)}: {size / 1e6:.1f} MB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
