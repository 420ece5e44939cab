"""Schedules: when each is due next, what became of its due times; paused, triggered, forgotten."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from dashboard import wire
from dashboard.api.asked import number
from dashboard.listings import SCHEDULES
from dashboard.parts import parts
from titan_sdk.messages import DeleteSchedule, ListFirings, PauseSchedule, TriggerSchedule

blueprint = Blueprint("schedules", __name__, url_prefix="/schedules")


@blueprint.get("")
def listing() -> dict[str, Any]:
    return wire.plain(parts().gateway.call(SCHEDULES))


@blueprint.get("/<name>/firings")
def firings(name: str) -> dict[str, Any]:
    """What became of its due times, the newest first."""
    return wire.plain(parts().gateway.call(ListFirings(name=name, limit=number("limit", 50, 1, 1000))))


@blueprint.post("/<name>/pause")
def pause(name: str) -> dict[str, Any]:
    return {"schedule": wire.plain(parts().gateway.call(PauseSchedule(name=name)))}


@blueprint.post("/<name>/resume")
def resume(name: str) -> dict[str, Any]:
    return {"schedule": wire.plain(parts().gateway.call(PauseSchedule(name=name, undo=True)))}


@blueprint.post("/<name>/trigger")
def trigger(name: str) -> dict[str, Any]:
    """A run of it now; without a ``run_id`` it waits for the former one to end."""
    return {"run_id": parts().gateway.call(TriggerSchedule(name=name)).run_id}


@blueprint.post("/<name>/delete")
def delete(name: str) -> dict[str, Any]:
    """Forget it and its history; its runs stay."""
    return {"text": parts().gateway.call(DeleteSchedule(name=name)).text}
