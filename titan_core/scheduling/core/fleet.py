"""Fleet: what becomes of workers, and of the jobs on them."""

from __future__ import annotations

from typing import Final

from titan_core.model.rows import CordonRow
from titan_core.model.worker import Worker
from titan_core.scheduling.core.changes import Changes
from titan_core.scheduling.core.commands import Answer, CloseLink, DecommissionWorker, ForgetCordon, SaveCordon
from titan_core.scheduling.core.event_log import EventLog
from titan_core.scheduling.core.events import (
    CordonRequested,
    DrainRequested,
    Instant,
    LinkBroken,
    WorkerLeft,
    WorkerRegistered,
    WorkerSilent,
)
from titan_core.scheduling.core.lifecycle import LOST, AttemptEnd, JobLifecycle
from titan_core.scheduling.core.matcher import Matcher
from titan_core.scheduling.core.worker_registry import WorkerRegistry
from titan_sdk.errors import Conflict, NotFound, Unavailable
from titan_sdk.messages import EventKind, Lease
from titan_sdk.sizes import counted

CORDONS: Final = 1000
"""Workers that are kept from jobs at once, those that are gone included: more is somebody's loop."""


class Fleet:
    """Handles the events about workers."""

    def __init__(
        self,
        registry: WorkerRegistry,
        matcher: Matcher,
        lifecycle: JobLifecycle,
        changes: Changes,
        events: EventLog,
        hold_s: float,
    ) -> None:
        self._registry = registry
        self._matcher = matcher
        self._lifecycle = lifecycle
        self._changes = changes
        self._events = events
        self._hold_s = hold_s

    def registered(self, event: WorkerRegistered, now: Instant) -> None:
        worker = self._registry.get(event.worker_id) or self._registry.add(event.worker_id)
        same_process = worker.boot_id == event.boot_id
        self._note_arrival(worker, event, same_process, now)
        if worker.connected and worker.link != event.link:
            self._changes.effect(CloseLink(worker.worker_id, worker.link, "the worker has a new connection"))
        self._take_over(worker, event, same_process)
        for beside in self._registry.place(worker):
            self._matcher.load_changed(beside)
        self._job_is_there(worker, now)
        stale = self._stale(worker, event.holding or ())
        self._changes.effect(Answer(stale))
        if event.holding is not None:
            self._drop_leases_not_held(worker, frozenset(event.holding), same_process, now)
        for job in worker.leases.values():
            if job.ending:
                self._lifecycle.ask_for_end_again(job)
        self._matcher.offer_changed(worker)
        self._go_on_draining(worker)

    def _note_arrival(self, worker: Worker, event: WorkerRegistered, same_process: bool, now: Instant) -> None:
        """What people want to know of it: a new worker or process, or one that had been away."""
        name = f"{event.host}:{event.port}"
        if not same_process or worker.dead:
            kind = "permanent" if event.permanent else "ephemeral"
            origin = f", the job {event.job}" if self._lifecycle.worker_job(event.job) else ""
            offers = ", ".join(sorted(event.capabilities))
            what = f"{kind}, {counted(event.slots, 'slot')}, offers {offers}{origin}"
            if worker.boot_id and not same_process:
                what = f"started anew; {what}"
            self._events.note("worker-joined", name, what, now)
            worker.idle_since = now.monotonic
        elif not worker.connected:
            self._events.note("worker-back", name, "its connection stands again", now)

    def _job_is_there(self, worker: Worker, now: Instant) -> None:
        """The job that this worker is has what it was started for, or was to be ended before it came so far."""
        job = self._lifecycle.worker_job(worker.job_key)
        if job is None:
            return
        if job.ending:
            worker.draining = True
            worker.drain_reason = job.reason
        else:
            self._lifecycle.service_ready(job, now)

    def _take_over(self, worker: Worker, event: WorkerRegistered, same_process: bool) -> None:
        """Make the worker what the event says."""
        capabilities, permanent = event.capabilities, event.permanent
        if event.classic and same_process and not worker.dead:
            # Each registration of a classic worker names one more capability.
            capabilities |= worker.capabilities
            permanent |= worker.permanent
        self._registry.revive(worker)
        self._registry.release(worker)
        worker.boot_id = event.boot_id
        worker.link = event.link
        worker.host = event.host
        worker.port = event.port
        worker.slots = event.slots
        worker.permanent = permanent
        worker.millicpus = round(event.cpus * 1000)
        worker.memory = event.memory
        worker.gpus = event.gpus
        worker.machine = event.machine
        worker.cores = event.cores
        worker.limits = event.limits
        worker.job_key = event.job
        worker.set_offer(capabilities, event.classic)
        worker.connected = True
        worker.draining = worker.draining and same_process

    def _stale(self, worker: Worker, holding: tuple[Lease, ...]) -> tuple[Lease, ...]:
        return tuple(
            lease for lease in holding if (job := worker.leases.get(lease.job)) is None or not job.holds(lease)
        )

    def _drop_leases_not_held(self, worker: Worker, held: frozenset[Lease], same_process: bool, now: Instant) -> None:
        """Take back what the worker does not have.

        The process we know never got it. Another one has lost it with its predecessor, or so it must be taken: after a
        restart of the master nobody can tell the two apart, and a job that takes whole machines down must not go on
        for ever.
        """
        if same_process:
            end = AttemptEnd("handed_back", "it never reached its worker")
        else:
            end = AttemptEnd(LOST, "its worker was started anew")
        for job in list(worker.leases.values()):
            if job.lease() not in held:
                self._lifecycle.attempt_over(job, worker, end, now)

    def link_broken(self, event: LinkBroken, now: Instant) -> None:
        worker = self._registry.get(event.worker_id)
        if worker is None or not worker.connected or worker.link != event.link:
            return
        worker.connected = False
        self._matcher.load_changed(worker)
        self._events.note("worker-away", worker.name, f"its connection broke: {event.reason}", now)

    def silent(self, event: WorkerSilent, now: Instant) -> None:
        worker = self._registry.get(event.worker_id)
        if worker is None or worker.dead or worker.boot_id != event.boot_id:
            return
        if worker.connected:
            self._changes.effect(CloseLink(worker.worker_id, worker.link, event.reason))
        self._events.note("worker-died", worker.name, event.reason + _with_jobs(worker), now)
        self._registry.declare_dead(worker)
        self._matcher.forget(worker)
        self._end_leases(worker, AttemptEnd(LOST, f"its worker died: {event.reason}"), now)

    def left(self, event: WorkerLeft, now: Instant) -> None:
        worker = self._registry.get(event.worker_id)
        if worker is None or worker.boot_id != event.boot_id:
            return
        self._events.note("worker-left", worker.name, event.reason, now)
        self._registry.remove(worker)
        worker.connected = False
        self._matcher.forget(worker)
        self._end_leases(worker, AttemptEnd("handed_back", "its worker left"), now)

    def _end_leases(self, worker: Worker, end: AttemptEnd, now: Instant) -> None:
        for job in list(worker.leases.values()):
            self._lifecycle.attempt_over(job, worker, end, now)

    def drain_requested(self, event: DrainRequested, now: Instant) -> None:
        worker = self._find(event)
        if worker.permanent:
            raise Conflict(
                f"the worker at {event.host}:{event.port} is permanent: it is not ended from here; "
                "SIGTERM on its own machine ends it, and `drain` keeps new jobs away from it"
            )
        self._changes.effect(Answer(worker.worker_id))
        reason = "decommissioned on request"
        if not worker.draining:
            self._events.note("worker-draining", worker.name, reason + _with_jobs(worker), now)
        self.decommission(worker, reason)

    def cordon_requested(self, event: CordonRequested, now: Instant) -> None:
        if event.undo and self._registry.at(event.host, event.port, event.names) is None:
            self._forget_absent(event, now)
            return
        worker = self._find(event)
        if worker.draining and event.undo:
            raise Conflict(f"the worker at {event.host}:{event.port} has been told to end, which is not taken back")
        full = len(self._registry.cordons) >= CORDONS
        if full and not event.undo and worker.worker_id not in self._registry.cordons:
            raise Unavailable(f"{CORDONS} workers are kept from jobs already; take some of these back first")
        self._changes.effect(Answer(worker.worker_id))
        if worker.cordoned is event.undo:
            kind: EventKind = "worker-uncordoned" if event.undo else "worker-cordoned"
            text = "it gets jobs again" if event.undo else "it gets no new jobs" + _with_jobs(worker)
            self._events.note(kind, worker.name, text, now)
        self._set_cordon(worker, not event.undo)
        self._matcher.load_changed(worker)

    def _set_cordon(self, worker: Worker, cordoned: bool) -> None:
        cordons, worker_id = self._registry.cordons, worker.worker_id
        worker.cordoned = cordoned
        if cordoned and worker_id not in cordons:
            row = cordons[worker_id] = CordonRow(worker_id, worker.host, worker.port)
            self._changes.cordon(SaveCordon(row))
        elif not cordoned and cordons.pop(worker_id, None) is not None:
            self._changes.cordon(ForgetCordon(worker_id))

    def _forget_absent(self, event: CordonRequested, now: Instant) -> None:
        """Nobody is at that address: let whoever was there have jobs when it comes back."""
        hosts = {event.host, *event.names}
        found = [row for row in self._registry.cordons.values() if row.port == event.port and row.host in hosts]
        if not found:
            raise NotFound(f"no worker at {event.host}:{event.port}")
        self._changes.effect(Answer(found[-1].worker_id))
        for row in found:
            del self._registry.cordons[row.worker_id]
            self._changes.cordon(ForgetCordon(row.worker_id))
            if (known := self._registry.get(row.worker_id)) is not None:
                known.cordoned = False
        self._events.note("worker-uncordoned", f"{event.host}:{event.port}", "it gets jobs when it comes back", now)

    def _find(self, event: DrainRequested | CordonRequested) -> Worker:
        worker = self._registry.at(event.host, event.port, event.names)
        if worker is None:
            raise NotFound(f"no worker at {event.host}:{event.port}")
        return worker

    def decommission(self, worker: Worker, reason: str) -> None:
        """It gets nothing more, and is told to end once it has done or given back what it has."""
        if not worker.draining:
            worker.drain_reason = reason
        worker.draining = True
        self._matcher.load_changed(worker)
        self._go_on_draining(worker)

    def job_came_back(self, worker: Worker, now: Instant) -> None:
        """The worker refused a job, or gave one up: ask it nothing for a moment."""
        self._registry.hold(worker, now.monotonic + self._hold_s)
        self._matcher.load_changed(worker)
        self._go_when_idle(worker)

    def job_ended(self, worker: Worker) -> None:
        """The worker has finished something: if it refused before, it has a slot now."""
        if worker.held_until:
            self._registry.release(worker)
            self._matcher.load_changed(worker)
        self._go_when_idle(worker)

    def holds_over(self, now: Instant) -> None:
        for worker in self._registry.release_due(now.monotonic):
            self._matcher.load_changed(worker)

    def _go_on_draining(self, worker: Worker) -> None:
        """Tell a draining worker to go. Ours waits for its jobs itself; a classic one ends at once, so we wait."""
        if worker.draining and worker.connected and not (worker.classic and _runs_a_job(worker)):
            self._changes.effect(DecommissionWorker(worker.worker_id, worker.drain_reason))

    def _go_when_idle(self, worker: Worker) -> None:
        if worker.classic:
            self._go_on_draining(worker)


def _with_jobs(worker: Worker) -> str:
    if not worker.leases:
        return ""
    return f"; it has {len(worker.leases)} job{'s' if len(worker.leases) > 1 else ''}"


def _runs_a_job(worker: Worker) -> bool:
    """Whether it has something that ends by itself."""
    return not all(job.is_service for job in worker.leases.values())
