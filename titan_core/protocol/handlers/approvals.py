"""LIST_APPROVALS, DECIDE."""

from __future__ import annotations

from titan_core.protocol.handlers.table import HandlerTable
from titan_core.protocol.services.approvals import ApprovalService
from titan_sdk import messages


class ApprovalHandlers:
    """Structured only: the original asks nobody."""

    def __init__(self, service: ApprovalService) -> None:
        self._service = service

    def install(self, table: HandlerTable) -> None:
        table.answer_later(messages.ListApprovals, self._service.list_approvals)
        table.answer_later(messages.Decide, self._service.decide)
