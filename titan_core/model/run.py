"""A run: one submission, accepted whole, and how far it has come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from titan_core.model.job import Job
    from titan_core.model.rows import RunRow
    from titan_core.model.states import JobState

SMALL: Final = 32
"""Jobs of a run that are counted each time somebody asks; of a bigger one the tally is kept, at half a kilobyte."""


class Tally:
    """How many of a run's jobs are in each state, and when the last that ended did (epoch ms; 0: none has)."""

    __slots__ = ("ended_at", "size", "states")

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.size = len(jobs)
        self.states: Counter[JobState] = Counter(job.state for job in jobs)
        self.ended_at = max((job.ended_at for job in jobs), default=0)

    def moved(self, job: Job, origin: JobState) -> None:
        """The job has left ``origin``."""
        self.states[origin] -= 1
        self.states[job.state] += 1
        if job.state.final:
            ended_at = job.executions[-1].ended_at if job.executions else 0
            self.ended_at = max(self.ended_at, job.ended_at, ended_at)


class Run:
    """Mutable state of a run.

    Attributes:
        row: as it is in the journal. jobs: in the order of submission, a list once some were added; emptied when the
            run leaves memory.
        unfinished: how many of the jobs are not final. version: grows with every change that a watcher could see.
        services: how many of the jobs are services, while the run is in memory.
        tied: its services that live as long as it needs them, each with the keys of unfinished jobs that do.
        additions: digests of what was added, by idempotency key; None when nothing was.
        kept: the tally, once somebody has asked for that of a run that is not small.
    """

    __slots__ = ("additions", "jobs", "kept", "row", "services", "tied", "unfinished", "version")

    additions: dict[str, str] | None
    kept: Tally | None

    def __init__(self, row: RunRow, version: int) -> None:
        self.row = row
        self.jobs: tuple[Job, ...] | list[Job] = ()
        self.unfinished = self.services = 0
        self.tied: tuple[tuple[Job, set[str]], ...] = ()
        self.version = version
        self.additions = self.kept = None

    @property
    def run_id(self) -> str:
        return self.row.run_id

    @property
    def kept_jobs(self) -> Mapping[str, str]:
        """Jobs of earlier runs that count as completed ones of this: their keys by id."""
        return self.row.options.kept if self.row.options is not None else {}

    @property
    def kept_outputs(self) -> Mapping[str, bytes]:
        """What those left, by id."""
        return self.row.options.kept_outputs if self.row.options is not None else {}

    @property
    def open(self) -> bool:
        """Whether jobs may be added."""
        return self.row.growth is not None and self.row.growth.open

    @property
    def finished(self) -> bool:
        return self.unfinished == 0 and not self.open

    def tally(self) -> Tally:
        """Asked for at each change that is shown: so the jobs of a big run are counted once."""
        if self.kept is not None and self.kept.size == len(self.jobs):
            return self.kept
        tally = Tally(self.jobs)
        self.kept = tally if len(self.jobs) > SMALL else None
        return tally

    def ended_at(self) -> int:
        """When the last of its jobs that ended did (epoch ms; 0: none has)."""
        if len(self.jobs) > SMALL:
            return self.tally().ended_at
        return max((job.ended_at for job in self.jobs), default=0)

    @property
    def settled(self) -> bool:
        """Whether every job is, and none can be added.

        Asked after each change of a run that is waited for, so it looks at all jobs only at the end, when no more than
        the services can be left.
        """
        return self.unfinished <= self.services and not self.open and all(job.settled for job in self.jobs)
