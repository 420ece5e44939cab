"""The bounds and constants of the core. All of them are named here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CoreLimits:
    """Frozen settings of a SchedulerCore; the defaults are what production uses.

    Attributes:
        losses_to_quarantine: a job that so many workers died with is DEAD: it may well be what kills them.
        retry_backoff_s: wait before the first retry; doubles with each (1, 2, 4 s) up to ``retry_backoff_cap_s``.
        restart_backoff_s: wait before a service is started again; doubles with each end, as far as its ``_cap_s``.
        service_calm_s: an attempt of a service that lived so long makes what was before it forgotten.
        crash_loop_after: so many ends in a row, each sooner than that, are called a crash loop.
        crashes_to_move: a service that ended so often on one worker within ``crashes_within_s`` tries another one.
        rollout_s: a new version of a service that is not ready after this and two start deadlines is given up.
        replicas: of one service at most; each is a job, and holds a slot.
        refusal_hold_s: a worker that refused a dispatch gets nothing for so long, or a saturated one would be asked
            without end. Short, as it usually is a race with a slot that is about to be free.
        finished_jobs_in_memory: finished runs beyond so many jobs leave memory, the oldest first; the store keeps them.
        output_bytes_in_memory: finished runs leave memory too while the outputs of all jobs there are larger.
        finished_ms_in_memory: finished runs leave memory so long after their end, however few there are.
        open_jobs: a submission that would make more unfinished jobs than this is refused; at 1 KB each, a gigabyte.
        executions_per_job: attempts of a job kept in memory; the store keeps all.
        history_per_worker: past executions kept for the dashboard's timeline.
        histories: workers whose history is kept, the ones that are gone included.
        dead_workers: dead workers that are still listed.
        schedules: recurring schedules, each a few KB and its specs.
        events: what happened to the cluster is kept in memory so far; the store keeps more.
        max_workers: scaling up leads to no more workers than this, all of them counted.
        idle_s: a worker that scaling has started leaves when it was idle for so long.
        busy_percent: a machine whose processors are busier than this gets no further worker.
        idle_lanes: needs that nothing is queued for are forgotten beyond so many.
    """

    losses_to_quarantine: int = 5
    retry_backoff_s: float = 1.0
    retry_backoff_cap_s: float = 60.0
    restart_backoff_s: float = 1.0
    restart_backoff_cap_s: float = 60.0
    service_calm_s: float = 60.0
    crash_loop_after: int = 3
    crashes_to_move: int = 5
    crashes_within_s: float = 600.0
    rollout_s: float = 120.0
    replicas: int = 100
    refusal_hold_s: float = 1.0
    finished_jobs_in_memory: int = 10_000
    output_bytes_in_memory: int = 64 << 20
    finished_ms_in_memory: int = 30 * 24 * 3600 * 1000
    open_jobs: int = 1_000_000
    executions_per_job: int = 20
    history_per_worker: int = 20
    histories: int = 1_000
    dead_workers: int = 100
    idle_lanes: int = 64
    schedules: int = 50_000
    events: int = 1_000
    max_workers: int = 5
    idle_s: float = 45.0
    busy_percent: float = 100.0

    def backoff(self, failures: int) -> float:
        """Seconds to wait after the given number of failed attempts (1 or more)."""
        return _doubling(self.retry_backoff_s, failures, self.retry_backoff_cap_s)

    def rollout_allowed(self, start_s: float) -> float:
        """Seconds for a new version of a service, with that start deadline, to get ready."""
        return self.rollout_s + 2 * start_s

    def restart_backoff(self, ends: int) -> float:
        """Seconds to wait before a service is started again after so many quick ends in a row."""
        return _doubling(self.restart_backoff_s, max(ends, 1), self.restart_backoff_cap_s)


def _doubling(first: float, times: int, cap: float) -> float:
    # The exponent is bounded, as 2.0 ** 1024 is no float any more.
    return min(first * 2.0 ** min(times - 1, 64), cap)
