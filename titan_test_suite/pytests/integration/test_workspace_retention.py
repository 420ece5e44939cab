"""A worker that keeps little: its workspace shrinks, and nothing that is needed goes."""

from __future__ import annotations

import os
import time

from titan_test_suite.pytests.cluster import Cluster, wait_until

LITTLE = ("--sandbox-days", "1", "--cache-bytes", "0")
LATE = """
import pathlib, time
pathlib.Path("begun").touch()
while not pathlib.Path("go").exists():
    time.sleep(0.05)
print("y" * 3_000_000)
"""


def test_what_ended_jobs_left_goes_but_not_a_log_that_the_master_lacks(cluster: Cluster) -> None:
    master = cluster.start_master()
    worker = cluster.start_worker(*LITTLE)
    port = worker.wait_ready()
    done = cluster.run("print('x' * 5000)", id="done")
    cluster.wait_state(done)
    late = cluster.run(LATE, id="late")
    wait_until((cluster.workspace / "shared" / "begun").exists)
    master.kill()
    (cluster.workspace / "shared" / "go").touch()
    spool = cluster.workspace / f"worker-{port}" / "spool"
    wait_until(lambda: any(spool.iterdir()), 20, "the result waits for the master")
    worker.kill()
    ages_ago(cluster)

    cluster.start_worker(*LITTLE, name="again", port=port, wait=False)
    jobs = cluster.workspace / "jobs"
    wait_until(lambda: not (jobs / "done").exists())
    assert (jobs / "late").exists(), "its log is not at the master"
    wait_until(lambda: not any(cluster.workspace.glob("worker-*/content/??/*")), what="the cache is empty")
    assert (cluster.workspace / "shared" / "go").exists()
    cluster.start_master()
    assert cluster.wait_state(late, deadline=60).state == "COMPLETED"
    assert len(cluster.log(late)) == 3_000_001
    again = cluster.run("print('x' * 5000)", id="again")
    assert cluster.wait_state(again).state == "COMPLETED", "its content is fetched anew"


def ages_ago(cluster: Cluster) -> None:
    """As if all had happened then."""
    then = time.time() - 10 * 24 * 3600
    for place in (
        cluster.workspace / "jobs",
        cluster.workspace / "shared",
        *cluster.workspace.glob("worker-*/content"),
    ):
        for folder, folders, files in os.walk(place):
            for name in (*folders, *files):
                os.utime(os.path.join(folder, name), (then, then))
