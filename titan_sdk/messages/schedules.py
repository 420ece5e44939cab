"""Messages about recurring schedules."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import field

from titan_sdk.messages.base import Message, Ok, Request
from titan_sdk.messages.job_spec import JobSpec
from titan_sdk.messages.run_options import RunOptions
from titan_sdk.protocol import Opcode

MisfirePolicy = Literal["latest", "skip", "all"]
"""What becomes of due times that passed while nothing could be fired: the newest of them, none, or every one."""
OverlapPolicy = Literal["skip", "queue", "cancel", "allow"]
"""What a due time does that finds the former run unfinished: nothing, wait for it, end it, or run beside it."""
FiringOutcome = Literal["fired", "skipped", "missed", "refused"]
SCHEDULES_IN_ANSWER: Final = 1000
"""Some 1 KB each."""
FIRINGS_IN_ANSWER: Final = 1000
JOB_IDS_SHOWN: Final = 100
"""Ids of a schedule's jobs in one ScheduleInfo."""
DEFAULT_WINDOW_MS: Final = 24 * 3600 * 1000


class Recurrence(Message, frozen=True):
    """When something is due, again and again, and what happens when it cannot be done then.

    Attributes:
        cron: five fields, or a nickname like ``@hourly``; empty when ``every_ms`` says it.
        every_ms: due at ``start_at``, or at the registration, plus multiples of so many milliseconds.
        timezone: IANA name of the zone whose wall clock ``cron`` is meant for.
        misfire: see MisfirePolicy; ``all`` goes back ``misfire_window_ms`` and no further.
        overlap: see OverlapPolicy.
        jitter_ms: each firing is put off by 0 to so much, always the same for the same schedule and due time.
        start_at, end_at: epoch ms; nothing is due before the one or after the other; 0: no bound.
    """

    cron: str = ""
    every_ms: int = 0
    timezone: str = "UTC"
    misfire: MisfirePolicy = "latest"
    misfire_window_ms: int = DEFAULT_WINDOW_MS
    overlap: OverlapPolicy = "skip"
    jitter_ms: int = 0
    start_at: int = 0
    end_at: int = 0


class ScheduleSpec(Message, frozen=True):
    """A schedule as it was asked for: jobs that become a run of its name, with ``options``, at every due time."""

    name: str
    jobs: tuple[JobSpec, ...]
    when: Recurrence
    options: RunOptions | None = None


class FiringInfo(Message, frozen=True):
    """What became of a due time.

    Attributes:
        number: counts the firings of a schedule from 1. due_at: epoch ms. at: when it was decided.
        outcome: ``fired``: the run ``run_id`` was made; ``refused``: it could not be made; ``skipped``: the overlap
            policy; ``missed``: the misfire policy, of ``count`` due times of which ``due_at`` is the last.
        reason: why, unless it was fired.
        manual: it was asked for by a person or program, and no due time.
        state: of the run, once it has ended: COMPLETED, DEAD or CANCELLED. ended_at: epoch ms, 0 before that.
    """

    number: int
    due_at: int
    at: int
    outcome: FiringOutcome
    run_id: str = ""
    reason: str = ""
    manual: bool = False
    count: int = 1
    state: str = ""
    ended_at: int = 0


class ScheduleInfo(Message):
    """A schedule and how it does. Times are epoch ms.

    Attributes:
        jobs: ids of its jobs, the first JOB_IDS_SHOWN of ``total``.
        next_due: the next due times, as many as were asked for; none when it is over. Paused ones do not fire.
        active: ids of its unfinished runs. waiting: due times that wait for them to end.
        last: what was decided last. last_run: the newest run, whose ``state`` is RUNNING while it is unfinished.
        fired, skipped, missed, refused: how many due times came to that.
        problem: why it cannot fire at all, as with a time zone that the master does not know; empty else.
    """

    name: str
    when: Recurrence
    created_at: int
    updated_at: int
    jobs: list[str] = field(default_factory=list)
    total: int = 0
    paused: bool = False
    next_due: list[int] = field(default_factory=list)
    active: list[str] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    last: FiringInfo | None = None
    last_run: FiringInfo | None = None
    fired: int = 0
    skipped: int = 0
    missed: int = 0
    refused: int = 0
    problem: str = ""


class ScheduleSaved(Message):
    """``created``: there was none of that name; ``changed``: or there was, and it said something else."""

    schedule: ScheduleInfo
    created: bool = False
    changed: bool = False


class PutSchedule(Request[ScheduleSaved]):
    """Register a schedule, or change the one of that name, which keeps its history and stays paused if it was.

    Content of every ``sha256`` must have been uploaded before. Doing it twice is as doing it once.
    """

    OPCODE = Opcode.PUT_SCHEDULE
    ANSWER = ScheduleSaved
    spec: ScheduleSpec


class ScheduleList(Message):
    schedules: list[ScheduleInfo]
    total: int


class ListSchedules(Request[ScheduleList]):
    """Schedules by name, SCHEDULES_IN_ANSWER at most from number ``first`` on; with ``name`` that one (or NotFound).

    ``next``: how many of the next due times of each to tell.
    """

    OPCODE = Opcode.LIST_SCHEDULES
    ANSWER = ScheduleList
    name: str = ""
    first: int = 0
    next: int = 3


class PauseSchedule(Request[ScheduleInfo]):
    """Fire nothing more until it is taken back with ``undo``; what was due meanwhile is up to the misfire policy."""

    OPCODE = Opcode.PAUSE_SCHEDULE
    ANSWER = ScheduleInfo
    name: str
    undo: bool = False


class Triggered(Message):
    """``run_id`` is empty when the overlap policy has it wait for the former run to end."""

    run_id: str = ""


class TriggerSchedule(Request[Triggered]):
    """Make a run of it now, paused or not. Conflict when the overlap policy says no."""

    OPCODE = Opcode.TRIGGER_SCHEDULE
    ANSWER = Triggered
    name: str


class DeleteSchedule(Request[Ok]):
    """Forget a schedule and its history. Its runs stay; those that are unfinished go on."""

    OPCODE = Opcode.DELETE_SCHEDULE
    ANSWER = Ok
    name: str


class FiringList(Message):
    firings: list[FiringInfo]


class ListFirings(Request[FiringList]):
    """What became of a schedule's due times, the newest first, ``limit`` at most, before number ``before`` if given."""

    OPCODE = Opcode.LIST_FIRINGS
    ANSWER = FiringList
    name: str
    limit: int = 100
    before: int = 0
