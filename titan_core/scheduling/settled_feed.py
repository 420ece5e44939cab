"""SettledFeed: which jobs settled last, and who waits for jobs of which runs to settle."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from itertools import islice
from typing import Final, NamedTuple

from titan_core.scheduling.clock_watcher import Alarm, ClockWatcher
from titan_core.scheduling.core.commands import InsertJob, UpdateJob, UpdateRun
from titan_core.scheduling.dispatcher import Entry
from titan_sdk.errors import Unavailable

logger = logging.getLogger(__name__)

MAX_REMEMBERED: Final = 20_000
"""Keys of jobs, some 2 MB: who was away for longer than it takes to settle so many looks at its jobs anew."""
MAX_KEYS: Final = 2_000
"""In one answer: some 1 MB of jobs."""
MAX_WAITERS: Final = 4_096
ANY_RUN: Final = ""
"""Waited for like a run: whatever settles."""


class Settled(NamedTuple):
    """``keys`` settled up to ``version``, oldest first: of jobs, or ``run/`` of a run that was closed.

    ``more`` did since. ``reset``: nobody knows what did.
    """

    version: int
    keys: tuple[str, ...] = ()
    reset: bool = False
    more: bool = False


class _Waiter:
    __slots__ = ("alarm", "runs", "tell")

    def __init__(self, runs: Collection[str], tell: Callable[[Settled], None]) -> None:
        self.runs = runs
        self.tell = tell
        self.alarm: Alarm | None = None


class SettledFeed:
    """Written by the Dispatcher's thread, read by any. ``feed`` names this life of it.

    A waiter costs something only when a job of its runs settles, however much else happens.
    """

    def __init__(self, clock_watcher: ClockWatcher) -> None:
        self.feed = secrets.token_hex(8)
        self._clock_watcher = clock_watcher
        self._mutex = threading.Lock()
        self._version = 0
        """Jobs that have settled so far, of which the last are in ``_keys``."""
        self._keys: deque[str] = deque(maxlen=MAX_REMEMBERED)
        self._by_run: dict[str, set[_Waiter]] = {}
        self._waiters = 0
        self._ended = False

    def note(self, entry: Entry) -> None:
        """A durable journal entry."""
        keys = [
            record.row.key
            for record in entry.records
            if isinstance(record, (UpdateJob, InsertJob)) and (record.row.ready or record.row.state.final)
        ]
        # A run that is closed may have ended by this alone, and have no job that could tell.
        keys += [
            f"{record.run.run_id}/"
            for record in entry.records
            if isinstance(record, UpdateRun) and record.run.growth is not None and not record.run.growth.open
        ]
        if keys:
            self.settled(keys)

    def settled(self, keys: list[str]) -> None:
        """These jobs have settled, or of services that are ready something else has changed."""
        due: dict[_Waiter, list[str]] = {}
        with self._mutex:
            self._version += len(keys)
            self._keys.extend(keys)
            version = self._version
            if self._by_run:
                for key in keys:
                    for name in (key.partition("/")[0], ANY_RUN):
                        for waiter in self._by_run.get(name, ()):
                            due.setdefault(waiter, []).append(key)
                for waiter in due:
                    self._remove(waiter)
        for waiter, found in due.items():
            # Of more than fit into an answer it is told that there are more: it asks again from the version before.
            full = len(found) > MAX_KEYS
            self._tell(waiter, Settled(version - len(keys), more=True) if full else Settled(version, tuple(found)))

    def since(self, feed: str, version: int, runs: Collection[str]) -> Settled:
        """What settled after ``version`` of jobs in ``runs``; empty: in any."""
        with self._mutex:
            return self._since(feed, version, runs)

    def wait(
        self, feed: str, version: int, runs: Collection[str], wait_s: float, tell: Callable[[Settled], None]
    ) -> None:
        """Call ``tell`` once: as soon as there is something to tell, or with nothing after ``wait_s`` seconds.

        Raises:
            Unavailable: MAX_WAITERS wait already.
        """
        with self._mutex:
            found = self._since(feed, version, runs)
            if not (found.keys or found.reset or found.more or self._ended):
                if self._waiters >= MAX_WAITERS:
                    raise Unavailable(f"{MAX_WAITERS} requests already wait for jobs to settle")
                waiter = _Waiter(runs or (ANY_RUN,), tell)
                self._waiters += 1
                for run in waiter.runs:
                    self._by_run.setdefault(run, set()).add(waiter)
                waiter.alarm = self._clock_watcher.call_at(time.monotonic() + wait_s, lambda: self._time_over(waiter))
                return
        tell(found)

    def end(self) -> None:
        """Nothing settles any more: who waits is told so."""
        with self._mutex:
            self._ended = True
            waiters = {waiter for group in self._by_run.values() for waiter in group}
        for waiter in waiters:
            self._time_over(waiter)

    def _since(self, feed: str, version: int, runs: Collection[str]) -> Settled:
        behind = self._version - version
        if feed != self.feed or not 0 <= behind <= len(self._keys):
            return Settled(self._version, reset=True)
        start = len(self._keys) - behind
        found: list[str] = []
        for place, key in enumerate(islice(self._keys, start, None), version + 1):
            if not runs or key.partition("/")[0] in runs:
                found.append(key)
                if len(found) == MAX_KEYS and place < self._version:
                    return Settled(place, tuple(found), more=True)
        return Settled(self._version, tuple(found))

    def _time_over(self, waiter: _Waiter) -> None:
        with self._mutex:
            if not self._remove(waiter):
                return
            version = self._version
        self._tell(waiter, Settled(version))

    def _remove(self, waiter: _Waiter) -> bool:
        """With the mutex held. False: something else has ended the wait before."""
        found = False
        for run in waiter.runs:
            group = self._by_run.get(run)
            if group is not None and waiter in group:
                found = True
                group.remove(waiter)
                if not group:
                    del self._by_run[run]
        self._waiters -= found
        return found

    def _tell(self, waiter: _Waiter, what: Settled) -> None:
        if waiter.alarm is not None:
            waiter.alarm.cancel()
        try:
            waiter.tell(what)
        except Exception:
            logger.exception("the callback of a wait for jobs to settle failed")
