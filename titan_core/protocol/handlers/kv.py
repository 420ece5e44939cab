"""KV_SET, KV_GET, KV_SADD, KV_SMEMBERS; KV_UPDATE, KV_KEYS, KV_ITEMS, KV_LIST_MEMBERS."""

from __future__ import annotations

from titan_core.protocol.handlers.table import ClassicPeer, HandlerTable, wait_for
from titan_core.protocol.services.kv import KvService
from titan_sdk import classic_replies as replies
from titan_sdk import classic_to_master as classic
from titan_sdk import messages


class KvHandlers:
    """The key-value store in both dialects. Values that are no text read as such in classic, bad bytes replaced."""

    def __init__(self, service: KvService) -> None:
        self._service = service

    def install(self, table: HandlerTable) -> None:
        table.answer_later(messages.KvSet, self._service.set)
        table.answer(messages.KvGet, self._service.get)
        table.answer_later(messages.KvSadd, self._service.add_member)
        table.answer(messages.KvSmembers, self._service.members)
        table.answer_later(messages.KvUpdate, self._service.update)
        table.answer(messages.KvKeys, self._service.keys)
        table.answer(messages.KvItems, self._service.items)
        table.answer(messages.KvListMembers, self._service.list_members)
        table.classic(classic.KvSet, self._set)
        table.classic(classic.KvGet, self._get)
        table.classic(classic.KvAdd, self._add)
        table.classic(classic.KvMembers, self._members)

    def _set(self, request: classic.KvSet, peer: ClassicPeer) -> str:
        wait_for(self._service.set, messages.KvSet(key=request.key, value=request.value.encode()))
        return replies.OK

    def _get(self, request: classic.KvGet, peer: ClassicPeer) -> str:
        value = self._service.get(messages.KvGet(key=request.key)).value
        return replies.NULL if value is None else value.decode("utf-8", "replace")

    def _add(self, request: classic.KvAdd, peer: ClassicPeer) -> str:
        answer = wait_for(self._service.add_member, messages.KvSadd(key=request.key, member=request.member))
        return "1" if answer.added else "0"

    def _members(self, request: classic.KvMembers, peer: ClassicPeer) -> str:
        return replies.format_members(self._service.members(messages.KvSmembers(key=request.key)).members)
