"""Services kept alive: real processes killed, ports taken, workers and masters lost, versions replaced."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from titan_core.tasks.ports import free_port
from titan_sdk import JobFailed, TitanClient, TitanJob
from titan_sdk.messages import JobInfo, ListServices, ServiceInfo, ServiceSpec, Stop
from titan_test_suite.pytests.cluster import ROOT, Cluster, wait_until

CLI = str(ROOT / "titan_core" / "TitanCli.py")

WEB = """
import http.server, os, pathlib, sys
flag = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else None
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500 if flag is not None and flag.exists() else 200)
        self.end_headers()
        self.wfile.write(f"VERSION {os.getpid()} {os.environ['TITAN_ATTEMPT']}".encode())
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
AUTO = ServiceSpec(auto_port=True)
LEASE = ("--lease-seconds", "3", "--heartbeat-seconds", "0.3", "--grace-seconds", "1")


def listed(cluster: Cluster, name: str = "") -> list[ServiceInfo]:
    return cluster.client.call(ListServices(name=name)).services


def ready(cluster: Cluster, key: str, after: int = 0, deadline: float = 20.0) -> JobInfo:
    """The service once it is ready in a later attempt than ``after``."""

    def look() -> JobInfo | None:
        info = cluster.info(key)
        return info if info.ready and info.attempt > after else None

    found = wait_until(look, deadline, f"{key} is ready after attempt {after}")
    assert found is not None
    return found


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        body: bytes = answer.read()
        return body.decode()


def pid_at(url: str) -> int:
    return int(get(url).split()[1])


def stop(cluster: Cluster, key: str) -> None:
    cluster.client.call(Stop(id=key))
    assert cluster.wait_state(key).state == "COMPLETED"


# --- restarts -------------------------------------------------------------------------------------------------------


def test_a_service_whose_process_is_killed_comes_back(shared_cluster: Cluster) -> None:
    server = shared_cluster.job(WEB, id="web", kind="service", service=AUTO)
    run_id = shared_cluster.submit(server, shared_cluster.job("print(1)", id="user", parents=("web",))).run_id
    key = f"{run_id}/web"
    first = ready(shared_cluster, key)
    assert shared_cluster.wait_state(f"{run_id}/user").state == "COMPLETED"
    os.kill(pid_at(first.url), signal.SIGKILL)
    again = ready(shared_cluster, key, after=1, deadline=10)
    assert (again.restarts, again.worker, again.url) == (1, first.worker, first.url), "the port it had is free again"
    assert pid_at(again.url)
    assert shared_cluster.info(key).executions[0].reason == "ended by SIGKILL"
    assert shared_cluster.info(f"{run_id}/user").attempt == 1
    stop(shared_cluster, key)


def test_a_crash_loop_is_shown_and_holds_up_nothing(shared_cluster: Cluster) -> None:
    key = shared_cluster.run("print('no'); raise SystemExit(3)", id="loop", kind="service")
    wait_until(lambda: listed(shared_cluster, "loop")[0].status == "crash loop", 15)
    info = shared_cluster.info(key)
    assert info.reason.startswith("crash loop: exit code 3; ended 3 times in a row")
    assert info.restarts >= 3
    assert shared_cluster.wait_state(shared_cluster.run("print(1)", id="other")).state == "COMPLETED"
    stop(shared_cluster, key)


def test_a_port_that_is_never_opened_ends_the_tree_with_the_reason(shared_cluster: Cluster) -> None:
    source = "import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
    source += " start_new_session=True)\ntime.sleep(600)"
    before = {process.pid for process in shared_cluster.processes()}
    limits = ServiceSpec(restart="never", auto_port=True, start_s=1.0)
    info = shared_cluster.wait_state(shared_cluster.run(source, id="deaf", kind="service", service=limits))
    assert info.state == "DEAD"
    assert info.reason == f"not ready within 1 s: port {info.port} was not opened"
    assert not {process.pid for process in shared_cluster.processes()} - before


