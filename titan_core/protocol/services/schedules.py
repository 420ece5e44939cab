"""Recurring schedules, as clients ask about them."""

from __future__ import annotations

import time
from typing import Final

from titan_core.protocol.services import Done
from titan_core.protocol.services.jobs import check_name
from titan_core.protocol.services.submissions import SubmissionService
from titan_core.scheduling.core.events import ScheduleDeleted, SchedulePaused, SchedulePut, ScheduleTriggered
from titan_core.scheduling.core.scheduler_core import SchedulerCore
from titan_core.scheduling.scheduler import Scheduler
from titan_core.storage.store import Store, StoreError
from titan_sdk.errors import BadRequest, NotFound, TitanError, Unavailable
from titan_sdk.messages import (
    FIRINGS_IN_ANSWER,
    SCHEDULES_IN_ANSWER,
    DeleteSchedule,
    FiringList,
    ListFirings,
    ListSchedules,
    Ok,
    PauseSchedule,
    PutSchedule,
    ScheduleInfo,
    ScheduleList,
    ScheduleSaved,
    Triggered,
    TriggerSchedule,
)
from titan_sdk.timetable import Timetable

MAX_NEXT: Final = 1000
"""Next due times of one schedule in one answer."""
NEXT_SHOWN: Final = 3
"""In answers to those who did not ask for a number."""
MAX_NEXT_IN_ALL: Final = 10_000
"""Of all schedules in one answer: computing one takes some 50 microseconds."""

Found = tuple[list[tuple[ScheduleInfo, Timetable | None, int]], int]


class ScheduleService:
    """Schedules by name. Any thread may call. What is answered rests on what is durable.

    What is to come is computed here, outside of the engine's mutex.
    """

    def __init__(self, scheduler: Scheduler, submissions: SubmissionService, store: Store) -> None:
        self._scheduler = scheduler
        self._submissions = submissions
        self._store = store

    def put(self, request: PutSchedule, done: Done[ScheduleSaved]) -> None:
        """Raises SubmissionRefused with every problem."""
        spec = self._submissions.checked_schedule(request.spec)

        def posted(answer: tuple[bool, bool] | Exception) -> None:
            if isinstance(answer, Exception):
                done(answer)
                return
            created, changed = answer
            self._tell_one(spec.name, lambda found: done(_saved(found, created, changed)))

        self._scheduler.post(SchedulePut(spec), posted)

    def list_schedules(self, request: ListSchedules, done: Done[ScheduleList]) -> None:
        """Raises NotFound when there is none of the name that is asked for."""
        if request.name:
            check_name(request.name)
        if request.first < 0 or not 0 <= request.next <= MAX_NEXT:
            raise BadRequest(f"first is not negative, and next is 0 to {MAX_NEXT}")

        def found(answer: Found) -> None:
            schedules, total = answer
            count = min(request.next, max(1, MAX_NEXT_IN_ALL // max(1, len(schedules)))) if request.next else 0
            done(ScheduleList(schedules=[_with_next(*each, count) for each in schedules], total=total))

        self._scheduler.read_durable(
            lambda core: core.schedules(request.name, request.first, SCHEDULES_IN_ANSWER), found
        )

    def pause(self, request: PauseSchedule, done: Done[ScheduleInfo]) -> None:
        check_name(request.name)

        def posted(answer: bool | Exception) -> None:
            if isinstance(answer, Exception):
                done(answer)
            else:
                self._tell_one(request.name, done)

        self._scheduler.post(SchedulePaused(request.name, request.undo), posted)

    def trigger(self, request: TriggerSchedule, done: Done[Triggered]) -> None:
        check_name(request.name)

        def posted(answer: str | Exception) -> None:
            done(answer if isinstance(answer, Exception) else Triggered(run_id=answer))

        self._scheduler.post(ScheduleTriggered(request.name), posted)

    def delete(self, request: DeleteSchedule, done: Done[Ok]) -> None:
        check_name(request.name)

        def posted(answer: bool | Exception) -> None:
            done(answer if isinstance(answer, Exception) else Ok(text=f"{request.name} is deleted"))

        self._scheduler.post(ScheduleDeleted(request.name), posted)

    def firings(self, request: ListFirings) -> FiringList:
        """Raises NotFound."""
        check_name(request.name)
        if request.limit < 0 or request.before < 0:
            raise BadRequest("limit and before are not negative")
        seq = self._scheduler.read(lambda core: core.schedule_seq(request.name))
        try:
            found = self._store.load_firings(seq, min(request.limit, FIRINGS_IN_ANSWER), request.before)
        except StoreError as error:
            raise Unavailable(str(error)) from error
        return FiringList(firings=found)

    def _tell_one(self, name: str, done: Done[ScheduleInfo]) -> None:
        """On whatever thread: with the schedule as it is, or the NotFound of one that is gone already."""

        def found(answer: Found | None) -> None:
            if answer is None:
                done(NotFound(f"no schedule {name}"))
            else:
                done(_with_next(*answer[0][0], NEXT_SHOWN))

        def look(core: SchedulerCore) -> Found | None:
            try:
                return core.schedules(name, 0, 1)
            except NotFound:
                return None

        try:
            self._scheduler.read_durable(look, found)
        except TitanError as error:
            done(error)


def _saved(found: ScheduleInfo | Exception, created: bool, changed: bool) -> ScheduleSaved | Exception:
    if isinstance(found, Exception):
        return found
    return ScheduleSaved(schedule=found, created=created, changed=changed)


def _with_next(info: ScheduleInfo, timetable: Timetable | None, cursor: int, count: int) -> ScheduleInfo:
    """With the due times that are to come, from now on: what is late is as good as past."""
    moment: int | None = max(cursor, time.time_ns() // 1_000_000)
    while timetable is not None and len(info.next_due) < count:
        assert moment is not None
        moment = timetable.after(moment)
        if moment is None:
            break
        info.next_due.append(moment)
    return info
