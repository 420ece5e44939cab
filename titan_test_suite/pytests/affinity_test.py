"""Black box: jobs with affinity run where their parent did, and requirements are strict."""

from __future__ import annotations

import pathlib
import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2] / "titan_sdk")
    import run_as_script

    run_as_script.prepare(needed=("msgspec", "yaml"))

from titan_test_suite.pytests.black_box import Box, main

CHAINS = 4
LENGTH = 3


def run(box: Box) -> None:
    workers = [worker for worker in box.client.workers() if worker.state == "alive"]
    if len(workers) < 2:
        box.say("there is one worker alone: all this shows is that affinity does no harm")
    jobs = []
    for chain in range(CHAINS):
        for step in range(LENGTH):
            parents = [f"chain{chain}-{step - 1}"] if step else []
            jobs.append(box.job(f"chain{chain}-{step}", "", parents=parents, affinity=bool(step)))
    # A chain at a time, so that the parent's worker always has a slot: with none it may not be waited for.
    for chain in range(CHAINS):
        info = box.client.submit_dag(box.name(f"chain{chain}"), jobs[chain * LENGTH :][:LENGTH]).wait(box.timeout)
        places = [job.worker for job in info.jobs]
        box.check(f"chain {chain} stayed on {places[0]}", len(set(places)) == 1, places)

    words = sorted({word for worker in workers for word in worker.capabilities})
    for word in words:
        fit = {f"{worker.host}:{worker.port}" for worker in workers if word in worker.capabilities}
        needs = box.client.submit_job(box.job(f"needs-{word}", "", requirement=word)).wait(box.timeout)
        box.check(f"what needs {word} ran on {needs.worker}", any(place in needs.worker for place in fit), fit)
    nobody = box.client.submit_job(box.job("needs-nobody", "", requirement=f"NOBODY_{box.mark}"))
    after = box.client.submit_job(box.job("after", ""))
    after.wait(box.timeout)
    box.check("what nobody can run holds nothing up", nobody.status() == "PENDING")
    nobody.cancel()
    box.check("and can be cancelled", nobody.wait(box.timeout, check=False).state == "CANCELLED")


if __name__ == "__main__":
    sys.exit(main(run, __doc__))
