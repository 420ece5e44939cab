"""Messages on the link between a worker and its master, in both directions."""

from __future__ import annotations

from msgspec import field

from titan_sdk.messages.base import Message, Ok, Request
from titan_sdk.messages.job_spec import JobSpec, Lease
from titan_sdk.messages.jobs import Outcome
from titan_sdk.messages.logs import LogTarget
from titan_sdk.protocol import Opcode


class Registered(Message):
    """``stale``: leases the worker named that are no longer its own; it ends those processes, drops their results."""

    worker_id: str
    lease_s: float
    heartbeat_s: float
    stale: list[Lease] = field(default_factory=list)


class Register(Request[Registered]):
    """A worker takes part. ``worker_id`` lasts as long as its workspace, ``boot_id`` as long as its process.

    ``holding``: every lease it still runs, or has a result of that was not acknowledged. ``machine``: the name of its
    machine; ``cores`` and ``memory_free`` (bytes) are the machine's. ``cpus``, ``memory``, ``gpus``: what the worker
    sets apart for jobs. ``limits``: those that it enforces, for people. ``job``: the key of the job that it was started
    by, if any.
    """

    OPCODE = Opcode.REGISTER
    ANSWER = Registered
    worker_id: str
    boot_id: str
    port: int
    capabilities: tuple[str, ...]
    slots: int
    permanent: bool = False
    host: str = ""
    holding: list[Lease] = field(default_factory=list)
    machine: str = ""
    cores: int = 0
    memory_free: int = 0
    cpus: float = 0.0
    memory: int = 0
    gpus: int = 0
    limits: tuple[str, ...] = ()
    job: str = ""


class Usage(Message, frozen=True):
    """What the process tree of a job takes: percent of one core since the last look, resident bytes, processes."""

    job: str
    cpu_percent: float
    memory_bytes: int
    processes: int


class Heartbeat(Request[Ok]):
    """Sent every ``heartbeat_s``; any frame of the link counts as a sign of life too.

    ``usage``: of its services. The rest is of the whole machine: ``memory_free`` in bytes, ``load`` in processes that
    run or would, averaged over a minute.
    """

    OPCODE = Opcode.HEARTBEAT
    ANSWER = Ok
    cpu_percent: float = 0.0
    memory_percent: float = 0.0
    memory_free: int = 0
    load: float = 0.0
    usage: tuple[Usage, ...] = ()


class Verdict(Message):
    """What became of a report. ``stale``: its lease is not current; nothing changed; end that process."""

    stale: bool = False


class JobStarted(Request[Verdict]):
    """An attempt's process runs (``ready`` false), or a service is ready for its dependents (``ready`` true).

    ``port``: the service's, which its worker may have picked. ``trouble``: why it is not ready yet, after a moment.
    """

    OPCODE = Opcode.JOB_STARTED
    ANSWER = Verdict
    lease: Lease
    pid: int
    started_at: int
    ready: bool = False
    port: int = 0
    trouble: str = ""


class JobReport(Request[Verdict]):
    """An attempt has ended; sent again after every reconnect until answered.

    ``lost``: what ran it was lost, as when the whole worker dies, and the outcome is what that looks like.
    ``log_offset``/``log_tail``: the last bytes of the log that were not sent yet; ``log_size``: its size in full.
    ``outputs``: of a completed one, what it left for others (job_outputs), as a JSON object; empty: nothing.
    """

    OPCODE = Opcode.JOB_COMPLETE
    ANSWER = Verdict
    lease: Lease
    outcome: Outcome
    exit_code: int | None = None
    reason: str = ""
    started_at: int = 0
    ended_at: int = 0
    log_size: int = 0
    log_offset: int = 0
    log_tail: bytes = b""
    lost: bool = False
    outputs: bytes = b""


class LogState(Message):
    """``received``: where the master's copy ends, and the next piece should begin."""

    received: int
    stale: bool = False


class LogPiece(Request[LogState]):
    """Bytes of a running attempt's log. ``gap``: what is before ``offset`` and was not sent is lost."""

    OPCODE = Opcode.LOG_BATCH
    ANSWER = LogState
    lease: Lease
    offset: int
    data: bytes
    gap: bool = False


class Deregister(Request[Ok]):
    """The worker leaves for good: it holds nothing any more (what it could not finish it reported handed_back)."""

    OPCODE = Opcode.DEREGISTER
    ANSWER = Ok
    reason: str = ""


class Dispatch(Request[Ok]):
    """Run this attempt. Answered Ok as soon as a slot is taken, or with the error ``saturated``."""

    OPCODE = Opcode.SUBMIT_JOB
    ANSWER = Ok
    lease: Lease
    spec: JobSpec


class CancelAttempt(Request[Ok]):
    """End this attempt's process tree (TERM, ``grace_s``, KILL). Its JobReport follows with outcome cancelled."""

    OPCODE = Opcode.CANCEL_JOB
    ANSWER = Ok
    lease: Lease
    reason: str = ""
    grace_s: float = 5.0


class Decommission(Request[Ok]):
    """Drain, deregister and end."""

    OPCODE = Opcode.DRAIN
    ANSWER = Ok
    reason: str = ""


class StreamLogs(Request[Ok]):
    """Every watch that is on, whole: send the output of these jobs there, for ``ttl_s`` seconds at most."""

    OPCODE = Opcode.STREAM_LOGS
    ANSWER = Ok
    targets: list[LogTarget]
    ttl_s: float = 30.0
