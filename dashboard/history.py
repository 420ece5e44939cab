"""The last hour in numbers: samples of the queue and the slots, how much ended, and how long it took. No clock here."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from titan_sdk.messages import FINAL_STATES, JobInfo, WorkerInfo

SAMPLE_S: Final = 5
SAMPLES: Final = 3600 // SAMPLE_S
MAX_TIMES: Final = 4_000
"""Waiting and running times kept of one sample's jobs; beyond it they are a fair part of all."""

MAX_SEEN: Final = 100_000
"""Jobs that have not ended whose last change is remembered, some 20 MB; a start of one beyond may count twice."""


@dataclass
class _Open:
    """What the sample that is being filled has counted."""

    started: int = 0
    completed: int = 0
    failed: int = 0
    waits: list[int] = field(default_factory=list)
    runtimes: list[int] = field(default_factory=list)


class History:
    """Times are epoch ms of the master for jobs, and the caller's for samples."""

    def __init__(self) -> None:
        self.samples: deque[dict[str, Any]] = deque(maxlen=SAMPLES)
        self._open = _Open()
        self._seen: dict[str, tuple[int, str]] = {}

    def job_changed(self, job: JobInfo) -> None:
        """Count what is new about it: a start, an end."""
        before = self._seen.get(job.key, (0, ""))
        now = (job.attempt, job.state)
        if now == before:
            return
        self._seen.pop(job.key, None)
        if job.state not in FINAL_STATES:
            self._seen[job.key] = now
            if len(self._seen) > MAX_SEEN:
                del self._seen[next(iter(self._seen))]
        if job.attempt > before[0]:
            self._open.started += 1
            if job.attempt == 1 and job.started_at and not job.parents and len(self._open.waits) < MAX_TIMES:
                self._open.waits.append(max(0, job.started_at - max(job.submitted_at, job.due_at)))
        if job.state in FINAL_STATES:
            self._open.completed += job.state == "COMPLETED"
            self._open.failed += job.state == "DEAD"
            if job.started_at and job.ended_at >= job.started_at and len(self._open.runtimes) < MAX_TIMES:
                self._open.runtimes.append(job.ended_at - job.started_at)

    def sample(self, at: int, counts: dict[str, int], workers: Iterable[WorkerInfo]) -> dict[str, Any]:
        """Close the sample that ends at ``at`` (epoch ms)."""
        slots = busy = 0
        for worker in workers:
            if worker.state in ("alive", "draining", "cordoned"):
                slots += worker.slots
                busy += worker.busy
        done, self._open = self._open, _Open()
        sample = {
            "at": at,
            "queued": counts.get("PENDING", 0),
            "waiting": sum(counts.get(state, 0) for state in ("WAITING", "DELAYED", "HELD")),
            "running": counts.get("RUNNING", 0),
            "slots": slots,
            "busy": busy,
            "started": done.started,
            "completed": done.completed,
            "failed": done.failed,
            "wait_p50": percentile(done.waits, 0.5),
            "wait_p95": percentile(done.waits, 0.95),
            "run_p50": percentile(done.runtimes, 0.5),
            "run_p95": percentile(done.runtimes, 0.95),
        }
        self.samples.append(sample)
        return sample

    def backfill(self, jobs: Iterable[JobInfo], now: int) -> None:
        """Samples of the hour before ``now`` from jobs that ended in it; of the queue then nobody knows any more."""
        step = SAMPLE_S * 1000
        buckets: dict[int, _Open] = {}
        for job in jobs:
            if job.state in FINAL_STATES and now - SAMPLES * step < job.ended_at <= now:
                bucket = buckets.setdefault((now - job.ended_at) // step, _Open())
                bucket.completed += job.state == "COMPLETED"
                bucket.failed += job.state == "DEAD"
                if job.started_at and len(bucket.runtimes) < MAX_TIMES:
                    bucket.runtimes.append(max(0, job.ended_at - job.started_at))
        if not buckets:
            return
        self.samples.clear()
        for number in range(max(buckets), -1, -1):
            bucket = buckets.get(number, _Open())
            self.samples.append(
                {
                    "at": now - number * step,
                    **dict.fromkeys(("queued", "waiting", "running", "slots", "busy"), None),
                    "started": bucket.completed + bucket.failed,
                    "completed": bucket.completed,
                    "failed": bucket.failed,
                    "wait_p50": None,
                    "wait_p95": None,
                    "run_p50": percentile(bucket.runtimes, 0.5),
                    "run_p95": percentile(bucket.runtimes, 0.95),
                }
            )


def percentile(values: list[int], share: float) -> int | None:
    """The value that ``share`` of the values do not exceed; None when there are none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
