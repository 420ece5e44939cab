"""Acceptance: a submission becomes a run, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from titan_core.model.job import Job
from titan_core.model.rows import RunGrowth, RunRow
from titan_core.model.run import Run
from titan_core.model.states import JobState
from titan_core.scheduling.core.budgets import Budgets
from titan_core.scheduling.core.events import AddRequested, Instant, RunSubmitted
from titan_core.scheduling.core.idempotency import digest_of
from titan_core.scheduling.core.job_book import JobBook, goes_on
from titan_core.scheduling.core.limits import CoreLimits
from titan_core.scheduling.core.spec_pool import SpecPool
from titan_core.scheduling.core.triggers import handler_of
from titan_sdk.dag import validate_dag
from titan_sdk.errors import Conflict, Problem, SubmissionRefused, Unavailable
from titan_sdk.messages import DEFAULT_OPTIONS, Accepted, JobSpec, RunOptions
from titan_sdk.run_rules import parent_run, variables


class Acceptance:
    """Decides on submissions and builds the runs of those that are accepted. Changes nothing but sequence numbers."""

    def __init__(self, book: JobBook, pool: SpecPool, limits: CoreLimits, budgets: Budgets) -> None:
        self._budgets = budgets
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
        # Others may have been added since; but replicas came with the submission itself.
        jobs = run.jobs if event.replace else run.jobs[: len(event.jobs)]
        return Accepted(run_id=run.run_id, jobs=[job.key for job in jobs], repeated=True)

    def check(self, event: RunSubmitted, now: Instant) -> None:
        """Whether the run can be accepted.

        Raises:
            SubmissionRefused: with every problem of every job.
            BudgetExceeded: a budget that it belongs to has no room for it.
            Conflict: an id is still active; the problems name each and its run. Or the submitting job is cancelled.
            Unavailable: there would be more unfinished jobs than the master has room for.
        """
        options = event.options
        if not event.jobs and not (options is not None and options.open):
            raise SubmissionRefused("a run needs at least one job", [Problem("", "no jobs")])
        known, params = (options.kept, options.params) if options is not None else ((), ())
        problems = [Problem(spec.id, "it is kept of an earlier run") for spec in event.jobs if spec.id in known]
        problems += validate_dag(event.jobs, known=known, params=params) if event.jobs else []
        if problems:
            raise _refusal(problems)
        if event.run_id in self._book.runs:
            raise Conflict(f"there is a run {event.run_id} already")
        if event.parent or options is not None:
            self._check_submitter(event.parent)
            self._budgets.check(self._book.lineage.find(parent_run(event.parent)), len(event.jobs), options, now)
        self._check_ids(event.jobs, replace=event.replace)
        self._check_room(len(event.jobs))

    def check_more(self, run: Run, event: AddRequested, now: Instant) -> None:
        """Whether the jobs can be added to the run. Raises as ``check``."""
        adder = self._book.jobs.get(event.parent)
        self._check_submitter(event.parent)
        if not run.open and (adder is None or adder.run is not run or adder.state.final):
            was = "is closed" if run.row.growth is not None else "was not submitted open"
            raise Conflict(f"run {run.run_id} {was}: only its own jobs may add to it, while they run")
        named = {each for spec in event.jobs for each in (spec.id, *spec.parents)}
        known = {each for each in named if f"{run.run_id}/{each}" in self._book.jobs or each in run.kept_jobs}
        there = [spec.id for spec in event.jobs if spec.id in known]
        problems = [Problem(each, "the run has a job of this id already") for each in there]
        handlers = {job.spec.id for job in self._book.handlers.get(run.run_id, ())}
        problems += [
            Problem(spec.id, f"its parent {each!r} is for the end of the run")
            for spec in event.jobs
            for each in spec.parents
            if each in handlers
        ]
        params = run.row.options.params if run.row.options is not None else ()
        problems += validate_dag(event.jobs, known=known, params=params)
        if problems:
            raise _refusal(problems)
        self._budgets.check_more(self._book.lineage.find(run.run_id), len(event.jobs), now)
        self._check_ids(event.jobs, replace=False)
        self._check_room(len(event.jobs))

    def check_instances(self, run: Run, specs: list[JobSpec]) -> None:
        """Whether the instances of an ``each`` job can be added to its run. Raises Conflict or Unavailable."""
        there = [spec.id for spec in specs if f"{run.run_id}/{spec.id}" in self._book.jobs]
        if there:
            raise Conflict(f"each: the run has a job {there[0]} already")
        self._check_ids(specs, replace=False)
        self._check_room(len(specs))

    def _check_submitter(self, key: str) -> None:
        job = self._book.jobs.get(key)
        if job is not None and (job.ending == "cancel" or job.state is JobState.CANCELLED):
            raise Conflict(f"job {key} is cancelled and starts nothing more: {job.reason}")

    def _check_ids(self, jobs: Iterable[JobSpec], *, replace: bool) -> None:
        conflicts = []
        for spec in jobs:
            active = self._book.latest(spec.id)
            if active is not None and not active.state.final:
                why = self._not_replaceable(active, spec) if replace else _still(active)
                if why:
                    conflicts.append(Problem(spec.id, why))
        if conflicts:
            way_out = "" if replace else self._way_out([each.where for each in conflicts])
            raise Conflict(f"job {conflicts[0].where} {conflicts[0].text}{way_out}", conflicts)

    def _check_room(self, jobs: int) -> None:
        if self._book.unfinished() + jobs > self._limits.open_jobs:
            raise Unavailable(f"there would be more than {self._limits.open_jobs} unfinished jobs; try later")

    def _not_replaceable(self, old: Job, spec: JobSpec) -> str:
        """Why this job cannot take the place of the active one; empty when it can."""
        if old.spec.kind != "service" or spec.kind != "service":
            return f"{_still(old)}, and only a service is replaced, by a service"
        if old.key in self._book.successors:
            return f"is being replaced already, by {self._book.successors[old.key].key}"
        before = self._book.jobs.get(old.spec.upkeep.replaces)
        if not goes_on(old) or (before is not None and not before.state.final) or old.key in self._book.given_up:
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
        options = event.options
        if event.parent:
            options = inherited(options, book.runs.get(parent_run(event.parent)))
        growth = RunGrowth(open=True) if options is not None and options.open else None
        book.run_seq += 1
        # A job that is submitted alone mostly gives its run the name: one text for both.
        name = event.jobs[0].id if event.jobs and event.jobs[0].id == event.name else event.name
        key, parent = event.idempotency_key, event.parent
        row = RunRow(event.run_id, book.run_seq, name, wall, key, parent, digest, options, growth)
        run = Run(row, version=0)
        run.jobs = tuple(self._jobs(run, event.jobs))
        link(run.jobs)
        return run

    def extend(self, run: Run, event: AddRequested) -> list[Job]:
        """The jobs of an addition that was checked: in the run's book, linked and in their initial states."""
        jobs = self._jobs(run, event.jobs)
        self._book.extend(run, jobs)
        for job in jobs:
            _link_to(job, self._book.parents(job))
        return jobs

    def _jobs(self, run: Run, specs: Iterable[JobSpec]) -> list[Job]:
        book, options = self._book, run.row.options
        added = variables(options) if options is not None else None
        jobs = []
        for asked in specs:
            book.job_seq += 1
            spec, active = self._pool.share(with_variables(asked, added) if added else asked), book.latest(asked.id)
            if active is not None and not active.state.final:
                spec = replace(spec, service=replace(spec.upkeep, replaces=active.key))
            jobs.append(Job(spec, run, book.job_seq, _initial_state(spec)))
        return jobs


