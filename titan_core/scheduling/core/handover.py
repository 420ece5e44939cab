"""Handover: what an attempt is told of the jobs before it."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from titan_core.model.job import Job
from titan_core.model.states import JobState
from titan_core.scheduling.core.admission import rendered
from titan_core.scheduling.core.job_book import JobBook
from titan_core.scheduling.core.job_scope import JobScope
from titan_core.scheduling.core.triggers import handler_of, instances_of
from titan_sdk.errors import ExpressionError
from titan_sdk.messages import DEFAULT_FLOW, Given, JobSpec

MAX_FAILED: Final = 100
"""Failed jobs that are named; more are no help, and every variable has its limit."""
MAX_FAILURE_CHARS: Final = 4000
"""Of the reasons together."""


class Handover:
    """Makes of a job's spec what is dispatched. Looks, and changes nothing."""

    def __init__(self, book: JobBook) -> None:
        self._book = book

    def spec(self, job: Job) -> JobSpec:
        """The spec for the next attempt; the job's own when there is nothing to tell, as is usual."""
        spec = job.spec
        if spec.flow is None and not (spec.parents and (self._book.outputs or job.run.kept_outputs)):
            return spec
        if spec.flow is not None and spec.flow.templates:
            spec = _rendered(spec, JobScope(self._book, job))
        parents = self._book.parents(job)
        failed, failure = failures(self._before(job, parents)) if spec.flow is not None else ((), "")
        flow = spec.flow or DEFAULT_FLOW
        inputs = self._inputs(job, parents)
        given = Given(inputs=inputs, item=flow.item, index=flow.index, failed=failed, failure=failure)
        return spec if given == _NOTHING else replace(spec, flow=replace(spec.flow or DEFAULT_FLOW, given=given))

    def _before(self, job: Job, parents: list[Job]) -> list[Job]:
        """The jobs whose failures it is to know of: of a handler those of its run that failed by themselves."""
        if not handler_of(job):
            return parents
        dead = [each for each in job.run.jobs if each.state is JobState.DEAD and not handler_of(each)]
        failed = {each.spec.id for each in dead if not instances_of(each)}
        return [each for each in job.run.jobs if each.spec.id in failed and failed.isdisjoint(each.spec.parents)]

    def _inputs(self, job: Job, parents: list[Job]) -> bytes:
        outputs = ((parent.spec.id, self._book.outputs.of(parent)) for parent in parents)
        found = {job_id: msgspec.Raw(body) for job_id, body in outputs if body}
        kept = job.run.kept_outputs
        found |= {parent: msgspec.Raw(kept[parent]) for parent in job.spec.parents if parent in kept}
        return msgspec.json.encode(found) if found else b""


_NOTHING: Final = Given()


def _rendered(spec: JobSpec, scope: JobScope) -> JobSpec:
    try:
        return rendered(spec, scope)
    except ExpressionError:
        return spec  # cannot be: it was let in with what it refers to, and nothing of that changes


def failures(jobs: list[Job]) -> tuple[tuple[str, ...], str]:
    """The ids of those that failed, and why, both bounded."""
    failed = [job for job in jobs if job.state in (JobState.DEAD, JobState.CANCELLED)][:MAX_FAILED]
    reasons = "; ".join(f"{job.spec.id}: {job.reason or job.state.value}" for job in failed)
    return tuple(job.spec.id for job in failed), reasons[:MAX_FAILURE_CHARS].replace("\0", "?")
