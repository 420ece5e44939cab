"""KeyValues: the cluster's key-value store, as ``client.kv``."""

from __future__ import annotations

import builtins
import uuid
from collections.abc import Iterator
from typing import Any, Final

from titan_sdk.messages import (
    AddMembers,
    DeleteKey,
    Expire,
    Increment,
    KvChange,
    KvEntry,
    KvGet,
    KvItems,
    KvKeys,
    KvListMembers,
    KvUpdate,
    KvUpdated,
    PopItem,
    PushItems,
    RemoveMembers,
    SetValue,
)
from titan_sdk.steady import SteadyCaller

AT_ONCE: Final = 500
"""Members or items in one request; what is more is sent in several, each atomic by itself."""
MAX_TTL_S: Final = 100 * 366 * 24 * 3600
BYTES_AT_ONCE: Final = 8 << 20
"""Of items in one request, which has to fit a frame."""


class KeyValues:
    """Values, counters, sets and lists that scripts share, as durable as jobs. Thread-safe.

    Values and items are bytes, and a text given for one is kept in UTF-8; members of sets are texts. A key holds one
    kind: using it as another raises Conflict. Every method is one atomic step, whoever else is at it. A broken
    connection is no problem: a change is carried out once, however often it had to be asked for.

    Methods raise BadRequest for keys and values beyond their bounds (1024 bytes, 8 MiB), Conflict for a key of another
    kind, Unavailable when the master's disk is full, and TransportError when no master answers.
    """

    def __init__(self, caller: SteadyCaller) -> None:
        self._caller = caller

    # --- values ---------------------------------------------------------------------------------------------------

    def get(self, key: str, default: bytes | None = None) -> bytes | None:
        value = self._caller.call(KvGet(key=key)).value
        return default if value is None else value

    def set(self, key: str, value: bytes | str, *, ttl: float | None = None) -> None:
        """Keep the value in place of whatever the key held. ``ttl``: seconds until it is gone; None: it stays."""
        self._update(key, SetValue(value=as_bytes(value), ttl_ms=_ttl_ms(ttl)))

    def create(self, key: str, value: bytes | str, *, ttl: float | None = None) -> bool:
        """Set what is not there yet. False: the key held something, and still does."""
        change = SetValue(value=as_bytes(value), condition="absent", ttl_ms=_ttl_ms(ttl))
        return self._update(key, change).done

    def compare_and_set(
        self, key: str, expected: bytes | str | None, value: bytes | str, *, ttl: float | None = None
    ) -> bool:
        """Set the value if ``expected`` is the one that is there; None: if none is. False: another one is.

        Without ``ttl`` the key lives as long as it would have.
        """
        if expected is None:
            return self.create(key, value, ttl=ttl)
        old, new = as_bytes(expected), as_bytes(value)
        return self._update(key, SetValue(value=new, condition="equals", expected=old, ttl_ms=_ttl_ms(ttl))).done

    def delete(self, key: str) -> bool:
        """Remove all that the key holds. False: that was nothing."""
        return self._update(key, DeleteKey()).done

    def delete_if(self, key: str, expected: bytes | str) -> bool:
        """Remove the key if ``expected`` is its value. False: it is not."""
        return self._update(key, DeleteKey(expected=as_bytes(expected))).done

    def increment(self, key: str, by: int = 1) -> int:
        """Add to a number, kept in decimal, which begins at 0; the sum. Raises Conflict for what is no number."""
        return self._update(key, Increment(by=by)).number

    # --- time to live ---------------------------------------------------------------------------------------------

    def expire(self, key: str, ttl: float) -> bool:
        """Have the key gone ``ttl`` seconds from now, by the master's wall clock. False: it holds nothing."""
        return self._update(key, Expire(ttl_ms=_ttl_ms(ttl))).done

    def persist(self, key: str) -> bool:
        """Have the key stay. False: it does already, or holds nothing."""
        return self._update(key, Expire()).done

    # --- sets -----------------------------------------------------------------------------------------------------

    def add(self, key: str, *members: str) -> int:
        """Add to a set; how many were new."""
        return sum(self._update(key, AddMembers(members=part)).number for part in _parts(members))

    def remove(self, key: str, *members: str) -> int:
        """Remove from a set; how many were in there."""
        return sum(self._update(key, RemoveMembers(members=part)).number for part in _parts(members))

    def members(self, key: str) -> builtins.set[str]:
        found: builtins.set[str] = builtins.set()
        after = 0
        while True:
            page = self._caller.call(KvListMembers(key=key, after=after))
            found.update(page.members)
            after = page.next
            if not after:
                return found

    # --- lists ----------------------------------------------------------------------------------------------------

    def push(self, key: str, *items: bytes | str, left: bool = False) -> int:
        """Append to a list, or put one after the other before its beginning; how long it is then."""
        length = 0
        for item in _parts(tuple(as_bytes(each) for each in items)):
            length = self._update(key, PushItems(items=item, left=left)).number
        return length

    def pop(self, key: str, *, left: bool = False) -> bytes | None:
        """Take the last item, or the first; None: there is none."""
        return self._update(key, PopItem(left=left)).value

    def range(self, key: str, start: int = 0, stop: int | None = None) -> list[bytes]:
        """The items from ``start`` on and before ``stop``, with the meaning of ``list[start:stop]``."""
        part = self._caller.call(KvItems(key=key, start=start))
        end = part.length if stop is None else stop if stop >= 0 else part.length + stop
        items, at = part.items, part.start
        while part.items and at + len(items) < min(end, part.length):
            part = self._caller.call(KvItems(key=key, start=at + len(items)))
            items += part.items
        return items[: max(0, end - at)]

    def length(self, key: str) -> int:
        """How many items the list has, 0 when there is none."""
        return self._caller.call(KvItems(key=key, count=0)).length

    # --- keys -----------------------------------------------------------------------------------------------------

    def entries(self, prefix: str = "") -> Iterator[KvEntry]:
        """What the keys with that prefix hold: kind, size, when they expire. In order; asked for in pages."""
        after = ""
        while True:
            page = self._caller.call(KvKeys(prefix=prefix, after=after))
            yield from page.entries
            if not page.more:
                return
            after = page.entries[-1].key

    def keys(self, prefix: str = "") -> Iterator[str]:
        """The keys with that prefix, in order."""
        last = None
        for entry in self.entries(prefix):
            if entry.key != last:
                last = entry.key
                yield last

    def entry(self, key: str) -> KvEntry | None:
        """What the key holds; None: nothing."""
        found = self._caller.call(KvKeys(prefix=key, limit=1)).entries
        return found[0] if found and found[0].key == key else None

    def __getitem__(self, key: str) -> bytes:
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: bytes | str) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        if not self.delete(key):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.entry(key) is not None

    def __iter__(self) -> Iterator[str]:
        return self.keys()

    def _update(self, key: str, change: KvChange) -> KvUpdated:
        return self._caller.call(KvUpdate(key=key, change=change, request_id=uuid.uuid4().hex))


def as_bytes(value: bytes | str) -> bytes:
    """A value as it is kept. Raises TypeError for what is neither bytes nor a text."""
    if not isinstance(value, (bytes, str)):  # who writes programs without types finds out here
        raise TypeError(f"a value is bytes or str, not {type(value).__name__}; as text it would be {str(value)!r}")
    return value.encode() if isinstance(value, str) else value


def _ttl_ms(ttl: float | None) -> int:
    """Raises ValueError for a time that is not to come."""
    if ttl is None:
        return 0
    if not 0 < ttl <= MAX_TTL_S:
        raise ValueError(f"a time to live is more than 0 seconds and a century at most, not {ttl!r}")
    return max(1, round(ttl * 1000))


def _parts(values: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The values, so many at a time as a request may carry, and no more than some megabytes of them."""
    part: list[Any] = []
    size = 0
    for value in values:
        if part and (len(part) == AT_ONCE or size + len(value) > BYTES_AT_ONCE):
            yield tuple(part)
            part, size = [], 0
        part.append(value)
        size += len(value)
    if part:
        yield tuple(part)
