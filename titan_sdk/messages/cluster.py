"""Messages about workers, events and the cluster as a whole."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import field

from titan_sdk.messages.base import Message, Ok, Request
from titan_sdk.messages.jobs import JobInfo, RunSummary
from titan_sdk.protocol import Opcode

CHILD_WORKERS: Final = 4
"""Workers that one worker may start, beside the jobs in its slots; each has a supervisor at the ready."""


class WorkerInfo(Message):
    """A worker in the master's eyes.

    Attributes:
        state: ``alive``, ``away`` (link broken, in grace), ``draining`` (about to end), ``cordoned`` (gets nothing new,
            goes on) or ``dead``.
        busy: slots in use. children: workers that it has started and that run.
        cpus, memory, gpus: set apart for jobs, of which ``*_used`` are taken. limits: those that it enforces, in words.
        machine: the name of its machine, cores: the machine's. job: the key of the job that it is, if it is one.
        scaled: scaling has started it, and ends it when it is idle.
    """

    worker_id: str
    host: str
    port: int
    state: str
    capabilities: tuple[str, ...]
    slots: int
    busy: int
    permanent: bool = False
    classic: bool = False
    jobs: tuple[str, ...] = ()
    cpu_percent: float = 0.0
    memory_percent: float = 0.0
    last_seen_s: float = 0.0
    children: int = 0
    cpus: float = 0.0
    cpus_used: float = 0.0
    memory: int = 0
    memory_used: int = 0
    gpus: int = 0
    gpus_used: int = 0
    limits: tuple[str, ...] = ()
    machine: str = ""
    cores: int = 0
    job: str = ""
    scaled: bool = False


EventKind = Literal[
    "worker-joined", "worker-back", "worker-away", "worker-left", "worker-died", "worker-draining", "worker-cordoned",
    "worker-uncordoned", "scale-up", "scale-up-failed", "scale-down", "scale-limit", "machines-wanted",
    "machines-asked", "machines-not-asked",
    "job-quarantined", "service-restarting", "service-crash-loop", "service-lost", "service-moved",
    "service-replaced", "service-rolled-back", "service-handover",
    "schedule-created", "schedule-changed", "schedule-deleted", "schedule-paused", "schedule-resumed",
    "schedule-fired", "schedule-skipped", "schedule-missed", "schedule-refused", "schedule-ended",
    "approval-asked", "approval-given", "approval-refused", "approval-expired",
    "approval-withdrawn", "repair-begun", "repair-applied", "repair-failed",
]  # fmt: skip
"""What can happen to a cluster."""


class EventInfo(Message):
    """Something that happened. ``subject``: the worker, pool, job or schedule it is about; ``text``: what, and why."""

    seq: int
    at: int
    kind: str
    subject: str
    text: str


class KillWorker(Request[Ok]):
    """Decommission the worker at host:port: no new jobs, running ones finish or are handed back, then it ends."""

    OPCODE = Opcode.KILL_WORKER
    ANSWER = Ok
    host: str
    port: int


class Cordon(Request[Ok]):
    """The worker at host:port gets no new jobs, finishes what it has, and stays; with ``undo`` it gets jobs again."""

    OPCODE = Opcode.CORDON
    ANSWER = Ok
    host: str
    port: int
    undo: bool = False


class StatsText(Message):
    text: str


class GetStats(Request[StatsText]):
    """The text monitor of PROTOCOL.md section 6."""

    OPCODE = Opcode.STATS
    ANSWER = StatsText


class StatsData(Message):
    """The JSON of PROTOCOL.md section 6, as a map."""

    data: dict[str, Any]


class GetStatsJson(Request[StatsData]):
    OPCODE = Opcode.STATS_JSON
    ANSWER = StatsData


class WorkerList(Message):
    workers: list[WorkerInfo]


class ListWorkers(Request[WorkerList]):
    OPCODE = Opcode.LIST_WORKERS
    ANSWER = WorkerList


class EventList(Message):
    """Events in order. ``last``: the seq of the last one there is, to ask on from."""

    events: list[EventInfo]
    last: int


class ListEvents(Request[EventList]):
    """Events after number ``since``, of those the ``newest`` (0: all that the master keeps in memory).

    When there is none, the answer waits up to ``wait_s`` seconds for the next.
    """

    OPCODE = Opcode.LIST_EVENTS
    ANSWER = EventList
    since: int = 0
    newest: int = 0
    wait_s: float = 0.0


class ClusterChanges(Message):
    """What changed. ``reset``: what was known before is out of date (``counts`` and ``workers`` are always whole).

    ``more``: the answer was full, and the rest can be asked for at once. Jobs come with their executions.
    """

    feed: str
    version: int
    reset: bool = False
    more: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    workers: list[WorkerInfo] = field(default_factory=list)
    runs: list[RunSummary] = field(default_factory=list)
    jobs: list[JobInfo] = field(default_factory=list)


class WatchCluster(Request[ClusterChanges]):
    """Answered as soon as anything has changed after ``since`` of ``feed``, some ten times a second at most.

    Else after ``wait_s`` seconds. ``feed`` is made anew at each start of a master.
    """

    OPCODE = Opcode.WATCH_CLUSTER
    ANSWER = ClusterChanges
    feed: str = ""
    since: int = -1
    wait_s: float = 0.0
