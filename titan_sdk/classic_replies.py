"""What classic requests are answered with (PROTOCOL.md sections 3 and 5), written and read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from titan_sdk.classic_text import decode_text, format_requirement
from titan_sdk.errors import BadMessage, NotFound, ProtocolError, RemoteError, Saturated, TitanError
from titan_sdk.messages import StateName
from titan_sdk.protocol import MAX_PAYLOAD, Frame, Opcode

REGISTERED: Final = "REGISTERED"
JOB_ACCEPTED: Final = "JOB_ACCEPTED"
DAG_ACCEPTED: Final = "DAG_ACCEPTED"
JOB_QUEUED: Final = "JOB_QUEUED"
DEPLOY_QUEUED: Final = "DEPLOY_QUEUED"
STATS_CLEANED: Final = "STATS_CLEANED"
UNREGISTERED: Final = "ACK_UNREGISTERED"
CALLBACK: Final = "ACK_CALLBACK"
LOG_TAKEN: Final = "ACK_LOG"
BATCH_TAKEN: Final = "ACK_BATCH"
UPLOADED: Final = "UPLOAD_SUCCESS"
SCRIPT_DEPLOYED: Final = "DEPLOY_SUCCESS"
CANCELLED: Final = "CANCELLED"
KILLED: Final = "KILLED"
NOT_FOUND: Final = "NOT_FOUND"
OK: Final = "OK"
NULL: Final = "NULL"
"""Of KV_GET: no such key; of GET_JOB_STATUS: no such job."""
FILE_NOT_FOUND: Final = "ERROR_NOT_FOUND"
SATURATED: Final = "ERROR_WORKER_SATURATED"

MAX_ERROR_CHARS: Final = 64 * 1024
"""An error's text is for a person; a DAG with ten thousand problems is cut here."""

_ERROR_STARTS: Final = ("ERROR", "UPLOAD_FAILED", "DEPLOY_FAILED", "UNKNOWN_OPCODE")
_FREE_TEXT: Final = frozenset({Opcode.KV_GET, Opcode.KV_SMEMBERS, Opcode.GET_LOGS, Opcode.STATS, Opcode.STATS_JSON})
"""Requests whose answer is somebody's own text: that it begins like an error says nothing."""
_QUEUED: Final = re.compile(r"JOB_QUEUED\s*(\S+) on (\S+)")
_PONG: Final = re.compile(r"PONG\|(\d{1,9})\|(\d{1,9})")
_DEPLOYED: Final = re.compile(r"DEPLOYED_SUCCESS \| ID: (.+?) \| PID: (\d{1,10})")


def ok_frame(text: str = "") -> Frame:
    """The reply to a request that succeeded."""
    return Frame(Opcode.ACK, text.encode("utf-8", "replace"))


def error_frame(error: Exception | str) -> Frame:
    """The reply to a request that failed; its text begins with ``ERROR``."""
    if isinstance(error, Saturated):
        text = SATURATED
    else:
        # What is not ours may hold insides of ours: a peer learns its kind only.
        known = isinstance(error, (TitanError, str))
        text = str(error) if known else f"internal error: {type(error).__name__}"
    if not text.startswith("ERROR"):
        text = f"ERROR {text}"
    if len(text) > MAX_ERROR_CHARS:
        text = text[:MAX_ERROR_CHARS] + " ..."
    return Frame(Opcode.ERROR, text.encode("utf-8", "replace"))


def reply_text(request: int, reply: Frame) -> str:
    """The text of a successful reply to a request of that opcode.

    Both kinds of error are recognised: opcode ERROR, which ours send, and a text that begins like one, which the
    original sends under another opcode.

    Raises:
        NotFound, Saturated, RemoteError: it is an error, whose text is the exception's.
        BadMessage, ProtocolError: not a classic reply.
    """
    text = decode_text(reply.payload)
    # The original's worker answers KILL_WORKER with that same opcode.
    if reply.structured or (reply.opcode not in (Opcode.ACK, Opcode.DATA, Opcode.ERROR) and reply.opcode != request):
        raise ProtocolError(f"not a reply: opcode 0x{reply.opcode:02x}, flags 0x{reply.flags:02x}")
    if reply.opcode != Opcode.ERROR and (request in _FREE_TEXT or not text.startswith(_ERROR_STARTS)):
        return text
    if text.startswith(FILE_NOT_FOUND):
        raise NotFound(text)
    if text.startswith(SATURATED):
        raise Saturated(text)
    raise RemoteError(text)


def classic_state(state: StateName) -> str:
    """A job's state as GET_JOB_STATUS says it, in the original's words.

    PENDING is also what waits for its parents or its time, CANCELLED what was skipped: it is over without having run.
    """
    if state == "SKIPPED":
        return "CANCELLED"
    return "PENDING" if state in ("WAITING", "DELAYED", "HELD") else state


def format_queued(job_id: str, requirement: Iterable[str]) -> str:
    return f"{JOB_QUEUED}{job_id} on {format_requirement(tuple(requirement))}"


def parse_queued(text: str) -> str:
    """The job's id in a reply to RUN."""
    match = _QUEUED.match(text)
    if not match:
        raise BadMessage(f"{text[:80]!r} is not a reply to RUN")
    return match[1]


def format_stopped(name: str) -> str:
    return f"STOPPED: {name}"


def format_unknown_service(name: str) -> str:
    return f"UNKNOWN_SERVICE: {name}"


def format_success(text: str) -> str:
    return f"SUCCESS: {text}"


def format_file_saved(path: str) -> str:
    return f"FILE_SAVED: {path}"


@dataclass(frozen=True)
class Pong:
    """A worker's answer to HEARTBEAT: ``PONG|active|max``."""

    active: int
    slots: int

    @classmethod
    def parse(cls, text: str) -> Pong:
        match = _PONG.fullmatch(text.strip())
        if not match:
            raise BadMessage(f"{text[:80]!r} is not a reply to HEARTBEAT")
        return cls(int(match[1]), int(match[2]))

    def format(self) -> str:
        return f"PONG|{self.active}|{self.slots}"


@dataclass(frozen=True)
class ServiceStarted:
    """A worker's answer to START_SERVICE: ``DEPLOYED_SUCCESS | ID: <id> | PID: <pid>``."""

    id: str
    pid: int

    @classmethod
    def parse(cls, text: str) -> ServiceStarted:
        match = _DEPLOYED.fullmatch(text.strip())
        if not match:
            raise BadMessage(f"{text[:80]!r} is not a reply to START_SERVICE")
        return cls(match[1], int(match[2]))

    def format(self) -> str:
        return f"DEPLOYED_SUCCESS | ID: {self.id} | PID: {self.pid}"


def format_members(members: Iterable[str]) -> str:
    return ",".join(members)


def parse_members(text: str) -> list[str]:
    return text.split(",") if text else []


def log_frame(log: bytes) -> Frame:
    """The reply to GET_LOGS: as much of the log's end as one frame holds, beginning and ending with a whole character.

    Bytes that are not UTF-8 are shown as U+FFFD, and the line break at the very end is left out, as in the original.
    """
    text = _last_bytes(log).decode("utf-8", "replace").removesuffix("\n").encode("utf-8")
    return Frame(Opcode.ACK, _last_bytes(text))


def _last_bytes(data: bytes) -> bytes:
    """The last MAX_PAYLOAD bytes, without what is left of a character that the cut went through."""
    if len(data) <= MAX_PAYLOAD:
        return data
    start = len(data) - MAX_PAYLOAD
    for _ in range(3):
        if data[start] & 0xC0 != 0x80:
            break
        start += 1
    return data[start:]
