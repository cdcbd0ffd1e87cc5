# /// script
# requires-python = ">=3.11"
# dependencies = ["nox>=2026.10.20"]
# ///
"""Every command that a developer needs, with nothing but Python on the machine.

python3 noxfile.py -s guide     build the site and serve it on this machine
python3 noxfile.py -s tests     run everything that must pass
python3 noxfile.py -l           list the sessions; what follows "--" goes to the session
"""

# Everything down to the sessions is read by Pythons that cannot run them, so that they can say so:
# no syntax newer than 3.6 in this file, and nothing imported before the check that they may lack.
import sys

if sys.version_info < (3, 11):
    sys.exit(
        "offloop needs Python 3.11 or later, and this is Python {}.{} ({}).\n"
        "Run the command with a later one, for example: python3.13 noxfile.py -l".format(
            sys.version_info[0], sys.version_info[1], sys.executable
        )
    )

import contextlib
import functools
import hashlib
import http.server
import importlib.metadata
import importlib.util
import json
import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).resolve().parent
CONSTRAINTS = HERE / "constraints.txt"
NOX_NEEDED = "2026.10.20"

# ---------------------------------------------------------------------------------------------------
# Getting nox
#
# A fresh machine has no nox, and may forbid installing one (PEP 668). So nox gets an environment of
# its own inside the checkout, and this program starts again in there.
# ---------------------------------------------------------------------------------------------------

PRIVATE = HERE / ".nox" / "_bootstrap"
# Written last: an environment without it was interrupted while it was made.
PRIVATE_COMPLETE = PRIVATE / "complete"
STARTED_AGAIN = "OFFLOOP_NOXFILE_STARTED_AGAIN"


def nox_is_usable() -> bool:
    """Whether this interpreter has a nox that the sessions below were written for."""
    try:
        found = importlib.metadata.version("nox")
    except importlib.metadata.PackageNotFoundError:
        return False
    return _release(found) >= _release(NOX_NEEDED) and importlib.util.find_spec("nox") is not None


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


def start_again_with_nox() -> NoReturn:
    """Run this program in the private environment, and end with its exit code."""
    if os.environ.get(STARTED_AGAIN):
        sys.exit(
            f"nox was installed in {PRIVATE}, but cannot be imported from there.\n"
            "Delete that folder, unset PYTHONPATH and PYTHONHOME, and run the command again."
        )
    python = str(private_python())
    environment = {**os.environ, STARTED_AGAIN: "1"}
    command = [python, str(Path(__file__).resolve()), *sys.argv[1:]]
    if sys.platform != "win32":
        # Replacing the process keeps its pid: a signal for the command reaches nox itself.
        os.execve(python, command, environment)
    # On Windows execve() starts a second process and returns to the shell at once.
    with subprocess.Popen(command, env=environment) as process:
        # Ctrl-C reaches every program of the console: the child acts on it, we wait for the child.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.exit(process.wait())


def private_python() -> Path:
    """The interpreter of the private environment, which is made when it is missing, old or half-made."""
    python = PRIVATE / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    # The real prefix and not sys.executable: an environment made from within another one is the same.
    pins = CONSTRAINTS.read_text(encoding="utf-8")
    wanted = _digest(sys.version, sys.base_prefix, str(HERE), NOX_NEEDED, pins)
    with _only_one(PRIVATE.with_suffix(".lock")) as lock:
        if not (python.exists() and PRIVATE_COMPLETE.exists() and PRIVATE_COMPLETE.read_text() == wanted):
            make_private_environment(python, lock)
            PRIVATE_COMPLETE.write_text(wanted)
    return python


def _digest(*decides: object) -> str:
    return hashlib.sha256(repr(decides).encode()).hexdigest()


def make_private_environment(python: Path, lock: int) -> None:
    """Make the environment anew; *lock* is the descriptor that must stay open meanwhile."""
    if importlib.util.find_spec("ensurepip") is None:
        sys.exit(_without_ensurepip())
    print(f"Installing nox in {PRIVATE.relative_to(HERE)} (once)", file=sys.stderr, flush=True)
    if PRIVATE.exists():
        shutil.rmtree(PRIVATE)
    _quietly([sys.executable, "-m", "venv", str(PRIVATE)], lock)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install"]
    _quietly([*pip, "--constraint", str(CONSTRAINTS), f"nox>={NOX_NEEDED}"], lock)


