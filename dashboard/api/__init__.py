"""``/api/v1``: everything the pages do, for programs too. ``openapi.yaml`` beside this package describes it."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import yaml
from flask import Blueprint

from dashboard.api import agents, approvals, cluster, files, jobs, pipelines, runs, schedules, services

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")
for part in (cluster, runs, agents, jobs, approvals, services, schedules, files, pipelines):
    blueprint.register_blueprint(part.blueprint)


@cache
def openapi() -> dict[str, Any]:
    """The document, read once."""
    text = resources.files("dashboard").joinpath("openapi.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    return document


@blueprint.get("/openapi.json")
def document() -> dict[str, Any]:
    return openapi()
