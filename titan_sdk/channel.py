"""One structured connection, used the same way from both ends.

Both sides send requests and both answer. A request carries a correlation id (the header's spare byte) that no other
request of the same side has while it waits, so up to 256 are in flight and are answered in any order; further ones wait
in a bounded queue.
The thread that asks also sends; the one reading thread delivers what arrives.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, cast

from titan_sdk.errors import (
    BadMessage,
    BadRequest,
    ConnectionLost,
    DeadlineExceeded,
    ProtocolError,
    TitanError,
)
from titan_sdk.frame_writer import MAX_QUEUED, FrameWriter, set_timeout_option
from titan_sdk.in_flight import Answer, InFlight, Waiting
from titan_sdk.messages import M, Message, Ok, Request, encode_message
from titan_sdk.protocol import MAX_PAYLOAD, ONE_WAY, REPLIES, STRUCTURED, Frame, FrameDecoder, Opcode, encode_frame
from titan_sdk.refusals import read_answer, refusal_payload

log = logging.getLogger(__name__)

FRAME_DEADLINE_S: Final = 30.0
"""Seconds of silence in the middle of a frame after which the peer is given up."""
MIN_BYTES_PER_S: Final = 1024
"""A frame that takes longer than FRAME_DEADLINE_S must arrive at least this fast: nobody holds on by single bytes."""
LINGER_S: Final = 1.0
"""Seconds a refused peer has to take our last words before the connection is closed."""
_RECEIVE_BYTES: Final = 64 * 1024
_LAST_BYTES: Final = 4096
"""Thrown away at once; mostly there are none, only the end."""
_LINGER_BYTES: Final = 16 * 1024 * 1024


class Channel:
    """A structured connection over a connected socket, which it owns from then on.

    Args:
        on_request: ``on_request(channel, frame)`` runs on the reading thread for every request of the peer and must not
            block; it answers, now or later and from any thread, with ``reply`` or ``reply_error``. What it raises is
            answered as an error. None: the peer may not ask anything.
        name: for threads, logs and error texts.
        decoder: a FrameDecoder that already holds bytes read from the socket.
        on_closed: ``on_closed(channel, reason)`` runs once, on the closing thread, after every waiting request failed.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        on_request: Callable[[Channel, Frame], None] | None,
        name: str,
        frame_deadline_s: float = FRAME_DEADLINE_S,
        decoder: FrameDecoder | None = None,
        on_closed: Callable[[Channel, str], None] | None = None,
        max_queued: int = MAX_QUEUED,
    ) -> None:
        self._sock = sock
        self._on_request = on_request
        self._on_closed = on_closed
        self.name = name
        self.peer = _peer_name(sock)
        self.closed = False
        self.close_reason = ""
        self.last_received = time.monotonic()
        self._frame_deadline_s = frame_deadline_s
        self._decoder = decoder if decoder is not None else FrameDecoder()
        self._lock = threading.Lock()
        self._in_flight = InFlight(name)
        self._unanswered: set[int] = set()
        self._serving = False
        self._reader = 0
        self._thread: threading.Thread | None = None
        with suppress(OSError):  # not a TCP socket
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._writer = FrameWriter(sock, name=name, max_queued=max_queued, on_broken=self.close)
        set_timeout_option(sock, socket.SO_RCVTIMEO, frame_deadline_s)

    # --- asking ---------------------------------------------------------------------------------------------------

    def request(self, message: Request[M], timeout: float) -> M:
        """Ask and wait for the answer, ``timeout`` seconds at most.

        Raises:
            DeadlineExceeded: no answer in time. Whether the peer acted is unknown.
            ConnectionLost: the connection broke before the answer. Whether the peer acted is unknown.
            RemoteError: the peer said no.
            BadMessage, FrameTooLarge: the answer, or the request, cannot be.
        """
        if threading.get_ident() == self._reader:
            raise RuntimeError("the reading thread would wait for itself; use send_request")
        deadline = time.monotonic() + timeout
        done = threading.Lock()
        done.acquire()
        answers: list[Answer] = []

        def on_answer(answer: Answer) -> None:
            answers.append(answer)
            done.release()

        waiting = Waiting(message, on_answer)
        waiting.payload = encode_message(message)
        self._submit(waiting, deadline)
        if not done.acquire(timeout=max(0.0, deadline - time.monotonic())):
            if self._in_flight.give_up(waiting):
                if self._in_flight.deserted:
                    self.close("the peer does not answer")
                raise DeadlineExceeded(f"{self.name}: no answer to {type(message).__name__} within {timeout:g} s")
            done.acquire()  # it arrived this very moment
        answer = answers[0]
        if isinstance(answer, TitanError):
            raise answer
        return cast(M, answer)

    def send_request(self, message: Request[M], on_answer: Callable[[M | TitanError], None]) -> None:
        """Ask without waiting, and never raise: ``on_answer`` gets the answer, or the error, exactly once.

        It runs on the reading thread, or on the thread that closes the channel, or at once on this one when the
        request cannot be sent; it must not block. When MAX_WAITING requests wait already it gets a TransportError.
        """
        callback = cast("Callable[[Answer], None]", on_answer)
        waiting = Waiting(message, callback)
        try:
            waiting.payload = encode_message(message)
            self._submit(waiting, None)
        except TitanError as error:
            self._deliver(waiting, error)

    def send_one_way(self, message: Request[M]) -> None:
        """Tell the peer something that it does not answer.

        Raises:
            ConnectionLost: closed or broken.
            FrameTooLarge: the message is over MAX_PAYLOAD bytes.
        """
        self._writer.send(encode_frame(Frame(message.OPCODE, encode_message(message), STRUCTURED | ONE_WAY)))

    def _submit(self, waiting: Waiting, deadline: float | None) -> None:
        """Send, or queue for want of a correlation id; raises what InFlight.admit does, and was not sent then."""
        if self._in_flight.admit(waiting, deadline):
            self._transmit(waiting)

    def _transmit(self, waiting: Waiting) -> None:
        """Send a request that is in flight. A broken connection closes the channel, which fails it like all others."""
        frame = Frame(waiting.opcode, waiting.payload, STRUCTURED, waiting.correlation)
        waiting.payload = b""
        with suppress(ConnectionLost):
            self._writer.send(encode_frame(frame))

    def _deliver(self, waiting: Waiting, answer: Answer) -> None:
        try:
            waiting.on_answer(answer)
        except Exception:
            log.exception("%s: handling an answer failed", self.name)
            self.close("handling an answer failed")

    @property
    def unanswered_s(self) -> float:
        """Seconds that the peer has owed the oldest answer somebody waits for; 0 when it owes none.

        A connection neither loses nor repeats a frame, so a peer that answers other requests meanwhile, but not this
        one, never will; whoever keeps a connection for long closes it then and begins anew.
        """
        return self._in_flight.longest_wait()

    # --- answering ------------------------------------------------------------------------------------------------

    def reply(self, frame: Frame, message: Message) -> None:
        """Answer a request of the peer; never blocks, and raises nothing when the connection is gone."""
        try:
            payload = encode_message(message)
        except BadMessage as error:
            self.reply_error(frame, error)
            return
        if len(payload) > MAX_PAYLOAD:
            self.reply_error(frame, BadRequest(f"the answer would be {len(payload)} bytes; ask for less at once"))
            return
        self._answer(frame, Opcode.ACK if type(message) is Ok else Opcode.DATA, payload)

    def reply_error(self, frame: Frame, error: Exception) -> None:
        """Answer a request with an error; RemoteErrors keep their type on the other side."""
        self._answer(frame, Opcode.ERROR, refusal_payload(error))

    def _answer(self, frame: Frame, opcode: Opcode, payload: bytes) -> None:
        if frame.one_way:
            return
        with self._lock:
            if frame.spare not in self._unanswered:
                if not self.closed:
                    log.error("%s: a second answer to request 0x%02x was held back", self.name, frame.opcode)
                return
            self._unanswered.remove(frame.spare)
        try:
            self._writer.send(encode_frame(Frame(opcode, payload, STRUCTURED, frame.spare)))
        except ConnectionLost as error:
            log.debug("%s: an answer was not sent: %s", self.name, error)

    def wait_for_reader(self, limit: int) -> None:
        """Wait until the peer has taken all but ``limit`` bytes of what it was sent, or the connection is closed.

        On the reading thread, before a request is served: who does not read its answers is not given more of them.
        Never at both ends of one connection, which would wait for each other.
        """
        self._writer.wait_below(limit)

    # --- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run ``serve`` on a thread of its own."""
        self._thread = threading.Thread(target=self.serve, name=f"{self.name}-reader", daemon=True)
        self._thread.start()

    def join(self, deadline_s: float) -> None:
        """After ``start`` and ``close``: wait until the reading thread has ended."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(deadline_s)

    def serve(self, first: Iterable[Frame] = ()) -> None:
        """Read and dispatch until the connection ends; every request that waits then gets ConnectionLost.

        Args:
            first: frames that were taken from the stream before.
        """
        with self._lock:
            if self.closed:
                return
            self._serving = True
        self._reader = threading.get_ident()
        try:
            for frame in first:
                self._dispatch(frame)
            self.close(self._read())
        except ProtocolError as error:
            self._refuse(error)
        except OSError as error:
            self.close(error.strerror or str(error))
        except Exception:
            log.exception("%s: the reading thread failed", self.name)
            self.close("the reading thread failed")
        finally:
            self._reader = 0
            self._writer.release()

    def close(self, reason: str = "", flush_s: float = 0.0) -> None:
        """End the connection, from any thread, once: what waits for an answer gets ConnectionLost with ``reason``.

        Args:
            flush_s: seconds to wait for a slow reader to take what was sent before.
        """
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self.close_reason = reason or "the connection was closed"
            self._unanswered.clear()
            serving = self._serving
        self._writer.close(flush_s, both=True)
        for each in self._in_flight.end(self.close_reason):
            self._deliver(each, ConnectionLost(f"{self.name}: {self.close_reason}"))
        if self._on_closed is not None:
            try:
                self._on_closed(self, self.close_reason)
            except Exception:
                log.exception("%s: what follows the end of the connection failed", self.name)
        if not serving:
            self._writer.release()

    def abandon(self) -> None:
        """In a forked child: give the descriptor back and leave the connection itself to the parent."""
        self.closed = True
        self.close_reason = "the connection belongs to the parent process"
        self._sock.close()

    def _refuse(self, error: ProtocolError) -> None:
        """Tell a peer that broke the format so, give it time to read that, and close."""
        log.warning("%s: %s sent a bad frame: %s", self.name, self.peer, error)
        with suppress(ConnectionLost):
            self._writer.send(encode_frame(Frame(Opcode.ERROR, f"ERROR {error}".encode())))
        self._writer.close(flush_s=LINGER_S)
        linger(self._sock)
        self.close(str(error))

    # --- reading --------------------------------------------------------------------------------------------------

    def _read(self) -> str:
        """Read until the end, and say what it was."""
        decoder = self._decoder
        buffer = memoryview(bytearray(_RECEIVE_BYTES))
        receive = self._sock.recv_into
        frame_began = 0.0
        while True:
            while (frame := decoder.next_frame()) is not None:
                frame_began = 0.0
                self._dispatch(frame)
                if self.closed:
                    return self.close_reason
            try:
                size = receive(buffer)
            except BlockingIOError:  # SO_RCVTIMEO is over
                if self.closed:
                    return self.close_reason
                if decoder.pending:
                    return f"the peer fell silent in the middle of a frame for {self._frame_deadline_s:g} s"
                continue
            if not size:
                return f"the peer closed the connection{' in the middle of a frame' if decoder.pending else ''}"
            self.last_received = now = time.monotonic()
            decoder.receive(buffer[:size])
            if not frame_began:
                frame_began = now
            elif now - frame_began > self._frame_deadline_s + decoder.pending / MIN_BYTES_PER_S:
                return "the peer sends a frame too slowly"

    def _dispatch(self, frame: Frame) -> None:
        if frame.opcode in REPLIES:
            self._answered(frame)
            return
        if not frame.structured:
            raise ProtocolError("a classic frame on a structured connection")
        if not frame.one_way:
            with self._lock:
                if frame.spare in self._unanswered:
                    raise ProtocolError(f"correlation id {frame.spare} is in use")
                self._unanswered.add(frame.spare)
        if self._on_request is None:
            self.reply_error(frame, BadRequest(f"no request is served here, opcode 0x{frame.opcode:02x} neither"))
            return
        try:
            self._on_request(self, frame)
        except TitanError as error:
            self.reply_error(frame, error)
        except Exception as error:
            log.exception("%s: request 0x%02x of %s failed", self.name, frame.opcode, self.peer)
            self.reply_error(frame, error)

    def _answered(self, frame: Frame) -> None:
        if not frame.structured:
            # Sent before it gives up by a peer that could not make sense of our bytes.
            self.close(f"the peer refused: {frame.payload[:500].decode('utf-8', 'replace')}")
            return
        waiting, following = self._in_flight.answered(frame.spare)
        if following is not None:
            self._transmit(following)
        if waiting is not None:
            self._deliver(waiting, read_answer(frame, waiting.kind))


def linger(sock: socket.socket, deadline_s: float = LINGER_S) -> None:
    """After our last words and SHUT_WR: read until the peer closes too, for ``deadline_s`` seconds and 16 MiB at most.

    Closing a socket with unread bytes resets the connection, and the peer would lose the words it was sent.
    """
    end = time.monotonic() + deadline_s
    buffer = bytearray(_LAST_BYTES)
    taken = 0
    with suppress(OSError):
        while taken < _LINGER_BYTES and (left := end - time.monotonic()) > 0.001:
            set_timeout_option(sock, socket.SO_RCVTIMEO, left)
            size = sock.recv_into(buffer)
            if not size:
                return
            taken += size


def _peer_name(sock: socket.socket) -> str:
    with suppress(OSError):
        address = sock.getpeername()
        if isinstance(address, tuple) and len(address) >= 2:
            host, port = address[:2]
            return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return "unknown"
