"""SqliteStore: what goes in comes out, and what is not whole is refused and left alone."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_core.model.rows import CordonRow, ExecutionRow, JobRow, RunGrowth, RunRow
from titan_core.model.states import JobState
from titan_core.scheduling.core.commands import (
    ForgetCordon,
    InsertAddition,
    InsertJob,
    InsertRun,
    KvAddMember,
    KvPut,
    Record,
    SaveCordon,
    SaveExecution,
    UpdateJob,
    UpdateRun,
)
from titan_core.storage import read_connections, sqlite_store
from titan_core.storage.schema import APPLICATION_ID, SCHEMA_VERSION, VERSIONS, migrate
from titan_core.storage.sqlite_store import SqliteStore
from titan_core.storage.store import StoredRun, StoreError, StoreFull
from titan_sdk.messages import Budget, JobSpec, KvEntry, RunOptions, ServiceSpec
from titan_test_suite.pytests.store_records import crash_image, job_row, refusal, run_row, submission


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "data")
    store.open()
    yield store
    store.close()


# --- what goes in comes out -------------------------------------------------------------------------------------------

FULL_SPEC = JobSpec(
    id="train",
    file="sub/tr äin.py",
    sha256="a" * 64,
    size=12,
    archive="p.zip",
    kind="service",
    args=("a|b;c", "\n", ""),
    env={"K": "V=1"},
    requirement=("GPU", "BIG"),
    priority=-7,
    delay_ms=1500,
    parents=("a", "b"),
    affinity=True,
    retries=0,
    timeout_s=1.5,
    port=8080,
    python="/usr/bin/python3",
    fresh=True,
    service=ServiceSpec(restart="never", health_path="/h", ready_line="up", start_s=2.5, replaces="run-0/train"),
)
FULL_ROW = JobRow(
    "run-1/train", "run-1", "train", 3, JobState.RUNNING, 4, 99, 2, 1, "w-1", True, "stop", "reason\n'x'", -9,
    11, 12, 13, 14, 15, 16, 17,
)  # fmt: skip


def test_every_field_comes_back(store: SqliteStore) -> None:
    executions = [
        ExecutionRow("run-1/train", 1, 98, "w-1", "host:8080", 11, 12, "failed", 3, "because"),
        ExecutionRow("run-1/train", 2, 99, "w-2", "host:8081", 13),
    ]
    store.apply([InsertRun(run_row(1, "key")), InsertJob(FULL_SPEC, FULL_ROW), *map(SaveExecution, executions)])

    assert list(store.load(0)) == [StoredRun(run_row(1, "key"), [(FULL_SPEC, FULL_ROW)], executions)]
    assert type(next(store.load(0)).jobs[0][1].ready) is bool


def test_the_options_of_a_run_come_back(store: SqliteStore) -> None:
    options = RunOptions(params={"region": "eu"}, budget=Budget(max_jobs=3, max_depth=0), agent_run_id="agent-1")
    row = run_row(1)._replace(options=options, growth=RunGrowth(open=True, tree_jobs=2, deadline_at=5))
    store.apply([InsertRun(row), *submission(1, 1, "a")[1:]])
    assert next(store.load(0)).run == row


def kin(seq: int, parent: str = "", *, agent: str = "", is_open: bool = False) -> RunRow:
    options = RunOptions(agent_run_id=agent) if agent else None
    return run_row(seq)._replace(parent=parent, options=options, growth=RunGrowth(open=True) if is_open else None)


def test_a_tree_of_runs_and_the_runs_of_an_agent(store: SqliteStore) -> None:
    done = JobState.COMPLETED
    store.apply([InsertRun(kin(1, agent="A")), *submission(1, 1, "a", "b", state=done)[1:]])
    store.apply([InsertRun(kin(2, "run-1/b", agent="A")), *submission(2, 10, "c", state=JobState.DEAD)[1:]])
    store.apply([InsertRun(kin(3, "run-1/a")), *submission(3, 20, "d")[1:]])
    store.apply([InsertRun(kin(4, "run-2/c", agent="B", is_open=True))])
    store.apply([InsertRun(kin(5, "run-10/a"))])
    runs, total = store.run_tree("run-1", -1, 10)
    assert [run.run_id for run in runs] == ["run-1", "run-2", "run-4", "run-3"]
    assert [run.finished for run in runs] == [True, True, False, False]
    assert [run.states for run in runs] == [{"COMPLETED": 2}, {"DEAD": 1}, {}, {"PENDING": 1}]
    assert (total, runs[2].open, runs[1].parent) == (4, True, "run-1/b")
    assert [run.run_id for run in store.run_tree("run-1", 1, 10)[0]] == ["run-1", "run-2", "run-3"]
    assert (len(store.run_tree("run-1", -1, 2)[0]), store.run_tree("nobody", -1, 9)) == (2, ([], 0))
    assert [run.run_id for run in store.runs_of_agent("A", 9)] == ["run-2", "run-1"]
    agents = {agent.agent_run_id: agent for agent in store.agent_runs(9)}
    assert [*agents] == ["B", "A"]
    assert (agents["A"].runs, agents["A"].finished, agents["A"].states) == (2, True, {"COMPLETED": 2, "DEAD": 1})
    assert not agents["B"].finished


def test_what_an_unfinished_run_came_from_is_loaded_with_it(store: SqliteStore) -> None:
    done = JobState.COMPLETED
    store.apply([InsertRun(kin(1)), *submission(1, 1, "a", state=done)[1:]])
    store.apply([InsertRun(kin(2, "run-1/a")), *submission(2, 10, "b", state=done)[1:]])
    store.apply([InsertRun(kin(3, "run-2/b")), *submission(3, 20, "c")[1:]])
    store.apply([InsertRun(kin(4)), *submission(4, 30, "d", state=done)[1:]])
    store.apply([InsertRun(kin(5, is_open=True))])
    assert [stored.run.run_id for stored in store.load(0)] == ["run-1", "run-2", "run-3", "run-5"]


def test_what_was_added_to_a_run(store: SqliteStore) -> None:
    row = kin(1, is_open=True)
    store.apply([InsertRun(row), *submission(1, 1, "a")[1:]])
    closed = row._replace(growth=RunGrowth(tree_jobs=3))
    store.apply([UpdateRun(closed), *submission(1, 2, "b")[1:], InsertAddition(1, "key", "digest")])
    stored = next(store.load(0))
    assert (stored.run, stored.additions) == (closed, {"key": "digest"})
    assert [row.key for _, row in stored.jobs] == ["run-1/a", "run-1/b"]
    assert (store.find_addition("run-1", "key"), store.find_addition("run-1", "other")) == ("digest", None)


def test_the_last_state_of_a_row_counts(store: SqliteStore) -> None:
    first = job_row(1, 1, "a")
    running = first._replace(state=JobState.RUNNING, attempt=1, epoch=7)
    store.apply([InsertRun(run_row(1)), InsertJob(JobSpec(id="a", file="a.py"), first), UpdateJob(running)])
    assert next(store.load(0)).jobs[0][1] == running

    attempt = ExecutionRow("run-1/a", 1, 7, "w", "w", 1)
    store.apply([UpdateJob(first), SaveExecution(attempt), UpdateJob(running._replace(attempt=2))])
    store.apply([SaveExecution(attempt), SaveExecution(attempt._replace(outcome="failed"))])
    stored = next(store.load(0))
    assert stored.jobs[0][1] == running._replace(attempt=2)
    assert stored.executions == [attempt._replace(outcome="failed")]


def test_the_attempts_of_a_service_without_end_are_bounded(store: SqliteStore) -> None:
    store.apply(submission(1, 1, "a", "b"))
    for key in ("run-1/a", "run-1/b"):
        for first in range(1, 250, 50):
            numbers = range(first, first + 50 if key == "run-1/a" else first + 1)
            store.apply([SaveExecution(ExecutionRow(key, n, n, "w", "w", 1, 2, "failed")) for n in numbers])
    store.apply([UpdateJob(job_row(1, 1, "a")._replace(attempt=250))])
    kept = [(row.key, row.attempt) for row in next(store.load(0)).executions]
    assert kept == [
        *(("run-1/a", n) for n in range(151, 251)),
        *(("run-1/b", n) for n in (151, 201)),
    ]


def test_one_batch_gives_the_same_as_many(tmp_path: Path) -> None:
    """However records are cut into commits, the same is stored and the same results come back."""
    dice = random.Random(7)
    records: list[Record] = []
    rows: list[JobRow] = []
    for run in range(1, 8):
        records += submission(run, 10 * run, "a", "b")
        rows += [job_row(10 * run, run, "a"), job_row(10 * run + 1, run, "b")]
        for _ in range(12):
            index = dice.randrange(len(rows))
            row = rows[index] = rows[index]._replace(attempt=dice.randrange(5), state=dice.choice(list(JobState)))
            records.append(UpdateJob(row))
            records.append(SaveExecution(ExecutionRow(row.key, row.attempt, dice.randrange(99), "w", "n", 1)))
            records.append(KvAddMember("set", str(dice.randrange(20))))
            records.append(KvPut(str(dice.randrange(5)), dice.randbytes(3)))
    outcomes = []
    for size in (1, 7, len(records)):
        store = SqliteStore(tmp_path / str(size))
        store.open()
        results = [r for start in range(0, len(records), size) for r in store.apply(records[start : start + size])]
        keys = [store.kv_get(str(n)) for n in range(5)]
        outcomes.append((results, list(store.load(100)), keys, store.kv_members("set").members, store.last_sequence()))
        store.close()
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert True in outcomes[0][0] and False in outcomes[0][0]


def test_key_value(store: SqliteStore) -> None:
    assert store.kv_get("k") is None
    assert store.kv_members("k").members == []
    assert store.apply([KvPut("k", b"1"), KvPut("k", b"\x00\xff|")]) == [None, None]
    assert store.kv_get("k") == b"\x00\xff|"
    add = [KvAddMember("k", "z"), KvAddMember("k", "a"), KvAddMember("k", "z"), KvAddMember("l", "z")]
    assert store.apply(add) == [True, True, False, True]
    assert store.apply([KvAddMember("k", "a"), KvPut("k", b"2"), KvAddMember("k", "b")]) == [False, None, True]
    assert store.kv_members("k").members == ["z", "a", "b"]


def test_values_beyond_sqlite_do_not_cost_the_commit(store: SqliteStore) -> None:
    """A worker's nonsensical clock or a lone surrogate in a reason is bent, and everything else is kept as it is."""
    row = job_row(1, 1, "a")._replace(started_at=1 << 70, log_size=-(1 << 70), reason="bad \udc80 text")
    results = store.apply([*submission(1, 1, "a"), UpdateJob(row), KvAddMember("k", "m"), KvPut("v", b"x")])
    assert results == [None, None, None, True, None]
    stored = next(store.load(0)).jobs[0][1]
    assert stored == row._replace(started_at=(1 << 63) - 1, log_size=-(1 << 63), reason="bad ? text")
    assert store.kv_get("v") == b"x"


