"""A burst makes a cluster grow, and its end makes it shrink again: real programs, nothing left over."""

from __future__ import annotations

from titan_sdk.messages import JobSpec, KillWorker, ListEvents, ListJobs, WorkerInfo
from titan_test_suite.pytests.cluster import Cluster, wait_until

FAST = ("--scale-seconds", "1", "--idle-seconds", "2", "--heartbeat-seconds", "0.5", "--scale-busy-percent", "100")


def present(cluster: Cluster) -> list[WorkerInfo]:
    return [worker for worker in cluster.workers() if worker.state not in ("dead", "away")]


def burst(cluster: Cluster, count: int, seconds: float) -> str:
    first = cluster.job(f"import time; time.sleep({seconds})", id="burst-0")
    jobs = [JobSpec(id=f"burst-{n}", file=first.file, sha256=first.sha256, size=first.size) for n in range(count)]
    return cluster.submit(*jobs).run_id


def kinds(cluster: Cluster) -> list[str]:
    return [event.kind for event in cluster.client.call(ListEvents()).events]


def test_a_burst_makes_the_cluster_grow_and_then_shrink(cluster: Cluster):
    cluster.start_master(*FAST, "--max-workers", "3")
    cluster.start_worker("--slots", "2")
    run_id = burst(cluster, 60, 0.5)
    wait_until(lambda: len(present(cluster)) == 3, 30.0, "two workers joined")
    assert len({worker.port for worker in present(cluster)}) == 3
    run = cluster.wait_run(run_id, 60.0)
    assert {job.state for job in run.jobs} == {"COMPLETED"}
    assert len({job.worker for job in run.jobs}) == 3, "all of them took part"
    wait_until(lambda: len(present(cluster)) == 1, 30.0, "they left again")
    happened = kinds(cluster)
    assert happened.count("scale-up") == happened.count("scale-down") == 2
    ended = [event.subject for event in cluster.client.call(ListEvents()).events if event.kind == "scale-down"]
    ports = [int(name.rpartition(":")[2]) for name in ended]
    assert ports == sorted(ports, reverse=True), "the highest port goes first"


def test_a_host_that_is_shut_down_takes_what_it_started_with_it_and_no_work_is_lost(cluster: Cluster):
    cluster.start_master(*FAST, "--max-workers", "2")
    host = cluster.start_worker("--slots", "2", "--drain-seconds", "5")
    run_id = burst(cluster, 30, 0.3)
    wait_until(lambda: len(present(cluster)) == 2, 30.0, "a worker joined")
    (root,) = [worker for worker in cluster.workers() if not worker.scaled]
    cluster.client.call(KillWorker(host="localhost", port=root.port))
    assert host.wait() == 0
    master = {program.pid for program in cluster.programs if program.name == "master"}
    wait_until(lambda: {process.pid for process in cluster.processes()} <= master, 20.0, "nothing is left of both")
    wait_until(lambda: not present(cluster), 20.0, "both are gone")
    cluster.start_worker(name="another")
    run = cluster.wait_run(run_id, 60.0)
    assert {job.state for job in run.jobs} == {"COMPLETED"}
    states = {job.id: job.state for job in cluster.client.call(ListJobs()).jobs if job.kind == "worker"}
    assert set(states.values()) <= {"CANCELLED", "COMPLETED"}, states


def test_events_can_be_waited_for_and_outlive_the_master(cluster: Cluster):
    master = cluster.start_master()
    before = cluster.client.call(ListEvents()).last
    worker = cluster.start_worker()
    found = cluster.client.call(ListEvents(since=before, wait_s=20.0), 40.0)
    assert [event.kind for event in found.events] == ["worker-joined"]
    assert "offers GENERAL" in found.events[0].text
    worker.terminate()
    found = cluster.client.call(ListEvents(since=found.last, wait_s=20.0), 40.0)
    assert "worker-left" in [event.kind for event in found.events] and "SIGTERM" in found.events[0].text
    known = kinds(cluster)
    master.kill()
    cluster.start_master()
    assert kinds(cluster) == known
