"""Services of the cluster: what they are like, and what is asked of them as a whole."""

from __future__ import annotations

import time

from titan_core.protocol.services import Done
from titan_core.protocol.services.cluster import ClusterService
from titan_core.protocol.services.jobs import check_name
from titan_core.protocol.services.submissions import new_run_id
from titan_core.scheduling.core.events import RestartRequested, ScaleRequested
from titan_core.scheduling.scheduler import Scheduler
from titan_sdk.errors import NotFound
from titan_sdk.messages import ListServices, Restart, Restarted, Scale, Scaled, ServiceInfo, ServiceList


class ServiceService:
    """Services by name. Any thread may call. What is answered rests on what is durable."""

    def __init__(self, scheduler: Scheduler, cluster: ClusterService) -> None:
        self._scheduler = scheduler
        self._cluster = cluster

    def list_services(self, request: ListServices, done: Done[ServiceList]) -> None:
        """Raises NotFound when there is none of the name that is asked for."""
        if request.name:
            check_name(request.name)
        now_ms = time.time_ns() // 1_000_000

        def found(services: list[ServiceInfo]) -> None:
            if request.name and not services:
                done(NotFound(f"no service {request.name} is active"))
                return
            usage = self._cluster.usage()
            for info in services:
                taken = usage.get(info.job.key)
                if taken is not None and info.job.state == "RUNNING":
                    info.cpu_percent = taken.cpu_percent
                    info.memory_bytes = taken.memory_bytes
                    info.processes = taken.processes
            done(ServiceList(services=services))

        self._scheduler.read_durable(lambda core: core.services(request.name, now_ms), found)

    def restart(self, request: Restart, done: Done[Restarted]) -> None:
        check_name(request.id)

        def posted(keys: list[str] | Exception) -> None:
            done(keys if isinstance(keys, Exception) else Restarted(jobs=keys))

        self._scheduler.post(RestartRequested(request.id, new_run_id()), posted)

    def scale(self, request: Scale, done: Done[Scaled]) -> None:
        check_name(request.id)

        def posted(answer: tuple[list[str], list[str]] | Exception) -> None:
            done(answer if isinstance(answer, Exception) else Scaled(started=answer[0], stopped=answer[1]))

        self._scheduler.post(ScaleRequested(request.id, request.count, new_run_id()), posted)
