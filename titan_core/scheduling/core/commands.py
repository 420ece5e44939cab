"""What is to be done: everything the core can ask for. Imperative, frozen.

``Record``s are made durable first, in order and together; only then are the other commands of the same event carried
out, in order: that is what makes an acknowledgement worth something.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from titan_core.model.rows import ApprovalRow, CordonRow, EventRow, ExecutionRow, JobRow, RunRow
from titan_core.model.schedule import FiringRow, ScheduleRow
from titan_sdk.messages import JobSpec, KvUpdate, Lease, RepairInfo

# --- records: for the store ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InsertRun:
    run: RunRow


@dataclass(frozen=True, slots=True)
class UpdateRun:
    """What changes of a run: its ``growth``. ``last_job``: key of a job of it, when it has finished by this alone."""

    run: RunRow
    last_job: str = ""


@dataclass(frozen=True, slots=True)
class InsertAddition:
    """Jobs were added to a run under an idempotency key."""

    run_seq: int
    idempotency_key: str
    digest: str


@dataclass(frozen=True, slots=True)
class InsertJob:
    """A new job: its spec, which never changes, and the first state of the rest."""

    spec: JobSpec
    row: JobRow


@dataclass(frozen=True, slots=True)
class UpdateJob:
    row: JobRow


@dataclass(frozen=True, slots=True)
class SaveExecution:
    """Insert or replace the execution (row.key, row.attempt)."""

    row: ExecutionRow


@dataclass(frozen=True, slots=True)
class SaveOutputs:
    """What a job left for others, a JSON object. ``seq`` is the job's; insert or replace."""

    key: str
    seq: int
    outputs: bytes


@dataclass(frozen=True, slots=True)
class SaveApproval:
    """Insert or replace the approval (row.key, row.number)."""

    row: ApprovalRow


@dataclass(frozen=True, slots=True)
class SaveRepair:
    """Insert or replace the repair (row.key, row.number)."""

    row: RepairInfo


@dataclass(frozen=True, slots=True)
class ReplaceSpec:
    """A repaired job: from its next attempt on it is this. ``seq`` is the job's."""

    key: str
    seq: int
    spec: JobSpec


@dataclass(frozen=True, slots=True)
class KvPut:
    """``now``: epoch ms, as in all records of the key-value store: what has expired by then is gone."""

    key: str
    value: bytes
    now: int = 0


@dataclass(frozen=True, slots=True)
class KvAddMember:
    """The store's result for it is True when the member was not there before."""

    key: str
    member: str
    now: int = 0


@dataclass(frozen=True, slots=True)
class KvApply:
    """The store's result for it is a KvUpdated, or the RemoteError that it is refused with."""

    update: KvUpdate
    now: int


@dataclass(frozen=True, slots=True)
class KvSweep:
    """Remove what has expired, ``limit`` of each kind at most. The store's result for it is how many it were."""

    now: int
    limit: int


KvRecord = KvPut | KvAddMember | KvApply | KvSweep


@dataclass(frozen=True, slots=True)
class InsertEvent:
    row: EventRow


@dataclass(frozen=True, slots=True)
class SaveCordon:
    row: CordonRow


@dataclass(frozen=True, slots=True)
class ForgetCordon:
    worker_id: str


@dataclass(frozen=True, slots=True)
class SaveSchedule:
    """A new schedule, or the new state (and, when it is given, the new spec) of one that is stored."""

    row: ScheduleRow


@dataclass(frozen=True, slots=True)
class ForgetSchedule:
    """The schedule goes, and its firings with it. Its seq is never used again."""

    seq: int


@dataclass(frozen=True, slots=True)
class SaveFiring:
    row: FiringRow


ScheduleRecord = SaveSchedule | ForgetSchedule | SaveFiring


@dataclass(frozen=True, slots=True)
class ForgetRuns:
    """Remove runs that have ended, and that the core has no longer in memory, by their seq, with all of theirs."""

    seqs: tuple[int, ...]


HistoryRecord = SaveExecution | SaveOutputs | SaveApproval | SaveRepair | ReplaceSpec
RunRecord = InsertRun | UpdateRun | InsertAddition | InsertJob | UpdateJob | HistoryRecord
Record = RunRecord | InsertEvent | KvRecord | SaveCordon | ForgetCordon | ScheduleRecord | ForgetRuns

# --- effects: for the outbox --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DispatchJob:
    worker_id: str
    lease: Lease
    spec: JobSpec


@dataclass(frozen=True, slots=True)
class EndAttempt:
    """Ask the worker to end an attempt's process tree."""

    worker_id: str
    lease: Lease
    reason: str


@dataclass(frozen=True, slots=True)
class DecommissionWorker:
    worker_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class CloseLink:
    """The worker was declared dead, or replaced: its old connection is of no use."""

    worker_id: str
    link: int
    reason: str


@dataclass(frozen=True, slots=True)
class RunChanged:
    """Someone may be waiting for this. ``settled``: for jobs of it to be settled too; else none became so."""

    run_id: str
    settled: bool = True


@dataclass(frozen=True, slots=True)
class EventsChanged:
    """Someone may be waiting for the events of this step."""


@dataclass(frozen=True, slots=True)
class RequestMachines:
    """No machine has room for ``count`` more workers with these capabilities: ask whoever can bring some."""

    capabilities: tuple[str, ...]
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class SetAlarm:
    """Post TimePassed at this monotonic second; replaces the alarm set before."""

    at: float


@dataclass(frozen=True, slots=True)
class Answer:
    """For whoever posted the event."""

    value: Any


Effect = (
    DispatchJob
    | EndAttempt
    | DecommissionWorker
    | CloseLink
    | RunChanged
    | EventsChanged
    | RequestMachines
    | SetAlarm
    | Answer
)
Command = Record | Effect