def test_a_port_that_stays_taken_is_told_at_the_deadline(shared_cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        limits = ServiceSpec(restart="never", start_s=0.5)
        source = "import time; time.sleep(600)"
        key = shared_cluster.run(source, id="waits", kind="service", port=port, service=limits)
        info = shared_cluster.wait_state(key)
    assert info.state == "DEAD"
    assert info.reason.startswith(f"not ready within 0.5 s: port {port} is in use by process {os.getpid()} (")


def test_a_service_that_is_not_well_is_restarted(shared_cluster: Cluster, tmp_path: Path) -> None:
    ill = tmp_path / "ill"
    health = ServiceSpec(auto_port=True, health_path="/health", interval_s=0.1, failures=2)
    key = shared_cluster.run(WEB, id="ill", kind="service", args=(str(ill),), service=health)
    ready(shared_cluster, key)
    ill.touch()
    wait_until(lambda: shared_cluster.info(key).restarts, 15)
    ended = shared_cluster.info(key).executions[0]
    assert ended.outcome == "failed"
    assert ended.reason.startswith("not well 2 times in a row: GET /health on port")
    assert ended.reason.endswith("answered 500")
    ill.unlink()
    ready(shared_cluster, key, after=1)
    stop(shared_cluster, key)


def test_a_service_that_hangs_is_restarted(shared_cluster: Cluster) -> None:
    """It still has its port, and accepts nothing."""
    source = """
import os, socket
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
listener.accept()[0].close()
listener.close()
while True:
    os.read(0, 1) or os.kill(os.getpid(), 19)
"""
    health = ServiceSpec(auto_port=True, interval_s=0.1, failures=2)
    key = shared_cluster.run(source, id="hangs", kind="service", service=health)
    wait_until(lambda: shared_cluster.info(key).restarts, 15)
    assert shared_cluster.info(key).executions[0].reason.endswith("accepts no connection")
    stop(shared_cluster, key)


def test_a_line_makes_ready(shared_cluster: Cluster, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    source = f"""
import pathlib, time
print("starting", flush=True)
while not pathlib.Path({str(gate)!r}).exists():
    time.sleep(0.01)
print("now ready for", 7, "clients", flush=True)
time.sleep(600)
"""
    key = shared_cluster.run(source, id="lines", kind="service", service=ServiceSpec(ready_line=r"ready for \d+"))
    wait_until(lambda: shared_cluster.log(key) == b"starting\n")
    assert listed(shared_cluster, "lines")[0].status == "starting"
    gate.touch()
    ready(shared_cluster, key)
    stop(shared_cluster, key)


def test_what_a_service_takes_is_measured(cluster: Cluster) -> None:
    cluster.start_master(*LEASE)
    cluster.start_worker()
    cluster.run("x = bytearray(50_000_000)\nwhile True: pass", id="busy", kind="service")

    def look() -> ServiceInfo | None:
        info = listed(cluster, "busy")[0]
        return info if info.cpu_percent > 5 else None

    info = wait_until(look, 20)
    assert info is not None and info.memory_bytes > 50_000_000 and info.processes == 1 and info.uptime_s > 0


def test_the_log_of_a_service_rotates_everywhere_and_reads_on(cluster: Cluster, tmp_path: Path) -> None:
    bounds = ("--service-log-bytes", "4096", "--service-log-files", "3")
    cluster.start_master(*bounds)
    cluster.start_worker(*bounds)
    gate = tmp_path / "gate"
    source = f"""
import pathlib, time
for number in range(5000):
    print(f"line {{number:06}}", flush=number % 100 == 0)
print("half", flush=True)
while not pathlib.Path({str(gate)!r}).exists():
    time.sleep(0.01)
print("the end", flush=True)
"""
    key = cluster.run(source, id="talker", kind="service", service=ServiceSpec(restart="never"))
    with TitanClient("127.0.0.1", cluster.port, token=cluster.token) as client:
        handle = client.job(key)
        wait_until(lambda: handle.log_bytes().endswith(b"half\n"))
        pieces = handle.log_bytes(follow=True, timeout=20)
        begin = next(pieces)
        gate.touch()
        text = begin + b"".join(pieces)
        assert text == handle.log_bytes()
    lines = text.splitlines()[1:]  # the first may be cut
    first = int(lines[0].split()[1])
    assert lines == [b"line %06d" % number for number in range(first, 5000)] + [b"half", b"the end"]
    assert 4096 < len(text) < 3 * (4096 + 12_000), "a piece goes whole into a file"
    kept = [each for each in (cluster.workspace / "jobs" / "talker").iterdir() if ".log" in each.name]
    assert len(kept) == 3 and all(each.stat().st_size <= 4096 for each in kept)
    assert len(list((cluster.data_dir / "logs" / key.partition("/")[0]).iterdir())) <= 3


# --- survival -------------------------------------------------------------------------------------------------------


def test_services_run_on_while_the_master_is_restarted(cluster: Cluster) -> None:
    master = cluster.start_master(*LEASE)
    cluster.start_worker()
    key = cluster.run(WEB, id="web", kind="service", service=AUTO)
    before = ready(cluster, key)
    pid = pid_at(before.url)
    master.kill()
    assert pid_at(before.url) == pid
    cluster.start_master(*LEASE)
    after = ready(cluster, key)
    assert (after.attempt, after.url, pid_at(after.url)) == (1, before.url, pid)
    wait_until(lambda: cluster.workers()[0].state == "alive")
    assert cluster.info(key).attempt == 1
    stop(cluster, key)


def test_services_move_when_their_worker_dies_and_there_is_no_double(cluster: Cluster) -> None:
    cluster.start_master(*LEASE)
    first = cluster.start_worker()
    key = cluster.run(WEB, id="web", kind="service", service=AUTO)
    before = ready(cluster, key)
    pid = pid_at(before.url)
    cluster.start_worker(name="worker2")
    first.kill()
    after = ready(cluster, key, after=1)
    assert after.worker != before.worker
    assert (after.restarts, pid_at(after.url) != pid) == (0, True)
    wait_until(lambda: not psutil.pid_exists(pid), what="what the dead worker ran has ended")
    port = int(before.worker.rpartition(":")[2])
    cluster.start_worker(name="worker3", port=port)
    assert [info.job.worker for info in listed(cluster)] == [after.worker]
    stop(cluster, key)


def test_a_worker_that_is_started_again_runs_its_service_once(cluster: Cluster) -> None:
    cluster.start_master(*LEASE)
    worker = cluster.start_worker()
    key = cluster.run(WEB, id="web", kind="service", service=AUTO)
    before = ready(cluster, key)
    pid = pid_at(before.url)
    worker.kill()
    cluster.start_worker(name="again", port=int(before.worker.rpartition(":")[2]))
    after = ready(cluster, key, after=1)
    assert after.worker == before.worker and not psutil.pid_exists(pid)
    assert pid_at(after.url) != pid
    stop(cluster, key)


# --- on request -----------------------------------------------------------------------------------------------------


@pytest.fixture
def client(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[TitanClient]:
    cluster.start_master(*LEASE)
    cluster.start_worker("--slots", "8")
    monkeypatch.setenv("TITAN_HOME", str(cluster.home))
    with TitanClient("127.0.0.1", cluster.port) as client:
        yield client


def web(folder: Path, version: str = "v1", **fields: object) -> TitanJob:
    """A web service that says its version, on a port of its own."""
    script = folder / f"{version}.py"
    script.write_text(WEB.replace("VERSION", version))
    return TitanJob("api", script, **{"port": "auto", "type": "service", **fields})  # type: ignore[arg-type]


def test_a_new_version_takes_over_when_it_is_ready(client: TitanClient, tmp_path: Path) -> None:
    old = client.deploy(web(tmp_path))
    old.wait(20)
    api = client.service("api")
    assert api.url == old.url and get(api.url).startswith("v1 ")
    new = client.deploy(web(tmp_path, "v2", health="/"))
    new.wait(20)
    wait_until(lambda: get(client.service("api").url).startswith("v2 "))
    wait_until(lambda: old.status() == "COMPLETED")
    assert old.info().reason == f"replaced by {new.key}"
    assert len(client.services()) == 1
    assert api.stop()


def test_a_version_that_never_gets_ready_leaves_the_old_one_alone(client: TitanClient, tmp_path: Path) -> None:
    old = client.deploy(web(tmp_path))
    old.wait(20)
    url = old.url
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('no such table')")
    new = client.deploy(TitanJob("api", broken, port="auto"))
    with pytest.raises(JobFailed, match=rf"rolled back, {old.key} stays: crash loop: exit code 1"):
        new.wait(30)
    assert client.service("api").url == url and get(url).startswith("v1 ")
    assert client.service("api").info().restarts == 0
    old.stop()


def test_a_new_version_takes_over_the_only_port_there_is(client: TitanClient, tmp_path: Path) -> None:
    """The old one ends first, and comes back when the new one is never ready."""
    port = free_port(0, ())
    old = client.deploy(web(tmp_path, port=port))
    old.wait(20)
    url = old.url
    new = client.deploy(web(tmp_path, "v2", port=port))
    new.wait(20)
    assert get(url).startswith("v2 ")
    wait_until(lambda: old.status() == "COMPLETED")
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('no such table')")
    with pytest.raises(JobFailed, match=rf"rolled back, {new.key} stays: crash loop: exit code 1"):
        client.deploy(TitanJob("api", broken, port=port)).wait(30)
    wait_until(lambda: client.service("api").info().ready)
    assert client.service("api").info().key == new.key and get(url).startswith("v2 ")
    client.stop("api")


def test_replicas(client: TitanClient, tmp_path: Path) -> None:
    client.deploy(web(tmp_path)).wait(20)
    api = client.service("api")
    assert len(api.scale(3).started) == 2
    wait_until(lambda: all(each.job.ready for each in api.replicas()))
    replicas = api.replicas()
    assert len({each.job.url for each in replicas}) == 3
    assert len({pid_at(each.job.url) for each in replicas}) == 3
    assert len(api.scale(1).stopped) == 2
    wait_until(lambda: [each.job.id for each in api.replicas()] == ["api"])
    api.stop()


def test_a_restart_of_a_service_that_ignores_term(client: TitanClient, tmp_path: Path) -> None:
    script = tmp_path / "stubborn.py"
    script.write_text(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up')\ntime.sleep(600)"
    )
    handle = client.deploy(TitanJob("stubborn", script, type="service"))
    handle.wait(20)
    assert handle.restart() == [handle.key]
    wait_until(lambda: handle.info().attempt == 2 and handle.info().ready, 20)
    assert handle.info().executions[0].outcome == "cancelled"
    assert handle.stop()


def test_the_commands_of_the_shell(client: TitanClient, cluster: Cluster) -> None:
    def cli(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, CLI, *words], env=cluster.environment(), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    (cluster.perm_files / "web.py").write_text(WEB)
    cli("deploy", "--name", "api", "--health", "/", "web.py", "auto")
    wait_until(lambda: client.service("api").info().ready, 20)
    text = cli("services")
    assert "ready" in text and client.service("api").url in text
    assert len(json.loads(cli("--json", "scale", "api", "2"))["started"]) == 1
    wait_until(lambda: all(each.job.ready for each in client.service("api").replicas()), 20)
    found = json.loads(cli("--json", "services"))
    assert [(each["job"]["id"], each["status"]) for each in found] == [("api", "ready"), ("api.2", "ready")]
    assert "restarting" in cli("restart", "api")
    assert "stopping" in cli("scale", "api", "0")
    wait_until(lambda: not client.services(), 20)
    assert cli("services") == "No service is active.\n"


def test_a_service_of_a_run_is_torn_down_with_it(client: TitanClient, tmp_path: Path) -> None:
    user = tmp_path / "user.py"
    user.write_text(
        "import urllib.request\nfrom titan_sdk import TitanClient\n"
        "print(urllib.request.urlopen(TitanClient().service('api').url).read())"
    )
    needs = TitanJob("user", user, parents=["api"], retries=0, env={"PYTHONPATH": ROOT})
    run = client.submit_dag("tied", [web(tmp_path, lifetime="run"), needs])
    wait_until(lambda: run.status() != "RUNNING", 30)
    assert run.status() == "COMPLETED", client.fetch_logs("user")
    assert client.job("api").info().reason == "its run needs it no longer"
    assert client.services() == []
