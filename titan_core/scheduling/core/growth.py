"""Growth: jobs added to runs, and the end of it."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final

from titan_core.model.rows import RunGrowth
from titan_core.model.run import Run
from titan_core.scheduling.core.acceptance import Acceptance
from titan_core.scheduling.core.budgets import Budgets
from titan_core.scheduling.core.changes import Changes
from titan_core.scheduling.core.commands import Answer
from titan_core.scheduling.core.events import AddRequested, CloseRequested, Instant
from titan_core.scheduling.core.idempotency import digest_of
from titan_core.scheduling.core.job_book import JobBook
from titan_core.scheduling.core.lifecycle import JobLifecycle
from titan_sdk.errors import Conflict, NotFound
from titan_sdk.messages import Accepted

_SLACK: Final = 64
"""Ends of idle times that were cut short are put up with until they are this many more than the others."""


class Growth:
    """Adds jobs, and closes open runs: on request, when the job that submitted one has ended, or when one lies idle.

    An open run takes jobs from anybody; one that is not takes them from its own jobs, while those run.
    """

    def __init__(
        self, book: JobBook, acceptance: Acceptance, lifecycle: JobLifecycle, budgets: Budgets, changes: Changes
    ) -> None:
        self._book = book
        self._acceptance = acceptance
        self._lifecycle = lifecycle
        self._budgets = budgets
        self._changes = changes
        self._idle: list[tuple[float, int, Run]] = []
        self._idle_until: dict[str, float] = {}
        """Of open runs without unfinished jobs, in monotonic seconds, by run id."""

    # --- on request -----------------------------------------------------------------------------------------------

    def add(self, event: AddRequested, now: Instant) -> None:
        run = self._find(event.id)
        digest = digest_of(event.jobs) if event.idempotency_key else ""
        known = run.additions.get(event.idempotency_key) if run.additions and event.idempotency_key else None
        if known is not None:
            if known != digest:
                raise Conflict(f"idempotency key {event.idempotency_key!r} was used for other jobs of {run.run_id}")
            keys = [f"{run.run_id}/{spec.id}" for spec in event.jobs]
            self._changes.effect(Answer(Accepted(run_id=run.run_id, jobs=keys, repeated=True)))
            return
        self._acceptance.check_more(run, event, now)
        jobs = self._acceptance.extend(run, event)
        if digest:
            if run.additions is None:
                run.additions = {}
            run.additions[event.idempotency_key] = digest
        self._changes.added(run, jobs, event.idempotency_key, digest)
        self._changes.effect(Answer(Accepted(run_id=run.run_id, jobs=[job.key for job in jobs])))
        self._idle_until.pop(run.run_id, None)
        self._budgets.charge(self._book.lineage.find(run.run_id), len(jobs))
        self._lifecycle.accept_more(jobs, now)

    def close_on_request(self, event: CloseRequested, now: Instant) -> None:
        run = self._find(event.id)
        self._changes.effect(Answer(run.open))
        self.close(run)

    def close(self, run: Run) -> None:
        """No job is added any more; closing it twice does no harm."""
        if not run.open:
            return
        run.row = run.row._replace(growth=(run.row.growth or RunGrowth())._replace(open=False))
        self._changes.run(run)
        self._idle_until.pop(run.run_id, None)
        self._book.closed(run)

    def _find(self, name: str) -> Run:
        run = self._book.find_run(name)
        if run is None:
            raise NotFound(f"no run or job {name}")
        return run

    # --- after each event -----------------------------------------------------------------------------------------

    def settle(self, now: Instant) -> None:
        """Close what nobody will add to any more."""
        for run in self._book.take_orphans():
            self.close(run)
        idle, self._book.idle = self._book.idle, []
        for run in idle:
            if run.open and self._book.at_rest(run):
                self._wait_idle(run, now)
        while (due := self.next_deadline()) is not None and due <= now.monotonic:
            self.close(heappop(self._idle)[2])

    def _wait_idle(self, run: Run, now: Instant) -> None:
        options = run.row.options
        if options is not None and options.idle_s:
            until = self._idle_until[run.run_id] = now.monotonic + options.idle_s
            heappush(self._idle, (until, run.row.seq, run))
            if len(self._idle) > 2 * len(self._idle_until) + _SLACK:
                self._idle = [each for each in self._idle if self._idle_until.get(each[2].run_id) == each[0]]
                heapify(self._idle)

    def next_deadline(self) -> float | None:
        """When an idle run is to be closed; None when none is."""
        while self._idle and self._idle_until.get(self._idle[0][2].run_id) != self._idle[0][0]:
            heappop(self._idle)
        return self._idle[0][0] if self._idle else None
