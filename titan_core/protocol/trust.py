"""Who may speak classic here: the kernel knows whose socket is at the other end of a loopback connection.

Classic has no place for a token. On loopback a classic peer is served when its socket belongs to this user or to root;
the kernel says so over netlink, or in the uid column of ``/proc/net/tcp`` and ``tcp6`` where it does not. Where there
is no ``/proc`` (macOS) loopback is trusted as a whole.
"""

from __future__ import annotations

import enum
import functools
import ipaddress
import logging
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from titan_core.protocol.sock_diag import SocketFacts, find_socket

log = logging.getLogger(__name__)

_PROC_NET: Final = Path("/proc/net")
_ROOT: Final = 0


class Endpoint(NamedTuple):
    """One end of a TCP connection. An IPv4 address mapped into IPv6 is written as IPv4."""

    address: str
    port: int

    @classmethod
    def of(cls, name: tuple[object, ...]) -> Endpoint:
        """From what ``getsockname`` and ``getpeername`` return."""
        return cls(_written(str(name[0])), int(str(name[1])))

    @property
    def loopback(self) -> bool:
        return _is_loopback(self.address)


@functools.lru_cache(256)
def _written(address: str) -> str:
    """An address the one way we write it."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


@functools.lru_cache(256)
def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


class Owner(enum.Enum):
    """Whose a peer's socket is."""

    TRUSTED = "this user or root"
    STRANGER = "another user"
    GONE = "unknown (closed already)"


class PeerTrust:
    """Decides about classic peers. ``insecure``: the network is trusted, and everybody in it.

    Args:
        insecure: serve every peer.
        find: a socket by its own end and the other; None when it is not known, and the tables are to be read.
        proc_net: the folder with the kernel's socket tables.
        uid: the user whose peers are served, besides root.
    """

    def __init__(
        self,
        *,
        insecure: bool,
        find: Callable[[Endpoint, Endpoint], SocketFacts | None] = find_socket,
        proc_net: Path = _PROC_NET,
        uid: int | None = None,
    ) -> None:
        self._insecure = insecure
        self._find = find
        self._proc_net = proc_net
        self._uid = os.getuid() if uid is None else uid

    def announce(self) -> None:
        """Say once what is not checked here."""
        if self._insecure:
            log.warning(
                "INSECURE: nothing is encrypted, and classic peers need no token:"
                " whoever reaches this port can run programs on the workers"
            )
        elif not (self._proc_net / "tcp").exists():
            log.warning("the kernel does not say whose a socket is: every classic peer on loopback is served")

    def owner(self, here: Endpoint, peer: Endpoint) -> Owner:
        """Whose socket is at the other end of the connection from ``peer`` to ``here``."""
        if self._insecure:
            return Owner.TRUSTED
        if not peer.loopback:
            return Owner.STRANGER
        # The peer's own end of the connection: local is its address, remote is ours.
        found = self._find(peer, here)
        try:
            rows = self._rows(here, peer) if found is None else [found]
        except FileNotFoundError:
            return Owner.TRUSTED
        # A socket that its process has closed shows inode 0, and uid 0 on most kernels: that is nobody, not root.
        owners = {row.uid for row in rows if row.inode}
        if not owners:
            return Owner.GONE
        return Owner.TRUSTED if owners <= {self._uid, _ROOT} else Owner.STRANGER

    def _rows(self, here: Endpoint, peer: Endpoint) -> list[SocketFacts]:
        """What the tables say of it."""
        found = _matching(self._proc_net / "tcp", peer, here)
        try:
            found += _matching(self._proc_net / "tcp6", peer, here)
        except FileNotFoundError:  # a kernel without IPv6
            pass
        return found


def _matching(table: Path, local: Endpoint, remote: Endpoint) -> list[SocketFacts]:
    ports = (f":{local.port:04X}".encode(), f":{remote.port:04X}".encode())
    rows = []
    with table.open("rb") as file:
        for line in file:
            fields = line.split(None, 10)
            if len(fields) < 10 or not (fields[1].endswith(ports[0]) and fields[2].endswith(ports[1])):
                continue
            if _address(fields[1]) == local.address and _address(fields[2]) == remote.address:
                rows.append(SocketFacts(int(fields[7]), int(fields[9])))
    return rows


def _address(field: bytes) -> str:
    """The address of ``0100007F:9FBE``: 32-bit words in the byte order of this machine."""
    text = field.partition(b":")[0].decode()
    words: Sequence[int] = [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]
    return Endpoint.of((ipaddress.ip_address(struct.pack(f"={len(words)}I", *words)), 0)).address
