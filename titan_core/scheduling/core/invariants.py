"""Invariants: what holds between any two events. Slow and thorough, for tests."""

from __future__ import annotations

from collections import Counter

from titan_core.model.job import Job
from titan_core.model.states import JobState
from titan_core.model.worker import Worker
from titan_core.scheduling.core.delay_heap import DelayHeap
from titan_core.scheduling.core.job_book import JobBook, goes_on
from titan_core.scheduling.core.matcher import Matcher
from titan_core.scheduling.core.ready_queue import rank
from titan_core.scheduling.core.repairs import is_repair
from titan_core.scheduling.core.schedule_book import ScheduleBook
from titan_core.scheduling.core.triggers import handler_of, instances_of, is_instance
from titan_core.scheduling.core.worker_registry import WorkerRegistry

_UNSATISFIED = (JobState.DEAD, JobState.CANCELLED, JobState.SKIPPED)
_DECIDE: dict[str, tuple[JobState, ...]] = {
    "all_done": (),
    "always": (),
    "one_success": (JobState.COMPLETED,),
    "one_failed": (JobState.DEAD, JobState.CANCELLED),
    "none_failed": (JobState.DEAD, JobState.CANCELLED),
}
"""The ends of a single parent that decide what becomes of a job with that rule: it does not wait after them."""


def check(book: JobBook, registry: WorkerRegistry, matcher: Matcher, delays: DelayHeap) -> None:
    """Raise AssertionError, with the story of a job concerned, unless all invariants hold."""
    _check_book(book)
    _check_services(book)
    _check_lineage(book)
    for job in book.jobs.values():
        _check_links(book, job)
    _check_leases(book, registry)
    _check_approvals(book)
    _check_queues(book, matcher)
    _check_delays(book, delays)
    _check_nothing_waits_in_vain(book, registry)
    _check_free_workers(registry, matcher)


def check_schedules(schedules: ScheduleBook, book: JobBook) -> None:
    """The same for schedules."""
    armed = schedules.live_entries()
    assert len(armed) == len(schedules)
    assert schedules.next_fire() == min((entry[0] for entry in armed), default=None)
    assert not book.over
    active: list[str] = []
    for name, schedule in schedules.by_name.items():
        state = schedule.state
        assert schedule.name == name
        assert schedule.due is None or schedule.due > state.cursor, f"{name} would fire a due time again"
        to_fire = schedule.due is not None and not state.paused
        assert (schedule.fire_at is not None) == to_fire == (schedule in [entry[2] for entry in armed]), name
        active += [firing.run_id for firing in state.active]
        assert state.active or state.paused or not state.waiting, f"{name} waits for nothing"
    for run_id in active:
        assert not book.runs[run_id].finished, f"{run_id} has ended, and its schedule does not know"
    assert sorted(active) == sorted(book.awaited)


def _in_state(book: JobBook, state: JobState) -> list[Job]:
    return [job for job in book.jobs.values() if job.state is state]


def _check_book(book: JobBook) -> None:
    counts = Counter(job.state for job in book.jobs.values())
    for state in JobState:
        assert book.counts[state] == counts[state], f"{state}: counted {book.counts[state]}, there are {counts[state]}"
    assert sum(len(run.jobs) for run in book.runs.values()) == len(book.jobs)
    for run in book.runs.values():
        assert run.unfinished == sum(not job.state.final for job in run.jobs), run.run_id
        assert run.services == sum(job.is_service for job in run.jobs), run.run_id
        if run.kept is not None and run.kept.size == len(run.jobs):
            assert run.kept.states == Counter(job.state for job in run.jobs), run.run_id
            assert run.kept.ended_at == max(job.ended_at for job in run.jobs), run.run_id
        for job in run.jobs:
            assert book.jobs[job.key] is job and job.run is run, job.story()
    active: dict[str, list[Job]] = {}
    for job in book.jobs.values():
        if not job.state.final:
            active.setdefault(job.spec.id, []).append(job)
    for job_id, jobs in active.items():
        latest = book.latest(job_id)
        assert latest in jobs, f"{job_id} means another job than the active one"
        if len(jobs) > 1:
            old, new = sorted(jobs, key=lambda job: job.seq)
            assert new.spec.upkeep.replaces == old.key, f"{job_id} is active twice: {old.story()}; {new.story()}"
            right = (latest is old) == goes_on(old) or not (goes_on(old) or goes_on(new))
            assert right, f"{job_id} means the wrong one: {old.story()}; {new.story()}"


