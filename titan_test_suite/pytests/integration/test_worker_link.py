"""A worker and its master through deaths, freezes and absences of either: no job lost, none counted twice."""

from __future__ import annotations

import socket
from pathlib import Path

from titan_sdk.messages import KillWorker
from titan_test_suite.pytests.cluster import Cluster, wait_until

LEASE = ("--lease-seconds", "3", "--heartbeat-seconds", "0.5", "--grace-seconds", "2")
"""Of masters whose workers fall silent in a test."""


def ledger_job(ledger: Path, release: Path | None = None) -> str:
    """A script that notes its start and its end, and in between waits for the file ``release``."""
    return f"""
import os, pathlib, time
def note(what):
    with open({str(ledger)!r}, 'a') as file:
        file.write(f"{{what}} {{os.environ['TITAN_ATTEMPT']}}\\n")
note('begin')
print('begin', flush=True)
while {release is not None} and not pathlib.Path({str(release)!r}).exists():
    time.sleep(0.01)
note('end')
print('end')
"""


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_a_worker_waits_for_its_master_and_says_so_once(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        cluster.port = free.getsockname()[1]
    worker = cluster.start_worker(wait=False)
    worker.wait_for_line("cannot be reached")
    cluster.start_master(port=cluster.port)
    worker.wait_for_line("registered")
    assert worker.log_text().count("cannot be reached") == 1
    assert cluster.wait_state(cluster.run("print(1)")).state == "COMPLETED"


def test_a_wrong_token_ends_the_worker_with_one_line(cluster: Cluster) -> None:
    cluster.start_master()
    worker = cluster.start_worker(wait=False, TITAN_TOKEN="not the token")
    assert worker.wait() == 2
    complaint = [line for line in worker.log_text().splitlines() if line.startswith("TitanWorker:")]
    assert len(complaint) == 1 and "token" in complaint[0]


def test_a_port_in_use_and_a_bad_argument_are_one_line_each(cluster: Cluster) -> None:
    cluster.port = 9  # of a master that is not asked for
    with socket.create_server(("127.0.0.1", 0)) as taken:
        worker = cluster.start_worker(port=taken.getsockname()[1], wait=False, name="taken")
        assert worker.wait() == 2
    assert "in use" in worker.log_text() and len(worker.log_text().splitlines()) == 1
    worker = cluster.start_worker(wait=False, name="bad", capabilities="GPU,no good")
    assert worker.wait() == 2
    assert "no good" in worker.log_text() and len(worker.log_text().splitlines()) == 1


def test_a_running_job_outlives_its_master(cluster: Cluster, tmp_path: Path) -> None:
    ledger, release = tmp_path / "ledger", tmp_path / "release"
    master = cluster.start_master()
    worker = cluster.start_worker()
    key = cluster.run(ledger_job(ledger, release))
    wait_until(lambda: cluster.log(key) == b"begin\n", 10)
    master.kill()
    worker.wait_for_line("broke")
    cluster.start_master()
    wait_until(lambda: worker.log_text().count("registered") == 2, 20)
    assert cluster.info(key).state == "RUNNING"
    release.touch()
    info = cluster.wait_state(key)
    assert (info.state, info.attempt) == ("COMPLETED", 1)
    assert lines(ledger) == ["begin 1", "end 1"]
    assert cluster.log(key) == b"begin\nend\n"


def test_a_result_waits_for_the_master(cluster: Cluster, tmp_path: Path) -> None:
    ledger, release = tmp_path / "ledger", tmp_path / "release"
    master = cluster.start_master()
    cluster.start_worker()
    key = cluster.run(ledger_job(ledger, release))
    wait_until(lambda: lines(ledger) == ["begin 1"], 10)
    master.kill()
    release.touch()
    wait_until(lambda: list(cluster.workspace.glob("worker-*/spool/*.result")), 10)
    cluster.start_master()
    info = cluster.wait_state(key)
    assert (info.state, info.attempt) == ("COMPLETED", 1)
    assert cluster.log(key) == b"begin\nend\n"
    wait_until(lambda: not list(cluster.workspace.glob("worker-*/spool/*.result")), 10)
    assert lines(ledger) == ["begin 1", "end 1"]


def test_a_result_outlives_its_worker_too(cluster: Cluster, tmp_path: Path) -> None:
    """The job ends while the master is away, and then the worker is killed: its successor reports the result."""
    ledger, release = tmp_path / "ledger", tmp_path / "release"
    master = cluster.start_master()
    worker = cluster.start_worker()
    port = cluster.workers()[0].port
    key = cluster.run(ledger_job(ledger, release))
    wait_until(lambda: lines(ledger) == ["begin 1"], 10)
    master.kill()
    release.touch()
    wait_until(lambda: list(cluster.workspace.glob("worker-*/spool/*.result")), 10)
    worker.kill()
    cluster.start_master()
    cluster.start_worker(port=port)
    info = cluster.wait_state(key)
    assert (info.state, info.attempt) == ("COMPLETED", 1)
    assert cluster.log(key) == b"begin\nend\n"
    assert lines(ledger) == ["begin 1", "end 1"]


def test_a_killed_worker_leaves_nothing_and_its_job_runs_elsewhere(cluster: Cluster, tmp_path: Path) -> None:
    ledger, release = tmp_path / "ledger", tmp_path / "release"
    cluster.start_master(*LEASE)
    worker = cluster.start_worker()
    key = cluster.run(ledger_job(ledger, release), retries=0)
    wait_until(lambda: lines(ledger) == ["begin 1"], 10)
    known = {process.pid for process in cluster.processes()}
    cluster.start_worker(name="other")
    ours = {process.pid for process in cluster.processes()} - known
    worker.kill()
    wait_until(lambda: lines(ledger) == ["begin 1", "begin 2"], 20)
    wait_until(lambda: len({p.pid for p in cluster.processes()} & known) == 1, 10, "only the master is left of before")
    release.touch()
    info = cluster.wait_state(key)
    assert (info.state, info.attempt) == ("COMPLETED", 2), "a death charges no retry"
    assert ours
    assert lines(ledger) == ["begin 1", "begin 2", "end 2"]


def test_a_frozen_worker_gives_up_what_is_not_its_own_any_more(cluster: Cluster, tmp_path: Path) -> None:
    ledger, release = tmp_path / "ledger", tmp_path / "release"
    cluster.start_master(*LEASE)
    worker = cluster.start_worker()
    key = cluster.run(ledger_job(ledger, release))
    wait_until(lambda: lines(ledger) == ["begin 1"], 10)
    worker.freeze()
    cluster.start_worker(name="other")
    quick = cluster.wait_state(cluster.run("print(1)", id="quick"), deadline=15)
    assert quick.state == "COMPLETED"
    wait_until(lambda: lines(ledger) == ["begin 1", "begin 2"], 20)
    worker.thaw()
    worker.wait_for_line("not ours any more")
    release.touch()
    info = cluster.wait_state(key)
    assert (info.state, info.attempt) == ("COMPLETED", 2)
    wait_until(lambda: len(cluster.workers()) == 2 and all(w.state == "alive" for w in cluster.workers()), 10)
    assert not list(cluster.workspace.glob("worker-*/spool/*.result"))


def test_a_worker_keeps_its_name_and_serves_again_after_a_restart(cluster: Cluster) -> None:
    cluster.start_master()
    worker = cluster.start_worker()
    (before,) = cluster.workers()
    assert worker.terminate() == 0
    wait_until(lambda: not cluster.workers(), 10)
    cluster.start_worker(port=before.port)
    (after,) = cluster.workers()
    assert after.worker_id == before.worker_id
    assert cluster.wait_state(cluster.run("print(1)")).state == "COMPLETED"


def test_two_workers_on_one_state_folder_are_refused(cluster: Cluster) -> None:
    cluster.start_master()
    cluster.start_worker()
    port = cluster.workers()[0].port
    second = cluster.start_worker("--host", "127.0.0.2", port=port, name="second", wait=False)
    assert second.wait() == 2
    assert "in use by another worker" in second.log_text()


def test_the_master_learns_load_and_can_send_a_worker_away(cluster: Cluster) -> None:
    cluster.start_master("--heartbeat-seconds", "0.2")
    worker = cluster.start_worker()
    wait_until(lambda: cluster.workers()[0].memory_percent > 0, 10)
    (info,) = cluster.workers()
    cluster.client.call(KillWorker(host=info.host, port=info.port))
    assert worker.wait() == 0
    wait_until(lambda: not cluster.workers(), 10)
