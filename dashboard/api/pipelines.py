"""Pipelines: checked as they are typed, drawn, written as YAML, deployed."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Blueprint, request
from werkzeug.exceptions import BadRequest

from dashboard import pipeline_model, pipelines
from dashboard.api.asked import body, text
from dashboard.errors import problems_json
from dashboard.parts import parts
from titan_sdk.errors import InvalidName, PipelineError
from titan_sdk.messages import ScheduleSaved
from titan_sdk.names import check_relative_path

blueprint = Blueprint("pipelines", __name__, url_prefix="/pipelines")

MAX_TEXT = 4 * 1024 * 1024


@blueprint.post("/check")
def check() -> dict[str, Any]:
    """What is wrong with ``yaml``, and what can be read of it; ``files``: paths of the files that would come along."""
    asked = body()
    files = asked.get("files", [])
    if not isinstance(files, list) or not all(isinstance(each, str) for each in files):
        raise BadRequest("files: a list of paths is wanted")
    try:
        pipelines.check(_text(text(asked, "yaml")), files, pipelines.known_files(parts().gateway))
        problems = problems_json(())
    except PipelineError as error:
        problems = problems_json(error.problems)
    return {"ok": not problems, "problems": problems, "pipeline": pipeline_model.sketch(asked["yaml"])}


@blueprint.post("/render")
def render() -> dict[str, Any]:
    """The YAML of a drawn ``pipeline``."""
    described = body().get("pipeline")
    jobs = described.get("jobs") if isinstance(described, dict) else None
    if not isinstance(described, dict) or not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
        raise BadRequest("pipeline: an object with name and jobs is wanted")
    return {"yaml": pipeline_model.render(described)}


@blueprint.post("/deploy")
def deploy() -> tuple[dict[str, Any], int]:
    """Submit ``yaml`` with ``params``, as JSON or as a form with files; of one with a schedule that is registered."""
    files: dict[str, bytes] = {}
    if request.mimetype == "multipart/form-data":
        source = request.form.get("yaml", "")
        params = _values(request.form.get("params") or "{}")
        paths = request.form.getlist("path")
        for number, each in enumerate(request.files.getlist("file")):
            path = paths[number] if number < len(paths) else each.filename or ""
            files[check_relative_path(path)] = each.read()
    else:
        source = text(body(), "yaml")
        params = _values(body().get("params", {}))
    gateway = parts().gateway
    made = pipelines.deploy(gateway, _text(source), files, pipelines.known_files(gateway), params)
    if isinstance(made, ScheduleSaved):
        return {"run_id": "", "jobs": [], "schedule": made.schedule.name}, 201
    return {"run_id": made.run_id, "jobs": [job.key for job in made.jobs()], "schedule": ""}, 201


def _values(given: Any) -> dict[str, str]:
    """Values of parameters by name, from a map or the JSON of one."""
    try:
        found: dict[str, str] = msgspec.json.decode(given, type=dict[str, str]) if isinstance(given, str) else given
        return msgspec.convert(found, dict[str, str])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise BadRequest(f"params: an object of texts is wanted: {error}") from None


def _text(source: str) -> str:
    if len(source) > MAX_TEXT:
        raise InvalidName(f"a pipeline of more than {MAX_TEXT} characters is not taken here")
    return source