def test_a_refused_transaction_leaves_nothing(store: SqliteStore) -> None:
    with pytest.raises(StoreError, match="stored"):
        store.apply([*submission(1, 1, "a"), KvPut("k", b"v"), UpdateJob(job_row(77, 1, "unknown"))])
    assert list(store.load(10)) == []
    assert store.kv_get("k") is None
    assert store.last_sequence() == (0, 0, 0)
    store.apply(submission(1, 1, "a"))
    assert len(list(store.load(10))) == 1


def test_load_gives_unfinished_runs_and_recent_finished_ones(store: SqliteStore) -> None:
    for run in range(1, 8):
        store.apply(submission(run, 10 * run, "a", "b", state=JobState.COMPLETED))
    store.apply([UpdateJob(job_row(20, 2, "a", JobState.WAITING)), UpdateJob(job_row(51, 5, "b", JobState.RUNNING))])

    def loaded(finished: int) -> list[int]:
        return [stored.run.seq for stored in store.load(finished)]

    assert loaded(0) == [2, 5]
    assert loaded(1) == [2, 5]  # a run of two jobs is not loaded by halves
    assert loaded(4) == [2, 5, 6, 7]
    assert loaded(1000) == [1, 2, 3, 4, 5, 6, 7]
    assert all(len(stored.jobs) == 2 for stored in store.load(1000))


