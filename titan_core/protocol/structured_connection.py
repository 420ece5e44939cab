"""A structured connection: hello first, then requests of both sides until it ends."""

from __future__ import annotations

import hmac
import logging
import socket
from collections.abc import Callable
from typing import Final

from titan_core.protocol.handlers.table import HandlerTable
from titan_core.protocol.services import Done
from titan_core.protocol.trust import Endpoint
from titan_core.protocol.worker_session import WorkerSession
from titan_sdk.channel import LINGER_S, Channel
from titan_sdk.errors import BadMessage, BadRequest, Unauthorized
from titan_sdk.messages import Hello, Message, Welcome, decode_message
from titan_sdk.protocol import Frame, FrameDecoder, Opcode

log = logging.getLogger(__name__)

MAX_HELLO_BYTES: Final = 64 * 1024
"""Payload of the first frame; who has not said hello gets no more memory than this."""

MAX_UNREAD_BYTES: Final = 1024 * 1024
"""Of answers that a client has not taken; its next request waits until they are fewer. Together with the number of
connections this bounds what slow readers cost."""

NewSession = Callable[[Channel, Endpoint], WorkerSession]


class StructuredConnection:
    """Serves one peer that speaks structured.

    Args:
        new_session: makes the worker's half when the peer says that it is a worker.
        on_greeted: called when the peer has shown the token.
    """

    def __init__(
        self,
        table: HandlerTable,
        token: str,
        welcome: Welcome,
        new_session: NewSession,
        frame_deadline_s: float,
        *,
        on_greeted: Callable[[], None],
    ) -> None:
        self._table = table
        self._token = token.encode()
        self._welcome = welcome
        self._new_session = new_session
        self._frame_deadline_s = frame_deadline_s
        self._on_greeted = on_greeted
        self._greeted = False
        self._session: WorkerSession | None = None
        self._peer = Endpoint("", 0)

    def serve(self, sock: socket.socket, peer: Endpoint, first: Frame, decoder: FrameDecoder) -> None:
        """Until the connection ends; ``first`` was read to know the dialect, ``decoder`` holds what came with it."""
        self._peer = peer
        channel = Channel(
            sock,
            on_request=self._on_request,
            name=f"peer-{peer.address}:{peer.port}",
            frame_deadline_s=self._frame_deadline_s,
            decoder=decoder,
        )
        try:
            channel.serve([first])
        finally:
            if self._session is not None:
                self._session.ended(channel.close_reason)

    def _on_request(self, channel: Channel, frame: Frame) -> None:
        if not self._greeted:
            self._greet(channel, frame)
            return
        found = None
        if self._session is None:
            channel.wait_for_reader(MAX_UNREAD_BYTES)
        else:
            self._session.sign_of_life()
            found = self._session.handlers.find_structured(frame.opcode)
        found = found or self._table.find_structured(frame.opcode)
        if found is None:
            raise BadRequest(f"no request with opcode 0x{frame.opcode:02x} is served here")
        kind, serve = found
        serve(decode_message(frame.payload, kind), _replying(channel, frame))

    def _greet(self, channel: Channel, frame: Frame) -> None:
        """The token must fit before anything else is answered."""
        hello = _hello(frame)
        if hello is not None and hmac.compare_digest(hello.token.encode("utf-8", "surrogatepass"), self._token):
            self._greeted = True
            self._on_greeted()
            if hello.role == "worker":
                self._session = self._new_session(channel, self._peer)
            channel.reply(frame, self._welcome)
            return
        refusal = "the token is missing or not this master's" if hello else "say hello with the token first"
        log.warning("refused %s:%d: %s", self._peer.address, self._peer.port, refusal)
        channel.reply_error(frame, Unauthorized(refusal))
        channel.close(refusal, LINGER_S)


def _hello(frame: Frame) -> Hello | None:
    if frame.opcode != Opcode.HELLO:
        return None
    try:
        return decode_message(frame.payload, Hello)
    except BadMessage:
        return None


def _replying(channel: Channel, frame: Frame) -> Done[Message]:
    def done(answer: Message | Exception) -> None:
        if isinstance(answer, Exception):
            channel.reply_error(frame, answer)
        else:
            channel.reply(frame, answer)

    return done
