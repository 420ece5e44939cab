"""What ours is measured against: the plain tools that do the same with nothing kept, nobody told, and no retries."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

SLOTS: Final = 4

PYTHON: Final = (sys.executable, "-u")
SHELL: Final = ("sh",)


def xargs(folder: Path, command: Sequence[str], script: Path, count: int, slots: int = SLOTS) -> float:
    """Seconds that ``xargs -P`` needs to run the script ``count`` times with a number each, output to one file."""
    numbers = "".join(f"{number}\n" for number in range(count))
    with (folder / "xargs.out").open("wb") as output:
        begin = time.perf_counter()
        argv = ["xargs", f"-P{slots}", "-n1", *command, str(script)]
        subprocess.run(argv, input=numbers.encode(), stdout=output, stderr=output, check=True)
        return time.perf_counter() - begin


def piped(output: Path, command: Sequence[str]) -> None:
    """Run a command whose output goes through a pipe and ``cat`` into a file."""
    with output.open("wb") as file, subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        subprocess.run(["cat"], stdin=process.stdout, stdout=file, check=True)


def echo_round_trips(count: int, size: int = 128) -> list[float]:
    """Seconds of each of ``count`` round trips with an echo in another process, over one kept TCP connection."""
    echo = (
        "import socket\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "print(server.getsockname()[1], flush=True)\n"
        "peer = server.accept()[0]\n"
        "peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)\n"
        "while data := peer.recv(65536):\n"
        "    peer.sendall(data)\n"
    )
    trips = []
    with subprocess.Popen([sys.executable, "-c", echo], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            message = b"x" * size
            for _ in range(count):
                begin = time.perf_counter()
                sock.sendall(message)
                received = 0
                while received < size:
                    received += len(sock.recv(65536))
                trips.append(time.perf_counter() - begin)
    return trips


def echo_connections(count: int, size: int = 64) -> list[float]:
    """Seconds that each of ``count`` round trips takes with a connection of its own, all served by one thread."""
    echo = (
        "import socket\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "print(server.getsockname()[1], flush=True)\n"
        "while True:\n"
        "    peer = server.accept()[0]\n"
        "    peer.sendall(peer.recv(65536))\n"
        "    peer.close()\n"
    )
    trips = []
    with subprocess.Popen([sys.executable, "-c", echo], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        for _ in range(count):
            begin = time.perf_counter()
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(b"x" * size)
                sock.recv(65536)
            trips.append(time.perf_counter() - begin)
        process.kill()
    return trips


def sqlite_commits(folder: Path, count: int, threads: int) -> float:
    """Rows a second that threads insert into SQLite (WAL, synchronous=FULL), each row a commit, one lock for all."""
    path = folder / f"yardstick-{time.monotonic_ns()}.db"
    lock = threading.Lock()
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE rows (text TEXT)")

    def insert() -> None:
        for _ in range(count // threads):
            with lock:
                db.execute("INSERT INTO rows VALUES (?)", ("x" * 200,))

    crowd = [threading.Thread(target=insert) for _ in range(threads)]
    begin = time.perf_counter()
    for each in crowd:
        each.start()
    for each in crowd:
        each.join()
    took = time.perf_counter() - begin
    db.close()
    return count // threads * threads / took