def test_load_in_several_queries_keeps_everything_together(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "RUNS_PER_QUERY", 2)
    for run in range(1, 8):
        row = job_row(10 * run + 1, run, "b", JobState.RUNNING)._replace(attempt=1)
        execution = ExecutionRow(row.key, 1, run, "w", "w", 1)
        store.apply([*submission(run, 10 * run, "a", "b"), UpdateJob(row), SaveExecution(execution)])
    runs = list(store.load(0))
    assert [stored.run.seq for stored in runs] == [1, 2, 3, 4, 5, 6, 7]
    for stored in runs:
        assert [job.key for _, job in stored.jobs] == [f"{stored.run.run_id}/a", f"{stored.run.run_id}/b"]
        assert [execution.key for execution in stored.executions] == [f"{stored.run.run_id}/b"]


def test_finding_runs(store: SqliteStore) -> None:
    for run in (1, 2):
        store.apply(submission(run, 10 * run, "a", f"only-{run}"))
    store.apply([InsertRun(run_row(3, "once"))])

    def found(name: str) -> str | None:
        stored = store.find_run(name)
        return stored.run.run_id if stored else None

    assert found("run-1") == "run-1"
    assert found("run-1/a") == "run-1"
    assert found("a") == "run-2"
    assert found("only-1") == "run-1"
    assert found("run-1/only-2") is None
    assert found("nobody") is None
    assert found("") is None
    assert store.find_submission("once") == run_row(3, "once")
    assert store.find_submission("twice") is None
    assert store.find_submission("") is None


