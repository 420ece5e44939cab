"""What people are asked about jobs, and their answers."""

from __future__ import annotations

from typing import Final

from titan_core.model.rows import ApprovalRow
from titan_core.protocol.services import Done
from titan_core.protocol.services.jobs import check_name
from titan_core.scheduling.core.events import DecisionMade
from titan_core.scheduling.core.views import approval_info
from titan_core.scheduling.scheduler import Scheduler
from titan_core.storage.store import Store
from titan_sdk.errors import BadRequest
from titan_sdk.messages import ApprovalInfo, ApprovalList, Decide, ListApprovals

MAX_LISTED: Final = 1_000
MAX_BY: Final = 256
"""Characters of who decides."""
MAX_COMMENT: Final = 4_096
"""Characters of a comment, which becomes part of the job's reason."""


class ApprovalService:
    """Any thread may call. Nothing is told that is not durable."""

    def __init__(self, scheduler: Scheduler, store: Store) -> None:
        self._scheduler = scheduler
        self._store = store

    def list_approvals(self, request: ListApprovals, done: Done[ApprovalList]) -> None:
        if not 1 <= request.limit <= MAX_LISTED:
            raise BadRequest(f"limit {request.limit} is not from 1 to {MAX_LISTED}")
        if request.id:
            check_name(request.id)
        if not request.decided:
            self._scheduler.read_durable(lambda core: core.approvals(request.id, request.limit), done)
            return
        name = request.id
        if name and "/" not in name:
            name = self._scheduler.read(lambda core: core.find_key(request.id)) or f"{name}/"
        rows = self._store.decided_approvals(name, request.limit)
        rows = [row for row in rows if not name or name.endswith("/") or row.key == name]
        done(ApprovalList(approvals=[approval_info(row) for row in rows], total=len(rows)))

    def decide(self, request: Decide, done: Done[ApprovalInfo]) -> None:
        check_name(request.id)
        if len(request.by) > MAX_BY or not (request.by.isprintable() or not request.by):
            raise BadRequest(f"who decides is named in up to {MAX_BY} printable characters")
        if len(request.comment) > MAX_COMMENT:
            raise BadRequest(f"a comment of {len(request.comment)} characters is over the limit of {MAX_COMMENT}")
        if len(request.request_id) > 64:
            raise BadRequest("the id of a request has at most 64 characters")
        event = DecisionMade(
            request.id, request.approve, request.by, request.comment, request.number, request.request_id
        )

        def posted(row: ApprovalRow | Exception) -> None:
            done(row if isinstance(row, Exception) else approval_info(row))

        self._scheduler.post(event, posted)
