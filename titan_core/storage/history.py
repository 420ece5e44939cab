"""The oldest runs in the journal, and their removal."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from titan_core.storage.schema import OPEN_STATES
from titan_sdk.messages import RunOptions, decode_message

_ROWS_AT_ONCE: Final = 500

# A parent is ``run/job``: with the next character after ``/`` as the end, the range holds every job of the run.
_OLDEST: Final = f"""SELECT r.seq, r.run_id, r.idempotency_key <> '', count(j.seq),
    max(r.submitted_at, coalesce(max(j.ended_at), 0)), r.submitted_at,
    r.open = 0 AND coalesce(sum(j.state IN {OPEN_STATES}), 0) = 0 AND NOT EXISTS (
        SELECT 1 FROM runs c WHERE c.parent > r.run_id || '/' AND c.parent < r.run_id || '0' AND c.parent <> '')
FROM (SELECT * FROM runs WHERE seq > ? ORDER BY seq LIMIT ?) r LEFT JOIN jobs j ON j.run_seq = r.seq
GROUP BY r.seq ORDER BY r.seq"""

_BY_JOB: Final = ("specs", "outputs")
_BY_KEY: Final = ("executions", "approvals", "repairs")


class OldRun(NamedTuple):
    """A run in the journal, as far as it matters for its removal. Times are epoch ms."""

    seq: int
    run_id: str
    has_key: bool
    """It was submitted with an idempotency key."""
    jobs: int
    ended_at: int
    submitted_at: int
    over: bool
    """It is closed, all its jobs are final, and no run that was submitted from inside it is still there."""


def oldest_runs(db: sqlite3.Connection, after: int, limit: int) -> list[OldRun]:
    """The runs that were accepted first after the one of that seq, in order."""
    rows = db.execute(_OLDEST, (after, limit))
    return [
        OldRun(seq, run_id, bool(has_key), jobs, ended_at, submitted_at, bool(over))
        for seq, run_id, has_key, jobs, ended_at, submitted_at, over in rows
    ]


def rerun_sources(db: sqlite3.Connection, pause: Callable[[], bool]) -> set[str]:
    """Ids of the runs that others repeat, or whose completed jobs count as jobs of others."""
    found: set[str] = set()
    rows = db.execute("SELECT options FROM runs WHERE options IS NOT NULL")
    while some := rows.fetchmany(_ROWS_AT_ONCE):
        for (body,) in some:
            options = decode_message(body, RunOptions)
            if options.rerun_of:
                found.add(options.rerun_of)
            found.update(key.partition("/")[0] for key in options.kept.values())
        pause()
    return found


def forget_runs(db: sqlite3.Connection, seqs: Sequence[int]) -> None:
    """Remove runs with all that belongs to them, inside the caller's transaction."""
    for seq in seqs:
        row = db.execute("SELECT run_id FROM runs WHERE seq = ?", (seq,)).fetchone()
        if row is None:
            continue
        for table in _BY_JOB:
            db.execute(f"DELETE FROM {table} WHERE job_seq IN (SELECT seq FROM jobs WHERE run_seq = ?)", (seq,))
        for table in _BY_KEY:
            db.execute(f"DELETE FROM {table} WHERE key > ? AND key < ?", (f"{row[0]}/", f"{row[0]}0"))
        db.execute("DELETE FROM additions WHERE run_seq = ?", (seq,))
        db.execute("DELETE FROM jobs WHERE run_seq = ?", (seq,))
        db.execute("DELETE FROM runs WHERE seq = ?", (seq,))
