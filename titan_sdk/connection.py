"""Reaching a master or a worker: structured connections that are kept open, and classic calls of one frame each."""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Final

from titan_sdk.channel import Channel
from titan_sdk.errors import ConnectFailed, ConnectionLost, DeadlineExceeded, TitanError, Unauthorized
from titan_sdk.frame_writer import FrameWriter
from titan_sdk.messages import Hello, M, Request, Welcome
from titan_sdk.protocol import Frame, FrameDecoder, encode_frame
from titan_sdk.settings import client_settings

__all__ = [
    "Channel", "ConnectionPool", "FrameWriter", "RpcClient", "classic_call", "dial", "open_channel", "read_frame",
]  # fmt: skip

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S: Final = 5.0
CALL_TIMEOUT_S: Final = 30.0
JOIN_S: Final = 5.0
"""Seconds a closed connection's reading thread has to end; it needs none of them unless a callback hangs."""
POOL_SIZE: Final = 4
"""Connections of a pool: more do not fill a link any better, and each is a thread on both sides."""


def dial(host: str, port: int, timeout: float) -> socket.socket:
    """A connected TCP socket in blocking mode.

    Raises:
        ConnectFailed: nobody answered there within ``timeout`` seconds, or the address makes no sense.
    """
    try:
        sock = socket.create_connection((host, port), timeout=timeout)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = "no answer" if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or str(error)
        raise ConnectFailed(f"cannot reach {host}:{port}: {reason}") from None
    sock.settimeout(None)
    return sock


def open_channel(
    host: str,
    port: int,
    *,
    token: str,
    role: str,
    name: str,
    connect_timeout: float = CONNECT_TIMEOUT_S,
    on_request: Callable[[Channel, Frame], None] | None = None,
    on_closed: Callable[[Channel, str], None] | None = None,
) -> tuple[Channel, Welcome]:
    """Dial, start the channel's reading thread, say hello, and return the channel with the answer.

    Raises:
        ConnectFailed: nobody there, or what is there does not speak this protocol.
        Unauthorized: the token is missing or wrong.
        RemoteError: the peer said no for another reason.
    """
    deadline = time.monotonic() + connect_timeout
    sock = dial(host, port, connect_timeout)
    channel = Channel(sock, on_request=on_request, name=name, on_closed=on_closed)
    channel.start()
    try:
        welcome = channel.request(Hello(token=token, role=role), max(0.1, deadline - time.monotonic()))
    except BaseException as error:
        channel.close(f"no welcome: {error}")
        channel.join(JOIN_S)
        if isinstance(error, (ConnectionLost, DeadlineExceeded)):
            raise ConnectFailed(f"no welcome from {host}:{port}: {error}") from None
        raise
    return channel, welcome


class RpcClient:
    """A structured client of one address: connects when first needed, and again after a break; thread-safe.

    Calls of many threads travel on one connection at the same time. A call that was under way when the connection broke
    fails with ConnectionLost and is not repeated, since it may have been carried out; the next call dials again.

    Args:
        token: None: looked up anew for every connection by ``settings.client_settings``.
        role: ``client`` or ``worker``, told in the hello.
        connect_timeout: seconds for dialling and hello together.
        timeout: seconds a call waits for its answer unless it says otherwise.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        token: str | None = None,
        role: str = "client",
        connect_timeout: float = CONNECT_TIMEOUT_S,
        timeout: float = CALL_TIMEOUT_S,
    ) -> None:
        self.host = host
        self.port = port
        self.timeout = timeout
        self.welcome: Welcome | None = None
        self._token = token
        self._role = role
        self._connect_timeout = connect_timeout
        self._lock = threading.Lock()
        self._channel: Channel | None = None
        self._closed = False
        _clients.add(self)

    @property
    def connected(self) -> bool:
        """Whether a call would go out at once, without a connection being made first."""
        channel = self._channel
        return channel is not None and not channel.closed

    def call(self, request: Request[M], timeout: float | None = None) -> M:
        """Ask and wait for the answer.

        Raises:
            ConnectFailed, ConnectionLost, DeadlineExceeded, RemoteError (Unauthorized among them), ConfigError.
        """
        channel = self._channel
        if channel is None or channel.closed:
            channel = self._connected()
        return channel.request(request, self.timeout if timeout is None else timeout)

    def send(self, request: Request[M], on_answer: Callable[[M | TitanError], None]) -> None:
        """Ask without waiting for the answer (but for a connection, if there is none); see Channel.send_request.

        Raises:
            ConnectFailed, RemoteError, ConfigError: there is no connection; ``on_answer`` will not be called.
        """
        channel = self._channel
        if channel is None or channel.closed:
            channel = self._connected()
        channel.send_request(request, on_answer)

    def connect(self) -> Welcome:
        """Make sure that there is a connection; raises what ``call`` would. The answer is the peer's welcome."""
        self._connected()
        assert self.welcome is not None
        return self.welcome

    def close(self) -> None:
        """Close the connection, and refuse further calls. Calls under way fail with ConnectionLost."""
        with self._lock:
            self._closed = True
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close("the client was closed")
            channel.join(JOIN_S)

    def __enter__(self) -> RpcClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _connected(self) -> Channel:
        # One thread dials, the others wait for it: ten callers after a break make one connection.
        with self._lock:
            if self._closed:
                raise ConnectionLost("the client is closed")
            if self._channel is not None and not self._channel.closed:
                return self._channel
            token, whence = self._token, "it was given by the program"
            if token is None:
                settings = client_settings()
                token, whence = settings.token, settings.token_source
            try:
                self._channel, self.welcome = open_channel(
                    self.host,
                    self.port,
                    token=token,
                    role=self._role,
                    name=f"titan-{self.host}:{self.port}",
                    connect_timeout=self._connect_timeout,
                )
            except Unauthorized as error:
                raise Unauthorized(f"{error.message}; {whence}") from None
            return self._channel

    def _forget_connection(self) -> None:
        """In a forked child: the connection and every lock stay the parent's; begin anew."""
        self._lock = threading.Lock()
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.abandon()


