"""The worker's link over real sockets, with masters that refuse, fall silent, vanish, and make their token late."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from titan_core.protocol import master_link
from titan_core.protocol.master_link import MasterLink
from titan_sdk.channel import Channel
from titan_sdk.errors import Conflict, ConnectionLost, NotFound, Saturated, TitanError, Unauthorized
from titan_sdk.messages import (
    CancelAttempt,
    Dispatch,
    Heartbeat,
    Hello,
    JobReport,
    JobSpec,
    Lease,
    Message,
    Ok,
    Register,
    Registered,
    StreamLogs,
    Welcome,
    decode_message,
)
from titan_sdk.protocol import Frame, Opcode
from titan_test_suite.pytests.cluster import wait_until

LEASE = Lease(job="r/a", attempt=1, epoch=7)
SPEC = JobSpec(id="a", file="a.py")


class Master:
    """A listening socket; every connection is a Channel that answers like a master, unless told otherwise."""

    def __init__(self, token: str = "secret") -> None:
        self.token = token
        self.refuse: Exception | None = None
        self.silent = False
        self.forgotten: Opcode | None = None
        self.lease_s = 30.0
        self.registrations: list[Register] = []
        self.beats: list[Heartbeat] = []
        self.channels: list[Channel] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    @property
    def channel(self) -> Channel:
        return self.channels[-1]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            channel = Channel(sock, on_request=self._on_request, name="test-master")
            self.channels.append(channel)
            channel.start()

    def _on_request(self, channel: Channel, frame: Frame) -> None:
        answer: Message = Ok()
        if frame.opcode == Opcode.HELLO:
            if decode_message(frame.payload, Hello).token != self.token:
                raise Unauthorized("wrong token")
            answer = Welcome(master_id="m", term=1, version="1")
        elif frame.opcode == Opcode.REGISTER:
            self.registrations.append(decode_message(frame.payload, Register))
            if self.refuse:
                raise self.refuse
            answer = Registered(worker_id="w", lease_s=self.lease_s, heartbeat_s=0.05)
        elif frame.opcode == Opcode.HEARTBEAT:
            self.beats.append(decode_message(frame.payload, Heartbeat))
            if self.silent:
                return
        elif frame.opcode == self.forgotten:
            return
        channel.reply(frame, answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for channel in self.channels:
            channel.close("the test is over")
            channel.join(5)


class Owner:
    """The worker behind the link: notes what it is told."""

    def __init__(self) -> None:
        self.connections = 0
        self.losses = 0
        self.refusals: list[str] = []
        self.dispatched: list[Lease] = []
        self.full = False

    def registration(self) -> Register:
        return Register(worker_id="w", boot_id="b", port=1, capabilities=("GENERAL",), slots=1, holding=self.dispatched)

    def registered(self, answer: Registered) -> None:
        self.connections += 1

    def disconnected(self) -> None:
        self.losses += 1

    def refused(self, reason: str) -> None:
        self.refusals.append(reason)

    def dispatch(self, lease: Lease, spec: JobSpec) -> None:
        if self.full:
            raise Saturated("full")
        self.dispatched.append(lease)

    def cancel(self, lease: Lease, reason: str, grace_s: float) -> None:
        if lease not in self.dispatched:
            raise NotFound("not here")

    def decommission(self, reason: str) -> None:
        raise AssertionError("nobody asked for that")

    def usage(self) -> tuple[()]:
        return ()

    def stream_logs(self, request: StreamLogs) -> None:
        raise AssertionError("nobody asked for that")


@pytest.fixture
def master() -> Iterator[Master]:
    master = Master()
    yield master
    master.close()


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def token() -> list[str]:
    return ["secret"]


@pytest.fixture
def link(master: Master, owner: Owner, token: list[str]) -> Iterator[MasterLink]:
    link = MasterLink("127.0.0.1", master.port, token=lambda: token[0], owner=owner)
    yield link
    link.stop()
    link.join(10)


def test_it_registers_beats_and_serves_the_master(link: MasterLink, master: Master, owner: Owner) -> None:
    link.start()
    assert link.wait_connected(5)
    wait_until(lambda: len(master.beats) >= 3, 5)
    assert master.beats[-1].memory_percent > 0
    assert master.channel.request(Dispatch(lease=LEASE, spec=SPEC), 5) == Ok()
    assert owner.dispatched == [LEASE]
    assert master.channel.request(CancelAttempt(lease=LEASE), 5) == Ok()
    with pytest.raises(NotFound):
        master.channel.request(CancelAttempt(lease=Lease(job="r/b", attempt=1, epoch=8)), 5)
    owner.full = True
    with pytest.raises(Saturated):
        master.channel.request(Dispatch(lease=LEASE, spec=SPEC), 5)


def test_after_a_break_it_registers_again_with_what_it_holds(link: MasterLink, master: Master, owner: Owner) -> None:
    link.start()
    assert link.wait_connected(5)
    master.channel.request(Dispatch(lease=LEASE, spec=SPEC), 5)
    for number in (2, 3):
        master.channel.close("cut")
        wait_until(lambda: owner.connections == number, 10)  # noqa: B023 - called within the loop
    assert owner.losses == 2
    assert [len(registration.holding) for registration in master.registrations] == [0, 1, 1]


def test_a_request_that_was_cut_off_fails_exactly_once(link: MasterLink, master: Master) -> None:
    link.start()
    assert link.wait_connected(5)
    master.silent = True
    answers: list[Message | TitanError] = []
    for _ in range(300):  # more than may be in flight
        link.send(Heartbeat(), answers.append)
    master.channel.close("cut")
    wait_until(lambda: len(answers) == 300, 5)
    assert all(isinstance(answer, TitanError) for answer in answers)


def test_without_a_connection_a_request_fails_at_once(link: MasterLink) -> None:
    answers: list[Message | TitanError] = []
    link.send(Heartbeat(), answers.append)
    assert len(answers) == 1 and isinstance(answers[0], TitanError)
    assert not link.connected and not link.deregister("bye", 1)


def test_a_master_that_falls_silent_is_dialled_anew(link: MasterLink, master: Master, owner: Owner) -> None:
    master.lease_s = 0.3
    link.start()
    assert link.wait_connected(5)
    master.silent = True
    wait_until(lambda: owner.connections >= 2, 10)


def test_a_master_that_owes_an_answer_for_a_whole_lease_is_dialled_anew(
    link: MasterLink, master: Master, owner: Owner
) -> None:
    """It answers everything else, so it will never answer this: as when something in between lost a frame."""
    master.lease_s = 0.5
    master.forgotten = Opcode.JOB_COMPLETE
    link.start()
    assert link.wait_connected(10)
    answers: list[object] = []
    link.send(JobReport(lease=LEASE, outcome="completed"), answers.append)
    wait_until(lambda: len(master.registrations) == 2, 10)
    assert len(answers) == 1 and isinstance(answers[0], ConnectionLost)


def test_a_refusal_at_the_first_start_is_final(link: MasterLink, master: Master, owner: Owner) -> None:
    master.refuse = Conflict("not you")
    link.start()
    wait_until(lambda: owner.refusals, 5)
    assert "not you" in owner.refusals[0]
    link.join(5)
    assert owner.connections == 0 and len(owner.refusals) == 1


def test_a_wrong_token_at_the_first_start_is_final(
    link: MasterLink, master: Master, owner: Owner, token: list[str]
) -> None:
    token[0] = "wrong"
    link.start()
    wait_until(lambda: owner.refusals, 5)
    assert "wrong token" in owner.refusals[0]


def test_a_refusal_later_is_waited_out(link: MasterLink, master: Master, owner: Owner, monkeypatch) -> None:
    monkeypatch.setattr(master_link, "LONGEST_PAUSE_S", 0.3)
    link.start()
    assert link.wait_connected(5)
    master.token = "changed"
    master.channel.close("cut")
    wait_until(lambda: len(master.channels) >= 4, 10)
    assert not owner.refusals
    master.token = "secret"
    wait_until(lambda: owner.connections == 2, 10)


def test_a_token_that_is_made_while_it_dials_is_found(master: Master, owner: Owner) -> None:
    tokens = iter(["", "secret"])
    link = MasterLink("127.0.0.1", master.port, token=lambda: next(tokens), owner=owner)
    link.start()
    assert link.wait_connected(5)
    assert not owner.refusals
    link.stop()
    link.join(10)


def test_it_stops_while_it_waits_for_a_master_that_is_not_there(owner: Owner) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    link = MasterLink("127.0.0.1", port, token=lambda: "", owner=owner)
    link.start()
    link.stop()
    link.join(5)
    assert not owner.refusals
