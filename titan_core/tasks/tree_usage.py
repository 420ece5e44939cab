"""TreeUsage: processor time and memory of whole process trees, by psutil."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import psutil

from titan_core.tasks.process_table import all_processes, descendants
from titan_sdk.messages import Lease, Usage


class TreeUsage:
    """Remembers the processor times of the last look, so that the next one can say what share was used since."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._before: dict[Lease, tuple[float, dict[int, float]]] = {}

    def sample(self, roots: Mapping[Lease, int]) -> tuple[Usage, ...]:
        """The trees below these pids, those of processes that are gone left out. One reading of all processes."""
        if not roots:
            return ()
        table = all_processes()
        found = []
        for lease, pid in roots.items():
            times: dict[int, float] = {}
            memory = 0
            for member in [pid, *(process.pid for process in descendants(pid, table))]:
                try:
                    process = psutil.Process(member)
                    with process.oneshot():
                        cpu = process.cpu_times()
                        memory += process.memory_info().rss
                except psutil.Error:
                    continue
                times[member] = cpu.user + cpu.system
            if times:
                found.append(
                    Usage(
                        job=lease.job,
                        cpu_percent=self._percent(lease, times),
                        memory_bytes=memory,
                        processes=len(times),
                    )
                )
        return tuple(found)

    def forget(self, lease: Lease) -> None:
        with self._lock:
            self._before.pop(lease, None)

    def _percent(self, lease: Lease, times: dict[int, float]) -> float:
        now = time.monotonic()
        with self._lock:
            at, before = self._before.get(lease, (now, times))
            self._before[lease] = (now, times)
        used = sum(max(0.0, spent - before.get(pid, 0.0)) for pid, spent in times.items())
        return round(100 * used / (now - at), 1) if now > at else 0.0
