"""Trigger rules: what the end of its parents makes of a job that waits for them.

``FlowSpec.trigger`` says which rule a job has; messages.TriggerRule has them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final

from titan_core.model.job import Job
from titan_core.model.states import JobState
from titan_core.scheduling.core.job_book import goes_on
from titan_sdk.messages import DEFAULT_FLOW, Handler, TriggerRule


class Verdict(Enum):
    """What becomes of a WAITING job."""

    WAIT = "a parent may still change it"
    START = "it may run"
    SKIP = "its rule leaves it out"
    DOOM = "its rule cannot be met any more"
    GATHER = "all its instances have ended"
    BREAK = "it cannot be told whether it may run"


_FAILED: Final = frozenset({JobState.DEAD, JobState.CANCELLED})


def judge(job: Job, parent: Job, parents: Callable[[Job], Sequence[Job]]) -> Verdict:
    """What a WAITING job comes to now that ``parent`` is settled; ``job.blockers`` counts those that are not.

    ``parents``, which looks at all of them, is asked once at most in the life of a job, when the last one is settled.
    """
    flow = job.spec.flow
    if flow is not None and flow.each and is_instance(parent, job):
        return Verdict.WAIT if job.blockers else Verdict.GATHER
    if flow is None or flow.trigger == "all_success":
        if not parent.satisfies_dependents:
            return Verdict.SKIP if parent.state is JobState.SKIPPED else Verdict.DOOM
        return Verdict.WAIT if job.blockers else Verdict.START
    if parent.state in _FAILED:
        if flow.trigger == "none_failed":
            return Verdict.DOOM
        if flow.trigger == "one_failed":
            return Verdict.START
    elif flow.trigger == "one_success" and parent.satisfies_dependents:
        return Verdict.START
    return Verdict.WAIT if job.blockers else at_the_end(flow.trigger, parents(job))


def at_the_end(rule: TriggerRule, parents: Sequence[Job]) -> Verdict:
    """What a rule says when every parent is settled, and it was not decided before."""
    if rule == "one_failed":
        return Verdict.START if any(parent.state in _FAILED for parent in parents) else Verdict.SKIP
    if rule == "one_success" and not any(parent.satisfies_dependents for parent in parents):
        return Verdict.SKIP if all(parent.state is JobState.SKIPPED for parent in parents) else Verdict.DOOM
    return Verdict.START


def why_not(job: Job) -> str:
    """Why its rule kept a job from running when all of its parents were settled."""
    rule = DEFAULT_FLOW.trigger if job.spec.flow is None else job.spec.flow.trigger
    return "no parent failed" if rule == "one_failed" else "no parent completed"


def handler_of(job: Job) -> Handler:
    """Which handler of its run the job is; empty: none."""
    return "" if job.spec.flow is None else job.spec.flow.handler


def expects_failures(job: Job) -> bool:
    """Whether the job is there for what has failed, so that it is not ended because something has."""
    flow = job.spec.flow
    return flow is not None and (flow.handler != "" or flow.trigger in ("one_failed", "all_done", "always"))


def is_instance(job: Job, of: Job) -> bool:
    """Whether the job is an instance of that ``each`` job of its run."""
    return job.spec.flow is not None and job.spec.flow.instance_of == of.spec.id


def instances_of(job: Job) -> list[Job]:
    """The instances of an ``each`` job, in the order of its list; none before that was known, and of any other job."""
    if job.spec.flow is None or not job.spec.flow.each:
        return []
    return [each for each in job.run.jobs if is_instance(each, job)]


def to_end(jobs: Sequence[Job]) -> Sequence[Job]:
    """Those that the end of a whole run is about: not what runs ``always``, unless nothing else is left to end."""
    rest = [job for job in jobs if not runs_always(job)]
    return rest if any(goes_on(job) for job in rest) else jobs


def runs_always(job: Job) -> bool:
    """Whether it waits, and is to run whatever becomes of the rest of its run."""
    flow = job.spec.flow
    if flow is None or job.state is not JobState.WAITING:
        return False
    return flow.trigger == "always" or flow.handler == "finally"
