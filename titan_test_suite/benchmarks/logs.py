"""Jobs that print a lot: what it does to the master and to others, and how fast their logs arrive."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from titan_sdk.connection import RpcClient
from titan_sdk.messages import GetJob, SubmitRun
from titan_test_suite.benchmarks import yardsticks
from titan_test_suite.benchmarks.cluster import Cluster, Program
from titan_test_suite.benchmarks.latency import CLOCK, start_latencies
from titan_test_suite.benchmarks.measuring import Goal, Result, Setting, percentile, seconds
from titan_test_suite.benchmarks.submitting import JobWentWrong, Script, log_of, run_each

MB: Final = 1_000_000
PRINTER: Final = """\
import sys
import time

rate, size = (int(argument) for argument in sys.argv[1:])  # MB/s (0: as fast as it goes), MB
block = (b"x" * 99 + b"\\n") * 10_000
begin = time.monotonic()
for number in range(1, size + 1):
    sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()
    if rate:
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
print("printed at", size / (time.monotonic() - begin), "MB/s")
"""
LAST_LINE: Final = re.compile(rb"printed at (\S+) MB/s\n$")
SAMPLE_S: Final = 0.05
"""Between two looks at the master's memory."""


def flood(setting: Setting) -> list[Result]:
    """One job prints 100 MB/s, paced, while tiny jobs run beside it."""
    rate = 100
    size = setting.size(1000, 50)
    least = setting.size(50, 3)

    def measure() -> dict[str, float]:
        with setting.cluster(f"flood-{time.monotonic_ns()}") as cluster:
            client = cluster.client()
            clock = Script(client, CLOCK)
            start_latencies(client, clock, 8)
            idle = start_latencies(client, clock, 2 * least)
            printer = Script(client, PRINTER, "printer.py").job("printer", args=(str(rate), str(size)))
            with _peak_rss(cluster.master) as peak:
                key = client.call(SubmitRun(name="printer", jobs=[printer])).jobs[0]
                busy: list[float] = []
                while client.call(GetJob(id=key)).state in ("PENDING", "RUNNING") or len(busy) < least:
                    busy += start_latencies(client, clock, 1)
                client.call(GetJob(id=key, wait_s=60), 60)
            found = LAST_LINE.search(log_of(client, key, -100))
            if found is None:
                raise JobWentWrong(f"the log of {key} has no last line")
            both = {"idle": idle, "busy": busy}
            latencies = {f"{name}{p}": 1000 * percentile(v, p) for name, v in both.items() for p in (50, 99)}
            return {"peak": peak[0] / MB, "printed": float(found[1])} | latencies

    seen = setting.rounds("flood", measure)
    lines = [
        Result("flood", f"a job printing {rate} MB/s: what it came to", "MB/s", seen["printed"], more_is_better=True),
        Result("flood", "most memory of the master meanwhile", "MB", seen["peak"], goal=Goal("most", 300)),
    ]
    for p, limit in ((50, 10.0), (99, 30.0)):
        what = f"submit -> first line of others meanwhile, p{p}"
        lines.append(
            Result("flood", what, "ms", seen[f"busy{p}"], seen[f"idle{p}"], "idle cluster", Goal("most", limit))
        )
    return lines


def throughput(setting: Setting) -> list[Result]:
    """From a submission until the whole of a large log is at the master."""
    size = setting.size(100, 10)
    results = []
    for jobs in (1, 4):
        with setting.cluster(f"logs-{jobs}") as cluster:
            printers = _Printers(cluster, size // jobs)
            seen = setting.interleaved(
                f"{jobs} x {size // jobs} MB",
                {"cat": _piped(cluster, jobs, size), "ours": _printed(printers, jobs, size)},
            )
        what = f"logs of {jobs} jobs at once, {size // jobs} MB each" if jobs > 1 else f"the log of one job, {size} MB"
        beside = "python -u | cat > file"
        results.append(Result("logs", what, "MB/s", seen["ours"], seen["cat"], beside, more_is_better=True))
    return results


class _Printers:
    """Runs jobs that print ``size`` MB each."""

    def __init__(self, cluster: Cluster, size: int) -> None:
        self._submitter: RpcClient = cluster.client()
        self._waiter = cluster.client()
        self._script = Script(self._submitter, PRINTER, "printer.py")
        self._size = size
        self._rounds = 0

    def run(self, jobs: int) -> float:
        """Seconds until the jobs have ended, which says that their logs are at the master."""
        self._rounds += 1
        args = ("0", str(self._size))
        specs = [self._script.job(f"printer-{self._rounds}-{n}", args=args) for n in range(jobs)]
        infos = []
        took = seconds(lambda: infos.extend(run_each(self._submitter, self._waiter, specs)))
        for info in infos:
            if info.log_bytes < self._size * MB:
                raise JobWentWrong(f"the master has {info.log_bytes} bytes of the log of {info.key}")
            if not LAST_LINE.search(log_of(self._submitter, info.key, -100)):
                raise JobWentWrong(f"the log of {info.key} is not complete")
        return took


def _printed(printers: _Printers, jobs: int, size: int) -> Callable[[], float]:
    return lambda: size / printers.run(jobs)


def _piped(cluster: Cluster, jobs: int, size: int) -> Callable[[], float]:
    path = cluster.root / "printer.py"
    path.write_text(PRINTER)
    command = (*yardsticks.PYTHON, str(path), "0", str(size // jobs))

    def measure() -> float:
        with ThreadPoolExecutor(jobs) as pool:
            outputs = [cluster.root / f"piped-{number}.out" for number in range(jobs)]
            return size / seconds(lambda: list(pool.map(lambda output: yardsticks.piped(output, command), outputs)))

    return measure


@contextmanager
def _peak_rss(program: Program) -> Iterator[list[int]]:
    """A list whose one item is the most memory that the program had, in bytes, as far as was seen."""
    peak = [program.rss()]
    over = threading.Event()

    def look() -> None:
        while not over.wait(SAMPLE_S):
            peak[0] = max(peak[0], program.rss())

    thread = threading.Thread(target=look, name="peak-rss", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
