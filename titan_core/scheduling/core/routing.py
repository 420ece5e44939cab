"""Routing: where a job would rather run, before load decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from titan_core.model.job import Job
from titan_core.model.worker import Worker
from titan_core.scheduling.core.job_book import JobBook


class Routing:
    """Affinity to the worker of the parent that finished last, then closeness to the worker of the submitting job."""

    def __init__(self, book: JobBook, workers: Mapping[str, Worker]) -> None:
        self._book = book
        self._workers = workers
        self._pins: dict[str, str] = {}

    def pin(self, job: Job, worker: Worker) -> None:
        """The job is about to be queued, and to go to this worker if it can at once."""
        self._pins[job.key] = worker.worker_id

    def preferred(self, job: Job) -> Worker | None:
        """The worker to prefer, if it can take the job now; a job never waits for it."""
        if not job.spec.affinity and not job.run.row.parent:
            return None
        pinned = self._pins.pop(job.key, "")
        for worker_id in (pinned, *self._wishes(job)):
            worker = self._workers.get(worker_id)
            if worker is not None and worker.has_room_for(job.need) and worker.satisfies(job.need):
                return worker
        return None

    def _wishes(self, job: Job) -> Iterator[str]:
        if job.spec.affinity and job.spec.parents:
            # A service that is ready has not ended, but it is where its dependents were released from.
            last = max(self._book.parents(job), key=lambda parent: (parent.ended_at or parent.started_at, parent.seq))
            yield last.worker_id
        submitter = self._book.jobs.get(job.run.row.parent)
        if submitter is not None:
            yield submitter.worker_id
