"""Messages about runs that grow, trees of runs, runs that are repeated, and agent runs."""

from __future__ import annotations

from typing import Final

from msgspec import field

from titan_sdk.messages.base import Message, Ok, Request
from titan_sdk.messages.job_spec import JobSpec
from titan_sdk.messages.jobs import RunSummary
from titan_sdk.messages.submitting import Accepted
from titan_sdk.protocol import Opcode

RUNS_IN_TREE: Final = 10_000
"""Runs in one answer, some 3 MB."""


class AddJobs(Request[Accepted]):
    """Further jobs of a run, accepted whole or refused whole; the answer names these jobs alone.

    The run is open, or ``parent``, the key of the job that adds from inside, is a running job of it. Parents may be
    among the jobs or in the run already, whatever became of them. Content has been uploaded before, as for SubmitRun.
    """

    OPCODE = Opcode.ADD_JOBS
    ANSWER = Accepted
    id: str
    jobs: list[JobSpec]
    idempotency_key: str = ""
    parent: str = ""


class CloseRun(Request[Ok]):
    """No more is added to an open run. ``text`` is empty when it was not open."""

    OPCODE = Opcode.CLOSE_RUN
    ANSWER = Ok
    id: str


class RunTree(Message):
    """``runs``: the run, then all that were submitted from inside it, each behind the one that ``parent`` belongs to.

    ``total`` counts them all; ``runs`` holds RUNS_IN_TREE at most.
    """

    runs: list[RunSummary]
    total: int


class GetRunTree(Request[RunTree]):
    """The run of that id or job, and what it started, however far down and however long ago.

    ``depth``: generations below it, no more; -1: all.
    """

    OPCODE = Opcode.GET_RUN_TREE
    ANSWER = RunTree
    id: str
    depth: int = -1


class Rerun(Request[Accepted]):
    """A new run of an earlier one's jobs, with its options.

    With ``failed``, of those that did not complete and those that depend on them; the others count as completed. Raises
    Conflict while the run goes on, and when there is nothing to do.

    ``jobs``: ids. With ``failed``, only these, whatever became of them, what they need that did not complete, and what
    depends on any of that; others may go on.
    """

    OPCODE = Opcode.RERUN
    ANSWER = Accepted
    id: str
    failed: bool = False
    idempotency_key: str = ""
    parent: str = ""
    jobs: tuple[str, ...] = ()


class AgentRun(Message):
    """What was submitted under one ``agent_run_id``. ``finished``: every run of it is; ``states`` counts its jobs."""

    agent_run_id: str
    runs: int
    finished: bool
    started_at: int = 0
    ended_at: int = 0
    states: dict[str, int] = field(default_factory=dict)


class AgentRuns(Message):
    agents: list[AgentRun]


class ListAgentRuns(Request[AgentRuns]):
    """The agent runs that were begun last, ``limit`` at most, the newest first."""

    OPCODE = Opcode.LIST_AGENT_RUNS
    ANSWER = AgentRuns
    limit: int = 100
