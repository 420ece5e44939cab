"""Budgets: what a run and all its descendants may use together."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final

from titan_core.model.rows import RunGrowth
from titan_core.model.run import Run
from titan_core.scheduling.core.changes import Changes
from titan_core.scheduling.core.events import Instant
from titan_core.scheduling.core.lineage import Kin, Lineage
from titan_sdk.errors import BudgetExceeded
from titan_sdk.messages import Budget, RunOptions
from titan_sdk.run_rules import MAX_DEPTH
from titan_sdk.sizes import counted

_JUMP_MS: Final = 1000
"""A wall clock that went by so much more or less than the monotonic one was set anew."""
_SLACK: Final = 64
"""Deadlines of runs that are gone are put up with until they are this many more than the others."""


class Budgets:
    """Keeps count, in the records of the runs that have a budget: so it goes on where it was after a restart.

    The wall time of a budget is measured by the monotonic clock. Its end is recorded by the wall clock, and recorded
    anew when that clock is set, so that only what happens to it while no master is there can make a difference; and
    then no more than the whole wall time.
    """

    def __init__(self, lineage: Lineage, changes: Changes) -> None:
        self._lineage = lineage
        self._changes = changes
        self._deadlines: list[tuple[float, int, Kin]] = []
        self._offset: int | None = None

    # --- use ------------------------------------------------------------------------------------------------------

    def check(self, above: Kin | None, jobs: int, options: RunOptions | None, now: Instant) -> None:
        """Whether so many jobs may be accepted as a new run below ``above``.

        Raises:
            BudgetExceeded: naming the budget, and how much of it is used.
        """
        own = options.budget if options is not None else None
        if own is not None and own.max_jobs and jobs > own.max_jobs:
            raise BudgetExceeded(f"its own budget is {counted(own.max_jobs, 'job')}, and it has {jobs}")
        if above is None:
            return
        depth = above.depth + 1
        if depth > MAX_DEPTH:
            raise BudgetExceeded(f"there would be more than {MAX_DEPTH} generations of runs, each started by the last")
        for kin in above.budgets():
            allowed = _budget(kin).max_depth
            if allowed is not None and depth - kin.depth > allowed:
                raise BudgetExceeded(
                    f"the budget of run {kin.run.run_id} is a depth of {allowed}, "
                    f"and this would be generation {depth - kin.depth} below it"
                )
        self.check_more(above, jobs, now)

    def check_more(self, above: Kin | None, jobs: int, now: Instant) -> None:
        """Whether so many jobs may be added to that run. Raises as ``check``."""
        for kin in above.budgets() if above is not None else ():
            budget, used = _budget(kin), _growth(kin.run).tree_jobs
            if kin.deadline is not None and kin.deadline <= now.monotonic:
                raise BudgetExceeded(f"{_wall_time(kin)} is over")
            if budget.max_jobs and used + jobs > budget.max_jobs:
                raise BudgetExceeded(
                    f"the budget of run {kin.run.run_id} is {counted(budget.max_jobs, 'job')}, "
                    f"of which {used} are used, and this would be {jobs} more"
                )

    def charge(self, kin: Kin | None, jobs: int) -> None:
        """So many jobs were accepted into that run."""
        for bounded in kin.budgets() if kin is not None else ():
            growth = _growth(bounded.run)
            self._record(bounded.run, growth._replace(tree_jobs=growth.tree_jobs + jobs))

    # --- wall time ------------------------------------------------------------------------------------------------

    def begin(self, kin: Kin, now: Instant) -> None:
        """The wall time of a new run, if its budget has one, begins."""
        wall_s = _wall_s(kin)
        if wall_s:
            self._record(kin.run, _growth(kin.run)._replace(deadline_at=now.wall + round(wall_s * 1000)))
            self._put(kin, now.monotonic + wall_s, now)

    def resume(self, kin: Kin, now: Instant) -> None:
        """The wall time of a restored run goes on."""
        wall_s = _wall_s(kin)
        if wall_s:
            left_s = (_growth(kin.run).deadline_at - now.wall) / 1000
            self._put(kin, now.monotonic + min(max(left_s, 0.0), wall_s), now)

    def _put(self, kin: Kin, deadline: float, now: Instant) -> None:
        kin.deadline = deadline
        if self._offset is None:
            self._offset = _offset(now)
        heappush(self._deadlines, (deadline, kin.run.row.seq, kin))

    def follow_clock(self, now: Instant) -> None:
        """When the wall clock was set since the last time, record anew when deadlines are."""
        if self._offset is None:
            return
        jump = _offset(now) - self._offset
        if abs(jump) < _JUMP_MS:
            return
        self._offset += jump
        for deadline, _, kin in self._deadlines:
            if self._lineage.find(kin.run.run_id) is kin:
                left_ms = round((deadline - now.monotonic) * 1000)
                self._record(kin.run, _growth(kin.run)._replace(deadline_at=now.wall + left_ms))

    def overdue(self, now: Instant) -> list[tuple[Kin, str]]:
        """The runs whose wall time is over since the last time, and what to say of it."""
        found = []
        while (due := self.next_deadline()) is not None and due <= now.monotonic:
            kin = heappop(self._deadlines)[2]
            found.append((kin, f"{_wall_time(kin)} is over"))
        return found

    def next_deadline(self) -> float | None:
        """In monotonic seconds; None when there is none."""
        heap = self._deadlines
        while heap and self._lineage.find(heap[0][2].run.run_id) is not heap[0][2]:
            heappop(heap)
        if not heap:
            self._offset = None
            return None
        if len(heap) > 2 * len(self._lineage.kin) + _SLACK:
            self._deadlines = heap = [each for each in heap if self._lineage.find(each[2].run.run_id) is each[2]]
            heapify(heap)
        return heap[0][0]

    def _record(self, run: Run, growth: RunGrowth) -> None:
        run.row = run.row._replace(growth=growth)
        self._changes.run(run)


def _growth(run: Run) -> RunGrowth:
    return run.row.growth or RunGrowth()


def _budget(kin: Kin) -> Budget:
    options = kin.run.row.options
    assert options is not None and options.budget is not None, kin.run.run_id
    return options.budget


def _wall_s(kin: Kin) -> float:
    return _budget(kin).wall_s if kin.bounded is kin else 0.0


def _wall_time(kin: Kin) -> str:
    return f"the wall time of {_wall_s(kin):g} s that run {kin.run.run_id} was given"


def _offset(now: Instant) -> int:
    return now.wall - round(now.monotonic * 1000)
