"""STATS, STATS_JSON, CLEAN_STATS, KILL_WORKER, LIST_WORKERS, LIST_EVENTS, CORDON."""

from __future__ import annotations

import json

from titan_core.protocol.handlers.table import ClassicPeer, HandlerTable, wait_for
from titan_core.protocol.services.cluster import ClusterService
from titan_core.protocol.services.events import EventService
from titan_sdk import classic_replies as replies
from titan_sdk import classic_to_master as classic
from titan_sdk import messages


class ClusterHandlers:
    """The cluster at a glance in both dialects."""

    def __init__(self, service: ClusterService, events: EventService) -> None:
        self._service = service
        self._events = events

    def install(self, table: HandlerTable) -> None:
        table.answer(messages.GetStats, self._service.stats_text)
        table.answer(messages.GetStatsJson, self._service.stats_json)
        table.answer(messages.ListWorkers, self._service.workers)
        table.answer_later(messages.ListEvents, self._events.list_events)
        table.answer_later(messages.KillWorker, self._service.kill_worker)
        table.answer_later(messages.Cordon, self._service.cordon)
        table.classic(classic.GetStats, self._stats)
        table.classic(classic.GetStatsJson, self._stats_json)
        table.classic(classic.CleanStats, self._clean_stats)
        table.classic(classic.KillWorker, self._kill_worker)

    def _stats(self, request: classic.GetStats, peer: ClassicPeer) -> str:
        return self._service.stats_text(messages.GetStats()).text

    def _stats_json(self, request: classic.GetStatsJson, peer: ClassicPeer) -> str:
        return json.dumps(self._service.stats_json(messages.GetStatsJson()).data, ensure_ascii=False)

    def _clean_stats(self, request: classic.CleanStats, peer: ClassicPeer) -> str:
        """History is a short list that forgets by itself: nothing grows that would have to be cleaned."""
        return replies.STATS_CLEANED

    def _kill_worker(self, request: classic.KillWorker, peer: ClassicPeer) -> str:
        answer = wait_for(self._service.kill_worker, messages.KillWorker(host=request.host, port=request.port))
        return replies.format_success(answer.text)
