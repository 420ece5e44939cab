"""ClockWatcher: calls functions at moments in the future."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from typing import Final

from titan_core.scheduling.engine_thread import EngineThread, Fail, end_process

LONGEST_WAIT_S: Final = 86_400.0
"""One wait of a Condition takes less than threading.TIMEOUT_MAX; a day is well below it everywhere."""
MIN_CANCELLED_TO_SWEEP: Final = 64
"""Cancelled alarms; fewer than these are left in the heap until they are due."""


class Alarm:
    """An alarm that has been set. ``cancel`` keeps it from going off unless it already has or is just doing so."""

    __slots__ = ("_fn", "_watcher", "when")

    def __init__(self, when: float, fn: Callable[[], None], watcher: ClockWatcher) -> None:
        self.when = when
        self._fn: Callable[[], None] | None = fn
        self._watcher = watcher

    def cancel(self) -> None:
        self._watcher._cancel(self)


class ClockWatcher(EngineThread):
    """One thread over a heap of ``(due, seq, alarm)``: O(log n) to set an alarm, no processor time until one is due.

    Functions are called one after the other on this thread, so they must be quick; alarms of the same moment go off in
    the order they were set. After ``stop`` no further one goes off.
    """

    def __init__(self, fail: Fail = end_process) -> None:
        super().__init__("ClockWatcher", fail)
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Alarm]] = []
        self._seq = 0
        self._cancelled = 0
        self._stopping = False

    def call_at(self, when: float, fn: Callable[[], None]) -> Alarm:
        """Call ``fn`` at the monotonic second ``when``, or at once when that has passed."""
        alarm = Alarm(when, fn, self)
        with self._changed:
            self._seq += 1
            heapq.heappush(self._heap, (when, self._seq, alarm))
            if self._heap[0][2] is alarm:
                self._changed.notify()
        return alarm

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def __len__(self) -> int:
        """Alarms that are still to go off."""
        with self._changed:
            return len(self._heap) - self._cancelled

    def _cancel(self, alarm: Alarm) -> None:
        with self._changed:
            if alarm._fn is None:
                return
            alarm._fn = None
            self._cancelled += 1
            if self._cancelled >= MIN_CANCELLED_TO_SWEEP and self._cancelled * 2 > len(self._heap):
                self._heap = [entry for entry in self._heap if entry[2]._fn is not None]
                heapq.heapify(self._heap)
                self._cancelled = 0

    def _run(self) -> None:
        while (fn := self._next_due()) is not None:
            fn()

    def _next_due(self) -> Callable[[], None] | None:
        """The next function, once it is due; None when the thread is to end."""
        with self._changed:
            while not self._stopping:
                if not self._heap:
                    self._changed.wait()
                    continue
                when, _, alarm = self._heap[0]
                delay = when - time.monotonic()
                if alarm._fn is not None and delay > 0:
                    self._changed.wait(min(delay, LONGEST_WAIT_S))
                    continue
                heapq.heappop(self._heap)
                if alarm._fn is None:
                    self._cancelled -= 1
                    continue
                fn, alarm._fn = alarm._fn, None
                return fn
        return None
