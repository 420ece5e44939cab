"""What a worker does now and then: it removes what ended jobs left, and contents that it has not used for long."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Final

from titan_core.filesys.content_store import ContentStore
from titan_core.filesys.workspace_manager import WorkspaceManager
from titan_core.filesys.workspace_retention import EVERY_S, WorkspaceRetention, trim_cache
from titan_core.scheduling.engine_thread import EngineThread, Fail, end_process
from titan_core.tasks.job_runner import JobRunner
from titan_core.tasks.result_spool import spooled_logs

log = logging.getLogger(__name__)

_PAUSE_S: Final = 0.05


class WorkerHousekeeping(EngineThread):
    """Sweeps the workspace and the content cache at the start and every EVERY_S seconds."""

    def __init__(
        self,
        workspace: WorkspaceManager,
        contents: ContentStore,
        runner: JobRunner,
        *,
        max_age_s: float,
        max_count: int,
        max_bytes: int,
        cache_bytes: int,
        fail: Fail = end_process,
    ) -> None:
        super().__init__("Housekeeping", fail)
        self._root = workspace.root
        self._contents = contents
        self._runner = runner
        self._cache_bytes = cache_bytes
        self._retention = WorkspaceRetention(
            workspace, max_age_s=max_age_s, max_count=max_count, max_bytes=max_bytes, wanted=self._wanted
        )
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while True:
            try:
                self._retention.sweep(lambda: self._stopping.wait(_PAUSE_S))
                trim_cache(self._contents, self._cache_bytes, self._needed())
            except OSError as error:
                log.warning("what ended jobs left is not removed for now: %s", error)
            if self._stopping.wait(EVERY_S):
                return

    def _wanted(self) -> set[Path]:
        """Folders of results that wait for the master, those of other workers of this workspace included."""
        return {log_path.parent for spool in self._root.glob("worker-*/spool") for log_path in spooled_logs(spool)}

    def _needed(self) -> set[str]:
        """The contents of jobs that are being prepared, or run."""
        needed = set()
        for attempt in self._runner.attempts():
            needed.add(attempt.spec.sha256)
            if attempt.spec.flow is not None and attempt.spec.flow.mends is not None:
                needed.add(attempt.spec.flow.mends.sha256)
        return needed
