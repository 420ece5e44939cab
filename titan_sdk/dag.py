"""What makes a set of jobs a run that can be accepted: checked whole, every problem named, nothing queued before."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final, TypeVar

from titan_sdk.errors import ExpressionError, InvalidName, Problem
from titan_sdk.expressions import Expression, Text, expression
from titan_sdk.messages import DEFAULT_FLOW, ApproveSpec, FlowSpec, JobSpec, RepairSpec, ServiceSpec
from titan_sdk.names import (
    check_capability,
    check_file_name,
    check_job_id,
    check_port,
    check_relative_path,
    check_sha256,
)
from titan_sdk.sizes import MAX_SIZE

T = TypeVar("T")

MAX_DELAY_MS: Final = 10 * 366 * 24 * 3600 * 1000
"""Ten years; a longer delay is a slip of the unit."""
MAX_PRIORITY: Final = 2**63 - 1
"""What the wire and the stores hold in an integer, of either sign."""
MAX_CPUS: Final = 4096
MAX_GPUS: Final = 1024
"""Of one machine, for one job; more is a slip."""
MAX_RETRIES: Final = 10_000
"""With the backoff between them, more would take weeks: a slip."""
MAX_HEALTH_S: Final = 24 * 3600.0
"""For a start deadline or the time between two looks at a service's health; longer is a slip of the unit."""
MAX_HEALTH_FAILURES: Final = 1000
MAX_PATTERN_CHARS: Final = 1000
MAX_TEXT: Final = 1024 * 1024
"""Characters of a job's arguments and environment together: what macOS gives a new program (Linux: twice as much). They
stay in the master's memory with the job; what is larger belongs into a file."""
MAX_REPAIRS: Final = 20
"""Of one job; what is still broken then needs somebody to look at it."""
MAX_QUESTION_CHARS: Final = 2000
"""Of what a person is asked; it stays in the master's memory with the job."""
MAX_QUESTION_S: Final = 10 * 366 * 24 * 3600.0
"""Until the clock answers it; longer is a slip of the unit."""
_SHOWN: Final = 8
"""Ids of a cycle that its problem spells out."""


def validate_dag(
    jobs: Sequence[JobSpec],
    *,
    lines: Sequence[int] = (),
    known: Collection[str] = (),
    params: Collection[str] | None = None,
) -> list[Problem]:
    """Everything that is wrong with the jobs of one run, in their order; an empty list when they can be accepted.

    Linear in jobs and edges, and without recursion, so that neither ten thousand jobs nor a chain of them matters.

    Args:
        lines: for each job the line it was read from, for the problems.
        params: names of the run's parameters, for what refers to them; None: they are not known yet.
        known: ids that count as jobs although they are not among these (those whose own line could not be read).
    """
    numbers = list(lines) or [0] * len(jobs)
    problems: list[Problem] = []
    if not jobs:
        problems.append(Problem("", "there are no jobs"))
    first: dict[str, int] = {}
    for index, job in enumerate(jobs):
        problems.extend(Problem(job.id, text, numbers[index]) for text in job_problems(job))
        if job.id in first:
            earlier = numbers[first[job.id]]
            place = f", first in line {earlier}" if earlier else ""
            problems.append(Problem(job.id, f"the id is used twice{place}", numbers[index]))
        else:
            first[job.id] = index
    needed = {parent for job in jobs for parent in job.parents}
    handlers = {job.id for job in jobs if job.flow is not None and job.flow.handler}
    if handlers and len(handlers) == len(jobs) and not known:
        problems.append(Problem("", "there are only jobs for the end of the run, and none before it"))
    for job_id in [job.id for job in jobs if job.flow is not None and job.flow.each]:
        for other in first:
            if other.startswith(f"{job_id}.") and other[len(job_id) + 1 :].isdecimal():
                problems.append(Problem(other, f"this id is for an instance of {job_id}", numbers[first[other]]))
    for index, job in enumerate(jobs):
        for parent in dict.fromkeys(job.parents):
            if parent == job.id:
                problems.append(Problem(job.id, "it waits for itself", numbers[index]))
            elif parent in handlers:
                problems.append(Problem(job.id, f"its parent {parent!r} is for the end of the run", numbers[index]))
            elif parent not in first and parent not in known:
                problems.append(Problem(job.id, f"its parent {parent!r} is not a job of this run", numbers[index]))
        if job.flow is not None:
            problems.extend(Problem(job.id, text, numbers[index]) for text in _flow_problems(job, params))
        if job.upkeep.lifetime == "run" and job.id not in needed:
            text = "lifetime run ends a service when no job of the run needs it, and none depends on this one"
            problems.append(Problem(job.id, text, numbers[index]))
    for cycle in _cycles(jobs, first):
        shown = [jobs[index].id for index in cycle]
        more = f" ... ({len(shown)} jobs)" if len(shown) > _SHOWN else ""
        path = " waits for ".join([*shown[:_SHOWN], *([] if more else [shown[0]])])
        problems.append(Problem(shown[0], f"a cycle: {path}{more}", numbers[cycle[0]]))
    return problems


