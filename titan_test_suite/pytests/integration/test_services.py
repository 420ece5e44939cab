"""Long-running services on a real worker: when they count as ready, what waits for them, and how they end."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import psutil

from titan_sdk.messages import ServiceSpec, Stop
from titan_test_suite.pytests.cluster import Cluster, wait_until

SERVER = """
import os, pathlib, socket, sys, time
gate = pathlib.Path(sys.argv[1])
print("up", flush=True)
while not gate.exists():
    time.sleep(0.01)
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
print("listening", flush=True)
while True:
    listener.accept()[0].close()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def test_dependents_start_when_the_service_listens(shared_cluster: Cluster, tmp_path: Path) -> None:
    gate, port = tmp_path / "gate", free_port()
    server = shared_cluster.job(SERVER, id="server", kind="service", port=port, args=(str(gate),), retries=0)
    source = f"import socket; socket.create_connection(('127.0.0.1', {port})).close(); print('connected')"
    child = shared_cluster.job(source, id="user", file="user.py", parents=("server",), retries=0)
    run_id = shared_cluster.submit(server, child).run_id
    wait_until(lambda: shared_cluster.log(f"{run_id}/server") == b"up\n")
    assert not shared_cluster.info(f"{run_id}/server").ready
    assert shared_cluster.info(f"{run_id}/user").state == "WAITING"
    gate.touch()
    assert shared_cluster.wait_state(f"{run_id}/user").state == "COMPLETED", shared_cluster.log(f"{run_id}/user")
    info = shared_cluster.info(f"{run_id}/server")
    assert (info.state, info.ready) == ("RUNNING", True)
    shared_cluster.client.call(Stop(id=f"{run_id}/server"))
    assert shared_cluster.wait_state(f"{run_id}/server").state == "COMPLETED"


def test_a_service_without_a_port_is_ready_when_it_runs(shared_cluster: Cluster) -> None:
    key = shared_cluster.run("import time; time.sleep(600)", id="portless", kind="service")
    wait_until(lambda: shared_cluster.info(key).ready)
    shared_cluster.client.call(Stop(id=key))
    assert shared_cluster.wait_state(key).state == "COMPLETED"


def test_a_port_that_another_process_holds_makes_nobody_ready(shared_cluster: Cluster, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        key = shared_cluster.run(
            SERVER, id="taken", kind="service", port=port, args=(str(gate),), service=ServiceSpec(restart="never")
        )
        wait_until(lambda: shared_cluster.log(key) == b"up\n")
        worker = next(program for program in shared_cluster.programs if program.name == "worker")
        owner = rf"port {port} is in use by process {psutil.Process().pid}"
        worker.wait_for_line(rf"{key} is not ready: {owner}")
        wait_until(lambda: re.match(f"not ready yet: {owner}", shared_cluster.info(key).reason))
        assert not shared_cluster.info(key).ready
        gate.touch()
        info = shared_cluster.wait_state(key)
    assert (info.state, info.ready) == ("DEAD", False)
    assert re.match(owner + r" \(.*\); exit code 1", info.reason)
    assert b"Address already in use" in shared_cluster.log(key)


def test_stop_ends_a_service_that_ignores_term_with_its_children(shared_cluster: Cluster) -> None:
    source = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("up", flush=True)
time.sleep(600)
"""
    before = {process.pid for process in shared_cluster.processes()}
    key = shared_cluster.run(source, id="stubborn", kind="service")
    wait_until(lambda: shared_cluster.log(key) == b"up\n")
    shared_cluster.client.call(Stop(id=key))
    assert shared_cluster.wait_state(key, deadline=20).state == "COMPLETED"
    assert not {process.pid for process in shared_cluster.processes()} - before
