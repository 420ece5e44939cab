"""RunWatchers: who waits for a change of which run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from titan_core.scheduling.clock_watcher import Alarm
from titan_sdk.errors import Unavailable

logger = logging.getLogger(__name__)

MAX_WATCHES: Final = 20_000
"""Watches at once: some twenty for each of the connections that a master takes; one is a few hundred bytes."""

EVENTS: Final = "@events"
"""Watched like a run: what happens to the cluster."""


class Watch:
    """One wait for one run. ``cancel`` ends it without a call, unless the call was made or is just being made."""

    __slots__ = ("_on_change", "_watchers", "after_seq", "alarm", "only_settled", "run_id")

    def __init__(
        self,
        run_id: str,
        after_seq: int,
        on_change: Callable[[], None],
        watchers: RunWatchers,
        only_settled: bool = False,
    ) -> None:
        self.run_id = run_id
        self.after_seq = after_seq
        self.only_settled = only_settled
        self.alarm: Alarm | None = None
        self._on_change = on_change
        self._watchers = watchers

    def fire(self) -> None:
        """Call back, when nothing else has ended the wait before."""
        if self._watchers._remove(self):
            if self.alarm is not None:
                self.alarm.cancel()
            try:
                self._on_change()
            except Exception:
                logger.exception("the callback of a watch on run %s failed", self.run_id)

    def cancel(self) -> None:
        if self._watchers._remove(self) and self.alarm is not None:
            self.alarm.cancel()


class RunWatchers:
    """Watches by run. Whoever removes a watch from here calls it back: that makes it exactly once."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._by_run: dict[str, set[Watch]] = {}
        self._count = 0

    def add(self, run_id: str, after_seq: int, on_change: Callable[[], None], only_settled: bool = False) -> Watch:
        """A watch that fires at the first change with a journal entry after ``after_seq``.

        With ``only_settled`` at the first that may have settled a job.

        Raises:
            Unavailable: there are MAX_WATCHES.
        """
        watch = Watch(run_id, after_seq, on_change, self, only_settled)
        with self._mutex:
            if self._count >= MAX_WATCHES:
                raise Unavailable(f"{MAX_WATCHES} requests already wait for runs to change")
            self._count += 1
            self._by_run.setdefault(run_id, set()).add(watch)
        return watch

    def run_changed(self, run_id: str, seq: int, settled: bool = True) -> None:
        """The change in journal entry ``seq`` is durable; whether it may have settled a job."""
        if run_id not in self._by_run:
            return
        with self._mutex:
            watches = self._by_run.get(run_id, ())
            due = [watch for watch in watches if watch.after_seq < seq and (settled or not watch.only_settled)]
        for watch in due:
            watch.fire()

    def fire_all(self) -> None:
        """Nothing changes any more."""
        with self._mutex:
            watches = [watch for group in self._by_run.values() for watch in group]
        for watch in watches:
            watch.fire()

    def _remove(self, watch: Watch) -> bool:
        with self._mutex:
            group = self._by_run.get(watch.run_id)
            if group is None or watch not in group:
                return False
            group.remove(watch)
            self._count -= 1
            if not group:
                del self._by_run[watch.run_id]
            return True
