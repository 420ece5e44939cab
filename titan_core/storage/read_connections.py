"""Connections for readers, beside the one that writes."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from titan_core.storage.store import StoreError

MAX_READERS: Final = 4
"""Connections; a read takes microseconds, so a few serve hundreds of threads; each costs a cache and descriptors."""


class ReadConnections:
    """Up to MAX_READERS connections, opened when needed, each lent to one thread at a time.

    They are read-only: the writing connection alone commits and checkpoints.
    """

    def __init__(self, path: Path) -> None:
        self._uri = f"{path.absolute().as_uri()}?mode=ro"
        self._condition = threading.Condition()
        self._idle: list[sqlite3.Connection] = []
        self._lent = 0
        self._closed = False

    @contextmanager
    def borrow(self) -> Iterator[sqlite3.Connection]:
        """A connection for the block; waits while all are lent.

        Raises:
            StoreError: they were closed.
        """
        with self._condition:
            while not self._idle and self._lent >= MAX_READERS:
                self._condition.wait()
            if self._closed:
                raise StoreError("the store is closed")
            db = self._idle.pop() if self._idle else None
            self._lent += 1
        try:
            if db is None:
                db = sqlite3.connect(self._uri, uri=True, isolation_level=None, check_same_thread=False)
            yield db
        finally:
            with self._condition:
                self._lent -= 1
                if db is not None:
                    self._idle.append(db)
                self._condition.notify()

    def close(self, timeout_s: float) -> None:
        """Close all; waits up to ``timeout_s`` seconds for those that are lent, and leaves the rest as they are."""
        with self._condition:
            self._closed = True
            self._condition.wait_for(lambda: not self._lent, timeout_s)
            for db in self._idle:
                db.close()
            self._idle.clear()
