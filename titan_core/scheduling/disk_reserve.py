"""DiskReserve: refuses new work while there is still room to finish the old."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from titan_core.storage.store import StoreError
from titan_sdk.errors import Unavailable

RESERVE_BYTES: Final = 64 << 20
"""Kept for the journal of work already accepted: some 2 KB for each further step of a job, and the log's own copy."""
LOOK_EVERY_S: Final = 1.0
"""How old the last look at the disk may be; at full speed a second's submissions are well below the reserve."""


class DiskReserve:
    """Asks how much space there is, at most once every LOOK_EVERY_S, on the thread of whoever submits."""

    def __init__(self, free_bytes: Callable[[], int]) -> None:
        self._free_bytes = free_bytes
        self._looked = float("-inf")
        self._free = 0

    def check(self) -> None:
        """Return when something new may be written.

        Raises:
            Unavailable: the space left belongs to what was accepted before, or the disk cannot be asked.
        """
        now = time.monotonic()
        if now - self._looked >= LOOK_EVERY_S:
            try:
                self._free = self._free_bytes()
            except StoreError as error:
                raise Unavailable(str(error)) from error
            self._looked = now
        if self._free < RESERVE_BYTES:
            raise Unavailable(
                f"the master's disk is nearly full ({self._free >> 20} MB left): it takes nothing new, so as to finish "
                "what it has"
            )
