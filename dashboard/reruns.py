"""One job of an earlier run submitted again, with what belongs to it: specs, cut to what is to be done.

Whole runs, and what failed of them, are run again by the master (messages.Rerun).
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from titan_sdk.errors import NotFound
from titan_sdk.messages import JobSpec, RunOptions, SubmitRun
from titan_sdk.messages.job_spec import DEFAULT_FLOW


class Former(NamedTuple):
    """The run that something is submitted again of."""

    run_id: str
    name: str
    specs: Sequence[JobSpec]
    options: RunOptions | None = None


def one(run: Former, job_id: str) -> SubmitRun:
    """One job alone."""
    return _request(run, _cut(run.specs, {_find(run.specs, job_id).id}))


def rest(run: Former, completed: Collection[str], job_id: str) -> SubmitRun:
    """Of what did not complete: what is needed for one job, and what waits for that.

    Args:
        completed: ids of jobs that did; those that follow them find their results.

    Raises:
        NotFound: there is no such job.
    """
    specs = run.specs
    wanted = {_find(specs, job_id).id}
    parents = {spec.id: spec.parents for spec in specs}
    _spread(wanted, parents, completed)
    children: dict[str, list[str]] = {}
    for spec in specs:
        for parent in spec.parents:
            children.setdefault(parent, []).append(spec.id)
    _spread(wanted, children, completed)
    _spread(wanted, parents, completed)  # the other parents of those
    return _request(run, _cut(specs, wanted))


def _spread(wanted: set[str], edges: dict[str, list[str]] | dict[str, tuple[str, ...]], stop: Collection[str]) -> None:
    """Add everything that can be reached over jobs that are not in ``stop``."""
    todo = list(wanted)
    while todo:
        for other in edges.get(todo.pop(), ()):
            if other not in wanted and other not in stop:
                wanted.add(other)
                todo.append(other)


def _cut(specs: Sequence[JobSpec], wanted: Collection[str]) -> list[JobSpec]:
    """Those jobs, with the parents that are among them."""
    return [_with_parents(spec, wanted) for spec in specs if spec.id in wanted]


def _with_parents(spec: JobSpec, wanted: Collection[str]) -> JobSpec:
    """The job with those of its parents; a trigger rule goes when none of them is left to be judged."""
    parents = tuple(parent for parent in spec.parents if parent in wanted)
    flow = spec.flow if parents or not spec.flow else replace(spec.flow, trigger=DEFAULT_FLOW.trigger)
    return replace(spec, parents=parents, flow=None if flow == DEFAULT_FLOW else flow)


def _find(specs: Iterable[JobSpec], job_id: str) -> JobSpec:
    for spec in specs:
        if spec.id == job_id:
            return spec
    raise NotFound(f"no job {job_id} in this run")


def _request(run: Former, specs: list[JobSpec]) -> SubmitRun:
    """With the values and bounds of the former run, which it names."""
    former = run.options or RunOptions()
    options = RunOptions(
        params=former.params, budget=former.budget, agent_run_id=former.agent_run_id, rerun_of=run.run_id
    )
    return SubmitRun(name=run.name, jobs=specs, idempotency_key=f"dashboard-{uuid.uuid4()}", options=options)
