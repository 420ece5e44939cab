"""What is told of jobs that were repaired."""

from __future__ import annotations

from typing import Literal

from msgspec import field

from titan_sdk.messages.base import Message

RepairState = Literal["running", "asked", "applied", "failed", "rejected", "withdrawn"]
"""``running``: the repair job is at work; ``asked``: a person is to decide on its proposal. The others are final."""


class RepairChange(Message, frozen=True):
    """What a repair job proposes to change, as its output ``titan_repair``.

    Attributes:
        sha256, size: of the new content, which the master has; empty: it stays.
        args: the new arguments; None: they stay. env: variables to add. note: for people, what was done and why.
    """

    sha256: str = ""
    size: int = 0
    args: tuple[str, ...] | None = None
    env: dict[str, str] = field(default_factory=dict)
    note: str = ""


class RepairInfo(Message, frozen=True):
    """A repair of a job. Times are epoch ms, 0 for none.

    Attributes:
        key: of the repaired job. number: counts its repairs from 1. job: key of the job that repairs.
        attempt: the attempt that failed; later ones run what was repaired, when it was ``applied``.
        before_sha256, before_args: what that attempt ran. change: what is proposed. reason: why nothing came of it.
    """

    key: str
    number: int
    job: str
    attempt: int
    state: RepairState = "running"
    started_at: int = 0
    ended_at: int = 0
    before_sha256: str = ""
    before_args: tuple[str, ...] = ()
    change: RepairChange | None = None
    reason: str = ""
