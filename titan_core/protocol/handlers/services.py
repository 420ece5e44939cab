"""LIST_SERVICES, RESTART, SCALE."""

from __future__ import annotations

from titan_core.protocol.handlers.table import HandlerTable
from titan_core.protocol.services.services import ServiceService
from titan_sdk import messages


class ServiceHandlers:
    """Looking at services, starting them again and scaling them; classic has no words for it."""

    def __init__(self, service: ServiceService) -> None:
        self._service = service

    def install(self, table: HandlerTable) -> None:
        table.answer_later(messages.ListServices, self._service.list_services)
        table.answer_later(messages.Restart, self._service.restart)
        table.answer_later(messages.Scale, self._service.scale)
