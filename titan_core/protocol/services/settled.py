"""Waiting until jobs are settled, for clients that want to hear of nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable

from titan_core.scheduling.core.scheduler_core import SchedulerCore
from titan_core.scheduling.scheduler import Scheduler
from titan_sdk.errors import NotFound


class SettledWait:
    """One request that waits. It holds no thread: it looks when a job of the run is settled, and at its own end.

    Args:
        settled: the question, asked of the core; each look should cost little, as a big run changes often.
        wait_s: seconds after which ``tell`` is called whatever the answer.
        tell: called once, unless ``fail`` is: with what the master could not go on waiting for.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        run_id: str,
        settled: Callable[[SchedulerCore], bool],
        wait_s: float,
        tell: Callable[[], None],
        fail: Callable[[Exception], None],
    ) -> None:
        self._scheduler = scheduler
        self._run_id = run_id
        self._settled = settled
        self._until = time.monotonic() + wait_s
        self._tell = tell
        self._fail = fail

    def look(self) -> None:
        """Tell if there is something to tell by now, else wait for the next change. Raises nothing."""
        try:
            if not self._goes_on():
                self._tell()
        except Exception as error:
            self._fail(error)

    def _goes_on(self) -> bool:
        """Whether it waits for another change."""
        version = self._scheduler.read(self._version_if_open)
        rest = self._until - time.monotonic()
        if version is None or rest <= 0:
            return False
        try:
            self._scheduler.watch(self._run_id, version, rest, self.look, only_settled=True)
        except NotFound:
            return False
        return True

    def _version_if_open(self, core: SchedulerCore) -> int | None:
        """None: settled, or no longer in memory, which only finished runs leave."""
        version = core.run_version(self._run_id)
        return None if version is None or self._settled(core) else version
