"""GET_LOGS."""

from __future__ import annotations

from titan_core.protocol.handlers.table import ClassicPeer, HandlerTable
from titan_core.protocol.services.logs import LogService
from titan_sdk import classic_replies as replies
from titan_sdk import classic_to_master as classic
from titan_sdk import messages
from titan_sdk.protocol import MAX_PAYLOAD


class LogHandlers:
    """Reading logs in both dialects. What workers send of them belongs to their sessions."""

    def __init__(self, service: LogService) -> None:
        self._service = service

    def install(self, table: HandlerTable) -> None:
        table.answer_later(messages.GetLogs, self._service.read)
        table.classic(classic.GetLogs, self._get)

    def _get(self, request: classic.GetLogs, peer: ClassicPeer) -> str:
        return replies.log_frame(self._service.tail(request.id, MAX_PAYLOAD)).payload.decode()
