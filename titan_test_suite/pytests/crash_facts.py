"""Runs crashing_master until something ends it, and holds what it had acknowledged against what its database has."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from titan_core.model.rows import JobRow
from titan_core.scheduling.core.idempotency import digest_of
from titan_core.storage.sqlite_store import SqliteStore
from titan_core.storage.store import StoredRun
from titan_test_suite.pytests.crashing_master import DELAY_MS, jobs_of

ROOT: Final = Path(__file__).parents[2]
DEADLINE_S: Final = 60.0

Facts = list[dict[str, Any]]


def command(data_dir: Path, round_: int) -> list[str]:
    return [sys.executable, "-m", "titan_test_suite.pytests.crashing_master", str(data_dir), str(round_)]


def run_and_kill(data_dir: Path, round_: int, lines: int) -> Facts:
    """Let a master say so many facts, kill it, and return all that it got out."""
    master = subprocess.Popen(command(data_dir, round_), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
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


def run_under(tracer: Sequence[str], data_dir: Path, round_: int) -> tuple[int, Facts]:
    """Let a master run below a program that ends it; that program's exit code, and all that the master got out."""
    done = subprocess.run(
        [*tracer, *command(data_dir, round_)], capture_output=True, cwd=ROOT, timeout=DEADLINE_S, check=False
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def check_facts(data_dir: Path, facts: Facts) -> None:
    """Everything that was acknowledged in all rounds so far is in the database. Raises AssertionError."""
    store = SqliteStore(data_dir)
    store.open()
    try:
        _check(store, facts)
    finally:
        store.close()


def _check(store: SqliteStore, facts: Facts) -> None:
    runs = {stored.run.run_id: stored for stored in store.load(1_000_000)}
    for stored in runs.values():
        _check_run(stored, stored.run.run_id)
    for fact in facts:
        if "accepted" in fact:
            assert fact["accepted"] in runs
        elif "kv" in fact:
            assert int(store.kv_get(fact["kv"]) or b"-1") >= fact["value"]
        elif key := fact.get("dispatched", fact.get("ended")):
            _check_attempt(runs, key, fact)
    assert {fact["member"] for fact in facts if "kv" in fact} <= set(store.kv_members("runs").members)
    epochs = [fact["epoch"] for fact in facts if "dispatched" in fact]
    assert len(set(epochs)) == len(epochs), "a lease epoch was used twice"
    assert store.last_sequence()[2] >= max(epochs, default=0)


def _check_run(stored: StoredRun, run_id: str) -> None:
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


def _check_attempt(runs: dict[str, StoredRun], key: str, fact: dict[str, Any]) -> None:
    run = runs[key.partition("/")[0]]
    row: JobRow = next(row for _, row in run.jobs if row.key == key)
    assert row.attempt >= fact["attempt"]
    execution = next(e for e in run.executions if (e.key, e.attempt) == (key, fact["attempt"]))
    assert execution.epoch == fact["epoch"]
    if "ended" in fact:
        assert row.state.final and row.attempt == fact["attempt"]
        assert (row.exit_code, row.log_size) == (fact["code"], 77)
        assert (execution.exit_code, execution.ended_at > 0) == (fact["code"], True)
