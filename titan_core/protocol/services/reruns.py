"""Reruns: a new run of what an earlier one was asked for, all of it or what did not complete."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from msgspec.structs import replace

from titan_core.model.rows import JobRow
from titan_core.model.states import JobState
from titan_core.protocol.services import Done
from titan_core.protocol.services.jobs import check_name, spellings
from titan_core.protocol.services.submissions import SubmissionService
from titan_core.scheduling.core.views import is_asked_for
from titan_core.storage.store import Store, StoredRun
from titan_sdk.errors import Conflict, NotFound
from titan_sdk.messages import DEFAULT_OPTIONS, Accepted, JobSpec, Rerun, RunOptions, SubmitRun


class RerunService:
    """Nothing revives a final state: what is run again is a new run, which names the one it comes from."""

    def __init__(self, store: Store, submissions: SubmissionService) -> None:
        self._store = store
        self._submissions = submissions

    def rerun(self, request: Rerun, done: Done[Accepted]) -> None:
        """Submit the new run. Refusals are those of a submission, and:

        Raises:
            NotFound: there is no such run or job. Conflict: it goes on, or there is nothing to run again.
        """
        check_name(request.id)
        stored = self._find(request.id)
        run_id = stored.run.run_id
        options = replace(stored.run.options or DEFAULT_OPTIONS, open=False, idle_s=0.0, rerun_of=run_id)
        named = {_origin(stored, each) for each in request.jobs}
        # What repaired a job, and the instances of one, are made anew when they are needed again; a repaired job itself
        # runs as it was repaired.
        stored = dataclasses.replace(stored, jobs=[each for each in stored.jobs if is_asked_for(each[0])])
        specs = [spec for spec, _ in stored.jobs]
        if request.failed:
            again = to_run_again(run_id, stored.jobs, named)
            specs = [spec for spec in specs if spec.id in again]
            options = _keeping(options, stored, specs, again)
        elif not specs:
            raise Conflict(f"run {run_id} has no jobs")
        self._submissions.submit(
            SubmitRun(
                name=stored.run.name,
                jobs=[_anew(spec) for spec in specs],
                idempotency_key=request.idempotency_key,
                parent=request.parent,
                options=options,
            ),
            done,
        )

    def _find(self, name: str) -> StoredRun:
        for spelling in spellings(name):
            stored = self._store.find_run(spelling)
            if stored is not None:
                return stored
        raise NotFound(f"no run or job {name}")


def to_run_again(run_id: str, jobs: Sequence[tuple[JobSpec, JobRow]], named: Collection[str] = frozenset()) -> set[str]:
    """Ids of the jobs that did not complete, of those that depend on them, and of the stopped services these need.

    With ``named``, of these, of what they need that did not complete, and of those that depend on any of that.

    Raises:
        Conflict: some of them have not ended yet, or all completed.
    """
    failed = {spec.id for spec, row in jobs if row.state is not JobState.COMPLETED and not row.ready}
    edges: dict[str, list[str]] = {}
    for spec, _ in jobs:
        for parent in spec.parents:
            edges.setdefault(parent, []).append(spec.id)
            if named and parent in failed:
                edges.setdefault(spec.id, []).append(parent)
    again = set(named) or failed
    _spread(again, edges)
    # What was up for those that needed it is up no longer; that those which are done needed it too is no reason.
    stopped = {spec.id for spec, row in jobs if spec.kind != "run" and not row.ready}
    needs = {spec.id: [parent for parent in spec.parents if parent in stopped] for spec, _ in jobs}
    _spread(again, needs)
    going_on = [spec.id for spec, row in jobs if spec.id in again and not row.state.final and not row.ready]
    if going_on:
        raise Conflict(f"run {run_id} has not ended: {going_on[0]} goes on; wait for it, or cancel it")
    if not again:
        raise Conflict(f"every job of run {run_id} completed; without --failed all of it runs again")
    return again


def _spread(ids: set[str], edges: Mapping[str, Sequence[str]]) -> None:
    """Add everything that can be reached."""
    todo = list(ids)
    while todo:
        for other in edges.get(todo.pop(), ()):
            if other not in ids:
                ids.add(other)
                todo.append(other)


def _keeping(options: RunOptions, stored: StoredRun, specs: Sequence[JobSpec], again: Collection[str]) -> RunOptions:
    """The options of a run that takes over what these jobs need of the earlier one."""
    needed = {parent for spec in specs for parent in spec.parents} - set(again)
    run_id, left = stored.run.run_id, dict(stored.outputs)
    kept = {each: options.kept.get(each, f"{run_id}/{each}") for each in sorted(needed)}
    outputs = {each: left.get(key) or options.kept_outputs.get(each, b"") for each, key in kept.items()}
    return replace(options, kept=kept, kept_outputs={each: body for each, body in outputs.items() if body})


def _origin(stored: StoredRun, job_id: str) -> str:
    """The id of the job that was asked for, of one that the master may have made of it."""
    for spec, _ in stored.jobs:
        if spec.id == job_id:
            if spec.flow is not None and spec.flow.mends is not None:
                return _origin(stored, spec.flow.mends.key.partition("/")[2])
            return spec.flow.instance_of or job_id if spec.flow is not None else job_id
    raise NotFound(f"no job {job_id} in run {stored.run.run_id}")


def _anew(spec: JobSpec) -> JobSpec:
    """The spec as it was asked for, without what the master added."""
    if spec.service is None or not spec.service.replaces:
        return spec
    return replace(spec, service=replace(spec.service, replaces=""))
