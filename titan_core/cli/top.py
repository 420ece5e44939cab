"""`top`: the cluster at a glance, again and again until Ctrl-C; once when nobody watches."""

from __future__ import annotations

import argparse
import threading
import time
from typing import Any, Final, NamedTuple

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from titan_core.cli.command import argument, command
from titan_core.cli.render import event_line, workers_table
from titan_core.cli.session import Session
from titan_sdk.messages import GetStatsJson, JobInfo, ListEvents, ListJobs, ListWorkers, WorkerInfo
from titan_sdk.render import clean, duration, state_text, table

PERIOD_S: Final = 1.0
"""Between two looks."""
JOBS_SHOWN: Final = 15
EVENTS_SHOWN: Final = 5
_BAR: Final = 20
"""Characters of a bar that shows a share."""


class Glance(NamedTuple):
    """All that one look shows."""

    stats: dict[str, Any]
    workers: list[WorkerInfo]
    jobs: list[JobInfo]
    events: list[Any]


@command(
    "top",
    "Watch workers, jobs, processors and memory, until Ctrl-C; once when the output is no terminal.",
    argument("-n", type=int, default=JOBS_SHOWN, metavar="N", help=f"at most so many jobs (default {JOBS_SHOWN})"),
)
def top(session: Session, given: argparse.Namespace) -> None:
    glance = look(session, given.n)
    if session.as_json or not session.console.is_terminal:
        session.show(glance._asdict(), *parts(glance, session.address))
        return
    never = threading.Event()
    try:
        with Live(
            Group(*parts(glance, session.address)), console=session.console, screen=True, auto_refresh=False
        ) as live:
            while True:
                never.wait(PERIOD_S)
                live.update(Group(*parts(look(session, given.n), session.address)), refresh=True)
    except KeyboardInterrupt:
        return


def look(session: Session, jobs: int) -> Glance:
    """Ask the master for everything."""
    active = ListJobs(states=("RUNNING", "PENDING", "DELAYED"), limit=max(jobs, 0))
    return Glance(
        session.call(GetStatsJson()).data,
        [worker for worker in session.call(ListWorkers()).workers if worker.state != "dead"],
        session.call(active).jobs,
        session.call(ListEvents(newest=EVENTS_SHOWN)).events,
    )


def parts(glance: Glance, address: str) -> list[Any]:
    """What is shown of a look, from top to bottom."""
    now_ms = time.time_ns() // 1_000_000
    shown: list[Any] = [_head(glance, address, now_ms), "", workers_table(glance.workers, brief=True)]
    if glance.jobs:
        shown += ["", _jobs(glance.jobs, now_ms)]
    if glance.events:
        shown += ["", *map(event_line, glance.events)]
    return shown


def _head(glance: Glance, address: str, now_ms: int) -> Table:
    stats = glance.stats
    slots = sum(worker.slots for worker in glance.workers)
    busy = sum(worker.busy for worker in glance.workers)
    counts = ("running", "queue_size", "delayed", "waiting", "completed", "dead", "cancelled")
    names = ("running", "pending", "delayed", "waiting", "completed", "dead", "cancelled")
    grid = Table.grid(padding=(0, 2))
    grid.add_row(Text(f"Titan {address}", style="bold"), time.strftime("%H:%M:%S", time.localtime(now_ms / 1000)))
    grid.add_row(Text("slots"), _bar(busy, slots))
    grid.add_row(Text("jobs"), Text("  ".join(f"{name} {stats[key]}" for name, key in zip(names, counts, strict=True))))
    return grid


def _bar(part: float, whole: float) -> Text:
    filled = round(_BAR * part / whole) if whole else 0
    return Text.assemble(("█" * filled, "cyan"), ("░" * (_BAR - filled), "dim"), f" {part:g}/{whole:g}")


def _jobs(jobs: list[JobInfo], now_ms: int) -> Table:
    rows = (
        (
            clean(job.key),
            state_text(job.state + (" (ready)" if job.ready else "")),
            job.kind,
            clean(job.worker if job.state == "RUNNING" else ""),
            str(job.attempt or ""),
            duration(job.started_at, now_ms) if job.state == "RUNNING" else "",
            clean(job.reason),
        )
        for job in jobs
    )
    whole = ("state", "kind", "worker", "try", "time")
    return table(("job", *whole, "reason"), rows, right=("try", "time"), whole=whole, shorten=("job",))
