"""A classic connection: one frame, one reply, and the master closes; only an unknown opcode leaves it open."""

from __future__ import annotations

import logging
import socket
import time
from contextlib import suppress
from typing import Final

from titan_core.protocol.handlers.table import ClassicPeer, HandlerTable
from titan_core.protocol.trust import Owner
from titan_sdk.channel import linger
from titan_sdk.classic_replies import error_frame, ok_frame
from titan_sdk.classic_text import decode_text
from titan_sdk.connection import read_frame
from titan_sdk.errors import ProtocolError, RemoteError, TitanError, TransportError
from titan_sdk.protocol import MAX_PAYLOAD, Frame, FrameDecoder, Opcode, encode_frame

log = logging.getLogger(__name__)

MAX_UNKNOWN: Final = 100
"""Frames with an unknown opcode on one connection; more are no mistake any more."""
_OPEN_TO_ANYBODY: Final = frozenset({Opcode.LOG_STREAM, Opcode.LOG_BATCH})
"""Served although the peer's socket is closed already and the kernel forgot whose it was: the original's log batcher
does not wait for a reply. Their handlers take lines for jobs on classic workers alone."""


class ClassicConnection:
    """Serves one classic peer.

    Args:
        frame_s: seconds for a frame to arrive in whole, and for the peer to take a reply.
    """

    def __init__(self, sock: socket.socket, peer: ClassicPeer, table: HandlerTable, frame_s: float) -> None:
        self._sock = sock
        self._peer = peer
        self._table = table
        self._frame_s = frame_s

    def serve(self, decoder: FrameDecoder) -> None:
        """Until the one reply is sent. ``decoder`` holds what was read to know the dialect.

        Raises:
            ProtocolError, DeadlineExceeded, ConnectionLost: the peer's stream broke; nothing was replied to that yet.
        """
        if self._peer.owner is Owner.STRANGER:
            self._send(self._unauthorized(None))
            close_politely(self._sock)
            return
        for _ in range(MAX_UNKNOWN):
            frame = read_frame(self._sock, decoder, self._frame_s)
            if frame is None:
                return
            if frame.structured:
                raise ProtocolError("a structured frame on a classic connection")
            self._send(self._answer(frame))
            if self._table.find_classic(frame.opcode) is not None:
                break
        if decoder.pending or _more_came(self._sock):
            close_politely(self._sock)

    def _answer(self, frame: Frame) -> Frame:
        if self._peer.owner is Owner.GONE and frame.opcode not in _OPEN_TO_ANYBODY:
            return self._unauthorized(frame.opcode)
        found = self._table.find_classic(frame.opcode)
        if found is None:
            return error_frame(f"ERROR UNKNOWN_OPCODE 0x{frame.opcode:02x}")
        kind, handler = found
        begin = time.monotonic()
        try:
            reply = ok_frame(handler(kind.parse(decode_text(frame.payload)), self._peer))
            return reply if len(reply.payload) <= MAX_PAYLOAD else error_frame("the answer is larger than a frame")
        except TitanError as error:
            return _refusal(error)
        except OSError as error:
            log.exception("classic 0x%02x failed", frame.opcode)
            return error_frame(f"ERROR the master cannot do this now: {error.strerror or type(error).__name__}")
        except Exception as error:
            log.exception("classic 0x%02x failed", frame.opcode)
            return error_frame(error)
        finally:
            log.debug("classic 0x%02x took %.1f ms", frame.opcode, (time.monotonic() - begin) * 1000)

    def _unauthorized(self, opcode: int | None) -> Frame:
        """The refusal, which the log tells of too."""
        owner = self._peer.owner.value
        what = "a classic frame" if opcode is None else f"classic opcode 0x{opcode:02x}"
        log.warning("refused %s of %s: its socket's owner is %s", what, self._peer.endpoint.address, owner)
        return error_frame(f"ERROR UNAUTHORIZED: classic peers must belong to the master's user or root, not {owner}")

    def _send(self, frame: Frame) -> None:
        self._sock.settimeout(self._frame_s)
        with suppress(OSError):  # a peer that did not wait for its reply has done nothing wrong
            self._sock.sendall(encode_frame(frame))


def _more_came(sock: socket.socket) -> bool:
    """Whether the peer has sent bytes that nobody read: only then does closing at once cost it the reply."""
    sock.setblocking(False)
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except OSError:
        return False


def _refusal(error: TitanError) -> Frame:
    """Its reply, which names every problem."""
    if isinstance(error, RemoteError) and error.problems:
        return error_frame("; ".join(map(str, error.problems)))
    return error_frame(error)


def refuse(sock: socket.socket, error: ProtocolError | TransportError, frame_s: float) -> None:
    """Tell a peer whose stream broke what was wrong, and close. The frame is classic: both dialects can read it."""
    sock.settimeout(frame_s)
    with suppress(OSError):
        sock.sendall(encode_frame(error_frame(error)))
    close_politely(sock)


def close_politely(sock: socket.socket) -> None:
    """End our direction, and give the peer a moment to take our last words and close."""
    with suppress(OSError):
        sock.settimeout(None)
        sock.shutdown(socket.SHUT_WR)
        linger(sock)
