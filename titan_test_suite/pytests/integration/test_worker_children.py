"""Workers that are jobs of other workers: started where no slot is free, named by their port, ended with their host."""

from __future__ import annotations

import socket
from typing import Any

from titan_sdk.messages import Deploy, JobInfo, Stop, WorkerInfo
from titan_test_suite.pytests.cluster import Cluster, wait_until

SLEEP = "import time; time.sleep(60)"


def deploy(cluster: Cluster, port: int = 0, *capabilities: str, file: str = "Worker.jar") -> str:
    """The key of the job that is the new worker."""
    request = Deploy(file=file, port=port, requirement=capabilities or ("GENERAL",))
    return cluster.client.call(request).jobs[0]


def wait_ready(cluster: Cluster, key: str) -> JobInfo:
    wait_until(lambda: cluster.info(key).ready, 30.0, f"{key} is ready")
    return cluster.info(key)


def alive(cluster: Cluster) -> dict[int, WorkerInfo]:
    return {worker.port: worker for worker in cluster.workers() if worker.state == "alive"}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def fill(cluster: Cluster, slots: int, **fields: Any) -> list[str]:
    keys = [cluster.run(SLEEP, id=f"fill{number}", **fields) for number in range(slots)]
    for key in keys:
        cluster.wait_state(key, "RUNNING")
    return keys


def test_a_saturated_worker_starts_another_one_with_a_capability_that_nobody_has(cluster: Cluster):
    cluster.start_master()
    cluster.start_worker("--slots", "1")
    fill(cluster, 1)
    port = free_port()
    key = deploy(cluster, port, "GPU")
    wait_ready(cluster, key)
    child = alive(cluster)[port]
    assert child.capabilities == ("GPU",) and not child.permanent
    host = next(worker for worker in cluster.workers() if worker.port != port)
    assert host.busy == host.slots == 1, "the child takes no slot"
    done = cluster.run("print('on the gpu')", id="train", requirement=("GPU",))
    assert cluster.wait_state(done).state == "COMPLETED"
    assert cluster.info(done).worker.endswith(f":{port}")


def test_a_busy_port_is_said_and_another_is_tried_when_none_was_named(cluster: Cluster):
    cluster.start_master()
    cluster.start_worker()
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        key = deploy(cluster, port)
        failed = cluster.wait_state(key)
    assert failed.state == "DEAD" and f"cannot listen on 127.0.0.1:{port}" in failed.reason
    assert len(failed.executions) == 1, "the same again would end the same way"
    keys = [deploy(cluster, file=name) for name in ("Worker.jar", "TitanWorker.py")]
    for each in keys:
        wait_ready(cluster, each)
    ports = [port for port in alive(cluster) if port >= 8085]
    assert len(set(ports)) >= 2


def test_stopping_the_job_drains_the_worker_that_it_is(cluster: Cluster):
    cluster.start_master()
    cluster.start_worker()
    key = deploy(cluster, 0, "GPU")
    wait_ready(cluster, key)
    job = cluster.run("import time; print('begun'); time.sleep(1.5)", id="last", requirement=("GPU",))
    wait_until(lambda: b"begun" in cluster.log(job), what="it runs")
    cluster.client.call(Stop(id=key))
    ended = cluster.wait_state(job)
    assert ended.state == "COMPLETED" and len(ended.executions) == 1, "it was let finish"
    assert cluster.wait_state(key).state == "COMPLETED"
    assert len(alive(cluster)) == 1


def test_a_killed_host_takes_its_children_and_their_jobs_with_it(cluster: Cluster):
    cluster.start_master("--grace-seconds", "1")
    host = cluster.start_worker()
    key = deploy(cluster, 0, "GPU")
    wait_ready(cluster, key)
    job = cluster.run(SLEEP, id="far", requirement=("GPU",))
    cluster.wait_state(job, "RUNNING")
    assert len(cluster.processes()) > 12  # master, two workers with a launcher and supervisors each, and the job
    host.kill()
    master = {program.pid for program in cluster.programs if program.name == "master"}
    wait_until(lambda: {each.pid for each in cluster.processes()} <= master, 20.0, "everything of the host is gone")
    cluster.wait_state(job, "PENDING")
