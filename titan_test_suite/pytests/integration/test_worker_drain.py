"""Leaving in order: nothing new, what runs may finish or is handed back without a charge, and nothing stays behind."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from titan_test_suite.pytests.cluster import Cluster, wait_until

WAITS = """
import os, pathlib, time
with open({ledger!r}, 'a') as file:
    file.write(f"begin {{os.environ['TITAN_ATTEMPT']}}\\n")
print('ready', flush=True)
while not pathlib.Path({release!r}).exists():
    time.sleep(0.01)
"""


def waits(tmp_path: Path) -> str:
    return WAITS.format(ledger=str(tmp_path / "ledger"), release=str(tmp_path / "release"))


def begun(tmp_path: Path) -> list[str]:
    ledger = tmp_path / "ledger"
    return ledger.read_text().splitlines() if ledger.exists() else []


def test_an_idle_worker_leaves_at_once(small_cluster: Cluster) -> None:
    worker = small_cluster.programs[-1]
    begin = time.monotonic()
    assert worker.terminate() == 0
    assert time.monotonic() - begin < 20, "drain_seconds is 30"
    wait_until(lambda: not small_cluster.workers(), 5, "it said goodbye")


def test_a_running_job_may_finish(small_cluster: Cluster, tmp_path: Path) -> None:
    worker = small_cluster.programs[-1]
    key = small_cluster.run(waits(tmp_path))
    wait_until(lambda: begun(tmp_path), 10)
    worker.signal(signal.SIGTERM)
    worker.wait_for_line("leaving")
    other = small_cluster.run("print('not here')", id="later")
    (tmp_path / "release").touch()
    assert worker.wait() == 0
    info = small_cluster.info(key)
    assert (info.state, info.attempt) == ("COMPLETED", 1)
    assert small_cluster.info(other).state == "PENDING"
    small_cluster.start_worker(name="next")
    assert small_cluster.wait_state(other).state == "COMPLETED"
    assert small_cluster.info(other).retries_left == 3, "being refused is not charged"


def test_what_does_not_finish_in_time_is_handed_back_uncharged(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start_master()
    worker = cluster.start_worker("--drain-seconds", "0.5", "--grace-seconds", "1")
    key = cluster.run(waits(tmp_path), retries=0)
    wait_until(lambda: begun(tmp_path), 10)
    assert worker.terminate() == 0
    cluster.start_worker(name="next")
    wait_until(lambda: begun(tmp_path) == ["begin 1", "begin 2"], 10)
    (tmp_path / "release").touch()
    info = cluster.wait_state(key)
    assert info.state == "COMPLETED"
    assert [execution.outcome for execution in info.executions] == ["handed_back", "completed"]


def test_a_second_signal_hurries(small_cluster: Cluster, tmp_path: Path) -> None:
    worker = small_cluster.programs[-1]
    small_cluster.run(waits(tmp_path))
    wait_until(lambda: begun(tmp_path), 10)
    worker.signal(signal.SIGINT)
    worker.wait_for_line(r"leaving: SIGINT; waiting up to \d+ s for 1 job to finish \(Ctrl-C again: ")
    begin = time.monotonic()
    assert worker.terminate() == 0
    assert time.monotonic() - begin < 10, "drain_seconds is 30"


def test_a_service_moves_at_once(small_cluster: Cluster, tmp_path: Path) -> None:
    worker = small_cluster.programs[-1]
    key = small_cluster.run(waits(tmp_path), kind="service")
    wait_until(lambda: begun(tmp_path), 10)
    small_cluster.start_worker(name="next")
    begin = time.monotonic()
    assert worker.terminate() == 0
    assert time.monotonic() - begin < 15, "a service never finishes; there is nothing to wait for"
    wait_until(lambda: begun(tmp_path) == ["begin 1", "begin 2"], 10)
    assert small_cluster.info(key).state == "RUNNING"


def test_leaving_while_the_master_is_away_keeps_the_results(cluster: Cluster, tmp_path: Path) -> None:
    master = cluster.start_master()
    worker = cluster.start_worker()
    port = cluster.workers()[0].port
    key = cluster.run(waits(tmp_path))
    wait_until(lambda: begun(tmp_path), 10)
    master.kill()
    worker.wait_for_line("broke")
    worker.signal(signal.SIGTERM)
    worker.wait_for_line("leaving")
    (tmp_path / "release").touch()
    assert worker.wait() == 0
    cluster.start_master()
    cluster.start_worker(port=port)
    info = cluster.wait_state(key)
    assert (info.state, info.attempt) == ("COMPLETED", 1)
    assert begun(tmp_path) == ["begin 1"]
