"""The key-value store for scripts: values, counters, sets and lists, as durable as jobs."""

from __future__ import annotations

from typing import Any, Final

from titan_core.protocol.services import Done
from titan_core.scheduling.clock import Clock
from titan_core.scheduling.core.commands import KvAddMember, KvApply, KvPut
from titan_core.scheduling.kv_expiry import KvExpiry
from titan_core.scheduling.scheduler import Scheduler
from titan_core.storage.kv_tables import REPEATS_MS
from titan_core.storage.store import Store
from titan_sdk.errors import BadRequest, RemoteError
from titan_sdk.messages import (
    AddMembers,
    Expire,
    Increment,
    KvAdded,
    KvChange,
    KvEntries,
    KvGet,
    KvItems,
    KvKeys,
    KvListMembers,
    KvMemberPage,
    KvMembers,
    KvPart,
    KvSadd,
    KvSet,
    KvSmembers,
    KvUpdate,
    KvUpdated,
    KvValue,
    Ok,
    PushItems,
    RemoveMembers,
    SetValue,
)

MAX_KEY_BYTES: Final = 1024
MAX_VALUE_BYTES: Final = 8 * 1024 * 1024
"""A value fits into one frame of either dialect, with room for what is around it."""
MAX_AT_ONCE: Final = 1000
"""Members or items in one request: a transaction that others wait for."""
MAX_TTL_MS: Final = 100 * 366 * 24 * 3600 * 1000
MAX_PAGE: Final = 1000
MAX_MEMBERS_PAGE: Final = 5000
"""Of the longest members some 5 MB, below the limit of a frame."""
MAX_REQUEST_ID: Final = 64
"""Characters."""


class KvService:
    """What is kept by key; a key may be any text without control characters. Any thread may call."""

    def __init__(self, scheduler: Scheduler, store: Store, clock: Clock, expiry: KvExpiry) -> None:
        self._scheduler = scheduler
        self._store = store
        self._clock = clock
        self._expiry = expiry

    # --- changes --------------------------------------------------------------------------------------------------

    def update(self, request: KvUpdate, done: Done[KvUpdated]) -> None:
        _check_key(request.key)
        _check_change(request.change)
        if len(request.request_id) > MAX_REQUEST_ID:
            raise BadRequest(f"the id of a request has at most {MAX_REQUEST_ID} characters")
        now = self._now()

        def written(results: list[Any] | Exception) -> None:
            if isinstance(results, Exception):
                done(results)
                return
            answer: KvUpdated | RemoteError = results[0]
            ttl_ms = request.change.ttl_ms if isinstance(request.change, (SetValue, Expire)) else 0
            ends = [now + ttl_ms] if ttl_ms else []
            if request.request_id:
                ends.append(now + REPEATS_MS)
            if ends:
                self._expiry.note(min(ends))
            done(answer)

        self._scheduler.write([KvApply(request, now)], written)

    def set(self, request: KvSet, done: Done[Ok]) -> None:
        _check_key(request.key)
        _check_value(request.value)

        def written(results: list[Any] | Exception) -> None:
            done(results if isinstance(results, Exception) else Ok())

        self._scheduler.write([KvPut(request.key, request.value, self._now())], written)

    def add_member(self, request: KvSadd, done: Done[KvAdded]) -> None:
        _check_key(request.key)
        _check_members((request.member,))

        def written(results: list[Any] | Exception) -> None:
            done(results if isinstance(results, Exception) else KvAdded(added=bool(results[0])))

        self._scheduler.write([KvAddMember(request.key, request.member, self._now())], written)

    # --- looking --------------------------------------------------------------------------------------------------

    def get(self, request: KvGet) -> KvValue:
        _check_key(request.key)
        return KvValue(value=self._store.kv_get(request.key, self._now()))

    def members(self, request: KvSmembers) -> KvMembers:
        _check_key(request.key)
        return KvMembers(members=self._store.kv_members(request.key, self._now()).members)

    def list_members(self, request: KvListMembers) -> KvMemberPage:
        _check_key(request.key)
        _check_range("limit", request.limit, 1, MAX_MEMBERS_PAGE)
        _check_range("after", request.after, 0, 2**63 - 1)
        return self._store.kv_members(request.key, self._now(), request.after, request.limit)

    def items(self, request: KvItems) -> KvPart:
        _check_key(request.key)
        _check_range("count", request.count, 0, MAX_PAGE)
        return self._store.kv_items(request.key, self._now(), request.start, request.count)

    def keys(self, request: KvKeys) -> KvEntries:
        _check_range("limit", request.limit, 1, MAX_PAGE)
        limit = request.limit
        # A key may have an entry of each kind, and they are not divided between two pages.
        entries = self._store.kv_keys(request.prefix, request.after, limit + 3, self._now())
        end = min(limit, len(entries))
        while end < len(entries) and entries[end].key == entries[end - 1].key:
            end += 1
        return KvEntries(entries=entries[:end], more=end < len(entries))

    def _now(self) -> int:
        return self._clock.now().wall


def _check_key(key: str) -> None:
    if not key or len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        raise BadRequest(f"a key has 1 to {MAX_KEY_BYTES} bytes")
    if any(ord(char) < 32 or ord(char) == 127 for char in key):
        raise BadRequest(f"the key {key[:80]!r} holds a control character")


def _check_change(change: KvChange) -> None:
    if isinstance(change, SetValue):
        _check_value(change.value)
    if isinstance(change, (SetValue, Expire)):
        _check_range("ttl_ms", change.ttl_ms, 0, MAX_TTL_MS)
    elif isinstance(change, (AddMembers, RemoveMembers)):
        _check_members(change.members)
    elif isinstance(change, PushItems):
        _check_range("the number of items", len(change.items), 1, MAX_AT_ONCE)
        for item in change.items:
            _check_value(item)
    elif isinstance(change, Increment):
        _check_range("by", change.by, -(2**63), 2**63 - 1)


def _check_value(value: bytes) -> None:
    if len(value) > MAX_VALUE_BYTES:
        raise BadRequest(f"a value of {len(value)} bytes is over the limit of {MAX_VALUE_BYTES}")


def _check_members(members: tuple[str, ...]) -> None:
    _check_range("the number of members", len(members), 1, MAX_AT_ONCE)
    if any(len(member.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES for member in members):
        raise BadRequest(f"a member of a set may have {MAX_KEY_BYTES} bytes")


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise BadRequest(f"{name} is {value}; it may be {least} to {most}")
