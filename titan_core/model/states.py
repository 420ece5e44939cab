"""The one table of job states: what moves a job from where to where.

The diagram in ARCHITECTURE.md is drawn from TRANSITIONS; nothing else decides whether a move is legal.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class JobState(str, Enum):
    """Where a job is in its life. The last four are final."""

    WAITING = "WAITING"
    DELAYED = "DELAYED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    HELD = "HELD"
    COMPLETED = "COMPLETED"
    DEAD = "DEAD"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"

    __hash__ = str.__hash__  # Enum's own is written in Python, and these are looked up at every move

    @property
    def final(self) -> bool:
        return self in FINAL


class Cause(str, Enum):
    """Why a job moves."""

    UNBLOCKED = "parents completed"
    UNBLOCKED_LATER = "parents completed, delay begins"
    ASKED = "parents completed, approval asked for"
    APPROVED = "approved"
    APPROVED_LATER = "approved, delay begins"
    REJECTED = "rejected"
    BROKEN = "attempt failed, a repair begins"
    REPAIRED = "repaired, tried again"
    UNREPAIRED = "nothing came of the repair"
    DUE = "delay is over"
    DISPATCHED = "leased to a worker"
    SUCCEEDED = "attempt completed"
    STOPPED = "service stopped on request"
    RESTARTED = "service ended, restart after backoff"
    RESTARTED_AT_ONCE = "restarted on request"
    STEPPED_ASIDE = "service leaves its port to its new version"
    RETRIED = "attempt failed, retry after backoff"
    EXHAUSTED = "attempt failed, no retry left"
    HANDED_BACK = "worker gave it back unharmed"
    LOST = "worker died"
    QUARANTINED = "too many workers died with it"
    PARENT_ENDED = "a parent ended dead or cancelled"
    GATHERED = "all its instances completed"
    INSTANCE_ENDED = "an instance ended dead or cancelled"
    SKIPPED = "its trigger rule or condition leaves it out"
    UNDECIDED = "its condition or a reference cannot be told"
    CANCELLED = "cancelled"

    __hash__ = str.__hash__


class IllegalMove(RuntimeError):
    """A fault of ours: a move that TRANSITIONS does not hold. The text tells the job's story."""


INITIAL: Final = frozenset({JobState.WAITING, JobState.HELD, JobState.DELAYED, JobState.PENDING})
"""What a job may be accepted into: with parents, to be approved, with a delay, with none of them."""

FINAL: Final = frozenset({JobState.COMPLETED, JobState.DEAD, JobState.CANCELLED, JobState.SKIPPED})

TRANSITIONS: Final[dict[tuple[JobState, Cause], JobState]] = {
    (JobState.WAITING, Cause.UNBLOCKED): JobState.PENDING,
    (JobState.WAITING, Cause.UNBLOCKED_LATER): JobState.DELAYED,
    (JobState.WAITING, Cause.ASKED): JobState.HELD,
    (JobState.WAITING, Cause.PARENT_ENDED): JobState.DEAD,
    (JobState.WAITING, Cause.UNDECIDED): JobState.DEAD,
    (JobState.WAITING, Cause.GATHERED): JobState.COMPLETED,
    (JobState.WAITING, Cause.INSTANCE_ENDED): JobState.DEAD,
    (JobState.WAITING, Cause.SKIPPED): JobState.SKIPPED,
    (JobState.WAITING, Cause.CANCELLED): JobState.CANCELLED,
    (JobState.HELD, Cause.APPROVED): JobState.PENDING,
    (JobState.HELD, Cause.APPROVED_LATER): JobState.DELAYED,
    (JobState.HELD, Cause.REJECTED): JobState.DEAD,
    (JobState.HELD, Cause.REPAIRED): JobState.PENDING,
    (JobState.HELD, Cause.UNREPAIRED): JobState.DEAD,
    (JobState.HELD, Cause.CANCELLED): JobState.CANCELLED,
    (JobState.DELAYED, Cause.DUE): JobState.PENDING,
    (JobState.DELAYED, Cause.STOPPED): JobState.COMPLETED,
    (JobState.DELAYED, Cause.CANCELLED): JobState.CANCELLED,
    (JobState.PENDING, Cause.DISPATCHED): JobState.RUNNING,
    (JobState.PENDING, Cause.STOPPED): JobState.COMPLETED,
    (JobState.PENDING, Cause.CANCELLED): JobState.CANCELLED,
    (JobState.RUNNING, Cause.SUCCEEDED): JobState.COMPLETED,
    (JobState.RUNNING, Cause.STOPPED): JobState.COMPLETED,
    (JobState.RUNNING, Cause.RESTARTED): JobState.DELAYED,
    (JobState.RUNNING, Cause.RESTARTED_AT_ONCE): JobState.PENDING,
    (JobState.RUNNING, Cause.STEPPED_ASIDE): JobState.DELAYED,
    (JobState.RUNNING, Cause.RETRIED): JobState.DELAYED,
    (JobState.RUNNING, Cause.EXHAUSTED): JobState.DEAD,
    (JobState.RUNNING, Cause.BROKEN): JobState.HELD,
    (JobState.RUNNING, Cause.HANDED_BACK): JobState.PENDING,
    (JobState.RUNNING, Cause.LOST): JobState.PENDING,
    (JobState.RUNNING, Cause.QUARANTINED): JobState.DEAD,
    (JobState.RUNNING, Cause.CANCELLED): JobState.CANCELLED,
}
"""A job is accepted into one of INITIAL; every later move stands here, and no other is made."""
