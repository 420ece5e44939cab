"""Pages: frames with what never changes; what does is drawn in the browser from the events and the API."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response as AnyResponse

from dashboard.parts import parts
from dashboard.trust import safe_next
from titan_sdk.settings import TOKEN_FILE

blueprint = Blueprint("pages", __name__)

NAVIGATION = (
    ("pages.overview", "Overview", "grid"),
    ("pages.runs", "Runs", "list"),
    ("pages.agents", "Agent runs", "tree"),
    ("pages.timeline", "Timeline", "bars"),
    ("pages.dead_letters", "Failures", "alert"),
    ("pages.approvals", "Approvals", "check"),
    ("pages.services", "Services", "pulse"),
    ("pages.schedules", "Schedules", "repeat"),
    ("pages.cluster_events", "Events", "clock"),
    ("pages.files", "Files", "file"),
    ("pages.build", "New run", "plus"),
)
"""Endpoint, words, icon of templates/icons.html."""


@blueprint.app_context_processor
def frame() -> dict[str, Any]:
    """What every page's frame shows."""
    found = parts()
    return {
        "navigation": NAVIGATION,
        "csrf": session.get("csrf", ""),
        "master_address": f"{found.gateway.host}:{found.gateway.port}",
    }


@blueprint.get("/")
def overview() -> str:
    return render_template("overview.html")


@blueprint.get("/runs")
def runs() -> str:
    return render_template("runs.html")


@blueprint.get("/runs/<run_id>")
def run(run_id: str) -> str:
    return render_template("run.html", run_id=run_id)


@blueprint.get("/runs/<run_id>/<job_id>")
def job(run_id: str, job_id: str) -> str:
    return render_template("job.html", run_id=run_id, job_id=job_id)


@blueprint.get("/agents")
def agents() -> str:
    return render_template("agents.html")


@blueprint.get("/timeline")
def timeline() -> str:
    return render_template("timeline.html")


@blueprint.get("/failures")
def dead_letters() -> str:
    return render_template("failures.html")


@blueprint.get("/services")
def services() -> str:
    return render_template("services.html")


@blueprint.get("/approvals")
def approvals() -> str:
    return render_template("approvals.html")


@blueprint.get("/schedules")
def schedules() -> str:
    return render_template("schedules.html")


@blueprint.get("/cluster-events")
def cluster_events() -> str:
    return render_template("events.html")


@blueprint.get("/files")
def files() -> str:
    return render_template("files.html")


@blueprint.get("/new")
def build() -> str:
    return render_template("new.html")


@blueprint.get("/login")
def login() -> AnyResponse | str:
    """The form; with ``once`` the code of an address that ``./titan-dev up`` has printed."""
    found = parts()
    code = request.args.get("once", "")
    target = safe_next(request.args.get("next", "/"))
    if code and found.trust.log_in_once(code):
        return redirect(target, 303)
    if "id" in session:
        return redirect(target, 303)
    problem = "That address was used already, or is too old: log in with the token." if code else ""
    return _login_page(problem, target)


@blueprint.post("/login")
def enter() -> AnyResponse | str:
    target = safe_next(request.form.get("next", "/"))
    if parts().trust.log_in(request.form.get("token", "")):
        return redirect(target, 303)
    return Response(_login_page("That is not the token of this cluster.", target), 403)


@blueprint.post("/logout")
def leave() -> AnyResponse:
    session.clear()
    return redirect(url_for("pages.login"), 303)


@blueprint.get("/healthz")
def healthz() -> dict[str, Any]:
    """For a supervisor: we serve; and whether the master answers."""
    return {"ok": True, "master": bool(parts().hub.master["up"])}


def _login_page(problem: str, target: str) -> str:
    home = parts().trust.home
    return render_template("login.html", problem=problem, target=target, token_file=str(home / TOKEN_FILE))
