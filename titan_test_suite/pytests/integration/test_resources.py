"""Cores, memory and GPUs that are set apart for jobs, on real workers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from titan_sdk.messages import ListWorkers
from titan_test_suite.pytests.cluster import Cluster, wait_until

SHOW_GPUS = """
import os, pathlib, time
shared = pathlib.Path(os.environ["TITAN_SHARED_DIR"])
(shared / os.environ["TITAN_JOB_ID"]).touch()
print(os.environ.get("CUDA_VISIBLE_DEVICES", "none"), flush=True)
while not (shared / "go").exists():
    time.sleep(0.01)
"""


def test_gpus_are_handed_out_each_to_one_job(cluster: Cluster):
    cluster.start_master()
    cluster.start_worker("--gpus", "3", CUDA_VISIBLE_DEVICES="4,5,6")
    one = cluster.run(SHOW_GPUS, id="one", gpus=1)
    two = cluster.run(SHOW_GPUS, id="two", gpus=2)
    three = cluster.run(SHOW_GPUS, id="three", gpus=2)
    plain = cluster.run("print('ran')", id="plain")
    assert cluster.wait_state(plain).state == "COMPLETED", "what waits for a GPU holds up nothing else"
    shared = cluster.workspace / "shared"
    wait_until(lambda: (shared / "one").exists() and (shared / "two").exists(), what="both run")
    assert cluster.info(three).state == "PENDING"
    (worker,) = cluster.client.call(ListWorkers()).workers
    assert (worker.gpus, worker.gpus_used, worker.busy) == (3, 3, 2)
    assert any("CUDA_VISIBLE_DEVICES" in text for text in worker.limits)
    (shared / "go").touch()
    for key in (one, two, three):
        assert cluster.wait_state(key).state == "COMPLETED"
    seen = [cluster.log(key).decode().strip().split(",") for key in (one, two)]
    assert sorted(seen[0] + seen[1]) == ["4", "5", "6"] and [len(each) for each in seen] == [1, 2]
    assert set(cluster.log(three).decode().strip().split(",")) <= {"4", "5", "6"}


def test_cores_and_memory_are_counted_beside_the_slots(cluster: Cluster):
    cluster.start_master()
    cluster.start_worker("--cpus", "2", "--memory", "1GB")
    first = cluster.run(SHOW_GPUS, id="first", cpus=1.5, memory=600 << 20)
    cluster.wait_state(first, "RUNNING")
    second = cluster.run("print(2)", id="second", cpus=1)
    third = cluster.run("print(3)", id="third", memory=600 << 20)
    fourth = cluster.run("print(4)", id="fourth", cpus=0.5, memory=100 << 20)
    assert cluster.wait_state(fourth).state == "COMPLETED"
    assert cluster.info(second).state == cluster.info(third).state == "PENDING"
    (cluster.workspace / "shared" / "go").touch()
    for key in (first, second, third):
        assert cluster.wait_state(key).state == "COMPLETED"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can limit a process that runs already")
@pytest.mark.parametrize("fresh", [False, True])
def test_a_job_cannot_use_more_memory_than_it_asked_for(small_cluster: Cluster, fresh: bool):
    source = "try:\n    bytearray(400 << 20)\n    print('had it')\nexcept MemoryError:\n    print('refused')"
    limited = small_cluster.run(source, id="limited", memory=200 << 20, fresh=fresh)
    free = small_cluster.run(source, id="free", fresh=fresh)
    for key, printed in ((limited, b"refused"), (free, b"had it")):
        assert small_cluster.wait_state(key).state == "COMPLETED"
        assert small_cluster.log(key).strip() == printed
    (worker,) = small_cluster.workers()
    assert any("RLIMIT_DATA" in text for text in worker.limits)


def _has_groups(cluster: Cluster, name: str) -> bool:
    (worker,) = cluster.client.call(ListWorkers()).workers
    return any(name in text and "cgroup" in text for text in worker.limits)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_job_is_kept_to_its_cores_and_memory_by_the_kernel(cluster: Cluster, fresh: bool):
    """All its processes together; what is left of the group at the end is nothing."""
    cluster.start_master()
    worker = cluster.start_worker()
    if not (_has_groups(cluster, "memory") and _has_groups(cluster, "cpus")):
        pytest.skip("no control groups can be made here")
    show = cluster.run(
        "import time; time.sleep(0.1); print(open('/proc/self/cgroup').read())", id="s", cpus=0.5, fresh=fresh
    )
    assert cluster.wait_state(show).state == "COMPLETED"
    assert "job-" in cluster.log(show).decode()
    source = """
import subprocess, sys, time
time.sleep(0.1)
hog = "data = bytearray(60 << 20); data[::4096] = b'x' * len(data[::4096]); import time; time.sleep(20)"
started = [subprocess.Popen([sys.executable, "-c", hog]) for _ in range(4)]
while all(each.poll() is None for each in started):
    time.sleep(0.01)
sys.exit(1)
"""
    key = cluster.run(source, id="hog", memory=100 << 20, retries=0, fresh=fresh)
    info = cluster.wait_state(key)
    assert info.state == "DEAD" and "out of memory: all of its 100 MB were used" in info.reason
    plain = cluster.run("print(open('/proc/self/cgroup').read())", id="plain", fresh=fresh)
    assert cluster.wait_state(plain).state == "COMPLETED" and "job-" not in cluster.log(plain).decode()
    worker.terminate()
    left = [path for path in Path("/sys/fs/cgroup").rglob("titan-*") if path.name in worker.log_text()]
    assert not left
