"""`offloop doctor`: every finding is produced by the state of a real process that has it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from offloop import cli
from offloop.doctor import CHECKS, KINDS, Severity, diagnose, limit_checks, process_checks
from offloop.errors import SettingsError
from offloop.guide.pages import docs_folder

on_windows = sys.platform == "win32"
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="is looked for in /proc")
posix_only = pytest.mark.skipif(on_windows, reason="there is no such limit, signal or shell on Windows")


@dataclass(frozen=True)
class Diagnosis:
    """What the command printed as JSON."""

    code: int
    facts: Mapping[str, str]
    findings: Mapping[str, str]


def run(*arguments: str, before: str = "", **changes: str | None) -> Diagnosis:
    """`offloop doctor --json ARGUMENTS` in a program of its own that runs *before* first."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OFFLOOP_RUN")}
    for name, value in changes.items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    code = f"import sys\n{before}\nfrom offloop.cli import main\nsys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor", "--json", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    return as_diagnosis(done)


def as_diagnosis(done: subprocess.CompletedProcess[bytes]) -> Diagnosis:
    assert done.returncode in (0, 1), (done.stderr or b"").decode()
    return _read(done.returncode, done.stdout.decode())


def _read(code: int, text: str) -> Diagnosis:
    checks = json.loads(text)["checks"]
    return Diagnosis(
        code,
        {name: value for check in checks for name, value in check["facts"].items()},
        {finding["name"]: finding["evidence"] for check in checks for finding in check["findings"]},
    )


class Here:
    """`offloop doctor --json ARGUMENTS` in this program: where nothing but its environment is changed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *arguments: str) -> Diagnosis:
        code = cli.main(["doctor", "--json", *arguments])
        return _read(code, self._capsys.readouterr().out)


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    """A doctor without the run mode of whoever runs the tests."""
    monkeypatch.delenv("OFFLOOP_RUN_MODE", raising=False)
    return Here(capsys)


# ---- as a whole --------------------------------------------------------------------------------------


def test_what_is_well_is_not_found(here: Here) -> None:
    """Interpreter, loop and starts of a machine that runs these tests: exit code 0, no finding worse than a note."""
    seen = here.run("--only", "loop", "--only", "starts", "--only", "server")

    assert seen.code == 0
    assert set(seen.findings) <= {"slow-start", "wait-for-loses-cancellations"}
    assert seen.facts["run mode"].startswith("threaded: " if on_windows else "async: ")
    assert seen.facts["threaded"].endswith(" ms")
    assert seen.facts["dry-run"].endswith(" ms")


@posix_only
def test_it_takes_less_than_a_second() -> None:
    """Of a processor, with everything that it starts: the machine may have other work."""

    def cpu_s() -> float:
        times = os.times()
        return times.children_user + times.children_system

    before = cpu_s()
    run()

    assert cpu_s() - before < 1


def test_every_check_has_a_section_and_can_be_asked_for_alone() -> None:
    """In the order of ``CHECKS``."""
    checks = [
        check["check"]
        for check in json.loads(
            subprocess.run(
                [sys.executable, "-m", "offloop", "doctor", "--json"], stdout=subprocess.PIPE, timeout=60
            ).stdout
        )["checks"]
    ]

    assert tuple(checks) == CHECKS
    assert set(run("--only", "machine").facts) == {"system", "processor"}


def test_the_table_names_what_was_seen_and_the_page(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No colour in a pipe; the finding with its evidence, next step and page; a count at the end."""
    monkeypatch.setenv("OFFLOOP_RUN_MODE", "local")

    code = cli.main(["doctor", "--only", "loop"])

    text = capsys.readouterr().out
    assert code == 1
    assert "\n  run mode " in text
    assert (
        "\nwarning mode-blocks-the-loop\n  OFFLOOP_RUN_MODE is set to 'local'.\n  Remove OFFLOOP_RUN_MODE"
        in text
    )
    assert "/practice/run-modes/\n" in text
    assert re.search(r"\n1 warning(, 1 note)?\n$", text)
    assert "\033" not in text


def test_without_findings_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """And ends with 0."""
    assert cli.main(["doctor", "--only", "machine"]) == 0
    assert capsys.readouterr().out.endswith("\n\nNothing was found.\n")


@pytest.mark.asyncio
async def test_it_examines_the_running_loop() -> None:
    """``diagnose()`` is for the inside of a server."""
    report = await diagnose(["loop"])

    assert report.is_healthy
    assert "asyncio" in dict(report.sections[0].facts)["loop"]


