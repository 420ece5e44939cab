"""Acceptance: a submission becomes a run, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from titan_core.model.job import Job
from titan_core.model.rows import RunRow
from titan_core.model.run import Run
from titan_core.model.states import JobState
from titan_core.scheduling.core.events import RunSubmitted
from titan_core.scheduling.core.idempotency import digest_of
from titan_core.scheduling.core.job_book import JobBook, goes_on
from titan_core.scheduling.core.limits import CoreLimits
from titan_core.scheduling.core.spec_pool import SpecPool
from titan_sdk.dag import validate_dag
from titan_sdk.errors import Conflict, Problem, SubmissionRefused, Unavailable
from titan_sdk.messages import DEFAULT_OPTIONS, Accepted, JobSpec, RunOptions
from titan_sdk.run_rules import parent_run, variables


class Acceptance:
    """Decides on submissions and builds the runs of those that are accepted. Changes nothing but sequence numbers."""

    def __init__(self, book: JobBook, pool: SpecPool, limits: CoreLimits) -> None:
        self._book = book
        self._pool = pool
        self._limits = limits

    def earlier(self, event: RunSubmitted) -> Accepted | None:
        """The answer given before under the same idempotency key; None when the key is new, or there is none.

        Raises:
            Conflict: the key was used for other jobs.
        """
        run = self._book.submitted_as(event.idempotency_key)
        if run is None:
            return None
        if run.row.digest != digest_of(event.jobs, event.options):
            raise Conflict(f"idempotency key {event.idempotency_key!r} was used for other jobs, in run {run.run_id}")
        return Accepted(run_id=run.run_id, jobs=[job.key for job in run.jobs], repeated=True)

    def check(self, event: RunSubmitted) -> None:
        """Whether the run can be accepted.

        Raises:
            SubmissionRefused: with every problem of every job.
            Conflict: an id is still active; the problems name each and its run.
            Unavailable: there would be more unfinished jobs than the master has room for.
        """
        if not event.jobs:
            raise SubmissionRefused("a run needs at least one job", [Problem("", "no jobs")])
        problems = validate_dag(event.jobs, params=event.options.params if event.options else {})
        if problems:
            raise SubmissionRefused("refused: " + "; ".join(map(str, problems[:3])), problems)
        if event.run_id in self._book.runs:
            raise Conflict(f"there is a run {event.run_id} already")
        conflicts = []
        for spec in event.jobs:
            active = self._book.latest(spec.id)
            if active is not None and not active.state.final:
                why = self._not_replaceable(active, spec) if event.replace else _still(active)
                if why:
                    conflicts.append(Problem(spec.id, why))
        if conflicts:
            way_out = "" if event.replace else self._way_out([each.where for each in conflicts])
            raise Conflict(f"job {conflicts[0].where} {conflicts[0].text}{way_out}", conflicts)
        if self._book.unfinished() + len(event.jobs) > self._limits.open_jobs:
            raise Unavailable(f"there would be more than {self._limits.open_jobs} unfinished jobs; try later")

    def _not_replaceable(self, old: Job, spec: JobSpec) -> str:
        """Why this job cannot take the place of the active one; empty when it can."""
        if old.spec.kind != "service" or spec.kind != "service":
            return f"{_still(old)}, and only a service is replaced, by a service"
        if old.key in self._book.successors:
            return f"is being replaced already, by {self._book.successors[old.key].key}"
        before = self._book.jobs.get(old.spec.upkeep.replaces)
        if not goes_on(old) or (before is not None and not before.state.final):
            return "is still being stopped; try again in a moment"
        if not old.attempt and old.children:
            return f"{_still(old)}, has never run and others wait for it; cancel it instead"
        return ""

    def _way_out(self, ids: list[str]) -> str:
        """What whoever deploys can do about ids that are taken."""
        active = [job for each in ids if (job := self._book.latest(each)) is not None]
        runs = {job.run.run_id for job in active}
        if len(ids) == 1:
            way = f"end it with `cancel {ids[0]}`"
        else:
            way = f"end them with `cancel {runs.pop()}`" if len(runs) == 1 else "end each with `cancel ID`"
        services = all(job.spec.kind == "service" for job in active)
        return f"; {way}" + (", or replace what runs with `deploy --replace`" if services else "")

    def build(self, event: RunSubmitted, wall: int, *, digest: str = "") -> Run:
        """The run of a submission that was checked, its jobs linked and in their initial states. ``wall``: epoch ms."""
        book = self._book
        options = inherited(event.options, book.runs.get(parent_run(event.parent)))
        added = variables(options)
        book.run_seq += 1
        # A job that is submitted alone mostly gives its run the name: one text for both.
        name = event.jobs[0].id if event.jobs[0].id == event.name else event.name
        row = RunRow(event.run_id, book.run_seq, name, wall, event.idempotency_key, event.parent, digest, options)
        run = Run(row, version=0)
        jobs = []
        for asked in event.jobs:
            book.job_seq += 1
            spec, active = self._pool.share(with_variables(asked, added)), book.latest(asked.id)
            if active is not None and not active.state.final:
                spec = replace(spec, service=replace(spec.upkeep, replaces=active.key))
            jobs.append(Job(spec, run, book.job_seq, _initial_state(spec)))
        run.jobs = tuple(jobs)
        link(jobs)
        return run


def inherited(options: RunOptions | None, submitter: Run | None) -> RunOptions | None:
    """The options with what a run takes over from the one that submits it."""
    theirs = submitter.row.options if submitter is not None else None
    if theirs is None or not theirs.agent_run_id or (options is not None and options.agent_run_id):
        return options
    return replace(options or DEFAULT_OPTIONS, agent_run_id=theirs.agent_run_id)


def with_variables(spec: JobSpec, added: Mapping[str, str]) -> JobSpec:
    """The spec with what its run adds to its environment; what the job says of its own goes before."""
    return replace(spec, env={**added, **spec.env}) if added else spec


def accepted(run: Run, notes: list[str]) -> Accepted:
    """The answer for a new run."""
    return Accepted(run_id=run.run_id, jobs=[job.key for job in run.jobs], notes=notes)


def link(jobs: Iterable[Job]) -> None:
    """Make each job of a run known to its parents, and count the parents that a WAITING one still waits for."""
    by_id = {job.spec.id: job for job in jobs}
    for job in by_id.values():
        if job.state is not JobState.WAITING:
            continue
        for parent_id in dict.fromkeys(job.spec.parents):
            parent = by_id[parent_id]
            if parent.state.final:
                continue  # nothing more comes of it
            if isinstance(parent.children, tuple):
                parent.children = []
            parent.children.append(job)
            job.blockers += not parent.satisfies_dependents


def _still(job: Job) -> str:
    return f"is still {job.state.value} in run {job.run.run_id}"


def _initial_state(spec: JobSpec) -> JobState:
    if spec.parents or (spec.flow is not None and (spec.flow.when or spec.flow.templates)):
        return JobState.WAITING
    return JobState.DELAYED if spec.delay_ms else JobState.PENDING
