"""The cluster at a glance, its workers, its last hour, its executions."""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from werkzeug.exceptions import BadRequest

from dashboard import wire
from dashboard.api.asked import body, text
from dashboard.parts import parts
from titan_sdk.messages import KillWorker

blueprint = Blueprint("cluster", __name__)


@blueprint.get("/overview")
def overview() -> dict[str, Any]:
    found = parts()
    seen: dict[str, Any] = found.hub.read(lambda state: state.overview())
    return {"master": found.hub.master, **seen}


@blueprint.get("/workers")
def workers() -> dict[str, Any]:
    return {"workers": parts().hub.read(lambda state: [wire.worker(each) for each in state.workers])}


@blueprint.post("/workers/drain")
def drain() -> dict[str, Any]:
    """No new jobs for the worker at host:port; it ends when its jobs have."""
    asked = body()
    port = asked.get("port")
    if not isinstance(port, int):
        raise BadRequest("port: a whole number is wanted")
    return {"text": parts().gateway.call(KillWorker(host=text(asked, "host"), port=port)).text}


@blueprint.get("/history")
def history() -> dict[str, Any]:
    return {"samples": parts().hub.read(lambda state: list(state.history.samples))}


@blueprint.get("/timeline")
def timeline() -> dict[str, Any]:
    return {"executions": parts().hub.read(lambda state: list(state.executions.values()))}
