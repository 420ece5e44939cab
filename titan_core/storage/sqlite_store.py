"""The journal in one SQLite database: what was acknowledged is on the disk."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from titan_core.model.rows import ApprovalRow, CordonRow, EventRow, RunRow
from titan_core.model.schedule import ScheduleRow
from titan_core.scheduling.core.commands import KvAddMember, KvApply, KvPut, KvRecord, KvSweep, Record
from titan_core.storage import history, run_queries
from titan_core.storage import sqlite_rows as sql
from titan_core.storage.batch import Batch
from titan_core.storage.content_references import publishing_since, unmentioned
from titan_core.storage.data_dir_lock import DataDirLock
from titan_core.storage.history import OldRun
from titan_core.storage.integrity import examine
from titan_core.storage.kv_tables import KvTables
from titan_core.storage.read_connections import ReadConnections
from titan_core.storage.schema import OPEN_STATES, SCHEMA_VERSION, migrate
from titan_core.storage.store import WAY_OUT, StoreDamaged, StoredRun, StoreError, StoreFull
from titan_sdk.errors import BadMessage
from titan_sdk.messages import (
    AgentRun,
    FiringInfo,
    KvEntry,
    KvMemberPage,
    KvPart,
    RepairInfo,
    RunSummary,
    decode_message,
    encode_message,
)

logger = logging.getLogger(__name__)

DATABASE_NAME: Final = "titan.db"
OLDEST_SQLITE: Final = (3, 24, 0)

CHECKPOINT_COMMITS: Final = 500
"""Commits after which the write-ahead log is worked into the database: some 10 MB of log, read at once at a restart."""
CHECKPOINT_RECORDS: Final = 50_000
"""Records after which it is, however few commits they came in."""
WAL_KEPT_BYTES: Final = 64 << 20
"""Size the log's file is cut back to: overwriting blocks that it has is cheaper to sync than adding new ones."""
EVENTS_KEPT: Final = 10_000
"""Of what happened to the cluster, the newest; 2 MB. Older ones are removed EVENTS_SWEEP at a time."""
EVENTS_SWEEP: Final = 500
FOREIGN_LOCK_S: Final = 10
"""Seconds to wait for somebody's SQLite shell that holds a lock."""
SELECT_OPEN: Final = f"SELECT run_seq FROM jobs WHERE state IN {OPEN_STATES}"
RUNS_PER_QUERY: Final = 500
"""Runs loaded with one query: SQLite takes at least 999 parameters."""

Prepare = Callable[[Iterable[sql.Parameters]], Iterable[sql.Parameters]]


