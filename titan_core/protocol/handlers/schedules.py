"""Requests about recurring schedules."""

from __future__ import annotations

from titan_core.protocol.handlers.table import HandlerTable
from titan_core.protocol.services.schedules import ScheduleService
from titan_sdk.messages import DeleteSchedule, ListFirings, ListSchedules, PauseSchedule, PutSchedule, TriggerSchedule


class ScheduleHandlers:
    """Structured only: the original has no schedules."""

    def __init__(self, schedules: ScheduleService) -> None:
        self._schedules = schedules

    def install(self, table: HandlerTable) -> None:
        table.answer_later(PutSchedule, self._schedules.put)
        table.answer_later(ListSchedules, self._schedules.list_schedules)
        table.answer_later(PauseSchedule, self._schedules.pause)
        table.answer_later(TriggerSchedule, self._schedules.trigger)
        table.answer_later(DeleteSchedule, self._schedules.delete)
        table.answer(ListFirings, self._schedules.firings)
