"""FreeWorkers: the workers with a free slot that satisfy one need, the best choice first."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final

from titan_core.model.worker import Worker

_Entry = tuple[float, int, int, int, Worker]
"""(load, capabilities offered, seq, stamp, worker). No two have the same seq and stamp."""

_SLACK: Final = 64


class FreeWorkers:
    """A heap whose entries are good as long as the worker's stamp is the one they were made with.

    Least load comes first. Among equals, the worker that offers the least beyond what is asked: a GPU should not be
    held by what runs anywhere. Then the one that has been here longest.
    """

    __slots__ = ("_compact_at", "_heap")

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        self._compact_at = _SLACK

    def offer(self, worker: Worker) -> None:
        """A worker with room has changed (its stamp is new), or is new here."""
        heappush(self._heap, (worker.load, len(worker.offer), worker.seq, worker.stamp, worker))
        if len(self._heap) > self._compact_at:
            self._heap = [entry for entry in self._heap if entry[3] == entry[4].stamp]
            heapify(self._heap)
            self._compact_at = 2 * len(self._heap) + _SLACK

    def best(self) -> Worker | None:
        """The worker to prefer when nothing else speaks for one."""
        heap = self._heap
        while heap:
            entry = heap[0]
            if entry[3] == entry[4].stamp:
                return entry[4]
            heappop(heap)
        return None
