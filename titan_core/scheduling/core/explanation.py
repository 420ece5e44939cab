"""Why a job is where it is, and for one that waits for a worker: what each of them lacks."""

from __future__ import annotations

from titan_core.model.job import Job
from titan_core.model.requirement import STRUCTURED, Need
from titan_core.model.states import JobState
from titan_core.model.worker import Worker
from titan_core.scheduling.core.job_book import JobBook
from titan_core.scheduling.core.matcher import Matcher
from titan_core.scheduling.core.ready_queue import rank
from titan_core.scheduling.core.triggers import handler_of, instances_of
from titan_core.scheduling.core.worker_registry import WorkerRegistry
from titan_sdk.messages import CHILD_WORKERS, WorkerReason
from titan_sdk.sizes import counted, format_size


class Explanations:
    """Looks, and changes nothing."""

    def __init__(self, book: JobBook, registry: WorkerRegistry, matcher: Matcher) -> None:
        self._book = book
        self._registry = registry
        self._matcher = matcher

    def summary(self, job: Job) -> str:
        """In a sentence or two."""
        if job.state is JobState.WAITING and (instances := instances_of(job)):
            return f"It waits for {job.blockers} of its {counted(len(instances), 'instance')}."
        if job.state is JobState.WAITING and handler_of(job):
            return f"It is for the end of its run ({handler_of(job)}), which has not come."
        if job.state is JobState.WAITING:
            parents = [parent for parent in self._book.parents(job) if not parent.settled]
            shown = ", ".join(f"{parent.spec.id} ({parent.state.value})" for parent in parents[:5])
            rule = f" Its trigger rule is {job.spec.flow.trigger}." if job.spec.flow is not None else ""
            return f"It waits for {shown}{' and others' if len(parents) > 5 else ''}.{rule}"
        if job.state is JobState.HELD:
            asked = self._book.approvals.get(job.key)
            if asked and not asked[-1].decision:
                answers = f"approve {job.key} lets it go on, reject {job.key} ends it"
                return f"It waits for somebody to approve it: {asked[-1].message} ({answers})"
            return f"It failed ({job.reason}), and {self._book.repairs[job.key][-1].job} is to repair it."
        if job.state is JobState.DELAYED:
            if job.is_service and job.attempt:
                return f"It is between two attempts: {job.reason}."
            if job.failures:
                return f"It failed {counted(job.failures, 'time')} ({job.reason}) and is tried again after a pause."
            return "It was asked to wait, and its time has not come."
        if job.state is JobState.PENDING:
            return self._why_pending(job)
        where = f" on {job.execution.worker_name}" if job.executions else ""
        if job.state is JobState.RUNNING:
            return f"It runs{where}, attempt {job.attempt}" + (", and is to end." if job.ending else ".")
        return f"It has ended {job.state.value}{where}" + (f": {job.reason}" if job.reason else ".")

    def reasons(self, job: Job) -> list[WorkerReason]:
        """Of each worker why a PENDING job is not on it; nothing for other jobs."""
        if job.state is not JobState.PENDING:
            return []
        return [
            WorkerReason(worker=worker.name, text=why_not(worker, job.need))
            for worker in self._registry.workers.values()
        ]

    def _why_pending(self, job: Job) -> str:
        need = self._registry.describe(job.need)
        present = self._registry.present()
        if not present:
            return "No worker is there."
        if not any(worker.satisfies(job.need) for worker in present):
            return f"No worker has {need}."
        ahead = sum(
            entry < rank(job)
            for lane in self._matcher.lanes()
            for entry in lane.ready.live_entries()
            if lane.need == job.need
        )
        place = (
            f"{counted(ahead, 'job')} with the same needs ahead of it"
            if ahead
            else "it is the next of those with its needs"
        )
        held = self._registry.port_holders(job.need)
        if held:
            return f"It waits for port {job.need.port}, which {held}; {place}."
        back = f" It was given back before: {job.reason}." if job.reason else ""
        return f"Every worker with {need} is full or away; {place}.{back}"


def why_not(worker: Worker, need: Need) -> str:
    """What keeps the worker from taking a job with this need now; ``has room`` when nothing does."""
    checks = (_why_never(worker, need), _why_closed(worker), _why_full(worker, need))
    return next((text for text in checks if text), "has room")


def _why_never(worker: Worker, need: Need) -> str:
    if not worker.slots:
        return "has not registered since the master's restart"
    lacking = need.capabilities - worker.offer
    if STRUCTURED in lacking:
        return "is an original worker, which cannot do what this job asks"
    if lacking:
        return f"does not offer {', '.join(sorted(lacking))}"
    if worker.millicpus and need.millicpus > worker.millicpus:
        return f"has {worker.millicpus / 1000:g} cpus in all, {need.millicpus / 1000:g} are needed"
    if worker.memory and need.memory > worker.memory:
        return f"has {format_size(worker.memory)} of memory in all, {format_size(need.memory)} are needed"
    if need.gpus > worker.gpus:
        return f"has {worker.gpus} gpus in all, {need.gpus} are needed"
    return ""


def _why_closed(worker: Worker) -> str:
    if worker.dead:
        return "is dead"
    if not worker.connected:
        return "is away: its connection broke"
    if worker.draining:
        return "is draining, and about to end"
    if worker.cordoned:
        return "is cordoned: it gets nothing until undrain"
    return "has just refused a job, and is asked again in a moment" if worker.held_until else ""


def _why_full(worker: Worker, need: Need) -> str:
    if need.spawn:
        return f"has started {CHILD_WORKERS} workers already" if worker.children >= CHILD_WORKERS else ""
    if worker.busy >= worker.slots:
        return "its only slot is taken" if worker.slots == 1 else f"all {worker.slots} slots are taken"
    if worker.millicpus and worker.millicpus_used + need.millicpus > worker.millicpus and need.millicpus:
        return f"{(worker.millicpus - worker.millicpus_used) / 1000:g} of {worker.millicpus / 1000:g} cpus are left"
    if worker.memory and worker.memory_used + need.memory > worker.memory and need.memory:
        left = format_size(max(worker.memory - worker.memory_used, 0))
        return f"{left} of {format_size(worker.memory)} of memory are left"
    if need.gpus and worker.gpus_used + need.gpus > worker.gpus:
        return f"{worker.gpus - worker.gpus_used} of {worker.gpus} gpus are left"
    if need.port in worker.ports:
        return f"port {need.port} of its machine is held by {' and '.join(sorted(worker.ports[need.port]))}"
    return ""
