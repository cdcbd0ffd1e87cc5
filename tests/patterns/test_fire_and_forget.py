"""Fire-and-forget with tracking: many jobs, a killed program, a shared, full or read-only file, a hasty end."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import offloop
from offloop import events
from offloop.guide.pages import docs_folder, read_page
from offloop.testing import left_behind
from offloop.testing.whereabouts import whereabouts
from tests.contract.children import (
    DEADLINE_S,
    IGNORES_SIGTERM,
    ON_WINDOWS,
    SLEEP,
    eventually,
    exits,
    left_alive,
    registered,
    tree,
)

PAGE = docs_folder() / "patterns/fire-and-forget.md"
SUCCEEDS = exits(0)
JOB_S = 120.0
ENDED_EARLY = "the program ended before the job did"


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module `background_jobs` of the page. The current folder is an empty one that holds the page's files."""
    files = {fence.file: fence.content for fence in read_page(PAGE).fences if fence.file}
    for name, content in files.items():
        (tmp_path / name).write_text(content, "utf-8", newline="\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield importlib.import_module("background_jobs")
    for name in files:
        sys.modules.pop(name.removesuffix(".py"), None)


def run(body: Callable[[], Coroutine[Any, Any, None]], deadline_s: float = DEADLINE_S) -> None:
    async def with_deadline() -> None:
        try:
            async with asyncio.timeout(deadline_s):
                await body()
        except TimeoutError as error:
            error.add_note("\n".join(whereabouts()))  # the disk is used by another thread
            raise

    asyncio.run(with_deadline())


def store_error() -> type[Exception]:
    return sys.modules["job_store"].JobStoreError


async def until(jobs: Any, job_id: str, status: str) -> None:
    while (await jobs.status(job_id)).status != status:
        await asyncio.sleep(0.005)


def rows(sql: str = "SELECT * FROM jobs ORDER BY created_at") -> list[dict[str, Any]]:
    """What is in the file, which nobody may have open."""
    with contextlib.closing(sqlite3.connect("jobs.db")) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(sql)]


