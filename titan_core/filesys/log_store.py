"""The master's copy of every attempt's output, kept by offset so that sending a piece twice does no harm."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

_LOCKS: Final = 64
"""Locks are shared by hash of the attempt: enough that two busy jobs rarely meet, without one for each job ever run."""


class LogStore:
    """One file per attempt, ``<run>/<job>.<attempt>.log``; none for one that printed nothing. Any thread may call.

    Pieces are written, not synced: they outlive the master's death at once and a power cut within the time that the
    operating system takes; the worker keeps its own copy.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def open(self) -> None:
        """Make the folder, for this user alone."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, key: str, attempt: int) -> Path:
        """Where the log of attempt number ``attempt`` of the job ``run/job`` lies."""
        run_id, job_id = key.split("/", 1)
        return self._root / run_id / f"{job_id}.{attempt}.log"

    def append(self, key: str, attempt: int, offset: int, data: bytes) -> int:
        """Take bytes that begin at ``offset``; how much of the log is here now.

        What is here already is not written again, and a piece that would leave a gap is not taken: the answer says
        where the next piece should begin.
        """
        path = self.path(key, attempt)
        with self._locks[hash(path) % _LOCKS]:
            try:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                size = os.lseek(fd, 0, os.SEEK_END)
                if offset > size:
                    return size
                rest = memoryview(data)[size - offset :]
                while rest:
                    written = os.write(fd, rest)
                    size += written
                    rest = rest[written:]
                return size
            finally:
                os.close(fd)

    def extend(self, key: str, attempt: int, data: bytes) -> int:
        """Append at the end, for peers that know no offsets; how much of the log is here now."""
        path = self.path(key, attempt)
        with self._locks[hash(path) % _LOCKS]:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(data)
                return file.tell()

    def read(self, key: str, attempt: int, offset: int, limit: int) -> bytes:
        """At most ``limit`` bytes from ``offset`` on; empty when there are none (yet)."""
        try:
            with self.path(key, attempt).open("rb") as file:
                return os.pread(file.fileno(), limit, offset)
        except FileNotFoundError:
            return b""

    def size(self, key: str, attempt: int) -> int:
        """Bytes here so far."""
        try:
            return self.path(key, attempt).stat().st_size
        except FileNotFoundError:
            return 0