def _without_ensurepip() -> str:
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    return (
        f"{sys.executable} cannot make a virtual environment: its ensurepip is missing.\n"
        f"Debian and Ubuntu keep it in the package {package}:\n\n"
        f"    sudo apt install {package}\n\n"
        "Elsewhere, use a Python that has ensurepip. Then run the command again."
    )


def _quietly(command: Sequence[str], lock: int) -> None:
    """Run a step of the bootstrap; its output is of interest only when it fails."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        # Where this program is killed, pip lives on for a moment, and keeps the next run waiting.
        pass_fds=() if sys.platform == "win32" else (lock,),
    )
    if done.returncode:
        sys.exit(
            f"{done.stdout.decode(errors='replace')}\n"
            f"nox could not be installed: {subprocess.list2cmdline(command)} ended with {done.returncode}.\n"
            "Its output is above. It needs a package index that pip can reach. Then run the command again."
        )


@contextlib.contextmanager
def _only_one(path: Path) -> Generator[int]:
    """Let one run at a time make the environment: the first two commands may start side by side.

    The lock belongs to the open file, so the system releases it however the programs end that have it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if sys.platform == "win32":
            import msvcrt

            while True:
                file.seek(0)
                with contextlib.suppress(OSError):  # It gives up after ten seconds.
                    msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                    break
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


if __name__ == "__main__" and not nox_is_usable():
    try:
        start_again_with_nox()
    except KeyboardInterrupt:
        sys.exit(130)

import nox
import nox.project
import nox.virtualenv

# ---------------------------------------------------------------------------------------------------
# What the sessions share
# ---------------------------------------------------------------------------------------------------

nox.needs_version = f">={NOX_NEEDED}"
nox.options.sessions = ["tests", "types", "imports", "lint"]
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
# An interpreter that is not here is named and left out: nothing is downloaded, nothing fails.
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False

# It looks for uv, which is not used here, and says that it has not found it.
logging.getLogger("nox").addFilter(lambda record: record.getMessage() != "uv binary not found.")

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
SITE = HERE / "site"
# Tests of one file share long runs. By file, as pytest-xdist 3.8 ignores its groups under pytest 9.
IN_PARALLEL = ["--numprocesses", "auto", "--dist", "loadfile"]


def install(session: nox.Session, *requirements: str) -> None:
    """Install once, and again only when something that decides the result has changed.

    Asking pip costs seconds even when it has nothing to do, and one page should be tested in seconds.
    nox keeps an environment whatever became of it, so one that was interrupted, was made by another
    Python or has moved is made anew here.
    """
    project = nox.project.load_toml(HERE / "pyproject.toml")
    decides = [requirements, CONSTRAINTS.read_text(encoding="utf-8"), project["build-system"]]
    decides += [project["project"], project["dependency-groups"], project["tool"]["hatch"]]
    wanted = [_digest(sys.version, sys.base_prefix, str(HERE)), _digest(*decides)]
    # Removed first and written last: an environment without it is half-made.
    record = Path(session.virtualenv.location, "installed")
    found = record.read_text().split() if record.is_file() else []
    if found == wanted:
        return
    if found[:1] != wanted[:1]:
        _make_anew(session)
    record.unlink(missing_ok=True)
    pins = ["--constraint", str(CONSTRAINTS), "--build-constraint", str(CONSTRAINTS)]
    session.install(*pins, *requirements)
    record.write_text("\n".join(wanted))


def _make_anew(session: nox.Session) -> None:
    environment = session.virtualenv
    if isinstance(environment, nox.virtualenv.VirtualEnv) and getattr(environment, "_reused", True):
        environment.reuse_existing = False
        environment.create()


