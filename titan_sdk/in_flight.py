"""The requests of one side of a connection that wait for their answers, and those that wait to be sent."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from titan_sdk.errors import ConnectionLost, DeadlineExceeded, FrameTooLarge, ProtocolError, TitanError, TransportError
from titan_sdk.messages import Message, Request
from titan_sdk.protocol import MAX_PAYLOAD

MAX_IN_FLIGHT: Final = 256
"""Requests that wait for an answer at once; the correlation id is one byte."""
MAX_WAITING: Final = 65_536
"""Requests that may wait for a free correlation id."""
MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
"""Bytes of the payloads of those."""
MAX_ABANDONED: Final = 128
"""Requests given up unanswered whose ids stay taken: more of them mean that the peer does not answer any more."""

Answer = Message | TitanError


class Waiting:
    """One request on its way: queued (no correlation id yet), in flight, or abandoned."""

    __slots__ = ("abandoned", "correlation", "kind", "on_answer", "opcode", "payload", "sent_at")

    def __init__(self, message: Request, on_answer: Callable[[Answer], None]) -> None:
        self.opcode = message.OPCODE
        self.payload = b""
        self.kind = message.ANSWER
        self.on_answer = on_answer
        self.correlation = -1
        self.abandoned = False
        self.sent_at = 0.0


class InFlight:
    """Hands out correlation ids, at most MAX_IN_FLIGHT at once, and keeps the requests that have to wait for one.

    Thread-safe, and free of I/O and callbacks: it says what to send and whom to tell.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        # First in, first out: an id rests as long as possible before it is used again.
        self._free = deque(range(MAX_IN_FLIGHT))
        self._sent: dict[int, Waiting] = {}
        self._queue: deque[Waiting] = deque()
        self._queue_bytes = 0
        self._abandoned = 0
        self._ended = ""

    def admit(self, waiting: Waiting, deadline: float | None) -> bool:
        """Take a request in. True: it has its id and is to be sent; False: its turn comes with some answer.

        Args:
            deadline: monotonic time until which to wait for room in a full queue; None: not at all.

        Raises:
            FrameTooLarge, ConnectionLost, DeadlineExceeded, or TransportError (queue full, no deadline): not taken in.
        """
        size = len(waiting.payload)
        if size > MAX_PAYLOAD:
            raise FrameTooLarge(size, MAX_PAYLOAD)
        with self._lock:
            while True:
                if self._ended:
                    raise ConnectionLost(f"{self._name}: {self._ended}")
                if self._free and not self._queue:
                    self._assign(waiting, self._free.popleft())
                    return True
                if len(self._queue) < MAX_WAITING and self._queue_bytes + size <= MAX_WAITING_BYTES:
                    self._queue.append(waiting)
                    self._queue_bytes += size
                    return False
                if deadline is None:
                    raise TransportError(f"{self._name}: {len(self._queue)} requests wait already")
                left = deadline - time.monotonic()
                if left <= 0 or not self._room.wait(left):
                    raise DeadlineExceeded(f"{self._name}: {len(self._queue)} requests wait before this one")

    def answered(self, correlation: int) -> tuple[Waiting | None, Waiting | None]:
        """An answer came. Gives the request to tell, if somebody still waits for it, and the one to send next, if any.

        Raises:
            ProtocolError: no request has that id.
        """
        with self._lock:
            waiting = self._sent.pop(correlation, None)
            if waiting is None:
                if self._ended:
                    return None, None
                raise ProtocolError(f"an answer to nothing, correlation id {correlation}")
            following: Waiting | None = None
            if self._queue:
                following = self._queue.popleft()
                self._left_queue(following)
                self._assign(following, correlation)
            else:
                self._free.append(correlation)
            if waiting.abandoned:
                self._abandoned -= 1
                return None, following
            return waiting, following

    def give_up(self, waiting: Waiting) -> bool:
        """Nobody waits for this answer any more. False: it is being delivered at this moment."""
        with self._lock:
            if waiting.correlation < 0:
                if waiting not in self._queue:
                    return False
                self._queue.remove(waiting)
                self._left_queue(waiting)
                return True
            if self._sent.get(waiting.correlation) is not waiting:
                return False
            # The id stays taken: a late answer must not be mistaken for another request's.
            waiting.abandoned = True
            self._abandoned += 1
            return True

    @property
    def deserted(self) -> bool:
        """Whether the peer left so many requests unanswered that it will hardly answer another."""
        return self._abandoned > MAX_ABANDONED

    def longest_wait(self) -> float:
        """Seconds since the oldest request in flight that somebody waits for was sent; 0 when there is none."""
        with self._lock:
            # In the order in which they were sent.
            oldest = next((waiting.sent_at for waiting in self._sent.values() if not waiting.abandoned), None)
        return 0.0 if oldest is None else time.monotonic() - oldest

    def end(self, reason: str) -> list[Waiting]:
        """No more answers will come, and no request is taken in. Gives those that still wait."""
        with self._lock:
            self._ended = reason
            waiting = [each for each in self._sent.values() if not each.abandoned]
            waiting.extend(self._queue)
            self._sent.clear()
            self._queue.clear()
            self._room.notify_all()
            return waiting

    def _assign(self, waiting: Waiting, correlation: int) -> None:
        waiting.correlation = correlation
        waiting.sent_at = time.monotonic()
        self._sent[correlation] = waiting

    def _left_queue(self, waiting: Waiting) -> None:
        self._queue_bytes -= len(waiting.payload)
        self._room.notify()
