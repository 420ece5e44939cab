"""What the master does now and then, when nobody waits for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from titan_core.filesys.log_retention import RunOutcome
from titan_core.model.states import JobState
from titan_core.scheduling.engine_thread import EngineThread, Fail, end_process
from titan_core.storage.store import Store, StoreError
from titan_sdk.errors import TitanError

log = logging.getLogger(__name__)

EVERY_S: Final = 600.0
"""Between two rounds. A round reads the folders of all logs, and asks the journal about those that may go."""
PAUSE_S: Final = 0.005
"""After each piece of a chore that takes long, for those who wait for something."""

Pause = Callable[[], bool]
"""Waits for a moment; True: stop now."""


@dataclass(frozen=True)
class Chore:
    """Something to be done every so many seconds. ``what`` completes "... for now" in the log when it fails."""

    what: str
    run: Callable[[Pause], object]
    every_s: float = EVERY_S


class Housekeeping(EngineThread):
    """Does its chores in turn, at the start and whenever they are due, EVERY_S apart at least."""

    def __init__(self, chores: Sequence[Chore], fail: Fail = end_process) -> None:
        super().__init__("Housekeeping", fail)
        self._chores = chores
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        due = dict.fromkeys(range(len(self._chores)), 0.0)
        while True:
            for index, chore in enumerate(self._chores):
                if time.monotonic() < due[index]:
                    continue
                try:
                    chore.run(self._pause)
                except (OSError, StoreError, TitanError) as error:
                    log.warning("%s for now: %s", chore.what, error)
                due[index] = time.monotonic() + chore.every_s
            if self._stopping.wait(EVERY_S):
                return

    def _pause(self) -> bool:
        return self._stopping.wait(PAUSE_S)


def outcome_of_run(store: Store, run_id: str) -> RunOutcome:
    """What became of a run, as the journal has it."""
    stored = store.find_run(run_id)
    if stored is None or stored.run.run_id != run_id:
        return "unknown"
    states = {JobState(row.state) for _, row in stored.jobs}
    if not all(state.final for state in states):
        return "open"
    return "completed" if states <= {JobState.COMPLETED, JobState.SKIPPED} else "failed"
