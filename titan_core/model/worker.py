"""Worker: one process that runs jobs, as the master knows it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from titan_core.model.requirement import Need, Offer, offer_of
from titan_sdk.messages import CHILD_WORKERS

if TYPE_CHECKING:
    from titan_core.model.job import Job
    from titan_core.model.task_execution import TaskExecution

_STATUS: Final = {"completed": "COMPLETED", "failed": "FAILED", "timed_out": "FAILED", "cancelled": "CANCELLED"}
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class PastExecution(NamedTuple):
    """A line of a worker's history. ``status`` is COMPLETED, FAILED or CANCELLED, ``completed_at`` epoch ms."""

    job_id: str
    status: str
    duration_ms: int
    completed_at: int

    @classmethod
    def of(cls, job: Job, execution: TaskExecution) -> PastExecution | None:
        """The line for an execution of the job; None while it runs, and when it was lost or given back."""
        status = _STATUS.get(execution.outcome)
        if status is None:
            return None
        if job.ending == "stop" and execution.attempt == job.attempt:
            status = "COMPLETED"  # a service that is stopped has done its work
        duration_ms = max(execution.ended_at - execution.started_at, 0)
        return cls(job.spec.id, status, duration_ms, execution.ended_at)


class Worker:
    """Mutable state of a worker.

    Attributes:
        worker_id: lasts as long as the worker's workspace. boot_id: as long as its process; empty while the worker is
            known from restored leases alone. link: the connection it last registered on. seq: order of first
            registration.
        leases: the jobs that run here, by key. busy: how many of them hold a slot; children: the others, which are
            workers themselves. millicpus_used, memory_used, gpus_used: set apart for them.
        millicpus, memory, gpus: what there is to set apart; of the first two, 0 means that nobody counts.
        machine: the name of its machine, empty when unknown. cores: of the machine, 0 when unknown.
        ports: of its machine, each with the keys of the jobs that hold it; all workers of a machine share one dict.
        limits: which limits it enforces, for people. job_key: of the job that this worker is, empty when it is none.
        idle_since: monotonic seconds at which its last lease ended, or it came.
        connected: registered, and its link has not broken since. dead: declared so; holds nothing.
        draining: gets nothing more, and is to end, for drain_reason. cordoned: gets nothing more.
        held_until: monotonic seconds until which it gets nothing because it refused a dispatch; else 0.
        stamp: grows with every change of what FreeWorkers sorts by, so that it can tell old entries.
        history: the last executions that ended here, newest last.
    """

    __slots__ = (
        "boot_id",
        "busy",
        "capabilities",
        "children",
        "classic",
        "connected",
        "cordoned",
        "cores",
        "dead",
        "drain_reason",
        "draining",
        "gpus",
        "gpus_used",
        "held_until",
        "history",
        "host",
        "idle_since",
        "job_key",
        "leases",
        "limits",
        "link",
        "machine",
        "memory",
        "memory_used",
        "millicpus",
        "millicpus_used",
        "offer",
        "permanent",
        "port",
        "ports",
        "seq",
        "slots",
        "stamp",
        "worker_id",
    )

    def __init__(self, worker_id: str, seq: int, history: deque[PastExecution]) -> None:
        self.worker_id = worker_id
        self.seq = seq
        self.history = history
        self.boot_id = ""
        self.link = 0
        self.host = ""
        self.port = 0
        self.slots = 0
        self.permanent = False
        self.classic = False
        self.capabilities: frozenset[str] = frozenset()
        self.offer: Offer = offer_of(self.capabilities, self.classic)
        self.leases: dict[str, Job] = {}
        self.busy = self.children = 0
        self.millicpus = self.memory = self.gpus = 0
        self.millicpus_used = self.memory_used = self.gpus_used = 0
        self.machine = ""
        self.ports: dict[int, set[str]] = {}
        self.cores = 0
        self.limits: tuple[str, ...] = ()
        self.job_key = ""
        self.idle_since = 0.0
        self.connected = False
        self.dead = False
        self.draining = False
        self.drain_reason = ""
        self.cordoned = False
        self.held_until = 0.0
        self.stamp = 0

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.host}:{self.port}" if self.host else self.worker_id

    @property
    def state(self) -> str:
        """``alive``, ``away``, ``draining``, ``cordoned`` or ``dead``, as in messages.WorkerInfo."""
        if self.dead:
            return "dead"
        if not self.connected:
            return "away"
        if self.draining:
            return "draining"
        return "cordoned" if self.cordoned else "alive"

    @property
    def open(self) -> bool:
        """Whether it may get dispatches, as far as its room goes."""
        return self.connected and not self.draining and not self.cordoned and not self.held_until

    @property
    def load(self) -> float:
        """Busy slots over slots; only of a worker that has registered."""
        return self.busy / self.slots

    def satisfies(self, need: Need) -> bool:
        """Whether it could run such jobs if nothing else ran on it."""
        if not need.capabilities <= self.offer:
            return False
        return not need.counted or (
            (not self.millicpus or need.millicpus <= self.millicpus)
            and (not self.memory or need.memory <= self.memory)
            and need.gpus <= self.gpus
        )

    def has_room_for(self, need: Need) -> bool:
        """Whether a dispatch of a need that it satisfies may go to it now."""
        if not self.open:
            return False
        if need.spawn:
            return self.children < CHILD_WORKERS
        if self.busy >= self.slots:
            return False
        return not need.counted or (
            (not self.millicpus or self.millicpus_used + need.millicpus <= self.millicpus)
            and (not self.memory or self.memory_used + need.memory <= self.memory)
            and self.gpus_used + need.gpus <= self.gpus
            and need.port not in self.ports
        )

    def hold(self, job: Job) -> None:
        """A lease of the job to this worker begins."""
        self.leases[job.key] = job
        self._count(job, 1)

    def give_up(self, job: Job, at: float) -> None:
        """Its lease ends, at a monotonic second."""
        del self.leases[job.key]
        self._count(job, -1)
        if not self.leases:
            self.idle_since = at

    def share_ports(self, ports: dict[int, set[str]]) -> None:
        """It is on the machine whose ports these are."""
        mine = [job for job in self.leases.values() if job.need.port]
        for job in mine:
            self._count_port(job, -1)
        self.ports = ports
        for job in mine:
            self._count_port(job, 1)

    def _count_port(self, job: Job, sign: int) -> None:
        holders = self.ports.setdefault(job.need.port, set())
        (holders.add if sign > 0 else holders.discard)(job.key)
        if not holders:
            del self.ports[job.need.port]

    def _count(self, job: Job, sign: int) -> None:
        need = job.need
        if need.spawn:
            self.children += sign
        else:
            self.busy += sign
        if need.counted:
            self.millicpus_used += sign * need.millicpus
            self.memory_used += sign * need.memory
            self.gpus_used += sign * need.gpus
            if need.port:
                self._count_port(job, sign)

    def set_offer(self, capabilities: frozenset[str], classic: bool) -> None:
        self.capabilities = capabilities
        self.classic = classic
        self.offer = offer_of(capabilities, classic)

    def is_beside(self, other: Worker) -> bool:
        """Whether both are on one machine, as far as is known of them."""
        if self.machine and other.machine:
            return self.machine == other.machine
        return bool(self.host) and self.host == other.host

    def is_at(self, host: str, port: int, others: frozenset[str] = frozenset()) -> bool:
        """Whether host:port names it; the names of the loopback address are one. ``others`` mean the same host."""
        if self.port != port:
            return False
        if self.host == host or self.host in others or (host in _LOOPBACK and self.host in _LOOPBACK):
            return True
        return self.machine.lower() == host.lower() != ""
