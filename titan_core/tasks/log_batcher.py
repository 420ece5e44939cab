"""Ships what running jobs print to the master: by offset, in batches, with bounds on what is under way."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from titan_core.tasks.alarms import Alarms
from titan_sdk.errors import RemoteError, TitanError
from titan_sdk.messages import CHUNK_BYTES, Lease, LogPiece, LogState

log = logging.getLogger(__name__)

LINGER_S: Final = 0.05
"""Output waits so long for more of it, unless a whole piece is there: a chatty job costs 20 messages a second, and one
that has ended by then none, since its report carries its output."""
MAX_UNACKNOWLEDGED: Final = 4 * CHUNK_BYTES
"""Bytes of all jobs under way to the master at once, of each job at most one piece (CHUNK_BYTES). So much a report may
have to wait behind on a slow link, and so much of its jobs' output is in a worker's memory, whatever they print."""
RETRY_S: Final = 1.0
"""Before a piece that the master did not take is sent again."""
MAX_REFUSALS: Final = 5
"""In a row; then the rest of a log stays on the worker: no result waits for a log that cannot be stored."""

OnLogState = Callable[[LogState | TitanError], None]


class LogUplink(Protocol):
    """Where pieces go. Does not block; ``on_answer`` is called exactly once, from any thread."""

    def send_log(self, piece: LogPiece, on_answer: OnLogState) -> None: ...


@dataclass(slots=True, eq=False)
class _Stream:
    """One attempt's log on its way.

    Attributes:
        acked: bytes known to be at the master.
        until: ship up to here; where the file ends, as far as we know, while the job runs.
        on_shipped: what ``finish`` was given.
        scheduled: an alarm will pump it, or it waits for room.
        busy: a piece is being read or is under way.
        segment: bytes of each file of a log that rotates (job_log.RotatingLog); 0: it is one file. number: of the open
            one, from 1.
    """

    lease: Lease
    path: str
    segment: int = 0
    number: int = 0
    fd: int = -1
    acked: int = 0
    until: int = 0
    on_shipped: Callable[[int], None] | None = None
    refusals: int = 0
    scheduled: bool = False
    busy: bool = False
    closed: bool = False


class LogBatcher:
    """Sends each log from the byte on that the master acknowledged, as the file grows. Any thread may call.

    Files are read on the thread of ``alarms`` only. A job that prints faster than the link takes it fills its file,
    not memory; jobs take turns.

    Args:
        on_stale: called when the master says that an attempt is not current any more; the log is forgotten.
    """

    def __init__(self, uplink: LogUplink, alarms: Alarms, on_stale: Callable[[Lease], None]) -> None:
        self._uplink = uplink
        self._alarms = alarms
        self._on_stale = on_stale
        self._lock = threading.Lock()
        self._streams: dict[Lease, _Stream] = {}
        self._starved: deque[_Stream] = deque()
        self._under_way = 0
        self._connected = False

    def open(self, lease: Lease, path: str, segment: int = 0) -> None:
        """An attempt writes its log to ``path`` from now on, if ``segment`` is not 0 in files of so many bytes."""
        with self._lock:
            self._streams[lease] = _Stream(lease, path, segment)

    def grew(self, lease: Lease, size: int) -> None:
        """The log has ``size`` bytes now."""
        with self._lock:
            stream = self._streams.get(lease)
            if stream is None or size <= stream.until:
                return
            stream.until = size
            self._schedule(stream)

    def finish(self, lease: Lease, tail_offset: int, on_shipped: Callable[[int], None]) -> None:
        """The attempt has ended, and its report can carry its log from ``tail_offset`` on.

        ``on_shipped(acked)`` is called once, perhaps at once, when the master has everything before, or does not take
        it; ``acked`` is what it has. The log is forgotten then. Nothing is called for a log that was forgotten before.
        """
        with self._lock:
            stream = self._streams.get(lease)
            if stream is None:
                return
            stream.until = tail_offset
            stream.on_shipped = on_shipped
            done = self._done(stream)
            if not done:
                self._schedule(stream, at_once=True)
        if done:
            on_shipped(stream.acked)

    def forget(self, lease: Lease) -> None:
        """Nobody wants the rest of this log."""
        with self._lock:
            stream = self._streams.get(lease)
            if stream is not None:
                self._close(stream)

    def resume(self) -> None:
        """There is a connection (again)."""
        with self._lock:
            self._connected = True
            for stream in self._streams.values():
                self._schedule(stream)

    def pause(self) -> None:
        """The connection is gone; pieces under way fail by themselves."""
        with self._lock:
            self._connected = False

    # --- with the lock held ---------------------------------------------------------------------------------------

    def _schedule(self, stream: _Stream, *, at_once: bool = False) -> None:
        if stream.closed or stream.scheduled or stream.busy or not self._connected or stream.acked >= stream.until:
            return
        stream.scheduled = True
        at_once = at_once or stream.until - stream.acked >= CHUNK_BYTES
        self._alarms.call_later(0.0 if at_once else LINGER_S, partial(self._pump, stream))

    def _done(self, stream: _Stream) -> bool:
        """Close a finished log when nothing is left to do for it; then on_shipped is to be called."""
        if stream.closed or stream.on_shipped is None or stream.busy:
            return False
        if stream.acked < stream.until and stream.refusals < MAX_REFUSALS:
            return False
        self._close(stream)
        return True

    def _close(self, stream: _Stream) -> None:
        stream.closed = True
        self._streams.pop(stream.lease, None)
        if stream.fd >= 0 and not stream.busy:
            os.close(stream.fd)
            stream.fd = -1

    # --- on the alarms' thread ------------------------------------------------------------------------------------

    def _pump(self, stream: _Stream) -> None:
        """Read and send the next piece."""
        with self._lock:
            stream.scheduled = False
            if stream.closed or stream.busy or not self._connected:
                return
            length = min(CHUNK_BYTES, stream.until - stream.acked)
            if length <= 0:
                return
            if self._under_way and self._under_way + length > MAX_UNACKNOWLEDGED:
                stream.scheduled = True
                self._starved.append(stream)
                return
            stream.busy = True
            self._under_way += length
            offset = stream.acked
        begin = offset
        try:
            if stream.segment:
                begin, data = self._read_segment(stream, offset, length)
            else:
                data = self._read(stream, offset, length)
        except OSError as error:
            log.warning("the log of %s cannot be read: %s", stream.lease.job, error)
            data = b""
        if not data:
            # Somebody cut or removed the file; what the master has is all there is.
            with self._lock:
                stream.refusals = MAX_REFUSALS
            self._settle(stream, length)
            return
        piece = LogPiece(lease=stream.lease, offset=begin, data=data, gap=begin > offset)
        self._uplink.send_log(piece, lambda answer: self._answered(stream, begin, length, answer))

    def _read(self, stream: _Stream, offset: int, length: int) -> bytes:
        # The open file outlives a renaming: a later attempt puts this log aside.
        if stream.fd < 0:
            stream.fd = os.open(stream.path, os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(stream.fd, length, offset)

    def _read_segment(self, stream: _Stream, offset: int, length: int) -> tuple[int, bytes]:
        """Bytes from ``offset`` on, or from the oldest that is left when that has been rotated away meanwhile."""
        size = stream.segment
        last = max(stream.until - 1, 0) // size + 1
        while True:
            number = offset // size + 1
            if number != stream.number:
                if stream.fd >= 0:
                    os.close(stream.fd)
                stream.fd = open_segment(stream.path, number, last)
                stream.number = number
            if stream.fd >= 0:
                return offset, os.pread(stream.fd, min(length, number * size - offset), offset % size)
            offset = number * size
            if number >= last:
                return offset, b""

    # --- on the thread that has the answer ------------------------------------------------------------------------

    def _answered(self, stream: _Stream, offset: int, length: int, answer: LogState | TitanError) -> None:
        stale = False
        refused = False
        with self._lock:
            if isinstance(answer, LogState):
                stale = answer.stale
                refused = answer.received <= offset and not stale
                # Less than before, when the master lost what its disk had not taken yet; more, when an earlier
                # process of this worker sent it.
                stream.acked = answer.received
            else:
                refused = isinstance(answer, RemoteError)
                if refused:
                    log.warning("the master does not take the log of %s: %s", stream.lease.job, answer)
            stream.refusals = stream.refusals + 1 if refused else 0
        self._settle(stream, length, failed=refused or not isinstance(answer, LogState))
        if stale:
            self.forget(stream.lease)
            self._on_stale(stream.lease)

    def _settle(self, stream: _Stream, length: int, *, failed: bool = False) -> None:
        """A piece is not under way any more: go on with this log, and with one that waited for room."""
        with self._lock:
            self._under_way -= length
            stream.busy = False
            done = self._done(stream)
            if stream.closed:
                self._close(stream)
            elif failed:
                stream.scheduled = True
                self._alarms.call_later(RETRY_S, partial(self._pump, stream))
            elif stream.refusals < MAX_REFUSALS:
                self._schedule(stream, at_once=stream.on_shipped is not None)
            while self._starved:
                self._alarms.call_later(0.0, partial(self._pump, self._starved.popleft()))
        if done and stream.on_shipped is not None:
            stream.on_shipped(stream.acked)


def open_segment(path: str, number: int, last: int) -> int:
    """The file of that number of a log whose newest had number ``last`` a moment ago; -1 when it is gone."""
    full = f"{path}.{number}"
    try:
        return os.open(full, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if number < last:
            return -1
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        renamed = os.open(full, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return fd
    os.close(fd)  # it became full just now, and what was opened is the next one
    return renamed
