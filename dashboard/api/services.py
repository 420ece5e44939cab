"""Services: how they do, restarted, scaled."""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from werkzeug.exceptions import BadRequest

from dashboard import wire
from dashboard.api.asked import body
from dashboard.parts import parts
from titan_sdk.messages import ListServices, Restart, Scale

blueprint = Blueprint("services", __name__)

_JOB = "/runs/<run_id>/jobs/<job_id>"


@blueprint.get("/services")
def listing() -> dict[str, Any]:
    """Those that are active with what they use, and those that ended last."""
    active = parts().gateway.call(ListServices())
    shown: dict[str, Any] = parts().hub.read(
        lambda state: wire.services(active, state.worker_services(), state.ended_services())
    )
    return shown


@blueprint.post(_JOB + "/restart")
def restart(run_id: str, job_id: str) -> dict[str, Any]:
    """A new attempt at once; of one that has ended, a new run."""
    return {"jobs": parts().gateway.call(Restart(id=f"{run_id}/{job_id}")).jobs}


@blueprint.post(_JOB + "/scale")
def scale(run_id: str, job_id: str) -> dict[str, Any]:
    """Have ``count`` replicas of it."""
    count = body().get("count")
    if not isinstance(count, int) or isinstance(count, bool):
        raise BadRequest("count: a whole number is wanted")
    answer = parts().gateway.call(Scale(id=f"{run_id}/{job_id}", count=count))
    return {"started": answer.started, "stopped": answer.stopped}
