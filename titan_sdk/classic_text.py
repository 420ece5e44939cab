"""The pieces that classic payloads are made of: text, fields, numbers, base64, arguments. Every refusal is a BadMessage
or an InvalidName that says what was found and what is wanted."""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Sequence
from typing import Final

from titan_sdk.errors import BadMessage, InvalidName
from titan_sdk.messages import GENERAL
from titan_sdk.names import MAX_ID_BYTES, check_capability, check_job_id, check_port

MAX_LOOKUP_BYTES: Final = 2 * MAX_ID_BYTES + 1
"""A job may be asked for by its key ``run/job``."""
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}")
_SEPARATORS: Final = re.compile(r"[|;\r\n\0]")


def decode_text(payload: bytes) -> str:
    """A classic payload as text.

    Raises:
        BadMessage: it is not UTF-8.
    """
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadMessage(f"the payload is not UTF-8 text: byte {error.start} is 0x{payload[error.start]:02x}") from None


def is_integer(text: str) -> bool:
    """Whether it is a whole number of at most 18 digits, in ASCII, spaces around it allowed."""
    return _INTEGER.fullmatch(text.strip()) is not None


def parse_integer(text: str, what: str) -> int:
    if not is_integer(text):
        raise BadMessage(f"{what} {text.strip()[:40]!r} is not a whole number")
    return int(text)


def parse_port(text: str, *, zero: bool = True) -> int:
    return check_port(parse_integer(text, "port"), zero=zero)


def parse_boolean(text: str, what: str) -> bool:
    value = text.strip().lower()
    if value not in ("true", "false"):
        raise BadMessage(f"{what} {text.strip()[:40]!r} is neither true nor false")
    return value == "true"


def parse_requirement(text: str) -> tuple[str, ...]:
    """Capability names separated by commas; an empty text means GENERAL."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    return tuple(dict.fromkeys(check_capability(name) for name in names)) or (GENERAL,)


def format_requirement(requirement: Sequence[str]) -> str:
    return ",".join(check_capability(name) for name in requirement) or GENERAL


def parse_base64(text: str, what: str) -> bytes:
    """The bytes; line breaks and spaces within are allowed, anything else outside the alphabet is not."""
    try:
        try:
            return base64.b64decode(text, validate=True)
        except ValueError:
            return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise BadMessage(f"the content of {what} is not base64: {error}") from None


def is_base64(text: str) -> bool:
    try:
        parse_base64(text, "")
    except BadMessage:
        return False
    return True


def format_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def parse_args(text: str) -> tuple[str, ...]:
    """An argument list from its text form: split at white space, quotes and backslashes as in a POSIX shell."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise BadMessage(f"the arguments {text[:80]!r} cannot be split: {str(error).lower()}") from None


def format_args(args: Sequence[str]) -> str:
    """The text form of an argument list.

    Raises:
        BadMessage: an argument holds ``|``, ``;``, a line break or NUL, which only the structured dialect can carry.
    """
    for arg in args:
        found = _SEPARATORS.search(arg)
        if found:
            raise BadMessage(f"the argument {arg[:80]!r} holds {found[0]!r}, which the classic dialect cannot say")
    return shlex.join(args)


def check_field(text: str, what: str) -> str:
    """A field that more fields follow.

    Raises:
        BadMessage: it holds the separator.
    """
    if "|" in text:
        raise BadMessage(f"the {what} {text[:80]!r} holds '|', which separates fields")
    return text


def check_lookup(text: str, what: str = "job id") -> str:
    """The id of something that is only looked up: any printable text, a key ``run/job`` included."""
    name = text.strip()
    if not name:
        raise BadMessage(f"the {what} is missing")
    if len(name.encode("utf-8", "surrogatepass")) > MAX_LOOKUP_BYTES or not name.isprintable():
        raise InvalidName(f"{name[:60]!r} is not a {what}")
    return name


def check_key(text: str) -> str:
    """A key of the key-value store: anything printable but the separator."""
    if not text:
        raise BadMessage("the key is empty")
    if not text.isprintable():
        raise InvalidName(f"the key {text[:80]!r} holds a control character")
    return check_field(text, "key")


def parse_job_id(text: str) -> str:
    return check_job_id(text.strip())
