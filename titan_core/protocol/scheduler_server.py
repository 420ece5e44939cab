"""The master's listening socket: one thread for each connection, bounded in number, and none left when it closes."""

from __future__ import annotations

import collections
import errno
import logging
import os
import selectors
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from titan_core.protocol.connection_threads import ConnectionThreads
from titan_sdk.classic_replies import error_frame
from titan_sdk.protocol import encode_frame

log = logging.getLogger(__name__)

BACKLOG: Final = 1024
"""Connections that the kernel holds until they are accepted; with socketserver's 5 a burst of clients takes seconds."""
_SHARE_OF_ONE_ADDRESS: Final = 0.75
"""Of all connections; a peer that opens connections without end leaves room for those of other machines."""
_OUT_OF_FILES_PAUSE_S: Final = 0.1
"""Accepting again at once, while no file descriptor is free, would only burn the processor."""
_OUT_OF_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True)
class ServerLimits:
    """Bounds on what peers may take. Seconds and counts.

    Attributes:
        connections: served at once, all together.
        frame_s: for a connection's first frame, and for any classic frame and its reply, to pass in whole; in a
            structured frame the longest silence.
    """

    connections: int = 1024
    frame_s: float = 30.0


class SchedulerServer(socketserver.ThreadingTCPServer):
    """Accepts connections and hands each to ``serve_connection`` in a daemon thread that it has for itself.

    The constructor binds and listens (and raises OSError when it cannot); nobody is served before ``start``.

    When there are as many connections as may be, the one that has been silent longest since it was opened makes room
    for a new one, which mostly means it; those whose peer has shown what it wants (``spoke``) stay.

    Args:
        address: host and port; port 0 takes a free one, see ``port``.
        serve_connection: called with the connected socket and the peer's name; the socket is closed when it returns.
        limits: see ServerLimits.
    """

    request_queue_size = BACKLOG
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        address: tuple[str, int],
        serve_connection: Callable[[socket.socket, tuple[Any, ...]], None],
        limits: ServerLimits,
    ) -> None:
        family, _, _, _, resolved = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = family
        self._serve_connection = serve_connection
        self._limits = limits
        self._per_address = max(1, int(limits.connections * _SHARE_OF_ONE_ADDRESS))
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._live: dict[socket.socket, str] = {}
        self._silent: dict[socket.socket, None] = {}
        """Those of them that did not speak yet, the oldest first."""
        self._by_address: collections.Counter[str] = collections.Counter()
        self._serving = ConnectionThreads()
        self._accepting = threading.Thread(target=self._accept, name="SchedulerServer", daemon=True)
        self._wakened, self._waker = socket.socketpair()
        try:
            super().__init__(resolved, socketserver.BaseRequestHandler)  # type: ignore[arg-type]
        except BaseException:
            self._wakened.close()
            self._waker.close()
            raise
        self.socket.setblocking(False)

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    @property
    def connections(self) -> int:
        """Connections being served now."""
        with self._changed:
            return len(self._live)

    def spoke(self, request: socket.socket) -> None:
        """The peer is one of ours: its connection is not given up for another's."""
        with self._changed:
            self._silent.pop(request, None)

    def start(self) -> None:
        self._accepting.start()

    def stop_accepting(self, deadline_s: float) -> None:
        """Close the listening socket; connections that stand go on."""
        self._stopping.set()
        self._waker.close()
        if self._accepting.is_alive():
            self._accepting.join(deadline_s)
        self._wakened.close()
        self.server_close()

    def close_connections(self, deadline_s: float) -> bool:
        """Shut down every live connection and wait for their threads; False when some did not end in time."""
        end = time.monotonic() + deadline_s
        self._serving.stop()
        with self._changed:
            for sock in self._live:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            while self._live and (rest := end - time.monotonic()) > 0:
                self._changed.wait(rest)
            if self._live:
                return False
        return self._serving.join(max(0.0, end - time.monotonic()))

    # --- the accepting thread -------------------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self, selectors.EVENT_READ)
                selector.register(self._wakened, selectors.EVENT_READ)
                while not self._stopping.is_set():
                    selector.select()
                    self._accept_one()
        except Exception:
            # A master that answers nobody is worse than one that is started again.
            log.exception("accepting connections failed; the master ends")
            os._exit(70)

    def _accept_one(self) -> None:
        try:
            request, address = self.socket.accept()
        except OSError as error:  # mostly a peer that is gone again, or somebody else's wake-up
            if error.errno in _OUT_OF_FILES:
                log.error("cannot accept a connection: %s", error.strerror)
                self._stopping.wait(_OUT_OF_FILES_PAUSE_S)
            return
        self.process_request(request, address)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Count the connection in, or refuse it; on the accepting thread, so nothing here waits for the peer."""
        address = str(client_address[0])
        refusal = ""
        with self._changed:
            if self._stopping.is_set():
                refusal = "the master is stopping"
            elif len(self._live) >= self._limits.connections and not self._make_room(""):
                refusal = f"the master serves {self._limits.connections} connections already; try again later"
            elif self._by_address[address] >= self._per_address and not self._make_room(address):
                refusal = f"{address} has {self._per_address} connections already; close some, or try again later"
            else:
                self._live[request] = address
                self._silent[request] = None
                self._by_address[address] += 1
        if refusal:
            self._refuse(request, address, refusal)
            return
        try:
            name = f"peer-{address}:{client_address[1]}"
            self._serving.run(name, partial(self._serve, request, client_address))
        except RuntimeError as error:  # the system gives no more threads
            self._forget(request)
            self._refuse(request, address, f"the master cannot serve another connection: {error}")

    def _make_room(self, address: str) -> bool:
        """Give up the oldest silent connection (of that address, if one is given); False when there is none.

        With the lock held. Its thread notices by itself, and is not counted any more.
        """
        for request in self._silent:
            if not address or self._live[request] == address:
                log.debug("a silent connection of %s makes room for another", self._live[request])
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)
                self._uncount(request)
                return True
        return False

    def _refuse(self, request: socket.socket, address: str, text: str) -> None:
        log.warning("refused a connection of %s: %s", address, text)
        with suppress(OSError):
            request.setblocking(False)
            request.send(encode_frame(error_frame(text)))
        self.shutdown_request(request)

    # --- a connection's thread ------------------------------------------------------------------------------------

    def _serve(self, request: socket.socket, client_address: tuple[Any, ...]) -> None:
        try:
            request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            request.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._serve_connection(request, client_address)
        except OSError as error:
            log.debug("connection of %s ended: %s", client_address[0], error)
        except Exception:
            # One connection's trouble is not the others'; the traceback is for whoever mends it.
            log.exception("serving %s failed", client_address[0])
        finally:
            self._forget(request)
            self.shutdown_request(request)

    def _forget(self, request: socket.socket) -> None:
        with self._changed:
            self._uncount(request)
            self._changed.notify_all()

    def _uncount(self, request: socket.socket) -> None:
        """With the lock held; nothing happens when it is not counted."""
        self._silent.pop(request, None)
        address = self._live.pop(request, None)
        if address is not None:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]
