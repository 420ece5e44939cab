"""Records to SQL and back: one statement for each kind of record, and the rows behind them.

The columns stand here in the order of the statements; nothing else knows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from titan_core.model.rows import ApprovalRow, ExecutionRow, JobRow, RunGrowth, RunRow
from titan_core.model.schedule import ScheduleRow, ScheduleState
from titan_core.model.states import JobState
from titan_sdk.errors import BadMessage
from titan_sdk.messages import JobSpec, RepairInfo, RunOptions, ScheduleSpec, decode_message, encode_message

Parameters = tuple[Any, ...]

INSERT_RUN: Final = """INSERT INTO runs (
    open, tree_jobs, deadline_at, seq, run_id, name, submitted_at, idempotency_key, parent, digest, options,
    agent_run_id
) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"""

UPDATE_RUN: Final = "UPDATE runs SET open = ?, tree_jobs = ?, deadline_at = ? WHERE seq = ?"

INSERT_JOB: Final = """INSERT INTO jobs (
    state, attempt, epoch, failures, losses, worker_id, ready, ending, reason, exit_code, submitted_at, due_at,
    started_at, ended_at, log_size, restarts, port, seq, job_id, run_seq
) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,(SELECT seq FROM runs WHERE run_id = ?))"""

UPDATE_JOB: Final = """UPDATE jobs SET
    state = ?, attempt = ?, epoch = ?, failures = ?, losses = ?, worker_id = ?, ready = ?, ending = ?, reason = ?,
    exit_code = ?, submitted_at = ?, due_at = ?, started_at = ?, ended_at = ?, log_size = ?,
    restarts = ?, port = ?
