"""A master killed while it commits: whatever it acknowledged is there afterwards."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from titan_core.model.rows import JobRow
from titan_core.scheduling.core.idempotency import digest_of
from titan_core.scheduling.engine_thread import EXIT_FAILED
from titan_core.storage.sqlite_store import SqliteStore
from titan_core.storage.store import StoredRun
from titan_test_suite.pytests.crashing_master import DELAY_MS, jobs_of

ROOT = Path(__file__).parents[3]
DEADLINE_S = 60.0

Facts = list[dict[str, Any]]


def run_and_kill(data_dir: Path, round_: int, lines: int) -> Facts:
    """Let a master say so many facts, kill it, and return all that it got out."""
    program = [sys.executable, "-m", "titan_test_suite.pytests.crashing_master", str(data_dir), str(round_)]
    master = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    try:
        assert master.stdout
        said = [master.stdout.readline() for _ in range(lines)]
        master.send_signal(signal.SIGKILL)
        rest, errors = master.communicate(timeout=DEADLINE_S)
        assert master.returncode == -signal.SIGKILL, errors.decode()
        return [json.loads(line) for line in [*said, *rest.splitlines(keepends=True)]]
    finally:
        master.kill()
        master.communicate()


def check_run(stored: StoredRun, run_id: str) -> None:
    """The run is there in whole, with its edges, delays and the fate that its jobs share."""
    specs = jobs_of(run_id)
    assert [spec for spec, _ in stored.jobs] == list(specs)
    assert stored.run.idempotency_key == f"key {run_id}"
    assert stored.run.digest == digest_of(specs)
    good, bad, after_good, after_bad, late, _ = (row for _, row in stored.jobs)
    assert late.state.value == "DELAYED"
    assert late.due_at == stored.run.submitted_at + DELAY_MS
    if good.state.value != "COMPLETED":
        assert after_good.state.value == after_bad.state.value == "WAITING" or bad.state.value == "DEAD"
    else:
        assert after_good.state.value != "WAITING"
    assert (bad.state.value == "DEAD") == (after_bad.state.value == "DEAD")


def check_attempt(runs: dict[str, StoredRun], key: str, fact: dict[str, Any]) -> None:
    run = runs[key.partition("/")[0]]
    row: JobRow = next(row for _, row in run.jobs if row.key == key)
    assert row.attempt >= fact["attempt"]
    execution = next(e for e in run.executions if (e.key, e.attempt) == (key, fact["attempt"]))
    assert execution.epoch == fact["epoch"]
    if "ended" in fact:
        assert row.state.final and row.attempt == fact["attempt"]
        assert (row.exit_code, row.log_size) == (fact["code"], 77)
        assert (execution.exit_code, execution.ended_at > 0) == (fact["code"], True)


def test_what_was_acknowledged_survives_being_killed(tmp_path: Path) -> None:
    dice = random.Random(11)
    facts: Facts = []
    for round_ in range(5):
        facts += run_and_kill(tmp_path, round_, dice.randrange(40, 500))

        store = SqliteStore(tmp_path)
        store.open()
        runs = {stored.run.run_id: stored for stored in store.load(1_000_000)}
        for stored in runs.values():
            check_run(stored, stored.run.run_id)
        for fact in facts:
            if "accepted" in fact:
                assert fact["accepted"] in runs
            elif "kv" in fact:
                assert int(store.kv_get(fact["kv"]) or b"-1") >= fact["value"]
            elif key := fact.get("dispatched", fact.get("ended")):
                check_attempt(runs, key, fact)
        assert {fact["member"] for fact in facts if "kv" in fact} <= set(store.kv_members("runs"))
        epochs = [fact["epoch"] for fact in facts if "dispatched" in fact]
        assert len(set(epochs)) == len(epochs), "a lease epoch was used twice"
        assert store.last_sequence()[2] >= max(epochs)
        store.close()
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
