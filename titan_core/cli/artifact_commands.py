"""Commands about what jobs published."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from titan_core.cli.command import argument, command
from titan_core.cli.session import Session
from titan_sdk.render import clean, table
from titan_sdk.sizes import format_size


@command(
    "artifacts",
    "List what a run, or one job (run/job), published.",
    argument("id", help="of the run, or the key of the job"),
    completes="job",
)
def artifacts(session: Session, given: argparse.Namespace) -> None:
    found = session.client.artifacts(given.id)
    rows = [(clean(each.name), clean(each.job), format_size(each.size), each.sha256[:12]) for each in found]
    shown = table(("NAME", "JOB", "SIZE", "SHA-256"), rows, right=("SIZE",))
    session.show([asdict(each) for each in found], shown if found else f"{clean(given.id)} published nothing.")


@command(
    "fetch",
    "Have an artifact as a file here: of a job, or of the nearest one before it that published it.",
    argument("job", help="its id or key"),
    argument("name", help="of the artifact"),
    argument("--to", default=None, metavar="PATH", help="the file; NAME by default"),
    completes="job",
)
def fetch(session: Session, given: argparse.Namespace) -> None:
    path = session.client.fetch_artifact(given.name, job=given.job, to=given.to)
    session.show(str(path), f"{path} has {format_size(path.stat().st_size)}")
