"""A master that starts with more logs than it may keep."""

from __future__ import annotations

from titan_test_suite.pytests.cluster import Cluster, wait_until


def test_a_master_removes_logs_of_finished_runs_beyond_its_cap(cluster: Cluster) -> None:
    master = cluster.start_master()
    cluster.start_worker()
    done = cluster.run("print('x' * 5000)", id="done")
    failed = cluster.run("print('y' * 5000); raise SystemExit(3)", id="failed", retries=0)
    for key in (done, failed):
        cluster.wait_state(key)
    assert len(cluster.log(done)) == len(cluster.log(failed)) == 5001
    master.terminate()
    cluster.start_master("--log-total-bytes", "6000")
    wait_until(lambda: not cluster.log(done))
    assert len(cluster.log(failed)) == 5001
    assert cluster.info(done).state == "COMPLETED", "the record stays"
