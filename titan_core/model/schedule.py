"""A recurring schedule: what was asked for, and how far it has come."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from titan_sdk.messages import FiringInfo, ScheduleSpec


class Waiting(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A due time (epoch ms) whose run waits for the former one to end."""

    due_at: int
    manual: bool = False


class ScheduleState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything of a schedule that changes; frozen, so that the journal can write it while the core goes on.

    Attributes:
        created_at, updated_at: epoch ms. anchor: what intervals are counted from unless the schedule says.
        cursor: epoch ms; what became of the due times up to this one is settled. It never goes back.
        number: of the last firing. fired, skipped, missed, refused: due times by what came of them.
        active: the firings whose runs are unfinished. waiting: due times that wait for these to end, in order.
        last: what was decided last; last_run: the newest firing that made a run.
    """

    created_at: int
    updated_at: int
    anchor: int
    cursor: int
    paused: bool = False
    number: int = 0
    fired: int = 0
    skipped: int = 0
    missed: int = 0
    refused: int = 0
    active: tuple[FiringInfo, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    last: FiringInfo | None = None
    last_run: FiringInfo | None = None


class ScheduleRow(NamedTuple):
    """A schedule as it is stored. ``seq`` names it for ever, ``spec`` is None when only the state changed."""

    seq: int
    name: str
    spec: ScheduleSpec | None
    state: ScheduleState


class FiringRow(NamedTuple):
    """What became of a due time of the schedule ``seq``; one of the same number replaces it."""

    seq: int
    firing: FiringInfo