@pytest.mark.asyncio
async def test_a_check_that_does_not_exist() -> None:
    """Is a SettingsError that lists those that do."""
    with pytest.raises(SettingsError, match="machine, interpreter, "):
        await diagnose(["machinery"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "machinery"], "invalid choice: 'machinery'"),
        (["--reload"], "unrecognized arguments: --reload (options of uvicorn need --app)"),
        (["--app", "x:y", "--relaod"], "No such option '--relaod'"),
    ],
)
def test_wrong_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and a sentence, before anything is examined."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", *arguments])

    assert ended.value.code == 2
    assert message.replace("'", "") in capsys.readouterr().err.replace("'", "")


# ---- loop and server ---------------------------------------------------------------------------------


def test_a_loop_that_cannot_start_processes(here: Here, tmp_path: Path) -> None:
    """uvicorn makes it, with the options that are given."""
    place = "offloop.loops:selector_loop_without_processes"
    (tmp_path / "main.py").write_text("raise SystemExit('was imported')")

    seen = here.run(
        "--app", "main:app", "--app-dir", str(tmp_path), "--loop", place, "--timeout-graceful-shutdown", "5"
    )

    assert "NotImplementedError" in seen.findings["loop-without-processes"]
    assert seen.facts["run mode"].startswith("threaded: ")
    assert seen.facts["async"] == "not on this loop"
    assert seen.facts["options for the loop"] == f"--loop={place}"
    assert not {"app-not-found", "no-shutdown-limit", "start-fails"} & set(seen.findings)


@pytest.mark.skipif(not on_windows, reason="elsewhere uvicorn has one loop for both")
def test_reload_on_windows(here: Here) -> None:
    """uvicorn takes the selector loop, which cannot start processes."""
    assert "loop-without-processes" in here.run("--only", "loop", "--app", "main:app", "--reload").findings


@pytest.mark.skipif(not on_windows, reason="there is no Proactor loop elsewhere")
def test_a_proactor_loop_with_several_processes(here: Here) -> None:
    """Forced by hand; one process may have it."""
    forced = ("--only", "loop", "--app", "main:app", "--loop", "asyncio:ProactorEventLoop")

    assert "proactor-with-several-processes" in here.run(*forced, "--workers", "2").findings
    assert "proactor-with-several-processes" not in here.run(*forced).findings


@pytest.mark.skipif(not on_windows, reason="there is no Proactor loop elsewhere")
def test_psycopg_on_a_proactor_loop(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked for, and not imported."""
    (tmp_path / "psycopg.py").write_text("raise SystemExit('was imported')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    assert "psycopg-on-proactor" in here.run("--only", "loop").findings


def test_a_policy_that_somebody_has_set() -> None:
    """A note, with its class. Python 3.16 has no policies any more."""
    before = (
        "import asyncio, warnings\nwarnings.simplefilter('ignore', DeprecationWarning)\n"
        "class Mine(getattr(asyncio, 'DefaultEventLoopPolicy', object)):\n    pass\n"
        "getattr(asyncio, 'set_event_loop_policy', lambda _: None)(Mine())"
    )
    seen = run("--only", "loop", before=before)

    if hasattr(asyncio, "set_event_loop_policy"):
        assert "__main__.Mine" in seen.findings["policy-is-set"]
    assert "policy-is-set" not in run("--only", "loop").findings


@pytest.mark.asyncio
async def test_a_wait_for_that_loses_cancellations() -> None:
    """As this Python does it, tried here in another way: with a task that goes on."""
    result: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    ran_on: list[bool] = []

    async def outer() -> None:
        await asyncio.wait_for(result, 60)
        ran_on.append(True)

    task = asyncio.create_task(outer())
    await asyncio.sleep(0)
    result.set_result(None)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    found = {finding.kind.name for finding in (await diagnose(["loop"])).findings}
    assert ("wait-for-loses-cancellations" in found) is bool(ran_on)


def test_an_application_that_is_not_there(here: Here, tmp_path: Path) -> None:
    """Or is not named as uvicorn wants it."""
    there = here.run("--only", "server", "--app", "nowhere:app", "--app-dir", str(tmp_path))

    assert "There is no module 'nowhere'" in there.findings["app-not-found"]
    assert "no-shutdown-limit" in there.findings
    assert "MODULE:APP" in here.run("--only", "server", "--app", "nowhere").findings["app-not-found"]


def test_nothing_of_the_application_is_imported(here: Here, tmp_path: Path) -> None:
    """Nor of the packages around it: that would run them, and what they print would be in the JSON."""
    package = tmp_path / "package" / "inner"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").write_text("raise SystemExit('was imported')")
    (package / "module.py").write_text("raise SystemExit('was imported')")
    arguments = ("--only", "server", "--app-dir", str(tmp_path), "--timeout-graceful-shutdown", "0", "--app")

    seen = here.run(*arguments, "package.inner.module:app")

    assert seen.findings == {}
    assert seen.facts["at the end"] == "open requests have 0 s"
    assert "app-not-found" in here.run(*arguments, "package.inner.other:app").findings
    assert "app-not-found" in here.run(*arguments, "").findings


def test_a_loop_of_the_application(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """uvicorn finds it in the folder of the application."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "doctors_loop.py").write_text("import asyncio\n\nmake = asyncio.SelectorEventLoop\n")

    seen = here.run(
        "--only", "loop", "--app", "x:y", "--app-dir", str(tmp_path), "--loop", "doctors_loop:make"
    )

    assert "SelectorEventLoop" in seen.facts["loop"]


@pytest.mark.parametrize("loop", ["bad", "os:nope", "os:getcwd", "builtins:object"])
def test_a_loop_that_is_none(loop: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong argument."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", "--only", "loop", "--app", "x:y", "--loop", loop])

    assert ended.value.code == 2
    assert loop in capsys.readouterr().err