WHERE seq = ?"""

INSERT_ADDITION: Final = "INSERT INTO additions (run_seq, idempotency_key, digest) VALUES (?,?,?)"
SELECT_ADDITIONS: Final = "SELECT run_seq, idempotency_key, digest FROM additions"
FIND_ADDITION: Final = """SELECT a.digest FROM runs r JOIN additions a ON a.run_seq = r.seq
WHERE r.run_id = ? AND a.idempotency_key = ?"""

INSERT_SPEC: Final = "INSERT INTO specs (job_seq, body) VALUES (?,?)"

SAVE_EXECUTION: Final = """INSERT OR REPLACE INTO executions (
    key, attempt, epoch, worker_id, worker_name, started_at, ended_at, outcome, exit_code, reason
) VALUES (?,?,?,?,?,?,?,?,?,?)"""

SAVE_OUTPUTS: Final = "INSERT OR REPLACE INTO outputs (job_seq, body) VALUES (?,?)"

FORGET_EXECUTIONS: Final = "DELETE FROM executions WHERE key = ? AND attempt <= ?"
KEPT_EXECUTIONS: Final = 100
"""Of one job; only a service that is started again and again comes to more."""

SAVE_APPROVAL: Final = """INSERT OR REPLACE INTO approvals (
    key, number, message, asked_at, expires_at, on_timeout, decision, decided_by, comment, decided_at, request_id
) VALUES (?,?,?,?,?,?,?,?,?,?,?)"""
_APPROVAL: Final = """a.key, a.number, a.message, a.asked_at, a.expires_at, a.on_timeout, a.decision, a.decided_by,
    a.comment, a.decided_at, a.request_id"""
SELECT_APPROVALS: Final = f"""SELECT j.run_seq, {_APPROVAL}
FROM runs r JOIN jobs j ON j.run_seq = r.seq CROSS JOIN approvals a ON a.key = r.run_id || '/' || j.job_id"""
SELECT_DECIDED: Final = f"SELECT 0, {_APPROVAL} FROM approvals a WHERE decision <> ''"

SAVE_REPAIR: Final = "INSERT OR REPLACE INTO repairs (key, number, body) VALUES (?,?,?)"
SELECT_REPAIRS: Final = """SELECT j.run_seq, p.body
FROM runs r JOIN jobs j ON j.run_seq = r.seq CROSS JOIN repairs p ON p.key = r.run_id || '/' || j.job_id"""
REPLACE_SPEC: Final = "UPDATE specs SET body = ? WHERE job_seq = ?"

INSERT_EVENT: Final = "INSERT OR REPLACE INTO events (seq, at, kind, subject, text) VALUES (?,?,?,?,?)"
FORGET_EVENTS: Final = "DELETE FROM events WHERE seq <= ?"
SELECT_EVENTS: Final = "SELECT seq, at, kind, subject, text FROM events ORDER BY seq DESC LIMIT ?"

PUT_CORDON: Final = "INSERT OR REPLACE INTO cordons (worker_id, host, port) VALUES (?,?,?)"
FORGET_CORDON: Final = "DELETE FROM cordons WHERE worker_id = ?"
PUT_SCHEDULE: Final = """INSERT INTO schedules (seq, name, state) VALUES (?,?,?)
    ON CONFLICT (seq) DO UPDATE SET name = excluded.name, state = excluded.state"""
PUT_SCHEDULE_SPEC: Final = "INSERT OR REPLACE INTO schedule_specs (seq, body) VALUES (?,?)"
UPDATE_SCHEDULE: Final = "UPDATE schedules SET state = ? WHERE seq = ?"
FORGET_SCHEDULE: Final = tuple(
    f"DELETE FROM {table} WHERE seq = ?" for table in ("schedule_firings", "schedule_specs", "schedules")
)
PUT_FIRING: Final = "INSERT OR REPLACE INTO schedule_firings (seq, number, body) VALUES (?,?,?)"
FORGET_FIRINGS: Final = "DELETE FROM schedule_firings WHERE seq = ? AND number <= ?"
KEPT_FIRINGS: Final = 1000
"""Of one schedule."""
SELECT_SCHEDULES: Final = """SELECT s.seq, s.name, p.body, s.state
FROM schedules s JOIN schedule_specs p ON p.seq = s.seq ORDER BY s.seq"""
LAST_SCHEDULE: Final = "SELECT seq FROM sqlite_sequence WHERE name = 'schedules'"
SELECT_FIRINGS: Final = "SELECT body FROM schedule_firings WHERE seq = ? AND number < ? ORDER BY number DESC LIMIT ?"
SELECT_CORDONS: Final = "SELECT worker_id, host, port FROM cordons ORDER BY rowid"

SELECT_RUNS: Final = """SELECT
    run_id, seq, name, submitted_at, idempotency_key, parent, digest, options, open, tree_jobs, deadline_at
FROM runs"""

SELECT_PARENT_RUNS: Final = """SELECT p.seq FROM runs c JOIN runs p
ON p.run_id = substr(c.parent, 1, instr(c.parent, '/') - 1) WHERE c.seq IN ({}) AND c.parent <> ''"""

SELECT_JOBS: Final = """SELECT
    j.run_seq, r.run_id, j.job_id, j.seq, j.state, j.attempt, j.epoch, j.failures, j.losses, j.worker_id, j.ready,
    j.ending, j.reason, j.exit_code, j.submitted_at, j.due_at, j.started_at, j.ended_at, j.log_size,
    j.restarts, j.port, s.body
FROM runs r JOIN jobs j ON j.run_seq = r.seq LEFT JOIN specs s ON s.job_seq = j.seq"""

SELECT_EXECUTIONS: Final = """SELECT
    j.run_seq, e.key, e.attempt, e.epoch, e.worker_id, e.worker_name, e.started_at, e.ended_at, e.outcome,
    e.exit_code, e.reason
