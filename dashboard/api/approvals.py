"""Approvals: what people are asked before a job goes on, and their answers."""

from __future__ import annotations

import uuid
from typing import Any

from flask import Blueprint, request
from werkzeug.exceptions import BadRequest

from dashboard import wire
from dashboard.api.asked import body, text
from dashboard.listings import DECIDED_SHOWN
from dashboard.parts import parts
from titan_sdk.messages import Decide, ListApprovals

blueprint = Blueprint("approvals", __name__)


@blueprint.get("/approvals")
def listing() -> dict[str, Any]:
    """What waits for a person, and with ``decided=1`` the latest that does not any more."""
    decided = request.args.get("decided") == "1"
    limit = DECIDED_SHOWN if decided else 1000
    return wire.plain(parts().gateway.call(ListApprovals(decided=decided, limit=limit)))


@blueprint.post("/runs/<run_id>/jobs/<job_id>/decide")
def decide(run_id: str, job_id: str) -> dict[str, Any]:
    """Approve or reject; ``number`` is that of the question somebody has read, so that no other one gets the answer."""
    asked = body()
    approve, number = asked.get("approve"), asked.get("number", 0)
    if not isinstance(approve, bool):
        raise BadRequest("approve: true or false is wanted")
    if not isinstance(number, int) or isinstance(number, bool):
        raise BadRequest("number: a whole number is wanted")
    decision = Decide(
        id=f"{run_id}/{job_id}",
        approve=approve,
        by=text(asked, "by", "") or "dashboard",
        comment=text(asked, "comment", ""),
        number=number,
        request_id=uuid.uuid4().hex,
    )
    return {"approval": wire.plain(parts().gateway.call(decision))}
