"""JobBook: every run and job in memory, and the names they are found by."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from titan_core.model.job import Job
from titan_core.model.rows import ApprovalRow
from titan_core.model.run import Run
from titan_core.model.states import JobState
from titan_core.scheduling.core.lineage import Lineage
from titan_core.scheduling.core.output_book import OutputBook
from titan_sdk.messages import RepairInfo
from titan_sdk.run_rules import parent_run

DEPLOYED_PREFIX: Final = "SVC-"
"""Begins the ids that are made up for services, SVC-NAME-DIGITS."""
CLASSIC_PREFIX: Final = "DAG-"
"""Put before the ids of jobs of a classic DAG; people leave it away."""


class JobBook:
    """Runs and jobs by name, how many jobs are in each state, and which finished runs leave memory.

    A bare job id means its latest run. As an id that is still active is refused, that is the active job if any is.
    """

    def __init__(self, finished_jobs: int, output_bytes: int) -> None:
        self.runs: dict[str, Run] = {}
        self.jobs: dict[str, Job] = {}
        self.counts: dict[JobState, int] = dict.fromkeys(JobState, 0)
        self.outputs = OutputBook()
        self.run_seq = 0
        self.job_seq = 0
        self.services: dict[str, Job] = {}
        """Those that are not final, by key."""
        self.successors: dict[str, Job] = {}
        """Services that are to replace the one of that key, and are not ready yet."""
        self.given_up: dict[str, Job] = {}
        """Services that were to replace the one of that key, are not to any more, and have not ended yet."""
        self.unneeded: list[Job] = []
        """Services whose run no longer needs them; whoever ends them empties the list."""
        self.awaited: set[str] = set()
        """Ids of unfinished runs whose end somebody waits for."""
        self.over: deque[Run] = deque()
        """Of these, those that have ended; whoever waits for them takes them."""
        self.approvals: dict[str, list[ApprovalRow]] = {}
        """What people were asked about jobs, by their keys; see core.approvals."""
        self.repairs: dict[str, list[RepairInfo]] = {}
        """How jobs that had failed were repaired, by their keys; see core.repairs."""
        self.lineage = Lineage()
        self.idle: list[Run] = []
        """Open runs whose last unfinished job has ended, or that began without one; whoever looks empties the list."""
        self.handlers: dict[str, list[Job]] = {}
        """Of the runs that have any, by run id; empty for one that is only to fail fast."""
        self.news: list[tuple[Run, Job | None]] = []
        """Jobs of those runs that were settled; without one: something else that may be their end. Whoever looks
        empties the list."""
        self.unfolding: list[Job] = []
        """``each`` jobs that may run: they are to get their instances. Whoever gives them empties the list."""
        self._owned: dict[str, list[Run]] = {}
        """Open runs by the key of the job that submitted them."""
        self._orphans: list[Run] = []
        self._latest: dict[str, Job] = {}
        self._by_idempotency_key: dict[str, Run] = {}
        self._finished: deque[Run] = deque()
        self._finished_jobs = 0
        self._finished_jobs_bound = finished_jobs
        self._output_bytes_bound = output_bytes

    def add(self, run: Run) -> None:
        """A run with all its jobs, new or restored."""
        self.runs[run.run_id] = run
        if run.row.idempotency_key:
            self._by_idempotency_key[run.row.idempotency_key] = run
        self._include(run, run.jobs)
        run.tied = _tied_services(run)
        if run.row.parent or run.row.options is not None:
            self.lineage.add(run, self.runs.get(parent_run(run.row.parent)))
            if run.row.options is not None and run.row.options.fail_fast:
                self.handlers.setdefault(run.run_id, [])
            if run.open and run.unfinished and self.at_rest(run):
                self.idle.append(run)
        if run.row.growth is not None and run.open and run.row.parent:
            owner = self.jobs.get(run.row.parent)
            if owner is not None and owner.state.final:
                self._orphans.append(run)
            else:
                self._owned.setdefault(run.row.parent, []).append(run)
        if not run.unfinished:
            self._all_ended(run)

    def extend(self, run: Run, jobs: Sequence[Job]) -> None:
        """Further jobs of a run. The cost is that of the jobs, unless services live as long as the run needs them."""
        if isinstance(run.jobs, tuple):
            run.jobs = list(run.jobs)
        run.jobs += jobs
        self._include(run, jobs)
        if run.tied or any(job.spec.upkeep.lifetime == "run" for job in jobs):
            run.tied = _tied_services(run)

    def closed(self, run: Run) -> None:
        """The run is no longer open."""
        owned = self._owned.get(run.row.parent)
        if owned is not None and run in owned:
            owned.remove(run)
            if not owned:
                del self._owned[run.row.parent]
        self.unneeded += [service for service, users in run.tied if not users and not service.state.final]
        if run.run_id in self.handlers:
            self.news.append((run, None))
        if not run.unfinished:
            self._retire(run)

    def take_orphans(self) -> list[Run]:
        """The open runs whose submitting job has ended since the last time."""
        orphans, self._orphans = self._orphans, []
        return orphans

    def _include(self, run: Run, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self.jobs[job.key] = job
            self._name(job)
            if job.spec.flow is not None and job.spec.flow.handler:
                self.handlers.setdefault(run.run_id, []).append(job)
            self.counts[job.state] += 1
            run.unfinished += not job.state.final
            run.services += job.is_service
            if job.is_service and not job.state.final:
                self.services[job.key] = job

    def moved(self, job: Job, origin: JobState) -> None:
        """The job has left ``origin``."""
        self.counts[origin] -= 1
        self.counts[job.state] += 1
        if job.run.kept is not None:
            job.run.kept.moved(job, origin)
        if job.state.final:
            run = job.run
            run.unfinished -= 1
            if job.is_service:
                self._service_ended(job)
            for service, dependents in run.tied:
                dependents.discard(job.key)
                if not dependents and not service.state.final and not run.open:
                    self.unneeded.append(service)
            if self._owned or self.handlers:
                self._orphans += self._owned.pop(job.key, ())
                if run.run_id in self.handlers:
                    self.news.append((run, job))
            if not run.unfinished:
                self._all_ended(run)

    def at_rest(self, run: Run) -> bool:
        """Whether nothing of the run is unfinished but handlers that wait for its end."""
        return run.unfinished == sum(job.state is JobState.WAITING for job in self.handlers.get(run.run_id, ()))

    def became_ready(self, job: Job) -> None:
        """The service is ready: its run may have come to its end."""
        if job.run.run_id in self.handlers:
            self.news.append((job.run, None))

    @property
    def unsettled(self) -> bool:
        """Whether what has ended, or is to unfold, has consequences that nobody has seen to."""
        return bool(self.unneeded or self.news or self.unfolding)

    def _name(self, job: Job) -> None:
        """The job's id means it from now on, unless the service that it is to replace goes on."""
        replaced = self.jobs.get(job.spec.upkeep.replaces)
        if replaced is not None and not replaced.state.final:
            if job.state.final:
                return
            if goes_on(replaced):
                (self.successors if goes_on(job) else self.given_up)[replaced.key] = job
                return
        self._latest[job.spec.id] = job

    def promote(self, job: Job) -> None:
        """The job's id means this one now: it replaces another, and is ready, or the other has ended."""
        self.successors.pop(job.spec.upkeep.replaces, None)
        self._latest[job.spec.id] = job

    def abandon(self, job: Job) -> None:
        """The job replaces nothing."""
        self.successors.pop(job.spec.upkeep.replaces, None)
        if not job.state.final:
            self.given_up[job.spec.upkeep.replaces] = job

    def _service_ended(self, job: Job) -> None:
        del self.services[job.key]
        if self.given_up.get(job.spec.upkeep.replaces) is job:
            del self.given_up[job.spec.upkeep.replaces]
        given_up = self.given_up.get(job.key)
        if given_up is not None:
            self._latest[job.spec.id] = given_up  # on its way out, and the only one that is active
        replaced = self.jobs.get(job.spec.upkeep.replaces)
        if replaced is not None and not replaced.state.final:
            self._latest[job.spec.id] = replaced  # still on its way out, or still the one that counts

    def unfinished(self) -> int:
        return len(self.jobs) - sum(self.counts[state] for state in JobState if state.final)

    def latest(self, job_id: str) -> Job | None:
        """The job of exactly that id in its latest run."""
        return self._latest.get(job_id)

    def submitted_as(self, idempotency_key: str) -> Run | None:
        """The run made under that key, if it is in memory; for the others the store has to be asked."""
        return self._by_idempotency_key.get(idempotency_key)

    def find_job(self, name: str) -> Job | None:
        """The job of that key, or of that id with or without the classic prefix."""
        found = self.jobs.get(name) or self._latest.get(name) or self._latest.get(CLASSIC_PREFIX + name)
        if found is None and name.startswith(CLASSIC_PREFIX):
            found = self._latest.get(name.removeprefix(CLASSIC_PREFIX))
        return found or self._deployed(name)

    def _deployed(self, name: str) -> Job | None:
        """The one active service that was deployed from a file of that name, with an id that was made up for it."""
        prefix = f"{DEPLOYED_PREFIX}{name.rpartition('.')[0] or name}-"
        found = [job for job in self.services.values() if job.spec.id.rpartition("-")[0] + "-" == prefix]
        return found[0] if len(found) == 1 else None

    def find_run(self, name: str) -> Run | None:
        """The run of that id, or the run of the job of that name."""
        run = self.runs.get(name)
        if run is None:
            job = self.find_job(name)
            run = job.run if job else None
        return run

    def find_jobs(self, name: str) -> Sequence[Job]:
        """The job of that key, or all jobs of the run of that id, or the job of that id; empty when there is none."""
        job = self.jobs.get(name)
        if job is None:
            run = self.runs.get(name)
            if run is not None:
                return run.jobs
            job = self.find_job(name)
        return (job,) if job else ()

    def with_replicas(self, name: str, jobs: Sequence[Job]) -> list[Job]:
        """What a name means, and its replicas when it is a service's bare id: replicas have names of their own."""
        if name in self.jobs or name in self.runs or len(jobs) != 1 or jobs[0].spec.kind != "service":
            return list(jobs)
        base = jobs[0].spec.id
        others = (job for job in self.services.values() if job.spec.upkeep.replica_of == base and job is not jobs[0])
        return [*jobs, *(job for job in others if self._latest.get(job.spec.id) is job)]

    def parents(self, job: Job) -> list[Job]:
        """The job's parents, each once; without those that an earlier run has completed."""
        run_id, kept = job.run.run_id, job.run.kept_jobs
        return [self.jobs[f"{run_id}/{parent}"] for parent in dict.fromkeys(job.spec.parents) if parent not in kept]

    def with_successors(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs, and the services that are to replace some of them."""
        return [*jobs, *(self.successors[job.key] for job in jobs if job.key in self.successors)]

    def _all_ended(self, run: Run) -> None:
        if run.row.growth is not None and run.open:
            self.idle.append(run)
        else:
            self._retire(run)

    def _retire(self, run: Run) -> None:
        self._finished.append(run)
        if run.run_id in self.awaited:
            self.awaited.discard(run.run_id)
            self.over.append(run)
        self._finished_jobs += len(run.jobs)

    def expire(self, before: int) -> None:
        """Finished runs beyond the bounds, or that ended before that moment (epoch ms), leave memory, the oldest first.

        At the end of an event: while it goes on, nobody need fear that a job is gone that was just there. The newest
        run stays whatever its size and age, as whoever waits for it is about to look. What the clock of a worker says
        does not make a run older than it can be.
        """
        while len(self._finished) > 1:
            run = self._finished[0]
            few = self._finished_jobs <= self._finished_jobs_bound and self.outputs.bytes <= self._output_bytes_bound
            if few and (run.row.submitted_at >= before or run.ended_at() >= before):
                return
            self._evict(self._finished.popleft())

    def _evict(self, run: Run) -> None:
        self._finished_jobs -= len(run.jobs)
        del self.runs[run.run_id]
        key = run.row.idempotency_key
        if self._by_idempotency_key.get(key) is run:
            del self._by_idempotency_key[key]
        for job in run.jobs:
            if self.outputs:
                self.outputs.forget(job)
            del self.jobs[job.key]
            self.approvals.pop(job.key, None)
            self.repairs.pop(job.key, None)
            self.counts[job.state] -= 1
            if self._latest.get(job.spec.id) is job:
                del self._latest[job.spec.id]
        self.lineage.left_memory(run)
        self.handlers.pop(run.run_id, None)
        run.jobs = ()  # jobs and run refer to each other: this lets them go at once


def goes_on(job: Job) -> bool:
    """Whether it is not final, and nobody wants it to be."""
    return not job.state.final and job.ending not in ("stop", "cancel")


def _tied_services(run: Run) -> tuple[tuple[Job, set[str]], ...]:
    """The services that live as long as their run needs them, each with its unfinished dependents, however far down."""
    tied = [job for job in run.jobs if job.spec.upkeep.lifetime == "run" and not job.state.final]
    if not tied:
        return ()
    children: dict[str, list[Job]] = {}
    for job in run.jobs:
        for parent in job.spec.parents:
            children.setdefault(parent, []).append(job)
    found = []
    for service in tied:
        below: dict[str, Job] = {}
        waiting = [service]
        while waiting:
            for child in children.get(waiting.pop().spec.id, ()):
                if child.key not in below:
                    below[child.key] = child
                    waiting.append(child)
        found.append((service, {key for key, job in below.items() if not job.state.final}))
    return tuple(found)
