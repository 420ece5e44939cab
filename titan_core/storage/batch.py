"""Many records made few: what one transaction has to write."""

from __future__ import annotations

from collections.abc import Sequence

from titan_core.model.rows import ApprovalRow, CordonRow, EventRow, ExecutionRow, JobRow, RunRow
from titan_core.model.schedule import ScheduleRow, ScheduleState
from titan_core.scheduling.core.commands import (
    ForgetCordon,
    ForgetRuns,
    ForgetSchedule,
    InsertAddition,
    InsertEvent,
    InsertJob,
    InsertRun,
    KvAddMember,
    KvApply,
    KvPut,
    KvRecord,
    KvSweep,
    Record,
    ReplaceSpec,
    SaveApproval,
    SaveCordon,
    SaveExecution,
    SaveFiring,
    SaveOutputs,
    SaveRepair,
    SaveSchedule,
    ScheduleRecord,
    UpdateJob,
    UpdateRun,
)
from titan_sdk.messages import FiringInfo, JobSpec, RepairInfo


class Batch:
    """The records of one transaction, by kind, each row in its last state.

    Writing kind by kind gives the same database as writing record by record: kinds touch different rows (but for
    InsertJob and UpdateJob, joined here), order is kept within a kind, and a row carries all of what it describes, so
    of several for the same job, attempt or key only the last one counts.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self.runs: dict[int, RunRow] = {}
        self.run_updates: dict[int, RunRow] = {}
        self.additions: list[tuple[int, str, str]] = []
        self.inserts: dict[int, tuple[JobSpec, JobRow]] = {}
        self.updates: dict[int, JobRow] = {}
        self.executions: dict[tuple[str, int], ExecutionRow] = {}
        self.repairs: dict[tuple[str, int], RepairInfo] = {}
        self.specs: dict[int, JobSpec] = {}
        """That replace those of jobs, by the jobs' seq."""
        self.outputs: dict[int, bytes] = {}
        self.approvals: dict[tuple[str, int], ApprovalRow] = {}
        self.events: list[EventRow] = []
        self.cordons: dict[str, CordonRow | None] = {}
        """By worker id; None for one that is taken back."""
        self.schedules: dict[int, ScheduleRow] = {}
        """New ones, and those with a new spec."""
        self.schedule_states: dict[int, ScheduleState] = {}
        """Of the others that changed."""
        self.forgotten: set[int] = set()
        """Schedules that go."""
        self.firings: dict[tuple[int, int], FiringInfo] = {}
        """By schedule and number."""
        self.kv: list[tuple[int, KvRecord]] = []
        """In order, as each sees what those before it did; with the index of the record, for its result."""
        self.forgotten_runs: list[int] = []
        """To be removed after everything else, by seq."""
        self.run_seq = self.job_seq = self.epoch = 0
        """The highest in this batch."""
        for index, record in enumerate(records):
            self._add(index, record)

    def _add(self, index: int, record: Record) -> None:
        if type(record) is UpdateJob:
            self._update_job(record.row)
        elif type(record) is SaveExecution:
            self.executions[record.row.key, record.row.attempt] = record.row
            self.epoch = max(self.epoch, record.row.epoch)
        elif type(record) is InsertJob:
            self.inserts[record.row.seq] = record.spec, record.row
            self.job_seq = max(self.job_seq, record.row.seq)
            self.epoch = max(self.epoch, record.row.epoch)
        elif type(record) is InsertRun:
            self.runs[record.run.seq] = record.run
            self.run_seq = max(self.run_seq, record.run.seq)
        elif type(record) is SaveOutputs:
            self.outputs[record.seq] = record.outputs
        elif type(record) is SaveApproval:
            self.approvals[record.row.key, record.row.number] = record.row
        elif type(record) is UpdateRun:
            (self.runs if record.run.seq in self.runs else self.run_updates)[record.run.seq] = record.run
        elif type(record) is InsertAddition:
            self.additions.append((record.run_seq, record.idempotency_key, record.digest))
        elif type(record) is SaveRepair:
            self.repairs[record.row.key, record.row.number] = record.row
        elif type(record) is ReplaceSpec:
            inserted = self.inserts.get(record.seq)
            if inserted is None:
                self.specs[record.seq] = record.spec
            else:
                self.inserts[record.seq] = record.spec, inserted[1]
        elif type(record) is InsertEvent:
            self.events.append(record.row)
        elif isinstance(record, (KvPut, KvAddMember, KvApply, KvSweep)):
            self.kv.append((index, record))
        elif type(record) is SaveCordon:
            self.cordons[record.row.worker_id] = record.row
        elif type(record) is ForgetCordon:
            self.cordons[record.worker_id] = None
        elif isinstance(record, (SaveSchedule, ForgetSchedule, SaveFiring)):
            self._add_schedule(record)
        elif type(record) is ForgetRuns:
            self.forgotten_runs += record.seqs
        else:
            raise TypeError(f"{record!r} is not a record")

    def _add_schedule(self, record: ScheduleRecord) -> None:
        if type(record) is SaveFiring:
            self.firings[record.row.seq, record.row.firing.number] = record.row.firing
        elif type(record) is ForgetSchedule:
            self.forgotten.add(record.seq)
            self.schedules.pop(record.seq, None)
            self.schedule_states.pop(record.seq, None)
            self.firings = {key: firing for key, firing in self.firings.items() if key[0] != record.seq}
        elif type(record) is SaveSchedule:
            row, earlier = record.row, self.schedules.get(record.row.seq)
            if row.spec is not None:
                self.schedules[row.seq] = row
                self.schedule_states.pop(row.seq, None)
            elif earlier is not None:
                self.schedules[row.seq] = row._replace(spec=earlier.spec)
            else:
                self.schedule_states[row.seq] = row.state

    def _update_job(self, row: JobRow) -> None:
        inserted = self.inserts.get(row.seq)
        if inserted is None:
            self.updates[row.seq] = row
        else:
            self.inserts[row.seq] = inserted[0], row
        self.epoch = max(self.epoch, row.epoch)