class SqliteStore:
    """A Store in ``data_dir``, which it locks: see store.Store for the contract.

    WAL mode with synchronous=FULL: a commit is fsynced before it returns. One connection writes and checkpoints, on the
    thread that calls ``apply``; SQLite before 3.51.3 can damage a log that one connection checkpoints while another
    commits. Readers have connections of their own and see what is committed.
    """

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / DATABASE_NAME
        self._data_dir = data_dir
        self._lock = DataDirLock(data_dir)
        self._readers = ReadConnections(self.path)
        self._db: sqlite3.Connection | None = None
        self._master_id = ""
        self._term = 0
        self._sequences = (0, 0, 0)
        self._commits_in_wal = 0
        self._records_in_wal = 0

    # --- opening and closing --------------------------------------------------------------------------------------

    def open(self) -> None:
        """Lock the directory, check what is there, make or migrate the database and begin a new term.

        Raises:
            StoreDamaged: see integrity.examine; the database is left untouched.
            StoreError: in use by another master, made by a newer Titan, or not readable or writable.
        """
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise StoreError(f"SQLite {sqlite3.sqlite_version} is older than 3.24, which is needed")
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the data directory {self._data_dir}: {error.strerror}") from error
        self._lock.acquire()
        try:
            if self.path.exists():
                examine(self.path)
            else:
                self._create()
            self._db = self._connect()
            self._begin_term(self._db)
        except BaseException as error:
            self._close_writer()
            self._lock.release()
            if isinstance(error, (sqlite3.Error, OSError, UnicodeDecodeError)):
                raise StoreError(f"cannot open {self.path}: {error}. {WAY_OUT}") from error
            raise

    def _create(self) -> None:
        """A new database, made under another name: a file of the right name is whole from its first moment on."""
        wal = self.path.with_name(DATABASE_NAME + "-wal")
        if wal.exists():
            raise StoreDamaged(
                f"{wal} is there, but the {DATABASE_NAME} it belongs to is not. Nothing was changed. {WAY_OUT}"
            )
        new = self.path.with_name(DATABASE_NAME + ".new")
        for suffix in ("", "-wal", "-shm", "-journal"):
            new.with_name(new.name + suffix).unlink(missing_ok=True)
        # The environments of jobs may hold secrets; SQLite gives its log the mode of the database.
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            migrate(db)
            db.execute("INSERT INTO titan VALUES (1, ?, 0, 1, 0, 0, 0)", (uuid.uuid4().hex,))
        new.replace(self.path)
        _sync_directory(self._data_dir)
        _sync_directory(self._data_dir.absolute().parent)

    def _connect(self) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?mode=rw&psow=1"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=FOREIGN_LOCK_S)
        for setting in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "wal_autocheckpoint = 0",
            f"journal_size_limit = {WAL_KEPT_BYTES}",
            "cache_size = -16384",  # KiB
        ):
            db.execute(f"PRAGMA {setting}")
        if sys.platform == "darwin":
            # There, fsync alone stops at the drive's cache.
            db.execute("PRAGMA fullfsync = ON")
            db.execute("PRAGMA checkpoint_fullfsync = ON")
        return db

    def _begin_term(self, db: sqlite3.Connection) -> None:
        had = migrate(db)
        if had < SCHEMA_VERSION:
            logger.warning("%s was migrated from version %d to %d", self.path, had, SCHEMA_VERSION)
        # The log begins anew, with `clean` = 0 in the database itself: integrity.py builds on both.
        db.execute("UPDATE titan SET term = term + 1, clean = 0")
        if db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            raise StoreError(f"cannot open {self.path}: another program is reading it")
        _sync_directory(self._data_dir)
        row = db.execute("SELECT master_id, term, run_seq, job_seq, epoch FROM titan").fetchone()
        self._master_id, self._term, *sequences = row
        self._sequences = (sequences[0], sequences[1], sequences[2])
        logger.info("opened %s: term %d, SQLite %s", self.path, self._term, sqlite3.sqlite_version)

    def close(self) -> None:
        """Close all connections and give up the directory. Nothing may be applied any more; twice does no harm."""
        self._readers.close(timeout_s=FOREIGN_LOCK_S)
        if self._db is not None:
            # Not closed in order is not an error: the next start reads the log.
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("UPDATE titan SET clean = 1")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._close_writer()
        self._lock.release()

    def _close_writer(self) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    @property
    def master_id(self) -> str:
        return self._master_id

    @property
    def term(self) -> int:
        return self._term

    # --- writing --------------------------------------------------------------------------------------------------

    def apply(self, records: Sequence[Record]) -> list[Any]:
        batch = Batch(records)
        db = self._writer()
        try:
            results = self._commit(db, batch, len(records))
        except BaseException as error:
            raise self._failed_commit(db, error) from error
        self._sequences = self._newer_sequences(batch)
        self._commits_in_wal += 1
        self._records_in_wal += len(records)
        return results

    def _commit(self, db: sqlite3.Connection, batch: Batch, records: int) -> list[Any]:
        results: list[Any] = [None] * records
        db.execute("BEGIN IMMEDIATE")
        try:
            self._write(db, batch, results, lambda rows: rows)
        except (OverflowError, UnicodeEncodeError) as error:
            logger.warning("%s: a value from outside had to be changed to be kept: %s", self.path, error)
            db.execute("ROLLBACK")
            db.execute("BEGIN IMMEDIATE")
            self._write(db, batch, results, sql.storable)
        db.execute("COMMIT")
        return results

    def _writer(self) -> sqlite3.Connection:
        if self._db is None:
            raise StoreError("the store is not open")
        return self._db

    def _write(self, db: sqlite3.Connection, batch: Batch, results: list[Any], prepare: Prepare) -> None:
        def execute(statement: str, rows: Iterable[sql.Parameters]) -> int:
            return db.executemany(statement, prepare(rows)).rowcount

        if batch.runs:
            execute(sql.INSERT_RUN, map(sql.run_parameters, batch.runs.values()))
        if batch.run_updates:
            changed = execute(sql.UPDATE_RUN, map(sql.run_update_parameters, batch.run_updates.values()))
            if changed != len(batch.run_updates):
                raise StoreError(f"{len(batch.run_updates)} runs are to be updated, {changed} of them are stored")
        if batch.additions:
            execute(sql.INSERT_ADDITION, batch.additions)
        if batch.inserts:
            execute(sql.INSERT_JOB, (sql.insert_parameters(row) for _, row in batch.inserts.values()))
            execute(sql.INSERT_SPEC, (sql.spec_parameters(spec, row) for spec, row in batch.inserts.values()))
        if batch.updates:
            changed = execute(sql.UPDATE_JOB, map(sql.update_parameters, batch.updates.values()))
            if changed != len(batch.updates):
                raise StoreError(f"{len(batch.updates)} jobs are to be updated, {changed} of them are stored")
        if batch.executions:
            execute(sql.SAVE_EXECUTION, batch.executions.values())
            old = [(key, at - sql.KEPT_EXECUTIONS) for key, at in batch.executions if at > sql.KEPT_EXECUTIONS]
            if old:
                execute(sql.FORGET_EXECUTIONS, old)
        if batch.specs:
            execute(sql.REPLACE_SPEC, [(encode_message(spec), seq) for seq, spec in batch.specs.items()])
        if batch.repairs:
            execute(sql.SAVE_REPAIR, map(sql.repair_parameters, batch.repairs.values()))
        if batch.outputs:
            execute(sql.SAVE_OUTPUTS, batch.outputs.items())
        if batch.approvals:
            execute(sql.SAVE_APPROVAL, batch.approvals.values())
        if batch.events:
            execute(sql.INSERT_EVENT, batch.events)
            last = batch.events[-1].seq
            if batch.events[0].seq // EVENTS_SWEEP != (last + 1) // EVENTS_SWEEP:
                execute(sql.FORGET_EVENTS, [(last - EVENTS_KEPT,)])
        if batch.cordons:
            execute(sql.FORGET_CORDON, [(worker_id,) for worker_id, row in batch.cordons.items() if row is None])
            execute(sql.PUT_CORDON, [row for row in batch.cordons.values() if row is not None])
        if batch.schedules or batch.schedule_states or batch.forgotten or batch.firings:
            self._write_schedules(batch, execute)
        if batch.kv:
            tables = KvTables(db)
            for index, record in batch.kv:
                results[index] = _apply_kv(tables, record)
        if batch.forgotten_runs:
            history.forget_runs(db, batch.forgotten_runs)
        sequences = self._newer_sequences(batch)
        if sequences != self._sequences:
            execute("UPDATE titan SET run_seq = ?, job_seq = ?, epoch = ?", [sequences])

    @staticmethod
    def _write_schedules(batch: Batch, execute: Callable[[str, Iterable[sql.Parameters]], int]) -> None:
        for statement in sql.FORGET_SCHEDULE:  # first: another one may have the name now
            execute(statement, [(seq,) for seq in batch.forgotten])
        rows = batch.schedules.values()
        execute(sql.PUT_SCHEDULE, [(row.seq, row.name, sql.encode_state(row.state)) for row in rows])
        execute(sql.PUT_SCHEDULE_SPEC, [(row.seq, encode_message(row.spec)) for row in rows if row.spec is not None])
        states = [(sql.encode_state(state), seq) for seq, state in batch.schedule_states.items()]
        if execute(sql.UPDATE_SCHEDULE, states) != len(states) and states:
            raise StoreError("a schedule is to be updated that is not stored")
        execute(sql.PUT_FIRING, [(seq, number, encode_message(each)) for (seq, number), each in batch.firings.items()])
        old = [(seq, number - sql.KEPT_FIRINGS) for seq, number in batch.firings if number > sql.KEPT_FIRINGS]
        execute(sql.FORGET_FIRINGS, old)

    def _newer_sequences(self, batch: Batch) -> tuple[int, int, int]:
        run_seq, job_seq, epoch = self._sequences
        return max(run_seq, batch.run_seq), max(job_seq, batch.job_seq), max(epoch, batch.epoch)

    def _failed_commit(self, db: sqlite3.Connection, error: BaseException) -> StoreError:
        """What to raise for it. The disk being full is known to leave nothing behind once it is rolled back."""
        try:
            if db.in_transaction:
                db.execute("ROLLBACK")
        except sqlite3.Error as second:
            return StoreError(f"{self.path}: {error}; then rolling back: {second}")
        if isinstance(error, StoreError):
            return error
        if _is_full(error):
            return StoreFull(f"{self.path}: no space left to write")
        return StoreError(f"{self.path}: {error!r}")

    def maintain(self) -> None:
        if self._commits_in_wal < CHECKPOINT_COMMITS and self._records_in_wal < CHECKPOINT_RECORDS:
            return
        self._commits_in_wal = self._records_in_wal = 0
        try:
            self._writer().execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:
            if not _is_full(error):
                raise StoreError(f"{self.path}: checkpoint: {error}") from error
            logger.warning("%s: no space to work the log into the database; it stays in the log", self.path)

    def free_bytes(self) -> int:
        try:
            usage = os.statvfs(self._data_dir)
        except OSError as error:
            raise StoreError(f"cannot see how much space {self._data_dir} has: {error.strerror}") from error
        return usage.f_bavail * usage.f_frsize

    # --- reading --------------------------------------------------------------------------------------------------

    def load(self, finished: int) -> Iterator[StoredRun]:
        with self._reading() as db:
            oldest = self._oldest_finished(db, finished)
            wanted = {row[0] for row in db.execute("SELECT seq FROM runs WHERE seq >= ?", (oldest,))}
            wanted.update(row[0] for row in db.execute(SELECT_OPEN))
            wanted.update(row[0] for row in db.execute("SELECT seq FROM runs WHERE open <> 0"))
            self._add_ancestors(db, wanted)
            seqs = sorted(wanted)
            for start in range(0, len(seqs), RUNS_PER_QUERY):
                yield from self._runs(db, seqs[start : start + RUNS_PER_QUERY])

    @staticmethod
    def _add_ancestors(db: sqlite3.Connection, wanted: set[int]) -> None:
        """The runs from which these were submitted, however far up: what these may do depends on them."""
        level = list(wanted)
        while level:
            above: list[int] = []
            for start in range(0, len(level), RUNS_PER_QUERY):
                some = level[start : start + RUNS_PER_QUERY]
                query = sql.SELECT_PARENT_RUNS.format(",".join("?" * len(some)))
                above += [row[0] for row in db.execute(query, some) if row[0] not in wanted]
            wanted.update(above)
            level = list(dict.fromkeys(above))

    @staticmethod
    def _oldest_finished(db: sqlite3.Connection, finished: int) -> int:
        """The seq from which on finished runs are loaded: walks back from the newest until they have enough jobs."""
        query = f"""SELECT run_seq, count(*) FROM jobs
            WHERE run_seq NOT IN ({SELECT_OPEN})
            GROUP BY run_seq ORDER BY run_seq DESC"""
        oldest = sys.maxsize
        with contextlib.closing(db.execute(query)) as runs:
            for run_seq, jobs in runs:
                finished -= jobs
                if finished < 0:
                    break
                oldest = run_seq
        return oldest

    @staticmethod
    def _runs(db: sqlite3.Connection, seqs: Sequence[int]) -> Iterator[StoredRun]:
        marks = ",".join("?" * len(seqs))
        stored = {
            row[1]: StoredRun(sql.run_from_row(row), [], [], {}, [])
            for row in db.execute(f"{sql.SELECT_RUNS} WHERE seq IN ({marks}) ORDER BY seq", seqs)
        }
        for run_seq, key, digest in db.execute(f"{sql.SELECT_ADDITIONS} WHERE run_seq IN ({marks})", seqs):
            stored[run_seq].additions[key] = digest
        attempted: set[int] = set()
        gated: set[int] = set()
        for row in db.execute(f"{sql.SELECT_JOBS} WHERE r.seq IN ({marks}) ORDER BY j.seq", seqs):
            spec, job = sql.job_from_row(row)
            stored[row[0]].jobs.append((spec, job))
            if job.attempt:
                attempted.add(row[0])
            if spec.flow is not None and (spec.flow.approve is not None or spec.flow.repair is not None):
                gated.add(row[0])
        if attempted:
            marks = ",".join("?" * len(attempted))
            query = f"{sql.SELECT_EXECUTIONS} WHERE r.seq IN ({marks}) ORDER BY j.seq, e.attempt"
            for row in db.execute(query, sorted(attempted)):
                stored[row[0]].executions.append(sql.execution_from_row(row))
            if db.execute("SELECT EXISTS (SELECT 1 FROM outputs)").fetchone()[0]:
                query = f"{sql.SELECT_OUTPUTS} WHERE r.seq IN ({marks}) ORDER BY j.seq"
                for run_seq, key, body in db.execute(query, sorted(attempted)):
                    stored[run_seq].outputs.append((key, bytes(body)))
        if gated:
            marks = ",".join("?" * len(gated))
            for row in db.execute(f"{sql.SELECT_APPROVALS} WHERE r.seq IN ({marks}) ORDER BY a.number", sorted(gated)):
                stored[row[0]].approvals.append(sql.approval_from_row(row))
            for row in db.execute(f"{sql.SELECT_REPAIRS} WHERE r.seq IN ({marks}) ORDER BY p.number", sorted(gated)):
                stored[row[0]].repairs.append(decode_message(row[1], RepairInfo))
        yield from stored.values()

    def last_sequence(self) -> tuple[int, int, int]:
        return self._sequences

    def find_submission(self, idempotency_key: str) -> RunRow | None:
        with self._reading() as db:
            # The second condition is that of the partial index, which would not be used without it.
            query = f"{sql.SELECT_RUNS} WHERE idempotency_key = ? AND idempotency_key <> ''"
            row = db.execute(query, (idempotency_key,)).fetchone()
            return None if row is None else sql.run_from_row(row)

    def find_addition(self, run_id: str, idempotency_key: str) -> str | None:
        with self._reading() as db:
            row = db.execute(sql.FIND_ADDITION, (run_id, idempotency_key)).fetchone()
            return None if row is None else str(row[0])

    def find_run(self, name: str) -> StoredRun | None:
        run = self._find("SELECT seq FROM runs WHERE run_id = ?", name)
        if run is None and "/" in name:
            query = "SELECT j.run_seq FROM runs r JOIN jobs j ON j.run_seq = r.seq WHERE r.run_id = ? AND j.job_id = ?"
            run = self._find(query, *name.split("/", 1))
        elif run is None:
            run = self._find("SELECT run_seq FROM jobs WHERE job_id = ? ORDER BY seq DESC LIMIT 1", name)
        return run

    def _find(self, query: str, *parameters: str) -> StoredRun | None:
        with self._reading() as db:
            row = db.execute(query, parameters).fetchone()
            return None if row is None else next(self._runs(db, [row[0]]), None)

    def run_tree(self, run_id: str, depth: int, limit: int) -> tuple[list[RunSummary], int]:
        with self._reading() as db:
            return run_queries.tree(db, run_id, depth, limit)

    def runs_of_agent(self, agent_run_id: str, limit: int) -> list[RunSummary]:
        with self._reading() as db:
            return run_queries.of_agent(db, agent_run_id, limit)

    def agent_runs(self, limit: int) -> list[AgentRun]:
        with self._reading() as db:
            return run_queries.agents(db, limit)

    def count_jobs(self) -> int:
        with self._reading() as db:
            return int(db.execute("SELECT count(*) FROM jobs").fetchone()[0])

    def oldest_runs(self, after: int, limit: int) -> list[OldRun]:
        with self._reading() as db:
            return history.oldest_runs(db, after, limit)

    def rerun_sources(self, pause: Callable[[], bool]) -> set[str]:
        with self._reading() as db:
            return history.rerun_sources(db, pause)

    def publishing_since(self) -> int | None:
        with self._reading() as db:
            return publishing_since(db)

    def unmentioned_contents(self, digests: set[str], pause: Callable[[], bool]) -> set[str]:
        with self._reading() as db:
            return unmentioned(db, digests, pause)

    def load_events(self, newest: int) -> list[EventRow]:
        with self._reading() as db:
            return [EventRow._make(row) for row in reversed(db.execute(sql.SELECT_EVENTS, (newest,)).fetchall())]

    def load_schedules(self) -> tuple[list[ScheduleRow], int]:
        with self._reading() as db:
            rows = [sql.schedule_from_row(row) for row in db.execute(sql.SELECT_SCHEDULES)]
            last = db.execute(sql.LAST_SCHEDULE).fetchone()
            return rows, 0 if last is None else last[0]

    def load_firings(self, seq: int, newest: int, before: int = 0) -> list[FiringInfo]:
        with self._reading() as db:
            found = db.execute(sql.SELECT_FIRINGS, (seq, before or sys.maxsize, newest))
            return [decode_message(row[0], FiringInfo) for row in found]

    def decided_approvals(self, prefix: str, limit: int) -> list[ApprovalRow]:
        query = f"{sql.SELECT_DECIDED} AND substr(key, 1, length(?)) = ? ORDER BY decided_at DESC LIMIT ?"
        with self._reading() as db:
            return [sql.approval_from_row(row) for row in db.execute(query, (prefix, prefix, limit))]

    def load_cordons(self) -> list[CordonRow]:
        with self._reading() as db:
            return [CordonRow._make(row) for row in db.execute(sql.SELECT_CORDONS)]

    def kv_get(self, key: str, now: int = 0) -> bytes | None:
        with self._reading() as db:
            return KvTables(db).get(key, now)

    def kv_members(self, key: str, now: int = 0, after: int = 0, limit: int = -1) -> KvMemberPage:
        with self._reading() as db:
            return KvTables(db).members(key, now, after, limit)

    def kv_items(self, key: str, now: int, start: int, count: int) -> KvPart:
        with self._reading() as db:
            return KvTables(db).items(key, now, start, count)

    def kv_keys(self, prefix: str, after: str, limit: int, now: int) -> list[KvEntry]:
        with self._reading() as db:
            return KvTables(db).keys(prefix, after, limit, now)

    def kv_next_end(self) -> int | None:
        with self._reading() as db:
            return KvTables(db).next_end()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to read from; what the disk or a damaged row raises becomes a StoreError."""
        try:
            with self._readers.borrow() as db:
                yield db
        except sqlite3.OperationalError as error:
            raise StoreError(f"cannot read {self.path}: {error}. {WAY_OUT}") from error
        except (sqlite3.DatabaseError, BadMessage, KeyError, TypeError, ValueError) as error:
            raise StoreDamaged(f"{self.path} is damaged: {error!r}. {WAY_OUT}") from error


def _apply_kv(tables: KvTables, record: KvRecord) -> Any:
    """The result of a record of the key-value store."""
    if type(record) is KvApply:
        return tables.apply(record.update, record.now)
    if type(record) is KvPut:
        return tables.put(record.key, record.value, record.now)
    if type(record) is KvAddMember:
        return tables.add(record.key, record.member, record.now)
    assert type(record) is KvSweep
    return tables.sweep(record.now, record.limit)


def _is_full(error: BaseException) -> bool:
    # Python 3.10 does not tell SQLite's error codes; this is SQLite's own fixed text for SQLITE_FULL.
    return isinstance(error, sqlite3.OperationalError) and str(error) == "database or disk is full"


def _sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
