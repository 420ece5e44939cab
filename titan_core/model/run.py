"""A run: one submission, accepted whole, and how far it has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from titan_core.model.job import Job
    from titan_core.model.rows import RunRow


class Run:
    """Mutable state of a run.

    Attributes:
        row: what never changes. jobs: in the order of submission; emptied when the run leaves memory.
        unfinished: how many of the jobs are not final. version: grows with every change that a watcher could see.
        services: how many of the jobs are services, while the run is in memory.
        tied: its services that live as long as it needs them, each with the keys of unfinished jobs that do.
    """

    __slots__ = ("jobs", "row", "services", "tied", "unfinished", "version")

    def __init__(self, row: RunRow, version: int) -> None:
        self.row = row
        self.jobs: tuple[Job, ...] = ()
        self.unfinished = 0
        self.services = 0
        self.tied: tuple[tuple[Job, set[str]], ...] = ()
        self.version = version

    @property
    def run_id(self) -> str:
        return self.row.run_id

    @property
    def open(self) -> bool:
        """Whether jobs may be added."""
        return self.row.growth is not None and self.row.growth.open

    @property
    def finished(self) -> bool:
        return self.unfinished == 0

    @property
    def settled(self) -> bool:
        """Whether every job is. Asked after each change of a run that is waited for, so it looks at all jobs only at
        the end, when no more than the services can be left."""
        return self.unfinished <= self.services and all(job.settled for job in self.jobs)
