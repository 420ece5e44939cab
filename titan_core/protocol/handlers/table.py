"""Which function serves which request, in which dialect."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from titan_core.protocol.services import Done
from titan_core.protocol.trust import Endpoint, Owner
from titan_sdk.classic_request import ClassicRequest
from titan_sdk.errors import DeadlineExceeded
from titan_sdk.messages import Message, Request

ANSWER_TIMEOUT_S: Final = 60.0
"""A classic peer waits for its one reply; when the journal takes longer than this, it is told so."""

R = TypeVar("R", bound=Request[Any])
A = TypeVar("A", bound=Message)
C = TypeVar("C", bound=ClassicRequest)


@dataclass(frozen=True)
class ClassicPeer:
    """Who sent a classic frame."""

    endpoint: Endpoint
    owner: Owner


ClassicHandler = Callable[[Any, ClassicPeer], str]
"""Takes a parsed request and returns the text of the ACK; what it raises becomes an ERROR. It may wait."""

StructuredHandler = Callable[[Any, Done[Any]], None]
"""Takes a decoded request and answers through ``done``. Runs on the connection's reading thread."""


class HandlerTable:
    """Filled once by the handler modules, then only read."""

    def __init__(self) -> None:
        self._structured: dict[int, tuple[type[Request[Any]], StructuredHandler]] = {}
        self._classic: dict[int, tuple[type[ClassicRequest], ClassicHandler]] = {}

    def answer(self, kind: type[R], serve: Callable[[R], Message]) -> None:
        """Structured requests of this kind are answered with what ``serve`` returns."""
        self._add(kind, lambda request, done: done(serve(request)))

    def answer_later(self, kind: type[R], serve: Callable[[R, Done[A]], None]) -> None:
        """Structured requests of this kind are answered when ``serve`` calls the ``done`` that it is given."""
        self._add(kind, serve)

    def classic(self, kind: type[C], serve: Callable[[C, ClassicPeer], str]) -> None:
        """Classic requests of this kind are served by ``serve``."""
        assert kind.OPCODE not in self._classic, f"{kind.OPCODE!r} has two classic handlers"
        self._classic[kind.OPCODE] = (kind, serve)

    def _add(self, kind: type[Request[Any]], serve: StructuredHandler) -> None:
        assert kind.OPCODE not in self._structured, f"{kind.OPCODE!r} has two structured handlers"
        self._structured[kind.OPCODE] = (kind, serve)

    def find_structured(self, opcode: int) -> tuple[type[Request[Any]], StructuredHandler] | None:
        return self._structured.get(opcode)

    def find_classic(self, opcode: int) -> tuple[type[ClassicRequest], ClassicHandler] | None:
        return self._classic.get(opcode)


def wait_for(serve: Callable[[R, Done[A]], None], request: R) -> A:
    """The answer of a service that answers later; raises what it refuses with.

    Raises:
        DeadlineExceeded: no answer within ANSWER_TIMEOUT_S; whether it was carried out is unknown.
    """
    answered = threading.Lock()  # an Event costs several times as much
    answered.acquire()
    answers: list[A | Exception] = []

    def done(answer: A | Exception) -> None:
        answers.append(answer)
        answered.release()

    serve(request, done)
    if not answered.acquire(timeout=ANSWER_TIMEOUT_S):
        raise DeadlineExceeded(f"no answer within {ANSWER_TIMEOUT_S:g} s; it may still be carried out")
    answer = answers[0]
    if isinstance(answer, Exception):
        raise answer
    return answer
