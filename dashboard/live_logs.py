"""The UDP aggregator: output of watched jobs as it comes, made complete from the master's durable log.

A worker's datagrams say where in the log their bytes belong. What follows the bytes we have is shown at once; when some
are missing, the master is asked for those, at the very offset. When all has been quiet for QUIET_S it is asked too, and
answers when there is more: so the view is complete also where no datagram ever arrives.
"""

from __future__ import annotations

import base64
import logging
import os
import queue
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from dashboard.broker import Broker
from dashboard.gateway import Gateway
from dashboard.log_assembler import LogAssembler
from titan_sdk.errors import ConfigError, TitanError, TransportError, Unavailable
from titan_sdk.log_datagrams import MAX_DATAGRAM, LogDatagram, unseal
from titan_sdk.messages import FINAL_STATES, GetLogs, JobInfo, LogChunk, LogTarget, WatchLogs

log = logging.getLogger(__name__)

QUIET_S: Final = 0.3
RENEW_S: Final = 10.0
TTL_S: Final = 30.0
"""A watch is asked for again three times before it would end."""
WAIT_S: Final = 25.0
"""That a question waits at the master for more output."""
RETRY_S: Final = 1.0
RECEIVE_BYTES: Final = 4 * 1024 * 1024
"""The socket's buffer, as far as the kernel lets us."""
FIRST_BYTES: Final = 64 * 1024
"""Of the log's end, sent to a browser that begins to watch; it fetches what is before by itself."""
MAX_BATCH: Final = 256
"""Datagrams taken before anything else is looked at, and made one event of."""
TOPIC: Final = "log:"


class _View:
    """One watched job: of its current attempt, everything before ``log.position`` has been published."""

    __slots__ = ("asking", "attempt", "due", "finished", "key", "log", "out", "out_at", "serial", "started")

    def __init__(self, key: str) -> None:
        self.key = key
        self.attempt = 0
        self.log = LogAssembler(0)
        self.started = False
        self.finished = False
        self.asking = False
        self.serial = 0
        """Of the latest question; answers to earlier ones do not count any more."""
        self.due = 0.0
        self.out = bytearray()
        self.out_at = 0


