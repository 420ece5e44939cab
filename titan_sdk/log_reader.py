"""A job's output from the master: as far as it has come, or followed to its end."""

from __future__ import annotations

import codecs
import math
import time
from collections.abc import Iterable, Iterator

from titan_sdk.errors import WaitTimeout
from titan_sdk.messages import FINAL_STATES, GetJob, GetLogs
from titan_sdk.steady import SteadyCaller


class LogReader:
    """The log of one job, by its key or id."""

    def __init__(self, caller: SteadyCaller, name: str) -> None:
        self._caller = caller
        self._name = name

    def read(self) -> bytes:
        """What the latest attempt has printed so far."""
        chunk = self._caller.call(GetLogs(id=self._name))
        # A bare id may mean another run by the next question, and an attempt that prints on would never be over.
        end, attempt = chunk.size, chunk.attempt
        data = bytearray(chunk.data)
        while (offset := chunk.offset + len(chunk.data)) < end and chunk.data:
            chunk = self._caller.call(GetLogs(id=self._name, offset=offset, attempt=attempt))
            data += chunk.data
        return bytes(data)

    def follow(self, deadline: float = math.inf) -> Iterator[bytes]:
        """Pieces as they come, of the attempt that runs now and of those that follow it, until the job is final.

        Goes on where it was when the master was away meanwhile.

        Raises:
            WaitTimeout: the job is not final at ``deadline`` (monotonic). Otherwise as SteadyCaller.ask.
        """
        job = self._caller.call(GetJob(id=self._name))
        now = GetJob(id=job.key)
        attempt = max(1, job.attempt)
        while True:
            yield from self._attempt(job.key, attempt, deadline)
            job = self._caller.ask(lambda _: now, deadline)
            if job.state in FINAL_STATES and job.attempt <= attempt:
                return
            attempt += 1

    def _attempt(self, key: str, attempt: int, deadline: float) -> Iterator[bytes]:
        """One attempt from its beginning to its end; nothing when the job ended without it."""
        offset = 0

        def request(wait_s: float) -> GetLogs:
            return GetLogs(id=key, offset=offset, attempt=attempt, wait_s=wait_s)

        while True:
            chunk = self._caller.ask(request, deadline)
            if chunk.data:
                yield chunk.data
                offset = chunk.offset + len(chunk.data)
            elif chunk.finished:
                return
            elif time.monotonic() >= deadline:
                raise WaitTimeout(f"{key} still runs")


def as_text(pieces: Iterable[bytes]) -> Iterator[str]:
    """The same as text: a character that a piece ends in the middle of comes whole, what is no UTF-8 is replaced."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in pieces:
        text = decoder.decode(piece)
        if text:
            yield text
    rest = decoder.decode(b"", True)
    if rest:
        yield rest
