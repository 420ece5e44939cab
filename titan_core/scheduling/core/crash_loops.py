"""Crash loops: what the latest attempts of a service tell about the next one.

Only the executions in memory are looked at, which the journal brings back, so a restart of the master changes nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from titan_core.model.job import Job
from titan_core.scheduling.core.limits import CoreLimits

_BY_ITSELF: Final = frozenset({"completed", "failed", "timed_out"})
"""Outcomes of attempts that nobody asked to end; one that was asked to (``cancelled``) is where counting begins."""


def quick_ends(job: Job, limits: CoreLimits) -> int:
    """How many attempts in a row, up to the latest, ended by themselves before they had lived for long.

    However long it took, one that was not ready in time (``timed_out``) has not lived at all.
    """
    count = 0
    for execution in reversed(job.executions or ()):
        if execution.outcome == "cancelled":
            break
        if execution.outcome not in _BY_ITSELF:
            continue  # lost or given back, which is no fault of the service
        never_ready = execution.outcome == "timed_out" and job.spec.timeout_s is None
        if not never_ready and execution.ended_at - execution.started_at >= limits.service_calm_s * 1000:
            break
        count += 1
    return count


def in_crash_loop(job: Job, limits: CoreLimits) -> bool:
    return quick_ends(job, limits) >= limits.crash_loop_after


def shunned_workers(job: Job, limits: CoreLimits) -> frozenset[str]:
    """Where it has ended so often in a short time that another worker should be tried."""
    executions = job.executions
    if executions is None or len(executions) < limits.crashes_to_move:
        return frozenset()
    since = executions[-1].ended_at - limits.crashes_within_s * 1000
    ends = Counter(each.worker_id for each in executions if each.outcome in _BY_ITSELF and each.ended_at >= since)
    return frozenset(worker_id for worker_id, count in ends.items() if count >= limits.crashes_to_move)
