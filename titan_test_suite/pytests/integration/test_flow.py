"""Control flow on a real cluster: outputs, trigger rules and conditions, and a master that is killed in between."""

from __future__ import annotations

import json
from pathlib import Path

from titan_sdk import TitanClient
from titan_sdk.messages import FlowSpec, RunOptions
from titan_sdk.titan_yaml_parser import load_pipeline
from titan_test_suite.pytests.cluster import Cluster, wait_until

LOOK = """
import json, os
from titan_sdk import failed_jobs, inputs, item
print(json.dumps({"inputs": inputs(), "item": item(), "failed": failed_jobs(),
                  "env": {n: v for n, v in os.environ.items() if n.startswith(("TITAN_OUTPUT_", "TITAN_FAIL"))}}))
"""


def seen(cluster: Cluster, key: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(cluster.log(key))
    return found


def test_conditions_and_references_over_the_death_of_the_master(cluster: Cluster) -> None:
    """The master is killed between the end of the parent and those of its children, which were judged by then."""
    master = cluster.start_master()
    cluster.start_worker("--slots", "2")
    gate = cluster.home / "gate"
    count = cluster.job("from titan_sdk import output\noutput(rows=3, names=['a'])", id="count")
    slow = cluster.job(
        f"import os, sys, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\nprint(sys.argv[1:])",
        id="slow",
        parents=("count",),
        args=("--rows=${parents.count.rows}", "${params.region}"),
        flow=FlowSpec(when="parents.count.rows > 2 and params.region == 'eu'", templates=True),
    )
    none = cluster.job("", id="none", parents=("count",), flow=FlowSpec(when="parents.count.rows > 3"))
    last = cluster.job(LOOK, id="last", parents=("slow", "none", "count"), flow=FlowSpec(trigger="none_failed"))
    run_id = cluster.submit(count, slow, none, last, options=RunOptions(params={"region": "eu"})).run_id
    assert cluster.wait_state(f"{run_id}/count").state == "COMPLETED"
    wait_until(lambda: cluster.info(f"{run_id}/slow").state == "RUNNING")
    master.kill()
    cluster.start_master()
    gate.touch()
    states = {job.id: job.state for job in cluster.wait_run(run_id).jobs}
    assert states == {"count": "COMPLETED", "slow": "COMPLETED", "none": "SKIPPED", "last": "COMPLETED"}
    assert cluster.log(f"{run_id}/slow") == b"['--rows=3', 'eu']\n"
    assert seen(cluster, f"{run_id}/last")["inputs"] == {"count": {"rows": 3, "names": ["a"]}}


def test_outputs_of_python_and_shell_reach_the_children(shared_cluster: Cluster) -> None:
    python = shared_cluster.job("from titan_sdk import output\noutput(rows=3, names=['a', 'b'])", id="py")
    shell = 'echo "greeting=hello world" >> "$TITAN_OUTPUT"; echo "n:=7" >> "$TITAN_OUTPUT"'
    sh = shared_cluster.job(shell, id="sh", file="say.sh")
    bad = shared_cluster.job('echo "what is this" >> "$TITAN_OUTPUT"', id="bad", file="bad.sh", retries=0)
    look = shared_cluster.job(
        LOOK, id="look", parents=("py", "sh", "bad"), flow=FlowSpec(trigger="all_done"), requirement=()
    )
    run_id = shared_cluster.submit(python, sh, bad, look).run_id
    shared_cluster.wait_run(run_id)
    found = seen(shared_cluster, f"{run_id}/look")
    assert found["inputs"] == {"py": {"rows": 3, "names": ["a", "b"]}, "sh": {"greeting": "hello world", "n": 7}}
    reason = shared_cluster.wait_state(f"{run_id}/bad").reason
    assert reason.startswith("its outputs cannot be used: line 1 is 'what is this'")
    assert found["failed"] == ["bad"]
    assert found["env"] == {
        "TITAN_OUTPUT_PY_ROWS": "3",
        "TITAN_OUTPUT_PY_NAMES": '["a","b"]',
        "TITAN_OUTPUT_SH_GREETING": "hello world",
        "TITAN_OUTPUT_SH_N": "7",
        "TITAN_FAILED_JOBS": "bad",
        "TITAN_FAILURE_REASON": f"bad: {reason}",
    }
    job_dir = shared_cluster.workspace / "jobs" / "py"
    assert {path.name for path in job_dir.iterdir()} == {"py.log", "job.py"}
    with TitanClient("127.0.0.1", shared_cluster.port, token=shared_cluster.token) as client:
        assert client.job(f"{run_id}/py").outputs() == {"rows": 3, "names": ["a", "b"]}
        assert client.job(f"{run_id}/look").outputs() == {}


def test_handlers_and_fail_fast_from_yaml(shared_cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "fail.sh").write_text("exit 3\n")
    (tmp_path / "long.py").write_text("import time\ntime.sleep(600)\n")
    (tmp_path / "look.py").write_text(LOOK)
    (tmp_path / "titan.yaml").write_text(
        """
fail_fast: true
jobs:
  - {id: bad, file: fail.sh, retries: 0, on_failure: fix}
  - {id: long, file: long.py}
  - {id: next, file: look.py, depends_on: long}
  - {id: fix, file: look.py}
on_failure:
  - {id: page, file: look.py}
finally:
  - {id: tidy, file: look.py}
"""
    )
    pipeline = load_pipeline(tmp_path)
    with TitanClient("127.0.0.1", shared_cluster.port, token=shared_cluster.token) as client:
        run = client.submit_dag("flow", pipeline.jobs, options=pipeline.options)
        info = run.wait(60, check=False)
        assert {job.id: job.state for job in info.jobs} == {
            "bad": "DEAD",
            "long": "CANCELLED",
            "next": "CANCELLED",
            "fix": "COMPLETED",
            "page": "COMPLETED",
            "tidy": "COMPLETED",
        }
        assert {job.id: job.handler for job in info.jobs if job.handler} == {"page": "on_failure", "tidy": "finally"}
        for name in ("fix", "page", "tidy"):
            assert seen(shared_cluster, f"{run.run_id}/{name}")["failed"] == ["bad"]
        starts = {job.id: job.started_at for job in info.jobs}
        assert starts["fix"] <= starts["page"] <= starts["tidy"]


def test_fan_out_over_a_list_over_the_death_of_the_master(cluster: Cluster, tmp_path: Path) -> None:
    """Killed between the end of the parent and those of the instances, which are jobs of the run by then."""
    master = cluster.start_master()
    cluster.start_worker("--slots", "3")
    gate = tmp_path / "gate"
    (tmp_path / "split.sh").write_text('echo \'items:=["a", "b", {"c": 1}]\' >> "$TITAN_OUTPUT"\n')
    (tmp_path / "load.py").write_text(
        "import os, sys, time\nfrom titan_sdk import item, output\n"
        f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
        "output(got=[item(), sys.argv[1]])\n"
    )
    (tmp_path / "look.py").write_text(LOOK)
    (tmp_path / "titan.yaml").write_text(
        """
jobs:
  - {id: split, file: split.sh}
  - {id: load, file: load.py, depends_on: split, each: "${parents.split.items}", args: ["<${item}>"]}
  - {id: merge, file: look.py, depends_on: load}
"""
    )
    with TitanClient("127.0.0.1", cluster.port, token=cluster.token) as client:
        run = client.submit_dag("fan", load_pipeline(tmp_path).jobs)
        wait_until(lambda: [job.state for job in run.info().jobs].count("RUNNING") == 3)
        master.kill()
        cluster.start_master()
        gate.touch()
        info = run.wait(60)
        assert [job.id for job in info.jobs] == ["split", "load", "merge", "load.0", "load.1", "load.2"]
        got = [["a", "<a>"], ["b", "<b>"], [{"c": 1}, '<{"c":1}>']]
        assert run.job("load").outputs() == {"got": got}
        assert seen(cluster, f"{run.run_id}/merge")["inputs"] == {"load": {"got": got}}
        again = run.rerun()  # the instances are made anew
        assert [job.id for job in again.wait(60).jobs] == ["split", "load", "merge", "load.0", "load.1", "load.2"]
