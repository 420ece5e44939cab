"""What happened: everything the core can be told. Past tense, frozen; the facts come from the threads around it.

Each event says what the core answers (the value of the ``Answer`` command), when it answers at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from titan_sdk.messages import JobSpec, Lease, Outcome, RunOptions, ScheduleSpec


class Instant(NamedTuple):
    """A moment, as an argument: ``monotonic`` seconds for every duration, ``wall`` epoch ms for records alone."""

    monotonic: float
    wall: int


@dataclass(frozen=True, slots=True)
class RunSubmitted:
    """Answer: messages.Accepted. Raises SubmissionRefused or Conflict, and then nothing has changed.

    ``parent`` is the key of the submitting job, or empty. The ids of the jobs are unique among active jobs unless the
    idempotency key names a known run with the same jobs, which is then answered again. With ``replace``, services of
    theirs that are active are replaced once the new ones are ready, replicas included.
    """

    run_id: str
    name: str
    jobs: tuple[JobSpec, ...]
    idempotency_key: str = ""
    parent: str = ""
    replace: bool = False
    options: RunOptions | None = None


@dataclass(frozen=True, slots=True)
class AddRequested:
    """Further jobs of a run, named by its id or by a job of it. Answer: messages.Accepted with the keys of these jobs.

    Parents may be among them or in the run already. ``parent`` is the key of the job that adds from inside, or empty.
    The same key with the same jobs is answered again. Raises SubmissionRefused, BudgetExceeded, Conflict or NotFound,
    and then nothing has changed.
    """

    id: str
    jobs: tuple[JobSpec, ...]
    idempotency_key: str = ""
    parent: str = ""


@dataclass(frozen=True, slots=True)
class CloseRequested:
    """Nothing more is added to the run of that id or job. Answer: bool, whether it was open. Raises NotFound."""

    id: str


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """``id`` as a person wrote it (job, key or run). Answer: list of the keys that were not final yet.

    With ``children``, also the jobs of the runs that these jobs have submitted, however far down. An open run that is
    cancelled is closed. Raises NotFound. A running job stays RUNNING until its worker says that the process tree is
    gone, and starts nothing more meanwhile.
    """

    id: str
    reason: str = "cancelled on request"
    children: bool = False


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Like CancelRequested, but a running service that is stopped has done its work and ends COMPLETED."""

    id: str


@dataclass(frozen=True, slots=True)
class RestartRequested:
    """A service, or those of a run, get a new attempt at once. Answer: list of their keys.

    One that has ended is started anew as a run of that id. Raises NotFound, or Conflict for what is no service.
    """

    id: str
    run_id: str


@dataclass(frozen=True, slots=True)
class ScaleRequested:
    """As many replicas of a service: NAME, NAME.2, NAME.3 ... Answer: (keys started, keys stopped).

    What is started is a run of ``run_id``. Raises NotFound, Conflict or SubmissionRefused.
    """

    id: str
    count: int
    run_id: str


