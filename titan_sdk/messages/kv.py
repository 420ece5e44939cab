"""Messages of the key-value store."""

from __future__ import annotations

from typing import Literal

from titan_sdk.messages.base import Message, Ok, Request
from titan_sdk.protocol import Opcode

KvCondition = Literal["always", "absent", "equals"]
KvKind = Literal["value", "set", "list"]


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


class SetValue(Message, frozen=True, tag="set"):
    """Keep ``value`` under the key, in place of all that is there, its time to live included.

    With a ``condition`` only when it holds: ``absent``: the key holds nothing; ``equals``: its value is ``expected``;
    then the time to live stays unless ``ttl_ms`` is given. ``ttl_ms``: milliseconds from now; 0: none.
    """

    value: bytes
    condition: KvCondition = "always"
    expected: bytes = b""
    ttl_ms: int = 0


class DeleteKey(Message, frozen=True, tag="delete"):
    """Remove all that the key holds; with ``expected`` only when that is its value."""

    expected: bytes | None = None


class Increment(Message, frozen=True, tag="increment"):
    """Add ``by`` to the value, a decimal number of 64 bits; a key that holds nothing counts as 0."""

    by: int = 1


class AddMembers(Message, frozen=True, tag="add"):
    members: tuple[str, ...]


class RemoveMembers(Message, frozen=True, tag="remove"):
    members: tuple[str, ...]


class PushItems(Message, frozen=True, tag="push"):
    """Put items at the end of the list, or one after the other before its beginning."""

    items: tuple[bytes, ...]
    left: bool = False


class PopItem(Message, frozen=True, tag="pop"):
    """Take the last item of the list, or the first."""

    left: bool = False


class Expire(Message, frozen=True, tag="expire"):
    """Have the key removed ``ttl_ms`` milliseconds from now; 0: never."""

    ttl_ms: int = 0


KvChange = SetValue | DeleteKey | Increment | AddMembers | RemoveMembers | PushItems | PopItem | Expire


class KvUpdated(Message):
    """What became of a KvUpdate.

    Attributes:
        done: something was changed; else the condition did not hold, or there was nothing to change.
        value: of a set or delete that was not done the value that is there, None when there is none; the item popped.
        number: the counter; the length of the list; how many members were added or removed.
    """

    done: bool
    value: bytes | None = None
    number: int = 0


class KvUpdate(Request[KvUpdated]):
    """One atomic change of one key. Refused with Conflict when the key holds something of another kind.

    ``request_id``: a repeat with the same id within 5 minutes changes nothing and gets the first answer; empty: none.
    """

    OPCODE = Opcode.KV_UPDATE
    ANSWER = KvUpdated
    key: str
    change: KvChange
    request_id: str = ""


class KvEntry(Message):
    """What a key holds; one that old clients gave a value and a set has two entries.

    Attributes:
        size: bytes of the value, members of the set, items of the list.
        expires_at: epoch ms, 0: never.
    """

    key: str
    kind: KvKind
    size: int
    expires_at: int = 0


class KvEntries(Message):
    """In the order of the keys' UTF-8. ``more``: ask again with ``after`` the last key."""

    entries: list[KvEntry]
    more: bool = False


class KvKeys(Request[KvEntries]):
    """The keys with a prefix, ``limit`` at a time (1 to 1000)."""

    OPCODE = Opcode.KV_KEYS
    ANSWER = KvEntries
    prefix: str = ""
    after: str = ""
    limit: int = 1000


class KvPart(Message):
    """A part of a list. ``length``: of the whole list; ``start``: where the part begins, 0 the first item."""

    items: list[bytes]
    length: int
    start: int = 0


class KvItems(Request[KvPart]):
    """Items of a list from ``start`` on (negative: from the end), ``count`` at most, and as many as fit an answer."""

    OPCODE = Opcode.KV_ITEMS
    ANSWER = KvPart
    key: str
    start: int = 0
    count: int = 1000


class KvMemberPage(Message):
    """``next``: ask again with it as ``after``; 0: that was all."""

    members: list[str]
    next: int = 0


class KvListMembers(Request[KvMemberPage]):
    """Members of a set in order of addition, ``limit`` at a time (1 to 5000)."""

    OPCODE = Opcode.KV_LIST_MEMBERS
    ANSWER = KvMemberPage
    key: str
    after: int = 0
    limit: int = 5000