def lend_pyenv_versions() -> None:
    """Let the shims of pyenv reach every version that it has.

    A shim of a version which is installed but not selected is on PATH and fails when it is called, so
    "contract" would report an interpreter as missing that is there. The order keeps what was selected.
    """
    pyenv = shutil.which("pyenv")
    if pyenv is None or sys.platform == "win32":
        return
    selected = _lines([pyenv, "version-name"]) or ["system"]
    names = selected[0].split(":")
    for name in reversed(_lines([pyenv, "versions", "--bare", "--skip-aliases"])):
        series = ".".join(name.split(".")[:2])
        if series in PYTHONS and not any(there.startswith(series) for there in names):
            names.append(name)
    os.environ["PYENV_VERSION"] = ":".join(names)


def _lines(command: Sequence[str]) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.split() if done.returncode == 0 else []


lend_pyenv_versions()

# ---------------------------------------------------------------------------------------------------
# The two commands
# ---------------------------------------------------------------------------------------------------


@nox.session
def guide(session: nox.Session) -> None:
    """Build the site strictly and serve it on this machine; "-- --build" only builds it."""
    unknown = [word for word in session.posargs if word != "--build"]
    if unknown:
        session.error(f'"guide" knows one argument, --build, and not {" ".join(unknown)}.')
    install(session, "--editable", ".[testing]", "--group", "docs")
    build_site(session)
    if not session.posargs:
        serve(session, SITE)


TIMELINES = HERE / ".timelines"


def record_timelines(session: nox.Session) -> None:
    """Run the blocks whose pictures are missing: after a change, or in a fresh clone."""
    found = session.run("python", "-m", "offloop.guide.timeline_figures", str(TIMELINES), silent=True)
    pages = [line for line in str(found).splitlines() if line]
    if pages:
        print(f"Running the blocks of {len(pages)} pages for their timelines", flush=True)
        arguments = ("-q", "-m", "timeline", "--timelines", str(TIMELINES), *pages)
        # A block that fails has no picture; to fail for it is the part of "tests".
        session.run("python", "-m", "pytest", *arguments, success_codes=[0, 1])


def build_site(session: nox.Session) -> None:
    """Build it strictly, with a copy of each page for programs, and look at every link."""
    record_timelines(session)
    # Without a recording a page says so; to fail for one is the part of "casts".
    session.run("python", "-m", "tests.casts", "--missing", success_codes=[0, 1])
    # Without Node it says so, and the site has no Run buttons.
    session.run("python", "-m", "offloop.guide.site_assets")
    session.run(
        *("python", "-m", "mkdocs", "build", "--strict", "--site-dir", str(SITE)),
        # The theme's notice about MkDocs 2 is for people who choose a toolchain.
        env={"NO_MKDOCS_2_WARNING": "1"},
    )
    session.run("python", "-m", "offloop.guide.plain_copies", str(SITE))
    session.run("python", "-m", "tests.guide.links", str(SITE))


