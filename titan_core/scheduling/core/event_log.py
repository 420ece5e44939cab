"""EventLog: what happened to the cluster, and why; the latest in memory, more in the store."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from titan_core.model.rows import EventRow
from titan_core.scheduling.core.changes import Changes
from titan_core.scheduling.core.events import Instant
from titan_sdk.messages import EventKind


class EventLog:
    """Numbers events and keeps the latest ``bound`` of them."""

    def __init__(self, changes: Changes, bound: int) -> None:
        self._changes = changes
        self._rows: deque[EventRow] = deque(maxlen=bound)
        self.last = 0
        """Seq of the last event ever; 0 before the first."""

    def note(self, kind: EventKind, subject: str, text: str, now: Instant) -> None:
        """It is recorded with the event of the core that is being handled."""
        self.last += 1
        row = EventRow(self.last, now.wall, kind, subject, text)
        self._rows.append(row)
        self._changes.event(row)

    def restore(self, rows: Iterable[EventRow]) -> None:
        """Take up what a store holds, in order."""
        self._rows.extend(rows)
        if self._rows:
            self.last = self._rows[-1].seq

    def since(self, seq: int, newest: int = 0) -> list[EventRow]:
        """The events in memory after that one, in order; with ``newest`` no more than so many, the newest."""
        if seq > self.last:  # of a journal that was, before this one
            seq = 0
        found = [row for row in self._rows if row.seq > seq]
        return found[-newest:] if newest else found
