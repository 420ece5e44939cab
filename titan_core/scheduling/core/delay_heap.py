"""DelayHeap: the DELAYED jobs, the one due first in front."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Final

from titan_core.model.job import Job
from titan_core.model.scheduled_job import ScheduledJob
from titan_core.model.states import JobState

_SLACK: Final = 64
"""Stale entries are put up with until they are this many more than the live ones."""


class DelayHeap:
    """A heap of ScheduledJobs. The entry of a job that was cancelled meanwhile stays behind until it is met."""

    def __init__(self) -> None:
        self._heap: list[ScheduledJob] = []
        self._live = 0

    def __len__(self) -> int:
        """How many jobs wait here."""
        return self._live

    def put(self, job: Job, due: float) -> None:
        """``job`` is DELAYED until ``due``, in monotonic seconds."""
        heappush(self._heap, ScheduledJob(due, job.seq, job))
        self._live += 1

    def withdraw(self) -> None:
        """A job that was put here is no longer DELAYED, and will never be again."""
        self._live -= 1
        if len(self._heap) > 2 * self._live + _SLACK:
            self._heap = [entry for entry in self._heap if entry.job.state is JobState.DELAYED]
            heapify(self._heap)

    def take(self, job: Job) -> None:
        """A job that was put here is to be DELAYED no longer, and may be again. Linear: for what a person asks."""
        self._heap = [entry for entry in self._heap if entry.job is not job]
        heapify(self._heap)
        self._live -= 1

    def live_entries(self) -> list[ScheduledJob]:
        """For invariants: in no order."""
        return [entry for entry in self._heap if entry.job.state is JobState.DELAYED]

    def next_due(self) -> float | None:
        """When the first job is due; None when none waits."""
        heap = self._heap
        while heap and heap[0].job.state is not JobState.DELAYED:
            heappop(heap)
        return heap[0].due if heap else None

    def pop_due(self, now: float) -> Iterator[Job]:
        """Take the jobs that are due, in order."""
        while (due := self.next_due()) is not None and due <= now:
            self._live -= 1
            yield heappop(self._heap).job