@dataclass(frozen=True, slots=True)
class DecisionMade:
    """A person approved or rejected what is asked about a job. Answer: the ApprovalRow.

    ``number``: of the question, 0 for the open one. A repetition with the same ``request_id`` gets the first answer.
    Raises NotFound, or Conflict when nothing is asked, or somebody has decided.
    """

    id: str
    approve: bool
    by: str = ""
    comment: str = ""
    number: int = 0
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The moment asked for with SetAlarm has come (or may have; early and repeated ones do no harm).

    ``refusal``: why the master takes no new work at this time; empty when it does.
    """

    refusal: str = ""


@dataclass(frozen=True, slots=True)
class SchedulePut:
    """A schedule was asked for, or another version of one. Answer: (whether it is new, whether anything changed).

    Raises SubmissionRefused with every problem, or Unavailable when there are too many.
    """

    spec: ScheduleSpec


@dataclass(frozen=True, slots=True)
class SchedulePaused:
    """A schedule is to fire no more, or (``undo``) again. Answer: True. Raises NotFound."""

    name: str
    undo: bool = False


@dataclass(frozen=True, slots=True)
class ScheduleTriggered:
    """A run of a schedule is wanted now. Answer: its id, empty when it waits for the former run; or a Conflict.

    Raises NotFound, or Conflict when the overlap policy says no.
    """

    name: str


@dataclass(frozen=True, slots=True)
class ScheduleDeleted:
    """Answer: True. Raises NotFound."""

    name: str


@dataclass(frozen=True, slots=True)
class WorkerRegistered:
    """Answer: tuple of the leases in ``holding`` that are stale.

    ``link`` identifies the connection, so that the end of an older one is told apart. With the boot_id we know, leases
    that the worker does not hold never arrived: they go back to the queue uncharged. With another boot_id, its process
    died with them: they count as losses. ``holding`` None (classic workers cannot say): leases stay, the capability is
    added, and permanent never turns back into ephemeral. ``cpus``, ``memory`` and ``gpus``: what it may set apart for
    jobs, of the first two 0 when nobody counts. ``machine``: its name, ``cores``: the machine's. ``job``: the key of
    the job of kind worker that this worker is.
    """

    worker_id: str
    boot_id: str
    link: int
    host: str
    port: int
    capabilities: frozenset[str]
    slots: int
    permanent: bool
    classic: bool = False
    holding: tuple[Lease, ...] | None = None
    cpus: float = 0.0
    memory: int = 0
    gpus: int = 0
    machine: str = ""
    cores: int = 0
    limits: tuple[str, ...] = ()
    job: str = ""


@dataclass(frozen=True, slots=True)
class LinkBroken:
    """A worker's connection ended. Nothing is dispatched to it until it registers again or is declared dead."""

    worker_id: str
    link: int
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerSilent:
    """A worker gave no sign of life for a whole lease (or grace): it is DEAD, its jobs go back to the queue."""

    worker_id: str
    boot_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """Decommission the worker at host:port. Answer: its worker id. Raises NotFound, or Conflict when permanent.

    ``names``: further names of the host.
    """

    host: str
    port: int
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CordonRequested:
    """The worker at host:port gets nothing new, or (``undo``) is in use again. Answer: its worker id. Raises NotFound.

    It lasts until it is taken back, whoever is started anew meanwhile; of a worker that is away or gone too.
    """

    host: str
    port: int
    names: frozenset[str] = frozenset()
    undo: bool = False


@dataclass(frozen=True, slots=True)
class WorkerLeft:
    """A worker deregistered in order. Leases it still has (it should have none) go back to the queue uncharged."""

    worker_id: str
    boot_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """Answer: bool, True when the lease is stale. ``ready``: a service's dependents may start. ``port``: its own.

    ``trouble``: why a service is not ready yet.
    """

    worker_id: str
    lease: Lease
    started_at: int
    ready: bool = False
    port: int = 0
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """Answer: bool, True when the lease is stale. Repeats and reports of other workers are stale too.

    ``lost``: the worker goes on, but what ran the attempt there was lost.
    ``outputs``: of a completed job, what it left for others, as a JSON object (titan_sdk.job_outputs); empty: nothing.
    """

    worker_id: str
    lease: Lease
    outcome: Outcome | Literal["lost"]
    exit_code: int | None = None
    reason: str = ""
    started_at: int = 0
    ended_at: int = 0
    log_size: int = 0
    outputs: bytes = b""


@dataclass(frozen=True, slots=True)
class DispatchRefused:
    """A worker did not take a dispatch (saturated, draining): back to the queue, uncharged, stale ones ignored.

    The worker gets nothing more until it reports an end, some time has passed (CoreLimits), or it registers again.
    """

    worker_id: str
    lease: Lease
    reason: str


class WorkerLoad(NamedTuple):
    """Of a worker's machine, as it was last told.

    ``cpu_percent``: how busy its processors are; ``memory_free``: bytes, 0 when unknown; ``load``: how many processes
    run or would, averaged over a minute.
    """

    cpu_percent: float
    memory_free: int
    load: float = 0.0


@dataclass(frozen=True, slots=True)
class LoadMeasured:
    """It is time to compare load and capacity. ``loads`` by worker id; ``run_id`` for the workers to be started."""

    loads: Mapping[str, WorkerLoad]
    run_id: str


@dataclass(frozen=True, slots=True)
class MachinesAskedFor:
    """Whoever can bring machines was asked for ``count`` of them; ``problem``: why that failed, else empty."""

    capabilities: tuple[str, ...]
    count: int
    problem: str


Event = (
    RunSubmitted
    | AddRequested
    | CloseRequested
    | CancelRequested
    | StopRequested
    | RestartRequested
    | ScaleRequested
    | DecisionMade
    | TimePassed
    | SchedulePut
    | SchedulePaused
    | ScheduleTriggered
    | ScheduleDeleted
    | WorkerRegistered
    | LinkBroken
    | WorkerSilent
    | DrainRequested
    | CordonRequested
    | WorkerLeft
    | AttemptStarted
    | AttemptEnded
    | DispatchRefused
    | LoadMeasured
    | MachinesAskedFor
)
