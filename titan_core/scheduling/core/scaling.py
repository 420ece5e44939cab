"""The scaling policy: what to do about work that waits without a free slot, and about workers without work.

Pure: it looks at queues, workers and the load of their machines, and returns decisions.

A pool is what one set of capabilities needs: the workers that offer all of them, and the jobs that want them. It is
saturated when jobs wait that no worker has room for. One that has more jobs waiting than its workers have slots is
acted on at once; a shorter queue only when it was there at the look before and has not been empty since.
A pool at most doubles at one look. A new worker is started by a worker of the pool, because what a machine can do (a
GPU) is known of it alone; on the machine whose processors are least busy, if it has room.

Only workers that scaling has started are ever ended by it: one that a person started, permanent or not, is there
because somebody wants it. One of a pool goes at a look, idle for a whole ``idle_s``, the one with the highest port
first; so whatever the load does, a worker that was started stays at least that long.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from titan_core.model.requirement import STRUCTURED, Need, Offer
from titan_core.model.worker import Worker
from titan_core.scheduling.core.events import WorkerLoad
from titan_sdk.messages import CHILD_WORKERS
from titan_sdk.sizes import format_size

LOAD_PER_CORE: Final = 8.0
"""A machine where so many processes for each core run, or would if they could, is overloaded by any standard. Less does
not count: most jobs wait for something else, and those that do not are bounded by ``busy_percent``."""
SLOTS_PER_CORE: Final = 16
"""A machine takes no more slots than this for each core, however idle it seems: its load is known a moment late."""
WORKER_MEMORY: Final = 256 << 20
"""Bytes that must be free for a further worker, beside what the waiting job wants: its processes and small jobs."""
FIRST_PAUSE_S: Final = 30.0
LONGEST_PAUSE_S: Final = 600.0
"""After a worker of a pool could not be started, and between two requests for machines; doubles up to the latter."""
_UNKNOWN: Final = WorkerLoad(0.0, 0)


class Demand(NamedTuple):
    """Jobs with the same need that wait, none of which any worker has room for.

    ``emptied`` counts how often none waited any more: when it is as before, some have waited ever since.
    """

    need: Need
    queued: int
    emptied: int = 0


class Coming(NamedTuple):
    """A worker that is being started: where, and what it will offer."""

    machine: str
    capabilities: Offer
    slots: int


@dataclass(frozen=True, slots=True)
class StartWorker:
    """``host``: the worker that is to start it."""

    host: Worker
    capabilities: Offer
    reason: str


@dataclass(frozen=True, slots=True)
class EndWorker:
    worker: Worker
    reason: str


@dataclass(frozen=True, slots=True)
class WantMachines:
    """No machine has room for ``count`` workers with these capabilities."""

    capabilities: Offer
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class AtLimit:
    """The pool is saturated, and there are as many workers as there may be. Said once for as long as it lasts."""

    capabilities: Offer
    reason: str


Decision = StartWorker | EndWorker | WantMachines | AtLimit


@dataclass(slots=True)
class _Pool:
    """What is remembered of a pool: when it may be acted on again, and for how long after the next failure."""

    seen: dict[Need, int] = field(default_factory=dict)
    """What waited at the look before, with Demand.emptied."""
    not_before: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    told_limit: bool = False

    def rest(self, now: float) -> None:
        self.not_before = now + self.pause_s
        self.pause_s = min(2 * self.pause_s, LONGEST_PAUSE_S)


def pool_of(need: Need) -> Offer:
    return need.capabilities - {STRUCTURED}


def pool_name(capabilities: Collection[str]) -> str:
    """For people."""
    return ",".join(sorted(capabilities)) or "any"


def machine_of(worker: Worker) -> str:
    return worker.machine or worker.host


class ScalingPolicy:
    """Decides at each look. Durations in seconds.

    Args:
        max_workers: of the whole cluster. idle_s: after which a worker that scaling started may go.
        busy_percent: a machine that is busier takes no further worker.
        scaled: whether scaling started a worker.
    """

    def __init__(self, max_workers: int, idle_s: float, busy_percent: float, scaled: Callable[[Worker], bool]) -> None:
        self._max_workers = max_workers
        self._idle_s = idle_s
        self._busy_percent = busy_percent
        self._scaled = scaled
        self._pools: dict[Offer, _Pool] = {}

    def failed(self, capabilities: Offer, now: float) -> None:
        """A worker for this pool could not be started: wait before the next try."""
        self._pool(capabilities).rest(now)

    def succeeded(self, capabilities: Offer) -> None:
        pool = self._pool(capabilities)
        pool.pause_s = FIRST_PAUSE_S

    def decide(
        self,
        now: float,
        demands: Iterable[Demand],
        workers: Collection[Worker],
        loads: Mapping[str, WorkerLoad],
        coming: Collection[Coming],
    ) -> list[Decision]:
        """``workers``: all that are not dead. ``demands``: what waits for room. ``now``: monotonic seconds."""
        grouped: dict[Offer, list[Demand]] = {}
        for demand in demands:
            if not demand.need.spawn and demand.queued:
                grouped.setdefault(pool_of(demand.need), []).append(demand)
        decisions: list[Decision] = []
        look = _Look(self, now, workers, loads, list(coming))
        for capabilities in sorted(grouped, key=pool_name):
            decisions += look.grow(self._pool(capabilities), capabilities, grouped[capabilities])
        for capabilities, pool in list(self._pools.items()):
            if capabilities not in grouped:
                pool.seen = {}
                pool.told_limit = False
                if now >= pool.not_before:
                    del self._pools[capabilities]
        return decisions + self._shrink(now, workers)

    def _pool(self, capabilities: Offer) -> _Pool:
        return self._pools.setdefault(capabilities, _Pool())

    def _shrink(self, now: float, workers: Collection[Worker]) -> list[Decision]:
        """Of each pool the idle worker with the highest port, if any."""
        idle: dict[Offer, Worker] = {}
        for worker in workers:
            closed = not worker.connected or worker.draining or worker.cordoned
            if closed or worker.permanent or worker.leases or not self._scaled(worker):
                continue
            if now - worker.idle_since < self._idle_s:
                continue
            chosen = idle.get(worker.capabilities)
            if chosen is None or worker.port > chosen.port:
                idle[worker.capabilities] = worker
        return [
            EndWorker(worker, f"idle for {now - worker.idle_since:.0f} s; it was started for a burst that is over")
            for worker in idle.values()
        ]


class _Look:
    """One look at the cluster; what is decided for one pool counts for the next."""

    def __init__(
        self,
        policy: ScalingPolicy,
        now: float,
        workers: Collection[Worker],
        loads: Mapping[str, WorkerLoad],
        coming: list[Coming],
    ) -> None:
        self._policy = policy
        self._now = now
        self._workers = workers
        self._loads = loads
        self._coming = coming
        self._children: dict[str, int] = {}

    def grow(self, pool: _Pool, capabilities: Offer, demands: list[Demand]) -> list[Decision]:
        # Of those that have not come back since the master's restart nobody knows what they offer.
        members = [
            each
            for each in self._workers
            if (capabilities <= each.capabilities and not each.draining) or not each.slots
        ]
        queued = sum(demand.queued for demand in demands)
        lasting = any(pool.seen.get(demand.need) == demand.emptied for demand in demands)
        pool.seen = {demand.need: demand.emptied for demand in demands}
        if self._now < pool.not_before or any(member.connected and member.held_until for member in members):
            return []
        if not lasting and not all(member.connected for member in members):
            return []  # those that are away may be back in a moment; for more than a look nobody waits
        slots = sum(member.slots for member in members)
        if not lasting and queued <= slots:
            return []
        missing = queued - sum(each.slots for each in self._coming if capabilities <= each.capabilities)
        if missing <= 0:
            return []
        size = max((member.slots for member in members if member.slots), default=4)
        wanted = min(-(-missing // size), max(1, len(members)))
        room = self._policy._max_workers - len(self._workers) - len(self._coming)
        what = f"{queued} job{'s wait' if queued > 1 else ' waits'} for {pool_name(capabilities)}"
        if room <= 0:
            if pool.told_limit:
                return []
            pool.told_limit = True
            return [AtLimit(capabilities, f"{what}, and there are {len(self._workers)} workers, as many as may be")]
        pool.told_limit = False
        wanted = min(wanted, room)
        workers = f"none of {len(members)} workers has room" if len(members) > 1 else "its only worker has no room"
        what += f", {workers}" if members else ", no worker offers it"
        need = _smallest(demands)
        decisions: list[Decision] = []
        why_not = ""
        while len(decisions) < wanted:
            host, why_not = self._host(members, capabilities, need)
            if host is None:
                break
            load = self._loads.get(host.worker_id, _UNKNOWN)
            decisions.append(StartWorker(host, capabilities or host.capabilities, f"{what}; {_room_text(host, load)}"))
            self._coming.append(Coming(machine_of(host), capabilities or host.capabilities, host.slots))
            self._children[host.worker_id] = self._children.get(host.worker_id, 0) + 1
        if not decisions:
            pool.rest(self._now)
            decisions.append(WantMachines(capabilities, wanted, f"{what}; {why_not}" if why_not else what))
        return decisions

    def _host(self, members: list[Worker], capabilities: Offer, need: Need) -> tuple[Worker | None, str]:
        """The worker that is best to start another one; or why none can."""
        possible: list[Worker] = []
        why_not = ""
        for worker in members:
            refusal = self._refusal(worker, need)
            if refusal:
                why_not = refusal
            else:
                possible.append(worker)
        scaled = self._policy._scaled
        return min(
            possible,
            # Children of those that stay do not keep others from going.
            key=lambda worker: (self._busy(worker), scaled(worker), self._children_of(worker), worker.seq),
            default=None,
        ), why_not

    def _refusal(self, worker: Worker, need: Need) -> str:
        """Why a further worker cannot be started by this one; empty when it can."""
        machine = machine_of(worker)
        if worker.classic:
            return f"{worker.name} is an original worker, which cannot start others"
        if worker.cordoned:
            return f"{worker.name} is cordoned"
        if not worker.connected:
            return f"{worker.name} is away"
        if need.port in worker.ports:
            return f"port {need.port} of {machine} is taken"
        if need.gpus:
            return "a further worker on the same machine has no further GPUs"
        if not worker.satisfies(need):
            return f"{worker.name} is too small for what waits"
        if self._children_of(worker) >= CHILD_WORKERS:
            return f"{worker.name} has started {CHILD_WORKERS} workers, as many as it may"
        busy = self._busy(worker)
        if busy > self._policy._busy_percent:
            return f"the processors of {machine} are busy at {busy:.0f} %"
        running = max(self._loads.get(each.worker_id, _UNKNOWN).load for each in self._on(machine))
        if worker.cores and running > worker.cores * LOAD_PER_CORE:
            return f"{machine} has {running:.0f} processes that want to run on {worker.cores} cores"
        new = [each for each in self._coming if each.machine == machine]
        slots = sum(each.slots for each in self._on(machine)) + sum(each.slots for each in new)
        if worker.cores and slots + worker.slots > worker.cores * SLOTS_PER_CORE:
            return f"{machine} has {slots} slots for {worker.cores} cores"
        idle_cores = worker.cores * (1 - busy / 100)
        if worker.cores and need.millicpus > idle_cores * 1000:
            return f"{machine} has {idle_cores:.1f} idle cores"
        free = self._memory_free(worker) - len(new) * WORKER_MEMORY
        if self._memory_free(worker) and free < WORKER_MEMORY + need.memory:
            return f"{machine} has {format_size(max(free, 0))} of free memory"
        return ""

    def _on(self, machine: str) -> list[Worker]:
        return [worker for worker in self._workers if machine_of(worker) == machine]

    def _children_of(self, worker: Worker) -> int:
        return worker.children + self._children.get(worker.worker_id, 0)

    def _busy(self, worker: Worker) -> float:
        """What the workers of its machine last measured, the most of it."""
        there = self._on(machine_of(worker))
        return max(self._loads.get(each.worker_id, _UNKNOWN).cpu_percent for each in there)

    def _memory_free(self, worker: Worker) -> int:
        told = [self._loads.get(each.worker_id, _UNKNOWN).memory_free for each in self._on(machine_of(worker))]
        return min((size for size in told if size), default=0)


def _smallest(demands: list[Demand]) -> Need:
    """The least of the needs: who cannot help the greatest may help this one."""
    needs = (demand.need for demand in demands)
    return min(needs, key=lambda need: (bool(need.port), need.gpus, need.memory, need.millicpus))


def _room_text(host: Worker, load: WorkerLoad) -> str:
    memory = f", {format_size(load.memory_free)} of memory free" if load.memory_free else ""
    return f"{machine_of(host)} has room (processors {load.cpu_percent:.0f} % busy{memory})"
