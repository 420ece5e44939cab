"""A master that keeps unused contents for a day finds some that are older when it starts."""

from __future__ import annotations

import os
import time

from titan_sdk.messages import JobSpec
from titan_test_suite.pytests.cluster import Cluster, wait_until


def test_contents_that_nothing_refers_to_go_and_what_ran_can_run_again(cluster: Cluster) -> None:
    master = cluster.start_master()
    cluster.start_worker()
    kept = cluster.upload(b"print('x' * 100)")
    cluster.wait_run(cluster.submit(JobSpec(id="kept", file="job.py", sha256=kept)).run_id)
    unused = cluster.upload(b"never submitted")
    (cluster.perm_files / "mine.py").write_text("mine")
    (cluster.perm_files / "staged" / "old.py").write_text("old")
    master.terminate()
    then = time.time() - 3 * 24 * 3600
    for place in (cluster.data_dir / "content", cluster.perm_files):
        for folder, _, files in os.walk(place):
            for name in files:
                os.utime(os.path.join(folder, name), (then, then))
    fresh = "0" * 64
    (cluster.data_dir / "content" / "00").mkdir(exist_ok=True)
    (cluster.data_dir / "content" / "00" / fresh).write_bytes(b"of today")

    cluster.start_master("--content-days", "1")
    wait_until(lambda: not any(cluster.data_dir.glob(f"content/*/{unused}")))
    wait_until(lambda: not (cluster.perm_files / "staged" / "old.py").exists())
    assert (cluster.perm_files / "mine.py").read_text() == "mine"
    assert any(cluster.data_dir.glob(f"content/*/{fresh}"))
    again = cluster.submit(JobSpec(id="again", file="job.py", sha256=kept)).run_id
    assert cluster.wait_state(f"{again}/again").state == "COMPLETED", "what a job has run can run again"
    assert cluster.upload(b"never submitted") == unused, "it is taken anew"
