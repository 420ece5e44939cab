"""How soon: from a submission to its script, from a question to its answer, from a due time to the start."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from titan_sdk.connection import RpcClient
from titan_sdk.messages import CancelJob, GetJob, JobSpec, ListJobs, SubmitRun
from titan_test_suite.benchmarks import yardsticks
from titan_test_suite.benchmarks.measuring import Goal, Result, Samples, Setting, percentile, seconds
from titan_test_suite.benchmarks.submitting import Script, log_of, run_one

CLOCK: Final = "import time\n\nprint(time.clock_gettime(time.CLOCK_MONOTONIC), flush=True)\n"
"""Prints the clock that all processes of a machine share."""
CLIENTS: Final = 16
HOUR_MS: Final = 3_600_000


def start(setting: Setting) -> list[Result]:
    """Submit to first line of the script on an idle cluster, one job after the other."""
    count = setting.size(200, 10)
    with setting.cluster("start") as cluster:
        client = cluster.client()
        script = Script(client, CLOCK)
        path = cluster.root / "clock.py"
        path.write_text(CLOCK)
        start_latencies(client, script, 10)
        seen = _both(
            setting,
            "submit to first line",
            lambda: start_latencies(client, script, count),
            lambda: [_popen_latency(path) for _ in range(count)],
        )
    return _percentiles("start", "submit -> first line of a Python script", "python -u", seen, (10.0, 30.0))


def status(setting: Setting) -> list[Result]:
    """Round trips of a status request on one connection."""
    count = setting.size(5000, 200)
    with setting.cluster("status") as cluster:
        client = cluster.client()
        info = run_one(client, Script(client, CLOCK).job("asked"))
        request = GetJob(id=info.key)
        seen = _both(
            setting,
            "status",
            lambda: [seconds_of(lambda: client.call(request)) for _ in range(count)],
            lambda: yardsticks.echo_round_trips(count),
        )
    return _percentiles("status", "status RPC round trip", "TCP echo", seen, (0.3, 2.0))


def submit(setting: Setting) -> list[Result]:
    """Durable submissions a second by many clients at once, each waiting for its answer; nobody runs them."""
    count = setting.size(4800, 160)
    with setting.cluster("submit", 0) as cluster:
        clients = [cluster.client() for _ in range(CLIENTS)]
        script = Script(clients[0], CLOCK)
        rounds = iter(range(1_000_000))

        def ours() -> float:
            number = next(rounds)

            def work(client: RpcClient, lane: int) -> None:
                for n in range(count // CLIENTS):
                    spec = script.job(f"job-{number}-{lane}-{n}")
                    client.call(SubmitRun(name=spec.id, jobs=[spec]))

            with ThreadPoolExecutor(CLIENTS) as pool:
                return count / seconds(lambda: list(pool.map(work, clients, range(CLIENTS))))

        seen = setting.interleaved(
            "submissions a second",
            {"sqlite": lambda: yardsticks.sqlite_commits(cluster.root, count, CLIENTS), "ours": ours},
        )
    return [
        Result(
            "submit",
            f"submissions by {CLIENTS} clients",
            "jobs/s",
            seen["ours"],
            seen["sqlite"],
            f"SQLite rows of {CLIENTS} threads",
            more_is_better=True,
        )
    ]


def delayed(setting: Setting) -> list[Result]:
    """Delayed jobs: all due at once, and some that come due one by one among thousands that wait."""
    count = setting.size(5000, 200)
    few = setting.size(200, 10)

    def measure() -> dict[str, float]:
        with setting.cluster(f"delayed-{time.monotonic_ns()}", 0) as cluster:
            client = cluster.client()
            script = Script(client, CLOCK)
            delay_ms = 2000
            together = [script.job(f"together-{n}", delay_ms=delay_ms) for n in range(count)]
            begin = time.monotonic()
            run_id = client.call(SubmitRun(name="together", jobs=together)).run_id
            accepted = time.monotonic() - begin
            _wait_all_due(client)
            queued = time.monotonic() - begin - delay_ms / 1000
            client.call(CancelJob(id=run_id))
            client.call(SubmitRun(name="later", jobs=[script.job(f"l{n}", delay_ms=HOUR_MS) for n in range(count)]))
            cluster.start_worker("worker")
            late = _lateness(client, script, few)
        return {"accept": accepted * 1000, "queued": queued * 1000, "p50": late(50), "p99": late(99)}

    seen = setting.rounds("delayed", measure)
    return [
        Result("delayed", f"accept a run of {count} delayed jobs", "ms", seen["accept"]),
        Result(
            "delayed",
            f"{count} due at once: from accepting them, less the delay, to the last queued",
            "ms",
            seen["queued"],
        ),
        Result("delayed", f"start after the due time, {count} others waiting, p50", "ms", seen["p50"]),
        Result("delayed", "the same, p99", "ms", seen["p99"]),
    ]


# --- parts ------------------------------------------------------------------------------------------------------------


def start_latencies(client: RpcClient, script: Script, count: int) -> list[float]:
    """Seconds from the submission until the script reads the clock, for jobs one after the other."""
    found = []
    for _ in range(count):
        begin = time.clock_gettime(time.CLOCK_MONOTONIC)
        info = run_one(client, script.job("clock"))
        found.append(float(log_of(client, info.key)) - begin)
    return found


def seconds_of(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def _popen_latency(path: Path) -> float:
    begin = time.clock_gettime(time.CLOCK_MONOTONIC)
    done = subprocess.run([*yardsticks.PYTHON, str(path)], capture_output=True, check=True)
    return float(done.stdout) - begin


def _both(
    setting: Setting, title: str, ours: Callable[[], list[float]], theirs: Callable[[], list[float]]
) -> dict[str, Samples]:
    """p50 and p99 in milliseconds of both, in every round: ours50, ours99, theirs50, theirs99."""

    def measure() -> dict[str, float]:
        values = {"ours": ours(), "theirs": theirs()}
        return {f"{name}{p}": 1000 * percentile(each, p) for name, each in values.items() for p in (50, 99)}

    return setting.rounds(f"{title}, ms", measure)


def _percentiles(
    bench: str, what: str, yardstick: str, seen: dict[str, Samples], goals: tuple[float, float]
) -> list[Result]:
    return [
        Result(bench, f"{what}, p{p}", "ms", seen[f"ours{p}"], seen[f"theirs{p}"], yardstick, Goal("most", limit))
        for p, limit in zip((50, 99), goals, strict=True)
    ]


def _wait_all_due(client: RpcClient) -> None:
    pause = threading.Event()
    while client.call(ListJobs(states=("DELAYED",), limit=1)).total:
        pause.wait(0.002)


def _lateness(client: RpcClient, script: Script, count: int) -> Callable[[int], float]:
    """Submit jobs that come due 20 ms apart; a percentile of the milliseconds by which they were late."""
    for warm_up in range(8):
        run_one(client, script.job(f"warm-{warm_up}"))

    def due(number: int) -> JobSpec:
        return script.job(f"due-{number}", delay_ms=1000 + 20 * number)

    begin = time.clock_gettime(time.CLOCK_MONOTONIC)
    accepted = client.call(SubmitRun(name="due", jobs=[due(n) for n in range(count)]))
    accepted_at = time.clock_gettime(time.CLOCK_MONOTONIC)
    # Unblocked somewhere between the two; the middle of them is off by a few milliseconds at most.
    unblocked = (begin + accepted_at) / 2
    late = []
    for number, key in enumerate(accepted.jobs):
        client.call(GetJob(id=key, wait_s=60), 60)
        started = float(log_of(client, key))
        late.append(1000 * (started - unblocked) - due(number).delay_ms)
    return lambda percent: percentile(late, percent)
