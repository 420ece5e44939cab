"""HistoryRetention: old runs leave the journal whole, and none that something still rests on."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from titan_core.model.rows import ApprovalRow, ExecutionRow, JobRow, RunGrowth, RunRow
from titan_core.model.states import JobState
from titan_core.scheduling import history_retention
from titan_core.scheduling.clock import SystemClock
from titan_core.scheduling.core.commands import (
    InsertAddition,
    InsertJob,
    InsertRun,
    Record,
    SaveApproval,
    SaveExecution,
    SaveOutputs,
    SaveRepair,
)
from titan_core.scheduling.core.scheduler_core import CoreLimits
from titan_core.scheduling.history_retention import HistoryRetention
from titan_core.storage.schema import migrate
from titan_core.storage.sqlite_store import SqliteStore
from titan_sdk.messages import JobSpec, RepairInfo, RunOptions
from titan_test_suite.pytests.engine import Engine, Settings

DAY_MS = 24 * 3600 * 1000
NOW = round(time.time() * 1000)


class Journal:
    """A journal that is filled first, and then taken up by an engine that keeps few finished runs in memory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.records: list[Record] = []
        self.runs = 0
        self.jobs = 0
        self.engine: Engine | None = None
        self.forgotten: list[str] = []
        self.in_memory = 0

    def run(
        self,
        *,
        days: float,
        jobs: int = 1,
        state: JobState = JobState.COMPLETED,
        parent: str = "",
        key: str = "",
        options: RunOptions | None = None,
        growth: RunGrowth | None = None,
    ) -> str:
        self.runs += 1
        run_id, at = f"run-{self.runs}", NOW - round(days * DAY_MS)
        self.records.append(InsertRun(RunRow(run_id, self.runs, "", at, key, parent, "", options, growth)))
        for number in range(jobs):
            self.jobs += 1
            name = f"{run_id}/job{number}"
            ended = at if state.final else 0
            row = JobRow(name, run_id, f"job{number}", self.jobs, state, attempt=1, submitted_at=at, ended_at=ended)
            self.records += [
                InsertJob(JobSpec(id=f"job{number}", file="a.py"), row),
                SaveExecution(ExecutionRow(name, 1, self.jobs, "w", "w", at, ended)),
                SaveOutputs(name, self.jobs, b"{}"),
                SaveApproval(ApprovalRow(name, 1, "?", at, 0, "reject", "approve", decided_at=at)),
                SaveRepair(RepairInfo(name, 1, f"{run_id}/mend", 1)),
            ]
        self.records.append(InsertAddition(self.runs, "again", "digest"))
        return run_id

    def begin(self) -> None:
        store = SqliteStore(self.root)
        store.open()
        store.apply(self.records)
        store.close()
        kept = self.in_memory
        self.engine = Engine(
            self.root, Settings(finished_jobs_in_memory=kept), CoreLimits(finished_jobs_in_memory=kept)
        )

    def sweep(self, *, days: float = 90, jobs: int = 1_000_000) -> list[str]:
        """The runs that are left."""
        if self.engine is None:
            self.begin()
        assert self.engine is not None

        def forgotten(run_ids: Sequence[str]) -> None:
            self.forgotten += run_ids

        HistoryRetention(
            self.engine.scheduler,
            self.engine.store,
            SystemClock(),
            max_age_ms=round(days * DAY_MS),
            max_jobs=jobs,
            forgotten=forgotten,
        ).sweep(lambda: False)
        return [str(row[0]) for row in self.rows("SELECT run_id FROM runs ORDER BY seq")]

    def rows(self, query: str) -> list[tuple[str | int, ...]]:
        with closing(sqlite3.connect(self.root / "titan.db")) as db:
            return db.execute(query).fetchall()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "data")
    yield journal
    if journal.engine is not None:
        journal.engine.close()


def test_old_runs_go_with_all_that_is_theirs_and_leave_the_others_whole(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_retention, "JOBS_AT_ONCE", 3)
    monkeypatch.setattr(history_retention, "RUNS_AT_ONCE", 2)
    old = [journal.run(days=100 - n, jobs=2) for n in range(5)]
    young = journal.run(days=1, jobs=2)
    assert journal.sweep() == [young]
    assert journal.forgotten == old
    for table in ("jobs", "specs", "outputs", "executions", "approvals", "repairs"):
        assert journal.rows(f"SELECT count(*) FROM {table}") == [(2,)], table
    assert journal.rows("SELECT count(*) FROM additions") == [(1,)]
    assert journal.engine is not None
    stored = journal.engine.store.find_run(young)
    assert stored is not None and len(stored.jobs) == len(stored.executions) == len(stored.outputs) == 2


def test_beyond_the_count_the_oldest_finished_go(journal: Journal) -> None:
    first = journal.run(days=50, jobs=2, state=JobState.PENDING)
    journal.run(days=40, jobs=2)
    journal.run(days=30, jobs=2)
    last = journal.run(days=20, jobs=2)
    assert journal.sweep(jobs=5) == [first, last]
    assert journal.sweep(jobs=0) == [first]


def test_what_something_rests_on_stays(journal: Journal) -> None:
    root = journal.run(days=100)
    unfinished = journal.run(days=100, state=JobState.PENDING)
    opened = journal.run(days=100, growth=RunGrowth(open=True), options=RunOptions(open=True))
    again, kept = journal.run(days=100), journal.run(days=100)
    above = journal.run(days=100)
    below = journal.run(days=100, parent=f"{above}/job0", state=JobState.PENDING)
    gone = journal.run(days=99)
    child = journal.run(days=10, parent=f"{root}/job0")
    rerun = journal.run(days=5, options=RunOptions(rerun_of=again, kept={"job0": f"{kept}/job0"}))
    stays = [root, unfinished, opened, again, kept, above, below, child, rerun]
    assert journal.sweep() == stays
    assert journal.forgotten == [gone]
    stays.remove(child)
    assert journal.sweep(days=7) == stays
    stays.remove(root)
    assert journal.sweep(days=7) == stays, "its descendant is gone"


def test_what_is_in_memory_stays(journal: Journal) -> None:
    runs = [journal.run(days=10, jobs=2) for _ in range(4)]
    journal.in_memory = 4
    assert journal.sweep(jobs=0) == runs[2:]


def test_an_idempotency_key_is_answered_for_a_day_however_crowded(journal: Journal) -> None:
    journal.run(days=1.1, key="of yesterday")
    fresh = journal.run(days=0.9, key="of today")
    journal.run(days=0.8)
    assert journal.sweep(jobs=0) == [fresh]
    assert journal.engine is not None and journal.engine.store.find_submission("of today") is not None


def test_a_journal_whose_oldest_runs_went_is_taken_up_again(journal: Journal) -> None:
    journal.run(days=100)
    young = journal.run(days=1)
    journal.sweep()
    assert journal.engine is not None
    journal.engine.close()
    store = SqliteStore(journal.root)
    store.open()
    assert [stored.run.run_id for stored in store.load(10)] == [young]
    assert store.last_sequence()[:2] == (2, 2)
    store.close()
    journal.engine = None


def test_every_table_of_runs_in_the_schema_is_known_to_the_retention() -> None:
    """A table with a reference to runs or jobs, or with keys of jobs, has to be cleared with them."""
    known = {"jobs", "specs", "outputs", "executions", "approvals", "repairs", "additions"}
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db)
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        referring = {
            table
            for table in tables
            if any(row[2] in ("runs", "jobs") for row in db.execute(f"PRAGMA foreign_key_list({table})"))
        }
    assert referring <= known
