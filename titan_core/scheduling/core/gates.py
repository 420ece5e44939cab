"""Gates: jobs that wait for a person go on, or end, as that person says, or as the clock does."""

from __future__ import annotations

from titan_core.model.states import JobState
from titan_core.scheduling.core.approvals import TIMEOUT, Approvals
from titan_core.scheduling.core.changes import Changes
from titan_core.scheduling.core.commands import Answer
from titan_core.scheduling.core.events import DecisionMade, Instant
from titan_core.scheduling.core.job_book import JobBook
from titan_core.scheduling.core.lifecycle import JobLifecycle
from titan_sdk.errors import NotFound


class Gates:
    """Takes decisions, and makes those that nobody took in time."""

    def __init__(self, book: JobBook, approvals: Approvals, lifecycle: JobLifecycle, changes: Changes) -> None:
        self._book = book
        self._approvals = approvals
        self._lifecycle = lifecycle
        self._changes = changes

    def decided(self, event: DecisionMade, now: Instant) -> None:
        job = self._book.find_job(event.id)
        if job is None:
            raise NotFound(f"no job {event.id}")
        earlier = self._approvals.earlier(job, event)
        if earlier is not None:
            self._changes.effect(Answer(earlier))
            return
        self._approvals.check(job, event.number)
        assert job.state is JobState.HELD, job.story()
        decision = "approved" if event.approve else "rejected"
        row = self._approvals.decide(job, decision, event.by, event.comment, now, event.request_id)
        self._changes.effect(Answer(row))
        self._lifecycle.decided(job, row, now)

    def time_passed(self, now: Instant) -> None:
        for job, row in self._approvals.pop_expired(now.monotonic):
            decision = "approved" if row.on_timeout == "approve" else "rejected"
            self._lifecycle.decided(job, self._approvals.decide(job, decision, TIMEOUT, "", now), now)
