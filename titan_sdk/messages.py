"""The structured dialect: one msgspec Struct per message, MessagePack on the wire.

``TO_MASTER`` and ``TO_WORKER`` say which Struct an opcode carries as a request; each request names that of its answer.
Fields a reader does not know are ignored, so either side may be newer; a missing required field is refused by name.
Times are epoch milliseconds (``*_at``), durations say their unit, sizes are bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, TypeVar

import msgspec
from msgspec import Struct, field

from titan_sdk.errors import BadMessage
from titan_sdk.protocol import Opcode

GENERAL: Final = "GENERAL"
DEFAULT_PRIORITY: Final = 1
DEFAULT_RETRIES: Final = 3
CHUNK_BYTES: Final = 1024 * 1024
"""Content and logs travel in pieces of at most this size: small beside a frame, large beside its header."""

JOBS_IN_ANSWER: Final = 5000
"""Jobs of a run in one answer: with ids of usual length some 2 MB, with the longest it still fits into a frame."""

JobKind = Literal["run", "service", "worker"]
StateName = Literal["WAITING", "DELAYED", "PENDING", "RUNNING", "COMPLETED", "DEAD", "CANCELLED"]
FINAL_STATES: Final = frozenset({"COMPLETED", "DEAD", "CANCELLED"})

Outcome = Literal["completed", "failed", "cancelled", "timed_out", "handed_back"]
"""How one attempt ended, as its worker saw it. ``handed_back``: given up unharmed by a draining worker; no charge."""

M = TypeVar("M", bound="Message")
if TYPE_CHECKING:
    from typing_extensions import TypeVar as DefaultingTypeVar

    # The default lets a plain ``Request`` mean one with any answer.
    A_co = DefaultingTypeVar("A_co", bound="Message", covariant=True, default="Message")
else:
    A_co = TypeVar("A_co", covariant=True)


class Message(Struct, kw_only=True, omit_defaults=True):
    """The base of all messages."""


# --- what a job is ------------------------------------------------------------------------------------------------


class JobSpec(Message, frozen=True):
    """A job as it was asked for; never changed after acceptance.

    Attributes:
        id: names the job within its run (names.check_job_id).
        file: what runs, as its author named it: a plain file name, or a path inside ``archive``.
        sha256: hex digest of the file's content, or of the archive's; empty for kind ``worker``.
        size: bytes of that content.
        archive: name of the zip that ``file`` lies in; empty for a single file.
        kind: ``run`` ends by itself; ``service`` stays up until stopped; ``worker``: a service that is another worker.
        args: argument list, handed over as it is.
        env: added to the job's environment.
        requirement: capabilities that must all be on one worker.
        priority: higher first. delay_ms: counted from when the job is unblocked.
        parents: ids of jobs of the same run that must complete first.
        affinity: prefer the worker that ran the (last finished) parent.
        retries: further attempts after a failed one.
        timeout_s: an attempt running longer is ended and has failed; None: no limit.
        port: a service's port (0: none); for kind ``worker`` the new worker's.
        python: interpreter to exec a ``.py`` with instead of the worker's own.
        fresh: exec a new interpreter instead of forking the warm one.
    """

    id: str
    file: str
    sha256: str = ""
    size: int = 0
    archive: str = ""
    kind: JobKind = "run"
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    requirement: tuple[str, ...] = (GENERAL,)
    priority: int = DEFAULT_PRIORITY
    delay_ms: int = 0
    parents: tuple[str, ...] = ()
    affinity: bool = False
    retries: int = DEFAULT_RETRIES
    timeout_s: float | None = None
    port: int = 0
    python: str = ""
    fresh: bool = False


class Lease(Message, frozen=True):
    """Who may run which attempt of which job: the fencing token of every dispatch and every report.

    ``job`` is the key ``run/job``; ``attempt`` counts the job's dispatches from 1; ``epoch`` grows with every dispatch
    of the whole cluster and is never used twice, restarts included.
    """

    job: str
    attempt: int
    epoch: int


class ExecutionInfo(Message):
    """One attempt, for people. ``outcome`` is empty while it runs, or ``lost`` when its worker died."""

    attempt: int
    worker: str
    started_at: int
    ended_at: int = 0
    outcome: str = ""
    exit_code: int | None = None
    reason: str = ""


class JobInfo(Message):
    """A job's state, for people and handles. ``exit_code`` is minus the signal number when a signal ended it."""

    key: str
    id: str
    run_id: str
    file: str
    state: StateName
    kind: JobKind = "run"
    reason: str = ""
    exit_code: int | None = None
    ready: bool = False
    attempt: int = 0
    retries_left: int = 0
    worker: str = ""
    priority: int = DEFAULT_PRIORITY
    requirement: tuple[str, ...] = (GENERAL,)
    parents: tuple[str, ...] = ()
    submitted_at: int = 0
    started_at: int = 0
    ended_at: int = 0
    due_at: int = 0
    log_bytes: int = 0
    executions: list[ExecutionInfo] = field(default_factory=list)


