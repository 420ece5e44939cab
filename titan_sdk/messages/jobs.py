"""Messages that tell of jobs and runs."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import field

from titan_sdk.messages.approvals import ApprovalInfo
from titan_sdk.messages.base import Message, Request
from titan_sdk.messages.job_spec import DEFAULT_PRIORITY, GENERAL, Handler, JobKind, JobSpec, TriggerRule
from titan_sdk.messages.repairs import RepairInfo
from titan_sdk.messages.run_options import RunOptions
from titan_sdk.protocol import Opcode

JOBS_IN_ANSWER: Final = 5000
"""Jobs of a run in one answer: with ids of usual length some 2 MB, with the longest it still fits into a frame."""
StateName = Literal["WAITING", "DELAYED", "PENDING", "RUNNING", "HELD", "COMPLETED", "DEAD", "CANCELLED", "SKIPPED"]
FINAL_STATES: Final = frozenset({"COMPLETED", "DEAD", "CANCELLED", "SKIPPED"})
Outcome = Literal["completed", "failed", "cancelled", "timed_out", "handed_back"]
"""How one attempt ended, as its worker saw it. ``handed_back``: given up unharmed by a draining worker; no charge."""


class ExecutionInfo(Message):
    """One attempt, for people. ``outcome`` is empty while it runs, or ``lost`` when its worker died.

    ``sha256``: the content that it ran, of a job that was repaired; empty for others, which have one only.
    """

    attempt: int
    worker: str
    started_at: int
    ended_at: int = 0
    outcome: str = ""
    exit_code: int | None = None
    reason: str = ""
    sha256: str = ""


class JobInfo(Message):
    """A job's state, for people and handles. ``exit_code`` is minus the signal number when a signal ended it.

    Of a service: ``restarts`` counts the times it was started again after its process had ended, ``port`` is the one it
    was given, ``url`` where it answers while it is ready. ``approvals``: what people were asked, oldest first;
    ``repairs``: what was done when it had failed for good. ``outputs``, a JSON object, comes with a job that is asked
    for alone. ``instance_of``: id of the job of whose list this one has an element.
    """

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
    restarts: int = 0
    port: int = 0
    url: str = ""
    executions: list[ExecutionInfo] = field(default_factory=list)
    approvals: list[ApprovalInfo] = field(default_factory=list)
    repairs: list[RepairInfo] = field(default_factory=list)
    outputs: str = ""
    trigger: TriggerRule = "all_success"
    handler: Handler = ""
    instance_of: str = ""


class RunInfo(Message):
    """A run and its jobs. ``version`` grows with every change; ``finished``: every job is final (services: stopped).

    ``total`` counts the run's jobs, of which ``jobs`` may hold a part. ``open``: jobs may still be added.
    Of a run with a budget: ``tree_jobs`` of it and its descendants were accepted so far, ``deadline_at`` ends its wall
    time.
    """

    run_id: str
    name: str
    version: int
    finished: bool
    submitted_at: int = 0
    parent: str = ""
    jobs: list[JobInfo] = field(default_factory=list)
    total: int = 0
    open: bool = False
    options: RunOptions | None = None
    tree_jobs: int = 0
    deadline_at: int = 0


class GetJob(Request[JobInfo]):
    """A job once it is settled (final, or a service that is ready), or as it is ``wait_s`` seconds later."""

    OPCODE = Opcode.GET_JOB_STATUS
    ANSWER = JobInfo
    id: str
    wait_s: float = 0.0


class WorkerReason(Message):
    """``text``: what keeps the worker from taking the job."""

    worker: str
    text: str


class Explanation(Message):
    """``summary``: why the job is where it is; ``workers``: of each why a pending one is not on it."""

    job: JobInfo
    summary: str
    workers: list[WorkerReason] = field(default_factory=list)


class ExplainJob(Request[Explanation]):
    """Why is the job where it is?"""

    OPCODE = Opcode.EXPLAIN_JOB
    ANSWER = Explanation
    id: str


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
    open: bool = False
    agent_run_id: str = ""


class RunPage(Message):
    runs: list[RunSummary]
    total: int


class ListRuns(Request[RunPage]):
    """The newest runs in the master's memory, ``limit`` at most; of one agent run all that there were."""

    OPCODE = Opcode.LIST_RUNS
    ANSWER = RunPage
    limit: int = 100
    agent_run_id: str = ""


class SpecList(Message):
    """``name`` is the run's."""

    name: str
    jobs: list[JobSpec]


class GetSpecs(Request[SpecList]):
    """What was asked for: all jobs of a run, or one job, by key or id."""

    OPCODE = Opcode.GET_SPECS
    ANSWER = SpecList
    id: str
