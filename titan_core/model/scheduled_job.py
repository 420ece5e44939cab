"""ScheduledJob: a job that waits for a moment."""

from __future__ import annotations

from typing import NamedTuple

from titan_core.model.job import Job


class ScheduledJob(NamedTuple):
    """An entry of the delay heap: by ``due`` (monotonic seconds), then by acceptance. A job has one at most."""

    due: float
    seq: int
    job: Job
