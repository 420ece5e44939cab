"""What happened to the cluster: asked for, and waited for without holding a thread."""

from __future__ import annotations

from typing import Final

from titan_core.protocol.services import Done
from titan_core.protocol.services.jobs import MAX_WAIT_S
from titan_core.scheduling.scheduler import Scheduler
from titan_sdk.errors import BadRequest
from titan_sdk.messages import EventList, ListEvents

MAX_SHOWN: Final = 1_000
"""Events in one answer: as many as the core keeps; some 200 KB."""


class EventService:
    """The event log. Any thread may call. Nothing is told that is not durable."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def list_events(self, request: ListEvents, done: Done[EventList]) -> None:
        """Answer with what came after ``since``; when there is nothing, at the next event or when the time is over."""
        if request.since < 0 or request.newest < 0:
            raise BadRequest("since and newest are not negative")

        def tell() -> None:
            newest = min(request.newest or MAX_SHOWN, MAX_SHOWN)
            self._scheduler.read_durable(lambda core: core.events_since(request.since, newest), done)

        wait_s = min(request.wait_s, MAX_WAIT_S)
        if wait_s > 0 and self._scheduler.read(lambda core: core.last_event) == request.since:
            self._scheduler.watch_events(request.since, wait_s, tell)
        else:
            tell()
