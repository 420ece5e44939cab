"""Peers that send nonsense, say nothing, or do not listen: the master serves the others as before."""

from __future__ import annotations

import random
import resource
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

import msgspec
import psutil
import pytest

from titan_sdk.connection import RpcClient
from titan_sdk.messages import GetLogs, Hello, ListWorkers, WatchRun, encode_message
from titan_sdk.protocol import REPLIES
from titan_test_suite.pytests.chaos.tally import ROUNDS, Tally
from titan_test_suite.pytests.cluster import Cluster, Program, wait_until

HEADER: Final = struct.Struct(">BBBBI")
STRUCTURED: Final = 1
ONE_WAY: Final = 2
FRAMES: Final = 1_000_000
SHORT_S: Final = 3.0
LONG_S: Final = 150.0
"""At most, for the frames; the short profile ends long before the million."""
IDLE: Final = 10_000
KEPT_FILES: Final = 500
"""Descriptors left to the test and its cluster."""
ANSWER_S: Final = 2.0
"""An answer to somebody who behaves takes no longer, while all this goes on and the machine is busy."""
MEMORY_MB: Final = 300
"""What the master may grow by."""
BATCH: Final = 100
READERS: Final = 40
ASKED: Final = 50
"""Megabytes that each of them asks for: less than what one connection may leave unread before it is given up."""
WILD: Final = 20
UNANSWERED: Final = frozenset({WatchRun.OPCODE})
"""Answered when something changes."""
OPCODES: Final = [opcode for opcode in range(256) if opcode not in REPLIES]
"""An answer to nothing ends the connection."""


@pytest.fixture
def master(cluster: Cluster) -> Program:
    master = cluster.start_master("--frame-seconds", "2")
    cluster.start_worker()
    return master


