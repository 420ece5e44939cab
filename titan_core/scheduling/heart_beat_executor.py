"""HeartBeatExecutor: notices workers that give no sign of life."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from titan_core.scheduling.engine_thread import EngineThread, Fail, end_process

logger = logging.getLogger(__name__)

SUSPENDED_S: Final = 1.0
"""A thread that wakes so much too late was not running, and neither were those that read the workers' frames."""
LOOKS_PER_LEASE: Final = 4
"""While there are workers it wakes at least so often, to notice that the process itself had been stopped."""

OnSilent = Callable[[str, str, str], None]
"""worker id, boot id, and the reason for people."""


class _Watched:
    """One worker: ``seen`` when it last gave a sign of life, ``allowance`` the seconds it may be silent from then."""

    __slots__ = ("allowance", "boot_id", "link", "reason", "seen")

    def __init__(self, boot_id: str, link: int, allowance: float, reason: str) -> None:
        self.boot_id = boot_id
        self.link = link
        self.allowance = allowance
        self.reason = reason
        self.seen = time.monotonic()

    @property
    def expires(self) -> float:
        return self.seen + self.allowance


class HeartBeatExecutor(EngineThread):
    """Calls ``on_silent`` once for each worker whose allowance has passed without a sign of life.

    A worker with a link may be silent for ``lease_s``, one whose link broke has ``grace_s`` to come back, one that an
    earlier master knew has ``lease_s`` from the restart on. When this process was itself stopped for a while (SIGSTOP,
    a paused virtual machine), nobody is judged by that time: everyone's allowance begins anew.
    """

    def __init__(self, lease_s: float, grace_s: float, on_silent: OnSilent, fail: Fail = end_process) -> None:
        super().__init__("HeartBeatExecutor", fail)
        self._lease_s = lease_s
        self._grace_s = grace_s
        self._on_silent = on_silent
        self._changed = threading.Condition()
        self._workers: dict[str, _Watched] = {}
        self._stopping = False

    def sign_of_life(self, worker_id: str) -> None:
        """Something arrived from it. Called for every frame: no lock, one lookup, one assignment."""
        watched = self._workers.get(worker_id)
        if watched is not None:
            watched.seen = time.monotonic()

    def registered(self, worker_id: str, boot_id: str, link: int) -> None:
        self._watch(worker_id, _Watched(boot_id, link, self._lease_s, f"no sign of life for {self._lease_s:g} s"))

    def remembered(self, worker_id: str, boot_id: str) -> None:
        """Known from before a restart: it has the length of a lease to register again."""
        reason = f"did not come back within {self._lease_s:g} s of the master's restart"
        self._watch(worker_id, _Watched(boot_id, 0, self._lease_s, reason))

    def link_broken(self, worker_id: str, link: int) -> None:
        """The grace begins, unless the worker has another link by now."""
        watched = self._workers.get(worker_id)
        if watched is not None and watched.link == link:
            reason = f"its connection broke and it did not come back within {self._grace_s:g} s"
            self._watch(worker_id, _Watched(watched.boot_id, link, self._grace_s, reason))

    def forget(self, worker_id: str, boot_id: str) -> None:
        """That process of the worker left, or was declared dead."""
        with self._changed:
            watched = self._workers.get(worker_id)
            if watched is not None and watched.boot_id == boot_id:
                del self._workers[worker_id]

    def silence(self, worker_id: str) -> float:
        """Seconds since its last sign of life; 0 when it is not watched."""
        watched = self._workers.get(worker_id)
        return 0.0 if watched is None else max(0.0, time.monotonic() - watched.seen)

    def watches(self, worker_id: str) -> bool:
        return worker_id in self._workers

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def _watch(self, worker_id: str, watched: _Watched) -> None:
        with self._changed:
            self._workers[worker_id] = watched
            self._changed.notify()

    def _run(self) -> None:
        while (silent := self._next_silent()) is not None:
            worker_id, watched = silent
            self._on_silent(worker_id, watched.boot_id, watched.reason)

    def _next_silent(self) -> tuple[str, _Watched] | None:
        """The next worker that was silent for too long, no longer watched; None when the thread is to end."""
        with self._changed:
            while not self._stopping:
                if not self._workers:
                    self._changed.wait()
                    continue
                worker_id = min(self._workers, key=lambda name: self._workers[name].expires)
                now = time.monotonic()
                expires = self._workers[worker_id].expires
                if expires <= now:
                    return worker_id, self._workers.pop(worker_id)
                planned = min(expires, now + self._lease_s / LOOKS_PER_LEASE)
                self._changed.wait(planned - now)
                self._forgive_if_suspended(planned)
        return None

    def _forgive_if_suspended(self, planned: float) -> None:
        late = time.monotonic() - planned
        if late > SUSPENDED_S:
            logger.warning("this process did not run for %.1f s; all workers get a fresh lease", late)
            for watched in self._workers.values():
                watched.seen = max(watched.seen, time.monotonic())
