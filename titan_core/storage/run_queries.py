"""Questions about many runs, finished long ago or not, answered from the journal."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from titan_core.model.states import FINAL, JobState
from titan_sdk.messages import AgentRun, RunSummary

_AT_ONCE: Final = 500
"""Runs asked for in one query: SQLite takes at least 999 parameters."""

# A parent is ``run/job``: with the next character after ``/`` as the end, the range holds every job of the run.
_CHILDREN: Final = """SELECT seq, run_id FROM runs
WHERE parent > ? || '/' AND parent < ? || '0' AND parent <> '' ORDER BY seq"""
_RUNS: Final = "SELECT seq, run_id, name, submitted_at, parent, open, agent_run_id FROM runs WHERE seq IN ({})"
_STATES: Final = """SELECT run_seq, state, count(*), max(ended_at) FROM jobs
WHERE run_seq IN ({}) GROUP BY run_seq, state"""
_OF_AGENT: Final = """SELECT seq FROM runs
WHERE agent_run_id = ? AND agent_run_id <> '' ORDER BY seq DESC LIMIT ?"""
_AGENTS: Final = """SELECT agent_run_id FROM runs WHERE agent_run_id <> ''
GROUP BY agent_run_id ORDER BY min(seq) DESC LIMIT ?"""


def tree(db: sqlite3.Connection, run_id: str, depth: int, limit: int) -> tuple[list[RunSummary], int]:
    """The run and those submitted from inside it, ``depth`` generations down (-1: all), each behind its parent.

    Returns:
        No more than ``limit`` of them, and how many there are; none when there is no such run.
    """
    first = db.execute("SELECT seq, run_id FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    found: list[int] = []
    todo = [(*first, 0)] if first else []
    while todo:
        seq, name, generation = todo.pop()
        found.append(seq)
        if generation != depth:
            below = db.execute(_CHILDREN, (name, name)).fetchall()
            todo += [(*row, generation + 1) for row in reversed(below)]
    return summaries(db, found[:limit]), len(found)


def of_agent(db: sqlite3.Connection, agent_run_id: str, limit: int) -> list[RunSummary]:
    """The newest runs of an agent run."""
    return summaries(db, [row[0] for row in db.execute(_OF_AGENT, (agent_run_id, limit))])


def agents(db: sqlite3.Connection, limit: int) -> list[AgentRun]:
    """The agent runs that were begun last."""
    found = []
    for (name,) in db.execute(_AGENTS, (limit,)).fetchall():
        runs = of_agent(db, name, -1)
        states: dict[str, int] = {}
        for run in runs:
            for state, number in run.states.items():
                states[state] = states.get(state, 0) + number
        found.append(
            AgentRun(
                agent_run_id=name,
                runs=len(runs),
                finished=all(run.finished for run in runs),
                started_at=min(run.submitted_at for run in runs),
                ended_at=max(run.ended_at for run in runs),
                states=states,
            )
        )
    return found


def summaries(db: sqlite3.Connection, seqs: Sequence[int]) -> list[RunSummary]:
    """The runs of these numbers, in this order."""
    found: dict[int, RunSummary] = {}
    for start in range(0, len(seqs), _AT_ONCE):
        some = seqs[start : start + _AT_ONCE]
        marks = ",".join("?" * len(some))
        for row in db.execute(_RUNS.format(marks), some):
            found[row[0]] = _summary(row)
        for seq, state, number, ended_at in db.execute(_STATES.format(marks), some):
            run = found[seq]
            run.states[state] = number
            run.total += number
            run.ended_at = max(run.ended_at, ended_at)
            run.finished = run.finished and JobState(state) in FINAL
    return [found[seq] for seq in seqs]


def _summary(row: Sequence[Any]) -> RunSummary:
    _, run_id, name, submitted_at, parent, is_open, agent_run_id = row
    return RunSummary(
        run_id=run_id,
        name=name,
        finished=not is_open,
        submitted_at=submitted_at,
        parent=parent,
        open=bool(is_open),
        agent_run_id=agent_run_id,
    )
