"""Ports of this machine: who listens, who answers, and which are free."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Collection
from typing import Final

import psutil

CONNECT_S: Final = 0.5
"""To an address of this machine, where a refusal comes at once; a listener with a full backlog answers not at all."""
CHECK_S: Final = 5.0
"""For a health path to answer."""
_LOOPBACK: Final = ("127.0.0.1", "::1")
_ANY: Final = frozenset({"0.0.0.0", "::", ""})
_TRIES: Final = 20


def open_address(port: int, pid: int) -> str:
    """An address of this machine at which this port accepts connections; empty when there is none.

    Loopback first, then where the process tree of ``pid`` listens.
    """
    for address in _LOOPBACK:
        if _accepts(address, port):
            return address
    mine = _tree(pid)
    for listener, address in _listeners(port):
        if listener in mine and address not in _ANY and address not in _LOOPBACK and _accepts(address, port):
            return address
    return ""


def foreign_listeners(port: int, pid: int = 0) -> list[int]:
    """Pids of those that listen on ``port`` when ``pid`` and its descendants do not; empty when it cannot be told.

    0 among them stands for a process that is not ours to see.
    """
    listening = {listener for listener, _ in _listeners(port)}
    if listening & _tree(pid) or (pid and 0 in listening):
        return []
    return sorted(listening)


def in_use_by(port: int, pids: Collection[int]) -> str:
    """In words; empty when it is in use by nobody."""
    if not pids:
        return ""
    return f"port {port} is in use by {' and '.join(map(_named, pids))}"


def http_problem(address: str, port: int, path: str) -> str:
    """Why a GET of this path is no sign of health; empty when its status is below 400."""
    connection = http.client.HTTPConnection(address, port, timeout=CHECK_S)
    try:
        connection.request("GET", path, headers={"User-Agent": "titan-health", "Connection": "close"})
        status = connection.getresponse().status
    except TimeoutError:
        return f"GET {path} on port {port} was not answered within {CHECK_S:g} s"
    except (OSError, http.client.HTTPException) as error:
        return f"GET {path} on port {port} failed: {str(error) or type(error).__name__}"
    finally:
        connection.close()
    return "" if status < 400 else f"GET {path} on port {port} answered {status}"


def free_port(wish: int, taken: Collection[int]) -> int:
    """A port that nobody listens on and that is none of ``taken``: ``wish`` if it can be had.

    Raises:
        OSError: there is none.
    """
    if wish and wish not in taken:
        try:
            return _bound(wish)
        except OSError:
            pass
    port = 0
    for _ in range(_TRIES):
        port = _bound(0)
        if port not in taken:
            break
    return port


def _bound(port: int) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        if port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of before may linger
        sock.bind(("", port))
        found: int = sock.getsockname()[1]
        return found


def _accepts(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), CONNECT_S).close()
    except OSError:
        return False
    return True


def _listeners(port: int) -> list[tuple[int, str]]:
    """Pid (0: not ours to see) and address of each."""
    try:
        found = psutil.net_connections("tcp")
    except psutil.Error:
        return []
    return [
        (each.pid or 0, each.laddr.ip)
        for each in found
        if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port
    ]


def _tree(pid: int) -> set[int]:
    if not pid:
        return set()
    try:
        return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    except psutil.Error:
        return {pid}


def _named(pid: int) -> str:
    if not pid:
        return "a process of another user"
    try:
        return f"process {pid} ({psutil.Process(pid).name()})"
    except psutil.Error:
        return f"process {pid}"
