"""ContentRetention: what nothing refers to goes when it is old, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from titan_core.filesys.asset_manager import AssetManager
from titan_core.filesys.content_retention import ContentRetention
from titan_core.filesys.content_store import ContentStore
from titan_core.model.states import JobState
from titan_core.scheduling.core.commands import InsertJob, InsertRun, SaveOutputs, UpdateJob
from titan_core.storage.content_references import NOT_SEARCHED
from titan_core.storage.schema import migrate
from titan_core.storage.sqlite_store import SqliteStore
from titan_sdk import task_results
from titan_sdk.messages import FlowSpec, JobSpec, Mends
from titan_test_suite.pytests.store_records import job_row, run_row

DAY = 24 * 3600.0


class Master:
    """A journal, a content store and perm_files."""

    def __init__(self, root: Path) -> None:
        self.store = SqliteStore(root / "data")
        self.store.open()
        self.contents = ContentStore(root / "content")
        self.contents.open()
        self.root = root / "perm_files"
        self.assets = AssetManager(self.root)
        self.assets.open()

    def put(self, data: bytes, days: float = 100) -> str:
        sha256 = self.contents.put_bytes(data)
        self.contents.note_uses()
        age(self.contents.path(sha256), days)
        return sha256

    def sweep(self, days: float = 7, *, stop: bool = False) -> set[bytes]:
        """What is left."""
        retention = ContentRetention(
            self.contents,
            self.assets,
            max_age_s=days * DAY,
            unmentioned=self.store.unmentioned_contents,
            publishing_since=self.store.publishing_since,
        )
        retention.sweep(lambda: stop)
        return {self.contents.path(each.sha256).read_bytes() for each in self.contents.stored()}


def age(path: Path, days: float) -> None:
    at = time.time() - days * DAY
    os.utime(path, (at, at))


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    master = Master(tmp_path)
    yield master
    master.store.close()


def test_what_kept_jobs_schedules_and_repairs_name_stays(master: Master) -> None:
    of_job, mended, scheduled, proposed = (master.put(name) for name in (b"job", b"mended", b"scheduled", b"proposed"))
    master.put(b"nobody's")
    mends = Mends(key="r/j", number=1, attempt=1, exit_code=1, reason="", file="a.py", sha256=mended, size=6)
    specs = [
        JobSpec(id="job", file="a.py", sha256=of_job),
        JobSpec(id="repair", file="b.py", flow=FlowSpec(mends=mends)),
    ]
    rows = [job_row(seq, 1, spec.id) for seq, spec in enumerate(specs, 1)]
    master.store.apply([InsertRun(run_row(1)), *map(InsertJob, specs, rows)])
    with closing(sqlite3.connect(master.store.path)) as db, db:
        db.execute("INSERT INTO schedules VALUES (1, 'nightly', x'')")
        db.execute("INSERT INTO schedule_specs VALUES (1, ?)", (b"\x81\xa6sha256\xd9@" + scheduled.encode() + b"\xa0",))
        db.execute("INSERT INTO repairs VALUES ('run-1/job', 1, ?)", (b"\xd9@" + proposed.encode(),))
    assert master.sweep() == {b"job", b"mended", b"scheduled", b"proposed"}


def test_large_results_of_calls_stay_as_long_as_they_are_kept(master: Master) -> None:
    result = master.put(b"a large result")
    other = master.put(b"of no call")
    with closing(sqlite3.connect(master.store.path)) as db, db:
        row = (task_results._key("run-1/job", 1), task_results._CONTENT + result.encode())
        db.execute("INSERT INTO kv VALUES (?, ?)", row)
        db.execute("INSERT INTO kv VALUES ('mine', ?)", (other.encode(),))
    assert master.sweep() == {b"a large result"}
    with closing(sqlite3.connect(master.store.path)) as db, db:
        db.execute("DELETE FROM kv")
    assert master.sweep() == set()


def test_what_is_young_or_was_asked_for_stays(master: Master) -> None:
    asked = master.put(b"asked")
    sized = master.put(b"sized")
    master.put(b"of yesterday", 0.9)
    master.put(b"old", 1.1)
    assert master.contents.has(asked) and master.contents.size(sized)
    assert master.sweep(days=0.001) == {b"asked", b"sized", b"of yesterday"}, "a day is the least"
    assert master.sweep(days=0.001) == {b"asked", b"sized", b"of yesterday"}, "the use is remembered"
    assert not master.contents.remove(asked, time.time() - 1)


def test_what_came_while_a_job_runs_stays_until_it_has_said_what_it_published(master: Master) -> None:
    published = master.put(b"artifact", 20)
    master.put(b"failed attempt's", 20)
    master.put(b"of before", 50)
    since = round((time.time() - 30 * DAY) * 1000)
    rows = [job_row(seq, 1, name, JobState.RUNNING)._replace(submitted_at=at) for seq, name, at in (
        (1, "train", since), (2, "web", 1000),
    )]  # fmt: skip
    specs = [JobSpec(id="train", file="a.py"), JobSpec(id="web", file="a.py", kind="service")]
    master.store.apply([InsertRun(run_row(1)), *map(InsertJob, specs, rows)])
    assert master.sweep() == {b"artifact", b"failed attempt's"}
    left = json.dumps({"titan_artifacts": {"model.bin": {"sha256": published}}}).encode()
    done = rows[0]._replace(state=JobState.COMPLETED)
    master.store.apply([UpdateJob(done), SaveOutputs(done.key, 1, left)])
    assert master.sweep() == {b"artifact"}


def test_a_sweep_that_is_stopped_removes_nothing(master: Master) -> None:
    master.store.apply([InsertRun(run_row(1)), InsertJob(JobSpec(id="job", file="a.py"), job_row(1, 1, "job"))])
    master.put(b"old")
    assert master.sweep(stop=True) == {b"old"}
    assert master.sweep() == set()


def test_staged_files_go_with_their_contents_and_those_of_people_stay(master: Master) -> None:
    named = hashlib.sha256(b"in a job").hexdigest()
    spec = JobSpec(id="job", file="a.py", sha256=named)
    master.store.apply([InsertRun(run_row(1)), InsertJob(spec, job_row(1, 1, "job"))])
    for name, data in (("old.py", b"old"), ("used.py", b"in a job"), ("new.py", b"new")):
        path = master.assets.save(name, data, staged=True)
        age(path, 1 if name == "new.py" else 100)
    age(master.assets.save("mine.py", b"mine"), 100)
    (master.root / "folder").mkdir()
    (master.root / "folder" / "deep.py").write_bytes(b"deep")
    age(master.root / "folder" / "deep.py", 100)
    master.sweep()
    left = {path.name for path in master.root.rglob("*") if path.is_file()}
    assert left == {"used.py", "new.py", "mine.py", "deep.py"}


def test_tables_of_the_schema_that_are_not_searched_exist() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db)
        assert {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")} > NOT_SEARCHED
