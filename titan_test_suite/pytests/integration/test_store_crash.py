"""A master killed while it commits: whatever it acknowledged is there afterwards."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from titan_core.scheduling.clock import SystemClock
from titan_core.scheduling.core.scheduler_core import CoreLimits, SchedulerCore
from titan_core.scheduling.engine_thread import EXIT_FAILED
from titan_core.scheduling.scheduler import Scheduler
from titan_core.storage.sqlite_store import SqliteStore
from titan_core.storage.store import StoreDamaged
from titan_sdk.messages import JobSpec
from titan_test_suite.pytests.crash_facts import DEADLINE_S, ROOT, Facts, check_facts, run_and_kill
from titan_test_suite.pytests.engine import Engine, Settings, run_of


def test_what_was_acknowledged_survives_being_killed(tmp_path: Path) -> None:
    dice = random.Random(11)
    facts: Facts = []
    for round_ in range(5):
        facts += run_and_kill(tmp_path, round_, dice.randrange(40, 500))
        check_facts(tmp_path, facts)
    terms = [fact["term"] for fact in facts if "term" in fact]
    assert terms == sorted(set(terms)) and len(terms) == 5
    for kind in ("accepted", "ended", "dispatched", "kv"):
        assert sum(kind in fact for fact in facts) > 20


DISK_FULL = """
import logging, pathlib, sys
from titan_test_suite.pytests.engine import Settings, registration, run_of
from titan_core.scheduling.clock import SystemClock
from titan_core.scheduling.core.scheduler_core import CoreLimits, SchedulerCore
from titan_core.scheduling.scheduler import Scheduler
from titan_core.storage.sqlite_store import SqliteStore

logging.basicConfig()
store = SqliteStore(pathlib.Path(sys.argv[1]))
store.open()
scheduler = Scheduler(SchedulerCore(CoreLimits()), store, SystemClock(), settings=Settings())
scheduler.start()
print(scheduler.call(run_of("kept", "kept")).run_id, flush=True)
pages = store._writer().execute("PRAGMA page_count").fetchone()[0]
store._writer().execute(f"PRAGMA max_page_count = {pages}")
print(scheduler.call(run_of("big", *(f"big-{n}" for n in range(1000)))), flush=True)
"""


def test_a_full_disk_ends_the_master_with_a_message_and_without_an_answer(tmp_path: Path) -> None:
    master = subprocess.run(
        [sys.executable, "-c", DISK_FULL, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=DEADLINE_S,
        check=False,
    )
    assert master.returncode == EXIT_FAILED
    assert master.stdout == "kept\n"
    assert "CRITICAL" in master.stderr
    assert "the disk is full" in master.stderr
    store = SqliteStore(tmp_path)
    store.open()
    assert [stored.run.run_id for stored in store.load(10)] == ["kept"]
    store.close()


def test_a_run_that_lacks_a_job_is_refused_at_the_start(tmp_path: Path) -> None:
    """As after somebody's repair of a damaged database: every row that is left is sound."""
    engine = Engine(tmp_path)
    engine.scheduler.call(run_of("r", JobSpec(id="a", file="a.py"), JobSpec(id="b", file="b.py", parents=("a",))))
    engine.close()
    with closing(sqlite3.connect(tmp_path / "titan.db")) as db:
        db.execute("DELETE FROM specs WHERE job_seq = 1")
        db.execute("DELETE FROM jobs WHERE seq = 1")
        db.commit()
    store = SqliteStore(tmp_path)
    store.open()
    with pytest.raises(StoreDamaged, match="lacks a job"):
        Scheduler(SchedulerCore(CoreLimits()), store, SystemClock(), settings=Settings()).start()
    store.close()
