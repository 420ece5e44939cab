"""Approvals: what people are asked about jobs, what they answer, and what happens when nobody does in time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Final

from titan_core.model.job import Job
from titan_core.model.rows import ApprovalRow
from titan_core.scheduling.core.changes import Changes
from titan_core.scheduling.core.event_log import EventLog
from titan_core.scheduling.core.events import DecisionMade, Instant
from titan_core.scheduling.core.job_book import JobBook
from titan_sdk.errors import Conflict
from titan_sdk.messages import ApproveSpec, EventKind

TIMEOUT = "timeout"
"""Stands for who decided when nobody did in time."""
_SLACK: Final = 64
"""Deadlines of questions that are answered are put up with until they are this many more than the others."""
_EVENTS: Final[dict[str, EventKind]] = {
    "approved": "approval-given",
    "rejected": "approval-refused",
    "withdrawn": "approval-withdrawn",
}


class Approvals:
    """Keeps the questions and their answers; what becomes of the jobs is JobLifecycle's part.

    ``JobBook.approvals`` holds them by the key of the job, oldest first; the last one of a HELD job is open.
    """

    def __init__(self, book: JobBook, changes: Changes, events: EventLog, wake_at: Callable[[float], None]) -> None:
        """``wake_at`` has ``pop_expired`` asked by that monotonic second."""
        self._book = book
        self._changes = changes
        self._events = events
        self._wake_at = wake_at
        self._open: dict[str, Job] = {}
        self._deadlines: list[tuple[float, str, int]] = []
        """A heap of monotonic due time, key and number; what was decided meanwhile stays behind until it is met."""

    def ask(self, job: Job, asked: ApproveSpec, now: Instant) -> None:
        """Ask about a job that is HELD now."""
        rows = self._book.approvals.setdefault(job.key, [])
        expires_at = 0
        if asked.timeout_s is not None:
            expires_at = now.wall + round(asked.timeout_s * 1000)
        row = ApprovalRow(job.key, len(rows) + 1, asked.message, now.wall, expires_at, asked.on_timeout)
        rows.append(row)
        self._open[job.key] = job
        if asked.timeout_s is not None:
            self._set_deadline(row, now.monotonic + asked.timeout_s)
        self._changes.approval(row)
        self._events.note("approval-asked", job.key, asked.message, now)

    def resume(self, job: Job, now: Instant) -> None:
        """A restored job is HELD. A wall clock that was moved meanwhile makes no time longer than it was."""
        row = self._book.approvals[job.key][-1]
        self._open[job.key] = job
        if row.expires_at:
            rest_s = min(max(row.expires_at - now.wall, 0), row.expires_at - row.asked_at) / 1000
            self._set_deadline(row, now.monotonic + rest_s)

    def _set_deadline(self, row: ApprovalRow, at: float) -> None:
        self._wake_at(at)
        heappush(self._deadlines, (at, row.key, row.number))
        if len(self._deadlines) > 2 * len(self._open) + _SLACK:
            self._deadlines = [each for each in self._deadlines if self._is_open(each[1], each[2])]
            heapify(self._deadlines)

    def is_asked(self, job: Job) -> bool:
        """Whether the last question about the job is open."""
        rows = self._book.approvals.get(job.key)
        return rows is not None and not rows[-1].decision

    def earlier(self, job: Job, event: DecisionMade) -> ApprovalRow | None:
        """What the same request decided before; None when it is a new one."""
        rows = self._book.approvals.get(job.key, ())
        return next((row for row in rows if event.request_id and row.request_id == event.request_id), None)

    def check(self, job: Job, number: int) -> None:
        """Whether the question of that number (0: the last one) is open.

        Raises:
            Conflict: it is not; the text says who decided.
        """
        rows = self._book.approvals.get(job.key)
        if not rows:
            what = "needs no approval" if gate_of(job) is None else f"is {job.state.value}, and not asked about"
            raise Conflict(f"{job.key} {what}")
        if not 0 <= number <= len(rows):
            raise Conflict(f"{job.key} was asked about {len(rows)} times")
        row = rows[number - 1] if number else rows[-1]
        if row.decision:
            comment = f": {row.comment}" if row.comment else ""
            by = f" by {row.by}" if row.by else ""
            raise Conflict(f"{job.key} was {row.decision}{by} already{comment}")

    def decide(self, job: Job, decision: str, by: str, comment: str, now: Instant, request_id: str = "") -> ApprovalRow:
        """Answer the open question of the job."""
        rows = self._book.approvals[job.key]
        row = rows[-1] = rows[-1]._replace(
            decision=decision, by=by, comment=comment, decided_at=now.wall, request_id=request_id
        )
        del self._open[job.key]
        self._changes.approval(row)
        if by == TIMEOUT:
            self._events.note("approval-expired", job.key, f"nobody decided in time: {decision}", now)
        else:
            text = ": ".join(part for part in (f"by {by}" if by else "", comment) if part)
            self._events.note(_EVENTS[decision], job.key, text, now)
        return row

    def open_rows(self) -> Iterable[ApprovalRow]:
        """What waits for a person, asked first in front."""
        return (self._book.approvals[key][-1] for key in self._open)

    def next_deadline(self) -> float | None:
        """When, in monotonic seconds, the next question is decided by the clock; None: never."""
        heap = self._deadlines
        while heap and not self._is_open(heap[0][1], heap[0][2]):
            heappop(heap)
        return heap[0][0] if heap else None

    def pop_expired(self, now: float) -> Iterator[tuple[Job, ApprovalRow]]:
        """The jobs whose question nobody answered in time, with it."""
        while (due := self.next_deadline()) is not None and due <= now:
            _, key, _ = heappop(self._deadlines)
            yield self._open[key], self._book.approvals[key][-1]

    def _is_open(self, key: str, number: int) -> bool:
        return key in self._open and self._book.approvals[key][-1].number == number


def gate_of(job: Job) -> ApproveSpec | None:
    """What is to be asked before the job runs; None: nothing."""
    return job.spec.flow.approve if job.spec.flow is not None else None
