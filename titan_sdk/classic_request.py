"""What all classic requests have in common: text to a frozen dataclass and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from titan_sdk.classic_text import check_lookup, format_base64, parse_base64
from titan_sdk.errors import BadMessage
from titan_sdk.names import check_file_name
from titan_sdk.protocol import Opcode


@dataclass(frozen=True)
class ClassicRequest:
    """The base of all classic requests."""

    OPCODE: ClassVar[Opcode]

    @classmethod
    def parse(cls, text: str) -> ClassicRequest:
        raise NotImplementedError

    def format(self) -> str:
        """The payload's text.

        Raises:
            BadMessage, InvalidName: a field cannot be said in this dialect.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Empty(ClassicRequest):
    """Nothing but its opcode; what a payload holds all the same is not looked at."""

    @classmethod
    def parse(cls, text: str) -> Empty:
        return cls()

    def format(self) -> str:
        return ""


@dataclass(frozen=True)
class ById(ClassicRequest):
    """An id, of a job or a service, that is looked up."""

    id: str

    @classmethod
    def parse(cls, text: str) -> ById:
        return cls(check_lookup(text))

    def format(self) -> str:
        return check_lookup(self.id)


@dataclass(frozen=True)
class NamedContent(ClassicRequest):
    """``name|base64``"""

    name: str
    content: bytes

    @classmethod
    def parse(cls, text: str) -> NamedContent:
        name, content = split_fields(text, 2, 2, "name|base64")
        return cls(check_file_name(name.strip()), parse_base64(content, name.strip()))

    def format(self) -> str:
        return f"{check_file_name(self.name)}|{format_base64(self.content)}"


def split_fields(text: str, least: int, most: int, form: str, separator: str = "|") -> list[str]:
    """The fields of a payload, ``most`` of them, those left out as empty texts; the last may hold the separator.

    Raises:
        BadMessage: fewer than ``least``, or an empty first one.
    """
    fields = text.split(separator, most - 1)
    if len(fields) < least or not fields[0].strip():
        raise BadMessage(f"{text[:80]!r} is not of the form {form}")
    return fields + [""] * (most - len(fields))


def by_opcode(*kinds: type[ClassicRequest]) -> dict[int, type[ClassicRequest]]:
    """A table of request classes by their opcode."""
    table = {int(kind.OPCODE): kind for kind in kinds}
    assert len(table) == len(kinds), "two requests under one opcode"
    return table
