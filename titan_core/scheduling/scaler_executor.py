"""ScalerExecutor: has load and capacity compared, again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from titan_core.scheduling.core.events import LoadMeasured, WorkerLoad
from titan_core.scheduling.engine_thread import EngineThread, Fail, end_process


class ScalerExecutor(EngineThread):
    """Posts LoadMeasured every ``period_s`` seconds, the first time one period after the start.

    A look that comes late is not made up for: the next one is a whole period later.

    Args:
        post: hands the event to the core; what becomes of it is the core's business.
        measure: the load of the workers' machines, by worker id, as it was last told.
        new_run_id: names the run of the workers that may have to be started.
    """

    def __init__(
        self,
        period_s: float,
        *,
        post: Callable[[LoadMeasured], None],
        measure: Callable[[], Mapping[str, WorkerLoad]],
        new_run_id: Callable[[], str],
        fail: Fail = end_process,
    ) -> None:
        super().__init__("ScalerExecutor", fail)
        self._period_s = period_s
        self._post = post
        self._measure = measure
        self._new_run_id = new_run_id
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        due = time.monotonic() + self._period_s
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            due = max(due, time.monotonic()) + self._period_s
            self._post(LoadMeasured(self._measure(), self._new_run_id()))
