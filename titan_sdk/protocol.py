"""TITAN_PROTO frames: bytes in, frames out. No sockets here.

A frame is an 8-byte header and a payload (PROTOCOL.md section 1)::

    | version 1B | opcode 1B | flags 1B | spare 1B | payload length 4B, big-endian | payload ...

Classic frames carry text and have flags and spare 0. Structured frames have STRUCTURED set, a MessagePack
payload, and a correlation id in the spare byte that the reply echoes.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple

from titan_sdk.errors import BadVersion, FrameTooLarge, ProtocolError, UnknownFlags

VERSION: Final = 1
HEADER: Final = struct.Struct(">BBBBI")
MAX_PAYLOAD: Final = 10 * 1024 * 1024
"""Bytes; larger content travels in chunks."""

STRUCTURED: Final = 0x01
"""Flag: the payload is MessagePack and the spare byte a correlation id."""
ONE_WAY: Final = 0x02
"""Flag (ours): nobody waits for a reply to this frame, and none is sent."""
KNOWN_FLAGS: Final = STRUCTURED | ONE_WAY


class Opcode(IntEnum):
    """The opcodes of PROTOCOL.md section 2, and ours from 0x80 on."""

    HEARTBEAT = 0x01
    REGISTER = 0x02
    SUBMIT_JOB = 0x03
    SUBMIT_DAG = 0x04
    DEPLOY = 0x05
    RUN = 0x06
    STOP = 0x07
    STATS = 0x08
    STATS_JSON = 0x09
    UNREGISTER_SERVICE = 0x0A
    CLEAN_STATS = 0x0B
    STAGE = 0x0C
    START_SERVICE = 0x0D
    KILL_WORKER = 0x11
    JOB_COMPLETE = 0x12
    LOG_STREAM = 0x15
    GET_LOGS = 0x16
    LOG_BATCH = 0x17
    RUN_ARCHIVE = 0x18
    START_SERVICE_ARCHIVE = 0x19
    ACK = 0x50
    ERROR = 0x51
    DATA = 0x52
    UPLOAD_ASSET = 0x53
    FETCH_ASSET = 0x54
    GET_JOB_STATUS = 0x55
    CANCEL_JOB = 0x56
    DEPLOY_SCRIPT = 0x57
    KV_SET = 0x60
    KV_GET = 0x61
    KV_SADD = 0x62
    KV_SMEMBERS = 0x63

    HELLO = 0x80
    WATCH_RUN = 0x81
    LIST_JOBS = 0x82
    LIST_WORKERS = 0x83
    MISSING_CONTENT = 0x84
    JOB_STARTED = 0x85
    DEREGISTER = 0x86
    DRAIN = 0x87
    LIST_SERVICES = 0x90
    RESTART = 0x91
    SCALE = 0x92
    LIST_EVENTS = 0xA0
    CORDON = 0xA1
    EXPLAIN_JOB = 0xA2

    WATCH_CLUSTER = 0xB0
    LIST_RUNS = 0xB1
    GET_SPECS = 0xB2
    LIST_FILES = 0xB3
    WATCH_LOGS = 0xB4
    STREAM_LOGS = 0xB5

    KV_UPDATE = 0xD0
    KV_KEYS = 0xD1
    KV_ITEMS = 0xD2
    KV_LIST_MEMBERS = 0xD3
    LIST_APPROVALS = 0xD4
    DECIDE = 0xD5

    ADD_JOBS = 0xC0
    CLOSE_RUN = 0xC1
    GET_RUN_TREE = 0xC2
    RERUN = 0xC3
    LIST_AGENT_RUNS = 0xC4

    WATCH_SETTLED = 0xE8

    PUT_SCHEDULE = 0xE0
    LIST_SCHEDULES = 0xE1
    PAUSE_SCHEDULE = 0xE2
    TRIGGER_SCHEDULE = 0xE3
    DELETE_SCHEDULE = 0xE4
    LIST_FIRINGS = 0xE5


REPLIES: Final = frozenset({Opcode.ACK, Opcode.ERROR, Opcode.DATA})
"""Opcodes that answer a request; every other one is a request."""


class Frame(NamedTuple):
    """One frame. ``opcode`` is a plain int: whether anybody knows it is not the decoder's question."""

    opcode: int
    payload: bytes
    flags: int = 0
    spare: int = 0

    @property
    def structured(self) -> bool:
        return bool(self.flags & STRUCTURED)

    @property
    def one_way(self) -> bool:
        return bool(self.flags & ONE_WAY)


def encode_frame(frame: Frame) -> bytes:
    """The bytes of one frame.

    Raises:
        FrameTooLarge: the payload is over MAX_PAYLOAD bytes.
    """
    length = len(frame.payload)
    if length > MAX_PAYLOAD:
        raise FrameTooLarge(length, MAX_PAYLOAD)
    return HEADER.pack(VERSION, frame.opcode, frame.flags, frame.spare, length) + frame.payload


class FrameDecoder:
    """Turns a stream of bytes, however it is cut, into frames.

    Feed bytes with ``receive`` and take frames with ``next_frame`` until it returns None. A stream that breaks the
    format raises a ProtocolError at the place where it breaks, after every whole frame before it, and goes on
    raising: such a stream has no next frame. A refused length is refused from its header alone.
    """

    def __init__(self, max_payload: int = MAX_PAYLOAD) -> None:
        self._buffer = bytearray()
        self._start = 0
        self._max_payload = max_payload
        self._error: ProtocolError | None = None

    @property
    def pending(self) -> int:
        """Bytes held of a frame that is not whole yet (and of whole ones not yet taken)."""
        return len(self._buffer) - self._start

    def receive(self, data: bytes | bytearray | memoryview) -> None:
        """Take in the next bytes of the stream."""
        if self._error is None:
            self._buffer += data

    def next_frame(self) -> Frame | None:
        """The next whole frame, or None when more bytes are needed.

        Raises:
            BadVersion, UnknownFlags, FrameTooLarge: the stream is broken here.
        """
        if self._error is not None:
            raise self._error
        if self.pending < HEADER.size:
            # The version byte alone decides: a peer of another protocol may never send a whole header.
            if self.pending and self._buffer[self._start] != VERSION:
                self._fail(BadVersion(self._buffer[self._start]))
            return None
        version, opcode, flags, spare, length = HEADER.unpack_from(self._buffer, self._start)
        if version != VERSION:
            self._fail(BadVersion(version))
        if flags & ~KNOWN_FLAGS:
            self._fail(UnknownFlags(flags & ~KNOWN_FLAGS))
        if flags == ONE_WAY:  # classic frames have no flags at all
            self._fail(UnknownFlags(flags))
        if length > self._max_payload:
            self._fail(FrameTooLarge(length, self._max_payload))
        body = self._start + HEADER.size
        end = body + length
        if len(self._buffer) < end:
            return None
        payload = bytes(memoryview(self._buffer)[body:end])
        if end == len(self._buffer):
            self._buffer.clear()
            self._start = 0
        else:
            self._start = end
            if self._start > 65536:  # compact now and then, not at every frame
                del self._buffer[: self._start]
                self._start = 0
        return Frame(opcode, payload, flags, spare)

    def _fail(self, error: ProtocolError) -> None:
        self._error = error
        self._buffer.clear()
        self._start = 0
        raise error