FROM runs r JOIN jobs j ON j.run_seq = r.seq CROSS JOIN executions e ON e.key = r.run_id || '/' || j.job_id"""

SELECT_OUTPUTS: Final = """SELECT j.run_seq, r.run_id || '/' || j.job_id, o.body
FROM runs r JOIN jobs j ON j.run_seq = r.seq JOIN outputs o ON o.job_seq = j.seq"""

_NO_GROWTH: Final = RunGrowth()
encode_state: Final = msgspec.msgpack.Encoder().encode
"""Of a ScheduleState."""
_SCHEDULE_STATE: Final = msgspec.msgpack.Decoder(ScheduleState)
_STATES: Final = {state.value: state for state in JobState}


def update_parameters(row: JobRow) -> Parameters:
    # `_value_` and int(): sqlite3 binds exact str and int at once, and searches its adapters for subclasses first.
    return (
        row.state._value_, row.attempt, row.epoch, row.failures, row.losses, row.worker_id, int(row.ready), row.ending,
        row.reason, row.exit_code, row.submitted_at, row.due_at, row.started_at, row.ended_at, row.log_size,
        row.restarts, row.port, row.seq,
    )  # fmt: skip


def insert_parameters(row: JobRow) -> Parameters:
    return (*update_parameters(row), row.job_id, row.run_id)


def spec_parameters(spec: JobSpec, row: JobRow) -> Parameters:
    return row.seq, encode_message(spec)


def run_parameters(run: RunRow) -> Parameters:
    options = run.options
    return (
        *run_update_parameters(run), run.run_id, run.name, run.submitted_at, run.idempotency_key, run.parent,
        run.digest, None if options is None else encode_message(options),
        "" if options is None else options.agent_run_id,
    )  # fmt: skip


def run_update_parameters(run: RunRow) -> Parameters:
    growth = run.growth or _NO_GROWTH
    return int(growth.open), growth.tree_jobs, growth.deadline_at, run.seq


def job_from_row(row: Sequence[Any]) -> tuple[JobSpec, JobRow]:
    """A row of SELECT_JOBS. Raises BadMessage, KeyError (no such state) or TypeError (no spec) for a damaged one."""
    run_id, job_id = row[1:3]
    spec = decode_message(row[-1], JobSpec)
    state = _STATES[row[4]]
    fields = (f"{run_id}/{job_id}", run_id, job_id, row[3], state, *row[5:10], bool(row[10]), *row[11:-1])
    return spec, JobRow._make(fields)


def execution_from_row(row: Sequence[Any]) -> ExecutionRow:
    """A row of SELECT_EXECUTIONS."""
    return ExecutionRow._make(row[1:])


def repair_parameters(row: RepairInfo) -> Parameters:
    return row.key, row.number, encode_message(row)


def approval_from_row(row: Sequence[Any]) -> ApprovalRow:
    """A row of SELECT_APPROVALS or SELECT_DECIDED."""
    return ApprovalRow._make(row[1:])


def run_from_row(row: Sequence[Any]) -> RunRow:
    """A row of SELECT_RUNS. Raises BadMessage for a damaged one."""
    options = None if row[7] is None else decode_message(row[7], RunOptions)
    growth = RunGrowth(bool(row[8]), *row[9:11])
    return RunRow._make((*row[:7], options, None if growth == _NO_GROWTH else growth))


def schedule_from_row(row: Sequence[Any]) -> ScheduleRow:
    """A row of SELECT_SCHEDULES. Raises BadMessage for a damaged one."""
    try:
        state = _SCHEDULE_STATE.decode(row[3])
    except msgspec.MsgspecError as error:
        raise BadMessage(f"the state of schedule {row[1]}: {error}") from None
    return ScheduleRow(row[0], row[1], decode_message(row[2], ScheduleSpec), state)


def storable(rows: Iterable[Parameters]) -> list[Parameters]:
    """The rows with what SQLite cannot hold made holdable: integers beyond 64 bits clamped, lone surrogates replaced.

    Such values come from outside (a worker's clock, a log's size); a nonsensical one must not cost a whole commit.
    """
    return [tuple(_storable(value) for value in row) for row in rows]


def _storable(value: Any) -> Any:
    if isinstance(value, int):
        return max(-(1 << 63), min(value, (1 << 63) - 1))
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