def serve(session: nox.Session, folder: Path) -> None:
    """Serve *folder* on a free port until Ctrl-C or SIGTERM; both are the normal end."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """A line for each picture and each font hides the address."""

        def end_headers(self) -> None:
            # The next build may serve other content under the same name and port.
            self.send_header("Cache-Control", "no-store")
            super().end_headers()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    # Set anew, because a shell starts background jobs with SIGINT ignored.
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        print(f"The guide: http://127.0.0.1:{server.server_port}/   (Ctrl-C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


@nox.session
def tests(session: nox.Session) -> None:
    """Run everything that must pass; "-- docs/start.md" runs one page, "-- -k name" one test."""
    install(session, "--editable", ".[testing,serve]", "--group", "test", "--group", "docs")
    arguments = session.posargs or IN_PARALLEL
    session.run("python", "-m", "pytest", "--timelines", str(TIMELINES), *arguments)


# ---------------------------------------------------------------------------------------------------
# The other sessions
# ---------------------------------------------------------------------------------------------------


@nox.session(python=PYTHONS)
def contract(session: nox.Session) -> None:
    """Run the contract tests of the runtime on every supported Python that is found."""
    install(session, "--editable", ".[testing,serve]", "--group", "test")
    session.run("python", "-m", "pytest", "tests/contract", *(session.posargs or IN_PARALLEL))


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the wrapper beside its peers: "-- --rounds 25 --svg FILE"; Linux only."""
    install(session, "--editable", ".[testing,serve]", "--group", "test", "--group", "bench")
    session.run("python", "-m", "tests.benchmarks", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """Start thousands of children and treat them at random: "-- --minutes 20 --seed 1"; Linux only."""
    install(session, "--editable", ".[testing,serve]", "--group", "test")
    session.run("python", "-m", "tests.chaos", *session.posargs)


@nox.session
def casts(session: nox.Session) -> None:
    """Record anew what the guide shows of a terminal: "-- NAME..." records some; not on Windows."""
    install(session, "--editable", ".[testing]")
    session.run("python", "-m", "tests.casts", *session.posargs)


@nox.session
def mutations(session: nox.Session) -> None:
    """Break pages in many ways, and see the run turn red for each."""
    install(session, "--editable", ".[testing,serve]", "--group", "test", "--group", "docs")
    session.run("python", "-m", "pytest", "tests/testing/test_mutations.py", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """Build the site and look at it in headless Chromium; skipped, loudly, where there is none."""
    install(session, "--editable", ".[testing]", "--group", "browser", "--group", "docs")
    build_site(session)
    # One after the other: two browsers on two processors took a fifth longer.
    session.run("python", "-m", "pytest", "tests/site", *session.posargs)


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package, the tests and every file of every page, for each system."""
    install(
        session,
        ".[testing,serve]",
        *("--group", "test", "--group", "docs", "--group", "bench", "--group", "browser", "--group", "types"),
    )
    # The wheel and not the checkout: that is what a user's type checker sees.
    session.run("pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--force-reinstall", ".")
    for system in ("Linux", "Windows", "Darwin"):
        session.run("basedpyright", "--pythonplatform", system)
    session.run("basedpyright", "--project", ".ci/types-tests.json")
    check_listings(session)
    with session.chdir(session.create_tmp()):  # Elsewhere, or it would find src/ first.
        session.run("basedpyright", "--verifytypes", "offloop", "--ignoreexternal")


def check_listings(session: nox.Session) -> None:
    """Check the file blocks of all pages, each page by itself, as strictly as the package."""
    folder = Path(session.create_tmp()) / "listings"
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "offloop.guide.listings", str(folder))
    # Two pages may each have a worker.py, so each page is an import root of its own.
    pages = sorted({str(file.parent.relative_to(folder)) for file in folder.rglob("*.py")})
    configuration = {
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "include": pages,
        "executionEnvironments": [{"root": page} for page in pages],
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(configuration), encoding="utf-8")
    session.run("basedpyright", "--project", str(folder))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and spelling of code, tests and pages; "-- --fix" repairs what can be repaired."""
    install(session, "--group", "lint")
    fix = "--fix" in session.posargs
    session.run("ruff", "check", *(["--fix"] if fix else []))
    session.run("ruff", "format", *([] if fix else ["--check"]))
    # Fences of Markdown are still a preview feature.
    pages = ["README.md", "CHANGELOG.md", ".github/CONTRIBUTING.md", "docs"]
    session.run("ruff", "format", "--preview", *([] if fix else ["--check"]), *pages)
    # Not what is wrong on purpose: pages and fences with a mistake in them.
    spelt = [*pages, "noxfile.py", "src", "tests"]
    session.run(
        "codespell",
        "--skip",
        "tests/testing,tests/guide/test_fences.py,docs/vendor,docs/javascripts/package-lock.json",
        *(["--write-changes"] if fix else []),
        *spelt,
    )


@nox.session
def imports(session: nox.Session) -> None:
    """Check that every module imports only what stands below it."""
    install(session, "--editable", ".", "--group", "imports")
    session.run("lint-imports")


# Wine 8 loses a start now and then, mostly after others were killed: CreateProcess() fails with WinError 1359, or the
# program ends with 0xC0000142, before its first line, since a DLL could not be initialised. One test in two of about ten
# whole runs failed so. It is run again, and is named at the end. Where the error itself does not say it, tests/conftest.py
# adds that a program ended so: a page whose program never ran may show anything.
LOST_BY_WINE = (
    *("--reruns", "1", "-rfER"),
    *("--only-rerun", "WinError 1359", "--only-rerun", str(0xC0000142)),
)


@nox.session(python=False)
def windows_on_wine(session: nox.Session) -> None:
    """Run tests and pages on CPython for Windows under Wine; skipped, loudly, where there is none."""
    tools = windows_python()
    if tools is None:
        skip_loudly(
            session, "there is no CPython for Windows here (OFFLOOP_WINDOWS_PYTHON can name its folder)"
        )
    requirements = str(HERE / ".ci" / "windows-requirements.txt")
    code = subprocess.call([str(tools / "setup"), "3.12", "--requirements", requirements])
    if code == 3:
        skip_loudly(session, "CPython for Windows cannot be had on this machine; the reason is above")
    if code:
        session.error(f"{tools / 'setup'} ended with {code}.")
    environment = {
        "WINDOWS_PYTHONPATH": "src",
        "WINDOWS_PYTHON_REQUIREMENTS": requirements,
        "WINDOWS_PYTHON_TIMEOUT": "1500",
    }
    # Starting a process takes 0.1 to 0.5 seconds there, and asyncio does that on the loop.
    pytest = ("-m", "pytest", "-p", "no:cacheprovider", "--hold-limit", "0.75", *LOST_BY_WINE)
    arguments = session.posargs or IN_PARALLEL
    session.run(str(tools / "python"), *pytest, *arguments, env=environment, external=True)


def windows_python() -> Path | None:
    """The folder with the programs that run CPython for Windows on Linux."""
    named = os.environ.get("OFFLOOP_WINDOWS_PYTHON")
    if named:
        return Path(named).resolve()
    # Beside this checkout, or beside the one that this is a linked work tree of.
    common = _lines(["git", "rev-parse", "--path-format=absolute", "--git-common-dir"])
    beside = [HERE.parent, *(Path(line).parent.parent for line in common)]
    found = (folder / "shared" / "windows" for folder in beside)
    return next((folder for folder in found if (folder / "setup").is_file()), None)


def skip_loudly(session: nox.Session, reason: str) -> NoReturn:
    """Skip, with a line that is still seen after a thousand others."""
    line = f"SKIPPED: nothing was run on Windows: {reason}."
    rule = "!" * len(line)
    print(f"\n{rule}\n{line}\n{rule}\n", flush=True)
    session.skip(reason)


@nox.session
def tally(session: nox.Session) -> None:
    """Join the tallies of several systems: "-- tally-*.json"; fails for a block that ran nowhere."""
    install(session, "--editable", ".")
    session.run("python", "-m", "offloop.testing.tally", "merge", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the sdist, and from it the wheel, into dist/."""
    install(session, "--group", "build")
    shutil.rmtree(HERE / "dist", ignore_errors=True)
    session.run("python", "-m", "build", "--installer", "pip", env={"PIP_BUILD_CONSTRAINT": str(CONSTRAINTS)})


@nox.session
def zensical(session: nox.Session) -> None:
    """Build the site with Zensical, the successor of its theme; allowed to fail."""
    install(session, "--editable", ".", "--group", "zensical")
    session.run("zensical", "build", "--strict", "--clean", "--config-file", "mkdocs.yml")


@nox.session
def pins(session: nox.Session) -> None:
    """Write constraints.txt anew, for every system and Python at once."""
    install(session, "--group", "pins")
    groups = nox.project.load_toml(HERE / "pyproject.toml")["dependency-groups"]
    head = [line for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    found = session.run(
        *("uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--upgrade"),
        *("--no-annotate", "--no-header", "--no-emit-index-url", "--all-extras", "pyproject.toml"),
        *(word for group in groups for word in ("--group", group)),
        silent=True,
    )
    CONSTRAINTS.write_text("\n".join([*head, str(found)]), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    # What the sessions start may run this file again, and begins anew.
    os.environ.pop(STARTED_AGAIN, None)
    if not {"-f", "--noxfile"} & set(sys.argv):
        # So that it works from any folder.
        sys.argv[1:1] = ["--noxfile", str(Path(__file__).resolve())]
    nox.main()
