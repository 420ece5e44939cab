"""Outbox: carries out what the core asked for, once it is durable."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from titan_core.scheduling.clock_watcher import Alarm, ClockWatcher
from titan_core.scheduling.core.commands import (
    Answer,
    CloseLink,
    DecommissionWorker,
    DispatchJob,
    EndAttempt,
    EventsChanged,
    RequestMachines,
    RunChanged,
    SetAlarm,
)
from titan_core.scheduling.core.events import WorkerRegistered
from titan_core.scheduling.dispatcher import Entry
from titan_core.scheduling.run_watchers import EVENTS, RunWatchers
from titan_core.scheduling.worker_link import WorkerLinks
from titan_sdk.errors import TransportError

logger = logging.getLogger(__name__)


class Outbox:
    """Delivers the effects of one journal entry after the other, on the Dispatcher's thread alone.

    A link or a callback that raises costs its own message and a line in the log, and nobody else's.
    """

    def __init__(
        self,
        links: WorkerLinks,
        watchers: RunWatchers,
        clock_watcher: ClockWatcher,
        on_alarm: Callable[[], None],
        request_machines: Callable[[RequestMachines], None],
    ) -> None:
        self._links = links
        self._watchers = watchers
        self._clock_watcher = clock_watcher
        self._on_alarm = on_alarm
        self._alarm: Alarm | None = None
        self._carry_out: dict[type, Callable[[Any], None]] = {
            DispatchJob: self._dispatch,
            EndAttempt: self._end_attempt,
            DecommissionWorker: self._decommission,
            CloseLink: self._close_link,
            SetAlarm: self._set_alarm,
            RequestMachines: request_machines,
        }

    def deliver(self, entry: Entry) -> None:
        if type(entry.event) is WorkerRegistered:
            self._links.switch(entry.event.worker_id, entry.event.link)
        on_done = entry.on_done
        for effect in entry.effects:
            if type(effect) is RunChanged:
                self._watchers.run_changed(effect.run_id, entry.seq, effect.settled)
            elif type(effect) is EventsChanged:
                self._watchers.run_changed(EVENTS, entry.seq)
            elif type(effect) is Answer:
                if on_done is not None:
                    self._call(on_done, effect.value)
                    on_done = None
            else:
                self._call(self._carry_out[type(effect)], effect)
        if on_done is not None:
            self._call(on_done, entry.answer)

    def _call(self, fn: Callable[[Any], None], argument: object) -> None:
        try:
            fn(argument)
        except TransportError as error:
            logger.info("not delivered, the connection is gone: %s", error)
        except Exception:
            logger.exception("delivering %.300r failed", argument)

    def _dispatch(self, effect: DispatchJob) -> None:
        link = self._links.current(effect.worker_id)
        if link is not None:
            link.dispatch(effect.lease, effect.spec)

    def _end_attempt(self, effect: EndAttempt) -> None:
        link = self._links.current(effect.worker_id)
        if link is not None:
            link.end_attempt(effect.lease, effect.reason)

    def _decommission(self, effect: DecommissionWorker) -> None:
        link = self._links.current(effect.worker_id)
        if link is not None:
            link.decommission(effect.reason)

    def _close_link(self, effect: CloseLink) -> None:
        link = self._links.find(effect.link)
        if link is not None:
            link.close(effect.reason)

    def _set_alarm(self, effect: SetAlarm) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._clock_watcher.call_at(effect.at, self._on_alarm)
