"""Errors on the wire: an exception to the payload of a structured ERROR frame, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from titan_sdk.errors import (
    BadRequest,
    InvalidName,
    PipelineError,
    Problem,
    ProtocolError,
    RemoteError,
    SubmissionRefused,
    TitanError,
    remote_error,
)
from titan_sdk.messages import ErrorReply, Message, ProblemItem, decode_message, encode_message
from titan_sdk.protocol import Frame, Opcode

MAX_TEXT_CHARS: Final = 64 * 1024
"""Of an error's message, and of each problem's text; a person reads them."""
MAX_PROBLEMS: Final = 1000
"""A refused DAG of ten thousand jobs need not say the same ten thousand times."""


def as_remote_error(error: Exception) -> RemoteError:
    """What a peer is told of an exception: its kind where the wire knows it, and no insides of ours."""
    if isinstance(error, RemoteError):
        return error
    if isinstance(error, PipelineError):
        return SubmissionRefused(str(error), error.problems)
    if isinstance(error, (InvalidName, ProtocolError)):
        return BadRequest(str(error))
    if isinstance(error, TitanError):
        return RemoteError(str(error))
    return RemoteError(f"internal error: {type(error).__name__}")


def refusal_payload(error: Exception) -> bytes:
    """The payload of the ERROR frame that answers a request; always small enough, whatever the exception holds."""
    refusal = as_remote_error(error)
    reply = ErrorReply(code=refusal.code, message=_text(refusal.message), problems=_items(refusal.problems))
    return encode_message(reply)


def read_answer(frame: Frame, kind: type[Message]) -> Message | TitanError:
    """The answer in a reply frame: a message of that kind, or what the peer said instead, or what is wrong with it."""
    try:
        if frame.opcode != Opcode.ERROR:
            return decode_message(frame.payload, kind)
        refusal = decode_message(frame.payload, ErrorReply)
    except ProtocolError as error:
        return error
    problems = [Problem(where=item.where, text=item.text, line=item.line) for item in refusal.problems]
    return remote_error(refusal.code, refusal.message, problems)


def _items(problems: Iterable[Problem]) -> list[ProblemItem]:
    items: list[ProblemItem] = []
    room = 4 * MAX_TEXT_CHARS
    for problem in problems:
        item = ProblemItem(where=_text(problem.where), text=_text(problem.text), line=problem.line)
        room -= len(item.where) + len(item.text)
        if len(items) == MAX_PROBLEMS or room < 0:
            items.append(ProblemItem(where="", text="... and more"))
            break
        items.append(item)
    return items


def _text(text: str) -> str:
    """At most MAX_TEXT_CHARS of it, and none that UTF-8 cannot say (half surrogates, from file names)."""
    if len(text) > MAX_TEXT_CHARS:
        text = text[:MAX_TEXT_CHARS] + " ..."
    return text.encode("utf-8", "replace").decode("utf-8")
