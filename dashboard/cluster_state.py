"""What the hub knows of the cluster, and shows of it: bounded, whatever the cluster's size. No clock, no sockets."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any, Final

from dashboard import wire
from dashboard.history import History
from titan_sdk.messages import (
    FINAL_STATES,
    ClusterChanges,
    EventInfo,
    EventList,
    JobInfo,
    RunSummary,
    ServiceInfo,
    WorkerInfo,
)

MAX_RUNS: Final = 1_000
MAX_EXECUTIONS: Final = 5_000
MAX_ACTIVE: Final = 5_000
"""Running jobs that are kept."""
SHOWN: Final = 50
"""Running jobs on the overview."""
FAILURES: Final = 30
MAX_EVENTS: Final = 1_000
"""As many as the master keeps."""
MAX_SERVICES: Final = 1_000
SERVICES_SHOWN: Final = 200
ENDED_SERVICES_SHOWN: Final = 30


class ClusterState:
    """The newest runs, what runs, what failed last, the latest executions, events and the workers. Not thread-safe."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.workers: list[WorkerInfo] = []
        self.runs: OrderedDict[str, RunSummary] = OrderedDict()
        self.active: dict[str, JobInfo] = {}
        self.services: OrderedDict[str, JobInfo] = OrderedDict()
        self.failures: OrderedDict[str, JobInfo] = OrderedDict()
        self.executions: OrderedDict[tuple[str, int], dict[str, Any]] = OrderedDict()
        self.events: deque[EventInfo] = deque(maxlen=MAX_EVENTS)
        self.last_event = 0
        """Number of the newest event, to ask on from."""
        self.history = History()

    def load(self, runs: Iterable[RunSummary], jobs: Iterable[JobInfo]) -> None:
        """Begin anew with what the master has: newest first, as it lists them."""
        self.runs.clear()
        self.active.clear()
        self.services.clear()
        self.failures.clear()
        self.executions.clear()
        for run in reversed(list(runs)):
            self.runs[run.run_id] = run
        for job in sorted(jobs, key=lambda each: each.ended_at or each.started_at or each.submitted_at):
            self._keep(job)

    def apply(self, changes: ClusterChanges) -> list[dict[str, Any]]:
        """Take changes in; the executions that are new or have changed."""
        self.counts = changes.counts
        self.workers = changes.workers
        for run in changes.runs:
            self.runs[run.run_id] = run
        while len(self.runs) > MAX_RUNS:
            self.runs.popitem(last=False)
        changed: list[dict[str, Any]] = []
        for job in changes.jobs:
            self.history.job_changed(job)
            changed += self._keep(job)
        return changed

    def overview(self) -> dict[str, Any]:
        """What the first page shows."""
        running = [job for job in self.active.values() if job.kind == "run"]
        return {
            "counts": self.counts,
            "workers": [wire.worker(each) for each in self.workers],
            "running": [wire.job(job) for job in running[-SHOWN:]][::-1],
            "running_total": len(running),
            "failures": [self.named(job) for job in reversed(self.failures.values())],
            "runs": [wire.run(run) for run in list(self.runs.values())[-10:]][::-1],
            "services": self.newest_services(),
        }

    def newest_services(self) -> list[dict[str, Any]]:
        """Those that have not ended, and the latest of those that have; newest first."""
        active = [job for job in self.services.values() if job.state not in FINAL_STATES]
        return [wire.job(job) for job in (*active[-SERVICES_SHOWN:][::-1], *self.ended_services())]

    def ended_services(self) -> list[JobInfo]:
        """The latest, newest first."""
        return [job for job in self.services.values() if job.state in FINAL_STATES][-ENDED_SERVICES_SHOWN:][::-1]

    def worker_services(self) -> list[ServiceInfo]:
        """Workers that are jobs, which the master does not count among the services."""
        return [
            ServiceInfo(job=job, status="ready" if job.ready else "starting" if job.state == "RUNNING" else "waiting")
            for job in self.services.values()
            if job.kind == "worker" and job.state not in FINAL_STATES
        ]

    def take_events(self, found: EventList) -> list[dict[str, Any]]:
        """Events that the master has told, those that are new."""
        if found.last < self.last_event:  # of another journal
            self.events.clear()
            self.last_event = 0
        fresh = [event for event in found.events if event.seq > self.last_event]
        self.events.extend(fresh)
        self.last_event = found.last
        return [wire.plain(event) for event in fresh]

    def events_of(self, subject: str = "") -> list[dict[str, Any]]:
        """The latest events, in order; with ``subject`` those about that worker, pool or job."""
        return [wire.plain(event) for event in self.events if not subject or event.subject == subject]

    def newest_runs(self, limit: int) -> list[dict[str, Any]]:
        return [wire.run(run) for run in list(self.runs.values())[-limit:]][::-1]

    def named(self, job: JobInfo) -> dict[str, Any]:
        """A job with ``run_name``; empty when the run is none of the newest."""
        run = self.runs.get(job.run_id)
        return wire.job(job) | {"run_name": run.name if run else ""}

    def runs_of(self, run_id: str) -> list[dict[str, Any]]:
        """The runs in memory that jobs of this one have submitted, oldest first."""
        return [wire.run(run) for run in self.runs.values() if run.parent.partition("/")[0] == run_id]

    # --- parts ----------------------------------------------------------------------------------------------------

    def _keep(self, job: JobInfo) -> list[dict[str, Any]]:
        if job.state == "RUNNING":
            if job.key in self.active or len(self.active) < MAX_ACTIVE:
                self.active[job.key] = job
        else:
            self.active.pop(job.key, None)
        if job.kind != "run":
            _put(self.services, job.key, job, MAX_SERVICES)
        if job.state == "DEAD" and job.attempt:  # not those that only waited for one that failed
            if job.key not in self.failures:
                _put(self.failures, job.key, job, FAILURES)
            self.failures[job.key] = job
        return self._keep_executions(job)

    def _keep_executions(self, job: JobInfo) -> list[dict[str, Any]]:
        """Those that changed. A job from a list comes without them: then its last one is known."""
        found = [
            (each.attempt, each.worker, each.started_at, each.ended_at, each.outcome, each.exit_code)
            for each in job.executions
        ]
        if not found and job.attempt and job.started_at:
            outcome = {"COMPLETED": "completed", "CANCELLED": "cancelled", "DEAD": "failed"}.get(job.state, "")
            found = [(job.attempt, job.worker, job.started_at, job.ended_at, outcome, job.exit_code)]
        changed = []
        for attempt, worker, started_at, ended_at, outcome, exit_code in found:
            execution = {
                "key": job.key,
                "attempt": attempt,
                "kind": job.kind,
                "worker": worker,
                "started_at": started_at,
                "ended_at": ended_at,
                "outcome": outcome,
                "exit_code": exit_code,
            }
            if self.executions.get((job.key, attempt)) != execution:
                if (job.key, attempt) not in self.executions:
                    _put(self.executions, (job.key, attempt), execution, MAX_EXECUTIONS)
                self.executions[job.key, attempt] = execution
                changed.append(execution)
        return changed


def _put(table: OrderedDict[Any, Any], key: Any, value: Any, limit: int) -> None:
    """At the end, and the oldest goes when there are too many."""
    table[key] = value
    table.move_to_end(key)
    while len(table) > limit:
        table.popitem(last=False)