def job_problems(job: JobSpec) -> Iterator[str]:
    """What is wrong with one job by itself, as texts."""
    checks: list[tuple[Callable[..., Any], Any]] = [(check_job_id, job.id)]
    if job.archive:
        checks += [(check_file_name, job.archive), (check_relative_path, job.file)]
    else:
        checks.append((check_file_name, job.file))
    if job.sha256 or job.kind != "worker":
        checks.append((_check_digest, job.sha256))
    checks += [(check_capability, name) for name in job.requirement]
    checks += [
        (_check_port, job),
        (_check_numbers, job),
        (_check_strings, job),
        (_check_service, job),
    ]
    if job.flow is not None:
        checks += [(_check_flow, job), (_check_repair, job)]
    for check, value in checks:
        try:
            check(value)
        except InvalidName as error:
            yield str(error)


def _check_digest(digest: str) -> None:
    if digest:  # empty until the content is known; the master refuses a submission without it
        check_sha256(digest)


def _check_port(job: JobSpec) -> None:
    check_port(job.port, zero=True)


def _check_service(job: JobSpec) -> None:
    asked: ServiceSpec | None = job.service
    if asked is None:
        return
    if job.kind != "service":
        raise InvalidName(f"restart, health, lifetime and port auto are for services, and this is of type {job.kind}")
    if asked.replaces:
        raise InvalidName("replaces is for the master to say")
    if asked.auto_port and job.port:
        raise InvalidName(f"the port is {job.port} or auto, not both")
    path = asked.health_path
    if path and (not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path):
        raise InvalidName(f"{path[:80]!r} is not a health path; one like /health is wanted")
    if path and not (job.port or asked.auto_port):
        raise InvalidName(f"the health path {path} needs a port")
    if len(asked.ready_line) > MAX_PATTERN_CHARS:
        raise InvalidName(f"the ready line is longer than {MAX_PATTERN_CHARS} characters")
    try:
        re.compile(asked.ready_line)
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidName(f"{asked.ready_line!r} is not a regular expression: {error}") from None
    for name, value in (("start deadline", asked.start_s), ("interval", asked.interval_s)):
        if not 0 < value <= MAX_HEALTH_S:
            raise InvalidName(f"a {name} of {value:g} s is out of range; above 0 to {MAX_HEALTH_S:g} is wanted")
    if not 1 <= asked.failures <= MAX_HEALTH_FAILURES:
        raise InvalidName(f"{asked.failures} failures are out of range; 1 to {MAX_HEALTH_FAILURES} is wanted")


