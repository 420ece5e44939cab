"""Our worker under an original master, which is played here by a small program written from PROTOCOL.md alone."""

from __future__ import annotations

import base64
import io
import socket
import socketserver
import struct
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from titan_test_suite.pytests.cluster import Cluster, Program, wait_until

HEARTBEAT, REGISTER, RUN, STOP, UNREGISTER, STAGE, START_SERVICE = 0x01, 0x02, 0x06, 0x07, 0x0A, 0x0C, 0x0D
KILL_WORKER, JOB_COMPLETE, LOG_BATCH, RUN_ARCHIVE, START_SERVICE_ARCHIVE = 0x11, 0x12, 0x17, 0x18, 0x19
ACK, ERROR, CANCEL_JOB = 0x50, 0x51, 0x56


def send_frame(sock: socket.socket, opcode: int, text: str) -> None:
    payload = text.encode()
    sock.sendall(struct.pack(">BBBBI", 1, opcode, 0, 0, len(payload)) + payload)


def read_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def read_one(sock: socket.socket) -> tuple[int, str]:
    version, opcode, flags, spare, length = struct.unpack(">BBBBI", read_exactly(sock, 8))
    assert (version, flags, spare) == (1, 0, 0)
    return opcode, read_exactly(sock, length).decode()


class OriginalMaster(socketserver.ThreadingTCPServer):
    """Takes one frame on a connection, answers and closes, as the original does; remembers what it was told."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.port = self.server_address[1]
        self.told: list[tuple[int, str]] = []
        self.deaf_to: set[int] = set()
        self.changed = threading.Condition()
        self.worker_port = 0

    def heard(self, opcode: int) -> list[str]:
        with self.changed:
            return [text for code, text in self.told if code == opcode]

    def ask(self, opcode: int, text: str = "") -> tuple[int, str]:
        """One frame to the worker on a connection of its own."""
        with socket.create_connection(("127.0.0.1", self.worker_port), 30) as sock:
            send_frame(sock, opcode, text)
            return read_one(sock)


class _Connection(socketserver.BaseRequestHandler):
    server: OriginalMaster

    def handle(self) -> None:
        try:
            opcode, text = read_one(self.request)
        except EOFError:
            return
        with self.server.changed:
            if opcode in self.server.deaf_to:
                self.server.deaf_to.discard(opcode)
                return
            self.server.told.append((opcode, text))
        send_frame(self.request, ACK, {REGISTER: "REGISTERED", JOB_COMPLETE: "ACK_CALLBACK"}.get(opcode, "OK"))


@pytest.fixture
def master() -> Iterator[OriginalMaster]:
    with OriginalMaster() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def worker(cluster: Cluster, master: OriginalMaster) -> Program:
    cluster.port = master.port
    program = cluster.start_worker("--classic", "--slots", "2", "--grace-seconds", "1", capabilities="GENERAL,GPU")
    master.worker_port = int(master.heard(REGISTER)[0].split("||")[0])
    return program


def stage(master: OriginalMaster, name: str, source: str) -> None:
    opcode, text = master.ask(STAGE, f"{name}|{base64.b64encode(source.encode()).decode()}")
    assert opcode == ACK and text.startswith("FILE_SAVED: ")


def completion(master: OriginalMaster, job_id: str) -> str:
    def look() -> list[str]:
        return [text for text in master.heard(JOB_COMPLETE) if text.startswith(f"{job_id}|")]

    (text,) = wait_until(look, 20)
    return text


def test_it_registers_each_capability(worker: Program, master: OriginalMaster) -> None:
    port = master.worker_port
    assert master.heard(REGISTER) == [f"{port}||GENERAL||false", f"{port}||GPU||false"]
    assert master.ask(HEARTBEAT) == (ACK, "PONG|0|2")


def test_a_staged_script_runs_and_its_end_is_called_back(worker: Program, master: OriginalMaster) -> None:
    stage(master, "hello.py", "import sys\nprint('hello', sys.argv[1:])\nprint('a|b')\n")
    assert master.ask(RUN, "DAG-a|hello.py|one 'two words'") == (ACK, "JOB_ACCEPTED")
    assert completion(master, "DAG-a") == "DAG-a|COMPLETED|COMPLETED|0|hello ['one', 'two words']\na|b\n"
    assert "".join(text for text in master.heard(LOG_BATCH)) == "DAG-a|hello ['one', 'two words']\na|b"
    assert master.ask(HEARTBEAT) == (ACK, "PONG|0|2")


def test_failure_and_what_cannot_run_are_called_back(worker: Program, master: OriginalMaster) -> None:
    stage(master, "fail.sh", "echo sorry; exit 3")
    assert master.ask(RUN, "TSK-1|fail.sh|") == (ACK, "JOB_ACCEPTED")
    assert completion(master, "TSK-1") == "TSK-1|FAILED|FAILED|3|sorry\n"
    stage(master, "what.txt", "nothing to run")
    assert master.ask(RUN, "TSK-2|what.txt|") == (ACK, "JOB_ACCEPTED")
    assert completion(master, "TSK-2").startswith("TSK-2|FAILED|ERROR: ")
    opcode, text = master.ask(RUN, "TSK-3|never-staged.py|")
    assert opcode == ERROR and text.startswith("ERROR") and "never-staged.py" in text


def test_a_callback_that_is_not_answered_is_tried_again(worker: Program, master: OriginalMaster) -> None:
    stage(master, "quick.py", "print('x')")
    master.deaf_to = {JOB_COMPLETE}
    assert master.ask(RUN, "again|quick.py|") == (ACK, "JOB_ACCEPTED")
    assert completion(master, "again") == "again|COMPLETED|COMPLETED|0|x\n"


def test_a_full_worker_says_saturated(worker: Program, master: OriginalMaster, tmp_path: Path) -> None:
    stage(master, "sleep.py", "import time; time.sleep(600)")
    for number in (1, 2):
        assert master.ask(RUN, f"long-{number}|sleep.py|") == (ACK, "JOB_ACCEPTED")
    assert master.ask(HEARTBEAT) == (ACK, "PONG|2|2")
    assert master.ask(RUN, "long-3|sleep.py|") == (ERROR, "ERROR_WORKER_SATURATED")
    assert master.ask(CANCEL_JOB, "long-1") == (ACK, "KILLED")
    assert completion(master, "long-1").startswith("long-1|FAILED|ERROR: ")
    assert master.ask(CANCEL_JOB, "long-1") == (ACK, "NOT_FOUND")
    assert master.ask(CANCEL_JOB, "long-2") == (ACK, "KILLED")
    completion(master, "long-2")


def test_an_archive_is_unpacked_and_run(worker: Program, master: OriginalMaster) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("src/main.py", "import sys; sys.path.insert(0, '.')\nimport lib\nprint(lib.WORD)")
        zipped.writestr("lib.py", "WORD = 'from the archive'")
    content = base64.b64encode(archive.getvalue()).decode()
    assert master.ask(RUN_ARCHIVE, f"zipped|src/main.py|{content}") == (ACK, "JOB_ACCEPTED")
    assert completion(master, "zipped") == "zipped|COMPLETED|COMPLETED|0|from the archive\n"


def test_a_service_runs_until_it_is_stopped(worker: Program, master: OriginalMaster) -> None:
    stage(
        master,
        "server.py",
        "import os, subprocess, sys, time\n"
        "subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "print('port', os.environ['PORT'], flush=True)\ntime.sleep(600)",
    )
    opcode, text = master.ask(START_SERVICE, "server.py|svc-1|8765")
    assert opcode == ACK and text.startswith("DEPLOYED_SUCCESS | ID: svc-1 | PID: ")
    service = psutil.Process(int(text.rpartition(" ")[2]))
    wait_until(lambda: master.heard(LOG_BATCH) == ["svc-1|port 8765"], 10)
    tree = [service, *service.children(recursive=True)]
    assert len(tree) == 2
    assert master.ask(STOP, "svc-1") == (ACK, "STOPPED: svc-1")
    assert not any(process.is_running() for process in tree), "stopped means gone"
    wait_until(lambda: master.heard(UNREGISTER) == ["svc-1"], 10)
    assert master.ask(STOP, "svc-1") == (ACK, "UNKNOWN_SERVICE: svc-1")


def test_many_frames_on_one_connection_and_bad_ones_among_them(worker: Program, master: OriginalMaster) -> None:
    with socket.create_connection(("127.0.0.1", master.worker_port), 10) as sock:
        for _ in range(3):
            send_frame(sock, HEARTBEAT, "")
        for _ in range(3):
            assert read_one(sock) == (ACK, "PONG|0|2")
        send_frame(sock, 0x7F, "?")
        opcode, text = read_one(sock)
        assert opcode == ERROR and text.startswith("ERROR")
        for name in ("../out.py", "/etc/passwd", "a\0b"):
            send_frame(sock, STAGE, f"{name}|QUJD")
            assert read_one(sock)[0] == ERROR
        send_frame(sock, HEARTBEAT, "")
        assert read_one(sock) == (ACK, "PONG|0|2")
    with socket.create_connection(("127.0.0.1", master.worker_port), 10) as sock:
        sock.sendall(struct.pack(">BBBBI", 2, HEARTBEAT, 0, 0, 0))
        assert read_one(sock)[0] == ERROR
        assert sock.recv(1) == b"", "closed after a wrong version"
    assert master.ask(HEARTBEAT) == (ACK, "PONG|0|2")


def test_kill_worker_ends_it(worker: Program, master: OriginalMaster) -> None:
    opcode, text = master.ask(KILL_WORKER, "now")
    assert (opcode, text[:8]) == (ACK, "SUCCESS:")
    assert worker.wait() == 0


def test_our_own_master_drives_it_as_it_drives_an_original(cluster: Cluster) -> None:
    cluster.start_master()
    cluster.start_worker("--classic")
    wait_until(lambda: [worker.classic for worker in cluster.workers()] == [True], 10)
    key = cluster.run("import sys\nprint('hello from', sys.argv[1])\n", args=("classic",))
    info = cluster.wait_state(key, deadline=30)
    assert (info.state, info.exit_code) == ("COMPLETED", 0), info
    wait_until(lambda: cluster.log(key).rstrip() == b"hello from classic", 10)
    failing = cluster.wait_state(cluster.run("raise SystemExit(5)", id="fails", retries=0), deadline=30)
    assert (failing.state, failing.exit_code) == ("DEAD", 5)