def inherited(options: RunOptions | None, submitter: Run | None) -> RunOptions | None:
    """The options with what a run takes over from the one that submits it."""
    theirs = submitter.row.options if submitter is not None else None
    if theirs is None or not theirs.agent_run_id or (options is not None and options.agent_run_id):
        return options
    return replace(options or DEFAULT_OPTIONS, agent_run_id=theirs.agent_run_id)


def with_variables(spec: JobSpec, added: Mapping[str, str]) -> JobSpec:
    """The spec with what its run adds to its environment; what the job says of its own goes before."""
    return replace(spec, env={**added, **spec.env})


def accepted(run: Run, notes: list[str]) -> Accepted:
    """The answer for a new run."""
    return Accepted(run_id=run.run_id, jobs=[job.key for job in run.jobs], notes=notes)


def link(jobs: Iterable[Job]) -> None:
    """Make each job of a run known to its parents, and count the parents that a WAITING one still waits for."""
    by_id = {job.spec.id: job for job in jobs}
    for job in by_id.values():
        if job.state is not JobState.WAITING:
            continue
        kept = job.run.kept_jobs
        _link_to(job, [by_id[each] for each in dict.fromkeys(job.spec.parents) if each not in kept])


def _link_to(job: Job, parents: Iterable[Job]) -> None:
    job.blockers += bool(handler_of(job))  # waits for the rest of its run
    for parent in parents:
        if parent.state.final:
            continue  # nothing more comes of it
        if isinstance(parent.children, tuple):
            parent.children = []
        parent.children.append(job)
        job.blockers += not parent.satisfies_dependents


def link_instances(jobs: Iterable[Job]) -> None:
    """Have each job of a restored run that has instances wait for those, and for nothing else."""
    by_id = {job.spec.id: job for job in jobs}
    unfolded: dict[str, list[Job]] = {}
    for job in by_id.values():
        if job.spec.flow is not None and job.spec.flow.instance_of:
            unfolded.setdefault(job.spec.flow.instance_of, []).append(job)
    for job_id, instances in unfolded.items():
        job = by_id[job_id]
        if job.state is not JobState.WAITING:
            continue
        for each in job.spec.parents:
            if each in by_id and by_id[each].children:
                by_id[each].children = [child for child in by_id[each].children if child is not job]
        unfinished = [instance for instance in instances if not instance.state.final]
        for instance in unfinished:
            instance.children = [job]
        job.blockers = len(unfinished)


def _refusal(problems: list[Problem]) -> SubmissionRefused:
    return SubmissionRefused("refused: " + "; ".join(map(str, problems[:3])), problems)


def _still(job: Job) -> str:
    return f"is still {job.state.value} in run {job.run.run_id}"


def _initial_state(spec: JobSpec) -> JobState:
    if spec.parents or spec.flow is not None:  # one question for most jobs, which have neither
        if spec.flow is not None and spec.flow.instance_of:
            return JobState.DELAYED if spec.delay_ms else JobState.PENDING
        if spec.parents:
            return JobState.WAITING
        if spec.flow is not None and (spec.flow.when or spec.flow.each or spec.flow.templates or spec.flow.handler):
            return JobState.WAITING  # of the first two for the moment that it takes to judge it
        if spec.flow is not None and spec.flow.approve is not None:
            return JobState.HELD
    return JobState.DELAYED if spec.delay_ms else JobState.PENDING