@contextmanager
def witness(cluster: Cluster, master: Program, violations: list[str]) -> Iterator[None]:
    """Meanwhile somebody who behaves asks, and is answered; the master's memory is watched."""
    slowest = 0.0
    memory = before = psutil.Process(master.pid).memory_info().rss
    over = threading.Event()

    def watch() -> None:
        nonlocal slowest, memory
        with RpcClient("127.0.0.1", cluster.port, token=cluster.token) as client:
            while not over.wait(0.02):
                begin = time.monotonic()
                try:
                    client.call(ListWorkers(), timeout=10 * ANSWER_S)
                except Exception as error:
                    violations.append(f"somebody who behaves got {error!r}")
                    return
                slowest = max(slowest, time.monotonic() - begin)
                memory = max(memory, psutil.Process(master.pid).memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if slowest > ANSWER_S:
        violations.append(f"somebody who behaves waited {slowest:.1f} s")
    if memory - before > MEMORY_MB << 20:
        violations.append(f"the master grew from {before >> 20} to {memory >> 20} MB")
    if not master.running:
        violations.append(f"the master ended:\n{master.log_text()[-2000:]}")


def dial(cluster: Cluster, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", cluster.port), timeout=10, source_address=(source, 0))


def frame(opcode: int, payload: bytes, flags: int, spare: int = 0) -> bytes:
    return HEADER.pack(1, opcode, flags, spare, len(payload)) + payload


def hello(cluster: Cluster) -> bytes:
    return frame(Hello.OPCODE, encode_message(Hello(token=cluster.token, role="client")), STRUCTURED)


def nonsense(dice: random.Random) -> bytes:
    """A payload: bytes, a MessagePack value of the wrong shape, or text with the classic separators."""
    kind = dice.randrange(4)
    if kind == 0:
        return dice.randbytes(dice.choice((0, 1, 7, 100, 3000)))
    if kind == 1:
        keys = ("id", "name", "jobs", "lease", "data", "offset", "run_id", "key", "job_id", "sha256")
        values: tuple[object, ...] = (None, -1, 2**63 - 1, "x", "../..", [], {}, b"\xff", 1.5, True, ["a"] * 50)
        return msgspec.msgpack.encode({dice.choice(keys): dice.choice(values) for _ in range(dice.randrange(6))})
    if kind == 2:
        return "|".join(dice.choice(("", "a.py", "-1", "\0", "é", "GPU", "x" * 500)) for _ in range(9)).encode()
    return b"\xc1" * dice.randrange(40)


def test_random_frames(master: Program, cluster: Cluster, tally: Tally, dice: random.Random) -> None:
    sent = 0
    with tally.trial("random frames", count=0) as violations:
        with witness(cluster, master, violations):
            end = time.monotonic() + (SHORT_S if ROUNDS == 1 else LONG_S)
            while sent < FRAMES and time.monotonic() < end:
                sent += structured_frames(cluster, dice) if dice.random() < 0.95 else wild_frames(cluster, dice)
        tally.trials["random frames"] += sent
        assert cluster.wait_state(cluster.run("print(1)")).state == "COMPLETED"


def structured_frames(cluster: Cluster, dice: random.Random) -> int:
    """A peer that knows the token and sends frames of the right form with nonsense in them."""
    sent = 0
    with dial(cluster) as sock, suppress(OSError):
        sock.sendall(hello(cluster))
        replies = Replies(sock)
        replies.take(1)
        for _ in range(20):
            batch = [dice.choice(OPCODES) for _ in range(BATCH)]
            asking = dice.random() < 0.7
            flags = [STRUCTURED | (0 if asking and opcode not in UNANSWERED else ONE_WAY) for opcode in batch]
            sock.sendall(b"".join(map(frame, batch, [nonsense(dice) for _ in batch], flags, range(BATCH))))
            sent += BATCH
            if not replies.take(flags.count(STRUCTURED)):
                break  # it had enough of us
    return sent


class Replies:
    """Counts frames that come in."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._data = b""

    def take(self, count: int) -> bool:
        """Read so many; False when the connection ends, or some request has no answer yet."""
        self._sock.settimeout(10.0)
        while count:
            if len(self._data) >= HEADER.size:
                end = HEADER.size + HEADER.unpack_from(self._data)[4]
                if len(self._data) >= end:
                    self._data = self._data[end:]
                    count -= 1
                    continue
            received = self._sock.recv(1 << 16)
            if not received:
                return False
            self._data += received
        return True


def wild_frames(cluster: Cluster, dice: random.Random) -> int:
    """A peer that knows nothing: anything at all, one piece to a connection."""
    for _ in range(WILD):
        kind = dice.randrange(4)
        flags = dice.choice((0, 0, 1, 255))
        if kind == 0:
            data = dice.randbytes(dice.randrange(1, 200))
        elif kind == 1:
            data = HEADER.pack(1, dice.randrange(256), flags, 0, dice.choice((2**32 - 1, 2**31, 10**6))) + b"x" * 10
        else:
            # Opcodes that would really do something to the cluster are left to peers that mean it.
            opcode = dice.choice([code for code in range(256) if code not in (0x11, 0x87, 0x02, 0x04, 0x03)])
            data = frame(opcode, nonsense(dice), flags)
        with dial(cluster) as sock, suppress(OSError):
            sock.sendall(data)
    return WILD


@pytest.mark.parametrize("addresses", [1] if ROUNDS == 1 else [1, 20])
def test_idle_connections(addresses: int, master: Program, cluster: Cluster, tally: Tally) -> None:
    """As many as the limits let us have; all of them are gone after the time that a first frame may take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = IDLE + KEPT_FILES if hard == resource.RLIM_INFINITY else min(IDLE + KEPT_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        idle_connections(master, cluster, tally, wanted - KEPT_FILES, addresses)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def idle_connections(master: Program, cluster: Cluster, tally: Tally, count: int, addresses: int) -> None:
    threads = psutil.Process(master.pid).num_threads()
    with (
        tally.trial("idle connections", count=count) as violations,
        ExitStack() as stack,
        witness(cluster, master, violations),
    ):
        for n in range(count):
            stack.enter_context(dial(cluster, f"127.0.0.{1 + n % addresses}"))
        with RpcClient("127.0.0.1", cluster.port, token=cluster.token) as newcomer:
            newcomer.call(ListWorkers())
        if cluster.wait_state(cluster.run("print(1)")).state != "COMPLETED":
            violations.append("a job did not run beside them")
        wait_until(
            lambda: psutil.Process(master.pid).num_threads() <= threads + 4, 20, "their threads are gone by themselves"
        )


def test_readers_that_do_not_read(master: Program, cluster: Cluster, tally: Tally) -> None:
    """They ask for far more than fits into any buffer, and take none of it."""
    key = cluster.run("import sys\nsys.stdout.write('x' * 8_000_000)")
    cluster.wait_state(key)
    request = encode_message(GetLogs(id=key, offset=0))
    with (
        ExitStack() as stack,
        tally.trial("slow readers", count=READERS) as violations,
        witness(cluster, master, violations),
    ):
        for _ in range(READERS):
            sock = stack.enter_context(dial(cluster))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(hello(cluster))
            with suppress(OSError):  # it may close on us
                sock.sendall(b"".join(frame(GetLogs.OPCODE, request, STRUCTURED, n) for n in range(ASKED)))
        if cluster.wait_state(cluster.run("print(1)", id="beside")).state != "COMPLETED":
            violations.append("a job did not run beside them")
