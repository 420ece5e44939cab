"""Messages that read logs and follow them."""

from __future__ import annotations

from titan_sdk.messages.base import Message, Ok, Request
from titan_sdk.protocol import Opcode


class LogChunk(Message):
    """Bytes of a log from ``offset`` on. ``finished``: the attempt has ended and ``size`` will not grow.

    Of a service's log the oldest part may be gone: then ``offset`` is later than what was asked for.
    """

    attempt: int
    offset: int
    data: bytes
    size: int
    finished: bool


class GetLogs(Request[LogChunk]):
    """At most CHUNK_BYTES of an attempt's log (0: the latest) from ``offset``; negative: that far from the end.

    When there is nothing at ``offset`` yet, the answer waits up to ``wait_s`` seconds for more or for the end.
    """

    OPCODE = Opcode.GET_LOGS
    ANSWER = LogChunk
    id: str
    offset: int = 0
    attempt: int = 0
    wait_s: float = 0.0


class LogTarget(Message):
    """Where output of ``jobs`` (their keys) goes as datagrams, sealed with ``secret`` (titan_sdk/log_datagrams.py)."""

    watch: bytes
    host: str
    port: int
    secret: bytes
    jobs: tuple[str, ...]


class WatchLogs(Request[Ok]):
    """Workers send these jobs' output to ``target`` at once, for ``ttl_s`` seconds unless asked again.

    It takes the place of an earlier one of the same ``watch``; no jobs end it.
    """

    OPCODE = Opcode.WATCH_LOGS
    ANSWER = Ok
    target: LogTarget
    ttl_s: float = 30.0
