"""Admission: what a job's own words make of it once its parents let it run."""

from __future__ import annotations

from msgspec.structs import replace

from titan_core.model.job import Job
from titan_core.scheduling.core.job_book import JobBook
from titan_core.scheduling.core.job_scope import JobScope
from titan_core.scheduling.core.triggers import Verdict
from titan_sdk.errors import ExpressionError
from titan_sdk.expressions import Scope, Text, expression
from titan_sdk.messages import JobSpec


def admit(job: Job, book: JobBook) -> tuple[Verdict, str]:
    """Whether its condition holds and its references lead to something; when not, why."""
    flow = job.spec.flow
    if flow is None:
        return Verdict.START, ""
    scope = JobScope(book, job)
    try:
        if flow.when and not expression(flow.when, job.spec.parents).value(scope):
            return Verdict.SKIP, f"its condition does not hold: {flow.when}"
        if not flow.each:  # of its instances each is looked at
            rendered(job.spec, scope)
    except ExpressionError as error:
        return Verdict.BREAK, str(error)
    return Verdict.START, ""


def rendered(spec: JobSpec, scope: Scope) -> JobSpec:
    """The spec with values for the references of its arguments and environment.

    Raises:
        ExpressionError: one leads to nothing.
    """
    if spec.flow is None or not spec.flow.templates:
        return spec
    args = tuple(Text(arg, spec.parents).render(scope) for arg in spec.args)
    env = {name: Text(value, spec.parents).render(scope) for name, value in spec.env.items()}
    return replace(spec, args=args, env=env)
