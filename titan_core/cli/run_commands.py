"""Commands about runs as wholes: listing them, their trees, running them again, agent runs."""

from __future__ import annotations

import argparse
import time
import uuid
from collections.abc import Sequence
from typing import Final

from rich.text import Text
from rich.tree import Tree

from titan_core.cli.command import argument, command
from titan_core.cli.job_commands import show_accepted
from titan_core.cli.render import how_it_ended, moment, short_moment
from titan_core.cli.session import Session
from titan_sdk.messages import (
    CloseRun,
    GetRunTree,
    JobInfo,
    ListAgentRuns,
    ListRuns,
    Rerun,
    RunInfo,
    RunSummary,
    WatchRun,
)
from titan_sdk.render import clean, duration, state_text, table
from titan_sdk.sizes import counted

RUNS_WITH_JOBS: Final = 50
"""Runs of a tree whose jobs are shown; of the others only how many are in each state."""
JOBS_SHOWN: Final = 30
"""Jobs of one run in a tree; those that submitted something are shown in any case."""


@command(
    "runs",
    "List runs, the newest first.",
    argument("--agent", default="", metavar="ID", help="only those of this agent run, however long ago"),
    argument("-n", type=int, default=30, metavar="N", help="at most so many (default 30)"),
)
def runs(session: Session, given: argparse.Namespace) -> None:
    found = session.call(ListRuns(agent_run_id=given.agent, limit=given.n))
    if not found.runs:
        session.show(found, f"No run of agent run {clean(given.agent)}." if given.agent else "No run yet.")
        return
    more = [f"{found.total - len(found.runs)} more"] if found.total > len(found.runs) else []
    now = _now_ms()
    rows = [
        (
            clean(run.run_id),
            clean(run.name),
            _states(run.states) + ("; open" if run.open else ""),
            clean(run.parent),
            short_moment(run.submitted_at, now),
            duration(run.submitted_at, run.ended_at if run.finished else now),
        )
        for run in found.runs
    ]
    columns = ("run", "name", "jobs", "submitted by", "submitted", "time")
    session.show(found, table(columns, rows, right=("time",), shorten=("name", "submitted by")), *more)


@command(
    "tree",
    "Show a run with its jobs, and beneath each job the runs that it submitted, however far down.",
    argument("id", help="of the run, or of a job of it"),
    completes="job",
)
def tree(session: Session, given: argparse.Namespace) -> None:
    found = session.call(GetRunTree(id=given.id))
    infos = {run.run_id: session.call(WatchRun(id=run.run_id)) for run in found.runs[:RUNS_WITH_JOBS]}
    drawn = _draw(found.runs, infos)
    top = infos[found.runs[0].run_id]
    more = [f"{found.total - len(found.runs)} more runs"] if found.total > len(found.runs) else []
    session.show(found, drawn, *_budget(top), *more)


@command(
    "rerun",
    "Run a run again: all of it, or what did not complete and what depends on that.",
    argument("--failed", action="store_true", help="only what did not complete; the rest counts as completed"),
    argument("id", help="of the run, or of a job of it"),
    completes="job",
)
def rerun(session: Session, given: argparse.Namespace) -> None:
    request = Rerun(id=given.id, failed=given.failed, idempotency_key=f"cli-{uuid.uuid4()}")
    show_accepted(session, session.call(request))


@command("close", "Close an open run: no more jobs are added to it.", argument("id"), completes="job")
def close(session: Session, given: argparse.Namespace) -> None:
    answer = session.call(CloseRun(id=given.id))
    session.show(answer, clean(answer.text) or f"{given.id} was not open")


@command(
    "agents",
    "List agent runs, the newest first: what was submitted under one agent_run_id.",
    argument("-n", type=int, default=30, metavar="N", help="at most so many (default 30)"),
)
def agents(session: Session, given: argparse.Namespace) -> None:
    found = session.call(ListAgentRuns(limit=given.n))
    now = _now_ms()
    rows = [
        (
            clean(agent.agent_run_id),
            str(agent.runs),
            _states(agent.states),
            short_moment(agent.started_at, now),
            duration(agent.started_at, agent.ended_at if agent.finished else now),
        )
        for agent in found.agents
    ]
    columns = ("agent run", "runs", "jobs", "begun", "time")
    session.show(found, table(columns, rows, right=("runs", "time")) if rows else "No agent run yet.")


def _draw(runs: Sequence[RunSummary], infos: dict[str, RunInfo]) -> Tree:
    """The first run, and the others beneath the jobs that submitted them."""
    below: dict[str, list[RunSummary]] = {}
    for run in runs[1:]:
        below.setdefault(run.parent, []).append(run)
    root = Tree(_run_line(runs[0]))
    todo = [(root, runs[0])]
    while todo:
        node, run = todo.pop()
        info = infos.get(run.run_id)
        jobs = info.jobs if info is not None else []
        shown = [job for number, job in enumerate(jobs) if number < JOBS_SHOWN or job.key in below]
        branches = {job.key: node.add(_job_line(job)) for job in shown}
        if info is not None and info.total > len(shown):
            node.add(f"{counted(info.total - len(shown), 'job')} more")
        keys = dict.fromkeys([*branches, *(key for key in below if key.partition("/")[0] == run.run_id)])
        for key in keys:
            if key not in branches and key in below:
                branches[key] = node.add(clean(key.partition("/")[2]))
            todo += [(branches[key].add(_run_line(child)), child) for child in below.get(key, ())]
    return root


def _budget(run: RunInfo) -> list[str]:
    """What the run may use, and how much of it is used."""
    budget = run.options.budget if run.options is not None else None
    if budget is None:
        return []
    parts = [f"{run.tree_jobs} of {counted(budget.max_jobs, 'job')}" if budget.max_jobs else ""]
    parts.append(f"depth {budget.max_depth}" if budget.max_depth is not None else "")
    parts.append(f"wall time {budget.wall_s:g} s, until {moment(run.deadline_at)}" if budget.wall_s else "")
    return [f"budget: {', '.join(filter(None, parts))}"]


def _run_line(run: RunSummary) -> Text:
    line = Text(clean(run.run_id), style="bold")
    line.append(f" {clean(run.name)}: {_states(run.states)}", style="not bold")
    return line.append("; open" if run.open else "", style="not bold")


def _job_line(job: JobInfo) -> Text:
    why = how_it_ended(job.exit_code if job.exit_code else None, job.reason)
    return Text.assemble(clean(job.id), " ", state_text(job.state), f" {why}" if why else "")


def _states(states: dict[str, int]) -> str:
    """As in ``2 COMPLETED, 1 DEAD``."""
    return ", ".join(f"{number} {state}" for state, number in sorted(states.items())) or "no jobs"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
