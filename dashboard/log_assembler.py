"""Puts pieces of a log that come in any order, twice or not at all into one stream of bytes."""

from __future__ import annotations

from typing import Final

MAX_WAITING: Final = 4 * 1024 * 1024
"""Bytes kept beyond a gap; what does not fit comes from the master's log later."""


class LogAssembler:
    """``position``: everything before it has been handed out. ``waiting``: bytes that lie beyond a gap."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.waiting = 0
        self._beyond: dict[int, bytes] = {}

    def skip(self, offset: int) -> None:
        """What lies before ``offset`` and has not come is gone: the log has a hole there."""
        if offset > self.position:
            self.position = offset
            for start in [start for start in self._beyond if start < offset]:
                self.waiting -= len(self._beyond.pop(start))

    @property
    def next_piece(self) -> int:
        """Where the first piece beyond the gap begins; -1: there is none."""
        return min(self._beyond, default=-1)

    def add(self, offset: int, data: bytes) -> bytes:
        """Take a piece; what follows ``position`` without a gap by now."""
        if offset > self.position:
            known = self._beyond.get(offset, b"")
            if len(data) > len(known) and self.waiting + len(data) <= MAX_WAITING:
                self.waiting += len(data) - len(known)
                self._beyond[offset] = data
            return b""
        found = bytearray(data[self.position - offset :])
        self.position += len(found)
        for start in sorted(self._beyond):
            if start > self.position:
                break
            piece = self._beyond.pop(start)
            self.waiting -= len(piece)
            fresh = piece[self.position - start :]
            found += fresh
            self.position += len(fresh)
        return bytes(found)
