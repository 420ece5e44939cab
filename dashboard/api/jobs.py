"""Jobs: listed by state, looked at with what was asked for, their logs, ended, run again."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, request

from dashboard import reruns, wire
from dashboard.api.asked import number
from dashboard.api.runs import former, submitted
from dashboard.downloads import attachment, content
from dashboard.gateway import Gateway
from dashboard.parts import parts
from titan_sdk.artifacts import artifacts_of
from titan_sdk.errors import NotFound
from titan_sdk.messages import (
    CHUNK_BYTES,
    CancelJob,
    FetchContent,
    GetJob,
    GetLogs,
    GetSpecs,
    ListJobs,
    LogChunk,
    Rerun,
    Stop,
)

blueprint = Blueprint("jobs", __name__)

MAX_FAMILY = 10_000
"""Jobs of a run that are looked through for those that wait for one; some 2 MB."""
_JOB = "/runs/<run_id>/jobs/<job_id>"


@blueprint.get("/jobs")
def listing() -> dict[str, Any]:
    """The newest first; ``?state=DEAD``, several times."""
    states = tuple(name.upper() for name in request.args.getlist("state"))
    found = parts().gateway.call(ListJobs(states=states, limit=number("limit", 100, 0, 10_000)))
    named = parts().hub.read(lambda state: [state.named(each) for each in found.jobs])
    return {"jobs": named, "total": found.total}


@blueprint.get(_JOB)
def one(run_id: str, job_id: str) -> dict[str, Any]:
    """The job with its attempts, what was asked for, what it left, events about it, its children (null: too many)."""
    gateway = parts().gateway
    info = gateway.call(GetJob(id=f"{run_id}/{job_id}"))
    summary = parts().hub.read(lambda state: state.runs.get(run_id))
    big = summary is not None and summary.total > MAX_FAMILY
    specs = gateway.call(GetSpecs(id=info.key if big else info.run_id))
    spec = next((wire.spec(each) for each in specs.jobs if each.id == info.id), None)
    if spec is None and not big:  # one that the master made of another
        spec = next(map(wire.spec, gateway.call(GetSpecs(id=info.key)).jobs), None)
    children = None if big else [each.id for each in specs.jobs if info.id in each.parents]
    events = parts().hub.read(lambda state: state.events_of(info.key))
    return {
        "job": wire.job(info),
        "spec": spec,
        "children": children,
        "artifacts": [asdict(each) for each in artifacts_of(info)],
        "events": events,
        "run_name": specs.name,
    }


@blueprint.get(_JOB + "/log")
def log(run_id: str, job_id: str) -> Response:
    """Bytes of an attempt's log from ``offset`` (negative: from the end); headers say of which."""
    offset = number("offset", 0, -(1 << 53), 1 << 53)
    limit = number("limit", CHUNK_BYTES, 1, 8 * CHUNK_BYTES)
    attempt = number("attempt", 0, 0, 1 << 31)
    first = parts().gateway.call(GetLogs(id=f"{run_id}/{job_id}", offset=offset, attempt=attempt))
    data = bytearray(first.data)
    chunk = first
    while chunk.data and len(data) < limit and first.offset + len(data) < first.size:
        chunk = _chunk(parts().gateway, f"{run_id}/{job_id}", first.offset + len(data), first.attempt)
        data += chunk.data
    response = Response(bytes(data[:limit]), mimetype="application/octet-stream")
    response.headers["X-Titan-Attempt"] = str(first.attempt)
    response.headers["X-Titan-Offset"] = str(first.offset)
    response.headers["X-Titan-Size"] = str(first.size)
    response.headers["X-Titan-Finished"] = "1" if first.finished else "0"
    return response


@blueprint.get(_JOB + "/log/download")
def download(run_id: str, job_id: str) -> Response:
    """The whole log of an attempt as a file."""
    key = f"{run_id}/{job_id}"
    gateway = parts().gateway
    first = gateway.call(GetLogs(id=key, attempt=number("attempt", 0, 0, 1 << 31)))

    def pieces() -> Iterator[bytes]:
        chunk, sent = first, 0
        while chunk.data and sent < first.size:
            yield chunk.data
            sent += len(chunk.data)
            chunk = _chunk(gateway, key, sent, first.attempt)

    return attachment(Response(pieces(), mimetype="application/octet-stream"), f"{job_id}.{first.attempt}.log")


@blueprint.get(_JOB + "/artifacts/<name>")
def artifact(run_id: str, job_id: str, name: str) -> Response:
    """A file that the job left."""
    gateway = parts().gateway
    info = gateway.call(GetJob(id=f"{run_id}/{job_id}"))
    found = next((each for each in artifacts_of(info) if each.name == name), None)
    if found is None:
        raise NotFound(f"{info.key} has not published {name}")
    return content(gateway, gateway.call(FetchContent(sha256=found.sha256)), name)


@blueprint.post(_JOB + "/cancel")
def cancel(run_id: str, job_id: str) -> dict[str, Any]:
    return {"text": parts().gateway.call(CancelJob(id=f"{run_id}/{job_id}")).text}


@blueprint.post(_JOB + "/stop")
def stop(run_id: str, job_id: str) -> dict[str, Any]:
    return {"text": parts().gateway.call(Stop(id=f"{run_id}/{job_id}")).text}


@blueprint.post(_JOB + "/rerun")
def rerun(run_id: str, job_id: str) -> tuple[dict[str, Any], int]:
    """This job alone, as a run of its own."""
    return submitted(reruns.one(former(run_id), job_id))


@blueprint.post(_JOB + "/requeue")
def requeue(run_id: str, job_id: str) -> tuple[dict[str, Any], int]:
    """This job, what it still needs, and what waits for it, as a new run."""
    key = f"dashboard-{uuid.uuid4()}"
    return submitted(Rerun(id=run_id, failed=True, jobs=(job_id,), idempotency_key=key))


def _chunk(gateway: Gateway, key: str, offset: int, attempt: int) -> LogChunk:
    return gateway.call(GetLogs(id=key, offset=offset, attempt=attempt))
