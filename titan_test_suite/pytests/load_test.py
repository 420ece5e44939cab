"""Black box: many small jobs from many submitters at once; nothing is lost, mixed up or run twice."""

from __future__ import annotations

import pathlib
import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2] / "titan_sdk")
    import run_as_script

    run_as_script.prepare(needed=("msgspec", "yaml"))

import time
from concurrent.futures import ThreadPoolExecutor

from titan_sdk import JobHandle, as_completed
from titan_test_suite.pytests.black_box import Box, main

JOBS = 120
RUNS = 20
SUBMITTERS = 8


def run(box: Box) -> None:
    begin = time.monotonic()
    single = [box.job(f"single-{number}", f"print('single', {number})") for number in range(JOBS)]
    with ThreadPoolExecutor(SUBMITTERS) as threads:
        handles: list[JobHandle] = list(threads.map(box.client.submit_job, single))
        runs = list(
            threads.map(
                lambda number: box.client.submit_dag(
                    box.name(f"run-{number}"),
                    [
                        box.job(f"run{number}-a", f"print('a', {number})"),
                        box.job(f"run{number}-b", f"print('b', {number})", parents=[f"run{number}-a"]),
                    ],
                ),
                range(RUNS),
            )
        )
    handles += [job for each in runs for job in each.jobs()]
    box.say(f"{len(handles)} jobs of {JOBS + RUNS} runs submitted in {time.monotonic() - begin:.2f} s")
    seen = list(as_completed(handles, box.timeout))
    took = time.monotonic() - begin
    box.say(f"all have ended after {took:.2f} s: {len(handles) / took:.0f} a second")
    box.check("each came once", len(seen) == len(handles) == len({handle.key for handle in seen}))
    infos = [handle.info() for handle in handles]
    box.check("every job has completed, in one attempt", all((i.state, i.attempt) == ("COMPLETED", 1) for i in infos))
    wrong = [handle.key for handle in handles[:JOBS] if handle.logs().split() != handle.job_id.split("-")[:2]]
    box.check("each log is its own", not wrong, *wrong)
    overlap = [worker for worker in box.client.workers() if worker.busy > worker.slots]
    box.check("no worker has more than its slots", not overlap, *overlap)


if __name__ == "__main__":
    sys.exit(main(run, __doc__))
