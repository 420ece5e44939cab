"""How jobs and workers look to a person."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from typing import Final

from rich.table import Table
from rich.text import Text

from titan_sdk.messages import EventInfo, JobInfo, ServiceInfo, WorkerInfo
from titan_sdk.render import clean, duration, state_text, table
from titan_sdk.sizes import format_size


def moment(ms: int) -> str:
    """An epoch ms as local date and time; empty for 0."""
    return datetime.datetime.fromtimestamp(ms / 1000).strftime("%Y-%m-%d %H:%M:%S") if ms else ""


def short_moment(ms: int, now_ms: int) -> str:
    """An epoch ms as local time if it is today, else as day and time; empty for 0."""
    if not ms:
        return ""
    at, now = (datetime.datetime.fromtimestamp(each / 1000) for each in (ms, now_ms))
    return at.strftime("%H:%M:%S" if at.date() == now.date() else "%m-%d %H:%M")


def how_it_ended(exit_code: int | None, reason: str) -> str:
    """Exit code and reason in one text; the code only where the reason does not name it already."""
    named = exit_code is None or re.search(rf"\bexit code {exit_code}\b", reason)
    code = "" if named else f"exit {exit_code}"
    return clean("; ".join(filter(None, (code, reason))))


NARROW: Final = 100
"""Columns of a terminal below which a list of jobs leaves out what the ids need more."""


def jobs_table(jobs: Iterable[JobInfo], now_ms: int, width: int) -> Table:
    """A line for each job, in at most ``width`` columns of a terminal; why it ended may take several lines."""
    columns = ("job", "state", "file", "worker", "try", "submitted", "time", "end")
    shown = [column for column in columns if width >= NARROW or column not in ("file", "try")]
    rows: Iterable[tuple[str | Text, ...]] = (
        (
            clean(job.key),
            state_text(job.state + (" (ready)" if job.ready and job.state == "RUNNING" else "")),
            clean(job.file),
            clean(job.worker),
            str(job.attempt or ""),
            short_moment(job.submitted_at, now_ms),
            duration(job.started_at, job.ended_at or now_ms),
            how_it_ended(job.exit_code, job.reason),
        )
        for job in jobs
    )
    made = table(
        shown,
        ([cell for column, cell in zip(columns, row, strict=True) if column in shown] for row in rows),
        right=("try", "time"),
        whole=("state", "worker", "try", "submitted", "time"),
        shorten=("job", "file"),
    )
    if width < NARROW:
        made.columns[-1].max_width = width // 6
    return made


def job_details(job: JobInfo, now_ms: int) -> list[Table]:
    """What is known of a job, and a table of its attempts."""
    facts: dict[str, str | Text] = {
        "job": job.key,
        "state": state_text(job.state + (" (ready)" if job.ready else "")),
        "file": job.file,
        "kind": job.kind,
        "worker": job.worker,
        "requires": ", ".join(job.requirement),
        "priority": str(job.priority),
        "parents": ", ".join(job.parents),
        "submitted": moment(job.submitted_at),
        "due": moment(job.due_at),
        "started": moment(job.started_at),
        "ended": moment(job.ended_at),
        "time": duration(job.started_at, job.ended_at or now_ms),
        "exit code": "" if job.exit_code is None else str(job.exit_code),
        "reason": job.reason,
        "log": f"{job.log_bytes} bytes",
        "retries left": str(job.retries_left) if job.kind == "run" else "",
        "url": job.url,
        "restarts": str(job.restarts or ""),
        "outputs": job.outputs,
    }
    grid = Table(box=None, pad_edge=False, show_header=False)
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in facts.items():
        if value:
            grid.add_row(name, clean(value) if isinstance(value, str) else value)
    if not job.executions:
        return [grid]
    attempts = (
        (
            str(each.attempt),
            clean(each.worker),
            moment(each.started_at),
            duration(each.started_at, each.ended_at or now_ms),
            each.outcome or "running",
            how_it_ended(each.exit_code, each.reason),
        )
        for each in job.executions
    )
    return [grid, table(("try", "worker", "started", "time", "outcome", "end"), attempts, right=("try", "time"))]


def services_table(services: Iterable[ServiceInfo]) -> Table:
    rows = (
        (
            clean(info.job.key),
            state_text(info.status + (" (replaces another)" if info.replaces else "")),
            clean(info.job.worker),
            clean(info.job.url) or (f"port {info.job.port}" if info.job.port else ""),
            str(info.job.restarts),
            duration(1, 1 + round(info.uptime_s * 1000)) if info.uptime_s else "",
            f"{info.cpu_percent:.0f}%" if info.processes else "",
            f"{info.memory_bytes / 2**20:.0f} MB" if info.processes else "",
            clean(info.job.reason),
        )
        for info in services
    )
    columns = ("service", "state", "worker", "address", "restarts", "up", "cpu", "memory", "reason")
    return table(columns, rows, right=("restarts", "up", "cpu", "memory"))


EVENT_STYLES = {
    "worker-died": "red",
    "scale-up-failed": "red",
    "job-quarantined": "red",
    "service-crash-loop": "red",
    "service-lost": "yellow",
    "service-rolled-back": "red",
    "service-handover": "yellow",
    "service-replaced": "green",
    "service-moved": "green",
    "service-restarting": "yellow",
    "schedule-refused": "red",
    "schedule-missed": "yellow",
    "schedule-skipped": "yellow",
    "schedule-paused": "yellow",
    "schedule-fired": "green",
    "worker-away": "yellow",
    "machines-not-asked": "red",
    "scale-limit": "yellow",
    "machines-wanted": "yellow",
    "worker-joined": "green",
    "worker-back": "green",
    "scale-up": "cyan",
    "scale-down": "cyan",
}


def events_table(events: Iterable[EventInfo]) -> Table:
    rows = (
        (moment(each.at), Text(each.kind, style=EVENT_STYLES.get(each.kind, "")), clean(each.subject), clean(each.text))
        for each in events
    )
    return table(("when", "event", "about", "what and why"), rows)


def event_line(event: EventInfo) -> Text:
    """One event, for somebody who follows."""
    style = EVENT_STYLES.get(event.kind, "")
    return Text.assemble(
        f"{moment(event.at)}  ", (f"{event.kind:17}", style), f" {clean(event.subject)}  {clean(event.text)}"
    )


def workers_table(workers: Iterable[WorkerInfo], *, brief: bool = False) -> Table:
    """The workers; ``brief`` leaves out what they enforce and what runs on them."""
    workers = list(workers)
    apart = ["set apart"] if any(map(resources, workers)) else []
    rows = (
        (
            clean(f"{worker.host}:{worker.port}"),
            state_text(worker.state),
            f"{worker.busy}/{worker.slots}" + (f" +{worker.children}" if worker.children else ""),
            ",".join(worker.capabilities),
            kind_of(worker),
            "" if worker.classic else f"{worker.cpu_percent:.0f}%",
            "" if worker.classic else f"{worker.memory_percent:.0f}%",
            *([resources(worker)] if apart else ()),
            f"{worker.last_seen_s:.1f}s ago",
            *(() if brief else (clean(", ".join(worker.limits)), clean("\n".join(worker.jobs)))),
        )
        for worker in workers
    )
    whole = ("state", "load", "kind", "cpu", "memory", "seen")
    columns = ("worker", "state", "load", "capabilities", "kind", "cpu", "memory", *apart, "seen")
    return table((*columns, *(() if brief else ("limits", "jobs"))), rows, right=("load", "cpu", "memory"), whole=whole)


def kind_of(worker: WorkerInfo) -> str:
    """What becomes of it: ``permanent``, ``scaled`` (ends when idle), ``classic``, or ``ephemeral``."""
    if worker.classic:
        return "classic, permanent" if worker.permanent else "classic"
    return "permanent" if worker.permanent else "scaled" if worker.scaled else "ephemeral"


def resources(worker: WorkerInfo) -> str:
    """What is taken of what there is to set apart, where anything is."""
    texts = []
    if worker.cpus_used:
        texts.append(f"cpus {worker.cpus_used:g}/{worker.cpus:g}")
    if worker.memory_used:
        texts.append(f"memory {format_size(worker.memory_used)} of {format_size(worker.memory)}")
    if worker.gpus:
        texts.append(f"gpus {worker.gpus_used}/{worker.gpus}")
    return ", ".join(texts)
