"""Messages of the key-value store."""

from __future__ import annotations

from titan_sdk.messages.base import Message, Ok, Request
from titan_sdk.protocol import Opcode


class KvSet(Request[Ok]):
    OPCODE = Opcode.KV_SET
    ANSWER = Ok
    key: str
    value: bytes


class KvValue(Message):
    value: bytes | None


class KvGet(Request[KvValue]):
    OPCODE = Opcode.KV_GET
    ANSWER = KvValue
    key: str


class KvAdded(Message):
    added: bool


class KvSadd(Request[KvAdded]):
    OPCODE = Opcode.KV_SADD
    ANSWER = KvAdded
    key: str
    member: str


class KvMembers(Message):
    members: list[str]


class KvSmembers(Request[KvMembers]):
    OPCODE = Opcode.KV_SMEMBERS
    ANSWER = KvMembers
    key: str
