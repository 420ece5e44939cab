"""Black box: a large DAG of layers, one that fails in the middle, and DAGs that must be refused."""

from __future__ import annotations

import pathlib
import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2] / "titan_sdk")
    import run_as_script

    run_as_script.prepare(needed=("msgspec", "yaml"))

import random

from titan_sdk import PipelineError, RemoteError
from titan_test_suite.pytests.black_box import Box, main

LAYERS = (4, 12, 20, 12, 1)
SEED = 7
"""The same DAG each time."""


def layered() -> dict[str, list[str]]:
    """Parents by name: every job has one to four in the layer above, and the last has all of that."""
    choose = random.Random(SEED)
    parents: dict[str, list[str]] = {}
    above: list[str] = []
    for number, width in enumerate(LAYERS):
        layer = [f"layer{number}-{place}" for place in range(width)]
        for name in layer:
            parents[name] = above if width == 1 else choose.sample(above, min(len(above), choose.randint(1, 4)))
        above = layer
    return parents


def run(box: Box) -> None:
    parents = layered()
    edges = sum(map(len, parents.values()))
    jobs = [box.job(name, f"print({name!r})", parents=given) for name, given in parents.items()]
    random.Random(SEED).shuffle(jobs)
    handle = box.client.submit_dag(box.name("complex"), jobs)
    box.say(f"{handle.run_id}: {len(jobs)} jobs, {edges} edges, in no order")
    info = handle.wait(box.timeout, check=False)
    by_id = {job.id: job for job in info.jobs}
    box.check(
        "every job has completed",
        all(job.state == "COMPLETED" for job in info.jobs),
        *(f"{job.id} {job.state} {job.reason}" for job in info.jobs if job.state != "COMPLETED"),
    )
    box.check("each ran once", all(job.attempt == 1 for job in info.jobs))
    early = [
        f"{job.id} started {by_id[parent].ended_at - job.started_at} ms before {parent} ended"
        for job in info.jobs
        for parent in job.parents
        if job.started_at < by_id[parent].ended_at
    ]
    box.check("no job started before its parents had ended", not early, *early)
    wrong = [job.job_id for job in handle.jobs() if job.logs().strip() != job.job_id.removesuffix(f"-{box.mark}")]
    box.check("each has printed its own line", not wrong, *wrong)

    diamond = {"top": [], "left": ["top"], "right": ["top"], "bottom": ["left", "right"], "aside": ["right"]}
    sources = {"left": "raise SystemExit(3)"}
    handle = box.client.submit_dag(
        box.name("failing"),
        [box.job(name, sources.get(name, ""), parents=given, retries=0) for name, given in diamond.items()],
    )
    states = {job.id.removesuffix(f"-{box.mark}"): job.state for job in handle.wait(box.timeout, check=False).jobs}
    wanted = {"top": "COMPLETED", "left": "DEAD", "right": "COMPLETED", "bottom": "DEAD", "aside": "COMPLETED"}
    box.check("what follows a failed job ends with it, and nothing else does", states == wanted, states)

    before = len(box.client.jobs(limit=1000))
    for what, bad in {
        "a cycle": [box.job("a", "", parents=["b"]), box.job("b", "", parents=["a"])],
        "an unknown parent": [box.job("a", ""), box.job("b", "", parents=["nobody"])],
        "an id twice": [box.job("a", ""), box.job("a", "")],
    }.items():
        try:
            box.client.submit_dag(box.name("bad"), bad)
        except (PipelineError, RemoteError) as error:
            box.check(f"{what} is refused: {error}", True)
        else:
            box.check(f"{what} is refused", False)
    box.check("and none of their jobs is there", len(box.client.jobs(limit=1000)) == before)


if __name__ == "__main__":
    sys.exit(main(run, __doc__))
