"""Asking a master that may be away for a while: what may be asked twice is asked again until the time is over.

How that goes is written once, as generators of steps; one driver takes them by waiting, another by ``await``.
"""

from __future__ import annotations

import logging
import math
import queue
import random
import threading
import time
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from titan_sdk.connection import CALL_TIMEOUT_S, RpcClient
from titan_sdk.errors import (
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    RemoteError,
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


AT_ONCE: Final = 1_000
"""Requests of ``call_all`` under way at the same time; more of them only wait in a longer queue."""

T = TypeVar("T")


class Send(NamedTuple):
    """The next step: ask, ``timeout`` seconds long."""

    request: Request[Any]
    timeout: float


class SendAll(NamedTuple):
    """The next step: ask all of these at the same time; the answers come as a list, errors among them."""

    requests: Sequence[Request[Any]]
    timeout: float


class Pause(NamedTuple):
    """The next step: do nothing for a while, unless the client is closed."""

    seconds: float


Steps = Generator[Send | SendAll | Pause, Any, T]


def deadline_after(timeout: float | None) -> float:
    """The monotonic time ``timeout`` seconds from now; never, for None."""
    return math.inf if timeout is None else time.monotonic() + max(0.0, timeout)


class SteadyCaller:
    """An RpcClient that outlives restarts of the master. Thread-safe.

    Each question can also be awaited, on any event loop and without a thread: ``call_async`` and so on.

    Args:
        token: None: looked up anew for every connection.
        timeout: seconds a call may take in all, unless it says otherwise.
    """

    def __init__(self, host: str, port: int, *, token: str | None = None, timeout: float = CALL_TIMEOUT_S) -> None:
        self.timeout = timeout
        self._rpc = RpcClient(host, port, token=token, timeout=timeout)
        self._closed = threading.Event()

    @property
    def address(self) -> tuple[str, int]:
        return self._rpc.host, self._rpc.port

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
        return self.take(self.calling(request, timeout))

    async def call_async(self, request: Request[M], timeout: float | None = None) -> M:
        return await self.take_async(self.calling(request, timeout))

    def call_all(self, requests: Sequence[Request[M]]) -> list[M | RemoteError]:
        """``call`` many, all at the same time on the one connection: the answers in order, or how the master said no.

        Raises:
            TransportError, ConfigError: as ``call``.
        """
        return self.take(self.calling_all(requests))

    async def call_all_async(self, requests: Sequence[Request[M]]) -> list[M | RemoteError]:
        return await self.take_async(self.calling_all(requests))

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
        return self.take(self.asking(request_for, deadline))

    async def ask_async(self, request_for: Callable[[float], Request[M]], deadline: float) -> M:
        return await self.take_async(self.asking(request_for, deadline))

    def close(self) -> None:
        """Close the connection, and refuse further calls; calls under way fail with ConnectionLost."""
        self._closed.set()
        self._rpc.close()

    # --- what is done, step by step: longer work is made of these by ``yield from`` -------------------------------

    def calling(self, request: Request[M], timeout: float | None = None) -> Steps[M]:
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        lost: ConnectionLost | None = None
        pauses = _Pauses()
        while True:
            try:
                answer: M = yield Send(request, max(0.0, deadline - time.monotonic()))
                return answer
            except ConnectionLost as error:
                lost = error
            except ConnectFailed:
                if lost is None:
                    raise
            if self._closed.is_set() or not (yield from _pausing(pauses.next(), deadline)):
                raise lost

    def calling_all(self, requests: Sequence[Request[M]]) -> Steps[list[M | RemoteError]]:
        answers: dict[int, M | RemoteError] = {}
        for begin in range(0, len(requests), AT_ONCE):
            numbers = range(begin, min(begin + AT_ONCE, len(requests)))
            found = yield SendAll([requests[number] for number in numbers], self.timeout)
            for number, answer in zip(numbers, found, strict=True):
                if isinstance(answer, ConnectionLost):  # from here on one by one, each as steadily as any
                    try:
                        answers[number] = yield from self.calling(requests[number])
                    except RemoteError as error:
                        answers[number] = error
                elif isinstance(answer, TitanError) and not isinstance(answer, RemoteError):
                    raise answer
                else:
                    answers[number] = answer
        return [answers[number] for number in range(len(requests))]

    def asking(self, request_for: Callable[[float], Request[M]], deadline: float) -> Steps[M]:
        pauses = _Pauses()
        away_since = 0.0
        while True:
            now = time.monotonic()
            rest = max(0.0, deadline - now)
            wait_s = min(rest, LONGEST_ASK_S)
            try:
                answer: M = yield Send(request_for(wait_s), min(wait_s + self.timeout, rest + GRACE_S))
                return answer
            except (TransportError, Unavailable) as error:
                if self._closed.is_set() or self._rpc.welcome is None:
                    raise
                if not away_since:
                    away_since = now
                    log.warning("the master at %s:%d does not answer: %s", self._rpc.host, self._rpc.port, error)
                if time.monotonic() - away_since > AWAY_S:
                    raise
                if not (yield from _pausing(pauses.next(), deadline)):
                    raise WaitTimeout(f"the time is over, and the master is away: {error}") from error

    # --- and how --------------------------------------------------------------------------------------------------

    async def take_async(self, steps: Steps[T]) -> T:
        """The same, awaiting each."""
        from titan_sdk import awaiting  # asyncio takes as long to load as all the rest

        return await awaiting.take(self._rpc, steps)

    def take(self, steps: Steps[T]) -> T:
        """What the steps come to, waiting for each. Raises what they raise."""
        try:
            step = next(steps)
            while True:
                try:
                    answer: Any = None
                    if isinstance(step, Send):
                        answer = self._rpc.call(step.request, step.timeout)
                    elif isinstance(step, SendAll):
                        answer = self._send_all(step)
                    else:
                        self._closed.wait(step.seconds)
                except TitanError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def _send_all(self, step: SendAll) -> list[Any]:
        arrived: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        deadline = time.monotonic() + step.timeout
        for number, request in enumerate(step.requests):
            self._rpc.send(request, partial(_note, arrived, number))
        answers: list[Any] = [None] * len(step.requests)
        for _ in step.requests:
            try:
                number, answer = arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise DeadlineExceeded(f"not every answer came within {step.timeout:g} s") from None
            answers[number] = answer
        return answers


def _note(arrived: queue.SimpleQueue[tuple[int, Any]], number: int, answer: Any) -> None:
    arrived.put((number, answer))


def patiently(do: Callable[[], T]) -> T:
    """What ``do`` comes to, which may be done twice: again while no master is there, for AWAY_S seconds in all.

    For what runs as a job: there was a master that started it, and one that is started anew must not cost it its work.
    """
    end = time.monotonic() + AWAY_S
    pauses = _Pauses()
    while True:
        try:
            return do()
        except (ConnectFailed, ConnectionLost) as error:
            if time.monotonic() > end:
                raise
            log.warning("waiting for the master: %s", error)
            time.sleep(pauses.next())


def _pausing(pause_s: float, deadline: float) -> Generator[Pause, Any, bool]:
    """Wait before the next try, no longer than until ``deadline``. False: it is over, or was before."""
    rest = deadline - time.monotonic()
    if rest <= 0:
        return False
    yield Pause(min(pause_s, rest))
    return rest > pause_s


class _Pauses:
    def __init__(self) -> None:
        self._pause_s = FIRST_PAUSE_S

    def next(self) -> float:
        pause_s = self._pause_s
        self._pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return pause_s * random.uniform(0.5, 1.0)
