"""The key-value store for scripts: small values and sets, as durable as jobs."""

from __future__ import annotations

from typing import Any, Final

from titan_core.protocol.services import Done
from titan_core.scheduling.core.commands import KvAddMember, KvPut
from titan_core.scheduling.scheduler import Scheduler
from titan_core.storage.store import Store
from titan_sdk.errors import BadRequest
from titan_sdk.messages import KvAdded, KvGet, KvMembers, KvSadd, KvSet, KvSmembers, KvValue, Ok

MAX_KEY_BYTES: Final = 1024
MAX_VALUE_BYTES: Final = 8 * 1024 * 1024
"""A value fits into one frame of either dialect, with room for what is around it."""


class KvService:
    """Values and sets by key; a key may be any text without control characters."""

    def __init__(self, scheduler: Scheduler, store: Store) -> None:
        self._scheduler = scheduler
        self._store = store

    def set(self, request: KvSet, done: Done[Ok]) -> None:
        _check_key(request.key)
        if len(request.value) > MAX_VALUE_BYTES:
            raise BadRequest(f"a value of {len(request.value)} bytes is over the limit of {MAX_VALUE_BYTES}")

        def written(results: list[Any] | Exception) -> None:
            done(results if isinstance(results, Exception) else Ok())

        self._scheduler.write([KvPut(request.key, request.value)], written)

    def get(self, request: KvGet) -> KvValue:
        _check_key(request.key)
        return KvValue(value=self._store.kv_get(request.key))

    def add_member(self, request: KvSadd, done: Done[KvAdded]) -> None:
        _check_key(request.key)
        if len(request.member.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
            raise BadRequest(f"a member of a set may have {MAX_KEY_BYTES} bytes")

        def written(results: list[Any] | Exception) -> None:
            done(results if isinstance(results, Exception) else KvAdded(added=bool(results[0])))

        self._scheduler.write([KvAddMember(request.key, request.member)], written)

    def members(self, request: KvSmembers) -> KvMembers:
        _check_key(request.key)
        return KvMembers(members=self._store.kv_members(request.key))


def _check_key(key: str) -> None:
    if not key or len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        raise BadRequest(f"a key has 1 to {MAX_KEY_BYTES} bytes")
    if any(ord(char) < 32 or ord(char) == 127 for char in key):
        raise BadRequest(f"the key {key[:80]!r} holds a control character")
