"""A run: one submission, accepted whole, and how far it has come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from titan_core.model.job import Job
    from titan_core.model.rows import RunRow


class Run:
    """Mutable state of a run.

    Attributes:
        row: as it is in the journal. jobs: in the order of submission, a list once some were added; emptied when the
            run leaves memory.
        unfinished: how many of the jobs are not final. version: grows with every change that a watcher could see.
        services: how many of the jobs are services, while the run is in memory.
        tied: its services that live as long as it needs them, each with the keys of unfinished jobs that do.
        additions: digests of what was added, by idempotency key; None when nothing was.
    """

    __slots__ = ("additions", "jobs", "row", "services", "tied", "unfinished", "version")

    def __init__(self, row: RunRow, version: int) -> None:
        self.row = row
        self.jobs: tuple[Job, ...] | list[Job] = ()
        self.additions: dict[str, str] | None = None
        self.unfinished = 0
        self.services = 0
        self.tied: tuple[tuple[Job, set[str]], ...] = ()
        self.version = version

    @property
    def run_id(self) -> str:
        return self.row.run_id

    @property
    def kept(self) -> Mapping[str, str]:
        """Jobs of earlier runs that count as completed ones of this: their keys by id."""
        return self.row.options.kept if self.row.options is not None else {}

    @property
    def open(self) -> bool:
        """Whether jobs may be added."""
        return self.row.growth is not None and self.row.growth.open

    @property
    def finished(self) -> bool:
        return self.unfinished == 0 and not self.open

    @property
    def settled(self) -> bool:
        """Whether every job is, and none can be added.

        Asked after each change of a run that is waited for, so it looks at all jobs only at the end, when no more than
        the services can be left.
        """
        return self.unfinished <= self.services and not self.open and all(job.settled for job in self.jobs)
