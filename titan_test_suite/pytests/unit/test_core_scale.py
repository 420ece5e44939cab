"""The core's costs: flat in the number of queued jobs and workers, linear in a DAG, about a kilobyte for each job.

A cost is the number of lines of Python that an event takes, which is the same on every machine at every hour.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections import deque
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from titan_core.scheduling.core.commands import Command, DispatchJob
from titan_core.scheduling.core.events import AttemptEnded, Event, Instant, RunSubmitted, WorkerRegistered
from titan_core.scheduling.core.scheduler_core import CoreLimits, SchedulerCore
from titan_sdk.messages import JobSpec, Lease, decode_message, encode_message

NOW = Instant(1.0, 1_800_000_000_000)
SLACK = 1.25
"""A heap is a few levels deeper with more in it. A cost that grew with the number of jobs would grow by far more."""
LINES_PER_JOB = 1_000
"""From submission through dispatch to completion, some 800 today; whoever needs more should know it."""


def lines_of(action: Callable[[], object]) -> int:
    """How many lines of Python the action executes, in whatever it calls."""
    lines = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    collecting = gc.isenabled()
    gc.disable()  # others have their own lines run whenever garbage is collected
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
        if collecting:
            gc.enable()
    return lines


def registered(number: int, *capabilities: str) -> WorkerRegistered:
    worker_id = f"worker-{number}"
    return WorkerRegistered(worker_id, "boot", number, "10.0.0.1", 8080, frozenset(capabilities), 4, False, holding=())


def submitted(number: int) -> RunSubmitted:
    # Built part by part, as a spec from the network is.
    spec = JobSpec(id=f"job-{number}", file="".join(["script", ".py"]), sha256="ab" * 32, requirement=("GENERAL",))
    return RunSubmitted(f"0193d5a0-0000-7000-8000-{number:012d}", spec.id, (spec,))


def dispatches(commands: list[Command]) -> list[DispatchJob]:
    return [command for command in commands if isinstance(command, DispatchJob)]


class Meter:
    """A core, and what its events cost: lines per event over MEASURED of them."""

    MEASURED = 100

    def __init__(self) -> None:
        self.core = SchedulerCore(CoreLimits())
        self.running: deque[DispatchJob] = deque()

    def handle(self, event: Event) -> None:
        self.running.extend(dispatches(self.core.handle(event, NOW)))

    def submit(self, first: int, count: int) -> float:
        """The cost of the last of these submissions."""
        events = [submitted(number) for number in range(first, first + count)]
        self.handle_all(events[: -self.MEASURED])
        return lines_of(lambda: self.handle_all(events[-self.MEASURED :])) / self.MEASURED

    def complete(self) -> float:
        return lines_of(lambda: self.complete_all(self.MEASURED)) / self.MEASURED

    def complete_all(self, most: int = sys.maxsize) -> None:
        while self.running and most:
            done = self.running.popleft()
            self.handle(AttemptEnded(done.worker_id, done.lease, "completed", 0))
            most -= 1

    def handle_all(self, events: Sequence[Event]) -> None:
        for event in events:
            self.handle(event)


def test_the_cost_of_an_event_does_not_grow_with_the_queue():
    costs = []
    for queued in (1_000, 40_000):
        meter = Meter()
        submit = meter.submit(0, queued)
        meter.handle(registered(0, "GENERAL"))
        costs.append((submit, meter.complete()))
    (few_submit, few_complete), (many_submit, many_complete) = costs
    assert many_submit < SLACK * few_submit
    assert many_complete < SLACK * few_complete
    assert few_submit + few_complete < LINES_PER_JOB


def test_the_cost_of_an_event_does_not_grow_with_the_workers():
    costs = []
    for workers in (10, 1_000):
        meter = Meter()
        for number in range(workers):
            meter.handle(registered(number, "GENERAL", f"HOST{number}"))
        submit = meter.submit(0, 4 * workers + Meter.MEASURED)
        meter.submit(4 * workers + Meter.MEASURED, 1_000)
        costs.append((submit, meter.complete()))
    (few_submit, few_complete), (many_submit, many_complete) = costs
    assert many_submit < SLACK * few_submit
    assert many_complete < SLACK * few_complete


def test_work_that_nobody_can_do_costs_the_rest_nothing():
    meter = Meter()
    for number in range(200):
        stuck = JobSpec(id=f"stuck-{number}", file="a.py", requirement=(f"NOBODY{number}",), priority=9)
        meter.handle(RunSubmitted(f"stuck-{number}", "", (stuck,)))
    meter.handle(registered(0, "GENERAL"))
    meter.submit(0, 1_100)
    free = Meter()
    free.handle(registered(0, "GENERAL"))
    free.submit(0, 1_100)
    assert meter.complete() < SLACK * free.complete()


def test_a_dag_costs_the_same_for_each_job_whatever_its_size():
    costs = []
    for size in (500, 5_000):
        specs = tuple(
            JobSpec(
                id=f"job-{number}",
                file="a.py",
                parents=tuple(f"job-{parent}" for parent in {number // 2, number // 3, number - 1} if parent < number),
            )
            if number
            else JobSpec(id="job-0", file="a.py")
            for number in range(size)
        )
        meter = Meter()
        meter.handle(registered(0, "GENERAL"))
        accept = lines_of(lambda: meter.handle(RunSubmitted("run", "", specs))) / size  # noqa: B023 - called at once
        complete = lines_of(meter.complete_all) / size
        costs.append((accept, complete))
        assert meter.core.run_info("run").finished
    assert costs[1][0] < SLACK * costs[0][0]
    assert costs[1][1] < SLACK * costs[0][1]


def test_a_queued_job_takes_about_a_kilobyte():
    count = 5_000
    core = SchedulerCore(CoreLimits())
    tracemalloc.start()
    try:
        for number in range(count):
            core.handle(submitted(number), NOW)
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert used / count < 1_150  # a run of its own for each; jobs of a common run take less


def test_the_collector_of_cycles_has_nothing_to_do_with_what_waits():
    """It would walk through all of it again and again: messages are not its concern, and the core makes no cycles."""
    spec = decode_message(encode_message(submitted(0).jobs[0]), JobSpec)
    assert not gc.is_tracked(spec) and not gc.is_tracked(Lease(job="run/job", attempt=1, epoch=1))
    meter = Meter()
    meter.handle(registered(0, "GENERAL"))
    meter.core.handle(submitted(0), NOW)
    gc.collect()
    gc.disable()
    try:
        meter.submit(1, 200)
        meter.complete_all()
        assert gc.collect() < 20, "what jobs leave behind goes when it is no longer needed"
    finally:
        gc.enable()
