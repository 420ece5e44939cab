"""Ports of this machine, and what a process tree takes: as they really are."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from titan_core.tasks import ports
from titan_core.tasks.ports import foreign_listeners, free_port, http_problem, in_use_by, open_address
from titan_core.tasks.tree_usage import TreeUsage
from titan_sdk.messages import Lease
from titan_test_suite.pytests.cluster import wait_until


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/hangs":
            self.server.gate.wait(10)  # type: ignore[attr-defined]
        self.send_response({"/well": 200, "/moved": 302, "/ill": 503}.get(self.path, 404))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Answers)
    server.gate = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.gate.set()  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_health_path_is_judged_by_its_status(web: int) -> None:
    assert http_problem("127.0.0.1", web, "/well") == http_problem("127.0.0.1", web, "/moved") == ""
    assert http_problem("127.0.0.1", web, "/ill") == f"GET /ill on port {web} answered 503"


def test_a_health_path_that_does_not_answer(web: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "CHECK_S", 0.05)
    assert http_problem("127.0.0.1", web, "/hangs") == f"GET /hangs on port {web} was not answered within 0.05 s"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    assert "refused" in http_problem("127.0.0.1", closed, "/well")


def test_who_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert foreign_listeners(port, os.getpid()) == []
        assert foreign_listeners(port) == [os.getpid()]
        assert in_use_by(port, [os.getpid()]).startswith(f"port {port} is in use by process {os.getpid()} (")
    assert foreign_listeners(port) == []
    assert in_use_by(port, []) == ""
    assert in_use_by(port, [0]) == f"port {port} is in use by a process of another user"


def test_a_service_need_not_listen_on_loopback() -> None:
    with socket.create_server(("127.0.0.2", 0)) as listener:
        port = listener.getsockname()[1]
        assert open_address(port, os.getpid()) == "127.0.0.2"
        assert open_address(port, 0) == "", "nobody's tree has it there"
    assert open_address(port, os.getpid()) == ""


def test_the_port_of_last_time_is_given_again_if_it_is_free() -> None:
    wish = free_port(0, ())
    assert free_port(wish, ()) == wish
    assert free_port(wish, {wish}) != wish
    with socket.create_server(("", wish)):
        assert free_port(wish, ()) != wish


def test_what_a_tree_takes_is_measured_whole() -> None:
    usage = TreeUsage()
    lease = Lease(job="r/a", attempt=1, epoch=1)
    child = "import sys; x = bytearray(30_000_000); print(flush=True); sys.stdin.read()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        process.stdout.readline()
        (found,) = usage.sample({lease: process.pid})
        assert (found.job, found.processes, found.cpu_percent) == ("r/a", 2, 0.0)
        assert found.memory_bytes > 30_000_000
        process.stdin.close()
    assert usage.sample({lease: process.pid}) == ()


def test_processor_time_since_the_last_look() -> None:
    usage = TreeUsage()
    lease = Lease(job="r/a", attempt=1, epoch=1)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            wait_until(lambda: usage.sample({lease: process.pid})[0].cpu_percent > 1)
        finally:
            process.kill()
