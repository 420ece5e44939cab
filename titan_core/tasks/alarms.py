"""One thread that does small things later."""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

EXIT_FAILED = 70
"""Exit code of a worker in which something happened that cannot: starting it anew is safe, going on is not."""


class Alarms:
    """Runs actions on its thread when their time has come, in order of time. Any thread may ask.

    Actions may read files but not wait for peers: they delay each other. How many are pending is bounded by their
    owners, who ask for a few per attempt.
    """

    def __init__(self, name: str) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What is pending is not done any more."""
        with self._changed:
            self._stopped = True
            self._due.clear()
            self._changed.notify()

    def join(self, deadline_s: float) -> None:
        if self._thread.is_alive():
            self._thread.join(deadline_s)

    def call_later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Run ``action`` once, ``delay_s`` seconds from now or a little later."""
        entry = (time.monotonic() + delay_s, next(self._order), action)
        with self._changed:
            if self._stopped:
                return
            heapq.heappush(self._due, entry)
            if self._due[0] is entry:  # otherwise the thread wakes early enough as it is
                self._changed.notify()

    def _run(self) -> None:
        try:
            while (action := self._next()) is not None:
                action()
        except Exception:
            log.exception("the thread %s failed; the worker ends", self._thread.name)
            os._exit(EXIT_FAILED)

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._stopped:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
            return None
