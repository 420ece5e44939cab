"""HistoryRetention: finished runs leave the journal when they are old or too many."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from titan_core.scheduling.clock import Clock
from titan_core.scheduling.core.commands import ForgetRuns
from titan_core.scheduling.scheduler import Scheduler
from titan_core.storage.history import OldRun
from titan_core.storage.store import Store

log = logging.getLogger(__name__)

JOBS_AT_ONCE: Final = 500
"""Removed in one transaction, or one run: some 10 ms, between what others wait for."""
RUNS_AT_ONCE: Final = 500
"""Looked at with one query."""
KEY_KEPT_MS: Final = 24 * 3600 * 1000
"""For so long after its end a run answers for its idempotency key, however many runs there are."""

Pause = Callable[[], bool]
"""Waits for a moment; True: stop now."""


class HistoryRetention:
    """Removes runs through the journal, the oldest first.

    A run stays while it is open or has an unfinished job, while a run that was submitted from inside it is there, while
    another repeats it or counts its jobs as its own, and while the core has it in memory.

    Args:
        max_age_ms: since the end of a run. max_jobs: in the journal; beyond it the oldest finished runs go.
        forgotten: called with the ids of runs that are gone for good.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        store: Store,
        clock: Clock,
        *,
        max_age_ms: int,
        max_jobs: int,
        forgotten: Callable[[Sequence[str]], None],
    ) -> None:
        self._scheduler = scheduler
        self._store = store
        self._clock = clock
        self._max_age_ms = max_age_ms
        self._max_jobs = max_jobs
        self._forgotten = forgotten

    def sweep(self, pause: Pause) -> int:
        """Remove what is to go; how many runs went. Raises StoreError, Unavailable."""
        now = self._clock.now().wall
        oldest = now - self._max_age_ms
        excess = self._store.count_jobs() - self._max_jobs
        sources: set[str] | None = None
        after, gone = 0, 0
        batch: list[OldRun] = []
        while runs := self._store.oldest_runs(after, RUNS_AT_ONCE):
            for run in runs:
                after = run.seq
                crowded = excess > 0 and not (run.has_key and run.ended_at > now - KEY_KEPT_MS)
                if not run.over or (run.ended_at >= oldest and not crowded):
                    continue
                if sources is None:
                    sources = self._store.rerun_sources(pause)
                if run.run_id in sources or self._remembered(run.run_id):
                    continue
                excess -= run.jobs
                batch.append(run)
                if sum(each.jobs for each in batch) >= JOBS_AT_ONCE:
                    gone += self._forget(batch)
                    batch = []
                    if pause():
                        return gone
            if excess <= 0 and all(run.submitted_at >= oldest for run in runs):
                break  # those behind them are younger; one alone may have come while the clock was wrong
            if pause():
                break
        gone += self._forget(batch)
        if gone:
            log.info("removed %d old runs from the journal", gone)
        return gone

    def _remembered(self, run_id: str) -> bool:
        """Once it is not, it never is again: later runs have other ids."""
        return self._scheduler.read(lambda core: core.remembers(run_id))

    def _forget(self, runs: Sequence[OldRun]) -> int:
        if not runs:
            return 0
        done = threading.Event()
        answers: list[Any] = []

        def written(results: Any) -> None:
            answers.append(results)
            done.set()

        self._scheduler.write([ForgetRuns(tuple(run.seq for run in runs))], written)
        done.wait()
        if isinstance(answers[0], Exception):
            raise answers[0]
        self._forgotten([run.run_id for run in runs])
        return len(runs)
