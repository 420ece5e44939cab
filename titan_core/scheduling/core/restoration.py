"""Restoration: runs as they were last made durable become runs in memory again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from titan_core.model.job import Job
from titan_core.model.rows import ApprovalRow, ExecutionRow, JobRow, RunRow
from titan_core.model.run import Run
from titan_core.model.states import JobState
from titan_core.model.task_execution import TaskExecution
from titan_core.model.worker import PastExecution, Worker
from titan_core.scheduling.core.acceptance import link, link_instances
from titan_core.scheduling.core.spec_pool import SpecPool
from titan_core.scheduling.core.worker_registry import WorkerRegistry
from titan_sdk.messages import JobSpec, RepairInfo


class SavedRun(Protocol):
    """What a store gives back of a run."""

    @property
    def run(self) -> RunRow: ...

    @property
    def jobs(self) -> Sequence[tuple[JobSpec, JobRow]]: ...

    @property
    def additions(self) -> Mapping[str, str]: ...

    @property
    def executions(self) -> Sequence[ExecutionRow]: ...

    @property
    def outputs(self) -> Sequence[tuple[str, bytes]]:
        """By job key, of the jobs that left any."""
        ...

    @property
    def approvals(self) -> Sequence[ApprovalRow]:
        """In the order of their numbers."""
        ...

    @property
    def repairs(self) -> Sequence[RepairInfo]:
        """In the order of their numbers."""
        ...


def rebuild(saved: SavedRun, pool: SpecPool, version: int, executions_per_job: int) -> Run:
    """The run with its jobs, links and the latest executions of each job."""
    run = Run(saved.run, version)
    jobs = [Job.from_row(pool.share(spec), run, row) for spec, row in saved.jobs]
    run.jobs = tuple(sorted(jobs, key=lambda job: job.seq))
    run.additions = dict(saved.additions) or None
    link(run.jobs)
    link_instances(run.jobs)
    by_key = {job.key: job for job in jobs}
    for row in sorted(saved.executions, key=lambda row: row.attempt):
        job = by_key[row.key]
        if job.executions is None:
            job.executions = []
        job.executions.append(TaskExecution.from_row(row))
        del job.executions[:-executions_per_job]
    return run


def restore_workers(jobs: Iterable[Job], registry: WorkerRegistry) -> None:
    """Leases go on: their workers are known again, away until they register. So is what ran where."""
    past: list[tuple[TaskExecution, PastExecution]] = []
    for job in jobs:
        if job.state is JobState.RUNNING:
            worker = registry.get(job.worker_id)
            if worker is None:
                worker = registry.add(job.worker_id)
                _set_address(worker, job.execution.worker_name)
                registry.place(worker)
            worker.hold(job)
        for execution in job.executions or ():
            entry = PastExecution.of(job, execution)
            if entry is not None:
                past.append((execution, entry))
    past.sort(key=lambda item: (item[0].ended_at, item[0].epoch))
    for execution, entry in past:
        registry.history(execution.worker_id).append(entry)


def _set_address(worker: Worker, name: str) -> None:
    host, _, port = name.rpartition(":")
    if host and port.isdecimal():
        worker.host = host
        worker.port = int(port)
