"""Dispatcher: makes journal entries durable, many at a time, and only then carries out what they ask for."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from titan_core.scheduling.core.commands import Effect, Record
from titan_core.scheduling.core.events import Event
from titan_core.scheduling.engine_thread import EngineThread, Fail, end_process
from titan_core.storage.store import Store, StoreError, StoreFull

logger = logging.getLogger(__name__)

MAX_COMMIT_RECORDS: Final = 5_000
"""Records after which a commit takes no further entry: some 50 ms, so nobody waits long for the work of others."""
SLOW_COMMIT_S: Final = 1.0
"""A commit that takes longer is logged: everybody waits for it."""

OnDone = Callable[[Any], None]


class Entry:
    """One step of the journal: what to write, and what to do once it is written.

    Attributes:
        seq: position in the journal, from 1.
        effects: delivered in order. on_done: called with what an Answer among them says, else with ``answer``.
        event: what it came from, if an event. wants_results: the answer is the store's results for the records.
    """

    __slots__ = ("answer", "effects", "event", "on_done", "records", "seq", "wants_results")

    def __init__(
        self,
        seq: int,
        records: Sequence[Record],
        effects: Sequence[Effect],
        on_done: OnDone | None,
        answer: Any = None,
        event: Event | None = None,
        wants_results: bool = False,
    ) -> None:
        self.seq = seq
        self.records = records
        self.effects = effects
        self.on_done = on_done
        self.answer = answer
        self.event = event
        self.wants_results = wants_results


class Dispatcher(EngineThread):
    """The one thread that writes to the store.

    It takes everything that has queued up, commits it as one transaction (so the slower the disk, the bigger the
    commits), and hands each entry to ``deliver`` in order. A commit that fails ends the process: the core has already
    gone on from the state that could not be kept, nobody was told of it, and the journal holds the state before.
    """

    def __init__(self, store: Store, deliver: Callable[[Entry], None], fail: Fail = end_process) -> None:
        super().__init__("Dispatcher", fail)
        self._store = store
        self._deliver = deliver
        self._queue: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self.delivered = 0
        """Seq of the last entry that is durable and delivered."""
        self.records_written = 0
        """By all commits together."""

    def put(self, entry: Entry) -> None:
        """Queue an entry; never blocks. The Scheduler bounds what is queued, and calls this in the order of ``seq``."""
        self._queue.put(entry)

    def stop(self) -> None:
        """End after everything that was put before."""
        self._queue.put(None)

    def _run(self) -> None:
        last = False
        while not last:
            entries, last = self._take()
            records = [record for entry in entries for record in entry.records]
            if records:
                _hand_out(entries, self._commit(records))
                self.records_written += len(records)
            for entry in entries:
                self._deliver(entry)
                self.delivered = entry.seq
            if records:
                self._store.maintain()

    def _take(self) -> tuple[list[Entry], bool]:
        """Wait for entries, then take what there is; and whether they are the last ones."""
        entries: list[Entry] = []
        records = 0
        while records < MAX_COMMIT_RECORDS and (not entries or not self._queue.empty()):
            entry = self._queue.get()
            if entry is None:
                return entries, True
            entries.append(entry)
            records += len(entry.records)
        return entries, False

    def _commit(self, records: list[Record]) -> list[Any]:
        begin = time.monotonic()
        try:
            results = self._store.apply(records)
        except StoreFull:
            self._fail("the journal cannot be written: the disk is full")
            raise
        except StoreError:
            self._fail("the journal cannot be written, and what reached the disk is not known")
            raise
        took = time.monotonic() - begin
        if took > SLOW_COMMIT_S:
            logger.warning("writing %d records to the journal took %.1f s", len(records), took)
        return results


def _hand_out(entries: Sequence[Entry], results: Sequence[Any]) -> None:
    """Give the store's results to the entries that want those of their records."""
    start = 0
    for entry in entries:
        end = start + len(entry.records)
        if entry.wants_results:
            entry.answer = results[start:end]
        start = end
