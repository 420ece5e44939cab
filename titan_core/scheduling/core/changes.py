"""Changes: what one event changed, gathered while it is handled."""

from __future__ import annotations

from collections.abc import Iterable

from titan_core.model.job import Job
from titan_core.model.rows import ApprovalRow, EventRow
from titan_core.model.run import Run
from titan_core.model.task_execution import TaskExecution
from titan_core.scheduling.core.commands import (
    Command,
    Effect,
    EventsChanged,
    ForgetCordon,
    InsertAddition,
    InsertEvent,
    InsertJob,
    InsertRun,
    ReplaceSpec,
    RunChanged,
    SaveApproval,
    SaveCordon,
    SaveExecution,
    SaveOutputs,
    SaveRepair,
    ScheduleRecord,
    UpdateJob,
    UpdateRun,
)
from titan_sdk.messages import RepairInfo


class Changes:
    """Collects marks and turns them into commands: one record for each row that changed, however often it did.

    Records come first, then the effects in the order they were asked for, then one RunChanged for each run.
    """

    def __init__(self) -> None:
        self._new: dict[str, Run] = {}
        self._grown = False
        """Whether there is anything in the three that follow."""
        self._runs: dict[str, Run] = {}
        self._added: dict[str, Job] = {}
        self._additions: list[InsertAddition] = []
        self._touched: dict[str, Job] = {}
        self._executions: dict[TaskExecution, None] = {}
        self._outputs: list[SaveOutputs] = []
        self._events: list[
            InsertEvent | SaveApproval | SaveRepair | ReplaceSpec | SaveCordon | ForgetCordon | ScheduleRecord
        ] = []
        self._effects: list[Effect] = []
        self._seen: dict[str, Run] = {}

    def accepted(self, run: Run) -> None:
        """A new run. Its jobs are recorded as they are when the event has been handled."""
        self._new[run.run_id] = run
        self._seen[run.run_id] = run

    def run(self, run: Run) -> None:
        """Something of the run's own row changed."""
        self._grown = True
        self._runs[run.run_id] = run
        self._seen[run.run_id] = run

    def added(self, run: Run, jobs: Iterable[Job], idempotency_key: str, digest: str) -> None:
        """Jobs were added to a run. They are recorded as they are when the event has been handled."""
        if run.run_id in self._new:
            return  # with all of its jobs
        self._grown = True
        self._added.update((job.key, job) for job in jobs)
        if idempotency_key:
            self._additions.append(InsertAddition(run.row.seq, idempotency_key, digest))
        self._seen[run.run_id] = run

    def touch(self, job: Job) -> None:
        """Something of the job's row changed."""
        self._touched[job.key] = job
        self._seen[job.run.run_id] = job.run

    def touch_execution(self, execution: TaskExecution) -> None:
        self._executions[execution] = None

    def repair(self, row: RepairInfo) -> None:
        """A repair begins, or goes on; there is an event about it."""
        self._events.append(SaveRepair(row))

    def respec(self, job: Job) -> None:
        """The job is another one from its next attempt on; there is an event about it."""
        self._events.append(ReplaceSpec(job.key, job.seq, job.spec))

    def outputs(self, job: Job, outputs: bytes) -> None:
        """The job left these for others."""
        self._outputs.append(SaveOutputs(job.key, job.seq, outputs))

    def approval(self, row: ApprovalRow) -> None:
        """A question about a job, or the answer to it; there is an event about it."""
        self._events.append(SaveApproval(row))

    def event(self, row: EventRow) -> None:
        """Something happened that people may want to know."""
        self._events.append(InsertEvent(row))

    def cordon(self, record: SaveCordon | ForgetCordon) -> None:
        """A worker is kept from jobs, or no more; there is an event about it."""
        self._events.append(record)

    def schedule(self, record: ScheduleRecord) -> None:
        """Something of a schedule changed, mostly with an event about it; who follows those looks again."""
        self._events.append(record)

    def show(self, job: Job) -> None:
        """Something changed that a watcher may see, but that need not be durable."""
        self._seen[job.run.run_id] = job.run

    def effect(self, effect: Effect) -> None:
        self._effects.append(effect)

    def take(self, wall: int) -> list[Command]:
        """The commands, and forget everything. ``wall``: epoch ms."""
        commands: list[Command] = []
        for run in self._new.values():
            commands.append(InsertRun(run.row))
            commands += [InsertJob(job.spec, job.row()) for job in run.jobs]
        settled = {*self._new, *self._runs}
        for job in self._touched.values():
            if job.settled:
                settled.add(job.run.run_id)
            if job.run.run_id not in self._new and job.key not in self._added:
                commands.append(UpdateJob(job.row()))
        if self._grown:
            commands += self._take_growth()
        commands += [SaveExecution(execution.row()) for execution in self._executions]
        if self._outputs:
            commands += self._outputs
            self._outputs.clear()
        commands += self._events
        commands += self._effects
        if self._events:
            commands.append(EventsChanged())
            self._events.clear()
        for run in self._seen.values():
            # Following the wall clock, versions keep growing when the next master starts them anew.
            run.version = max(run.version + 1, wall)
            commands.append(RunChanged(run.run_id, run.run_id in settled))
        self._new.clear()
        self._touched.clear()
        self._executions.clear()
        self._effects.clear()
        self._seen.clear()
        return commands

    def _take_growth(self) -> list[Command]:
        commands: list[Command] = [
            UpdateRun(run.row, _last_job(run)) for run in self._runs.values() if run.run_id not in self._new
        ]
        commands += [InsertJob(job.spec, job.row()) for job in self._added.values()]
        commands += self._additions
        self._grown = False
        self._runs.clear()
        self._added.clear()
        self._additions.clear()
        return commands


def _last_job(run: Run) -> str:
    """For those that wait for jobs, when the run finishes without one: it was closed after they had ended."""
    was_open = run.row.options is not None and run.row.options.open
    return run.jobs[-1].key if was_open and run.finished and run.jobs else ""