class RunInfo(Message):
    """A run and its jobs. ``version`` grows with every change; ``finished``: every job is final (services: stopped).

    ``total`` counts the run's jobs, of which ``jobs`` may hold a part.
    """

    run_id: str
    name: str
    version: int
    finished: bool
    submitted_at: int = 0
    parent: str = ""
    jobs: list[JobInfo] = field(default_factory=list)
    total: int = 0


class WorkerInfo(Message):
    """A worker in the master's eyes. ``state``: ``alive``, ``away`` (link broken, in grace), ``draining``, ``dead``."""

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


# --- requests and answers -----------------------------------------------------------------------------------------


class Request(Message, Generic[A_co]):
    """A message under opcode OPCODE that asks for an answer of type ANSWER, which is its type parameter too."""

    OPCODE: ClassVar[Opcode]
    ANSWER: ClassVar[type[Message]]


class Ok(Message):
    """Done; ``text`` is for people."""

    text: str = ""


class ProblemItem(Message):
    where: str
    text: str
    line: int = 0


class ErrorReply(Message):
    """Payload of a structured ERROR frame; ``code`` is a ``RemoteError.code``."""

    code: str
    message: str
    problems: list[ProblemItem] = field(default_factory=list)


class Welcome(Message):
    """``master_id`` is made anew for each data directory, ``term`` counts the master's starts on it."""

    master_id: str
    term: int
    version: str


class Hello(Request[Welcome]):
    """First message on a structured connection; nothing else is answered before it."""

    OPCODE = Opcode.HELLO
    ANSWER = Welcome
    token: str
    role: str = "client"


class Accepted(Message):
    """A run was accepted, durably. ``repeated``: the idempotency key was known and this is the run made then."""

    run_id: str
    jobs: list[str]
    repeated: bool = False


class SubmitRun(Request[Accepted]):
    """A run: one job or a DAG, accepted whole or refused whole.

    ``parent`` is the key of the job that submits from inside; its worker is preferred. Content of every ``sha256`` must
    have been uploaded before (MissingContent, UploadChunk).
    """

    OPCODE = Opcode.SUBMIT_DAG
    ANSWER = Accepted
    name: str
    jobs: list[JobSpec]
    idempotency_key: str = ""
    parent: str = ""


class RunFile(Request[Accepted]):
    """Run a file that lies in the master's perm_files, sub-folders included."""

    OPCODE = Opcode.RUN
    ANSWER = Accepted
    file: str
    args: tuple[str, ...] = ()
    requirement: tuple[str, ...] = (GENERAL,)
    priority: int = DEFAULT_PRIORITY
    job_id: str = ""


class Deploy(Request[Accepted]):
    """Start a file of perm_files as a service; ``Worker.jar`` and ``TitanWorker.py`` start another worker."""

    OPCODE = Opcode.DEPLOY
    ANSWER = Accepted
    file: str
    port: int = 0
    requirement: tuple[str, ...] = (GENERAL,)
    args: tuple[str, ...] = ()


class Stop(Request[Ok]):
    """Stop a service or job, its whole process tree."""

    OPCODE = Opcode.STOP
    ANSWER = Ok
    id: str


class CancelJob(Request[Ok]):
    """Cancel a job, or with a run id every job of the run. To a worker: end this attempt's process tree."""

    OPCODE = Opcode.CANCEL_JOB
    ANSWER = Ok
    id: str


class KillWorker(Request[Ok]):
    """Decommission the worker at host:port: no new jobs, running ones finish or are handed back, then it ends."""

    OPCODE = Opcode.KILL_WORKER
    ANSWER = Ok
    host: str
    port: int


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


class GetJob(Request[JobInfo]):
    """A job once it is settled (final, or a service that is ready), or as it is ``wait_s`` seconds later."""

    OPCODE = Opcode.GET_JOB_STATUS
    ANSWER = JobInfo
    id: str
    wait_s: float = 0.0


class WatchRun(Request[RunInfo]):
    """A run as it is once its version exceeds ``since`` (at once by default), or as it is ``wait_s`` seconds later.

    With ``settled``: not before every job of it is final, or a service that is ready. ``id`` may be a run id, a job's
    key, or a bare job id (then its latest run). The answer holds JOBS_IN_ANSWER jobs at most, from number ``first`` on.
    """

    OPCODE = Opcode.WATCH_RUN
    ANSWER = RunInfo
    id: str
    since: int = -1
    wait_s: float = 0.0
    settled: bool = False
    first: int = 0


