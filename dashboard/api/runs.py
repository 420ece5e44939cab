"""Runs: listed, looked at, ended, run again."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from typing import Any

from flask import Blueprint, request
from werkzeug.exceptions import BadRequest

from dashboard import pipeline_model, reruns, wire
from dashboard.api.asked import body, number, text
from dashboard.parts import parts
from titan_sdk.messages import CancelJob, CloseRun, GetSpecs, ListRuns, Rerun, Stop, SubmitRun, WatchRun

NO_JOBS = 1 << 30
"""From that number on a run has none."""

blueprint = Blueprint("runs", __name__, url_prefix="/runs")


@blueprint.get("")
def listing() -> dict[str, Any]:
    """The newest first; with ``agent_run_id`` all of that agent run."""
    agent = request.args.get("agent_run_id", "")
    page = parts().gateway.call(ListRuns(limit=number("limit", 100, 0, 5_000), agent_run_id=agent))
    return {"runs": [wire.run(each) for each in page.runs], "total": page.total}


@blueprint.get("/<run_id>")
def one(run_id: str) -> dict[str, Any]:
    """With its first jobs, ``limit`` of them, and the runs that its jobs have submitted."""
    limit = number("limit", 5_000, 0, 1_000_000)
    info = parts().gateway.run(run_id, limit)
    summary = parts().hub.read(lambda state: state.runs.get(info.run_id))
    found = wire.run_info(info, limit)
    found["children"] = parts().hub.read(lambda state: state.runs_of(info.run_id))
    if summary is not None and len(info.jobs) < info.total:
        found |= {"states": summary.states, "ended_at": summary.ended_at}  # of all of them
        found["state"] = wire.state_of(summary.states, info.finished)
    return found


@blueprint.get("/<run_id>/pipeline")
def pipeline(run_id: str) -> dict[str, Any]:
    """What was asked for, in the shape of a checked pipeline, and as YAML."""
    run = former(run_id)
    described = pipeline_model.of_specs(run.name, run.specs, run.options.params if run.options else None)
    return {"pipeline": described, "yaml": pipeline_model.render(described)}


@blueprint.get("/<run_id>/artifacts")
def artifacts(run_id: str) -> dict[str, Any]:
    """The files that its jobs left. Each job is asked for."""
    return {"artifacts": [asdict(each) for each in parts().gateway.client().artifacts(run_id)]}


@blueprint.post("/<run_id>/cancel")
def cancel(run_id: str) -> dict[str, Any]:
    return {"text": parts().gateway.call(CancelJob(id=run_id)).text}


@blueprint.post("/<run_id>/close")
def close(run_id: str) -> dict[str, Any]:
    """Nothing more is added to an open run."""
    return {"text": parts().gateway.call(CloseRun(id=run_id)).text}


@blueprint.post("/<run_id>/stop")
def stop(run_id: str) -> dict[str, Any]:
    return {"text": parts().gateway.call(Stop(id=run_id)).text}


@blueprint.post("/<run_id>/rerun")
def rerun(run_id: str) -> tuple[dict[str, Any], int]:
    """A new run of the same jobs: all of them, or with ``what`` = ``rest`` those that did not complete.

    With ``jobs`` only these of the rest, and what belongs to them.
    """
    what, jobs = text(body(), "what", "all"), body().get("jobs", [])
    if what not in ("all", "rest"):
        raise BadRequest("what: all or rest is wanted")
    if not isinstance(jobs, list) or not all(isinstance(each, str) for each in jobs) or (jobs and what == "all"):
        raise BadRequest("jobs: a list of ids is wanted, of the rest")
    key = f"dashboard-{uuid.uuid4()}"
    return submitted(Rerun(id=run_id, failed=what == "rest", jobs=tuple(jobs), idempotency_key=key))


def former(run_id: str) -> reruns.Former:
    """A run as it was asked for."""
    gateway = parts().gateway
    specs = gateway.call(GetSpecs(id=run_id))
    info = gateway.call(WatchRun(id=run_id, first=NO_JOBS))
    return reruns.Former(info.run_id, specs.name, specs.jobs, info.options)


def submitted(request: SubmitRun | Rerun) -> tuple[dict[str, Any], int]:
    """Submit; the answer for the browser."""
    accepted = parts().gateway.call(request)
    return {"run_id": accepted.run_id, "jobs": accepted.jobs}, 201