def test_history_does_not_slow_down_lookups(store: SqliteStore) -> None:
    """Whatever is asked while the master works uses an index: no query walks through all jobs ever run."""
    statements: list[str] = []
    with store._readers.borrow() as db:
        db.set_trace_callback(statements.append)
    store.apply(submission(1, 1, "a"))
    store.find_run("run-1")
    store.find_run("run-1/a")
    store.find_run("a")
    store.find_submission("key")
    store.find_addition("run-1", "key")
    store.run_tree("run-1", -1, 10)
    store.runs_of_agent("agent", 10)
    store.kv_get("k")
    store.kv_members("k")
    assert len(statements) > 8
    with store._readers.borrow() as db:
        db.set_trace_callback(None)
        for statement in statements:
            plan = [row[3] for row in db.execute("EXPLAIN QUERY PLAN " + statement)]
            assert not [step for step in plan if step.startswith("SCAN")], (statement, plan)
        plan = [row[3] for row in db.execute("EXPLAIN QUERY PLAN " + sqlite_store.SELECT_OPEN)]
        assert "INDEX jobs_open" in plan[0]


def test_many_readers_beside_the_writer(store: SqliteStore) -> None:
    """More threads than connections read while commits go on; each sees every commit that returned before it asked."""
    committed = 0
    errors: list[object] = []

    def read() -> None:
        while committed < 200 and not errors:
            at_least = committed
            value = store.kv_get("n")
            if int(value or b"0") < at_least:
                errors.append((value, at_least))

    threads = [threading.Thread(target=read) for _ in range(2 * read_connections.MAX_READERS)]
    for thread in threads:
        thread.start()
    for n in range(1, 201):
        store.apply([KvPut("n", str(n).encode())])
        committed = n
    for thread in threads:
        thread.join(30)
    assert not errors
    assert len(store._readers._idle) <= read_connections.MAX_READERS


# --- restarts ---------------------------------------------------------------------------------------------------------