def _check_flow(job: JobSpec) -> None:
    assert job.flow is not None
    if job.flow.given is not None:
        raise InvalidName("what a job is given of others is for the master to say")
    if job.flow.approve is not None:
        check_approve(job.flow.approve)
    if job.flow.mends is not None:
        raise InvalidName("mends is for the master to say")
    flow = job.flow
    if flow.instance_of or flow.item or flow.index:
        raise InvalidName("what an instance is of is for the master to say")
    for what, each in _expressions(job):
        if each.items and (not flow.each or what in ("when", "each")):
            raise InvalidName(f"{what} speaks of an item, which only arguments and variables of an each job have")
    if flow.each:
        _check_each(job, flow)


def _check_each(job: JobSpec, flow: FlowSpec) -> None:
    if job.kind != "run":
        raise InvalidName(f"each is for jobs that end by themselves, and this is of type {job.kind}")
    if flow.trigger in ("one_success", "one_failed"):
        raise InvalidName(f"an each job cannot have the trigger {flow.trigger}: it is about all of its parents")
    if flow.approve is not None or flow.repair is not None or flow.handler:
        raise InvalidName("an each job is no handler, and is neither approved nor repaired; jobs after it may be")
    check_job_id(f"{job.id}.0000")


def _expressions(job: JobSpec) -> Iterator[tuple[str, Expression]]:
    """All that a job says, with where. Raises ExpressionError."""
    flow = job.flow
    if flow is None:
        return
    if flow.when:
        yield "when", _read("when", expression, flow.when, job.parents)
    if flow.each:
        yield "each", _read("each", expression, flow.each, job.parents)
    if flow.templates:
        texts = [("args", arg) for arg in job.args] + [(f"env {name}", value) for name, value in job.env.items()]
        for what, text in texts:
            for each in _read(what, Text, text, job.parents).expressions:
                yield what, each


def _read(what: str, read: Callable[[str, tuple[str, ...]], T], text: str, parents: tuple[str, ...]) -> T:
    try:
        return read(text, parents)
    except ExpressionError as error:
        raise ExpressionError(f"{what}: {error}") from None


def _flow_problems(job: JobSpec, params: Collection[str] | None) -> Iterator[str]:
    """What is wrong with a job's flow in its run, as texts."""
    assert job.flow is not None
    if job.flow.trigger != DEFAULT_FLOW.trigger and not job.parents:
        yield f"trigger {job.flow.trigger} is about the parents of a job, and this has none"
    if job.flow.handler and job.parents:
        yield f"an {job.flow.handler} job is for the end of the run, and waits for no other jobs"
    if job.flow.handler and job.kind != "run":
        yield f"an {job.flow.handler} job ends by itself, and this is of type {job.kind}"
    if params is None:
        return
    try:
        for what, each in _expressions(job):
            for name in sorted(each.params - set(params)):
                has = f"it has {', '.join(sorted(params)[:5])}" if params else "it has none"
                yield f"{what}: the run has no parameter {name}; {has}"
    except ExpressionError:
        return  # told by itself


def _check_repair(job: JobSpec) -> None:
    repair: RepairSpec | None = job.flow.repair if job.flow is not None else None
    if repair is None:
        return
    if job.kind != "run":
        raise InvalidName(f"a repair is for jobs that end, and this is of type {job.kind}")
    check_file_name(repair.file)
    if repair.sha256:
        check_sha256(repair.sha256)
    if not 1 <= repair.max <= MAX_REPAIRS:
        raise InvalidName(f"{repair.max} repairs are out of range; 1 to {MAX_REPAIRS} is wanted")
    if repair.timeout_s is not None and not 0 < repair.timeout_s < math.inf:
        raise InvalidName(f"a timeout of {repair.timeout_s:g} s is not above 0")
    if any("\0" in arg for arg in repair.args) or sum(map(len, repair.args)) > MAX_TEXT:
        raise InvalidName(f"the arguments of the repair hold a NUL, or more than {MAX_TEXT} characters")
    if repair.approve is not None:
        check_approve(repair.approve)


