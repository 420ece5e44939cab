"""The original's text dialect (PROTOCOL.md sections 3 to 6): payloads to frozen dataclasses and back, no sockets.

``parse_to_master`` and ``parse_to_worker`` turn a frame's payload into the class of its opcode; every class has
``OPCODE`` and ``format()``, the payload's text. What a peer gets wrong is refused with BadMessage, InvalidName or, for
jobs, PipelineError. The classes are in classic_to_master, classic_to_worker and classic_jobs, what is answered in
classic_replies.
"""

from __future__ import annotations

from titan_sdk.classic_request import ClassicRequest
from titan_sdk.classic_text import decode_text
from titan_sdk.classic_to_master import TO_MASTER
from titan_sdk.classic_to_worker import TO_WORKER
from titan_sdk.errors import BadMessage

__all__ = ["TO_MASTER", "TO_WORKER", "ClassicRequest", "parse_to_master", "parse_to_worker"]


def parse_to_master(opcode: int, payload: bytes) -> ClassicRequest:
    """The request in a classic frame that reached a master.

    Raises:
        BadMessage, InvalidName, PipelineError: the opcode is none of these, or its payload is not what it promises.
    """
    return _parse(TO_MASTER, opcode, payload)


def parse_to_worker(opcode: int, payload: bytes) -> ClassicRequest:
    """The request in a classic frame that reached a worker; raises what ``parse_to_master`` does."""
    return _parse(TO_WORKER, opcode, payload)


def _parse(table: dict[int, type[ClassicRequest]], opcode: int, payload: bytes) -> ClassicRequest:
    kind = table.get(opcode)
    if kind is None:
        raise BadMessage(f"unknown opcode 0x{opcode:02x}")
    return kind.parse(decode_text(payload))
