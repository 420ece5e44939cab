"""ServiceControl: services restarted, scaled, replaced and given up on request."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from titan_core.model.job import Job
from titan_core.model.states import JobState
from titan_core.scheduling.core.acceptance import Acceptance
from titan_core.scheduling.core.changes import Changes
from titan_core.scheduling.core.commands import Answer
from titan_core.scheduling.core.crash_loops import in_crash_loop
from titan_core.scheduling.core.events import Instant, RestartRequested, RunSubmitted, ScaleRequested
from titan_core.scheduling.core.job_book import JobBook, goes_on
from titan_core.scheduling.core.lifecycle import JobLifecycle
from titan_core.scheduling.core.limits import CoreLimits
from titan_sdk.errors import Conflict, NotFound, SubmissionRefused
from titan_sdk.messages import JobSpec


class ServiceControl:
    """Handles what is asked about services, and sees after each event to those in the middle of a change.

    A **rollout** is a service that is to replace another of its id: while it lasts both run, and the id means the old
    one. It ends when the new one is ready (the old one is stopped), is given up (the old one stays), or the old one
    has ended. What a rollout is can be read from the jobs, so a restart of the master takes it up; only its deadline
    begins anew then.
    """

    def __init__(
        self, book: JobBook, acceptance: Acceptance, lifecycle: JobLifecycle, changes: Changes, limits: CoreLimits
    ) -> None:
        self._book = book
        self._acceptance = acceptance
        self._lifecycle = lifecycle
        self._changes = changes
        self._limits = limits
        self._deadlines: dict[str, float] = {}
        """Monotonic seconds, by key of the new service."""

    # --- on request -----------------------------------------------------------------------------------------------

    def restart(self, event: RestartRequested, now: Instant) -> None:
        jobs = self._book.find_jobs(event.id)
        if not jobs:
            raise NotFound(f"no service {event.id}")
        services = [job for job in jobs if job.spec.kind == "service"]
        if not services:
            raise Conflict(f"{jobs[0].key} is no service; submit it again")
        if len(jobs) == 1 and services[0].state.final:
            started = self._start([_anew(services[0].spec, services[0].spec.id)], event.run_id, event.id, now)
            self._changes.effect(Answer([job.key for job in started]))
            return
        restarted = [job.key for job in services if self._lifecycle.restart(job, "restarted on request", now)]
        self._changes.effect(Answer(restarted))

    def scale(self, event: ScaleRequested, now: Instant) -> None:
        if not 0 <= event.count <= self._limits.replicas:
            raise SubmissionRefused(f"{event.count} replicas are out of range; 0 to {self._limits.replicas} is wanted")
        base = self._book.find_job(event.id)
        if base is None:
            raise NotFound(f"no service {event.id}")
        spec = base.spec
        if spec.kind != "service":
            raise Conflict(f"{base.key} is no service")
        if event.count > 1 and spec.port:
            raise Conflict(f"{spec.id} has the fixed port {spec.port}; replicas need port auto")
        if base.key in self._book.successors:
            raise Conflict(f"{spec.id} is being replaced; scale it when that is over")
        ids = [replica_id(spec.id, number) for number in range(1, self._limits.replicas + 1)]
        active = {name: job for name in ids if (job := self._book.latest(name)) is not None and not job.state.final}
        stopping = [job.key for name in ids[: event.count] if (job := active.get(name)) and not goes_on(job)]
        if stopping:
            raise Conflict(f"{stopping[0]} is still being stopped; try again in a moment")
        missing = [name for name in ids[: event.count] if name not in active]
        started = self._start([_anew(spec, name) for name in missing], event.run_id, spec.id, now) if missing else ()
        surplus = [active[name] for name in ids[event.count :] if name in active and goes_on(active[name])]
        self._lifecycle.cancel(surplus, f"scaled to {event.count}", now, stop=True)
        self._changes.effect(Answer(([job.key for job in started], [job.key for job in surplus])))

    def with_replicas(self, event: RunSubmitted) -> tuple[JobSpec, ...]:
        """The jobs of a submission that replaces services, with one more for each replica of a single service.

        Each waits for the one before: so one is replaced after the other, and none when the first is never ready.
        """
        if not event.replace or len(event.jobs) != 1 or event.jobs[0].upkeep.lifetime == "run":
            return event.jobs
        specs = list(event.jobs)
        spec = specs[0]
        for number in range(2, self._limits.replicas + 1):
            job = self._book.latest(replica_id(spec.id, number))
            if job is not None and goes_on(job) and job.spec.kind == "service":
                specs.append(replace(spec, id=job.spec.id, parents=(specs[-1].id,)))
        return tuple(specs)

    def _start(self, specs: list[JobSpec], run_id: str, name: str, now: Instant) -> Sequence[Job]:
        event = RunSubmitted(run_id, name, tuple(specs))
        self._acceptance.check(event, now)
        run = self._acceptance.build(event, now.wall)
        self._lifecycle.accept(run, now)
        return run.jobs

    # --- after each event -----------------------------------------------------------------------------------------

    def settle(self, now: Instant) -> None:
        """Stop what is not needed any more, and bring rollouts to their end."""
        unneeded = self._book.unneeded
        while unneeded:
            service = unneeded.pop()
            if goes_on(service):
                self._lifecycle.cancel([service], "its run needs it no longer", now, stop=True)
        for old_key, new in list(self._book.successors.items()):
            self._go_on(self._book.jobs[old_key], new, now)

    def _go_on(self, old: Job, new: Job, now: Instant) -> None:
        deadline = self._deadlines.get(new.key)
        if deadline is None and new.state is not JobState.WAITING:
            allowed_s = self._limits.rollout_s + 2 * new.spec.upkeep.start_s
            deadline = self._deadlines[new.key] = now.monotonic + allowed_s
        if new.state.final:
            self._book.abandon(new)
        elif new.ready or not goes_on(old):
            self._book.promote(new)
            if goes_on(old):
                self._lifecycle.cancel([old], f"replaced by {new.key}", now, stop=True)
        elif in_crash_loop(new, self._limits):
            self._give_up(old, new, new.reason, now)
        elif deadline is not None and now.monotonic >= deadline:
            self._give_up(old, new, new.reason or f"it is still {new.state.value}", now)
        else:
            return
        self._deadlines.pop(new.key, None)

    def _give_up(self, old: Job, new: Job, why: str, now: Instant) -> None:
        """The new version was never ready: it goes."""
        self._book.abandon(new)
        self._lifecycle.cancel([new], f"rolled back, {old.key} stays: {why}", now)

    def next_deadline(self) -> float | None:
        """When a rollout is to be looked at again at the latest."""
        return min(self._deadlines.values(), default=None)


def replica_id(name: str, number: int) -> str:
    """The id of a service's replica, counted from 1."""
    return name if number == 1 else f"{name}.{number}"


def _anew(spec: JobSpec, job_id: str) -> JobSpec:
    """A spec for starting a service again outside of the run it came with."""
    service = None if spec.service is None else replace(spec.service, lifetime="stopped", replaces="")
    return replace(spec, id=job_id, parents=(), delay_ms=0, service=service, flow=None)
