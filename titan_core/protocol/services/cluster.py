"""The cluster at a glance: workers and statistics, with what heartbeats tell beside what the core knows."""

from __future__ import annotations

import math
import threading
from typing import Any

import msgspec

from titan_core.protocol.host_names import other_names
from titan_core.protocol.services import Done
from titan_core.scheduling.core.events import CordonRequested, DrainRequested, WorkerLoad
from titan_core.scheduling.scheduler import Scheduler
from titan_sdk.messages import (
    Cordon,
    GetStats,
    GetStatsJson,
    Heartbeat,
    KillWorker,
    ListWorkers,
    Ok,
    StatsData,
    StatsText,
    Usage,
    WorkerList,
)


class ClusterService:
    """Statistics, and decommissioning. Any thread may call."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._vitals: dict[str, Heartbeat] = {}
        self._links: dict[str, int] = {}
        """The link that what we know of a worker came by."""
        self._lock = threading.Lock()

    def heartbeat(self, worker_id: str, link_id: int, heartbeat: Heartbeat) -> None:
        """What a worker says of its machine; by an older link than the newest it is not heard."""
        vitals = msgspec.structs.replace(
            heartbeat,
            cpu_percent=_percent(heartbeat.cpu_percent),
            memory_percent=_percent(heartbeat.memory_percent),
            load=heartbeat.load if math.isfinite(heartbeat.load) else 0.0,
            usage=tuple(each for each in heartbeat.usage if 0.0 <= each.cpu_percent < math.inf),
        )
        with self._lock:
            if link_id < self._links.get(worker_id, 0):
                return
            self._links[worker_id] = link_id
            self._vitals[worker_id] = vitals
        self._scheduler.feed.changed()

    def loads(self) -> dict[str, WorkerLoad]:
        """What each connected worker last said of its machine."""
        vitals = self._vitals.copy()
        return {name: WorkerLoad(beat.cpu_percent, beat.memory_free, beat.load) for name, beat in vitals.items()}

    def usage(self) -> dict[str, Usage]:
        """What services took at the last heartbeat of their workers, by key."""
        return {each.job: each for beat in list(self._vitals.values()) for each in beat.usage}

    def forget(self, worker_id: str, link_id: int) -> None:
        """The link has ended. What the worker said by a newer one stays."""
        with self._lock:
            if self._links.get(worker_id) == link_id:
                del self._links[worker_id]
                del self._vitals[worker_id]

    def workers(self, request: ListWorkers) -> WorkerList:
        workers = self._scheduler.read(lambda core: core.workers())
        for worker in workers:
            worker.last_seen_s = round(self._scheduler.silence(worker.worker_id), 3)
            vitals = self._vitals.get(worker.worker_id)
            if vitals is not None:
                worker.cpu_percent = vitals.cpu_percent
                worker.memory_percent = vitals.memory_percent
        return WorkerList(workers=workers)

    def stats_text(self, request: GetStats) -> StatsText:
        return StatsText(text=self._scheduler.read(lambda core: core.stats_text()))

    def stats_json(self, request: GetStatsJson) -> StatsData:
        data: dict[str, Any] = self._scheduler.read(lambda core: core.stats_json())
        for worker in data["workers"]:
            vitals = self._vitals.get(worker["worker_id"])
            worker["cpu"] = vitals.cpu_percent if vitals else 0.0
            worker["memory"] = vitals.memory_percent if vitals else 0.0
        return StatsData(data=data)

    def kill_worker(self, request: KillWorker, done: Done[Ok]) -> None:
        """No new jobs for it; running ones finish or are handed back, then it ends. A permanent worker is refused."""

        def posted(worker_id: str | Exception) -> None:
            place = f"{request.host}:{request.port}"
            done(worker_id if isinstance(worker_id, Exception) else Ok(text=f"{place} is being decommissioned"))

        self._scheduler.post(DrainRequested(request.host, request.port, other_names(request.host)), posted)

    def cordon(self, request: Cordon, done: Done[Ok]) -> None:
        """No new jobs for it, or new ones again; it stays whatever it is."""

        def posted(worker_id: str | Exception) -> None:
            place = f"{request.host}:{request.port}"
            text = (
                f"{place} gets jobs again" if request.undo else f"{place} gets no new jobs and stays; undo with undrain"
            )
            done(worker_id if isinstance(worker_id, Exception) else Ok(text=text))

        names = other_names(request.host)
        self._scheduler.post(CordonRequested(request.host, request.port, names, request.undo), posted)


def _percent(value: float) -> float:
    """JSON has no word for what is no number."""
    return value if 0.0 <= value <= 100.0 else 0.0
