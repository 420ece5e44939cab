"""The threads of connections: kept for the next one, a few of them, and none after the end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from titan_core.protocol import connection_threads
from titan_core.protocol.connection_threads import MAX_IDLE, ConnectionThreads
from titan_core.protocol.scheduler_server import SchedulerServer, ServerLimits
from titan_test_suite.pytests.cluster import wait_until

WAIT_S = 20.0


@pytest.fixture
def threads() -> Iterator[ConnectionThreads]:
    threads = ConnectionThreads()
    yield threads
    threads.stop()
    assert threads.join(WAIT_S)


def idle() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "peer-idle"]


def test_one_after_the_other_share_a_thread(threads: ConnectionThreads) -> None:
    seen: list[tuple[str, int]] = []
    for number in range(5):
        threads.run(f"peer-{number}", lambda: seen.append((threading.current_thread().name, threading.get_ident())))
        wait_until(lambda: threads._idle == 1, WAIT_S, "it waits for the next")
    assert [name for name, _ in seen] == [f"peer-{number}" for number in range(5)]
    assert len({ident for _, ident in seen}) == 1


def test_as_many_as_are_asked_for_and_few_afterwards(threads: ConnectionThreads) -> None:
    crowd = 3 * MAX_IDLE
    together = threading.Barrier(crowd + 1, timeout=WAIT_S)

    def meet() -> None:
        together.wait()

    for _ in range(2):  # the second time with some that wait already
        for number in range(crowd):
            threads.run(f"peer-{number}", meet)
        together.wait()
        wait_until(lambda: threads._alive == MAX_IDLE == threads._idle, WAIT_S, "the others end")


def test_who_is_not_needed_ends(threads: ConnectionThreads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_threads, "IDLE_S", 0.01)
    ran = threading.Event()
    threads.run("peer", ran.set)
    assert ran.wait(WAIT_S)
    assert threads.join(WAIT_S)


def test_a_stop_lets_tasks_end_and_keeps_nobody(threads: ConnectionThreads) -> None:
    began, go_on = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        go_on.wait(WAIT_S)

    threads.run("peer-busy", work)
    assert began.wait(WAIT_S)
    threads.stop()
    assert not threads.join(0)
    go_on.set()
    assert threads.join(WAIT_S)


def test_a_client_with_a_connection_for_each_request_costs_no_thread_each() -> None:
    idents: list[int] = []

    def serve(sock: socket.socket, address: tuple[Any, ...]) -> None:
        idents.append(threading.get_ident())
        sock.sendall(sock.recv(1))

    server = SchedulerServer(("127.0.0.1", 0), serve, ServerLimits())
    server.start()
    try:
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S) as sock:
                sock.sendall(b"x")
                assert sock.recv(1) == b"x" and not sock.recv(1)
    finally:
        server.stop_accepting(WAIT_S)
        assert server.close_connections(WAIT_S)
    assert len(idents) == 50 and len(set(idents)) <= MAX_IDLE
    assert not idle()
