"""What all messages have in common, and how they become bytes and come back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar

import msgspec
from msgspec import Struct, field

from titan_sdk.errors import BadMessage
from titan_sdk.protocol import Opcode

CHUNK_BYTES: Final = 1024 * 1024
"""Content and logs travel in pieces of at most this size: small beside a frame, large beside its header."""

M = TypeVar("M", bound="Message")
if TYPE_CHECKING:
    from typing_extensions import TypeVar as DefaultingTypeVar

    # The default lets a plain ``Request`` mean one with any answer.
    A_co = DefaultingTypeVar("A_co", bound="Message", covariant=True, default="Message")
else:
    A_co = TypeVar("A_co", covariant=True)


class Message(Struct, kw_only=True, omit_defaults=True, gc=False):
    """The base of all messages. They are trees of values, so the collector of cycles need not look at them."""


class Request(Message, Generic[A_co]):
    """A message under opcode OPCODE that asks for an answer of type ANSWER, which is its type parameter too."""

    OPCODE: ClassVar[Opcode]
    ANSWER: ClassVar[type[Message]]


class Ok(Message):
    """Done; ``text`` is for people."""

    text: str = ""


class ProblemItem(Message):
    where: str
    text: str
    line: int = 0


class ErrorReply(Message):
    """Payload of a structured ERROR frame; ``code`` is a ``RemoteError.code``."""

    code: str
    message: str
    problems: list[ProblemItem] = field(default_factory=list)


_ENCODER = msgspec.msgpack.Encoder()
_DECODERS: dict[type[Message], msgspec.msgpack.Decoder[Any]] = {}


def encode_message(message: Message) -> bytes:
    """The MessagePack payload of a message.

    Raises:
        BadMessage: it holds what MessagePack cannot say: a half surrogate in a text, an integer beyond 64 bits.
    """
    try:
        return _ENCODER.encode(message)
    except (UnicodeEncodeError, OverflowError, msgspec.MsgspecError) as error:
        raise BadMessage(f"a {type(message).__name__} that cannot be sent: {error}") from None


def decode_message(payload: bytes, kind: type[M]) -> M:
    """The message of the given kind in a payload.

    Raises:
        BadMessage: not MessagePack, not a map, or a field missing or of the wrong type (the text names it).
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.msgpack.Decoder(kind)
    try:
        message: M = decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"not a valid {kind.__name__}: {error}") from None
    return message