class JobList(Message):
    jobs: list[JobInfo]
    total: int


class ListJobs(Request[JobList]):
    """Jobs, newest first, ``limit`` at most; ``states`` empty means all."""

    OPCODE = Opcode.LIST_JOBS
    ANSWER = JobList
    states: tuple[str, ...] = ()
    limit: int = 100


class WorkerList(Message):
    workers: list[WorkerInfo]


class ListWorkers(Request[WorkerList]):
    OPCODE = Opcode.LIST_WORKERS
    ANSWER = WorkerList


class RunSummary(Message):
    """A run without its jobs. ``states`` counts them by state; ``ended_at``: of the job that ended last so far."""

    run_id: str
    name: str
    finished: bool
    submitted_at: int = 0
    ended_at: int = 0
    parent: str = ""
    total: int = 0
    states: dict[str, int] = field(default_factory=dict)


class RunPage(Message):
    runs: list[RunSummary]
    total: int


class ListRuns(Request[RunPage]):
    """The newest runs in the master's memory, ``limit`` at most."""

    OPCODE = Opcode.LIST_RUNS
    ANSWER = RunPage
    limit: int = 100


class SpecList(Message):
    """``name`` is the run's."""

    name: str
    jobs: list[JobSpec]


class GetSpecs(Request[SpecList]):
    """What was asked for: all jobs of a run, or one job, by key or id."""

    OPCODE = Opcode.GET_SPECS
    ANSWER = SpecList
    id: str


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


class LogChunk(Message):
    """Bytes of a log from ``offset`` on. ``finished``: the attempt has ended and ``size`` will not grow."""

    attempt: int
    offset: int
    data: bytes
    size: int
    finished: bool


class GetLogs(Request[LogChunk]):
    """At most CHUNK_BYTES of an attempt's log (0: the latest) from ``offset``; negative: that far from the end.

    When there is nothing at ``offset`` yet, the answer waits up to ``wait_s`` seconds for more or for the end.
    """

    OPCODE = Opcode.GET_LOGS
    ANSWER = LogChunk
    id: str
    offset: int = 0
    attempt: int = 0
    wait_s: float = 0.0


class LogTarget(Message):
    """Where output of ``jobs`` (their keys) goes as datagrams, sealed with ``secret`` (titan_sdk/log_datagrams.py)."""

    watch: bytes
    host: str
    port: int
    secret: bytes
    jobs: tuple[str, ...]


class WatchLogs(Request[Ok]):
    """Workers send these jobs' output to ``target`` at once, for ``ttl_s`` seconds unless asked again.

    It takes the place of an earlier one of the same ``watch``; no jobs end it.
    """

    OPCODE = Opcode.WATCH_LOGS
    ANSWER = Ok
    target: LogTarget
    ttl_s: float = 30.0


class Missing(Message):
    sha256: list[str]


class MissingContent(Request[Missing]):
    """Which of these contents does the master lack?"""

    OPCODE = Opcode.MISSING_CONTENT
    ANSWER = Missing
    sha256: list[str]


class UploadState(Message):
    """``received``: where the next chunk begins; ``complete``: stored and checked against its digest."""

    received: int
    complete: bool


class UploadChunk(Request[UploadState]):
    """A piece of a content of ``size`` bytes. An upload of the same digest goes on where an earlier one broke off.

    With ``name`` the complete content is also put into perm_files under that plain name; with ``staged`` into its
    ``staged`` sub-folder instead, where what submissions bring with them is kept apart from what people put there.
    """

    OPCODE = Opcode.UPLOAD_ASSET
    ANSWER = UploadState
    sha256: str
    size: int
    offset: int
    data: bytes
    name: str = ""
    staged: bool = False


class Content(Message):
    offset: int
    data: bytes
    size: int
    sha256: str


class FileItem(Message):
    """A file of perm_files. ``folder`` is empty at the top, ``staged`` for what submissions brought along."""

    name: str
    size: int
    modified_at: int
    folder: str = ""


class FileList(Message):
    files: list[FileItem]


class ListFiles(Request[FileList]):
    """The files of perm_files, sorted by name; staged ones by ``staged``."""

    OPCODE = Opcode.LIST_FILES
    ANSWER = FileList
    staged: bool = False


class FetchContent(Request[Content]):
    """At most CHUNK_BYTES of a content, by digest or by its name in perm_files."""

    OPCODE = Opcode.FETCH_ASSET
    ANSWER = Content
    sha256: str = ""
    name: str = ""
    offset: int = 0


