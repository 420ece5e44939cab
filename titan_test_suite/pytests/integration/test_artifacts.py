"""Artifacts over real jobs: found by those that follow, whole or not at all, and only of attempts that completed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from titan_sdk.artifacts import download, part_of
from titan_sdk.client import TitanClient
from titan_sdk.errors import BadMessage, NotFound
from titan_sdk.job import TitanJob
from titan_test_suite.pytests.cluster import ROOT, Cluster

MAKE = """
import os, titan_sdk
data = bytes(range(256)) * 4096 * 5
with open(os.path.join(os.environ["TITAN_JOB_DIR"], "big"), "wb") as file:
    file.write(data)
titan_sdk.publish("big.bin", file.name)
titan_sdk.publish("note.txt", b"draft")
titan_sdk.publish("note.txt", f"attempt {os.environ['TITAN_ATTEMPT']}".encode())
if os.environ["TITAN_ATTEMPT"] == "1":
    for number in range(200):
        titan_sdk.publish(f"failed-{number}.txt", b"x")
    raise SystemExit(1)
"""

USE = """
import hashlib, titan_sdk
print(titan_sdk.fetch("note.txt").read_text(), hashlib.sha256(titan_sdk.fetch("big.bin").read_bytes()).hexdigest())
"""


def client_of(cluster: Cluster) -> TitanClient:
    return TitanClient("127.0.0.1", cluster.port, token=cluster.token, timeout=60.0)


def test_what_a_job_publishes_is_found_by_those_after_it_and_by_everybody(cluster: Cluster, tmp_path: Path) -> None:
    for name, source in {"make": MAKE, "use": USE, "between": "print()"}.items():
        (tmp_path / f"{name}.py").write_text(source)
    master = cluster.start_master()
    cluster.start_worker()
    digest = hashlib.sha256(bytes(range(256)) * 4096 * 5).hexdigest()
    with client_of(cluster) as client:
        jobs = [
            TitanJob("make", tmp_path / "make.py", retries=1),
            TitanJob("between", tmp_path / "between.py", parents=["make"]),
            TitanJob("use", tmp_path / "use.py", parents=["between"]),
        ]
        run = client.submit_dag("artifacts", jobs)
        run.job("make").wait(120, check=False)
        assert run.job("make").status() == "COMPLETED", run.job("make").logs()
        run.wait(120)
        assert run.job("use").logs() == f"attempt 2 {digest}\n"
        listed = run.artifacts()
        assert [(each.name, each.size) for each in listed] == [("big.bin", 5 << 20), ("note.txt", 9)]
        assert listed == run.job("make").artifacts() and run.job("use").artifacts() == []
        master.kill()
        cluster.start_master()
        path = client.fetch_artifact("note.txt", job="use", to=tmp_path / "note")
        assert path.read_bytes() == b"attempt 2"
        with pytest.raises(NotFound, match="has published failed"):
            client.fetch_artifact("failed-0.txt", job="use", to=tmp_path / "none")

        big = listed[0]
        part = part_of(big, tmp_path / "big")
        part.write_bytes((bytes(range(256)) * 4096)[: 1 << 20])  # a download that broke off
        download(client._caller, big, tmp_path / "big")
        assert hashlib.sha256((tmp_path / "big").read_bytes()).hexdigest() == digest and not part.exists()
        part.write_bytes(b"not the beginning of it")
        with pytest.raises(BadMessage, match="came damaged"):
            download(client._caller, big, tmp_path / "big")
        assert not part.exists()

        with ThreadPoolExecutor(4) as pool:  # to one place at once, as the jobs of a fan-out do to the shared folder
            list(pool.map(lambda _: download(client._caller, big, tmp_path / "shared"), range(4)))
        assert hashlib.sha256((tmp_path / "shared").read_bytes()).hexdigest() == digest
        (tmp_path / "folder").mkdir()
        with pytest.raises(IsADirectoryError, match="the path of a file is wanted"):
            download(client._caller, big, tmp_path / "folder")
        assert not list(tmp_path.glob(".*.part"))
        longest = client.fetch_artifact("note.txt", job="use", to=tmp_path / ("n" * 255))
        assert longest.read_bytes() == b"attempt 2"

        argv = [sys.executable, str(ROOT / "titan_core/TitanCli.py"), "--port", str(cluster.port), "--json"]
        options = {"capture_output": True, "timeout": 60, "check": True, "env": cluster.environment(), "cwd": tmp_path}
        shown = subprocess.run([*argv, "artifacts", run.run_id], **options)  # type: ignore[call-overload]
        assert [each["name"] for each in json.loads(shown.stdout)] == ["big.bin", "note.txt"]
        subprocess.run([*argv, "fetch", "make", "note.txt", "--to", "here"], **options)  # type: ignore[call-overload]
        assert (tmp_path / "here").read_bytes() == b"attempt 2"