_clients: weakref.WeakSet[RpcClient] = weakref.WeakSet()


def _after_fork() -> None:
    for client in list(_clients):
        client._forget_connection()


os.register_at_fork(after_in_child=_after_fork)


class ConnectionPool:
    """A few connections to one address, lent one at a time, for bulk transfers in parallel.

    Connections are made as they are needed, and kept until ``close``. Arguments are those of RpcClient.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        size: int = POOL_SIZE,
        token: str | None = None,
        timeout: float = CALL_TIMEOUT_S,
    ) -> None:
        self._clients = [RpcClient(host, port, token=token, timeout=timeout) for _ in range(size)]
        # Last in, first out: as many connections are made as are used at the same time.
        self._idle: queue.LifoQueue[RpcClient] = queue.LifoQueue()
        for client in self._clients:
            self._idle.put(client)
        self.size = size
        self.timeout = timeout

    @contextmanager
    def lend(self) -> Iterator[RpcClient]:
        """A client for the time of a ``with`` block.

        Raises:
            DeadlineExceeded: none came back within ``timeout`` seconds.
        """
        try:
            client = self._idle.get(timeout=self.timeout)
        except queue.Empty:
            raise DeadlineExceeded(f"all {self.size} connections are in use") from None
        try:
            yield client
        finally:
            self._idle.put(client)

    def call(self, request: Request[M], timeout: float | None = None) -> M:
        """RpcClient.call on an idle connection."""
        with self.lend() as client:
            return client.call(request, timeout)

    def close(self) -> None:
        """Close every connection, those lent out too."""
        for client in self._clients:
            client.close()

    def __enter__(self) -> ConnectionPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def read_frame(sock: socket.socket, decoder: FrameDecoder, timeout: float) -> Frame | None:
    """The next frame of a stream, or None when the peer closed between two frames. The socket's timeout is changed.

    Raises:
        DeadlineExceeded: not whole within ``timeout`` seconds.
        ConnectionLost: the connection broke, or ended in the middle of a frame.
        ProtocolError: the stream is not frames.
    """
    deadline = time.monotonic() + timeout
    while (frame := decoder.next_frame()) is None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"no whole frame within {timeout:g} s")
        sock.settimeout(left)
        try:
            data = sock.recv(65536)
        except TimeoutError:
            raise DeadlineExceeded(f"no whole frame within {timeout:g} s") from None
        except OSError as error:
            raise ConnectionLost(f"the connection broke: {error.strerror or error}") from None
        if not data:
            if decoder.pending:
                raise ConnectionLost("the peer closed the connection in the middle of a frame")
            return None
        decoder.receive(data)
    return frame


def classic_call(host: str, port: int, opcode: int, payload: str | bytes, timeout: float) -> Frame:
    """One classic request on a connection of its own; the answer is the peer's one reply, whatever it says.

    Raises:
        ConnectFailed, DeadlineExceeded, ConnectionLost: no answer within ``timeout`` seconds, dialling included.
        FrameTooLarge: the payload is over MAX_PAYLOAD bytes. ProtocolError: the answer is not a frame.
    """
    deadline = time.monotonic() + timeout
    data = encode_frame(Frame(opcode, payload.encode() if isinstance(payload, str) else payload))
    with dial(host, port, timeout) as sock:
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            sock.sendall(data)
        except TimeoutError:
            raise DeadlineExceeded(f"{host}:{port} did not take the request within {timeout:g} s") from None
        except OSError:
            pass  # it may have answered before it closed; the read tells
        frame = read_frame(sock, FrameDecoder(), max(0.001, deadline - time.monotonic()))
        if frame is None:
            raise ConnectionLost(f"{host}:{port} closed the connection without an answer")
        return frame
