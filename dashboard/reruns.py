"""One job of an earlier run submitted again, alone.

Whole runs, and what failed of them with what waits for it, are run again by the master (messages.Rerun).
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
