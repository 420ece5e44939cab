"""Asking a master that may be away for a while: what may be asked twice is asked again until the time is over."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable
from typing import Final

from titan_sdk.connection import CALL_TIMEOUT_S, RpcClient
from titan_sdk.errors import (
    ConnectFailed,
    ConnectionLost,
    TitanError,
    TransportError,
    Unavailable,
    WaitTimeout,
)
from titan_sdk.messages import M, Request, Welcome

log = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 2.0
"""Between two tries; doubled from the first on, and shortened at random so that many clients do not come at once."""
LONGEST_ASK_S: Final = 30.0
"""The master is asked again at least so often: a connection that broke without a sign is noticed by then."""
GRACE_S: Final = 2.0
"""Beyond the caller's time, for an answer that is on its way."""
AWAY_S: Final = 600.0
"""A master that was away for so long does not come back by itself; also who waits without limit is told then."""


def deadline_after(timeout: float | None) -> float:
    """The monotonic time ``timeout`` seconds from now; never, for None."""
    return math.inf if timeout is None else time.monotonic() + max(0.0, timeout)


class SteadyCaller:
    """An RpcClient that outlives restarts of the master. Thread-safe.

    Args:
        token: None: looked up anew for every connection.
        timeout: seconds a call may take in all, unless it says otherwise.
    """

    def __init__(self, host: str, port: int, *, token: str | None = None, timeout: float = CALL_TIMEOUT_S) -> None:
        self.timeout = timeout
        self._rpc = RpcClient(host, port, token=token, timeout=timeout)
        self._closed = threading.Event()

    def connect(self) -> Welcome:
        """The master's welcome. Raises as ``once``."""
        return self._rpc.connect()

    def once(self, request: Request[M]) -> M:
        """Ask one time.

        Raises:
            ConnectFailed: no master there. ConnectionLost, DeadlineExceeded: whether it acted is unknown.
            RemoteError: it said no. ConfigError: the token cannot be used.
        """
        return self._rpc.call(request)

    def call(self, request: Request[M], timeout: float | None = None) -> M:
        """Ask what may be asked twice: again after a broken connection, within ``timeout`` seconds in all.

        Raises:
            As ``once``; ConnectFailed only when the very first try found no master, so that nothing was carried out.
        """
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        lost: ConnectionLost | None = None
        pauses = _Pauses()
        while True:
            try:
                return self._rpc.call(request, max(0.0, deadline - time.monotonic()))
            except ConnectionLost as error:
                lost = error
            except ConnectFailed:
                if lost is None:
                    raise
            if self._closed.is_set() or not self._pause(pauses.next(), deadline):
                raise lost

    def ask(self, request_for: Callable[[float], Request[M]], deadline: float) -> M:
        """Ask what the master answers once something has happened, or after the seconds given to ``request_for``.

        A master that is away meanwhile is waited for; one that was never reached is not.

        Args:
            deadline: monotonic time, by which there is an answer or an error.

        Raises:
            WaitTimeout: the time is over, and no master is there to ask.
            TransportError: it was away for AWAY_S, or has never been there; or the client was closed.
            RemoteError: it said no.
        """
        pauses = _Pauses()
        away_since = 0.0
        while True:
            now = time.monotonic()
            rest = max(0.0, deadline - now)
            wait_s = min(rest, LONGEST_ASK_S)
            try:
                return self._rpc.call(request_for(wait_s), min(wait_s + self.timeout, rest + GRACE_S))
            except (TransportError, Unavailable) as error:
                if self._closed.is_set() or self._rpc.welcome is None:
                    raise
                if not away_since:
                    away_since = now
                    log.warning("the master at %s:%d does not answer: %s", self._rpc.host, self._rpc.port, error)
                if time.monotonic() - away_since > AWAY_S:
                    raise
                self._wait_or_raise(pauses.next(), deadline, error)

    def close(self) -> None:
        """Close the connection, and refuse further calls; calls under way fail with ConnectionLost."""
        self._closed.set()
        self._rpc.close()

    def _wait_or_raise(self, pause_s: float, deadline: float, error: TitanError) -> None:
        if not self._pause(pause_s, deadline):
            raise WaitTimeout(f"the time is over, and the master is away: {error}") from error

    def _pause(self, pause_s: float, deadline: float) -> bool:
        """Wait before the next try, no longer than until ``deadline``. False: it is over, or was before."""
        rest = deadline - time.monotonic()
        if rest <= 0:
            return False
        self._closed.wait(min(pause_s, rest))
        return rest > pause_s


class _Pauses:
    def __init__(self) -> None:
        self._pause_s = FIRST_PAUSE_S

    def next(self) -> float:
        pause_s = self._pause_s
        self._pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return pause_s * random.uniform(0.5, 1.0)
