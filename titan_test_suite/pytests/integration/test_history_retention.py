"""A master that is to keep no finished job: its journal shrinks, and what is still to be done stays and gets done."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from titan_sdk.errors import NotFound
from titan_test_suite.pytests.cluster import Cluster, wait_until


def test_finished_runs_and_their_logs_go_and_what_waits_is_done(cluster: Cluster) -> None:
    master = cluster.start_master()
    cluster.start_worker()
    done = [cluster.run(f"print('x' * {number})", id=f"done{number}") for number in range(5)]
    for key in done:
        cluster.wait_state(key)
    waiting = cluster.run("print('late')", id="waiting", requirement=("LATE",))
    master.terminate()
    assert rows(cluster) == 6

    cluster.start_master("--finished-jobs-in-memory", "0", "--history-jobs", "0")
    wait_until(lambda: rows(cluster) == 1)
    logs = cluster.data_dir / "logs"
    wait_until(lambda: not any((logs / key.split("/")[0]).exists() for key in done))
    with pytest.raises(NotFound):
        cluster.info(done[0])
    cluster.start_worker(capabilities="LATE", name="late")
    assert cluster.wait_state(waiting).state == "COMPLETED"
    assert cluster.log(waiting) == b"late\n"


def rows(cluster: Cluster) -> int:
    with closing(sqlite3.connect(f"file:{cluster.data_dir / 'titan.db'}?mode=ro", uri=True)) as db:
        return int(db.execute("SELECT count(*) FROM jobs").fetchone()[0])