def _check_lineage(book: JobBook) -> None:
    for kin in book.lineage.kin.values():
        story = f"run {kin.run.run_id}"
        assert kin.in_memory == (book.runs.get(kin.run.run_id) is kin.run), story
        assert kin.in_memory or (kin.children and not kin.run.unfinished), f"{story} stays without need"
        for child in kin.children.values():
            assert child.parent is kin and child.depth == kin.depth + 1, f"{story}, its {child.run.run_id}"
            assert child.run.row.parent.partition("/")[0] == kin.run.run_id, f"{story}, its {child.run.run_id}"
        growth = kin.run.row.growth
        if kin.bounded is kin:
            jobs = sum(not is_repair(job.spec) for each in kin.tree() for job in each.run.jobs)
            assert growth is not None and growth.tree_jobs >= jobs, f"{story} has {jobs} jobs and counts {growth}"
    for run in book.runs.values():
        assert not run.open or run.row.growth is not None
        owner = book.jobs.get(run.row.parent)
        assert not (run.open and owner is not None and owner.state.final), f"{run.run_id} is open without its owner"
        if run.row.parent.partition("/")[0] in book.runs:
            assert book.lineage.find(run.run_id) is not None, run.run_id


def _check_services(book: JobBook) -> None:
    for job in book.jobs.values():
        assert (job.key in book.services) == (job.is_service and not job.state.final), job.story()
    for old_key, new in book.successors.items():
        old = book.jobs[old_key]
        assert new.spec.upkeep.replaces == old_key and old.spec.id == new.spec.id, new.story()
        assert goes_on(old) and not new.state.final and not new.ready, f"{old.story()}; {new.story()}"
    for old_key, new in book.given_up.items():
        assert new.spec.upkeep.replaces == old_key and not goes_on(new) and not new.state.final, new.story()
    assert not book.unneeded and not book.news and not book.unfolding
    for run in book.runs.values():
        for service, dependents in run.tied:
            assert dependents == {key for key in dependents if not book.jobs[key].state.final}, service.story()
            assert dependents or run.open or not goes_on(service), f"nobody needs it: {service.story()}"


def _check_links(book: JobBook, job: Job) -> None:
    story = job.story()
    if job.state is JobState.WAITING:
        parents = instances_of(job) or book.parents(job)
        assert job.blockers == bool(handler_of(job)) + sum(not parent.settled for parent in parents) > 0, story
        for parent in parents:
            ended = f"{story}; its parent: {parent.story()}"
            if is_instance(parent, job):
                assert parent.state.final or job in parent.children, story
                continue
            assert parent.state not in _DECIDE.get(job.spec.flow.trigger if job.spec.flow else "", _UNSATISFIED), ended
            if not parent.state.final:
                assert job in parent.children, story
    if job.state.final:
        assert not job.children and job.ended_at and not job.due_at and not job.ready, story
    assert job.state is JobState.RUNNING or not job.ready, story
    aside = job.state is JobState.DELAYED and job.ending == "aside"
    assert job.state is JobState.RUNNING or job.state.final or not job.ending or aside, story
    assert job.ending != "aside" or job.key in book.successors, story
    assert (job.state is JobState.DELAYED) == bool(job.due_at), story


def _check_leases(book: JobBook, registry: WorkerRegistry) -> None:
    running = _in_state(book, JobState.RUNNING)
    leased = [(worker, job) for worker in registry.workers.values() for job in worker.leases.values()]
    assert sorted(job.key for job in running) == sorted(job.key for _, job in leased)
    for worker, job in leased:
        assert not worker.dead and job.worker_id == worker.worker_id and worker.leases[job.key] is job, job.story()
        assert job.execution.attempt == job.attempt and job.execution.epoch == job.epoch, job.story()
        assert not job.execution.outcome and job.execution.worker_id == worker.worker_id, job.story()
    epochs = [job.epoch for job in running]
    assert len(epochs) == len(set(epochs)), "two live leases with the same epoch"
    for worker in registry.workers.values():
        assert not (worker.dead and worker.connected), worker.name
        _check_counts(worker)
    _check_ports(registry)


