"""The artifact registry perm_files: listed, uploaded to, downloaded from, its files run."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest

from dashboard import wire
from dashboard.api.asked import body, text
from dashboard.downloads import content
from dashboard.parts import parts
from titan_sdk.job import split_args, split_requirement
from titan_sdk.messages import Deploy, FetchContent, ListFiles, RunFile
from titan_sdk.names import check_file_name

blueprint = Blueprint("files", __name__, url_prefix="/files")


@blueprint.get("")
def listing() -> dict[str, Any]:
    """What people put there, and with ``?staged=1`` what submissions brought along."""
    staged = request.args.get("staged") == "1"
    found = parts().gateway.call(ListFiles(staged=staged)).files
    return {"files": [wire.plain(each) for each in found]}


@blueprint.post("")
def upload() -> tuple[dict[str, Any], int]:
    """The files of a form, under their own names."""
    names = []
    for each in request.files.getlist("file"):
        name = check_file_name((each.filename or "").replace("\\", "/").rpartition("/")[2])
        with tempfile.TemporaryDirectory(prefix="titan-dashboard-") as folder:
            path = Path(folder) / "upload"
            each.save(path)
            names.append(parts().gateway.client().upload_file(path, name=name))
    if not names:
        raise BadRequest("file: at least one file is wanted")
    return {"names": names}, 201


@blueprint.get("/<name>")
def download(name: str) -> Response:
    gateway = parts().gateway
    return content(gateway, gateway.call(FetchContent(name=check_file_name(name))), name)


@blueprint.post("/<name>/run")
def run(name: str) -> tuple[dict[str, Any], int]:
    """Run a file, or with ``service`` keep it running."""
    asked = body()
    args = tuple(split_args(text(asked, "args", "")))
    requirement = tuple(split_requirement(text(asked, "requirement", "GENERAL") or "GENERAL"))
    port = asked.get("port") or 0
    if not isinstance(port, int):
        raise BadRequest("port: a whole number is wanted")
    gateway = parts().gateway
    if asked.get("service"):
        accepted = gateway.call(Deploy(file=name, port=port, args=args, requirement=requirement))
    else:
        accepted = gateway.call(RunFile(file=name, args=args, requirement=requirement))
    return {"run_id": accepted.run_id, "jobs": accepted.jobs}, 201
