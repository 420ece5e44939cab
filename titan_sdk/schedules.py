"""ScheduleHandle: a recurring schedule by its name."""

from __future__ import annotations

from titan_sdk.handles import RunHandle
from titan_sdk.messages import (
    DeleteSchedule,
    FiringInfo,
    ListFirings,
    ListSchedules,
    PauseSchedule,
    ScheduleInfo,
    TriggerSchedule,
)
from titan_sdk.steady import SteadyCaller


class ScheduleHandle:
    """A schedule of the cluster. Every method raises NotFound when there is none of that name."""

    def __init__(self, caller: SteadyCaller, name: str) -> None:
        self._caller = caller
        self.name = name

    def __repr__(self) -> str:
        return f"ScheduleHandle({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScheduleHandle) and (self.name, self._caller) == (other.name, other._caller)

    def __hash__(self) -> int:
        return hash(self.name)

    def info(self, next: int = 3) -> ScheduleInfo:
        """All that the master knows of it, with its ``next`` due times."""
        return self._caller.call(ListSchedules(name=self.name, next=next)).schedules[0]

    def next(self, count: int = 1) -> list[int]:
        """The next due times, epoch ms; fewer than ``count`` when it ends before. A paused one does not fire then."""
        return self.info(count).next_due

    def pause(self) -> ScheduleInfo:
        """Fire nothing more until ``resume``. What runs goes on."""
        return self._caller.call(PauseSchedule(name=self.name))

    def resume(self) -> ScheduleInfo:
        """Fire again; what was due meanwhile is up to the misfire policy."""
        return self._caller.call(PauseSchedule(name=self.name, undo=True))

    def trigger(self) -> RunHandle | None:
        """Make a run of it now, paused or not; None: it waits for the former run to end. Not repeated on a lost answer.

        Raises:
            Conflict: the former run is unfinished and the overlap policy is ``skip``, or the run was refused.
        """
        run_id = self._caller.once(TriggerSchedule(name=self.name)).run_id
        return RunHandle(self._caller, run_id) if run_id else None

    def history(self, limit: int = 100, *, before: int = 0) -> list[FiringInfo]:
        """What became of its due times, the newest first; ``before``: only firings of lower numbers."""
        return self._caller.call(ListFirings(name=self.name, limit=limit, before=before)).firings

    def runs(self, limit: int = 100) -> list[RunHandle]:
        """The runs that it made, the newest first."""
        return [RunHandle(self._caller, each.run_id) for each in self.history(limit) if each.run_id]

    def delete(self) -> None:
        """Forget it and its history. Its runs stay; those that are unfinished go on."""
        self._caller.once(DeleteSchedule(name=self.name))