class KvSet(Request[Ok]):
    OPCODE = Opcode.KV_SET
    ANSWER = Ok
    key: str
    value: bytes


class KvValue(Message):
    value: bytes | None


class KvGet(Request[KvValue]):
    OPCODE = Opcode.KV_GET
    ANSWER = KvValue
    key: str


class KvAdded(Message):
    added: bool


class KvSadd(Request[KvAdded]):
    OPCODE = Opcode.KV_SADD
    ANSWER = KvAdded
    key: str
    member: str


class KvMembers(Message):
    members: list[str]


class KvSmembers(Request[KvMembers]):
    OPCODE = Opcode.KV_SMEMBERS
    ANSWER = KvMembers
    key: str


# --- worker to master ---------------------------------------------------------------------------------------------


class Registered(Message):
    """``stale``: leases the worker named that are no longer its own; it ends those processes, drops their results."""

    worker_id: str
    lease_s: float
    heartbeat_s: float
    stale: list[Lease] = field(default_factory=list)


class Register(Request[Registered]):
    """A worker takes part. ``worker_id`` lasts as long as its workspace, ``boot_id`` as long as its process.

    ``holding``: every lease it still runs, or has a result of that was not acknowledged.
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


class Heartbeat(Request[Ok]):
    """Sent every ``heartbeat_s``; any frame of the link counts as a sign of life too."""

    OPCODE = Opcode.HEARTBEAT
    ANSWER = Ok
    cpu_percent: float = 0.0
    memory_percent: float = 0.0


class Verdict(Message):
    """What became of a report. ``stale``: its lease is not current; nothing changed; end that process."""

    stale: bool = False


class JobStarted(Request[Verdict]):
    """An attempt's process runs (``ready`` false), or a service is ready for its dependents (``ready`` true)."""

    OPCODE = Opcode.JOB_STARTED
    ANSWER = Verdict
    lease: Lease
    pid: int
    started_at: int
    ready: bool = False


class JobReport(Request[Verdict]):
    """An attempt has ended; sent again after every reconnect until answered.

    ``log_offset``/``log_tail``: the last bytes of the log that were not sent yet; ``log_size``: its size in full.
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


class LogState(Message):
    """``received``: where the master's copy ends, and the next piece should begin."""

    received: int
    stale: bool = False


class LogPiece(Request[LogState]):
    """Bytes of a running attempt's log."""

    OPCODE = Opcode.LOG_BATCH
    ANSWER = LogState
    lease: Lease
    offset: int
    data: bytes


class Deregister(Request[Ok]):
    """The worker leaves for good: it holds nothing any more (what it could not finish it reported handed_back)."""

    OPCODE = Opcode.DEREGISTER
    ANSWER = Ok
    reason: str = ""


# --- master to worker ---------------------------------------------------------------------------------------------


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


def _by_opcode(*kinds: type[Request]) -> dict[int, type[Request]]:
    table = {int(kind.OPCODE): kind for kind in kinds}
    assert len(table) == len(kinds), "two messages under one opcode"
    return table


TO_MASTER: Final = _by_opcode(
    Hello, SubmitRun, RunFile, Deploy, Stop, CancelJob, KillWorker, GetStats, GetStatsJson, GetJob, WatchRun, ListJobs,
    ListWorkers, GetLogs, MissingContent, UploadChunk, FetchContent, KvSet, KvGet, KvSadd, KvSmembers, Register,
    Heartbeat, JobStarted, JobReport, LogPiece, Deregister, WatchCluster, ListRuns, GetSpecs, ListFiles, WatchLogs,
)  # fmt: skip
"""What a client or a worker may ask of the master."""

TO_WORKER: Final = _by_opcode(Dispatch, CancelAttempt, Decommission, StreamLogs)
"""What the master may ask of a worker on the link that the worker opened."""

_ENCODER = msgspec.msgpack.Encoder()
_DECODERS: dict[type[Message], msgspec.msgpack.Decoder[Any]] = {}


def encode_message(message: Message) -> bytes:
    """The MessagePack payload of a message.

    Raises:
        BadMessage: it holds what MessagePack cannot say: a half surrogate in a text, an integer beyond 64 bits.
    """
    try:
        return _ENCODER.encode(message)
    except (UnicodeEncodeError, OverflowError, msgspec.MsgspecError) as error:
        raise BadMessage(f"a {type(message).__name__} that cannot be sent: {error}") from None


def decode_message(payload: bytes, kind: type[M]) -> M:
    """The message of the given kind in a payload.

    Raises:
        BadMessage: not MessagePack, not a map, or a field missing or of the wrong type (the text names it).
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.msgpack.Decoder(kind)
    try:
        message: M = decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"not a valid {kind.__name__}: {error}") from None
    return message
