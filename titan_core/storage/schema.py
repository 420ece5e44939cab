"""The tables of the journal, and how an older database becomes a newer one.

``VERSIONS[n]`` holds the statements that lead from version n to version n+1; version 0 is an empty file, so making a
new database and migrating an old one are the same thing. Published entries are never edited; new
ones are added at the end.
"""

from __future__ import annotations

import sqlite3
from typing import Final

APPLICATION_ID: Final = 0x5449544E
"""``TITN``, kept in the header of the file: it tells our database from anybody else's."""

VERSIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        # One row. The sequences are the highest ever written, so that they survive whatever is pruned later. `clean` is
        # 0 while a master is at work: then the write-ahead log is part of the database, and its absence a loss.
        """CREATE TABLE titan (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            master_id TEXT NOT NULL,
            term INTEGER NOT NULL,
            clean INTEGER NOT NULL,
            run_seq INTEGER NOT NULL,
            job_seq INTEGER NOT NULL,
            epoch INTEGER NOT NULL
        )""",
        """CREATE TABLE runs (
            seq INTEGER PRIMARY KEY,
            run_id TEXT NOT NULL UNIQUE,
            name TEXT NOT NULL,
            submitted_at INTEGER NOT NULL,
            idempotency_key TEXT NOT NULL,
            parent TEXT NOT NULL,
            digest TEXT NOT NULL
        )""",
        "CREATE INDEX runs_by_idempotency_key ON runs (idempotency_key) WHERE idempotency_key <> ''",
        """CREATE TABLE jobs (
            seq INTEGER PRIMARY KEY,
            run_seq INTEGER NOT NULL REFERENCES runs (seq),
            job_id TEXT NOT NULL,
            state TEXT NOT NULL,
            attempt INTEGER NOT NULL,
            epoch INTEGER NOT NULL,
            failures INTEGER NOT NULL,
            losses INTEGER NOT NULL,
            worker_id TEXT NOT NULL,
            ready INTEGER NOT NULL,
            ending TEXT NOT NULL,
            reason TEXT NOT NULL,
            exit_code INTEGER,
            submitted_at INTEGER NOT NULL,
            due_at INTEGER NOT NULL,
            started_at INTEGER NOT NULL,
            ended_at INTEGER NOT NULL,
            log_size INTEGER NOT NULL
        )""",
        "CREATE INDEX jobs_by_run ON jobs (run_seq)",
        "CREATE INDEX jobs_by_id ON jobs (job_id)",
        # Restarting asks for unfinished runs only: this index holds just those, however long the history grows.
        """CREATE INDEX jobs_open ON jobs (run_seq) WHERE state IN ('WAITING', 'DELAYED', 'PENDING', 'RUNNING')""",
        # A spec is written once and a job many times: apart, an update never rewrites the (possibly large) spec.
        "CREATE TABLE specs (job_seq INTEGER PRIMARY KEY REFERENCES jobs (seq), body BLOB NOT NULL)",
        """CREATE TABLE executions (
            key TEXT NOT NULL,
            attempt INTEGER NOT NULL,
            epoch INTEGER NOT NULL,
            worker_id TEXT NOT NULL,
            worker_name TEXT NOT NULL,
            started_at INTEGER NOT NULL,
            ended_at INTEGER NOT NULL,
            outcome TEXT NOT NULL,
            exit_code INTEGER,
            reason TEXT NOT NULL,
            PRIMARY KEY (key, attempt)
        ) WITHOUT ROWID""",
        "CREATE TABLE kv (key TEXT PRIMARY KEY, value BLOB NOT NULL)",
        """CREATE TABLE kv_members (
            seq INTEGER PRIMARY KEY,
            key TEXT NOT NULL,
            member TEXT NOT NULL,
            UNIQUE (key, member)
        )""",
    ),
    (
        "ALTER TABLE jobs ADD COLUMN restarts INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN port INTEGER NOT NULL DEFAULT 0",
    ),
    (
        """CREATE TABLE events (
            seq INTEGER PRIMARY KEY,
            at INTEGER NOT NULL,
            kind TEXT NOT NULL,
            subject TEXT NOT NULL,
            text TEXT NOT NULL
        )""",
    ),
    (
        # What few runs have: options as they were asked for (NULL: none), and what changes of a run.
        "ALTER TABLE runs ADD COLUMN options BLOB",
        "ALTER TABLE runs ADD COLUMN open INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE runs ADD COLUMN tree_jobs INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE runs ADD COLUMN deadline_at INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE runs ADD COLUMN agent_run_id TEXT NOT NULL DEFAULT ''",
        "CREATE INDEX runs_open ON runs (seq) WHERE open <> 0",
        "CREATE INDEX runs_by_parent ON runs (parent) WHERE parent <> ''",
        "CREATE INDEX runs_by_agent ON runs (agent_run_id) WHERE agent_run_id <> ''",
        # Jobs that were added to a run: what makes two additions the same one.
        """CREATE TABLE additions (
            run_seq INTEGER NOT NULL REFERENCES runs (seq),
            idempotency_key TEXT NOT NULL,
            digest TEXT NOT NULL,
            PRIMARY KEY (run_seq, idempotency_key)
        ) WITHOUT ROWID""",
    ),
    (
        # Sets and lists by key: how long they are, and where the first item of a list stands.
        """CREATE TABLE kv_collections (
            key TEXT NOT NULL,
            kind TEXT NOT NULL,
            length INTEGER NOT NULL,
            low INTEGER NOT NULL,
            PRIMARY KEY (key, kind)
        ) WITHOUT ROWID""",
        "INSERT INTO kv_collections SELECT key, 'set', count(*), 0 FROM kv_members GROUP BY key",
        # By key and seq, members are listed in the order of their addition without sorting the whole set.
        "CREATE INDEX kv_members_by_seq ON kv_members (key, seq)",
        """CREATE TABLE kv_items (
            key TEXT NOT NULL,
            place INTEGER NOT NULL,
            item BLOB NOT NULL,
            PRIMARY KEY (key, place)
        )""",
        "CREATE TABLE kv_expiry (key TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE INDEX kv_expiry_by_time ON kv_expiry (at)",
        # What was answered to requests that may come again.
        "CREATE TABLE kv_requests (id TEXT PRIMARY KEY, until INTEGER NOT NULL, answer BLOB NOT NULL)",
        "CREATE INDEX kv_requests_by_time ON kv_requests (until)",
    ),
    ("CREATE TABLE cordons (worker_id TEXT PRIMARY KEY, host TEXT NOT NULL, port INTEGER NOT NULL)",),
    (
        # HELD is a state of open jobs too.
        "DROP INDEX jobs_open",
        """CREATE INDEX jobs_open ON jobs (run_seq)
            WHERE state IN ('WAITING', 'DELAYED', 'PENDING', 'RUNNING', 'HELD')""",
        """CREATE TABLE approvals (
            key TEXT NOT NULL,
            number INTEGER NOT NULL,
            message TEXT NOT NULL,
            asked_at INTEGER NOT NULL,
            expires_at INTEGER NOT NULL,
            on_timeout TEXT NOT NULL,
            decision TEXT NOT NULL,
            decided_by TEXT NOT NULL,
            comment TEXT NOT NULL,
            decided_at INTEGER NOT NULL,
            request_id TEXT NOT NULL,
            PRIMARY KEY (key, number)
        ) WITHOUT ROWID""",
        "CREATE INDEX approvals_decided ON approvals (decided_at) WHERE decision <> ''",
    ),
    (
        # What jobs left for others, as JSON objects. Few do, and it may be large: not in a row that is often written.
        "CREATE TABLE outputs (job_seq INTEGER PRIMARY KEY REFERENCES jobs (seq), body BLOB NOT NULL)",
    ),
    (
        """CREATE TABLE repairs (
            key TEXT NOT NULL,
            number INTEGER NOT NULL,
            body BLOB NOT NULL,
            PRIMARY KEY (key, number)
        ) WITHOUT ROWID""",
    ),
    (
        # The specs of a schedule's jobs may be large and change seldom, its state changes with every firing.
        # AUTOINCREMENT: the seq of a schedule that was deleted is not used again.
        """CREATE TABLE schedules (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            state BLOB NOT NULL
        )""",
        "CREATE TABLE schedule_specs (seq INTEGER PRIMARY KEY REFERENCES schedules (seq), body BLOB NOT NULL)",
        """CREATE TABLE schedule_firings (
            seq INTEGER NOT NULL REFERENCES schedules (seq),
            number INTEGER NOT NULL,
            body BLOB NOT NULL,
            PRIMARY KEY (seq, number)
        ) WITHOUT ROWID""",
    ),
)

SCHEMA_VERSION: Final = len(VERSIONS)

OPEN_STATES: Final = "('WAITING', 'DELAYED', 'PENDING', 'RUNNING', 'HELD')"
"""As the partial index ``jobs_open`` spells it: SQLite uses the index only for a condition that reads the same."""


def migrate(db: sqlite3.Connection, versions: tuple[tuple[str, ...], ...] = VERSIONS) -> int:
    """Bring the database to the newest version in one transaction; all of it or nothing. Returns the version it had.

    The connection is in autocommit mode. Raises sqlite3.Error.
    """
    had: int = db.execute("PRAGMA user_version").fetchone()[0]
    if had < len(versions):
        db.execute("BEGIN IMMEDIATE")
        try:
            for statements in versions[had:]:
                for statement in statements:
                    db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {len(versions)}")
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
    return had
