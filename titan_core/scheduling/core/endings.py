"""Endings: jobs, runs and whole trees of runs ended on request, or because their time is over."""

from __future__ import annotations

from titan_core.model.job import Job
from titan_core.model.run import Run
from titan_core.scheduling.core.budgets import Budgets
from titan_core.scheduling.core.changes import Changes
from titan_core.scheduling.core.commands import Answer
from titan_core.scheduling.core.events import CancelRequested, Instant, StopRequested
from titan_core.scheduling.core.growth import Growth
from titan_core.scheduling.core.job_book import JobBook
from titan_core.scheduling.core.lifecycle import JobLifecycle
from titan_core.scheduling.core.lineage import Kin
from titan_core.scheduling.core.triggers import instances_of, to_end
from titan_sdk.errors import NotFound


class Endings:
    """What is to end is found here; how a job ends is the lifecycle's business.

    A job that is being cancelled submits nothing more (see Acceptance), so no descendant can come after.
    """

    def __init__(
        self, book: JobBook, lifecycle: JobLifecycle, growth: Growth, budgets: Budgets, changes: Changes
    ) -> None:
        self._book = book
        self._lifecycle = lifecycle
        self._growth = growth
        self._budgets = budgets
        self._changes = changes

    def cancel(self, event: CancelRequested, now: Instant) -> None:
        self._end(event.id, event.reason, now, stop=False, children=event.children)

    def stop(self, event: StopRequested, now: Instant) -> None:
        self._end(event.id, "stopped on request", now, stop=True, children=False)

    def _end(self, name: str, reason: str, now: Instant, *, stop: bool, children: bool) -> None:
        jobs = list(self._book.find_jobs(name))
        run = self._book.runs.get(name) if name not in self._book.jobs else None
        below = self._below(name) if children else []
        if not jobs and run is None and not below:
            raise NotFound(f"no job or run {name}")
        if name not in self._book.jobs:
            jobs = self._book.with_successors(self._book.with_replicas(name, jobs))
        if run is None:
            jobs = [each for job in jobs for each in (job, *instances_of(job))]
        jobs = list(to_end(jobs)) if run is not None else jobs
        self._end_all(jobs, [run] if run is not None else [], below, reason, now, stop=stop)

    def _end_all(
        self, jobs: list[Job], runs: list[Run], below: list[Kin], reason: str, now: Instant, *, stop: bool = False
    ) -> None:
        runs = runs + [kin.run for kin in below]
        jobs = jobs + [job for kin in below for job in to_end(kin.run.jobs)]
        self._changes.effect(Answer([job.key for job in jobs if not job.state.final]))
        for run in runs:
            self._growth.close(run)
        self._lifecycle.cancel(jobs, reason, now, stop=stop)

    def _below(self, name: str) -> list[Kin]:
        """The runs that were submitted from inside that run, or by that job, however far down."""
        lineage = self._book.lineage
        kin = lineage.find(name) if name not in self._book.jobs else None
        if kin is not None:
            return list(kin.tree())[1:]
        job = self._book.find_job(name)
        key = job.key if job is not None else name
        kin = lineage.find(key.partition("/")[0])
        return [each for top in (kin.submitted_by(key) if kin is not None else ()) for each in top.tree()]

    def times_over(self, now: Instant) -> None:
        """What is left of runs whose wall time is over, and of what they started, is cancelled."""
        for kin, reason in self._budgets.overdue(now):
            for each in kin.tree():
                self._growth.close(each.run)
            self._lifecycle.cancel([job for each in kin.tree() for job in each.run.jobs], reason, now)
