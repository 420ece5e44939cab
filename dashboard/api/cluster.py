"""The cluster at a glance, its workers, its last hour, its executions, its events."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request
from werkzeug.exceptions import BadRequest

from dashboard import wire
from dashboard.api.asked import body, text
from dashboard.parts import parts
from titan_sdk.messages import Cordon, KillWorker

blueprint = Blueprint("cluster", __name__)


@blueprint.get("/overview")
def overview() -> dict[str, Any]:
    found = parts()
    seen: dict[str, Any] = found.hub.read(lambda state: state.overview())
    return {"master": found.hub.master, **seen}


@blueprint.get("/workers")
def workers() -> dict[str, Any]:
    return {"workers": parts().hub.read(lambda state: [wire.worker(each) for each in state.workers])}


@blueprint.post("/workers/shutdown")
def shut_down() -> dict[str, Any]:
    """No new jobs for the worker at host:port; it ends when its jobs have."""
    host, port = _place()
    return {"text": parts().gateway.call(KillWorker(host=host, port=port)).text}


@blueprint.post("/workers/drain")
def drain() -> dict[str, Any]:
    """No new jobs for the worker at host:port, which stays."""
    host, port = _place()
    return {"text": parts().gateway.call(Cordon(host=host, port=port)).text}


@blueprint.post("/workers/undrain")
def undrain() -> dict[str, Any]:
    """It gets jobs again."""
    host, port = _place()
    return {"text": parts().gateway.call(Cordon(host=host, port=port, undo=True)).text}


@blueprint.get("/events")
def events() -> dict[str, Any]:
    """The latest, in order; of one worker, pool or job with ``subject``."""
    subject = request.args.get("subject", "")
    return {"events": parts().hub.read(lambda state: state.events_of(subject))}


@blueprint.get("/history")
def history() -> dict[str, Any]:
    return {"samples": parts().hub.read(lambda state: list(state.history.samples))}


@blueprint.get("/timeline")
def timeline() -> dict[str, Any]:
    return {"executions": parts().hub.read(lambda state: list(state.executions.values()))}


def _place() -> tuple[str, int]:
    """The worker that a request is about."""
    asked = body()
    port = asked.get("port")
    if not isinstance(port, int) or isinstance(port, bool):
        raise BadRequest("port: a whole number is wanted")
    return text(asked, "host"), port
