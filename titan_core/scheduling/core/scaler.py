"""Scaler: brings the scaling policy and the cluster together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from titan_core.model.job import Job
from titan_core.model.requirement import Offer
from titan_core.model.states import JobState
from titan_core.model.worker import Worker
from titan_core.scheduling.core.acceptance import Acceptance
from titan_core.scheduling.core.changes import Changes
from titan_core.scheduling.core.commands import RequestMachines
from titan_core.scheduling.core.event_log import EventLog
from titan_core.scheduling.core.events import Instant, LoadMeasured, MachinesAskedFor, RunSubmitted
from titan_core.scheduling.core.fleet import Fleet
from titan_core.scheduling.core.job_book import JobBook
from titan_core.scheduling.core.lifecycle import SCALER, JobLifecycle
from titan_core.scheduling.core.limits import CoreLimits
from titan_core.scheduling.core.matcher import Matcher
from titan_core.scheduling.core.routing import Routing
from titan_core.scheduling.core.scaling import (
    AtLimit,
    Coming,
    Demand,
    EndWorker,
    ScalingPolicy,
    StartWorker,
    WantMachines,
    machine_of,
    pool_name,
)
from titan_core.scheduling.core.worker_registry import WorkerRegistry
from titan_sdk.messages import JobSpec

START_S: Final = 60.0
"""For a worker that scaling started to register; beyond it, it is ended and counts as one that could not start."""
FILE: Final = "TitanWorker.py"


class _Start:
    """A worker that scaling has started and that has not come yet."""

    __slots__ = ("capabilities", "key", "until")

    def __init__(self, key: str, capabilities: Offer, until: float) -> None:
        self.key = key
        self.capabilities = capabilities
        self.until = until


class Scaler:
    """Handles LoadMeasured: asks the policy, and has done what it decides."""

    def __init__(
        self,
        book: JobBook,
        registry: WorkerRegistry,
        matcher: Matcher,
        lifecycle: JobLifecycle,
        acceptance: Acceptance,
        routing: Routing,
        fleet: Fleet,
        changes: Changes,
        events: EventLog,
        limits: CoreLimits,
    ) -> None:
        self._book = book
        self._registry = registry
        self._matcher = matcher
        self._lifecycle = lifecycle
        self._acceptance = acceptance
        self._routing = routing
        self._fleet = fleet
        self._changes = changes
        self._events = events
        self._policy = ScalingPolicy(limits.max_workers, limits.idle_s, limits.busy_percent, self.is_scaled)
        self._starts: list[_Start] = []

    def is_scaled(self, worker: Worker) -> bool:
        """Whether scaling has started this worker."""
        job = self._lifecycle.worker_job(worker.job_key)
        return job is not None and job.run.row.parent == SCALER

    def load_measured(self, event: LoadMeasured, now: Instant) -> None:
        self._see_to_starts(now)
        decisions = self._policy.decide(
            now.monotonic, self._demands(), self._registry.present(), event.loads, list(self._coming())
        )
        starts = [decision for decision in decisions if isinstance(decision, StartWorker)]
        if starts:
            self._start(event.run_id, starts, now)
        for decision in decisions:
            if isinstance(decision, EndWorker):
                self._events.note("scale-down", decision.worker.name, decision.reason, now)
                self._fleet.decommission(decision.worker, decision.reason)
            elif isinstance(decision, WantMachines):
                self._events.note("machines-wanted", pool_name(decision.capabilities), decision.reason, now)
                wanted = tuple(sorted(decision.capabilities))
                self._changes.effect(RequestMachines(wanted, decision.count, decision.reason))
            elif isinstance(decision, AtLimit):
                self._events.note("scale-limit", pool_name(decision.capabilities), decision.reason, now)

    def machines_asked_for(self, event: MachinesAskedFor, now: Instant) -> None:
        if event.problem:
            self._events.note("machines-not-asked", pool_name(event.capabilities), event.problem, now)
        else:
            text = f"the provisioner was asked for {event.count} more"
            self._events.note("machines-asked", pool_name(event.capabilities), text, now)

    def _demands(self) -> list[Demand]:
        return [Demand(lane.need, len(lane.ready), lane.ready.emptied) for lane in self._matcher.lanes() if lane.ready]

    def _coming(self) -> Iterator[Coming]:
        """Workers that are being started, by scaling or on request."""
        for worker in self._registry.present():
            for job in worker.leases.values():
                if job.need.spawn and not job.ready and not job.ending:
                    yield Coming(machine_of(worker), frozenset(job.spec.requirement), worker.slots)

    def _start(self, run_id: str, starts: list[StartWorker], now: Instant) -> None:
        """One run with a job for each worker, each to go to its host at once: it has room for it."""
        short = run_id.removeprefix("run-")
        specs = tuple(
            JobSpec(
                id=f"SCALE-{short}-{number}",
                file=FILE,
                kind="worker",
                requirement=tuple(sorted(start.capabilities)),
                retries=0,
            )
            for number, start in enumerate(starts, 1)
        )
        run = self._acceptance.build(RunSubmitted(run_id, "scale-up", specs, parent=SCALER), now.wall)
        for job, start in zip(run.jobs, starts, strict=True):
            self._routing.pin(job, start.host)
            self._starts.append(_Start(job.key, start.capabilities, now.monotonic + START_S))
            text = f"{start.reason}: {start.host.name} starts another worker"
            self._events.note("scale-up", pool_name(start.capabilities), text, now)
        self._lifecycle.accept(run, now)

    def _see_to_starts(self, now: Instant) -> None:
        """Who has come, who never will, and who takes too long."""
        waiting = []
        for start in self._starts:
            job = self._book.jobs.get(start.key)
            if job is not None and job.ready:
                self._policy.succeeded(start.capabilities)
            elif job is None or job.state.final:
                self._failed(start, job, now)
            elif now.monotonic >= start.until:
                if not job.ending:
                    self._lifecycle.cancel([job], f"it did not register within {START_S:g} s", now)
                waiting.append(start)
            else:
                waiting.append(start)
        self._starts = waiting

    def _failed(self, start: _Start, job: Job | None, now: Instant) -> None:
        if job is not None and job.state is JobState.COMPLETED:
            return  # it came and went between two looks
        self._policy.failed(start.capabilities, now.monotonic)
        reason = job.reason if job is not None else "nothing is known of it"
        self._events.note("scale-up-failed", pool_name(start.capabilities), f"{start.key}: {reason}", now)