def test_reopening_goes_on(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.open()
    master_id = store.master_id
    assert store.term == 1
    row = job_row(7, 3, "a")._replace(epoch=41)
    store.apply([*submission(3, 7, "a"), UpdateJob(row)])
    store.apply([UpdateJob(row._replace(epoch=12)), SaveExecution(ExecutionRow(row.key, 1, 40, "w", "w", 1))])
    assert store.last_sequence() == (3, 7, 41)
    store.close()
    store.close()

    again = SqliteStore(tmp_path)
    again.open()
    assert (again.master_id, again.term) == (master_id, 2)
    assert again.last_sequence() == (3, 7, 41)
    assert next(again.load(0)).jobs[0][1].epoch == 12
    again.close()


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.open()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.kv_get("k")
    with pytest.raises(StoreError, match="not open"):
        store.apply([KvPut("k", b"v")])


def test_an_unclean_end_loses_nothing(store: SqliteStore, tmp_path: Path) -> None:
    store.apply(submission(1, 1, "a", "b"))
    image = crash_image(store, tmp_path / "image")
    again = SqliteStore(image)
    again.open()
    assert [stored.run.run_id for stored in again.load(0)] == ["run-1"]
    assert again.term == store.term + 1
    again.close()


def test_the_log_is_worked_into_the_database(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write-ahead log stays small however much is committed, and what was committed stays."""
    monkeypatch.setattr(sqlite_store, "CHECKPOINT_COMMITS", 10)
    wal = store.path.with_name("titan.db-wal")
    sizes = []
    for n in range(100):
        store.apply([KvPut(f"key {n}", bytes(1000))])
        store.maintain()
        sizes.append(wal.stat().st_size)
    assert max(sizes) < 2 * max(sizes[:10])
    assert store.path.stat().st_size > 50 * 1000
    assert all(store.kv_get(f"key {n}") == bytes(1000) for n in range(100))


def test_two_masters_cannot_share_a_directory(store: SqliteStore, tmp_path: Path) -> None:
    text = refusal(tmp_path / "data", StoreError)
    assert "in use by another master" in text
    program = """
import pathlib, sys
from titan_core.storage.sqlite_store import SqliteStore
SqliteStore(pathlib.Path(sys.argv[1])).open()
"""
    other = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "data")],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert other.returncode != 0
    assert "in use by another master" in other.stderr
    store.apply([KvPut("k", b"still mine")])


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot make the data directory"):
        SqliteStore(tmp_path / "file" / "data").open()


def test_half_a_creation_is_begun_anew(tmp_path: Path) -> None:
    for name in ("titan.db.new", "titan.db.new-wal", "titan.db.new-journal"):
        (tmp_path / name).write_bytes(b"left by a crash")
    store = SqliteStore(tmp_path)
    store.open()
    assert store.term == 1
    store.close()
    assert not list(tmp_path.glob("*.new*"))


def test_nobody_else_reads_the_journal_in_a_directory_that_was_open_to_all(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    store = SqliteStore(tmp_path)
    store.open()
    store.apply([KvPut("k", b"v")])
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("titan.db*")}
    store.close()
    assert modes == {"titan.db": 0o600, "titan.db-wal": 0o600, "titan.db-shm": 0o600}


# --- a full disk ------------------------------------------------------------------------------------------------------


def test_the_settings_that_durability_rests_on(store: SqliteStore) -> None:
    settings = {
        name: store._writer().execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "wal_autocheckpoint")
    }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 0}
    with store._readers.borrow() as db, pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM kv")


def test_a_full_disk_refuses_the_transaction_and_nothing_else(store: SqliteStore) -> None:
    store.apply([KvPut("k", b"before")])
    db = store._writer()
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreFull):
        store.apply([KvPut("k", b"after"), *submission(1, 1, "a"), KvPut("big", bytes(100_000))])
    assert store.kv_get("k") == b"before"
    assert list(store.load(0)) == []
    db.execute("PRAGMA max_page_count = 1000000")
    store.apply([KvPut("k", b"after"), *submission(1, 1, "a")])
    assert store.kv_get("k") == b"after"
    assert store.free_bytes() > 0


# --- versions ---------------------------------------------------------------------------------------------------------


def test_migration_is_all_or_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.open()
    store.apply(submission(1, 1, "a"))
    store.close()
    db = sqlite3.connect(store.path, isolation_level=None)
    good = ("ALTER TABLE runs ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue'",)
    with pytest.raises(sqlite3.Error):
        migrate(db, (*VERSIONS, good, ("CREATE TABLE runs (twice)",)))
    assert db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
    with pytest.raises(sqlite3.Error):
        db.execute("SELECT colour FROM runs")

    assert migrate(db, (*VERSIONS, good)) == SCHEMA_VERSION
    assert db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION + 1
    assert db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    assert db.execute("SELECT count(*), min(colour) FROM runs").fetchone() == (1, "blue")
    assert migrate(db, (*VERSIONS, good)) == SCHEMA_VERSION + 1
    db.close()


def make_first_version(db: sqlite3.Connection) -> None:
    """Take out of a database all that the first version did not have."""
    names = "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND type IN ('index', 'table')"
    first = sqlite3.connect(":memory:", isolation_level=None)
    migrate(first, VERSIONS[:1])
    for kind, name in sorted(set(db.execute(names)) - set(first.execute(names))):
        db.execute(f"DROP {kind} {name}")
    for _, table in first.execute(names + " AND type = 'table'").fetchall():
        columns = f"SELECT name FROM pragma_table_info('{table}')"
        for (column,) in set(db.execute(columns)) - set(first.execute(columns)):
            db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    first.close()
    db.execute("PRAGMA user_version = 1")


def test_a_database_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.open()
    store.apply([InsertRun(run_row(1, "key")), InsertJob(FULL_SPEC, FULL_ROW)])
    store.apply([KvAddMember("set", "a"), KvAddMember("set", "b")])
    store.close()
    db = sqlite3.connect(store.path, isolation_level=None)
    make_first_version(db)
    db.close()

    store = SqliteStore(tmp_path)
    store.open()
    try:
        assert [stored.jobs for stored in store.load(0)] == [[(FULL_SPEC, FULL_ROW._replace(restarts=0, port=0))]]
        store.apply([UpdateJob(FULL_ROW)])
        assert [stored.jobs for stored in store.load(0)] == [[(FULL_SPEC, FULL_ROW)]]
        assert store.kv_keys("", "", 9, 0) == [KvEntry(key="set", kind="set", size=2)]
    finally:
        store.close()


def test_cordons(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.open()
    store.apply([SaveCordon(CordonRow("w1", "h", 1)), SaveCordon(CordonRow("w2", "h", 2))])
    store.apply([ForgetCordon("w1"), SaveCordon(CordonRow("w2", "h", 3))])
    store.close()
    store = SqliteStore(tmp_path)
    store.open()
    assert store.load_cordons() == [CordonRow("w2", "h", 3)]
    store.close()
