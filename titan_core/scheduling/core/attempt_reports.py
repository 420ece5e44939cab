"""AttemptReports: what workers say about attempts, and whether it still counts."""

from __future__ import annotations

from titan_core.model.job import Job
from titan_core.model.worker import PastExecution, Worker
from titan_core.scheduling.core.changes import Changes
from titan_core.scheduling.core.commands import Answer
from titan_core.scheduling.core.events import AttemptEnded, AttemptStarted, DispatchRefused, Instant
from titan_core.scheduling.core.fleet import Fleet
from titan_core.scheduling.core.lifecycle import AttemptEnd, JobLifecycle
from titan_core.scheduling.core.worker_registry import WorkerRegistry
from titan_sdk.messages import Lease


class AttemptReports:
    """Handles the events about attempts. Only the holder of the current lease is believed; all else is stale."""

    def __init__(self, registry: WorkerRegistry, lifecycle: JobLifecycle, fleet: Fleet, changes: Changes) -> None:
        self._registry = registry
        self._lifecycle = lifecycle
        self._fleet = fleet
        self._changes = changes

    def started(self, event: AttemptStarted, now: Instant) -> None:
        current = self._current(event.worker_id, event.lease)
        self._changes.effect(Answer(current is None))
        if current is None:
            return
        job, _ = current
        self._lifecycle.attempt_started(job, event.started_at, event.port, event.trouble)
        if event.ready and job.is_service:
            self._lifecycle.service_ready(job, now)

    def ended(self, event: AttemptEnded, now: Instant) -> None:
        current = self._current(event.worker_id, event.lease)
        self._changes.effect(Answer(current is None))
        if current is None:
            return
        job, worker = current
        end = AttemptEnd(
            event.outcome,
            event.reason,
            event.exit_code,
            event.started_at,
            event.ended_at,
            event.log_size,
            event.outputs,
        )
        self._lifecycle.attempt_over(job, worker, end, now)
        entry = PastExecution.of(job, job.execution)
        if entry is not None:
            worker.history.append(entry)
        if event.outcome == "handed_back":
            self._fleet.job_came_back(worker, now)
        else:
            self._fleet.job_ended(worker)

    def refused(self, event: DispatchRefused, now: Instant) -> None:
        current = self._current(event.worker_id, event.lease)
        if current is None:
            return
        job, worker = current
        self._lifecycle.attempt_over(job, worker, AttemptEnd("handed_back", event.reason), now)
        self._fleet.job_came_back(worker, now)

    def _current(self, worker_id: str, lease: Lease) -> tuple[Job, Worker] | None:
        """The job whose current lease this is, and its worker; None when it is stale."""
        worker = self._registry.get(worker_id)
        job = worker.leases.get(lease.job) if worker else None
        if worker is None or job is None or not job.holds(lease):
            return None
        return job, worker
