"""Worker: one process that runs jobs, as the master knows it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from titan_core.model.requirement import Need, offer_of

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
        leases: the jobs that hold a slot, by key.
        connected: registered, and its link has not broken since. dead: declared so; holds nothing.
        draining: gets nothing more. held_until: monotonic seconds until which it gets nothing because it refused a
            dispatch; 0 when it does not count.
        stamp: grows with every change of what FreeWorkers sorts by, so that it can tell old entries.
        history: the last executions that ended here, newest last.
    """

    __slots__ = (
        "boot_id",
        "capabilities",
        "classic",
        "connected",
        "dead",
        "draining",
        "held_until",
        "history",
        "host",
        "leases",
        "link",
        "offer",
        "permanent",
        "port",
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
        self.offer: Need = offer_of(self.capabilities, self.classic)
        self.leases: dict[str, Job] = {}
        self.connected = False
        self.dead = False
        self.draining = False
        self.held_until = 0.0
        self.stamp = 0

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.host}:{self.port}" if self.host else self.worker_id

    @property
    def state(self) -> str:
        """``alive``, ``away``, ``draining`` or ``dead``, as in messages.WorkerInfo."""
        if self.dead:
            return "dead"
        if not self.connected:
            return "away"
        return "draining" if self.draining else "alive"

    @property
    def has_room(self) -> bool:
        """Whether a dispatch may go to it now."""
        return len(self.leases) < self.slots and self.connected and not self.draining and not self.held_until

    @property
    def load(self) -> float:
        """Busy slots over slots; only where has_room."""
        return len(self.leases) / self.slots

    def satisfies(self, need: Need) -> bool:
        return need <= self.offer

    def set_offer(self, capabilities: frozenset[str], classic: bool) -> None:
        self.capabilities = capabilities
        self.classic = classic
        self.offer = offer_of(capabilities, classic)

    def is_at(self, host: str, port: int) -> bool:
        """Whether host:port names it; the names of the loopback address are one."""
        return self.port == port and (self.host == host or (host in _LOOPBACK and self.host in _LOOPBACK))
