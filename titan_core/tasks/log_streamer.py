"""Sends what watched jobs print as datagrams, at once, to whoever watches them; nothing when nobody does."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from titan_core.tasks.alarms import Alarms
from titan_core.tasks.log_batcher import open_segment
from titan_sdk.log_datagrams import DATA_BYTES, LogDatagram, seal
from titan_sdk.messages import Lease, LogTarget

log = logging.getLogger(__name__)

MAX_BYTES_PER_S: Final = 4 * 1024 * 1024
"""Of all watched jobs of a worker. Nobody reads faster, and the rest is in the master's log a little later."""
TURN_BYTES: Final = 64 * 1024
"""Sent in one go, before the thread does something else."""
REPEAT_S: Final = 0.15
"""After the last output its end is said once more: a watcher that missed it learns that something is missing."""


@dataclass(slots=True)
class _Watch:
    target: LogTarget
    jobs: frozenset[str]
    address: tuple[str, int]
    seq: int = 0


@dataclass(slots=True)
class _Log:
    """What is sent of one attempt's log: all before ``sent``, of ``size`` bytes so far."""

    path: str
    sent: int
    size: int
    segment: int = 0
    """Bytes of each file of a log that rotates (job_log.RotatingLog); 0: it is one file."""
    busy: bool = False
    quiet: bool = True
    last: float = field(default=0.0)


class LogStreamer:
    """Any thread may call. The work is done on the thread of ``alarms``; it is none while nobody watches.

    Args:
        send: gets every packet and the address it goes to; a UDP socket's by default.
    """

    def __init__(self, alarms: Alarms, send: Callable[[bytes, tuple[str, int]], None] | None = None) -> None:
        self._alarms = alarms
        self._send = send or self._send_udp
        self._sockets: dict[int, socket.socket] = {}
        self._watches: dict[bytes, _Watch] = {}
        self._watched: frozenset[str] = frozenset()
        self._until = 0.0
        self._logs: dict[Lease, _Log] = {}
        self._budget = float(MAX_BYTES_PER_S)
        self._refilled = time.monotonic()

    def watch(self, targets: Sequence[LogTarget], ttl_s: float) -> None:
        """From now on, and for ``ttl_s`` seconds, these and no others."""
        self._alarms.call_later(0.0, partial(self._set, tuple(targets), ttl_s))

    def grew(self, lease: Lease, path: str, size: int, segment: int = 0) -> None:
        """An attempt's log at ``path`` has ``size`` bytes now, if ``segment`` is not 0 in files of so many."""
        if lease.job in self._watched:
            self._alarms.call_later(0.0, partial(self._grown, lease, path, size, segment))

    def close(self) -> None:
        """After the alarms have stopped."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()

    # --- on the alarms' thread ------------------------------------------------------------------------------------

    def _set(self, targets: Sequence[LogTarget], ttl_s: float) -> None:
        before = self._watches
        self._watches = {}
        for target in targets:
            known = before.get(target.watch)
            watch = _Watch(target, frozenset(target.jobs), (target.host, target.port), known.seq if known else 0)
            self._watches[target.watch] = watch
        self._until = time.monotonic() + ttl_s
        self._watched = frozenset().union(*(watch.jobs for watch in self._watches.values()))
        self._logs = {lease: each for lease, each in self._logs.items() if lease.job in self._watched}
        if self._watched:
            self._alarms.call_later(ttl_s, self._expire)

    def _expire(self) -> None:
        if time.monotonic() >= self._until:
            self._watches.clear()
            self._watched = frozenset()
            self._logs.clear()

    def _grown(self, lease: Lease, path: str, size: int, segment: int) -> None:
        known = self._logs.get(lease)
        if known is None:
            # What was printed before it was watched is in the master's log.
            known = self._logs[lease] = _Log(path, max(0, size - TURN_BYTES), size, segment)
        known.size = max(known.size, size)
        if not known.busy:
            known.busy = True
            self._pump(lease, known)

    def _pump(self, lease: Lease, known: _Log) -> None:
        """Send a turn's worth; the end of the log again when it has been quiet for a while."""
        if self._logs.get(lease) is not known:
            return
        now = time.monotonic()
        self._budget = min(MAX_BYTES_PER_S, self._budget + (now - self._refilled) * MAX_BYTES_PER_S)
        self._refilled = now
        length = min(TURN_BYTES, known.size - known.sent)
        if length > self._budget:
            known.sent = known.size  # it prints too fast to be shown as it comes
            length = 0
        if length > 0:
            try:
                data = _read(known, length)
            except OSError:
                data = b""
            self._emit(lease, known, data)
            known.sent = min(known.size, known.sent + (len(data) or length))
            self._budget -= length
        if known.sent < known.size:
            self._alarms.call_later(0.0, partial(self._pump, lease, known))
            return
        known.busy = False
        known.last = now
        if known.quiet:
            known.quiet = False
            self._alarms.call_later(REPEAT_S, partial(self._repeat, lease, known))

    def _repeat(self, lease: Lease, known: _Log) -> None:
        if self._logs.get(lease) is not known:
            return
        if time.monotonic() - known.last < REPEAT_S:
            self._alarms.call_later(REPEAT_S, partial(self._repeat, lease, known))
            return
        known.quiet = True
        self._packet(lease, known, known.size, b"")

    def _emit(self, lease: Lease, known: _Log, data: bytes) -> None:
        for start in range(0, len(data), DATA_BYTES):
            self._packet(lease, known, known.sent + start, data[start : start + DATA_BYTES])

    def _packet(self, lease: Lease, known: _Log, offset: int, data: bytes) -> None:
        for watch in self._watches.values():
            if lease.job in watch.jobs:
                datagram = LogDatagram(
                    watch.target.watch, watch.seq, lease.job, lease.attempt, offset, known.size, data
                )
                watch.seq += 1
                self._send(seal(datagram, watch.target.secret), watch.address)

    def _send_udp(self, packet: bytes, address: tuple[str, int]) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        try:
            sock = self._sockets.get(family)
            if sock is None:
                sock = self._sockets[family] = socket.socket(family, socket.SOCK_DGRAM)
                sock.setblocking(False)
            sock.sendto(packet, address)
        except OSError as error:  # a full buffer, nobody there: the master's log has it
            log.debug("a datagram to %s was not sent: %s", address[0], error)


def _read(known: _Log, length: int) -> bytes:
    """Up to ``length`` bytes from ``sent`` on, which moves on past what has been rotated away. Raises OSError."""
    if not known.segment:
        with open(known.path, "rb") as file:
            return os.pread(file.fileno(), length, known.sent)
    last = max(known.size - 1, 0) // known.segment + 1
    while known.sent < known.size:
        number = known.sent // known.segment + 1
        fd = open_segment(known.path, number, last)
        if fd >= 0:
            try:
                return os.pread(fd, min(length, number * known.segment - known.sent), known.sent % known.segment)
            finally:
                os.close(fd)
        known.sent = number * known.segment
    return b""
