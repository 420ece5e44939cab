"""ChangeFeed: which jobs changed last, and who waits for anything to change."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from titan_core.scheduling.clock_watcher import Alarm, ClockWatcher
from titan_core.scheduling.core.commands import InsertJob, UpdateJob, UpdateRun
from titan_core.scheduling.core.events import AttemptStarted
from titan_core.scheduling.dispatcher import Entry
from titan_sdk.errors import Unavailable

logger = logging.getLogger(__name__)

MAX_REMEMBERED: Final = 20_000
"""Keys of jobs, some 3 MB: who was away for longer than it takes to change so many asks for everything anew."""
MAX_KEYS: Final = 2_000
"""In one look: some 2 MB of jobs, and a few milliseconds."""
MAX_WAITERS: Final = 256
GATHER_S: Final = 0.1
"""From the first change to the answer: what follows within it is in the same answer, so there are ten a second."""


class Changed(NamedTuple):
    """``keys`` changed up to ``version``, oldest first; ``more`` did since. ``reset``: nobody knows what did."""

    version: int
    keys: tuple[str, ...] = ()
    reset: bool = False
    more: bool = False


class _Waiter:
    __slots__ = ("alarm", "fire")

    def __init__(self, fire: Callable[[], None]) -> None:
        self.fire = fire
        self.alarm: Alarm | None = None


class ChangeFeed:
    """Written by the Dispatcher's thread, read by any. ``feed`` names this life of it."""

    def __init__(self, clock_watcher: ClockWatcher) -> None:
        self.feed = secrets.token_hex(8)
        self._clock_watcher = clock_watcher
        self._mutex = threading.Lock()
        self._version = 0
        self._forgotten = 0
        """Changes up to this version are not remembered any more."""
        self._last: dict[str, int] = {}
        self._waiters: set[_Waiter] = set()
        self._gathering = False

    def note(self, entry: Entry) -> None:
        """A durable journal entry."""
        keys = [record.row.key for record in entry.records if isinstance(record, (InsertJob, UpdateJob))]
        keys += [record.last_job for record in entry.records if isinstance(record, UpdateRun) and record.last_job]
        if type(entry.event) is AttemptStarted:  # seen, but not recorded
            keys.append(entry.event.lease.job)
        if keys or entry.event is not None:
            self.changed(keys)

    def changed(self, keys: list[str] | tuple[str, ...] = ()) -> None:
        """These jobs changed, or with none something else that is shown."""
        with self._mutex:
            self._version += 1
            for key in keys:
                self._last.pop(key, None)
                self._last[key] = self._version
            while len(self._last) > MAX_REMEMBERED:
                oldest = next(iter(self._last))
                self._forgotten = self._last.pop(oldest)
            if not self._waiters or self._gathering:
                return
            self._gathering = True
        self._clock_watcher.call_at(time.monotonic() + GATHER_S, self.fire_all)

    def since(self, feed: str, version: int) -> Changed:
        """What changed after ``version``."""
        with self._mutex:
            if feed != self.feed or not self._forgotten <= version <= self._version:
                return Changed(self._version, reset=True)
            found: list[tuple[int, str]] = []
            for key in reversed(self._last):
                if self._last[key] <= version:
                    break
                found.append((self._last[key], key))
            found.reverse()
            if len(found) <= MAX_KEYS:
                return Changed(self._version, tuple(key for _, key in found))
            # A whole version or nothing of it, as the next look begins after it.
            last = found[MAX_KEYS - 1][0]
            return Changed(last, tuple(key for number, key in found if number <= last), more=True)

    def wait(self, feed: str, version: int, wait_s: float, fire: Callable[[], None]) -> bool:
        """Call ``fire`` once: when something changes, or after ``wait_s`` seconds. False: it has changed already.

        Raises:
            Unavailable: MAX_WAITERS wait already.
        """
        waiter = _Waiter(fire)
        with self._mutex:
            if feed != self.feed or version != self._version:
                return False
            if len(self._waiters) >= MAX_WAITERS:
                raise Unavailable(f"{MAX_WAITERS} requests already wait for the cluster to change")
            self._waiters.add(waiter)
        waiter.alarm = self._clock_watcher.call_at(time.monotonic() + wait_s, lambda: self._fire(waiter))
        return True

    def fire_all(self) -> None:
        """Something has changed, or nothing will any more."""
        with self._mutex:
            self._gathering = False
            waiters = list(self._waiters)
        for waiter in waiters:
            self._fire(waiter)

    def _fire(self, waiter: _Waiter) -> None:
        with self._mutex:
            if waiter not in self._waiters:
                return
            self._waiters.remove(waiter)
        if waiter.alarm is not None:
            waiter.alarm.cancel()
        try:
            waiter.fire()
        except Exception:
            logger.exception("the callback of a watch on the cluster failed")
