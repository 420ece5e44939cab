"""Black box: jobs that submit jobs while they run, three generations of them."""

from __future__ import annotations

import pathlib
import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2] / "titan_sdk")
    import run_as_script

    run_as_script.prepare(needed=("msgspec", "yaml"))

import json

from titan_test_suite.pytests.black_box import Box, main

CHILDREN = 3

GROW = """
import json, sys
from titan_sdk import TitanClient, TitanJob

generation, name, children = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
found = []
if generation:
    with TitanClient() as client:
        for number in range(children):
            child = f"{name}.{number}"
            found.append(client.submit_job(TitanJob(child, __file__, args=[generation - 1, child, children])).key)
print(json.dumps(found))
"""

ADD = """
import os, sys
from titan_sdk import TitanClient, TitanJob

role, name, children = sys.argv[1], sys.argv[2], int(sys.argv[3])
if role == "root":
    parts = [TitanJob(f"{name}-part{number}", __file__, args=["part", name, 0]) for number in range(children)]
    join = TitanJob(f"{name}-join", __file__, args=["join", name, 0], parents=parts)
    with TitanClient() as client:
        client.run(os.environ["TITAN_RUN_ID"]).add([*parts, join])
print(role)
"""


def run(box: Box) -> None:
    root = box.client.submit_job(box.job("grow", GROW, args=[2, box.name("grow"), CHILDREN]))
    left, seen = [root.key], {}
    while left:
        key = left.pop()
        children = json.loads(box.client.job(key).result(box.timeout))
        seen[key] = children
        left += children
    wanted = 1 + CHILDREN + CHILDREN**2
    box.check(f"{len(seen)} jobs in three generations", len(seen) == wanted, *seen)
    wrong = [
        child
        for parent, children in seen.items()
        for child in children
        if box.client.run(child.partition("/")[0]).info().parent != parent
    ]
    box.check("each is known as its parent's", not wrong, *wrong)

    handle = box.client.submit_dag(box.name("adding"), [box.job("root", ADD, args=["root", box.name("add"), CHILDREN])])
    info = handle.wait(box.timeout, check=False)
    box.check("a job has added others to its own run", len(info.jobs) == CHILDREN + 2)
    box.check("all of which have completed", all(job.state == "COMPLETED" for job in info.jobs))
    *_, join = info.jobs
    box.check("in order", all(job.ended_at <= join.started_at for job in info.jobs[:-1]))


if __name__ == "__main__":
    sys.exit(main(run, __doc__))
