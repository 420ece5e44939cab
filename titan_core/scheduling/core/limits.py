"""The bounds and constants of the core. All of them are named here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CoreLimits:
    """Frozen settings of a SchedulerCore; the defaults are what production uses.

    Attributes:
        losses_to_quarantine: a job that so many workers died with is DEAD: it may well be what kills them.
        retry_backoff_s: wait before the first retry; doubles with each (1, 2, 4 s) up to ``retry_backoff_cap_s``.
        refusal_hold_s: a worker that refused a dispatch gets nothing for so long, or a saturated one would be asked
            without end. Short, as it usually is a race with a slot that is about to be free.
        finished_jobs_in_memory: finished runs beyond so many jobs leave memory, the oldest first; the store keeps them.
        open_jobs: a submission that would make more unfinished jobs than this is refused; at 1 KB each, a gigabyte.
        executions_per_job: attempts of a job kept in memory; the store keeps all.
        history_per_worker: past executions kept for the dashboard's timeline.
        histories: workers whose history is kept, the ones that are gone included.
        dead_workers: dead workers that are still listed.
        events: what happened to the cluster is kept in memory so far; the store keeps more.
        max_workers: scaling up leads to no more workers than this, all of them counted.
        idle_s: a worker that scaling has started leaves when it was idle for so long.
        busy_percent: a machine whose processors are busier than this gets no further worker.
        idle_lanes: needs that nothing is queued for are forgotten beyond so many.
    """

    losses_to_quarantine: int = 5
    retry_backoff_s: float = 1.0
    retry_backoff_cap_s: float = 60.0
    refusal_hold_s: float = 1.0
    finished_jobs_in_memory: int = 10_000
    open_jobs: int = 1_000_000
    executions_per_job: int = 20
    history_per_worker: int = 20
    histories: int = 1_000
    dead_workers: int = 100
    idle_lanes: int = 64
    events: int = 1_000
    max_workers: int = 5
    idle_s: float = 45.0
    busy_percent: float = 100.0

    def backoff(self, failures: int) -> float:
        """Seconds to wait after the given number of failed attempts (1 or more)."""
        # The exponent is bounded, as 2.0 ** 1024 is no float any more.
        return min(self.retry_backoff_s * 2.0 ** min(failures - 1, 64), self.retry_backoff_cap_s)
