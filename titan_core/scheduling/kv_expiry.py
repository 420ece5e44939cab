"""KvExpiry: has what has expired in the key-value store removed."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import Any, Final

from titan_core.scheduling.clock import Clock
from titan_core.scheduling.core.commands import KvSweep
from titan_core.scheduling.engine_thread import EngineThread, Fail, end_process
from titan_core.scheduling.scheduler import Scheduler
from titan_core.storage.store import Store, StoreError
from titan_sdk.errors import TitanError

log = logging.getLogger(__name__)

ROWS_AT_ONCE: Final = 1_000
"""Deleted in one transaction: some 10 ms, between what others wait for."""
PAUSE_S: Final = 5.0
"""Between two sweeps: keys that expire one after the other are removed together. Nobody sees them meanwhile."""
LONGEST_WAIT_S: Final = 60.0
"""The wall clock may be set while this waits; so late at most a sweep is begun that it makes due."""


class KvExpiry(EngineThread):
    """Sleeps until the next key, or the memory of a request, is over; then sweeps, through the journal."""

    def __init__(self, scheduler: Scheduler, store: Store, clock: Clock, fail: Fail = end_process) -> None:
        super().__init__("KvExpiry", fail)
        self._scheduler = scheduler
        self._store = store
        self._clock = clock
        self._changed = threading.Condition()
        self._next: float = 0
        self._stopping = False

    def note(self, end: int) -> None:
        """Something durable will be over at ``end``, epoch ms. Any thread; cheap."""
        with self._changed:
            if end < self._next:
                self._next = end
                self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def _run(self) -> None:
        while self._wait_until_due():
            try:
                while self._sweep() >= ROWS_AT_ONCE and not self._stopping:
                    pass
                end = self._store.kv_next_end()
                if end is not None:
                    self.note(end)
            except (StoreError, TitanError) as error:
                log.warning("what has expired in the key-value store is not removed for now: %s", error)
                self.note(self._clock.now().wall + round(LONGEST_WAIT_S * 1000))

    def _wait_until_due(self) -> bool:
        """False: the end. The first look is due at once, to find out when the next one is."""
        earliest = time.monotonic() + PAUSE_S
        with self._changed:
            while not self._stopping:
                rest_s = max((self._next - self._clock.now().wall) / 1000, earliest - time.monotonic())
                if rest_s <= 0:
                    self._next = math.inf
                    return True
                self._changed.wait(min(rest_s, LONGEST_WAIT_S))
        return False

    def _sweep(self) -> int:
        """The rows that one sweep removed. Raises Unavailable."""
        done = threading.Event()
        answers: list[Any] = []

        def written(results: Any) -> None:
            answers.append(results)
            done.set()

        self._scheduler.write([KvSweep(self._clock.now().wall, ROWS_AT_ONCE)], written)
        done.wait()
        if isinstance(answers[0], Exception):
            raise answers[0]
        return int(answers[0][0])
