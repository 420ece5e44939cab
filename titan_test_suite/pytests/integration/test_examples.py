"""Every example, run as its README says, on a real cluster."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import psutil
import pytest

from titan_sdk.messages import GetJob, JobInfo, ListJobs, Stop
from titan_test_suite.pytests.cluster import ROOT, Cluster, wait_until

EXAMPLES = ROOT / "titan_test_suite" / "examples"
STATIC = EXAMPLES / "yaml_based_static_tests"


def python(cluster: Cluster, *argv: str) -> str:
    """The output of a Python program in the cluster's environment; it must succeed."""
    done = subprocess.run(
        [sys.executable, *argv],
        env=cluster.environment(),
        cwd=cluster.root,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def deploy(cluster: Cluster, example: Path) -> str:
    return python(cluster, str(ROOT / "titan_sdk" / "titan_cli.py"), "deploy", str(example), "--wait")


def log_of(cluster: Cluster, job_id: str) -> str:
    return cluster.log(job_id).decode()


def run_folder(cluster: Cluster, job_id: str) -> Path:
    info = cluster.client.call(GetJob(id=job_id))
    return cluster.workspace / "shared" / info.run_id


def test_every_example_is_listed_and_explained() -> None:
    index = (EXAMPLES / "README.md").read_text()
    folders = [path.parent for path in EXAMPLES.rglob("README.md") if path.parent != EXAMPLES]
    assert folders
    for folder in folders:
        assert f"({folder.relative_to(EXAMPLES)})" in index, folder
    pipelines = {path.parent for path in EXAMPLES.rglob("*.yaml")}
    assert pipelines <= set(folders), "a pipeline without a README"


def test_stdlib_etl_makes_its_report(shared_cluster: Cluster) -> None:
    deploy(shared_cluster, STATIC / "stdlib_etl")
    folder = run_folder(shared_cluster, "REPORT")
    ranking = json.loads((folder / "ranking.json").read_text())
    assert [row["place"] for row in ranking] == list(range(1, 21))
    scores = [row["complexity"] for row in ranking]
    assert scores == sorted(scores, reverse=True) and scores[-1] > 20
    parsed = [json.loads((folder / f"parsed-{shard}.json").read_text()) for shard in range(1, 5)]
    joined = json.loads((folder / "functions.json").read_text())
    assert len(joined["functions"]) == sum(len(part["functions"]) for part in parsed) > 10_000
    assert ElementTree.parse(folder / "chart.svg").getroot().tag.endswith("svg")
    assert ranking[0]["function"] in (folder / "report.html").read_text()
    assert ranking[0]["function"] in log_of(shared_cluster, "REPORT")
    jobs = shared_cluster.client.call(ListJobs()).jobs
    ours = {job.id: job for job in jobs if job.run_id == folder.name}
    assert len(ours) == 9
    for child in ours.values():
        assert all(ours[parent].ended_at <= child.started_at for parent in child.parents)


def test_diamond(shared_cluster: Cluster) -> None:
    deploy(shared_cluster, STATIC / "dag_structure_test")
    assert log_of(shared_cluster, "step-4-join") == "250500 + 250000 = 500500\n"


def test_fan_out(shared_cluster: Cluster) -> None:
    deploy(shared_cluster, STATIC / "fanout_test")
    assert log_of(shared_cluster, "gather") == "7837 primes below 80000\n"


def test_load_cycle(cluster: Cluster) -> None:
    cluster.start_master(
        TITAN_SCALE_SECONDS="0.5", TITAN_IDLE_SECONDS="1", TITAN_HEARTBEAT_SECONDS="0.5", TITAN_SCALE_BUSY_PERCENT="100"
    )
    cluster.start_worker("--slots", "2")
    output = python(cluster, str(EXAMPLES / "load_cycle" / "load_cycle.py"), "40", "0.4")
    grown, shrunk = output.index("scale-up: GENERAL"), output.index("scale-down: ")
    assert grown < output.index("all 40 jobs are done") < shrunk
    peak = int(output.splitlines()[-1].split()[4])
    assert peak > 1 and output.endswith(f"1 workers at first, {peak} at the peak, 1 at the end\n")


def test_sdk_dag(shared_cluster: Cluster) -> None:
    output = python(shared_cluster, str(EXAMPLES / "dynamic_dag_custom" / "sdk_dag" / "sdk_dag.py"))
    assert "the warmest of 3 is Reykjavik" in output
    assert output.count("COMPLETED") == 4


@pytest.mark.skipif(shutil.which("java") is None, reason="the hybrid DAG runs a jar and there is no java here")
def test_hybrid_dag(shared_cluster: Cluster) -> None:
    deploy(shared_cluster, STATIC / "hybrid_dag")
    assert log_of(shared_cluster, "count") == "87 different words\n"
    assert log_of(shared_cluster, "publish").splitlines() == ["10\tis", "8\tbetter", "8\tthan", "6\tthe", "5\tto"]
    assert list(run_folder(shared_cluster, "publish").iterdir()) == []


def test_nightly_pipeline_serves_its_data(shared_cluster: Cluster) -> None:
    deploy(shared_cluster, STATIC / "daily_etl")
    with urllib.request.urlopen("http://127.0.0.1:18080/404", timeout=10) as answer:
        assert answer.read() == b"Not Found"
    shared_cluster.client.call(Stop(id="DEPLOY_API"))
    stopped = shared_cluster.wait_state("DEPLOY_API")
    assert stopped.state == "COMPLETED"


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
        return body.decode()


def test_web_service_is_kept_alive_and_replaced(cluster: Cluster) -> None:
    cluster.start_master()
    cluster.start_worker()
    deploy(cluster, STATIC / "web_service")
    first = cluster.client.call(GetJob(id="shop"))
    assert json.loads(page(f"{first.url}/prices"))["bread"] == 3.1
    assert page(f"{first.url}/health") == "well"
    assert "<p>Start number 1</p>" in page(first.url)
    listeners = [each.pid for each in psutil.net_connections("tcp") if each.laddr and each.laddr.port == first.port]
    os.kill(next(pid for pid in listeners if pid), signal.SIGKILL)
    again = wait_until(lambda: (found := cluster.client.call(GetJob(id="shop"))).attempt == 2 and found.ready and found)
    assert isinstance(again, JobInfo)
    assert again.url == first.url and "<p>Start number 2</p>" in page(again.url)
    python(cluster, str(ROOT / "titan_sdk/titan_cli.py"), "deploy", str(STATIC / "web_service"), "--wait", "--replace")
    replaced = cluster.client.call(GetJob(id="shop"))
    assert replaced.run_id != first.run_id and page(f"{replaced.url}/health") == "well"
    assert cluster.wait_state(first.key).state == "COMPLETED"


def test_database_of_a_run(cluster: Cluster) -> None:
    cluster.start_master()
    cluster.start_worker(PYTHONPATH=str(ROOT))
    deploy(cluster, STATIC / "database_service")
    assert log_of(cluster, "report").splitlines() == [
        "north: 24 hours, 3.0 degrees on average, 9.0 at most",
        "south: 24 hours, 5.0 degrees on average, 11.0 at most",
    ]
    database = cluster.wait_state("db")
    assert (database.state, database.reason) == ("COMPLETED", "its run needs it no longer")


def test_priority_delay_and_affinity(cluster: Cluster) -> None:
    cluster.start_master()
    cluster.start_worker("--slots", "1", name="one")
    deploy(cluster, STATIC / "priority_delay_affinity_test")
    folder = run_folder(cluster, "high")
    started = {path.stem: json.loads(path.read_text())["started_at"] for path in folder.glob("*.json")}
    assert sorted(started, key=started.__getitem__)[:2] == ["warm-up", "high"]
    assert started["two-seconds-later"] - started["warm-up"] >= 2.0
    assert "same worker as its parent" in log_of(cluster, "same-worker")


def test_affinity_finds_the_parents_worker_among_several(cluster: Cluster) -> None:
    cluster.start_master()
    for number in range(3):
        cluster.start_worker(name=f"worker-{number}")
    deploy(cluster, STATIC / "priority_delay_affinity_test")
    assert "same worker as its parent" in log_of(cluster, "same-worker")


def test_gpu_routing(cluster: Cluster) -> None:
    cluster.start_master()
    cluster.start_worker(name="general")
    cluster.start_worker(name="gpu", capabilities="GPU")
    deploy(cluster, STATIC / "gpu_routing_test")
    assert "y = 3.0 x + -2.0" in log_of(cluster, "Training_Step")
    ports = {worker.capabilities: f"{worker.port}" for worker in cluster.workers()}
    for job_id, capability in (("Data_Step", "GENERAL"), ("Training_Step", "GPU")):
        worker = cluster.client.call(GetJob(id=job_id)).worker
        assert ports[(capability,)] in worker, (job_id, worker, ports)
