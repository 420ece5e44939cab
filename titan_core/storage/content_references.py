"""Which contents the journal still speaks of."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from typing import Final

from titan_core.storage.schema import OPEN_STATES
from titan_sdk.messages import JobSpec, decode_message

NOT_SEARCHED: Final = frozenset(
    {
        *("titan", "jobs", "executions", "additions", "events", "cordons"),
        *("kv", "kv_members", "kv_collections", "kv_items", "kv_expiry", "kv_requests"),
    }
)
"""Tables that name no content, and may be large. Every other one is searched, also one that is yet to come. What is in
``kv`` is the users', but for large results of calls, which titan_sdk.task_results keeps there."""
_LARGE_RESULTS: Final = """
    SELECT value FROM kv WHERE key >= 'titan-task/' AND key < 'titan-task0' AND length(value) = 65
"""

_ROWS_AT_ONCE: Final = 500
"""Rows searched before others have their turn; a millisecond or two."""
_DIGEST: Final = re.compile(rb"[0-9a-f]{64}")


def publishing_since(db: sqlite3.Connection) -> int | None:
    """When (epoch ms) the oldest job was submitted that is running and may leave artifacts; None when there is none.

    What such a job has published stands in the journal only once it has completed.
    """
    rows = db.execute(
        f"""SELECT j.submitted_at, s.body FROM jobs j JOIN specs s ON s.job_seq = j.seq
        WHERE j.state IN {OPEN_STATES} AND j.state = 'RUNNING'"""
    )
    return min((at for at, body in rows if decode_message(body, JobSpec).kind == "run"), default=None)


def unmentioned(db: sqlite3.Connection, digests: set[str], pause: Callable[[], bool]) -> set[str]:
    """Those of ``digests`` that stand nowhere in the journal; none when ``pause`` says to stop.

    A digest is looked for as text, wherever in a row it may be: in the specs of jobs and schedules, in what is known of
    repairs, in what jobs left (artifacts are that), in the options of runs, in results of calls. A
    mistake can only keep a content.
    """
    left = {digest.encode() for digest in digests}
    tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    searched = [name for name in tables if name not in NOT_SEARCHED and not name.startswith("sqlite_")]
    for query in (*(f'SELECT * FROM "{name}"' for name in searched), _LARGE_RESULTS):
        rows = db.execute(query)
        while left and (some := rows.fetchmany(_ROWS_AT_ONCE)):
            for row in some:
                for value in row:
                    text = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
                    if isinstance(text, bytes) and len(text) >= 64:
                        left.difference_update(_DIGEST.findall(text))
            if pause():
                return set()
    return {digest.decode() for digest in left}