@contextlib.contextmanager
def started_program(code: str) -> Iterator[subprocess.Popen[str]]:
    """A program in the current folder, first on its import path; killed at the end."""
    paths = [str(Path(offloop.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as program:
        try:
            yield program
        finally:
            program.kill()


def line_of(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline().strip()


# --- many jobs -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def count_alive() -> Iterator[list[int]]:
    """How many processes lived at a time, after each start and end."""
    alive = [0]

    def count(event: events.Event) -> None:
        if isinstance(event, events.Started | events.Ended):
            alive.append(alive[-1] + (1 if isinstance(event, events.Started) else -1))

    unsubscribe = events.subscribe(count)
    yield alive
    unsubscribe()


# Wine 8.0 on a busy machine now and then refuses one start of some thousands.
TIMES = 10 if ON_WINDOWS else 50


@pytest.mark.slow
def test_many_jobs_end_in_the_right_states(guide: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    """Those that succeed, that fail, that do not exist and that are cancelled, eight of them at a time."""
    kinds = [
        ("completed", SUCCEEDS),
        ("failed", exits(3)),
        ("failed", ["no-such-program"]),
        ("cancelled", SLEEP),
    ] * TIMES

    async def body() -> None:
        async with guide.BackgroundJobs("jobs.db", at_once=8) as jobs:
            ids = await asyncio.gather(*(jobs.submit(*argv, timeout_s=JOB_S) for _, argv in kinds))
            await asyncio.gather(*(jobs.cancel(job_id) for job_id in ids[3::4]))
            ended = [await jobs.wait(job_id) for job_id in ids]

        pairs = zip(ended, kinds, strict=True)
        assert [(job.status, job.error) for job, (status, _) in pairs if job.status != status] == []
        assert {job.returncode for job in ended[1::4]} == {3}

    with count_alive() as alive:
        run(body, 150)

    assert 1 < max(alive) <= 8
    assert Counter(row["status"] for row in rows()) == {
        "completed": TIMES,
        "failed": 2 * TIMES,
        "cancelled": TIMES,
    }
    assert all(row["created_at"] and row["finished_at"] for row in rows())
    assert sum(record.name == "background_jobs" for record in caplog.records) == 2 * TIMES


# --- a program that ends -------------------------------------------------------------------------------------------

# Without processes: on Windows one that is being started when the program is killed may be left, suspended.
SUBMITS = f"""
import asyncio, os
os.environ["OFFLOOP_RUN_MODE"] = "dry-run"
from background_jobs import BackgroundJobs

async def main():
    async with BackgroundJobs("jobs.db", at_once=2) as jobs:
        while True:
            print(await jobs.submit(*{SUCCEEDS!r}, timeout_s=60), flush=True)

asyncio.run(main())
"""


HOLDS = f"""
import asyncio
from background_jobs import BackgroundJobs
from waiting import until

async def main():
    async with BackgroundJobs("jobs.db") as jobs:
        job_id = await jobs.submit(*{SLEEP!r}, timeout_s=60)
        await until(jobs, job_id, "running")
        print(job_id, flush=True)
        await jobs.wait(job_id)

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_killed_program_loses_no_job(guide: ModuleType) -> None:
    """Each id that submit() has returned is in the file; the next start ends what had not ended."""
    told: list[str] = []
    for before_the_kill in (1, 7, 40):
        with started_program(SUBMITS) as program:
            told += [line_of(program) for _ in range(before_the_kill)]
            program.kill()
            assert program.stdout is not None
            told += [line.strip() for line in program.stdout if line.endswith("\n")]

    async def body() -> None:
        async with guide.BackgroundJobs("jobs.db") as jobs:
            ended = [await jobs.status(job_id) for job_id in told]
        assert {(job.status, job.error) for job in ended} <= {("completed", None), ("failed", ENDED_EARLY)}

    run(body)

    assert len(told) >= 48
    assert len(rows()) >= len(told)
    assert rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]


@pytest.mark.slow
def test_jobs_die_with_a_killed_program(guide: ModuleType, tmp_path: Path) -> None:
    """With what they have started; and what is said of them at the next start is true."""
    register = tmp_path / "register"
    register.mkdir()
    with started_program(HOLDS.replace(repr(SLEEP), repr(tree(register)))) as program:
        job_id = line_of(program)  # it runs: in the moment of its birth it might survive
        assert eventually(lambda: len(registered(register)) >= 2, DEADLINE_S)
        program.kill()
        program.communicate()

    async def body() -> None:
        async with guide.BackgroundJobs("jobs.db") as jobs:
            job = await jobs.status(job_id)
        assert (job.status, job.error, job.finished_at) == ("failed", ENDED_EARLY, None)

    assert eventually(lambda: not left_alive(register))
    run(body)


# --- closing and cancelling ----------------------------------------------------------------------------------------


def test_a_job_goes_on_when_its_submit_is_cancelled(guide: ModuleType) -> None:
    """It is owned from the call on."""

    async def body() -> None:
        async with guide.BackgroundJobs("jobs.db") as jobs:
            submitting = asyncio.create_task(jobs.submit(*SUCCEEDS, timeout_s=JOB_S))
            await asyncio.sleep(0)
            submitting.cancel()
            await asyncio.wait([submitting])
            assert submitting.cancelled()
            (job_id,) = jobs._tasks
            assert (await jobs.wait(job_id)).status == "completed"

    run(body)


def test_a_job_that_is_submitted_while_closing_begins_is_cancelled(guide: ModuleType) -> None:
    """Also before its task has taken a step; the caller gets its id."""
    submitted: list[asyncio.Task[str]] = []

    async def use() -> None:
        async with guide.BackgroundJobs("jobs.db") as jobs:
            submitted.append(asyncio.create_task(jobs.submit(*SLEEP, timeout_s=JOB_S)))
            await asyncio.sleep(0)

    async def body() -> None:
        assert not await left_behind(use)
        (row,) = rows()
        assert (row["job_id"], row["status"]) == (await submitted[0], "cancelled")

    run(body)


@pytest.mark.slow
@pytest.mark.skipif(ON_WINDOWS, reason="where nobody can be asked to stop, closing takes no time")
def test_cancelling_twice_while_closing_leaves_nothing_behind(guide: ModuleType) -> None:
    """The second one ends the grace of a job that does not want to stop; the record says cancelled."""

    async def use() -> None:
        async with guide.BackgroundJobs("jobs.db") as jobs:
            job_id = await jobs.submit(*IGNORES_SIGTERM, timeout_s=JOB_S)
            await until(jobs, job_id, "running")
            await asyncio.sleep(60)

    async def cancel_twice() -> None:
        using = asyncio.create_task(use())
        while not using.done():
            await asyncio.sleep(0.2)
            using.cancel()
        assert using.cancelled()

    async def body() -> None:
        assert not await left_behind(cancel_twice)

    run(body)

    assert [row["status"] for row in rows()] == ["cancelled"]


# --- the file ------------------------------------------------------------------------------------------------------


async def refusal(guide: ModuleType) -> str:
    """Open the file, which must fail; return what the error says."""
    with pytest.raises(store_error()) as caught:
        async with guide.BackgroundJobs("jobs.db"):
            pass
    return str(caught.value)


@pytest.mark.slow
def test_a_second_program_is_refused_until_the_first_has_ended(guide: ModuleType) -> None:
    """It harms no job of the first."""

    async def body() -> None:
        assert await refusal(guide) == "jobs.db: database is locked"
        assert program.poll() is None
        program.kill()
        program.communicate()
        async with guide.BackgroundJobs("jobs.db") as jobs:
            assert (await jobs.status(job_id)).error == ENDED_EARLY

    with started_program(HOLDS) as program:
        job_id = line_of(program)
        run(body)


@pytest.mark.slow
def test_of_two_that_open_the_file_at_once_one_gets_it(guide: ModuleType) -> None:
    """Neither waits for what the other holds."""

    async def body() -> None:
        for _ in range(5):
            both = [guide.BackgroundJobs("jobs.db") for _ in range(2)]
            opened = await asyncio.gather(*(jobs.__aenter__() for jobs in both), return_exceptions=True)
            got: list[Any] = [jobs for jobs in opened if isinstance(jobs, guide.BackgroundJobs)]
            assert len(got) == 1
            await got[0].__aexit__()

    run(body)


def change_connections(
    monkeypatch: pytest.MonkeyPatch, *, query: str = "", setting: str = "user_version"
) -> None:
    """Open files with this query in their URI, and apply this setting to each connection."""
    connect = sqlite3.connect

    def changed(path: str, **options: Any) -> sqlite3.Connection:
        db = connect(f"file:{path}{query}", uri=True, **options)
        db.execute(f"PRAGMA {setting}")
        return db

    monkeypatch.setattr(sqlite3, "connect", changed)


def test_a_job_that_does_not_fit_on_the_disk_is_refused_and_does_not_run(
    guide: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says why, and smaller jobs go on."""
    change_connections(monkeypatch, setting="max_page_count = 8")

    async def body() -> None:
        async with guide.BackgroundJobs("jobs.db") as jobs:
            with pytest.raises(store_error(), match=r"^jobs\.db: database or disk is full$"):
                await jobs.submit(*SLEEP, "x" * 30_000, timeout_s=JOB_S)
            job_id = await jobs.submit(*SUCCEEDS, timeout_s=JOB_S)
            assert (await jobs.wait(job_id)).status == "completed"

    with count_alive() as alive:
        run(body)

    assert alive == [0, 1, 0]


def test_a_job_whose_start_cannot_be_written_is_ended(
    guide: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing runs that the record does not know."""

    async def body() -> None:
        async with guide.BackgroundJobs("jobs.db"):
            pass
        with contextlib.closing(sqlite3.connect("jobs.db")) as db:
            db.execute(
                "CREATE TRIGGER disk BEFORE INSERT ON jobs WHEN NEW.status = 'running' "
                "BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
            )
        async with guide.BackgroundJobs("jobs.db") as jobs:
            job = await jobs.wait(await jobs.submit(*SLEEP, timeout_s=JOB_S))
        assert (job.status, job.error) == ("failed", "JobStoreError: jobs.db: database or disk is full")

    run(body)

    assert "database or disk is full" in caplog.text


def test_a_read_only_file_is_refused(guide: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and not when the first job comes."""
    Path("jobs.db").touch()
    change_connections(monkeypatch, query="?mode=ro")

    async def body() -> None:
        assert await refusal(guide) == "jobs.db: attempt to write a readonly database"

    run(body)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.mkdir(), "unable to open database file"),
        (lambda path: path.write_bytes(b"no database" * 100), "file is not a database"),
    ],
    ids=["folder", "other-file"],
)
def test_what_is_no_database_is_refused(guide: ModuleType, make: Callable[[Path], object], says: str) -> None:
    """The error names the file and says what it is not."""
    make(Path("jobs.db"))

    async def body() -> None:
        assert await refusal(guide) == f"jobs.db: {says}"
        assert not await left_behind(refusal, guide)

    run(body)
