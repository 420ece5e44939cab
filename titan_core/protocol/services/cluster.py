"""The cluster at a glance: workers and statistics, with what heartbeats tell beside what the core knows."""

from __future__ import annotations

from typing import Any, NamedTuple

from titan_core.protocol.services import Done
from titan_core.scheduling.core.events import DrainRequested
from titan_core.scheduling.scheduler import Scheduler
from titan_sdk.messages import GetStats, GetStatsJson, KillWorker, ListWorkers, Ok, StatsData, StatsText, WorkerList


class _Vitals(NamedTuple):
    """Of a worker's machine, in percent."""

    cpu: float
    memory: float


class ClusterService:
    """Statistics, and decommissioning. Any thread may call."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._vitals: dict[str, _Vitals] = {}

    def heartbeat(self, worker_id: str, cpu_percent: float, memory_percent: float) -> None:
        """What a worker says of its machine."""
        self._vitals[worker_id] = _Vitals(_percent(cpu_percent), _percent(memory_percent))
        self._scheduler.feed.changed()

    def forget(self, worker_id: str) -> None:
        """The worker's link has ended."""
        self._vitals.pop(worker_id, None)

    def workers(self, request: ListWorkers) -> WorkerList:
        workers = self._scheduler.read(lambda core: core.workers())
        for worker in workers:
            worker.last_seen_s = round(self._scheduler.silence(worker.worker_id), 3)
            vitals = self._vitals.get(worker.worker_id)
            if vitals is not None:
                worker.cpu_percent = vitals.cpu
                worker.memory_percent = vitals.memory
        return WorkerList(workers=workers)

    def stats_text(self, request: GetStats) -> StatsText:
        return StatsText(text=self._scheduler.read(lambda core: core.stats_text()))

    def stats_json(self, request: GetStatsJson) -> StatsData:
        data: dict[str, Any] = self._scheduler.read(lambda core: core.stats_json())
        for worker in data["workers"]:
            vitals = self._vitals.get(worker["worker_id"])
            worker["cpu"] = vitals.cpu if vitals else 0.0
            worker["memory"] = vitals.memory if vitals else 0.0
        return StatsData(data=data)

    def kill_worker(self, request: KillWorker, done: Done[Ok]) -> None:
        """No new jobs for it; running ones finish or are handed back, then it ends. A permanent worker is refused."""

        def posted(worker_id: str | Exception) -> None:
            place = f"{request.host}:{request.port}"
            done(worker_id if isinstance(worker_id, Exception) else Ok(text=f"{place} is being decommissioned"))

        self._scheduler.post(DrainRequested(request.host, request.port), posted)


def _percent(value: float) -> float:
    """JSON has no word for what is no number."""
    return value if 0.0 <= value <= 100.0 else 0.0
