"""Human gates with a real cluster: the job waits over a kill of the master, and does what was said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from titan_sdk.client import TitanClient
from titan_sdk.errors import Conflict, JobFailed
from titan_sdk.job import TitanJob
from titan_sdk.titan_yaml_parser import load_pipeline
from titan_test_suite.pytests.cluster import ROOT, Cluster, wait_until

PIPELINE = """
name: release
jobs:
  - {id: build, file: say.py}
  - id: ship
    file: say.py
    depends_on: build
    approve: Ship it?
  - id: tell
    file: say.py
    depends_on: ship
  - id: wipe
    file: say.py
    approve: {message: Wipe?, timeout: 8h, on_timeout: reject}
"""


def client_of(cluster: Cluster) -> TitanClient:
    return TitanClient("127.0.0.1", cluster.port, token=cluster.token, timeout=60.0)


def shell(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(ROOT / "titan_core/TitanCli.py"), "--port", str(cluster.port), *words]
    environment = cluster.environment()
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, env=environment, check=False)


def test_a_gate_waits_over_a_kill_of_the_master_and_opens_once(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "say.py").write_text("print('ran')")
    (tmp_path / "titan.yaml").write_text(PIPELINE)
    master = cluster.start_master()
    cluster.start_worker()
    with client_of(cluster) as client:
        run = client.submit_dag("release", load_pipeline(tmp_path / "titan.yaml").jobs)
        ship, wipe = run.job("ship"), run.job("wipe")
        wait_until(lambda: ship.status() == "HELD", 60)
        seen = client.events().last
        master.kill()
        master = cluster.start_master()
        assert (ship.status(), wipe.status(), run.job("tell").status()) == ("HELD", "HELD", "WAITING")
        assert {asked.message for asked in client.approvals(run.run_id)} == {"Ship it?", "Wipe?"}
        asked = json.loads(shell(cluster, "approvals", "--json").stdout)
        expires = next(each for each in asked if each["message"] == "Wipe?")
        assert expires["expires_at"] == expires["asked_at"] + 8 * 3600 * 1000
        assert shell(cluster, "approve", "ship", "--comment", "green").returncode == 0
        with pytest.raises(Conflict, match=r"was approved by .* already: green"):
            ship.reject()
        refused = shell(cluster, "reject", "ship")
        assert refused.returncode == 1 and "approved" in refused.stderr
        run.job("tell").wait(60)
        assert run.job("ship").logs() == "ran\n"

        decided = wipe.reject("not on a Friday", by="ann")
        assert (decided.decision, decided.by) == ("rejected", "ann")
        with pytest.raises(JobFailed, match="rejected by ann: not on a Friday"):
            wipe.wait(60)
        assert wipe.info().attempt == 0 and client.approvals() == []
        assert [each.key for each in client.approvals(run.run_id, decided=True)] == [wipe.key, ship.key]
        assert "not on a Friday" in shell(cluster, "approvals", "--decided").stdout
        kinds = [event.kind for event in client.events(seen).events if event.kind.startswith("approval")]
        assert kinds == ["approval-given", "approval-refused"]
        master.kill()
        cluster.start_master()
        kept = wipe.info()
        assert (kept.state, kept.approvals[0].comment) == ("DEAD", "not on a Friday")


def test_the_clock_decides_over_a_restart(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "say.py").write_text("print('ran')")
    master = cluster.start_master()
    cluster.start_worker()
    with client_of(cluster) as client:
        question = {"message": "Now?", "timeout": 0.5, "on_timeout": "approve"}
        job = client.submit_job(TitanJob("go", tmp_path / "say.py", approve=question))
        master.kill()
        cluster.start_master()
        job.wait(60)
        assert job.info().approvals[0].by == "timeout"
