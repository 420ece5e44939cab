"""FanOut: one job of a pipeline becomes as many as a list has elements, once that is known."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec.structs import replace

from titan_core.model.job import Job
from titan_core.scheduling.core.acceptance import Acceptance
from titan_core.scheduling.core.admission import rendered
from titan_core.scheduling.core.budgets import Budgets
from titan_core.scheduling.core.changes import Changes
from titan_core.scheduling.core.events import AddRequested, Instant
from titan_core.scheduling.core.job_book import JobBook
from titan_core.scheduling.core.job_scope import JobScope
from titan_core.scheduling.core.lifecycle import JobLifecycle
from titan_core.scheduling.core.triggers import Verdict
from titan_sdk.errors import ExpressionError, RemoteError
from titan_sdk.expressions import expression
from titan_sdk.job_outputs import MAX_DEPTH, MAX_VARIABLE_BYTES, is_shallow
from titan_sdk.messages import DEFAULT_FLOW, JobSpec
from titan_sdk.names import instance_id

MAX_INSTANCES: Final = 1000
"""Of one ``each`` job; Airflow's bound is as large."""


class FanOut:
    """Adds the instances of an ``each`` job to its run when its parents let it run.

    The job itself never runs: it waits for its instances, as for parents, and ends as they did. What tells an ``each``
    job with instances from one without are the instances, so a restart of the master takes it up.
    """

    def __init__(
        self, book: JobBook, acceptance: Acceptance, lifecycle: JobLifecycle, budgets: Budgets, changes: Changes
    ) -> None:
        self._book = book
        self._acceptance = acceptance
        self._lifecycle = lifecycle
        self._budgets = budgets
        self._changes = changes

    def settle(self, now: Instant) -> None:
        """After each event: the jobs whose lists are known now."""
        while self._book.unfolding:
            job = self._book.unfolding.pop(0)
            if job.state.final:
                continue
            try:
                specs = self._specs(job, now)
            except (ExpressionError, RemoteError) as error:
                self._lifecycle.leave_out(job, Verdict.BREAK, str(error), now)
                continue
            if specs:
                self._unfold(job, specs, now)
            else:
                self._lifecycle.leave_out(job, Verdict.SKIP, "its list is empty", now)

    def _specs(self, job: Job, now: Instant) -> list[JobSpec]:
        """One for each element. Raises ExpressionError or RemoteError: they cannot be had."""
        flow = job.spec.flow or DEFAULT_FLOW
        items = _as_list(expression(flow.each, job.spec.parents).value(JobScope(self._book, job)))
        if len(items) > MAX_INSTANCES:
            raise ExpressionError(f"each: a list of {len(items)} elements is over the limit of {MAX_INSTANCES}")
        specs = []
        for index, item in enumerate(items):
            body = msgspec.json.encode(item)
            if len(body) > MAX_VARIABLE_BYTES:  # it is one of the job's variables
                raise ExpressionError(f"each: element {index} is of {len(body)} bytes; {MAX_VARIABLE_BYTES} at most")
            own = replace(flow, when="", each="", instance_of=job.spec.id, item=body, index=index)
            spec = replace(job.spec, id=instance_id(job.spec.id, index), flow=own)
            rendered(spec, JobScope(self._book, job, item))
            specs.append(spec)
        if specs:
            self._acceptance.check_instances(job.run, specs)
            self._budgets.check_more(self._book.lineage.find(job.run.run_id), len(specs), now)
        return specs

    def _unfold(self, job: Job, specs: list[JobSpec], now: Instant) -> None:
        run = job.run
        for parent in self._book.parents(job):
            if parent.children:  # a service: whatever becomes of it, this job waits for its instances alone
                parent.children = [child for child in parent.children if child is not job]
        instances = self._acceptance.extend(run, AddRequested(run.run_id, tuple(specs)))
        for instance in instances:
            instance.children = [job]
        job.blockers = len(instances)
        self._changes.added(run, instances, "", "")
        self._budgets.charge(self._book.lineage.find(run.run_id), len(instances))
        self._lifecycle.accept_more(instances, now)
        self._changes.show(job)


def _as_list(value: Any) -> list[Any]:
    """A list, also one that a shell script or a parameter has as JSON text. Raises ExpressionError."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            raise ExpressionError(f"each: a list is wanted, not the text {value[:40]!r}") from None
        if not is_shallow(value):
            raise ExpressionError(
                f"each: the list holds lists or objects that are over {MAX_DEPTH} deep in one another"
            )
    if not isinstance(value, list):
        raise ExpressionError(
            f"each: a list is wanted, not {msgspec.json.encode(value)[:40].decode('utf-8', 'replace')}"
        )
    return value
