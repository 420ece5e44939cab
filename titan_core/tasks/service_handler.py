"""When a service is ready: the moment that it listens on its port."""

from __future__ import annotations

import logging
import socket
import threading
from functools import partial
from typing import Final

import psutil

from titan_core.tasks.alarms import Alarms
from titan_core.tasks.attempt import Attempt
from titan_sdk.messages import Lease

log = logging.getLogger(__name__)

FIRST_LOOK_S: Final = 0.02
LONGEST_LOOK_S: Final = 1.0
"""Between two looks at a port that is not open yet; the time doubles from FIRST_LOOK_S."""
_CONNECT_S: Final = 0.5
"""To an address of this machine, where a refusal comes at once; a listener with a full backlog answers not at all."""
_ADDRESSES: Final = ("127.0.0.1", "::1")


class ServiceHandler:
    """Watches the services of this worker until they listen, and tells their owners. Any thread may call.

    A service without a port is ready when it runs. A port that somebody else listens on does not make one ready: most
    likely it is about to find its port taken, and to end.
    """

    def __init__(self) -> None:
        # Of its own, as a look may take a moment.
        self._alarms = Alarms("services")
        self._lock = threading.Lock()
        self._watched: dict[Lease, Attempt] = {}

    def start(self) -> None:
        self._alarms.start()

    def stop(self) -> None:
        self._alarms.stop()

    def join(self, deadline_s: float) -> None:
        self._alarms.join(deadline_s)

    def started(self, attempt: Attempt, pid: int) -> None:
        """The service's main process runs."""
        if not attempt.spec.port:
            attempt.owner.ready(attempt)
            return
        with self._lock:
            self._watched[attempt.lease] = attempt
        self._alarms.call_later(FIRST_LOOK_S, partial(self._look, attempt, pid, FIRST_LOOK_S))

    def ended(self, attempt: Attempt) -> None:
        with self._lock:
            self._watched.pop(attempt.lease, None)

    def _look(self, attempt: Attempt, pid: int, waited_s: float) -> None:
        if attempt.lease not in self._watched:
            return
        port = attempt.spec.port
        if is_open(port):
            others = foreign_listeners(port, pid)
            if not others:
                self.ended(attempt)
                attempt.owner.ready(attempt)
                return
            if waited_s == FIRST_LOOK_S:
                log.warning("port %d of %s is in use by process %s", port, attempt.lease.job, others)
        next_s = min(2 * waited_s, LONGEST_LOOK_S)
        self._alarms.call_later(next_s, partial(self._look, attempt, pid, next_s))


def is_open(port: int) -> bool:
    """Whether somebody accepts connections on this port of this machine."""
    for address in _ADDRESSES:
        try:
            socket.create_connection((address, port), _CONNECT_S).close()
            return True
        except OSError:
            continue
    return False


def foreign_listeners(port: int, pid: int) -> list[int]:
    """Pids of those that listen on ``port`` when ``pid`` and its descendants do not; empty when it cannot be told."""
    try:
        mine = {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
        listening = {
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
        }
    except psutil.Error:
        return []
    if None in listening or mine & listening:  # None: a process of another user, or one in another namespace
        return []
    return sorted(other for other in listening if other is not None)
