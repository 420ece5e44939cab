"""The worker's connection to its master: dialled by the worker, kept, and dialled again when it breaks."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

import psutil

from titan_core.tasks.alarms import EXIT_FAILED
from titan_sdk.connection import Channel, open_channel
from titan_sdk.errors import BadRequest, ConfigError, ConnectionLost, RemoteError, TitanError, Unauthorized, Unavailable
from titan_sdk.messages import (
    TO_WORKER,
    CancelAttempt,
    Content,
    Decommission,
    Deregister,
    Dispatch,
    FetchContent,
    Heartbeat,
    JobSpec,
    Lease,
    LogPiece,
    LogState,
    Message,
    Ok,
    Register,
    Registered,
    Request,
    StreamLogs,
    Usage,
    decode_message,
)
from titan_sdk.protocol import Frame

log = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 5.0
"""Pauses between dials double from the one to the other; each is shortened at random by up to half, so that the workers
of a master that comes back do not all dial at the same instant."""
HANDSHAKE_S: Final = 10.0
"""For dialling, and again for the answer to the registration."""
_JOIN_S: Final = 5.0

A = TypeVar("A", bound=Message)


class LinkOwner(Protocol):
    """The worker behind the link. Called from the link's threads; must not block for long."""

    def registration(self) -> Register:
        """What to register with, now."""
        ...

    def registered(self, answer: Registered) -> None:
        """The master took the registration; the link is usable."""

    def disconnected(self) -> None:
        """The link broke; it is dialled again."""

    def refused(self, reason: str) -> None:
        """The master wants nothing of this worker, and never took it: there is no use in going on."""

    def dispatch(self, lease: Lease, spec: JobSpec) -> None:
        """Take an attempt. Raises Saturated or Unavailable."""

    def cancel(self, lease: Lease, reason: str, grace_s: float) -> None:
        """End an attempt. Raises NotFound when it is not here."""

    def decommission(self, reason: str) -> None:
        """Drain and end."""

    def usage(self) -> tuple[Usage, ...]:
        """What each service takes now."""

    def stream_logs(self, request: StreamLogs) -> None:
        """Send the output of these jobs to who watches it."""


