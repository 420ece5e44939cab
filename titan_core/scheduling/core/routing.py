"""Routing: where a job would rather run, or rather not, before load decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from titan_core.model.job import Job
from titan_core.model.worker import Worker
from titan_core.scheduling.core.crash_loops import shunned_workers
from titan_core.scheduling.core.job_book import JobBook
from titan_core.scheduling.core.limits import CoreLimits


class Routing:
    """A service goes back to where it was, unless it keeps ending there; then a worker it has not failed on is better.

    Then affinity to the worker of the parent that finished last, then closeness to the worker of the submitting job.
    """

    def __init__(self, book: JobBook, workers: Mapping[str, Worker], limits: CoreLimits) -> None:
        self._book = book
        self._workers = workers
        self._limits = limits
        self._pins: dict[str, str] = {}

    def pin(self, job: Job, worker: Worker) -> None:
        """The job is about to be queued, and to go to this worker if it can at once."""
        self._pins[job.key] = worker.worker_id

    def preferred(self, job: Job) -> Worker | None:
        """The worker to prefer, if it can take the job now; a job never waits for it."""
        if self._pins and (pinned := self._takes(self._pins.pop(job.key, ""), job)) is not None:
            return pinned
        if job.is_service:
            worker = self._for_service(job)
            if worker is not None:
                return worker
        if not job.spec.affinity and not job.run.row.parent:
            return None
        found = (self._takes(worker_id, job) for worker_id in self._wishes(job))
        return next((worker for worker in found if worker is not None), None)

    def _takes(self, worker_id: str, job: Job) -> Worker | None:
        """The worker of that id if it can take the job now."""
        worker = self._workers.get(worker_id)
        takes = worker is not None and worker.has_room_for(job.need) and worker.satisfies(job.need)
        return worker if takes else None

    def _for_service(self, job: Job) -> Worker | None:
        shunned = shunned_workers(job, self._limits)
        last = self._takes(job.worker_id, job)
        if last is not None and last.worker_id not in shunned:
            return last
        if not shunned:
            return None
        others = (
            worker
            for worker in self._workers.values()
            if worker.has_room_for(job.need) and worker.satisfies(job.need) and worker.worker_id not in shunned
        )
        return min(others, key=lambda worker: (worker.load, len(worker.offer), worker.seq), default=None)

    def _wishes(self, job: Job) -> Iterator[str]:
        if job.spec.affinity and job.spec.parents:
            # A service that is ready has not ended, but it is where its dependents were released from.
            last = max(self._book.parents(job), key=lambda parent: (parent.ended_at or parent.started_at, parent.seq))
            yield last.worker_id
        submitter = self._book.jobs.get(job.run.row.parent)
        if submitter is not None:
            yield submitter.worker_id
