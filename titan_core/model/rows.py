"""Rows: what is remembered of runs, jobs and attempts.

Frozen, so that the journal can write them while the core goes on.
"""

from __future__ import annotations

from typing import NamedTuple

from titan_core.model.states import JobState
from titan_sdk.messages import RunOptions


class RunGrowth(NamedTuple):
    """What changes of a run that may grow, or whose descendants are counted.

    Attributes:
        open: jobs may be added. tree_jobs: of a run with a budget, jobs of it and of its descendants accepted so far.
        deadline_at: epoch ms at which the wall time of its budget is over; 0: never.
    """

    open: bool = False
    tree_jobs: int = 0
    deadline_at: int = 0


class RunRow(NamedTuple):
    """One submission. ``seq`` orders runs by acceptance, ``submitted_at`` is epoch ms."""

    run_id: str
    seq: int
    name: str
    submitted_at: int
    idempotency_key: str
    parent: str
    digest: str
    """Of what was submitted, to tell a repetition from another use of the same idempotency key."""
    options: RunOptions | None = None
    growth: RunGrowth | None = None
    """Of most runs nothing changes: they have none."""


class JobRow(NamedTuple):
    """Everything of a job that changes, and the names it is found by. Times are epoch ms, 0 when not yet.

    Attributes:
        key: ``run_id/job_id``. seq: acceptance order over all jobs, the FIFO tie-break.
        attempt: dispatches so far; with ``epoch`` the current lease while RUNNING. failures: charged retries.
        losses: workers that died with it. worker_id: of the current or last attempt.
        due_at: while DELAYED, when it is due. ending: '', 'cancel' or 'stop' once someone asked for its end, 'restart'
            when a new attempt shall follow the current one.
        ready: a service whose dependents may start. restarts: of a service, attempts that followed the end of another.
        port: of a service, as its worker told.
    """

    key: str
    run_id: str
    job_id: str
    seq: int
    state: JobState
    attempt: int = 0
    epoch: int = 0
    failures: int = 0
    losses: int = 0
    worker_id: str = ""
    ready: bool = False
    ending: str = ""
    reason: str = ""
    exit_code: int | None = None
    submitted_at: int = 0
    due_at: int = 0
    started_at: int = 0
    ended_at: int = 0
    log_size: int = 0
    restarts: int = 0
    port: int = 0


class EventRow(NamedTuple):
    """Something that happened to the cluster. ``seq`` counts from 1 for ever, ``at`` is epoch ms.

    ``kind`` is one of messages.EventKind, ``subject`` the worker, pool or job it is about, ``text`` what and why.
    """

    seq: int
    at: int
    kind: str
    subject: str
    text: str


class ApprovalRow(NamedTuple):
    """What a person was asked about a job, and the answer. Times are epoch ms, 0 for none.

    Attributes:
        key: of the job. number: counts the job's approvals from 1.
        message: the question. expires_at: when ``on_timeout``, approve or reject, decides.
        decision: empty while it is open; messages.Decision. by, comment: who said so, and what else.
        request_id: of the request that decided, so that its repetition is known.
    """

    key: str
    number: int
    message: str
    asked_at: int
    expires_at: int
    on_timeout: str
    decision: str = ""
    by: str = ""
    comment: str = ""
    decided_at: int = 0
    request_id: str = ""


class CordonRow(NamedTuple):
    """A worker that gets nothing new until that is taken back; ``host`` and ``port`` are where it was then."""

    worker_id: str
    host: str
    port: int


class ExecutionRow(NamedTuple):
    """One attempt. ``outcome`` is a messages.Outcome, ``lost`` when its worker died, or empty while it runs."""

    key: str
    attempt: int
    epoch: int
    worker_id: str
    worker_name: str
    started_at: int
    ended_at: int = 0
    outcome: str = ""
    exit_code: int | None = None
    reason: str = ""
