"""Asking the kernel for one TCP socket by the addresses of its two ends, over netlink (sock_diag(7)).

Reading ``/proc/net/tcp`` walks through all of the kernel's table of sockets, used or not: 15 ms and more for each
connection. This is one lookup in it. A few lines of our own, where a library would bring all of netlink.
"""

from __future__ import annotations

import socket
import struct
from typing import Final, NamedTuple

_SOCK_DIAG_BY_FAMILY: Final = 20
_NETLINK_SOCK_DIAG: Final = 4
_NLM_F_REQUEST: Final = 1
_NO_COOKIE: Final = b"\xff" * 8
_ANY_STATE: Final = 0xFFFFFFFF
_MAPPED: Final = bytes(10) + b"\xff\xff"

_HEADER: Final = struct.Struct("=IHHII")
"""Length, type, flags, sequence number, port id."""
_REQUEST: Final = struct.Struct("=BBBxI")
"""Family, protocol, extensions, states."""
_ENDS: Final = struct.Struct("!HH16s16s")
"""Ports of the socket's own end and of the other, then the addresses."""
_REST_OF_ENDS: Final = struct.Struct("=I8s")
"""Interface, cookie."""
_ANSWER: Final = struct.Struct("=BBBB")
_FACTS: Final = struct.Struct("=IIIII")
"""Expires, receive queue, send queue, uid, inode."""

_ENDS_AT: Final = _HEADER.size + _ANSWER.size
_FACTS_AT: Final = _ENDS_AT + _ENDS.size + _REST_OF_ENDS.size


class SocketFacts(NamedTuple):
    """Who made a socket, and its inode: 0 when no process has it open any more."""

    uid: int
    inode: int


def find_socket(local: tuple[str, int], remote: tuple[str, int]) -> SocketFacts | None:
    """The TCP socket whose own end is ``local`` and whose other end is ``remote``, both IPv4 or both IPv6.

    None: there is none, or this system does not tell; then only its tables know. Raises nothing.
    """
    if not hasattr(socket, "AF_NETLINK"):
        return None
    try:
        (family, ours), (_, theirs) = _packed(local[0]), _packed(remote[0])
        ends = _ENDS.pack(local[1], remote[1], ours, theirs)
        request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _ANY_STATE) + ends + _REST_OF_ENDS.pack(0, _NO_COOKIE)
        message = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + request
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as sock:
            sock.sendto(message, (0, 0))
            answer = sock.recv(4096, socket.MSG_DONTWAIT)  # the kernel has answered while it took the request
    except OSError:
        return None
    if len(answer) < _FACTS_AT + _FACTS.size or _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return None  # an error: no such socket, or a kernel that answers no such question
    found = _ENDS.unpack_from(answer, _ENDS_AT)
    # Without such a connection the kernel names a socket that listens at the local end, which is nobody's answer here.
    if found[:2] != (local[1], remote[1]) or (_plain(found[2]), _plain(found[3])) != (_plain(ours), _plain(theirs)):
        return None
    *_, uid, inode = _FACTS.unpack_from(answer, _FACTS_AT)
    return SocketFacts(uid, inode)


def _packed(address: str) -> tuple[int, bytes]:
    """Its family, and its 16 bytes in the kernel's messages, where an IPv4 address takes the first four."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.inet_pton(family, address).ljust(16, b"\0")


def _plain(address: bytes) -> bytes:
    """An IPv4 address the same way whether an IPv4 socket has it or an IPv6 one, which has it mapped."""
    return address.removeprefix(_MAPPED).ljust(16, b"\0") if address.startswith(_MAPPED) else address
