"""ReadyQueue: the PENDING jobs of one need, higher priority first, then first in, first out."""

from __future__ import annotations

from collections.abc import Mapping
from queue import PriorityQueue
from typing import Final

from titan_core.model.job import Job
from titan_core.model.states import JobState

Entry = tuple[int, int, str]
"""(-priority, seq, key): what jobs are compared by, and the job. No two have the same seq."""

_SLACK: Final = 64
"""Stale entries are put up with until they are this many more than the live ones."""


def rank(job: Job) -> Entry:
    """The place of a job among all that compete with it; less is sooner."""
    return (-job.spec.priority, job.seq, job.key)


class ReadyQueue:
    """A priority queue that jobs can leave from the middle: their entries stay behind and are dropped when met.

    An entry is live while its job is PENDING. A job is put here once each time it becomes PENDING, and leaves by
    ``pop``, ``take`` or, for good, by ``withdraw``; so it never has two entries.
    """

    __slots__ = ("_entries", "_jobs", "_live", "emptied")

    def __init__(self, jobs: Mapping[str, Job]) -> None:
        self._jobs = jobs
        self._entries: PriorityQueue[Entry] = PriorityQueue()
        self._live = 0
        self.emptied = 0
        """How often the last job has left."""

    def __len__(self) -> int:
        """How many jobs wait here."""
        return self._live

    def put(self, job: Job) -> None:
        self._entries.put_nowait(rank(job))
        self._live += 1

    def head(self) -> Entry | None:
        """The entry of the job whose turn it is."""
        entries = self._entries
        while entries.queue:
            entry: Entry = entries.queue[0]
            if self._is_live(entry):
                return entry
            entries.get_nowait()
        return None

    def pop(self) -> Job:
        """Take the job whose turn it is; there must be one."""
        entry = self.head()
        assert entry is not None
        self._entries.get_nowait()
        self._live -= 1
        self.emptied += not self._live
        return self._jobs[entry[2]]

    def take(self, job: Job) -> None:
        """Take a job whose turn it is not. Linear: for what a person asks."""
        kept = [entry for entry in self._entries.queue if entry[2] != job.key]
        self._entries = PriorityQueue()
        for entry in kept:
            self._entries.put_nowait(entry)
        self._live -= 1
        self.emptied += not self._live

    def withdraw(self) -> None:
        """A job that was put here is no longer PENDING, and will never be again."""
        self._live -= 1
        self.emptied += not self._live
        if len(self._entries.queue) > 2 * self._live + _SLACK:
            kept = [entry for entry in self._entries.queue if self._is_live(entry)]
            self._entries = PriorityQueue()
            for entry in kept:
                self._entries.put_nowait(entry)

    def live_entries(self) -> list[Entry]:
        """For invariants: in no order."""
        return [entry for entry in self._entries.queue if self._is_live(entry)]

    def _is_live(self, entry: Entry) -> bool:
        job = self._jobs.get(entry[2])
        return job is not None and job.state is JobState.PENDING
