"""How schedules look on a terminal. Times are told in the zone of whoever looks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone

from rich.table import Table
from rich.text import Text

from titan_sdk.messages import FiringInfo, Recurrence, ScheduleInfo
from titan_sdk.render import clean, state_text, table
from titan_sdk.timetable import format_duration

OUTCOME_STYLES = {"fired": "green", "skipped": "yellow", "missed": "yellow", "refused": "red"}


def local_time(moment: int) -> str:
    """Epoch ms as ``Wed 2026-11-25 06:00:00 CET``."""
    return datetime.fromtimestamp(moment / 1000, timezone.utc).astimezone().strftime("%a %Y-%m-%d %H:%M:%S %Z")


def times(when: Recurrence) -> str:
    """In a few words: ``0 6 * * 1-5 Europe/Berlin`` or ``every 15m``."""
    return f"{when.cron} {when.timezone}" if when.cron else f"every {format_duration(when.every_ms)}"


def next_text(info: ScheduleInfo) -> str:
    """When it fires next, or why it does not."""
    if info.problem:
        return clean(info.problem)
    if info.paused:
        return "paused"
    return local_time(info.next_due[0]) if info.next_due else "never again"


def due_lines(info: ScheduleInfo) -> list[str]:
    """The next due times, in the zone of whoever looks, and how long until then."""
    now = time.time_ns() // 1_000_000
    rows = [f"{local_time(due)}  (in {format_duration(max(0, due - now) // 1000 * 1000)})" for due in info.next_due]
    note = [f"{clean(info.name)} is paused; it fires at none of these until `resume {clean(info.name)}`"]
    return [*(note if info.paused else []), *(rows or [next_text(info) if info.problem else "never again"])]


def schedules_table(schedules: Iterable[ScheduleInfo]) -> Table:
    rows = (
        (
            clean(info.name),
            clean(times(info.when)),
            next_text(info),
            _last(info.last_run),
            str(info.fired),
            str(info.skipped + info.missed + info.refused),
            _trouble(info),
        )
        for info in schedules
    )
    columns = ("schedule", "when", "next", "last run", "fired", "not fired", "last trouble")
    return table(columns, rows, right=("fired", "not fired"))


def firings_table(firings: Sequence[FiringInfo]) -> Table:
    rows = (
        (
            str(each.number),
            "on request" if each.manual else local_time(each.due_at),
            Text(each.outcome, style=OUTCOME_STYLES.get(each.outcome, "")),
            clean(each.run_id),
            state_text(each.state or ("RUNNING" if each.run_id else "")),
            clean(each.reason),
        )
        for each in firings
    )
    return table(("number", "due", "outcome", "run", "state", "why"), rows, right=("number",))


def _last(firing: FiringInfo | None) -> Text:
    if firing is None:
        return Text("")
    return Text.assemble(state_text(firing.state), f" {local_time(firing.at)}")


def _trouble(info: ScheduleInfo) -> str:
    """Why the last due time was not fired; empty when it was."""
    return f"{info.last.outcome}: {clean(info.last.reason)}" if info.last and info.last.reason else ""
