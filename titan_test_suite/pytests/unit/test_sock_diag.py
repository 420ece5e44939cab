"""Whose a connection is, asked of the kernel for real sockets: of both families, closed ones, and other users'."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from titan_core.protocol.sock_diag import SocketFacts, find_socket
from titan_core.protocol.trust import Endpoint, Owner, PeerTrust

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="netlink is Linux's")

KINDS = {
    "IPv4": ("127.0.0.1", "127.0.0.1"),
    "IPv6": ("::1", "::1"),
    "IPv4 to a server of both": ("::", "127.0.0.1"),
    "mapped": ("::", "::ffff:127.0.0.1"),
}
"""Where the server listens, and what the client dials."""


class Connection:
    """A client's socket, the server's own end of the connection, and the names of both ends as the server has them."""

    def __init__(self, stack: ExitStack, bind: str, dialled: str) -> None:
        family = socket.AF_INET6 if ":" in bind else socket.AF_INET
        self.server = stack.enter_context(socket.create_server((bind, 0), family=family, dualstack_ipv6=bind == "::"))
        self.client = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in dialled else socket.AF_INET))
        self.client.connect((dialled, self.server.getsockname()[1]))
        self.accepted, address = self.server.accept()
        stack.enter_context(self.accepted)
        self.here, self.peer = Endpoint.of(self.accepted.getsockname()), Endpoint.of(address)


@pytest.fixture(params=KINDS)
def connection(request: pytest.FixtureRequest) -> Iterator[Connection]:
    with ExitStack() as stack:
        try:
            yield Connection(stack, *KINDS[request.param])
        except OSError as error:
            pytest.skip(f"no {request.param} here: {error}")


def test_the_peers_end_is_found_and_not_ours(connection: Connection) -> None:
    found = find_socket(connection.peer, connection.here)
    if found is None:
        pytest.skip("this kernel does not tell")
    assert found == SocketFacts(os.getuid(), os.fstat(connection.client.fileno()).st_ino)
    ours = find_socket(connection.here, connection.peer)
    assert ours is not None and ours.inode == os.fstat(connection.accepted.fileno()).st_ino


def test_both_ways_of_asking_agree(connection: Connection) -> None:
    ends = connection.here, connection.peer
    us = os.getuid()
    for uid, owner in ((us, Owner.TRUSTED), (us + 1, Owner.TRUSTED if us == 0 else Owner.STRANGER)):
        assert PeerTrust(insecure=False, uid=uid).owner(*ends) is owner
        assert PeerTrust(insecure=False, uid=uid, find=lambda *_: None).owner(*ends) is owner
    connection.client.close()
    assert PeerTrust(insecure=False).owner(*ends) is Owner.GONE
    assert PeerTrust(insecure=False, find=lambda *_: None).owner(*ends) is Owner.GONE


def test_a_listening_socket_is_no_connection(connection: Connection) -> None:
    assert find_socket(connection.here, connection.peer._replace(port=1)) is None


def test_the_tables_are_not_read_when_the_kernel_answers(connection: Connection, tmp_path: Path) -> None:
    if find_socket(connection.peer, connection.here) is None:
        pytest.skip("this kernel does not tell")
    (tmp_path / "tcp").mkdir()  # nobody can read this
    assert PeerTrust(insecure=False, proc_net=tmp_path).owner(connection.here, connection.peer) is Owner.TRUSTED


def test_a_kernel_that_does_not_answer_leaves_it_to_the_tables(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> socket.socket:
        raise PermissionError("no netlink in this sandbox")

    monkeypatch.setattr(socket, "socket", refused)
    assert find_socket(connection.peer, connection.here) is None
    assert PeerTrust(insecure=False).owner(connection.here, connection.peer) is Owner.TRUSTED


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("ask_kernel", [True, False], ids=["netlink", "tables"])
def test_a_connection_of_another_user_is_refused(ask_kernel: bool) -> None:
    find = find_socket if ask_kernel else lambda *_: None
    with socket.create_server(("127.0.0.1", 0)) as server:
        child = os.fork()
        if not child:
            try:
                os.setuid(65534)
                with socket.socket() as sock:  # no create_connection, whose imports this user may not be able to read
                    sock.connect(server.getsockname())
                    sock.recv(1)
            finally:
                os._exit(0)
        server.settimeout(30)
        accepted, address = server.accept()
        with accepted:
            ends = Endpoint.of(accepted.getsockname()), Endpoint.of(address)
            assert PeerTrust(insecure=False, find=find).owner(*ends) is Owner.STRANGER
            assert PeerTrust(insecure=False, find=find, uid=65534).owner(*ends) is Owner.TRUSTED
        os.waitpid(child, 0)
