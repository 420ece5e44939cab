"""Agent runs: listed, however long ago they were."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from dashboard import wire
from dashboard.api.asked import number
from dashboard.parts import parts
from titan_sdk.messages import ListAgentRuns

blueprint = Blueprint("agents", __name__)


@blueprint.get("/agents")
def listing() -> dict[str, Any]:
    """Those that were begun last, the newest first."""
    found = parts().gateway.call(ListAgentRuns(limit=number("limit", 500, 0, 1_000)))
    return {
        "agents": [wire.plain(each) | {"state": wire.state_of(each.states, each.finished)} for each in found.agents]
    }
