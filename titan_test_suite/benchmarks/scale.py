"""What a job costs the master when there are many: memory, submission, dispatch, edges, a restart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from titan_sdk.connection import RpcClient
from titan_sdk.messages import JobSpec, ListJobs, SubmitRun
from titan_test_suite.benchmarks.cluster import Cluster
from titan_test_suite.benchmarks.fake_worker import FakeWorker
from titan_test_suite.benchmarks.latency import CLOCK
from titan_test_suite.benchmarks.measuring import Goal, Result, Setting
from titan_test_suite.benchmarks.submitting import Script, run_dag, submit_all

FLAT: Final = Goal("ratio", 0.75)
"""A cost that grows by less than a third over a hundredfold is flat: noise makes that much."""
LAYER: Final = 100
"""Jobs of a layer of the DAG; each has two parents in the layer before."""


@dataclass(frozen=True)
class Cost:
    """Of one job, in microseconds: of time, and of processor time of the master's process alone."""

    wall: float
    cpu: float


def queue(setting: Setting) -> list[Result]:
    """Jobs, a run of its own each, queue up with nobody to run them; at each size some are dispatched."""
    sizes = (200, 500, 1000) if setting.quick else (1_000, 10_000, 100_000)
    few, many = sizes[0], sizes[-1]

    def measure() -> dict[str, float]:
        found: dict[str, float] = {}
        with setting.cluster(f"queue-{time.monotonic_ns()}", 0) as cluster:
            queued = _Queue(cluster)
            queued.more(few)
            queued.run(few)  # what the first ones cost more is not the queue's length
            before = cluster.master.rss()
            for size in sizes:
                queued.fill(size // 2 if size > few else 0)
                # The second half of them, so that what comes up now and then is in it in proportion.
                rest = size - queued.length
                submit = _cost(cluster, rest, lambda rest=rest: queued.more(rest))  # type: ignore[misc]
                found[f"memory {size}"] = (cluster.master.rss() - before) / size / 1024
                dispatch = queued.run(few)
                for name, cost in (("submit", submit), ("dispatch", dispatch)):
                    found[f"{name} {size}"] = cost.cpu
                    found[f"{name} wall {size}"] = cost.wall
        with setting.cluster(f"queue-together-{time.monotonic_ns()}", 0) as cluster:
            client = cluster.client()
            script = Script(client, CLOCK)
            before = cluster.master.rss()
            submit_all(client, (_run(script, f"r{n}", few) for n in range(many // few)))
            found["memory together"] = (cluster.master.rss() - before) / many / 1024
        return found

    seen = setting.rounds("queue", measure)
    kilobyte = Goal("most", 1.0)
    memory = f"{many:,} queued jobs: master's memory for each"
    results = [
        Result("queue", f"{memory}, runs of {few:,}", "KB", seen["memory together"], goal=kilobyte),
        Result("queue", f"{memory}, a run of its own each", "KB", seen[f"memory {many}"], goal=kilobyte),
    ]
    for name, what in (("submit", "to submit a job"), ("dispatch", "to dispatch and complete a job")):
        for kind, title, goal in (("", "master's CPU", FLAT), ("wall ", "time", None)):
            for size in sizes[1:] if goal else sizes[-1:]:
                ours, theirs = seen[f"{name} {kind}{size}"], seen[f"{name} {kind}{few}"]
                text = f"{title} {what}, {size:,} queued"
                results.append(Result("queue", text, "us", ours, theirs, f"{few:,} queued", goal))
    return results


def dag(setting: Setting) -> list[Result]:
    """One run whose jobs have two parents each, from its submission to the end of its last job, run by nobody."""
    sizes = (100, 500) if setting.quick else (1_000, 10_000)

    def measure() -> dict[str, float]:
        found: dict[str, float] = {}
        with setting.cluster(f"dag-{time.monotonic_ns()}", 0) as cluster:
            client = cluster.client()
            script = Script(client, CLOCK)
            for number, size in enumerate((sizes[0], *sizes)):  # the first one warms up
                cost = _run_dag(cluster, client, list(_layers(script, f"dag{number}", size)))
                found[f"cpu {size}"] = cost.cpu
                found[f"wall {size}"] = cost.wall
        return found

    seen = setting.rounds("DAG, us per job", measure)
    few, many = sizes
    return [
        Result("dag", f"master's CPU for each job of a DAG of {many:,}", "us", seen[f"cpu {many}"], seen[f"cpu {few}"],
               f"a DAG of {few:,}", FLAT),
        Result("dag", "time for each of them", "us", seen[f"wall {many}"], seen[f"wall {few}"], f"a DAG of {few:,}"),
    ]  # fmt: skip


def restart(setting: Setting) -> list[Result]:
    """SIGKILL with many open jobs, and the time until the next master is ready."""
    count = setting.size(100_000, 2_000)
    per_run = setting.size(1_000, 100)
    with setting.cluster("restart", 0) as cluster, setting.cluster("restart-empty", 0) as empty:
        client = cluster.client()
        script = Script(client, CLOCK)
        submit_all(client, (_run(script, f"r{n}", per_run) for n in range(count // per_run)))

        def again(which: Cluster) -> Callable[[], float]:
            def measure() -> float:
                which.kill_master()
                return which.start_master()

            return measure

        seen = setting.interleaved("restart", {"empty": again(empty), "ours": again(cluster)})
        assert client.call(ListJobs(states=("PENDING",), limit=1)).total == count
    what = f"restart with {count:,} open jobs"
    return [Result("restart", what, "s", seen["ours"], seen["empty"], "an empty master", Goal("most", 5))]


# --- parts ------------------------------------------------------------------------------------------------------------


class _Queue:
    """A master's queue, and the jobs in it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._client = cluster.client()
        self._script = Script(self._client, CLOCK)
        self._made = 0
        self._queued = 0

    @property
    def length(self) -> int:
        return self._queued

    def fill(self, size: int) -> None:
        """Submit until so many are queued."""
        self.more(max(0, size - self._queued))

    def more(self, count: int) -> None:
        def runs() -> Iterator[SubmitRun]:
            for number in range(self._made, self._made + count):
                spec = self._script.job(f"job-{number}")
                yield SubmitRun(name=spec.id, jobs=[spec])

        submit_all(self._client, runs())
        self._made += count
        self._queued += count

    def run(self, count: int) -> Cost:
        """Have so many completed; what each of them cost."""
        worker = FakeWorker(self._cluster, count)
        cost = _cost(self._cluster, count, worker.run)
        worker.leave()
        self._queued -= count
        return cost


def _cost(cluster: Cluster, count: int, action: Callable[[], object]) -> Cost:
    cpu = cluster.master.cpu_seconds()
    begin = time.perf_counter()
    action()
    wall = time.perf_counter() - begin
    return Cost(1e6 * wall / count, 1e6 * (cluster.master.cpu_seconds() - cpu) / count)


def _run(script: Script, name: str, count: int) -> SubmitRun:
    return SubmitRun(name=name, jobs=[script.job(f"{name}-{n}") for n in range(count)])


def _layers(script: Script, name: str, size: int) -> Iterator[JobSpec]:
    for number in range(size):
        layer, place = divmod(number, LAYER)
        before = {(layer - 1) * LAYER + place, (layer - 1) * LAYER + (place + 1) % LAYER} if layer else set()
        yield script.job(f"{name}-{number}", parents=tuple(f"{name}-{parent}" for parent in sorted(before)))


def _run_dag(cluster: Cluster, client: RpcClient, specs: list[JobSpec]) -> Cost:
    worker = FakeWorker(cluster, len(specs))
    thread = threading.Thread(target=worker.run, name="fake-worker", daemon=True)

    def both() -> None:
        thread.start()
        run_dag(client, "dag", specs)
        thread.join()

    cost = _cost(cluster, len(specs), both)
    worker.leave()
    return cost
