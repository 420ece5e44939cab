"""Self-healing with real scripts: a script that crashes is read, changed and run again, over kills of the master."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from titan_sdk.client import TitanClient
from titan_sdk.errors import JobFailed
from titan_sdk.job import TitanJob
from titan_sdk.titan_yaml_parser import load_pipeline
from titan_test_suite.pytests.cluster import ROOT, Cluster, wait_until

BROKEN = """
import sys
print("reading", sys.argv[1])
values = [1, 2, 3]
print("mean", sum(values) / len(valeus))
"""

FIX = """
import re, titan_sdk
failed = titan_sdk.failure()
log = failed.log.read_text()
wrong = re.search(r"name '(\\w+)' is not defined. Did you mean: '(\\w+)'", log)
print("repairing", failed.job, "attempt", failed.attempt, "exit code", failed.exit_code)
text = failed.file.read_text()
assert failed.args == ["in.csv"] and failed.exit_code == 1 and "reading in.csv" in log
wrong = wrong or re.search(r"name '(valeus)' is not defined", log)
fixed = failed.source / "fixed.py"
fixed.write_text(text.replace(wrong[1], "values"))
titan_sdk.repair(fixed, note=f"{wrong[1]} is values")
"""

PIPELINE = """
name: healing
jobs:
  - id: mean
    file: mean.py
    args: [in.csv]
    retries: 0
    on_failure: {repair: fix.py, max: 2, approve: Apply the change?}
  - id: after
    file: after.py
    depends_on: mean
"""


def client_of(cluster: Cluster) -> TitanClient:
    return TitanClient("127.0.0.1", cluster.port, token=cluster.token, timeout=60.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pipeline"
    folder.mkdir()
    (folder / "mean.py").write_text(BROKEN)
    (folder / "fix.py").write_text(FIX)
    (folder / "after.py").write_text("print('after')")
    (folder / "titan.yaml").write_text(PIPELINE)
    return folder


def shell(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(ROOT / "titan_core/TitanCli.py"), "--port", str(cluster.port), *words]
    environment = cluster.environment()
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, env=environment, check=False)


def test_a_crashing_script_is_repaired_approved_and_run_again(cluster: Cluster, folder: Path) -> None:
    master = cluster.start_master()
    cluster.start_worker()
    with client_of(cluster) as client:
        run = client.submit_dag("healing", load_pipeline(folder / "titan.yaml").jobs)
        mean = run.job("mean")
        wait_until(lambda: client.approvals(run.run_id), 90, "the repair to be proposed")
        master.kill()
        cluster.start_master()
        info = mean.info()
        assert info.state == "HELD" and [each.state for each in info.repairs] == ["asked"]
        diff = shell(cluster, "repairs", mean.key, "--diff").stdout
        assert "# valeus is values" in diff
        assert '-print("mean", sum(values) / len(valeus))' in diff
        assert '+print("mean", sum(values) / len(values))' in diff
        mean.approve("looks right", by="ann")
        run.job("after").wait(60)
        info = mean.info()
        assert mean.logs() == "reading in.csv\nmean 2.0\n"
        before, after = (each.sha256 for each in info.executions)
        change = info.repairs[0].change
        assert change is not None and (before, after) == (info.repairs[0].before_sha256, change.sha256)
        assert client.content(before).decode() == BROKEN and before != after
        repairing = client.job(info.repairs[0].job)
        assert repairing.info().state == "COMPLETED" and "exit code 1" in repairing.logs()
        kinds = [event.kind for event in client.events().events if event.kind.startswith(("repair", "approval"))]
        assert kinds == ["repair-begun", "approval-asked", "approval-given", "repair-applied"]
        assert "applied" in shell(cluster, "repairs", mean.key).stdout
        assert {job.key for job in run.info().jobs} == {mean.key, run.job("after").key, repairing.key}


def test_a_project_is_repaired_as_a_whole_and_a_hopeless_repair_ends_it(cluster: Cluster, folder: Path) -> None:
    project = folder / "project"
    project.mkdir()
    (project / "main.py").write_text("import helper\nprint(helper.VALUE)")
    (project / "helper.py").write_text("VALUE = 1 / 0")
    (folder / "fix.py").write_text(
        "import titan_sdk\nfailed = titan_sdk.failure()\n"
        "(failed.source / 'helper.py').write_text('VALUE = 5')\ntitan_sdk.repair(failed.file)\n"
    )
    (folder / "no.py").write_text("print('no idea')")
    cluster.start_master()
    cluster.start_worker()
    with client_of(cluster) as client:
        healed = client.submit_job(
            TitanJob("healed", "main.py", archive=project, retries=0, on_failure={"repair": folder / "fix.py"})
        )
        hopeless = client.submit_job(
            TitanJob("hopeless", folder / "mean.py", retries=0, on_failure={"repair": folder / "no.py", "max": 3})
        )
        healed.wait(90)
        assert healed.logs() == "5\n" and "+VALUE = 5" in client.repair_diff("healed")
        with pytest.raises(JobFailed, match=r"repair 1: it proposed nothing"):
            hopeless.wait(90)


def test_the_master_is_killed_while_it_is_repaired(cluster: Cluster, folder: Path) -> None:
    gate = folder / "go"
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.02)\n"
    (folder / "fix.py").write_text(wait + "import titan_sdk\ntitan_sdk.repair(args=['x'], env={'SAFE': 1})\n")
    (folder / "job.py").write_text("import os, sys\nprint(sys.argv[1:], os.environ['SAFE'])")
    master = cluster.start_master()
    cluster.start_worker()
    with client_of(cluster) as client:
        job = client.submit_job(TitanJob("job", folder / "job.py", retries=0, on_failure={"repair": folder / "fix.py"}))
        wait_until(lambda: job.status() == "HELD" and client.job("job.repair-1").status() == "RUNNING", 90)
        master.kill()
        cluster.start_master()
        gate.touch()
        job.wait(90)
        assert job.logs() == "['x'] 1\n"
        again = client.run(job.run_id).rerun()  # as it was repaired; what repaired it is no part of what was asked for
        again.wait(90)
        assert [each.job_id for each in again.jobs()] == ["job"] and again.job("job").logs() == "['x'] 1\n"