class MasterLink:
    """Keeps one registered connection to the master, for as long as the worker lives.

    A master that cannot be reached is waited for; each change between reachable and not is logged once.

    Args:
        token: looked up for every dial, since the master may have made it only now; empty when there is none.
    """

    def __init__(self, host: str, port: int, *, token: Callable[[], str], owner: LinkOwner) -> None:
        self._host = host
        self._port = port
        self._address = f"{host}:{port}"
        self._token = token
        self._owner = owner
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._channel: Channel | None = None
        self._latest: Channel | None = None
        self._was_registered = False
        self._registering = False
        self._complaint = ""
        self._thread = threading.Thread(target=self._run, name="master-link", daemon=True)

    # --- for the parts of the worker ------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether there is a connection on which the master took our registration."""
        return self._channel is not None

    @property
    def registering(self) -> bool:
        """Whether the master has been asked to take our registration, and has not answered yet."""
        return self._registering

    def wait_connected(self, timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._channel is not None, timeout)

    def send(self, request: Request[A], on_answer: Callable[[A | TitanError], None]) -> None:
        """Channel.send_request, where no connection is an answer too (ConnectionLost)."""
        channel = self._channel
        if channel is None:
            on_answer(ConnectionLost("there is no connection to the master"))
        else:
            channel.send_request(request, on_answer)

    def send_log(self, piece: LogPiece, on_answer: Callable[[LogState | TitanError], None]) -> None:
        self.send(piece, on_answer)

    def request(self, request: Request[A], timeout: float) -> A:
        """Channel.request; raises ConnectionLost when there is no connection."""
        channel = self._channel
        if channel is None:
            raise ConnectionLost("there is no connection to the master")
        return channel.request(request, timeout)

    def fetch(self, request: FetchContent, timeout: float) -> Content:
        return self.request(request, timeout)

    # --- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def deregister(self, reason: str, timeout: float) -> bool:
        """Say goodbye; False when the master did not hear it."""
        try:
            self.request(Deregister(reason=reason), timeout)
        except TitanError as error:
            log.warning("leaving without goodbye: %s", error)
            return False
        return True

    def stop(self) -> None:
        self._stopping.set()
        with self._changed:
            channel = self._latest
        if channel is not None:
            channel.close("the worker stops")

    def join(self, deadline_s: float) -> None:
        if self._thread.is_alive():
            self._thread.join(deadline_s)

    # --- the link's thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            pause = FIRST_PAUSE_S
            while not self._stopping.is_set():
                if self._connect_and_stay():
                    pause = FIRST_PAUSE_S
                self._stopping.wait(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, LONGEST_PAUSE_S)
        except Exception:
            log.exception("the link to the master failed; the worker ends")
            os._exit(EXIT_FAILED)

    def _connect_and_stay(self) -> bool:
        """Dial, register, and stay until the connection ends; False when it did not come to a registration."""
        try:
            channel, closed = self._dial()
        except TitanError as error:
            self._not_connected(error)
            return False
        self._registering = True
        try:
            answer = channel.request(self._owner.registration(), HANDSHAKE_S)
        except TitanError as error:
            self._registering = False
            channel.close("the worker could not register")
            channel.join(_JOIN_S)
            self._not_connected(error)
            return False
        self._registered(channel, answer)
        self._stay(channel, closed, answer)
        with self._changed:
            self._channel = None
        channel.join(_JOIN_S)
        self._owner.disconnected()
        if not self._stopping.is_set():
            log.warning("the connection to the master at %s broke: %s", self._address, channel.close_reason)
        return True

    def _dial(self) -> tuple[Channel, threading.Event]:
        """A channel on which hello was said, and what is set when it ends."""
        token = self._token()
        try:
            channel, closed = self._open(token)
        except Unauthorized:
            if token or not (token := self._token()):
                raise
            channel, closed = self._open(token)  # the master made its token at this very moment
        with self._changed:
            self._latest = channel
        if self._stopping.is_set():
            channel.close("the worker stops")
        return channel, closed

    def _open(self, token: str) -> tuple[Channel, threading.Event]:
        closed = threading.Event()
        channel, _ = open_channel(
            self._host,
            self._port,
            token=token,
            role="worker",
            name="master-link",
            on_request=self._on_request,
            on_closed=lambda channel, reason: closed.set(),
        )
        return channel, closed

    def _not_connected(self, error: TitanError) -> None:
        """Say once why there is no connection; a refusal before the first registration is the end."""
        refused = isinstance(error, (RemoteError, ConfigError)) and not isinstance(error, Unavailable)
        if self._stopping.is_set():
            return
        if refused and not self._was_registered:
            self._owner.refused(f"the master at {self._address} refuses this worker: {error}")
            self._stopping.set()
        elif type(error).__name__ != self._complaint:
            self._complaint = type(error).__name__
            log.warning("the master at %s cannot be reached, trying again until it can: %s", self._address, error)

    def _registered(self, channel: Channel, answer: Registered) -> None:
        log.info("registered with the master at %s", self._address)
        self._was_registered = True
        self._complaint = ""
        with self._changed:
            self._channel = channel
            self._registering = False
            self._changed.notify_all()
        self._owner.registered(answer)

    def _stay(self, channel: Channel, closed: threading.Event, terms: Registered) -> None:
        """Give signs of life until the connection ends, or the master gives none for a whole lease."""
        while not closed.wait(terms.heartbeat_s):
            silence = time.monotonic() - channel.last_received
            if silence > terms.lease_s:
                channel.close(f"the master has been silent for {silence:.0f} s")
                continue
            if channel.unanswered_s > terms.lease_s:
                channel.close(f"the master has left a report unanswered for {channel.unanswered_s:.0f} s")
                continue
            memory = psutil.virtual_memory()
            beat = Heartbeat(
                cpu_percent=psutil.cpu_percent(),
                memory_percent=memory.percent,
                memory_free=memory.available,
                load=psutil.getloadavg()[0],
                usage=self._owner.usage(),
            )
            channel.send_request(beat, _ignore)

    # --- the channel's reading thread -----------------------------------------------------------------------------

    def _on_request(self, channel: Channel, frame: Frame) -> None:
        kind = TO_WORKER.get(frame.opcode)
        if kind is None:
            raise BadRequest(f"a worker does not serve opcode 0x{frame.opcode:02x}")
        message = decode_message(frame.payload, kind)
        if isinstance(message, Dispatch):
            self._owner.dispatch(message.lease, message.spec)
        elif isinstance(message, CancelAttempt):
            self._owner.cancel(message.lease, message.reason, message.grace_s)
        elif isinstance(message, Decommission):
            self._owner.decommission(message.reason)
        elif isinstance(message, StreamLogs):
            self._owner.stream_logs(message)
        channel.reply(frame, Ok())


def _ignore(answer: Message | TitanError) -> None:
    """A heartbeat's answer has done its work by arriving."""
