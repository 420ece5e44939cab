"""What the master does now and then, when nobody waits for it."""

from __future__ import annotations

import logging
import threading
from typing import Final

from titan_core.filesys.log_retention import LogRetention, RunOutcome
from titan_core.model.states import JobState
from titan_core.scheduling.engine_thread import EngineThread, Fail, end_process
from titan_core.storage.store import Store, StoreError

log = logging.getLogger(__name__)

EVERY_S: Final = 600.0
"""Between two rounds. A round reads the folders of all logs, and asks the journal about those that may go."""


class Housekeeping(EngineThread):
    """Applies the retention of logs, at the start and every EVERY_S seconds."""

    def __init__(self, retention: LogRetention, fail: Fail = end_process) -> None:
        super().__init__("Housekeeping", fail)
        self._retention = retention
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while True:
            try:
                self._retention.sweep(self._stopping.is_set)
            except (OSError, StoreError) as error:
                log.warning("old logs are not removed for now: %s", error)
            if self._stopping.wait(EVERY_S):
                return


def outcome_of_run(store: Store, run_id: str) -> RunOutcome:
    """What became of a run, as the journal has it."""
    stored = store.find_run(run_id)
    if stored is None or stored.run.run_id != run_id:
        return "unknown"
    states = {JobState(row.state) for _, row in stored.jobs}
    if not all(state.final for state in states):
        return "open"
    return "completed" if states <= {JobState.COMPLETED, JobState.SKIPPED} else "failed"
