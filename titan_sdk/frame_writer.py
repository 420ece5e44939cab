"""The sending half of a connection: in order, from any thread, never waiting for the network."""

from __future__ import annotations

import logging
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from titan_sdk.errors import ConnectionLost

log = logging.getLogger(__name__)

MAX_QUEUED: Final = 64 * 1024 * 1024
"""Bytes that may wait for a slow reader: six of the largest frames; more means that it does not read at all."""
STALL_S: Final = 30.0
"""Seconds without room for one more byte after which the reader is given up."""
IDLE_S: Final = 10.0
"""Seconds without work after which the sending thread ends; the next backlog starts another."""
JOIN_S: Final = 5.0
"""Seconds the thread has to end after ``close``, which wakes it wherever it waits."""
_PIECE: Final = 256 * 1024
"""Bytes handed to the kernel at once by the thread: small frames are joined, so a backlog costs few calls."""


def set_timeout_option(sock: socket.socket, option: int, seconds: float) -> None:
    """Set SO_RCVTIMEO or SO_SNDTIMEO, which leave the socket blocking where ``settimeout`` would not."""
    whole = int(seconds)
    sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", whole, int((seconds - whole) * 1_000_000)))


class FrameWriter:
    """Sends whole frames over a blocking socket without ever blocking the sender.

    A frame goes to the kernel at once when nothing is before it; what does not fit waits in a bounded queue that a
    thread, started when first needed, empties. ``close`` ends the stream, ``release`` the socket.

    Args:
        max_queued: bytes that may wait; a frame that would exceed it ends the connection.
        on_broken: called once with the reason, from whichever thread found the connection broken or too slow.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        max_queued: int = MAX_QUEUED,
        name: str,
        stall_s: float = STALL_S,
        on_broken: Callable[[str], None] | None = None,
    ) -> None:
        self._sock = sock
        self._name = name
        self._max_queued = max_queued
        self._stall_s = stall_s
        self._on_broken = on_broken
        self._condition = threading.Condition(threading.Lock())
        self._queue: deque[bytes | memoryview] = deque()
        self._queued = 0
        self._closed = False
        self._thread: threading.Thread | None = None
        sock.settimeout(None)
        set_timeout_option(sock, socket.SO_SNDTIMEO, stall_s)

    @property
    def queued(self) -> int:
        """Bytes that the kernel did not take yet."""
        return self._queued

    def send(self, data: bytes) -> None:
        """Send one or more whole frames after everything sent before.

        Raises:
            ConnectionLost: closed, broken, or the reader is so slow that ``max_queued`` would be exceeded. The
                connection is of no use any more then.
        """
        with self._condition:
            if self._closed:
                raise ConnectionLost(f"{self._name}: the connection is closed")
            try:
                self._send_or_queue(data)
                return
            except ConnectionLost as error:
                self._closed = True  # nothing may follow a frame that is missing
                lost = error
        self._broken(str(lost))
        raise lost

    def _send_or_queue(self, data: bytes) -> None:
        sent = 0
        if not self._queued:
            try:
                sent = self._sock.send(data, socket.MSG_DONTWAIT)
            except BlockingIOError:
                pass
            except OSError as error:
                raise ConnectionLost(f"{self._name}: {error.strerror or error}") from None
            if sent == len(data):
                return
        rest = len(data) - sent
        if self._queued + rest > self._max_queued:
            raise ConnectionLost(f"{self._name}: the peer does not read; {self._queued} bytes wait for it")
        self._queue.append(memoryview(data)[sent:] if sent else data)
        self._queued += rest
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"{self._name}-writer", daemon=True)
            self._thread.start()
        self._condition.notify_all()

    def wait_below(self, limit: int) -> None:
        """Wait until at most ``limit`` bytes are queued, or the connection is closed, as it is when nothing moves."""
        if self._queued > limit:
            with self._condition:
                self._condition.wait_for(lambda: self._closed or self._queued <= limit)

    def close(self, flush_s: float = 0, *, both: bool = False) -> None:
        """Wait at most ``flush_s`` seconds for what is queued, then end our direction of the stream, or both."""
        with self._condition:
            if flush_s > 0 and threading.current_thread() is not self._thread:
                self._condition.wait_for(lambda: not self._queued or self._closed, flush_s)
            self._closed = True
            self._queue.clear()
            self._condition.notify_all()
            with suppress(OSError):  # also ends a send or receive that a thread waits in
                self._sock.shutdown(socket.SHUT_RDWR if both else socket.SHUT_WR)

    def release(self, deadline_s: float = JOIN_S) -> None:
        """After ``close``: wait for the thread, if there is one, and close the socket. Nobody may be reading from it.

        The descriptor is given back only when no call can be under way with it, since its number may be another
        connection's the next moment.
        """
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(deadline_s)
        with self._condition:
            self._sock.close()

    def _run(self) -> None:
        try:
            while True:
                piece = self._next_piece()
                if piece is None:
                    return
                self._send_all(piece)
                with self._condition:
                    self._queued -= len(piece)
                    self._condition.notify_all()
        except OSError as error:
            if not self._closed:
                self._broken(f"{self._name}: {error.strerror or error}")
        except Exception:
            log.exception("%s: the sending thread failed", self._name)
            self._broken(f"{self._name}: the sending thread failed")

    def _next_piece(self) -> bytes | memoryview | None:
        """The next bytes to send; they count as queued until sent. None: closed, or idle for IDLE_S."""
        with self._condition:
            idle_until = time.monotonic() + IDLE_S
            while not self._queue and not self._closed:
                left = idle_until - time.monotonic()
                if left <= 0:
                    break
                self._condition.wait(left)
            if self._closed or not self._queue:
                self._thread = None if not self._closed else self._thread
                return None
            first = self._queue.popleft()
            size = len(first)
            parts = [first]
            while self._queue and size + len(self._queue[0]) <= _PIECE:
                parts.append(self._queue.popleft())
                size += len(parts[-1])
            return b"".join(parts) if len(parts) > 1 else first

    def _send_all(self, piece: bytes | memoryview) -> None:
        view = memoryview(piece)
        while view:
            try:
                view = view[self._sock.send(view[:_PIECE]) :]
            except BlockingIOError:  # what a blocking send with SO_SNDTIMEO says when its time is over
                raise OSError(f"the peer took no byte for {self._stall_s:g} s") from None

    def _broken(self, reason: str) -> None:
        self.close()
        callback, self._on_broken = self._on_broken, None
        if callback is not None:
            callback(reason)