@posix_only
def test_a_reader_that_has_seen_enough() -> None:
    """`offloop doctor | head -1` is no error of Python."""
    command = [sys.executable, "-m", "offloop", "doctor", "--only", "machine"]
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=60)
    finally:
        os.close(write)

    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("mode", "found"),
    [("thread", "unknown-run-mode"), ("local", "mode-blocks-the-loop"), ("dry-run", "mode-runs-nothing")],
)
def test_a_run_mode_in_the_environment(
    mode: str, found: str, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is unknown, or not for a server."""
    monkeypatch.setenv("OFFLOOP_RUN_MODE", mode)

    assert found in here.run("--only", "loop").findings


def test_async_mode_on_a_loop_that_cannot(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing could be started there."""
    place = "offloop.loops:selector_loop_without_processes"

    monkeypatch.setenv("OFFLOOP_RUN_MODE", "async")
    seen = here.run("--only", "loop", "--app", "x:y", "--loop", place)

    assert "mode-not-on-this-loop" in seen.findings


# ---- limits ------------------------------------------------------------------------------------------

FEW_DESCRIPTORS = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({0}, {0}))"


@posix_only
def test_few_descriptors() -> None:
    """The number of programs that there is room for."""
    seen = run("--only", "limits", before=FEW_DESCRIPTORS.format(64))

    assert "64 files may be open" in seen.findings["few-descriptors"]
    assert seen.facts["open files"].endswith("of 64, which may be raised to 64")


@posix_only
def test_a_start_that_fails() -> None:
    """With the error of the start, which names the limit."""
    seen = run(
        "--only", "starts", before=f"import asyncio, offloop.doctor.command\n{FEW_DESCRIPTORS.format(9)}"
    )

    assert "start-fails" in seen.findings
    assert "open files" in seen.findings["start-fails"]


@linux_only
@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can become another user")
def test_few_processes() -> None:
    """Of another user than root, who has no limit. The files of this environment are still read as root."""
    before = (
        "import os, resource\nimport offloop.cli\n"
        "resource.setrlimit(resource.RLIMIT_NPROC, (4, 4))\nos.setreuid(54321, 0)"
    )

    assert "of 4, threads counted" in run("--only", "limits", before=before).findings["few-processes"]


@pytest.mark.asyncio
async def test_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is really free, against a need that no machine has."""
    assert (await diagnose(["limits"])).is_healthy
    monkeypatch.setattr(limit_checks, "_ENOUGH_MEMORY_BYTES", 2**62)

    (finding, *_) = (await diagnose(["limits"])).findings

    assert finding.kind is KINDS["little-memory"]
    assert "MiB are left" in finding.evidence


@pytest.mark.asyncio
async def test_slow_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A note: it does not count."""
    monkeypatch.setattr(process_checks, "_SLOW_S", 0.0)

    report = await diagnose(["starts"])

    assert {finding.kind.name for finding in report.findings} == {"slow-start"}
    assert report.is_healthy


# ---- interpreter and environment ---------------------------------------------------------------------


