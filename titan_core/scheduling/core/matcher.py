"""Matcher: brings PENDING jobs and free slots together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from heapq import heapify, heappop, heappush

from titan_core.model.job import Job
from titan_core.model.requirement import Need
from titan_core.model.worker import Worker
from titan_core.scheduling.core.free_workers import FreeWorkers
from titan_core.scheduling.core.ready_queue import Entry, ReadyQueue


class Lane:
    """One need: the jobs that have it, and the workers with room that satisfy it."""

    __slots__ = ("free", "need", "ready")

    def __init__(self, need: Need, jobs: Mapping[str, Job]) -> None:
        self.need = need
        self.ready = ReadyQueue(jobs)
        self.free = FreeWorkers()


class Matcher:
    """A lane for each need. A job stands in one lane; a worker is offered in every lane whose need it satisfies.

    Between events no lane has both a job and a free worker. So only lanes that got a job, or whose workers got room,
    are looked at, and work that nobody can run costs the rest nothing.
    """

    def __init__(self, jobs: Mapping[str, Job], workers: Mapping[str, Worker], idle_lanes: int) -> None:
        self._jobs = jobs
        self._workers = workers
        self._idle_lanes = idle_lanes
        self._lanes: dict[Need, Lane] = {}
        self._lanes_of: dict[str, list[Lane]] = {}
        self._changed: dict[Need, Lane] = {}

    def lanes(self) -> Iterable[Lane]:
        return self._lanes.values()

    def enqueue(self, job: Job) -> None:
        """The job is PENDING."""
        lane = self._lanes.get(job.need)
        if lane is None:
            lane = self._open_lane(job.need)
        lane.ready.put(job)
        self._changed[job.need] = lane

    def take(self, job: Job) -> None:
        """The PENDING job is to be leased out of turn."""
        self._lanes[job.need].ready.take(job)

    def withdraw(self, job: Job) -> None:
        """The job was PENDING and has ended without a dispatch."""
        self._lanes[job.need].ready.withdraw()

    def ports_changed(self, worker: Worker) -> None:
        """The worker's leases changed, and with them which ports its machine has left for all workers there."""
        for each in self._workers.values():
            if each.ports is worker.ports:
                self.load_changed(each)

    def load_changed(self, worker: Worker) -> None:
        """The worker's leases changed, or whether it may get any."""
        worker.stamp += 1
        if not worker.open:
            return
        for lane in self._lanes_of.get(worker.worker_id, ()):
            if worker.has_room_for(lane.need):
                lane.free.offer(worker)
                if lane.ready:
                    self._changed[lane.need] = lane

    def offer_changed(self, worker: Worker) -> None:
        """The worker registered: what it offers may be new."""
        self._lanes_of[worker.worker_id] = [lane for lane in self._lanes.values() if worker.satisfies(lane.need)]
        self.load_changed(worker)

    def forget(self, worker: Worker) -> None:
        """The worker is dead or has left."""
        worker.stamp += 1
        self._lanes_of.pop(worker.worker_id, None)

    def match(self, preferred: Callable[[Job], Worker | None], lease: Callable[[Job, Worker], None]) -> None:
        """Lease out every job that a worker has room for, in the order of priority and arrival over all lanes.

        ``preferred`` names a worker that a job would rather run on, if it has room and satisfies the job's need.
        ``lease`` makes the job RUNNING and calls ``load_changed``.
        """
        turns: list[tuple[Entry, Lane]] = []
        for lane in self._changed.values():
            head = lane.ready.head()
            if head is not None:
                turns.append((head, lane))
        self._changed.clear()
        heapify(turns)
        while turns:
            lane = heappop(turns)[1]
            worker = lane.free.best()
            if worker is None:
                continue  # rooms only get fewer while this goes on
            job = lane.ready.pop()
            lease(job, preferred(job) or worker)
            head = lane.ready.head()
            if head is not None:
                heappush(turns, (head, lane))
        # What the leases changed needs no second look: a lane that still has jobs has no free worker.
        self._changed.clear()

    def _open_lane(self, need: Need) -> Lane:
        if len(self._lanes) >= self._idle_lanes:
            self._close_idle_lanes()
        lane = self._lanes[need] = Lane(need, self._jobs)
        for worker_id, lanes in self._lanes_of.items():
            worker = self._workers[worker_id]
            if worker.satisfies(need):
                lanes.append(lane)
                if worker.has_room_for(need):
                    lane.free.offer(worker)
        return lane

    def _close_idle_lanes(self) -> None:
        self._lanes = {need: lane for need, lane in self._lanes.items() if lane.ready}
        for worker_id, lanes in self._lanes_of.items():
            self._lanes_of[worker_id] = [lane for lane in lanes if lane.ready]
