"""A connection from its first byte: which dialect it speaks decides who serves it."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from titan_core.protocol.classic_connection import ClassicConnection, refuse
from titan_core.protocol.handlers.table import ClassicPeer, HandlerTable
from titan_core.protocol.scheduler_server import ServerLimits
from titan_core.protocol.structured_connection import MAX_HELLO_BYTES, NewSession, StructuredConnection
from titan_core.protocol.trust import Endpoint, Owner, PeerTrust
from titan_sdk.connection import read_frame
from titan_sdk.errors import (
    BadVersion,
    ConnectionLost,
    DeadlineExceeded,
    FrameTooLarge,
    ProtocolError,
)
from titan_sdk.messages import Welcome
from titan_sdk.protocol import HEADER, STRUCTURED, VERSION, FrameDecoder

log = logging.getLogger(__name__)

_FIRST_BYTES: Final = 4096
"""Taken at once of a connection whose dialect is not known yet; most classic requests are in them whole."""


class ConnectionHandler:
    """What SchedulerServer calls for each connection; returns when it has ended.

    Args:
        new_session: see StructuredConnection.
        spoke: called with a connection once its peer is known to be trusted.
    """

    def __init__(
        self,
        table: HandlerTable,
        *,
        trust: PeerTrust,
        token: str,
        welcome: Welcome,
        new_session: NewSession,
        limits: ServerLimits,
        spoke: Callable[[socket.socket], None],
    ) -> None:
        self._table = table
        self._trust = trust
        self._token = token
        self._welcome = welcome
        self._new_session = new_session
        self._limits = limits
        self._spoke = spoke

    def __call__(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        peer = Endpoint.of(address)
        frame_s = self._limits.frame_s
        try:
            begin = self._read_header(sock)
            if not begin:
                return
            decoder = FrameDecoder()
            decoder.receive(begin)
            _, _, flags, _, length = HEADER.unpack_from(begin)
            if not flags & STRUCTURED:
                owner = self._trust.owner(Endpoint.of(sock.getsockname()), peer)
                if owner is Owner.TRUSTED:
                    self._spoke(sock)
                ClassicConnection(sock, ClassicPeer(peer, owner), self._table, frame_s).serve(decoder)
                return
            if length > MAX_HELLO_BYTES:
                raise FrameTooLarge(length, MAX_HELLO_BYTES)
            first = read_frame(sock, decoder, frame_s)
        except (ProtocolError, DeadlineExceeded) as error:
            log.warning("%s:%d: %s", peer.address, peer.port, error)
            refuse(sock, error, frame_s)
            return
        except ConnectionLost as error:
            log.debug("%s:%d: %s", peer.address, peer.port, error)
            return
        if first is not None:
            connection = StructuredConnection(
                self._table,
                self._token,
                self._welcome,
                self._new_session,
                frame_s,
                on_greeted=lambda: self._spoke(sock),
            )
            connection.serve(sock, peer, first, decoder)

    def _read_header(self, sock: socket.socket) -> bytes:
        """The first frame's header and what came with it; empty when the peer said nothing at all.

        Raises:
            BadVersion: known from the first byte; a peer of another protocol may never send eight.
            DeadlineExceeded, ConnectionLost: it stopped halfway.
        """
        header = b""
        deadline = time.monotonic() + self._limits.frame_s
        while len(header) < HEADER.size:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = sock.recv(_FIRST_BYTES)
            except TimeoutError:
                if not header:
                    log.debug("a connection said nothing for %g s", self._limits.frame_s)
                    return b""
                raise DeadlineExceeded(f"no whole frame within {self._limits.frame_s:g} s") from None
            except OSError as error:
                raise ConnectionLost(str(error)) from None
            if not data:
                return b""
            header += data
            if header[0] != VERSION:
                raise BadVersion(header[0])
        return header
