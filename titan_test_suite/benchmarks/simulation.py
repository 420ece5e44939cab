"""A large cluster that is not there: the scheduling core on a virtual clock, with any number of workers and jobs.

The very code that decides in a master decides here; what is left out is the journal, the network and the processes.
"""

from __future__ import annotations

import gc
import itertools
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final

import psutil

from titan_core.scheduling.core.commands import DispatchJob, SetAlarm
from titan_core.scheduling.core.events import AttemptEnded, Event, Instant, RunSubmitted, TimePassed, WorkerRegistered
from titan_core.scheduling.core.scheduler_core import CoreLimits, SchedulerCore
from titan_sdk.messages import JobSpec, Outcome
from titan_test_suite.benchmarks.measuring import Result, Samples, Setting

SLOTS: Final = 4
EPOCH_MS: Final = 1_800_000_000_000
RUN_SIZE: Final = 20
"""Jobs of a run: one that the others wait for, and one of ten needs a GPU."""
MEAN_JOB_S: Final = 60.0
FAILURES: Final = 0.01
"""Share of attempts that fail, and are retried after a delay."""
PRESSURE: Final = 1.05
"""Work that arrives, as a share of what the cluster can do: a little too much, so that a queue builds up."""
RSS_EVERY: Final = 1_000
"""Events between two looks at the memory of this process."""


@dataclass
class World:
    """Virtual time, what is going to happen in it, and what has happened. The seed decides everything."""

    workers: int
    jobs: int
    core: SchedulerCore = field(default_factory=lambda: SchedulerCore(CoreLimits()))
    random: random.Random = field(default_factory=lambda: random.Random(20))
    now: float = 0.0
    events: int = 0
    dispatches: int = 0
    peak_rss: int = 0
    _upcoming: list[tuple[float, int, DispatchJob | RunSubmitted | TimePassed]] = field(default_factory=list)
    _planned: int = 0

    def run(self) -> float:
        """Seconds of real time, from the first worker to the end of the last job."""
        begin = time.perf_counter()
        for number in range(self.workers):
            self._handle(_worker(number))
        arrivals = self._arrivals()
        self._plan_next(arrivals)
        while self._upcoming:
            self.now, _, what = heappop(self._upcoming)
            if isinstance(what, DispatchJob):
                self._handle(self._end_of(what))
            else:
                self._handle(what)
                if isinstance(what, RunSubmitted):
                    self._plan_next(arrivals)
        return time.perf_counter() - begin

    def _handle(self, event: Event) -> None:
        """Let the core decide, and plan what follows from it."""
        self.events += 1
        if self.events % RSS_EVERY == 0:
            self.peak_rss = max(self.peak_rss, psutil.Process().memory_info().rss)
        for command in self.core.handle(event, Instant(self.now, EPOCH_MS + round(self.now * 1000))):
            if isinstance(command, DispatchJob):
                self.dispatches += 1
                self._plan(self.now + self.random.expovariate(1 / MEAN_JOB_S), command)
            elif isinstance(command, SetAlarm):
                self._plan(command.at, TimePassed())

    def _plan(self, moment: float, what: DispatchJob | RunSubmitted | TimePassed) -> None:
        self._planned += 1
        heappush(self._upcoming, (moment, self._planned, what))

    def _plan_next(self, arrivals: Iterator[tuple[float, RunSubmitted]]) -> None:
        for moment, run in itertools.islice(arrivals, 1):
            self._plan(moment, run)

    def _end_of(self, dispatch: DispatchJob) -> AttemptEnded:
        outcome: Outcome = "failed" if self.random.random() < FAILURES else "completed"
        code = 1 if outcome == "failed" else 0
        return AttemptEnded(dispatch.worker_id, dispatch.lease, outcome, code)

    def _arrivals(self) -> Iterator[tuple[float, RunSubmitted]]:
        """Runs at random moments, as many in a second as PRESSURE says."""
        runs_a_second = PRESSURE * self.workers * SLOTS / MEAN_JOB_S / RUN_SIZE
        moment = 0.0
        for number in range(self.jobs // RUN_SIZE):
            moment += self.random.expovariate(runs_a_second)
            yield moment, RunSubmitted(f"run-{number:09d}", f"run {number}", tuple(_jobs(number)))


def simulation(setting: Setting) -> list[Result]:
    """The core with a thousand workers and a million jobs. One round: what it decides does not change."""
    workers = setting.size(1_000, 50)
    jobs = setting.size(1_000_000, 5_000)
    gc.collect()
    before = psutil.Process().memory_info().rss
    world = World(workers, jobs)
    took = world.run()
    assert world.core.stats_json()["queue_size"] == 0
    setting.say(
        f"simulation: {world.now / 3600:.1f} hours in {took:.1f} s, "
        f"{world.events:,} events, {world.dispatches:,} dispatches"
    )
    memory = max(0, world.peak_rss - before) / 1_000_000
    title = f"simulated: {workers:,} workers, {jobs:,} jobs"
    return [
        Result("simulation", f"{title}: events decided", "1/s", Samples((world.events / took,)), more_is_better=True),
        Result("simulation", "jobs dispatched", "1/s", Samples((world.dispatches / took,)), more_is_better=True),
        Result("simulation", "times as fast as the clock", "x", Samples((world.now / took,)), more_is_better=True),
        Result("simulation", "memory it took at most", "MB", Samples((memory,))),
    ]


def _worker(number: int) -> WorkerRegistered:
    capabilities = frozenset({"GENERAL", "GPU"} if number % 5 == 0 else {"GENERAL"})
    name = f"worker-{number:06d}"
    return WorkerRegistered(name, "boot", number, "10.0.0.1", 8080, capabilities, SLOTS, False, holding=())


def _jobs(run: int) -> Iterator[JobSpec]:
    for number in range(RUN_SIZE):
        yield JobSpec(
            id=f"job-{run}-{number}",
            file="script.py",
            sha256="ab" * 32,
            requirement=("GPU",) if number % 10 == 9 else ("GENERAL",),
            parents=(f"job-{run}-0",) if number else (),
            priority=1 + run % 3,
        )
