"""Black box: one job, many in parallel, one that joins them."""

from __future__ import annotations

import pathlib
import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2] / "titan_sdk")
    import run_as_script

    run_as_script.prepare(needed=("msgspec", "yaml"))

from titan_test_suite.pytests.black_box import Box, main

WIDTH = 24

PART = """
import sys, time
begin = time.time()
total = sum(number * number for number in range(int(sys.argv[1]) * 1000, int(sys.argv[1]) * 1000 + 1000))
while time.time() < begin + 0.05:
    pass
print(total)
"""


def run(box: Box) -> None:
    parts = [f"part-{number}" for number in range(WIDTH)]
    jobs = [
        box.job("split", "print('go')"),
        *(box.job(name, PART, args=[number], parents=["split"]) for number, name in enumerate(parts)),
        box.job("join", "print('joined')", parents=parts),
    ]
    handle = box.client.submit_dag(box.name("fanout"), jobs)
    box.say(f"{handle.run_id}: 1 -> {WIDTH} -> 1")
    info = handle.wait(box.timeout, check=False)
    box.check("every job has completed", all(job.state == "COMPLETED" for job in info.jobs))
    first, *middle, last = info.jobs
    box.check("the parts began after the split", all(job.started_at >= first.ended_at for job in middle))
    box.check("the join began after every part", all(job.ended_at <= last.started_at for job in middle))
    total = sum(int(job.logs()) for job in handle.jobs()[1:-1])
    box.check("their results add up", total == sum(number * number for number in range(WIDTH * 1000)), total)
    moments = sorted(job.started_at for job in middle)
    together = max(sum(job.started_at <= moment <= job.ended_at for job in middle) for moment in moments)
    box.check(f"{together} ran at the same time", together > 1 or box.slots() == 1)


if __name__ == "__main__":
    sys.exit(main(run, __doc__))
