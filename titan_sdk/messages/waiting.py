"""Messages for who waits for many jobs at once."""

from __future__ import annotations

from msgspec import field

from titan_sdk.messages.base import Message, Request
from titan_sdk.messages.jobs import JobInfo
from titan_sdk.protocol import Opcode


class SettledJobs(Message):
    """Jobs that have settled: final, or a service that is ready. Ask on with ``feed`` and ``version``.

    ``runs``: those that were closed and have nothing left to wait for. ``reset``: what settled since is not known any
    more, every job has to be looked at. ``more``: the answer was full.
    """

    feed: str
    version: int
    reset: bool = False
    more: bool = False
    jobs: list[JobInfo] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)


class WatchSettled(Request[SettledJobs]):
    """Jobs of ``runs`` (empty: of any run) that settled after ``since`` of ``feed``, once there is one.

    Else answered after ``wait_s`` seconds. ``feed`` is made anew at each start of a master; with one that it does not
    know the answer is a ``reset`` at once, and the version to ask on from.
    """

    OPCODE = Opcode.WATCH_SETTLED
    ANSWER = SettledJobs
    runs: tuple[str, ...] = ()
    feed: str = ""
    since: int = 0
    wait_s: float = 0.0