class LiveLogs:
    """One thread that owns all views. ``topic`` and ``jobs_changed`` may be called by any."""

    def __init__(
        self,
        gateway: Gateway,
        broker: Broker,
        *,
        host: str = "",
        port: int = 0,
        advertise: tuple[str, int] | None = None,
    ) -> None:
        self._gateway = gateway
        self._broker = broker
        self._watch = secrets.token_bytes(8)
        self._secret = secrets.token_bytes(32)
        self._views: dict[str, _View] = {}
        self._commands: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._watched: frozenset[str] = frozenset()
        self._renew_at = 0.0
        self._last_seq: dict[tuple[str, int], int] = {}
        self._stopping = False
        self.received = self.lost = self.refused = self.filled = 0
        """Datagrams taken, missing and not ours; bytes that came from the master's log."""
        self._socket = _bind(host or gateway.local_address(), port)
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        self._told = advertise or self.address
        self._wake_read, self._wake_write = socket.socketpair()
        for end in (self._wake_read, self._wake_write):
            end.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="live-logs", daemon=True)

    # --- for other threads ----------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._post("stop")

    def join(self, deadline_s: float) -> None:
        if self._thread.ident is not None:
            self._thread.join(deadline_s)
        for sock in (self._socket, self._wake_read, self._wake_write):
            sock.close()

    def topic(self, topic: str, on: bool) -> None:
        """Somebody, or nobody any more, listens to a topic; those of logs are ours."""
        if topic.startswith(TOPIC):
            self._post("watch" if on else "unwatch", topic.removeprefix(TOPIC))

    def jobs_changed(self, jobs: Iterable[JobInfo]) -> None:
        """What the hub has heard."""
        changed = [job for job in jobs if job.key in self._watched]
        if changed:
            self._post("jobs", changed)

    def master(self, up: bool) -> None:
        self._post("master", up)

    def _post(self, *command: Any) -> None:
        self._commands.put(command)
        try:
            self._wake_write.send(b"x")
        except OSError:  # full: it wakes anyway; closed: it has ended
            pass

    # --- the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._socket, selectors.EVENT_READ)
                selector.register(self._wake_read, selectors.EVENT_READ)
                while not self._stopping:
                    selector.select(self._timeout())
                    self._receive()
                    self._obey()
                    self._look_at_clock()
                    self._flush()
        except Exception:
            log.exception("the log aggregator failed; the dashboard ends")
            os._exit(70)

    def _timeout(self) -> float | None:
        due = [view.due for view in self._views.values() if view.due]
        if self._views:
            due.append(self._renew_at)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _receive(self) -> None:
        for _ in range(MAX_BATCH):
            try:
                packet, sender = self._socket.recvfrom(MAX_DATAGRAM + 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:  # an ICMP error of an earlier datagram
                log.debug("receiving: %s", error)
                return
            datagram = unseal(packet, self._secret)
            if datagram is None or datagram.watch != self._watch:
                self.refused += 1
                continue
            self._count(datagram, sender[:2])
            view = self._views.get(datagram.key)
            if view is not None:
                self._take(view, datagram)

    def _count(self, datagram: LogDatagram, sender: tuple[str, int]) -> None:
        self.received += 1
        expected = self._last_seq.get(sender, datagram.seq - 1) + 1
        if datagram.seq > expected:
            self.lost += datagram.seq - expected
        if len(self._last_seq) > 1024:
            self._last_seq.clear()
        self._last_seq[sender] = max(datagram.seq, expected - 1)

    def _take(self, view: _View, datagram: LogDatagram) -> None:
        if not view.started or datagram.attempt < view.attempt:
            return
        if datagram.attempt > view.attempt:
            if view.attempt and not view.finished:
                return  # the rest of the attempt before comes first; this is in the master's log by then
            self._begin(view, datagram.attempt)
        self._publish(view, view.log.add(datagram.offset, datagram.data))
        if view.log.waiting or (not datagram.data and datagram.size > view.log.position):
            if not view.asking:
                self._ask(view)
        else:
            view.due = time.monotonic() + QUIET_S

    def _obey(self) -> None:
        try:
            while self._wake_read.recv(4096):
                pass
        except OSError:
            pass
        while True:
            try:
                what, *rest = self._commands.get_nowait()
            except queue.Empty:
                return
            getattr(self, f"_on_{what}")(*rest)

    def _look_at_clock(self) -> None:
        now = time.monotonic()
        for view in self._views.values():
            if view.due and view.due <= now:
                view.due = 0.0
                if not view.asking and not view.finished:
                    self._ask(view)
        if self._views and now >= self._renew_at:
            self._tell_master()

    # --- commands -------------------------------------------------------------------------------------------------

    def _on_stop(self) -> None:
        self._stopping = True
        if self._views:
            self._views.clear()
            self._tell_master()

    def _on_watch(self, key: str) -> None:
        if key not in self._views:
            view = self._views[key] = _View(key)
            self._tell_master()
            self._ask(view)

    def _on_unwatch(self, key: str) -> None:
        if self._views.pop(key, None) is not None:
            self._tell_master()

    def _on_jobs(self, jobs: list[JobInfo]) -> None:
        for job in jobs:
            view = self._views.get(job.key)
            if view is None or not view.started:
                continue
            if view.finished and job.attempt > view.attempt:
                self._begin(view, job.attempt)
                if not view.asking:
                    self._ask(view)
            elif not view.finished and not view.asking and job.state in FINAL_STATES:
                self._ask(view)

    def _on_master(self, up: bool) -> None:
        if up:
            self._tell_master()
            for view in self._views.values():
                view.serial += 1
                view.asking = False
                if not view.finished:
                    self._ask(view)

    def _on_answer(self, view: _View, serial: int, answer: LogChunk | TitanError) -> None:
        if self._views.get(view.key) is not view or serial != view.serial:
            return
        view.asking = False
        if isinstance(answer, (TransportError, Unavailable)):
            view.due = time.monotonic() + RETRY_S
            return
        if isinstance(answer, TitanError):
            view.finished = view.started = True
            self._broker.publish(TOPIC + view.key, "logend", {"attempt": view.attempt, "size": 0, "error": str(answer)})
            return
        if not view.started:
            view.started = True
            view.attempt = answer.attempt
            view.log = LogAssembler(answer.offset)
            self._broker.publish(
                TOPIC + view.key, "logstart", {"attempt": answer.attempt, "offset": answer.offset, "size": answer.size}
            )
        if answer.attempt and not view.attempt:
            self._begin(view, answer.attempt)
        self.filled += len(answer.data)
        if answer.data:
            view.log.skip(answer.offset)  # the log of a service rotates: what is older is not there any more
        elif answer.attempt == view.attempt and view.log.position < answer.size:
            view.log.skip(max(view.log.next_piece, answer.size if answer.finished else answer.offset))
        self._publish(view, view.log.add(answer.offset, answer.data))
        if answer.finished and view.log.position >= answer.size:
            self._flush()
            view.finished = True
            view.due = 0.0
            end = {"attempt": view.attempt, "size": answer.size, "error": ""}
            self._broker.publish(TOPIC + view.key, "logend", end)
            self._next_attempt(view)
        elif answer.data and (view.log.waiting or view.log.position < answer.size):
            self._ask(view)
        else:
            hole = view.log.position < answer.size
            view.due = time.monotonic() + (RETRY_S if hole else QUIET_S if answer.data else 0.0)

    def _next_attempt(self, view: _View) -> None:
        """A job that was tried again meanwhile goes on with what that attempt prints."""

        def known(answer: Any) -> None:
            if isinstance(answer, LogChunk) and answer.attempt > view.attempt:
                self._post("next", view, answer.attempt)

        self._send(GetLogs(id=view.key, offset=1 << 40), known)

    def _on_next(self, view: _View, attempt: int) -> None:
        if self._views.get(view.key) is view and view.finished and attempt > view.attempt:
            self._begin(view, attempt)
            self._ask(view)

    # --- parts ----------------------------------------------------------------------------------------------------

    def _begin(self, view: _View, attempt: int) -> None:
        self._flush()
        view.attempt = attempt
        view.log = LogAssembler(0)
        view.finished = False
        self._broker.publish(TOPIC + view.key, "logstart", {"attempt": attempt, "offset": 0, "size": 0})

    def _ask(self, view: _View) -> None:
        view.asking = True
        view.due = 0.0
        view.serial += 1
        offset = view.log.position if view.started else -FIRST_BYTES
        request = GetLogs(id=view.key, offset=offset, attempt=view.attempt, wait_s=WAIT_S if view.started else 0.0)
        self._send(request, partial(self._post, "answer", view, view.serial))

    def _send(self, request: Any, on_answer: Any) -> None:
        try:
            self._gateway.send(request, on_answer)
        except (TitanError, ConfigError) as error:
            on_answer(error)

    def _publish(self, view: _View, data: bytes) -> None:
        if data:
            if not view.out:
                view.out_at = view.log.position - len(data)
            view.out += data

    def _flush(self) -> None:
        """What has come since the last time, as one event for each view."""
        for view in self._views.values():
            if view.out:
                event = {
                    "attempt": view.attempt,
                    "offset": view.out_at,
                    "data": base64.b64encode(view.out).decode("ascii"),
                }
                self._broker.publish(TOPIC + view.key, "log", event)
                view.out.clear()

    def _tell_master(self) -> None:
        """Which jobs are watched, all of them."""
        self._watched = frozenset(self._views)
        self._renew_at = time.monotonic() + RENEW_S
        host, port = self._told
        target = LogTarget(
            watch=self._watch, host=host, port=port, secret=self._secret, jobs=tuple(sorted(self._views))[:256]
        )
        self._send(WatchLogs(target=target, ttl_s=TTL_S), _log_refusal)


def _log_refusal(answer: Any) -> None:
    if isinstance(answer, TitanError):
        log.info("the master was not told what is watched: %s", answer)


def _bind(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise ConfigError(f"cannot receive datagrams on {host}:{port}: {error.strerror or error}") from None
    return sock
