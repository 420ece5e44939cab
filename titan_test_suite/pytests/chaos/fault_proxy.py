"""A proxy that harms what passes: delays, holds back, loses, repeats, cuts, and sends single bytes.

It knows frames by their header alone (PROTOCOL: version, opcode, flags, spare byte, length), read here with code of its
own, so that a mistake in the SDK's decoder does not hide behind the same mistake in the test.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

TO_MASTER: Final = "to the master"
FROM_MASTER: Final = "from the master"
DIRECTIONS: Final = (TO_MASTER, FROM_MASTER)
_HEADER: Final = struct.Struct(">BBBBI")
_ABORT: Final = struct.pack("ii", 1, 0)
_RECEIVE_BYTES: Final = 64 * 1024
_JOIN_S: Final = 5.0
REPLAY_S: Final = 0.5
DRIBBLED_BYTES: Final = 512
"""Of a frame that is sent one byte at a time; the rest follows at once."""

Fault = str
"""What becomes of a frame: ``pass``, ``lose``, ``twice``, ``again`` (once more after REPLAY_S), ``bytes`` (one at a
time), ``half`` (then a reset), ``last`` (passes, then a reset) or ``cut`` (a reset instead of it)."""
Rule = Callable[[str, int], Fault]
"""Decides on a frame by its direction and opcode."""


def passing(direction: str, opcode: int) -> Fault:
    return "pass"


class _Pair:
    """One connection: the peer's socket and ours to the master."""

    def __init__(self, peer: socket.socket, master: socket.socket) -> None:
        self.peer = peer
        self.master = master
        self.ended = threading.Event()
        self.sending = threading.Lock()
        """Held for each whole frame."""

    def reset(self) -> None:
        self.ended.set()
        for sock in (self.peer, self.master):
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class FaultProxy:
    """Listens on a port of its own and hands every connection on to ``target``. Any thread may steer it.

    ``rule`` sees each frame; ``delay`` gives the seconds it waits first; ``hold`` stops a direction until ``release``.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.rule: Rule = passing
        self.delay: Callable[[], float] = lambda: 0.0
        self.refusing = False
        self.connections = 0
        """How many there ever were."""
        self._flowing = {direction: threading.Event() for direction in DIRECTIONS}
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._pairs: set[_Pair] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        for flowing in self._flowing.values():
            flowing.set()

    # --- steering -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._run(self._accept)

    def stop(self) -> None:
        self._stopping.set()
        self.heal()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        end = time.monotonic() + _JOIN_S
        for thread in list(self._threads):
            thread.join(max(0.0, end - time.monotonic()))

    def cut(self) -> None:
        """Reset every connection that stands."""
        with self._lock:
            for pair in self._pairs:
                pair.reset()

    def hold(self, direction: str) -> None:
        """Nothing passes in this direction; the connections stand."""
        self._flowing[direction].clear()

    def heal(self) -> None:
        """No fault from now on; what was held back is delivered."""
        self.refusing = False
        self.rule = passing
        self.delay = lambda: 0.0
        for flowing in self._flowing.values():
            flowing.set()

    # --- carrying -------------------------------------------------------------------------------------------------

    def _run(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name=f"proxy-{self.port}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            self.connections += 1
            try:
                if self.refusing:
                    raise ConnectionRefusedError
                master = socket.create_connection(("127.0.0.1", self.target), timeout=5.0)
                master.settimeout(None)
            except OSError:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
                peer.close()
                continue
            for sock in (peer, master):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._run(self._serve, _Pair(peer, master))

    def _serve(self, pair: _Pair) -> None:
        with self._lock:
            self._pairs.add(pair)
        other = threading.Thread(target=self._carry, args=(pair, FROM_MASTER), name=f"proxy-{self.port}", daemon=True)
        other.start()
        self._carry(pair, TO_MASTER)
        other.join()
        with self._lock:
            self._pairs.discard(pair)
        pair.peer.close()
        pair.master.close()

    def _carry(self, pair: _Pair, direction: str) -> None:
        source, target = (pair.peer, pair.master) if direction == TO_MASTER else (pair.master, pair.peer)
        data = b""
        try:
            while received := source.recv(_RECEIVE_BYTES):
                data += received
                while (frame := _first_frame(data)) is not None:
                    data = data[len(frame) :]
                    self._pass_on(pair, direction, target, frame)
            target.sendall(data)
            target.shutdown(socket.SHUT_WR)  # the other direction may still have something to say
        except OSError:
            pair.reset()

    def _pass_on(self, pair: _Pair, direction: str, target: socket.socket, frame: bytes) -> None:
        if (delay := self.delay()) > 0:
            pair.ended.wait(delay)
        self._flowing[direction].wait()
        fault = self.rule(direction, frame[1])
        if fault == "again":
            self._run(self._replay, pair, target, frame)
        with pair.sending:
            self._send(pair, target, frame, fault)

    def _replay(self, pair: _Pair, target: socket.socket, frame: bytes) -> None:
        if not pair.ended.wait(REPLAY_S):
            with pair.sending, suppress(OSError):
                target.sendall(frame)

    def _send(self, pair: _Pair, target: socket.socket, frame: bytes, fault: Fault) -> None:
        if fault == "lose":
            return
        if fault == "cut":
            pair.reset()
        elif fault == "half":
            target.sendall(frame[: max(1, len(frame) // 2)])
            pair.reset()
        elif fault == "bytes":
            for byte in frame[:DRIBBLED_BYTES]:
                target.sendall(bytes((byte,)))
            target.sendall(frame[DRIBBLED_BYTES:])
        else:
            target.sendall(frame * 2 if fault == "twice" else frame)
            if fault == "last":
                pair.reset()


def _first_frame(data: bytes) -> bytes | None:
    """The first frame of a stream, None when it is not whole yet."""
    if len(data) < _HEADER.size:
        return None
    end = _HEADER.size + _HEADER.unpack_from(data)[4]
    return data[:end] if len(data) >= end else None
