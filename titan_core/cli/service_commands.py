"""Commands about services."""

from __future__ import annotations

import argparse

from titan_core.cli.command import argument, command
from titan_core.cli.render import services_table
from titan_core.cli.session import Session
from titan_sdk.messages import ListServices, Restart, Scale
from titan_sdk.render import clean


@command(
    "services",
    "List the services that have not ended: state, worker, address, restarts, uptime, CPU and memory.",
    argument("name", nargs="?", default="", help="only this one, with its replicas"),
    completes="job",
)
def services(session: Session, given: argparse.Namespace) -> None:
    found = session.call(ListServices(name=given.name)).services
    session.show(found, services_table(found) if found else "No service is active.")


@command(
    "restart",
    "Start a service again at once, its whole process tree; one that has ended is started anew.",
    argument("id", help="the service, or a run: all its services"),
    completes="job",
)
def restart(session: Session, given: argparse.Namespace) -> None:
    answer = session.call(Restart(id=given.id))
    lines = [f"restarting {clean(key)}" for key in answer.jobs] or [f"nothing to restart of {given.id}"]
    session.show(answer, *lines)


@command(
    "scale",
    "Have so many replicas of a service: NAME, NAME.2, NAME.3 ...; 0 stops all of them.",
    argument("name"),
    argument("count", type=int),
    completes="job",
)
def scale(session: Session, given: argparse.Namespace) -> None:
    answer = session.call(Scale(id=given.name, count=given.count))
    lines = [f"accepted: {clean(key)}" for key in answer.started] + [f"stopping {clean(key)}" for key in answer.stopped]
    session.show(answer, *(lines or [f"{given.name} has {given.count} already"]))
