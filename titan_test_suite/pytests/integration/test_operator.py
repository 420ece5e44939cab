"""What an operator does with workers: draining, ending, asking why, watching."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any

import pytest

from titan_sdk.errors import Conflict, NotFound
from titan_sdk.messages import Cordon, ExplainJob, KillWorker, ListEvents, WorkerInfo
from titan_test_suite.pytests.cluster import ROOT, Cluster
from titan_test_suite.pytests.integration.test_titan_cli_shell import Terminal

SLEEP = "import time; time.sleep(60)"


def cli(cluster: Cluster, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "titan_core" / "TitanCli.py"), *words],
        env=cluster.environment(),
        cwd=cluster.root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def worker_at(cluster: Cluster, port: int) -> WorkerInfo | None:
    return next((each for each in cluster.workers() if each.port == port), None)


def local_names() -> list[str]:
    """What a person may call this machine."""
    names = ["localhost", "127.0.0.1", socket.gethostname()]
    try:
        names += [str(address[4][0]) for address in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    except OSError:
        pass
    return list(dict.fromkeys(names))


def test_a_worker_is_ended_by_any_name_of_its_machine(cluster: Cluster):
    cluster.start_master()
    for name in local_names():
        program = cluster.start_worker()
        (worker,) = [each for each in cluster.workers() if each.state == "alive"]
        cluster.client.call(KillWorker(host=name, port=worker.port))
        assert program.wait() == 0, name


def test_a_permanent_worker_is_not_ended_from_afar(cluster: Cluster):
    cluster.start_master()
    cluster.start_worker(permanent=True)
    (worker,) = cluster.workers()
    with pytest.raises(Conflict, match="is permanent"):
        cluster.client.call(KillWorker(host="localhost", port=worker.port))
    with pytest.raises(NotFound):
        cluster.client.call(KillWorker(host="192.0.2.7", port=worker.port))
    assert cluster.wait_state(cluster.run("print(1)")).state == "COMPLETED"


def test_draining_keeps_new_jobs_away_and_ends_nothing(cluster: Cluster):
    cluster.start_master()
    cluster.start_worker("--slots", "2", permanent=True)
    (worker,) = cluster.workers()
    running = cluster.run("import time; time.sleep(1); print('done')", id="running")
    cluster.wait_state(running, "RUNNING")
    assert "gets no new jobs" in cli(cluster, "drain", "localhost", str(worker.port))
    waiting = cluster.run("print('late')", id="waiting")
    assert cluster.wait_state(running).state == "COMPLETED"
    assert cluster.info(waiting).state == "PENDING"
    explained = cluster.client.call(ExplainJob(id="waiting"))
    assert [each.text for each in explained.workers] == ["is cordoned: it gets nothing until undrain"]
    assert (found := worker_at(cluster, worker.port)) and found.state == "cordoned"
    cli(cluster, "undrain", "127.0.0.1", str(worker.port))
    assert cluster.wait_state(waiting).state == "COMPLETED"
    kinds = [event.kind for event in cluster.client.call(ListEvents()).events]
    assert kinds == ["worker-joined", "worker-cordoned", "worker-uncordoned"]
    with pytest.raises(NotFound):
        cluster.client.call(Cordon(host="localhost", port=1))


def test_why_a_job_waits(cluster: Cluster):
    cluster.start_master()
    cluster.start_worker("--slots", "1", "--cpus", "2", "--memory", "1GB")
    busy = cluster.run(SLEEP, id="busy")
    cluster.wait_state(busy, "RUNNING")
    jobs: dict[str, tuple[dict[str, Any], str]] = {
        "next": ({}, "its only slot is taken"),
        "gpu": ({"requirement": ("GPU",)}, "does not offer GPU"),
        "cores": ({"cpus": 3}, "has 2 cpus in all, 3 are needed"),
        "memory": ({"memory": 2 << 30}, "has 1 GB of memory in all, 2 GB are needed"),
        "device": ({"gpus": 1}, "has 0 gpus in all, 1 are needed"),
    }
    for name, (fields, _) in jobs.items():
        cluster.run("print(1)", id=name, **fields)
    for name, (_, why) in jobs.items():
        (reason,) = cluster.client.call(ExplainJob(id=name)).workers
        assert reason.text == why
    assert "It runs on" in cluster.client.call(ExplainJob(id="busy")).summary
    text = cli(cluster, "explain", "gpu")
    assert "is PENDING" in text and "does not offer GPU" in text and "No worker has GPU" in text
    found = json.loads(cli(cluster, "explain", "gpu", "--json"))
    assert found["workers"][0]["text"] == "does not offer GPU"
    cluster.client.call(KillWorker(host="localhost", port=cluster.workers()[0].port))


def test_top_once_and_events_for_those_who_do_not_watch(small_cluster: Cluster):
    key = small_cluster.run(SLEEP, id="sleeper")
    small_cluster.wait_state(key, "RUNNING")
    shown = cli(small_cluster, "top")
    assert "running 1" in shown and "sleeper" in shown and "1/4" in shown and "worker-joined" in shown
    glance = json.loads(cli(small_cluster, "top", "--json"))
    assert glance["workers"][0]["busy"] == 1 and glance["jobs"][0]["key"] == key
    assert "worker-joined" in cli(small_cluster, "events")
    (event,) = json.loads(cli(small_cluster, "events", "--json"))
    assert event["kind"] == "worker-joined" and event["seq"] == 1


def test_top_and_events_at_a_terminal_go_on_until_ctrl_c(small_cluster: Cluster):
    terminal = Terminal(small_cluster)
    try:
        terminal.expect("titan>")
        terminal.type("top\r")
        terminal.expect("running 0")
        small_cluster.run(SLEEP, id="seen-by-top")
        terminal.expect("running 1")
        terminal.expect("seen-by-top")
        terminal.type("\x03")
        terminal.expect("titan>")
        terminal.type("events -f\r")
        terminal.expect("worker-joined")
        (worker,) = small_cluster.workers()
        small_cluster.client.call(Cordon(host="localhost", port=worker.port))
        terminal.expect("worker-cordoned")
        terminal.type("\x03")
        terminal.expect("titan>")
        terminal.type("exit\r")
        assert terminal.close() == 0
    finally:
        if terminal.process.poll() is None:
            terminal.process.kill()
            terminal.close()
