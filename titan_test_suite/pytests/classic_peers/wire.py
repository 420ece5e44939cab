"""The original's frames: header ``>BBBBI``, then text."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

HEARTBEAT, REGISTER, SUBMIT_JOB, SUBMIT_DAG, DEPLOY, RUN, STOP, STATS = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08
STATS_JSON, UNREGISTER_SERVICE, CLEAN_STATS, STAGE, START_SERVICE = 0x09, 0x0A, 0x0B, 0x0C, 0x0D
KILL_WORKER, JOB_COMPLETE = 0x11, 0x12
LOG_STREAM, GET_LOGS, LOG_BATCH, RUN_ARCHIVE, START_SERVICE_ARCHIVE = 0x15, 0x16, 0x17, 0x18, 0x19
ACK, ERROR, DATA = 0x50, 0x51, 0x52
UPLOAD_ASSET, FETCH_ASSET, GET_JOB_STATUS, CANCEL_JOB, DEPLOY_SCRIPT = 0x53, 0x54, 0x55, 0x56, 0x57
KV_SET, KV_GET, KV_SADD, KV_SMEMBERS = 0x60, 0x61, 0x62, 0x63


class Reply(NamedTuple):
    """A frame as it came in, with its header's bytes."""

    opcode: int
    text: str
    header: bytes


def frame(opcode: int, payload: str | bytes = "", *, version: int = 1, flags: int = 0, spare: int = 0) -> bytes:
    data = payload.encode() if isinstance(payload, str) else payload
    return struct.pack(">BBBBI", version, opcode, flags, spare, len(data)) + data


def read_exactly(sock: socket.socket, size: int) -> bytes:
    """That many bytes, fewer only at the end of the stream."""
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            break
        data += piece
    return data


def read_frame(sock: socket.socket) -> Reply | None:
    """The next frame; None at the end of the stream."""
    header = read_exactly(sock, 8)
    if not header:
        return None
    assert len(header) == 8, f"the stream ended inside a header: {header!r}"
    _, opcode, _, _, length = struct.unpack(">BBBBI", header)
    payload = read_exactly(sock, length)
    assert len(payload) == length, "the stream ended inside a payload"
    return Reply(opcode, payload.decode("utf-8"), header)


def call(address: tuple[str, int], opcode: int, payload: str | bytes = "", timeout: float = 20.0) -> Reply:
    """As the original's clients do: connect, one frame, one reply, close."""
    with socket.create_connection(address, timeout=timeout) as sock:
        sock.sendall(frame(opcode, payload))
        reply = read_frame(sock)
        assert reply is not None, "closed without a reply"
        return reply


def call_until_closed(address: tuple[str, int], data: bytes, timeout: float = 20.0) -> bytes:
    """As old scripts do: send, then read until the other side closes."""
    with socket.create_connection(address, timeout=timeout) as sock:
        sock.sendall(data)
        received = b""
        while piece := sock.recv(65536):
            received += piece
        return received


def tell(address: tuple[str, int], opcode: int, payload: str) -> None:
    """As the original's log batcher does: send and close, whatever is answered."""
    with socket.create_connection(address, timeout=5.0) as sock:
        sock.sendall(frame(opcode, payload))
