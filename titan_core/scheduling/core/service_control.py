"""ServiceControl: services restarted, scaled, replaced and given up on request."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from titan_core.model.job import Job
from titan_core.model.run import Run
from titan_core.model.states import JobState
from titan_core.scheduling.core.acceptance import Acceptance
from titan_core.scheduling.core.changes import Changes
from titan_core.scheduling.core.commands import Answer
from titan_core.scheduling.core.crash_loops import in_crash_loop
from titan_core.scheduling.core.event_log import EventLog
from titan_core.scheduling.core.events import Instant, RestartRequested, RunSubmitted, ScaleRequested
from titan_core.scheduling.core.job_book import JobBook, goes_on
from titan_core.scheduling.core.lifecycle import JobLifecycle
from titan_core.scheduling.core.limits import CoreLimits
from titan_core.scheduling.core.worker_registry import WorkerRegistry
from titan_sdk.errors import Conflict, NotFound, SubmissionRefused
from titan_sdk.messages import DEFAULT_SERVICE, JobSpec
from titan_sdk.sizes import counted


class ServiceControl:
    """Handles what is asked about services, and sees after each event to those in the middle of a change.

    A **rollout** is a service that is to replace another of its id: while it lasts both run, and the id means the old
    one. It ends when the new one is ready (the old one is stopped), is given up (the old one stays), or the old one
    has ended. What a rollout is can be read from the jobs, so a restart of the master takes it up; only its deadline
    begins anew then.

    A new version waits for a machine where its fixed port is free. When there is none but the old one's, the old one
    **steps aside**: its processes end before the new one starts, and it comes back when that is given up.
    """

    def __init__(
        self,
        book: JobBook,
        registry: WorkerRegistry,
        acceptance: Acceptance,
        lifecycle: JobLifecycle,
        changes: Changes,
        events: EventLog,
        limits: CoreLimits,
    ) -> None:
        self._book = book
        self._registry = registry
        self._acceptance = acceptance
        self._lifecycle = lifecycle
        self._changes = changes
        self._events = events
        self._limits = limits
        self._deadlines: dict[str, float] = {}
        """Monotonic seconds, by key of the new service."""

    # --- on request -----------------------------------------------------------------------------------------------

    def restart(self, event: RestartRequested, now: Instant) -> None:
        jobs = self._book.with_replicas(event.id, self._book.find_jobs(event.id))
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
        self._check_machines(base, event.count)
        if base.key in self._book.successors:
            raise Conflict(f"{spec.id} is being replaced; scale it when that is over")
        ids = [replica_id(spec.id, number) for number in range(1, self._limits.replicas + 1)]
        active = {name: job for name in ids if (job := self._book.latest(name)) is not None and not job.state.final}
        stopping = [job.key for name in ids[: event.count] if (job := active.get(name)) and not goes_on(job)]
        if stopping:
            raise Conflict(f"{stopping[0]} is still being stopped; try again in a moment")
        missing = [name for name in ids[: event.count] if name not in active]
        specs = [_anew(spec, name) for name in missing]
        started = self._start(specs, event.run_id, spec.id, now) if missing else ()
        surplus = [active[name] for name in ids[event.count :] if name in active and goes_on(active[name])]
        self._lifecycle.cancel(surplus, f"scaled to {event.count}", now, stop=True)
        self._changes.effect(Answer(([job.key for job in started], [job.key for job in surplus])))

    def _check_machines(self, base: Job, count: int) -> None:
        """One machine has a port once."""
        machines = self._registry.machines_for(base.need)
        if base.spec.port and count > max(machines, 1):
            raise Conflict(
                f"{base.spec.id} has the fixed port {base.spec.port}, and each replica needs a machine of its own for "
                f"it; {counted(machines, 'machine')} could run it. Port auto gives each a port of its own"
            )

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
                upkeep = replace(spec.upkeep, replica_of=spec.id)
                specs.append(replace(spec, id=job.spec.id, parents=(specs[-1].id,), service=upkeep))
        return tuple(specs)

    def notes(self, run: Run) -> list[str]:
        """What whoever replaces services with this new run should know."""
        replacing = ((self._book.jobs.get(job.spec.upkeep.replaces), job) for job in run.jobs)
        return [
            handover_text(old, new)
            for old, new in replacing
            if old is not None and goes_on(old) and self.needs_the_port_of(old, new)
        ]

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
        if deadline is None and new.state not in (JobState.WAITING, JobState.HELD):
            allowed_s = self._limits.rollout_allowed(new.spec.upkeep.start_s)
            deadline = self._deadlines[new.key] = now.monotonic + allowed_s
        if not goes_on(new):  # somebody else ended it, or it has ended
            self._book.abandon(new)
            self._bring_back(old, new, new.reason or new.state.value)
        elif new.ready or not goes_on(old) or (old.state is JobState.PENDING and not old.attempt):
            self._book.promote(new)
            self._events.note("service-replaced", new.key, f"it has taken the place of {old.key}", now)
            if goes_on(old):
                self._lifecycle.cancel([old], f"replaced by {new.key}", now, stop=True)
        elif in_crash_loop(new, self._limits):
            self._give_up(old, new, new.reason, now)
        elif deadline is not None and now.monotonic >= deadline:
            self._give_up(old, new, new.reason or f"it is still {new.state.value}", now)
        else:
            self._hand_over(old, new, now)
            return
        self._deadlines.pop(new.key, None)

    def _give_up(self, old: Job, new: Job, why: str, now: Instant) -> None:
        """The new version was never ready: it goes, and with it those that were to replace further replicas."""
        self._book.abandon(new)
        reason = f"rolled back, {old.key} stays: {why}"
        following = self._following(new)
        for each in following:
            self._book.abandon(each)
        self._lifecycle.cancel([new, *following], reason, now)
        self._bring_back(old, new, why)
        self._events.note("service-rolled-back", old.key, f"{new.key} was given up: {why}", now)

    def _following(self, new: Job) -> list[Job]:
        found: list[Job] = []
        waiting = [new]
        while waiting:
            for child in waiting.pop().children:
                if child.spec.upkeep.replaces and child.state is JobState.WAITING:
                    found.append(child)
                    waiting.append(child)
        return found

    def _hand_over(self, old: Job, new: Job, now: Instant) -> None:
        """See to a port that both need and only one machine has."""
        if new.state is not JobState.PENDING or not new.need.port or new.need.port != old.need.port:
            return
        worker = self._registry.get(old.worker_id)
        if worker is None:
            return
        if old.ending == "aside":
            if old.state is JobState.DELAYED and worker.satisfies(new.need) and worker.has_room_for(new.need):
                self._lifecycle.lease_at_once(new, worker, now)
        elif old.state is JobState.RUNNING and not old.ending and self.needs_the_port_of(old, new):
            self._lifecycle.step_aside(old, f"leaves port {new.need.port} to {new.key}")
            self._events.note("service-handover", old.key, handover_text(old, new), now)

    def needs_the_port_of(self, old: Job, new: Job) -> bool:
        """Whether the new version can only run where the old one has its port."""
        if not new.need.port or new.need.port != old.need.port or old.state is not JobState.RUNNING:
            return False
        mine = self._registry.workers[old.worker_id]
        useful = [
            each
            for each in self._registry.present()
            if each.connected and not (each.draining or each.cordoned) and each.satisfies(new.need)
        ]
        return any(each.ports is mine.ports for each in useful) and all(new.need.port in each.ports for each in useful)

    def _bring_back(self, old: Job, new: Job, why: str) -> None:
        if old.ending == "aside":
            self._lifecycle.come_back(old, f"comes back: {new.key} was given up: {why}")

    def next_deadline(self) -> float | None:
        """When a rollout is to be looked at again at the latest."""
        return min(self._deadlines.values(), default=None)


def replica_id(name: str, number: int) -> str:
    """The id of a service's replica, counted from 1."""
    return name if number == 1 else f"{name}.{number}"


def handover_text(old: Job, new: Job) -> str:
    """For people."""
    return (
        f"no other machine has port {new.need.port} for {new.key}: {old.key} ends before it starts, which leaves a "
        "gap, and comes back if it never gets ready"
    )


def _anew(spec: JobSpec, job_id: str) -> JobSpec:
    """A spec for starting a service again outside of the run it came with, or a replica of it under another id."""
    replica_of = spec.upkeep.replica_of if job_id == spec.id else spec.upkeep.replica_of or spec.id
    if job_id == replica_of:
        replica_of = ""
    service = replace(spec.upkeep, lifetime="stopped", replaces="", replica_of=replica_of)
    if service == DEFAULT_SERVICE:
        return replace(spec, id=job_id, parents=(), delay_ms=0, service=None, flow=None)
    return replace(spec, id=job_id, parents=(), delay_ms=0, service=service, flow=None)