def _check_counts(worker: Worker) -> None:
    needs = [job.need for job in worker.leases.values()]
    assert worker.children == sum(need.spawn for need in needs), worker.name
    assert worker.busy == len(needs) - worker.children, worker.name
    assert worker.millicpus_used == sum(need.millicpus for need in needs), worker.name
    assert worker.memory_used == sum(need.memory for need in needs), worker.name
    assert worker.gpus_used == sum(need.gpus for need in needs), worker.name


def _check_approvals(book: JobBook) -> None:
    """A job is HELD exactly while somebody is asked about it, or another job repairs it."""
    for job in _in_state(book, JobState.HELD):
        asked, repairs = book.approvals.get(job.key), book.repairs.get(job.key)
        is_asked = asked is not None and not asked[-1].decision
        assert (repairs[-1].state if repairs else "") in (("asked", "") if is_asked else ("running",)), job.story()
        if repairs and repairs[-1].state == "running":
            assert not book.jobs[repairs[-1].job].state.final, job.story()
    for key, each in book.repairs.items():
        assert [row.number for row in each] == list(range(1, len(each) + 1)), key
        assert not any(row.state in ("running", "asked") for row in each[:-1]), key
        is_open = each[-1].state in ("running", "asked")
        assert not is_open or book.jobs[key].state is JobState.HELD, book.jobs[key].story()
    for key, rows in book.approvals.items():
        assert [row.number for row in rows] == list(range(1, len(rows) + 1)), key
        assert all(row.decision and row.decided_at for row in rows[:-1]), key
        assert rows[-1].decision or book.jobs[key].state is JobState.HELD, book.jobs[key].story()


def _check_ports(registry: WorkerRegistry) -> None:
    workers = list(registry.workers.values())
    for worker in workers:
        held: dict[int, set[str]] = {}
        for each in workers:
            if each.ports is worker.ports:
                for job in each.leases.values():
                    if job.need.port:
                        held.setdefault(job.need.port, set()).add(job.key)
        assert worker.ports == held, worker.name


def _check_queues(book: JobBook, matcher: Matcher) -> None:
    queued = []
    for lane in matcher.lanes():
        entries = lane.ready.live_entries()
        assert len(entries) == len(lane.ready), f"lane {lane.need}"
        assert lane.ready.head() == min(entries, default=None), f"lane {lane.need}"
        for entry in entries:
            assert book.jobs[entry[2]].need == lane.need, book.jobs[entry[2]].story()
        queued += entries
    assert sorted(queued) == sorted(map(rank, _in_state(book, JobState.PENDING)))


def _check_delays(book: JobBook, delays: DelayHeap) -> None:
    entries = delays.live_entries()
    assert len(entries) == len(delays)
    assert sorted(entry.seq for entry in entries) == sorted(job.seq for job in _in_state(book, JobState.DELAYED))
    assert delays.next_due() == min((entry.due for entry in entries), default=None)


def _check_nothing_waits_in_vain(book: JobBook, registry: WorkerRegistry) -> None:
    workers = [worker for worker in registry.workers.values() if worker.open]
    for job in _in_state(book, JobState.PENDING):
        for worker in workers:
            room = worker.satisfies(job.need) and worker.has_room_for(job.need)
            assert not room, f"{worker.name} has room for it: {job.story()}"


def _check_free_workers(registry: WorkerRegistry, matcher: Matcher) -> None:
    for lane in matcher.lanes():
        satisfying = [worker for worker in registry.workers.values() if worker.satisfies(lane.need)]
        free = [worker for worker in satisfying if worker.has_room_for(lane.need)]
        best = min(free, key=lambda worker: (worker.load, len(worker.offer), worker.seq), default=None)
        assert lane.free.best() is best, f"lane {lane.need}"
