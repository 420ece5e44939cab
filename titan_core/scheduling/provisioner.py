"""Provisioner: asks an external system for machines, by a signed HTTP POST.

The body is JSON: ``id`` (of this request, the same when it is sent again), ``at`` (epoch ms), ``capabilities``,
``count`` and ``reason``. X-Titan-Signature is ``sha256=`` and the hex HMAC-SHA256, under the shared secret, of
the value of X-Titan-Timestamp (epoch seconds), a full stop and the body. Who receives it should refuse old timestamps
and known ids.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import OrderedDict
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, Final

from titan_core.scheduling.core.commands import RequestMachines
from titan_core.scheduling.core.events import MachinesAskedFor
from titan_core.scheduling.engine_thread import EngineThread, Fail, end_process

logger = logging.getLogger(__name__)

TRIES: Final = 4
FIRST_PAUSE_S: Final = 1.0
"""Before the second try; doubles with each."""
TIMEOUT_S: Final = 10.0
"""For a connection, and for each wait for bytes of the answer."""
MAX_WAITING: Final = 100
"""Requests at once, one for each pool of workers at most; beyond that the oldest is dropped."""
_MAX_ANSWER_BYTES: Final = 4096
_TRY_AGAIN: Final = frozenset({408, 425, 429})


class Provisioner(EngineThread):
    """One thread that sends requests, one after the other; a newer one for the same pool replaces one that waits.

    Args:
        url: where to POST. secret: known to the receiver.
        post: tells the core what became of a request.
    """

    def __init__(
        self, url: str, secret: str, post: Callable[[MachinesAskedFor], None], fail: Fail = end_process
    ) -> None:
        super().__init__("Provisioner", fail)
        self._url = url
        self._secret = secret.encode()
        self._post = post
        self._changed = threading.Condition()
        self._waiting: OrderedDict[tuple[str, ...], RequestMachines] = OrderedDict()
        self._stopping = False
        self._opener = urllib.request.build_opener(_NoRedirects)

    def request(self, request: RequestMachines) -> None:
        """Queue a request; never blocks."""
        with self._changed:
            self._waiting[request.capabilities] = request
            if len(self._waiting) > MAX_WAITING:
                self._waiting.popitem(last=False)
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def _run(self) -> None:
        while (request := self._next()) is not None:
            self._deliver(request)

    def _next(self) -> RequestMachines | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            return None if self._stopping else self._waiting.popitem(last=False)[1]

    def _deliver(self, request: RequestMachines) -> None:
        """Send it until it is taken, refused, or has failed TRIES times."""
        message = {
            "id": uuid.uuid4().hex,
            "at": time.time_ns() // 1_000_000,
            "capabilities": list(request.capabilities),
            "count": request.count,
            "reason": request.reason,
        }
        body = json.dumps(message).encode()
        pause = FIRST_PAUSE_S
        for number in range(1, TRIES + 1):
            problem, again = self._send(body)
            if not problem:
                self._post(MachinesAskedFor(request.capabilities, request.count, ""))
                return
            logger.warning("asking for machines, try %d of %d: %s", number, TRIES, problem)
            if not again or number == TRIES or self._stopped_within(pause):
                break
            pause *= 2
        self._post(MachinesAskedFor(request.capabilities, request.count, problem))

    def _stopped_within(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._stopping, seconds)

    def _send(self, body: bytes) -> tuple[str, bool]:
        """What went wrong, empty when nothing did; and whether it is worth another try."""
        stamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Titan",
            "X-Titan-Timestamp": stamp,
            "X-Titan-Signature": "sha256=" + signature(self._secret, stamp, body),
        }
        request = urllib.request.Request(self._url, body, headers, method="POST")
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                answer.read(_MAX_ANSWER_BYTES)
            return "", False
        except urllib.error.HTTPError as error:
            with error:
                return f"it answered {error.code} {error.reason}", error.code >= 500 or error.code in _TRY_AGAIN
        except (OSError, HTTPException, ValueError) as error:
            return f"it cannot be reached: {getattr(error, 'reason', None) or error}", True


def signature(secret: bytes, stamp: str, body: bytes) -> str:
    """Hex HMAC-SHA256 of the time stamp, a full stop and the body."""
    return hmac.new(secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect of a POST would become a GET of something else."""

    def redirect_request(self, *_: Any) -> None:
        return None
