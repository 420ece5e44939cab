"""Black box: what is urgent goes before what came first; what is delayed comes later."""

from __future__ import annotations

import pathlib
import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2] / "titan_sdk")
    import run_as_script

    run_as_script.prepare(needed=("msgspec", "yaml"))

from titan_test_suite.pytests.black_box import Box, main

HOLD = """
import os, sys
from titan_sdk import TitanClient
with TitanClient() as client:
    while client.kv_get(sys.argv[1]) is None:
        client.events(client.events().last, wait=0.2)
"""


def run(box: Box) -> None:
    key = box.name("go")
    slots = box.slots()
    holders = box.client.submit_dag(
        box.name("holders"), [box.job(f"hold-{number}", HOLD, args=[key], priority=1000) for number in range(slots)]
    )
    for info in holders.watch(box.timeout):
        if all(job.state == "RUNNING" for job in info.jobs):
            break
    box.say(f"all {slots} slots are held")
    count = 3 * slots
    low = box.client.submit_dag(box.name("low"), [box.job(f"low-{n}", "", priority=1) for n in range(count)])
    high = box.client.submit_dag(box.name("high"), [box.job(f"high-{n}", "", priority=100) for n in range(count)])
    box.client.kv_set(key, "now")
    first = min(job.started_at for job in low.wait(box.timeout).jobs)
    late = [job.id for job in high.wait(box.timeout).jobs if job.started_at > first]
    # A job is handed to one slot while processes are still being started in the others.
    box.check(f"{count} urgent jobs went before {count} earlier ones", len(late) < slots, *late)
    holders.wait(box.timeout)
    order = box.client.submit_dag(
        box.name("delayed"), [box.job("delayed", "", delay=1.0, priority=100), box.job("at-once", "", priority=1)]
    )
    delayed, at_once = order.wait(box.timeout).jobs
    box.check("a delay is kept", delayed.started_at - delayed.submitted_at >= 1000)
    box.check("and holds up nothing else", at_once.started_at < delayed.started_at)


if __name__ == "__main__":
    sys.exit(main(run, __doc__))
