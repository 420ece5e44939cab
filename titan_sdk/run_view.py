"""A run as a person follows it: while it goes on, and how it ended."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Final, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from titan_sdk.handles import is_settled
from titan_sdk.messages import FINAL_STATES, JobInfo, RunInfo
from titan_sdk.render import clean, duration, state_text, table

PLAIN_WIDTH: Final = 160
"""Columns of a table that goes to a file or a pipe, where nothing says how wide it may be."""
MAX_ROWS: Final = 200
"""Of the table at the end: those that failed come first, the others are counted."""
_REDRAWS_PER_S: Final = 4
_ROWS_AROUND: Final = 4
"""Rows of a terminal that the live table leaves to its heading and the prompt."""
_STATES: Final = ("RUNNING", "PENDING", "DELAYED", "HELD", "WAITING", "COMPLETED", "SKIPPED", "DEAD", "CANCELLED")


class View(Protocol):
    """Shows a run while it goes on, for the time of a ``with`` block."""

    def show(self, run: RunInfo) -> None: ...

    def __enter__(self) -> View: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...


def new_view(*, quiet: bool) -> View:
    """A table that changes in place on a terminal, a line for each change elsewhere, nothing when quiet."""
    if quiet:
        return SilentView()
    return LiveView(new_console()) if sys.stdout.isatty() else PlainView()


def new_console() -> Console:
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return Console(markup=False, highlight=False, emoji=False, width=width)


class SilentView:
    """Shows nothing."""

    def __enter__(self) -> SilentView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    def show(self, run: RunInfo) -> None: ...


class PlainView(SilentView):
    """A line for each change of a job's state. What a job does between two looks at the run is not seen."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, int, bool]] = {}

    def show(self, run: RunInfo) -> None:
        width = max((len(job.id) for job in run.jobs), default=0)
        for job in run.jobs:
            now = (job.state, job.attempt, job.ready)
            before = self._seen.get(job.key, ("WAITING", 0, False))
            self._seen[job.key] = now
            # At first everything waits: that is told of those alone for which there is a reason to know.
            if now != before and (before[0] != "WAITING" or job.state != "PENDING" or job.reason):
                sys.stdout.write(f"{time.strftime('%H:%M:%S')} {clean(job.id):{min(width, 40)}} {self._news(job)}\n")
        sys.stdout.flush()

    def _news(self, job: JobInfo) -> str:
        text = shown_state(job)
        if job.state == "RUNNING":
            text += f" on {clean(job.worker)}" + (f", attempt {job.attempt}" if job.attempt > 1 else "")
        elif job.state in FINAL_STATES and job.started_at:
            text += f" after {duration(job.started_at, job.ended_at)}"
        why = "" if job.state in ("RUNNING", "WAITING") else _why(job)
        return f"{text}: {why}" if why else text


class LiveView(SilentView):
    """A table of the jobs in place, with times that go on; of a large run those that matter now."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._run: RunInfo | None = None
        self._live = Live(
            console=console, get_renderable=self._drawn, refresh_per_second=_REDRAWS_PER_S, transient=True
        )

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._live.stop()

    def show(self, run: RunInfo) -> None:
        self._run = run

    def _drawn(self) -> RenderableType:
        run = self._run
        if run is None:
            return Text("")
        room = max(1, self._console.height - _ROWS_AROUND)
        jobs = run.jobs
        if len(jobs) > room:
            jobs = sorted(jobs, key=_importance)[:room]
        now_ms = time.time_ns() // 1_000_000
        rows = (
            (
                clean(job.id),
                state_text(shown_state(job)),
                duration(job.started_at, job.ended_at or now_ms),
                str(job.attempt or ""),
                clean(job.worker),
                "" if job.state == "WAITING" else _why(job),
            )
            for job in jobs
        )
        whole = ("state", "time", "try", "worker")
        shown = table(("job", *whole, "why"), rows, right=("time", "try"), whole=whole, shorten=("job",))
        return Group(Text(_counts(run.jobs)), shown)


def print_result(console: Console, run: RunInfo) -> None:
    """The table of a run's jobs when there is nothing left to wait for."""
    jobs = run.jobs
    if len(jobs) > MAX_ROWS:
        jobs = sorted(jobs, key=lambda job: not failed(job))[:MAX_ROWS]
    rows = (
        (
            clean(job.id),
            state_text(shown_state(job)),
            str(job.attempt),
            duration(job.started_at, job.ended_at or time.time_ns() // 1_000_000),
            "" if job.exit_code is None else str(job.exit_code),
            clean(job.worker),
        )
        for job in jobs
    )
    whole = ("state", "try", "time", "exit", "worker")
    console.print(table(("job", *whole), rows, right=("try", "time", "exit"), whole=whole, shorten=("job",)))
    if len(run.jobs) > len(jobs):
        console.print(f"... and {len(run.jobs) - len(jobs)} more")
    console.print(_counts(run.jobs))


def failed(job: JobInfo) -> bool:
    """Whether there is no success to hope for any more."""
    return job.state in ("DEAD", "CANCELLED")


def causes(jobs: Iterable[JobInfo]) -> list[JobInfo]:
    """Those that failed by themselves, and not because of a parent."""
    lost = {job.id: job for job in jobs if failed(job)}
    return [job for job in lost.values() if not any(parent in lost for parent in job.parents)]


def print_failure(console: Console, job: JobInfo, tail: Sequence[str]) -> None:
    """Why a job failed, and the last lines of its log."""
    console.print(f"\n{clean(job.id)} is {job.state}: {_why(job) or 'no reason is known'}", soft_wrap=True)
    for line in tail:
        console.print(f"  | {clean(line)}", soft_wrap=True)


def shown_state(job: JobInfo) -> str:
    return f"{job.state} (ready)" if job.ready and job.state == "RUNNING" else str(job.state)


def _counts(jobs: Iterable[JobInfo]) -> str:
    counts = Counter(job.state for job in jobs)
    return ", ".join(f"{counts[state]} {state}" for state in _STATES if counts[state])


def _importance(job: JobInfo) -> int:
    """Failures first, then what runs, then what will, then what is done; in the order of the file within each."""
    if failed(job):
        return 0
    if is_settled(job):
        return 3
    return 1 if job.state == "RUNNING" else 2


def _why(job: JobInfo) -> str:
    """Why it is where it is, in one line; empty when nothing is to be said."""
    reason = job.reason or (f"exit code {job.exit_code}" if job.exit_code else "")
    return clean(" ".join(reason.split()))
