"""Submitter: brings jobs to the master, as a new run or into one that is there, with the contents they need."""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Callable, Collection, Iterable

from titan_sdk.connection import ConnectionPool
from titan_sdk.job import TitanJob
from titan_sdk.messages import (
    Accepted,
    AddJobs,
    PutSchedule,
    Recurrence,
    RunOptions,
    ScheduleSaved,
    ScheduleSpec,
    SubmitRun,
)
from titan_sdk.progress_bar import showing
from titan_sdk.steady import SteadyCaller
from titan_sdk.submission import Submission
from titan_sdk.uploads import Progress, Uploader

log = logging.getLogger(__name__)


class Submitter:
    """One for each client; handles of its runs share it. Thread-safe.

    Args:
        pool: makes the connections that uploads go over.
        parent: key of the job that this program belongs to; empty outside of jobs.
    """

    def __init__(self, caller: SteadyCaller, pool: Callable[[], ConnectionPool], parent: str) -> None:
        self.caller = caller
        self.parent = parent
        self._new_pool = pool
        self._lock = threading.Lock()
        self._uploader: Uploader | None = None
        self._uploads_to = ""

    def submit(
        self,
        name: str,
        jobs: Iterable[TitanJob],
        options: RunOptions | None,
        *,
        idempotency_key: str | None,
        progress: Progress | bool | None,
        replace: bool,
    ) -> Accepted:
        """See TitanClient.submit_dag."""
        with Submission(list(jobs), self.caller) as submission:
            submission.prepare(name, empty=options is not None and options.open)
            with showing(progress, name) as report:
                self.uploads().stage(submission.contents, report)
            request = SubmitRun(
                name=name,
                jobs=submission.specs,
                idempotency_key=_key(idempotency_key),
                parent=self.parent,
                replace=replace,
                options=options,
            )
        accepted: Accepted = self.caller.call(request)
        log.info("run %s (%s) with %d jobs was accepted", accepted.run_id, name, len(accepted.jobs))
        return accepted

    def add(
        self,
        run_id: str,
        jobs: Iterable[TitanJob],
        *,
        idempotency_key: str | None,
        progress: Progress | bool | None,
    ) -> Accepted:
        """See RunHandle.add."""
        with Submission(list(jobs), self.caller) as submission:
            submission.prepare(run_id, known=_parents(submission.jobs))
            with showing(progress, run_id) as report:
                self.uploads().stage(submission.contents, report)
            request = AddJobs(
                id=run_id, jobs=submission.specs, idempotency_key=_key(idempotency_key), parent=self.parent
            )
        return self.caller.call(request)

    def put_schedule(
        self,
        name: str,
        jobs: Iterable[TitanJob],
        when: Recurrence,
        options: RunOptions | None,
        *,
        progress: Progress | bool | None,
    ) -> ScheduleSaved:
        """See TitanClient.put_schedule."""
        with Submission(list(jobs), self.caller) as submission:
            submission.prepare(name)
            with showing(progress, name) as report:
                self.uploads().stage(submission.contents, report)
            spec = ScheduleSpec(name=name, jobs=tuple(submission.specs), when=when, options=options)
        return self.caller.call(PutSchedule(spec=spec))

    def uploads(self) -> Uploader:
        """What remembers the contents that this master has; a master on other data may have none of them."""
        master_id = self.caller.connect().master_id
        with self._lock:
            if self._uploader is None or self._uploads_to != master_id:
                self._uploader = Uploader(self.caller, self._new_pool)
                self._uploads_to = master_id
            return self._uploader


def submitting_job() -> str:
    """The key of the job that this process belongs to; empty outside of jobs."""
    run, job = os.environ.get("TITAN_RUN_ID"), os.environ.get("TITAN_JOB_ID")
    return f"{run}/{job}" if run and job else ""


def _parents(jobs: Iterable[TitanJob]) -> Collection[str]:
    """Whether the run has those that are not among the jobs is for the master to say."""
    return {parent for job in jobs for parent in job.parents}


def _key(given: str | None) -> str:
    """There always is one: so what is sent again, as its answer was lost, is not done twice."""
    return f"sdk-{uuid.uuid4()}" if given is None else given
