"""The full load cycle: a burst makes the cluster grow, and its end makes it shrink again; a timeline of both.

Run it against a running cluster::

    .venv/bin/python titan_test_suite/examples/load_cycle/load_cycle.py [jobs] [seconds]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from titan_sdk import TitanClient, TitanJob

STEP = Path(__file__).with_name("step.py")
LOOK_S = 0.25
"""For one question to wait for the next event; then the numbers are looked at again."""
PATIENCE_S = 600.0


def burst(jobs: int, seconds: float) -> list[TitanJob]:
    return [TitanJob(job_id=f"load-{number}", filename=str(STEP), args=[seconds]) for number in range(jobs)]


def timeline(client: TitanClient, since: int) -> Iterator[tuple[list[str], int, str]]:
    """What happened, how many workers there are, and the numbers, again and again."""
    while True:
        found = client.events(since, wait=LOOK_S)
        since = found.last
        happened = [f"{event.kind}: {event.subject}: {event.text}" for event in found.events]
        workers = [worker for worker in client.workers() if worker.state == "alive"]
        stats = client.stats()
        busy, slots = sum(worker.busy for worker in workers), sum(worker.slots for worker in workers)
        ports = " ".join(str(worker.port) for worker in workers)
        numbers = f"workers {len(workers)} ({ports})  slots {busy}/{slots}  waiting {stats['queue_size']}"
        yield happened, len(workers), numbers


def main(jobs: int = 100, seconds: float = 2.0) -> int:
    """0 when the cluster grew and shrank again."""
    with TitanClient() as client:
        before = len([worker for worker in client.workers() if worker.state == "alive"])
        if not before:
            print("no worker is there to begin with; ./titan-dev up starts one")
            return 1
        since = client.events(newest=1).last
        run = client.submit_dag("load-cycle", burst(jobs, seconds))
        begin = time.monotonic()
        peak, shown, done = before, "", False
        for happened, workers, numbers in timeline(client, since):
            now = time.monotonic() - begin
            for line in happened:
                print(f"{now:6.1f} s  {line}", flush=True)
            if numbers != shown:
                print(f"{now:6.1f} s  {numbers}", flush=True)
            peak, shown = max(peak, workers), numbers
            if not done and run.info().finished:
                done = True
                print(f"{now:6.1f} s  all {jobs} jobs are done", flush=True)
            if done and (workers <= before or peak == before):
                break
            if now > PATIENCE_S:
                print("the workers are still there; see idle_seconds of the master", flush=True)
                return 1
    print(f"{before} workers at first, {peak} at the peak, {workers} at the end")
    return 0 if peak > before else 1


if __name__ == "__main__":
    sys.exit(main(*(int(text) for text in sys.argv[1:2]), *(float(text) for text in sys.argv[2:3])))