def check_approve(asked: ApproveSpec) -> None:
    """Raises InvalidName."""
    if not asked.message.strip() or len(asked.message) > MAX_QUESTION_CHARS:
        raise InvalidName(f"what is to be approved is asked in 1 to {MAX_QUESTION_CHARS} characters")
    if asked.timeout_s is not None and not 0 < asked.timeout_s <= MAX_QUESTION_S:
        raise InvalidName(
            f"a timeout of {asked.timeout_s:g} s is out of range; above 0 to {MAX_QUESTION_S:g} is wanted"
        )


def _check_numbers(job: JobSpec) -> None:
    if not 0 <= job.delay_ms <= MAX_DELAY_MS:
        raise InvalidName(f"a delay of {job.delay_ms} ms is out of range; 0 to {MAX_DELAY_MS} is wanted")
    if abs(job.priority) > MAX_PRIORITY:
        raise InvalidName(f"priority {job.priority} is out of range; -{MAX_PRIORITY} to {MAX_PRIORITY} is wanted")
    if not 0 <= job.retries <= MAX_RETRIES:
        raise InvalidName(f"{job.retries} retries are out of range; 0 to {MAX_RETRIES} is wanted")
    if not (0 <= job.cpus <= MAX_CPUS and math.isfinite(job.cpus)):
        raise InvalidName(f"{job.cpus} cpus are out of range; 0 to {MAX_CPUS} is wanted")
    if not 0 <= job.memory <= MAX_SIZE:
        raise InvalidName(f"{job.memory} bytes of memory are out of range; 0 to {MAX_SIZE} is wanted")
    if not 0 <= job.gpus <= MAX_GPUS:
        raise InvalidName(f"{job.gpus} gpus are out of range; 0 to {MAX_GPUS} is wanted")
    if job.timeout_s is not None and not (job.timeout_s > 0 and math.isfinite(job.timeout_s)):
        raise InvalidName(f"a timeout of {job.timeout_s} s is not above 0")


def _check_strings(job: JobSpec) -> None:
    size = sum(map(len, job.args)) + sum(map(len, job.env)) + sum(map(len, job.env.values()))
    if size > MAX_TEXT:
        raise InvalidName(
            f"arguments and environment of {size} characters are over the limit of {MAX_TEXT}; put them into a file"
        )
    for value in (*job.args, *job.env.values(), job.python):
        if "\0" in value:
            raise InvalidName(f"{value[:40]!r} holds a NUL, which no argument or variable can")
    for name in job.env:
        if not name or "=" in name or "\0" in name:
            raise InvalidName(f"{name!r} cannot name a variable of the environment")


def _cycles(jobs: Sequence[JobSpec], index_of: dict[str, int]) -> Iterator[list[int]]:
    """Cycles among the jobs, each as indexes where every one waits for the next; jobs waiting for themselves left out.

    Kahn's algorithm takes away whatever can be ordered. Each job that remains waits for one that remains, so following
    such parents must come back to where it was.
    """
    parents: list[list[int]] = []
    children: list[list[int]] = [[] for _ in jobs]
    for index, job in enumerate(jobs):
        mine = [index_of[p] for p in dict.fromkeys(job.parents) if p in index_of and index_of[p] != index]
        # A job under an id used twice is no parent of anything: the first of that id is.
        parents.append(mine)
        for parent in mine:
            children[parent].append(index)
    missing = [len(mine) for mine in parents]
    ordered = [index for index, count in enumerate(missing) if not count]
    for index in ordered:  # grows while it is walked
        for child in children[index]:
            missing[child] -= 1
            if not missing[child]:
                ordered.append(child)
    seen: dict[int, int] = {}  # job -> number of the walk that came by
    for start in range(len(jobs)):
        path: list[int] = []
        here = start
        while missing[here] and here not in seen:
            seen[here] = start
            path.append(here)
            here = next(parent for parent in parents[here] if missing[parent])
        if missing[here] and path and seen[here] == start:
            yield path[path.index(here) :]
