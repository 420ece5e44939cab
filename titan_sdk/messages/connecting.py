"""The first message of a connection, and its answer."""

from __future__ import annotations

from titan_sdk.messages.base import Message, Request
from titan_sdk.protocol import Opcode


class Welcome(Message):
    """``master_id`` is made anew for each data directory, ``term`` counts the master's starts on it."""

    master_id: str
    term: int
    version: str


class Hello(Request[Welcome]):
    """First message on a structured connection; nothing else is answered before it."""

    OPCODE = Opcode.HELLO
    ANSWER = Welcome
    token: str
    role: str = "client"
