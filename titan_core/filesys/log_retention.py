"""Which of the master's logs go when they are old or too many: those of finished runs, old successes first."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

log = logging.getLogger(__name__)

RunOutcome = Literal["open", "completed", "failed", "unknown"]
"""``open``: some job of it is not final. ``unknown``: nobody knows such a run any more."""

_RANK: Final[dict[RunOutcome, int]] = {"unknown": 0, "completed": 1, "failed": 2}


@dataclass(frozen=True)
class _RunLogs:
    folder: Path
    size: int
    written_at: float
    """Epoch seconds of the last change."""


class LogRetention:
    """Removes logs of whole runs below ``root`` (see LogStore). A run that is not finished loses nothing.

    Args:
        max_age_s: finished runs whose last log is older lose theirs.
        max_bytes: when all logs together are more, those of finished runs go until they are not: first of runs that
            completed, oldest first, then of runs that failed.
        outcome_of: what became of a run.
    """

    def __init__(
        self, root: Path, *, max_age_s: float, max_bytes: int, outcome_of: Callable[[str], RunOutcome]
    ) -> None:
        self._root = root
        self._max_age_s = max_age_s
        self._max_bytes = max_bytes
        self._outcome_of = outcome_of

    def sweep(self, stopped: Callable[[], bool] = lambda: False) -> int:
        """Remove what is to go; the bytes that were freed. ``stopped`` is asked now and then, and ends it early."""
        now = time.time()
        runs = sorted(self._runs(), key=lambda run: run.written_at)
        total = sum(run.size for run in runs)
        freed = 0
        candidates = []
        for run in runs:
            if stopped():
                return freed
            old = now - run.written_at > self._max_age_s
            if not old and total - freed <= self._max_bytes:
                break  # the others are younger, and there is room for them
            outcome = self._outcome_of(run.folder.name)
            if outcome == "open":
                continue
            if old:
                freed += self._remove(run)
            else:
                candidates.append((_RANK[outcome], run.written_at, run))
        for _, _, run in sorted(candidates, key=lambda candidate: candidate[:2]):
            if total - freed <= self._max_bytes or stopped():
                break
            freed += self._remove(run)
        if freed:
            log.info("removed %d bytes of old logs; %d are left", freed, total - freed)
        return freed

    def forget(self, run_ids: Iterable[str]) -> None:
        """Remove the logs of runs that nobody knows any more."""
        for run_id in run_ids:
            try:
                shutil.rmtree(self._root / run_id)
            except FileNotFoundError:
                pass
            except OSError as error:  # the next sweep tries again
                log.warning("the logs of run %s cannot be removed: %s", run_id, error)

    def _runs(self) -> list[_RunLogs]:
        found = []
        try:
            folders = [Path(entry.path) for entry in os.scandir(self._root) if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        for folder in folders:
            size, written_at = 0, folder.stat().st_mtime
            for entry in os.scandir(folder):
                status = entry.stat(follow_symlinks=False)
                size += status.st_size
                written_at = max(written_at, status.st_mtime)
            found.append(_RunLogs(folder, size, written_at))
        return found

    def _remove(self, run: _RunLogs) -> int:
        try:
            shutil.rmtree(run.folder)
        except OSError as error:
            log.warning("the logs of run %s cannot be removed: %s", run.folder.name, error)
            return 0
        return run.size