def test_an_encoding_that_is_not_utf_8() -> None:
    """The C locale, or that of Windows."""
    seen = run("--only", "interpreter", LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")

    assert set(seen.findings) == {"not-utf-8"}
    assert seen.code == 0
    assert not run("--only", "interpreter", PYTHONUTF8="1").findings


def test_no_path(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not set is as good as empty."""
    monkeypatch.delenv("PATH")

    assert "no-path" in here.run("--only", "environment").findings


def test_another_python_on_path(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A note that says where it was looked for."""
    monkeypatch.setenv("PATH", str(tmp_path))

    seen = here.run("--only", "environment")

    assert set(seen.findings) == {"another-python-on-path"}
    assert seen.code == 0


@posix_only
def test_this_python_on_path(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the folder: in a virtual environment all of them are links to the same file."""
    folder = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", folder)

    assert bool(here.run("--only", "environment").findings) is (shutil.which("python", path=folder) is None)


@pytest.mark.skipif(not on_windows, reason="SystemRoot is of Windows")
def test_no_system_root(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that is started without it cannot come so far."""
    monkeypatch.delenv("SYSTEMROOT")

    assert "no-system-root" in here.run("--only", "environment").findings


@posix_only
def test_exit_codes_that_are_lost() -> None:
    """A parent that ignores SIGCHLD hands that down."""
    before = "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)"

    assert "SIGCHLD" in run("--only", "environment", before=before).findings["exit-codes-are-lost"]


# ---- other processes ---------------------------------------------------------------------------------


@linux_only
def test_left_by_an_earlier_run(tmp_path: Path) -> None:
    """A program whose parent has ended is named, without its arguments; a daemon is not."""
    start = (
        "import os, subprocess, sys\n"
        "child = [sys.executable, '-c', 'import sys; print(flush=True); sys.stdin.read()', 'secret']\n"
        "for options in ({'process_group': 0}, {'start_new_session': True}):\n"
        "    with subprocess.Popen(child, stdout=subprocess.PIPE, **options) as process:\n"
        "        process.stdout.readline()\n"
        "        print(process.pid, flush=True)\n"
        "        process.returncode = 0\n"
    )
    read, write = os.pipe()
    try:
        parent = subprocess.run(
            [sys.executable, "-c", start], stdin=read, stdout=subprocess.PIPE, cwd=tmp_path, timeout=30
        )
        orphan, daemon = parent.stdout.split()
        code = "import sys; from offloop.cli import main; sys.exit(main(['doctor', '--json', '--only', 'orphans']))"

        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, timeout=30)

        evidence = as_diagnosis(done).findings["left-by-an-earlier-run"]
    finally:
        os.close(read)
        os.close(write)
    assert f"{orphan.decode()} (python" in evidence
    assert daemon.decode() not in evidence
    assert "secret" not in evidence


def _unshared(*options: str) -> list[str]:
    """A command that runs in namespaces of its own, which takes rights that not every machine gives."""
    command = ["unshare", *options, "--"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip(f"{' '.join(command)} is not allowed here")
    return command


@linux_only
def test_pid_1_that_does_not_reap() -> None:
    """In a PID namespace whose first process waits for its own child only."""
    command = _unshared("--fork", "--pid", "--mount-proc")
    first = (
        "import subprocess, sys\n"
        "orphan = 'import os, sys\\nif os.fork() == 0:\\n    os.fork() == 0 and os._exit(0)\\n'\n"
        "subprocess.run([sys.executable, '-c', orphan])\n"
        "sys.exit(subprocess.run([sys.executable, '-m', 'offloop', 'doctor', '--json', '--only', 'orphans']).returncode)"
    )

    done = subprocess.run([*command, sys.executable, "-c", first], stdout=subprocess.PIPE, timeout=60)

    assert "are not reaped" in as_diagnosis(done).findings["pid-1-does-not-reap"]


@linux_only
def test_no_leash() -> None:
    """Where something that cannot be run lies over /bin/sh."""
    command = _unshared("--mount")
    shell = os.path.realpath("/bin/sh")
    inner = f"mount --bind /dev/null {shell} && exec {sys.executable} -m offloop doctor --json --only starts"

    done = subprocess.run([*command, "/bin/sh", "-c", inner], stdout=subprocess.PIPE, timeout=60)

    assert "/bin/sh" in as_diagnosis(done).findings["no-leash"]


# ---- names agree -------------------------------------------------------------------------------------


def test_every_finding_is_tested_here() -> None:
    """By its name."""
    text = Path(__file__).read_text("utf-8")

    assert [name for name in KINDS if f'"{name}"' not in text] == []


def test_every_finding_names_a_page_that_exists() -> None:
    """And a next step that is a sentence."""
    assert [k for k in KINDS.values() if not (docs_folder() / f"{k.page.rstrip('/')}.md").is_file()] == []
    assert [k for k in KINDS.values() if not k.next_step.endswith(".")] == []


def test_every_finding_is_on_its_reference_page() -> None:
    """With its severity."""
    text = (docs_folder() / "reference" / "doctor.md").read_text("utf-8")

    assert [k.name for k in KINDS.values() if f"| `{k.name}` | {k.severity.value} |" not in text] == []
    assert [s for s in Severity if f"`{s.value}`" not in text and f"| {s.value} |" not in text] == []
