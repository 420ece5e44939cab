"""By which names a machine may be meant: a person writes one, its workers registered under another."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

import psutil

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def other_names(host: str) -> frozenset[str]:
    """Addresses and names of the machine that ``host`` names, as far as they can be found out; may ask a name server.

    This machine goes by any of its addresses, by its name and by those of the loopback interface.
    """
    found = _addresses(host)
    mine = _my_addresses()
    if found & mine or host.lower() in (*_LOOPBACK, socket.gethostname().lower()) or any(map(_loopback, found)):
        found |= mine | _LOOPBACK | {socket.gethostname()}
    return frozenset(found)


def _addresses(host: str) -> set[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return set()
    return {str(address[0]).partition("%")[0] for _, _, _, _, address in found}


def _my_addresses() -> set[str]:
    try:
        interfaces = psutil.net_if_addrs().values()
    except (psutil.Error, OSError):
        return set()
    families = (socket.AF_INET, socket.AF_INET6)
    return {each.address.partition("%")[0] for group in interfaces for each in group if each.family in families}


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
