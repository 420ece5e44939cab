"""Records and data directories for the tests of the store."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from titan_core.model.rows import JobRow, RunRow
from titan_core.model.states import JobState
from titan_core.scheduling.core.commands import InsertJob, InsertRun, Record
from titan_core.storage.sqlite_store import SqliteStore
from titan_core.storage.store import StoreDamaged, StoreError
from titan_sdk.messages import JobSpec


def run_row(seq: int, key: str = "") -> RunRow:
    return RunRow(f"run-{seq}", seq, f"name {seq}", 1000 + seq, key, "other/job", f"digest {seq}")


def job_row(seq: int, run: int, job_id: str, state: JobState = JobState.PENDING) -> JobRow:
    return JobRow(f"run-{run}/{job_id}", f"run-{run}", job_id, seq, state, submitted_at=1000 + run)


def submission(run: int, first_seq: int, *ids: str, state: JobState = JobState.PENDING) -> list[Record]:
    jobs = [InsertJob(JobSpec(id=i, file="a.py"), job_row(first_seq + n, run, i, state)) for n, i in enumerate(ids)]
    return [InsertRun(run_row(run)), *jobs]


def crash_image(store: SqliteStore, target: Path) -> Path:
    """A data directory as a crash at this moment would leave it."""
    target.mkdir()
    for name in ("titan.db", "titan.db-wal"):
        shutil.copy(store.path.with_name(name), target / name)
    return target


def contents(folder: Path) -> dict[str, bytes]:
    """The files that hold data; the lock and SQLite's shared memory do not."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.endswith((".lock", "-shm"))}


def refusal(folder: Path, kind: type[StoreError] = StoreDamaged) -> str:
    """The text that opening is refused with; nothing in the folder changes."""
    before = contents(folder)
    with pytest.raises(kind) as caught:
        SqliteStore(folder).open()
    assert contents(folder) == before
    return str(caught.value)
