"""The listings of the original's SDK reference, word for word, in the layout of files that they expect."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_test_suite.pytests.cluster import Cluster

CLIENT = """
from titan import TitanClient

# Initialize
client = TitanClient(host="localhost", port=9090)
"""

JOB = """
from titan_sdk import TitanJob

job = TitanJob(
    job_id="train_v1",
    filename="scripts/train.py",
    requirement="GPU",     # Optional: "GPU" or "GENERAL"
    priority=10,           # Optional: Higher numbers schedule first
    parents=["data_prep"], # Optional: List of parent Job IDs
    is_archive=False       # Set True if deploying a ZIP/Service
)
"""

DAG = """
from titan_sdk import TitanClient, TitanJob

client = TitanClient()

# Step 1: Define the Jobs
# "Extract" has no parents (Root node)
task_a = TitanJob(
    job_id="extract_data",
    filename="etl/extract.py",
    priority=5
)

# "Train" depends on "Extract"
task_b = TitanJob(
    job_id="train_model",
    filename="ml/train.py",
    requirement="GPU",
    parents=["extract_data"] # <--- Defines the dependency
)

# Step 2: Submit them as a list
client.submit_dag("nightly_pipeline", [task_a, task_b])
print("DAG Submitted!")
"""

SWITCH = """
# Full code: examples/dynamic_switch.py

if traffic_load > 80:
    print(f" High Traffic. Switching to 'FAST' pipeline.")
    client.submit_job(fast_job)
else:
    print(f" Normal Traffic. Running 'DEEP' analysis.")
    client.submit_dag("DEEP_PIPELINE", deep_dag)
"""

HEALER = """
# Full code: examples/agentic_healer.py

# The Core Loop
logs = client.fetch_logs(job_id)

if "Segfault" in logs:
    print(f" CRITICAL ERROR in {job_id}. Deploying Patch...")
    
    # Programmatically create a new job to fix the issue
    fix_job = TitanJob(id=f"{job_id}_fix", filename="scripts/safe_mode.py")
    client.submit_job(fix_job)
"""  # noqa: W293 - as it was printed


@pytest.fixture(scope="module")
def workers(shared_cluster: Cluster) -> Iterator[Cluster]:
    shared_cluster.start_worker(name="gpu", capabilities="GPU")
    yield shared_cluster


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {
        "etl/extract.py": "print('extracted')",
        "ml/train.py": "print('trained')",
        "scripts/train.py": "print('trained v1')",
        "scripts/safe_mode.py": "print('safe')",
        "scripts/prepare.py": "print('prepared')",
        "etl/crashes.sh": "echo 'Segfault at 0x0'; exit 139",
        "service/main.py": "import helper; print(helper.WORD)",
        "service/helper.py": "WORD = 'from a zip'",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def run(cluster: Cluster, project: Path, *parts: str) -> str:
    """What a program made of these parts prints, started in the project's folder."""
    main = project / "main.py"
    main.write_text("\n".join(textwrap.dedent(part) for part in parts))
    done = subprocess.run(
        [sys.executable, str(main)],
        env=cluster.environment(),
        cwd=project,
        capture_output=True,
        text=True,
        timeout=100,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_client_and_every_method_of_its_table(workers: Cluster, project: Path) -> None:
    """At the port of the listing there is another master, or none: that alone is replaced."""
    output = run(
        workers,
        project,
        CLIENT.replace("9090", str(workers.port)),
        JOB,
        """
        prepared = TitanJob(job_id="data_prep", filename="scripts/prepare.py")
        client.submit_dag("table", [prepared, job]).wait(60)
        print(client.fetch_logs("train_v1").strip())
        print(client.upload_file("etl/extract.py"), client.upload_project_folder("service", "my_service"))
        client.submit_job(TitanJob(job_id="uploaded", filename="extract.py")).wait(60)
        zipped = TitanJob(job_id="zipped", filename="my_service.zip/main.py", is_archive=True)
        client.submit_job(zipped).wait(60)
        print(client.fetch_logs("uploaded").strip(), client.fetch_logs("zipped").strip())
        """,
    )
    assert output.splitlines() == ["trained v1", "extract.py my_service.zip", "extracted from a zip"]
    assert {path.name for path in workers.perm_files.iterdir()} >= {"extract.py", "my_service.zip"}
    gpu = next(worker for worker in workers.workers() if worker.capabilities == ("GPU",))
    assert str(gpu.port) in workers.info("train_v1").worker


def test_a_dag_defined_in_a_program(workers: Cluster, project: Path) -> None:
    assert run(workers, project, DAG) == "DAG Submitted!\n"
    first, then = (workers.wait_state(name) for name in ("extract_data", "train_model"))
    assert first.state == then.state == "COMPLETED" and first.ended_at <= then.started_at
    assert workers.log("train_model") == b"trained\n"


@pytest.mark.parametrize(("load", "said", "job"), [(81, " High Traffic.", "fast"), (80, " Normal Traffic.", "deep_b")])
def test_the_logic_switch(workers: Cluster, project: Path, load: int, said: str, job: str) -> None:
    given = f"""
        from titan import TitanClient, TitanJob
        client = TitanClient()
        traffic_load = {load}
        fast_job = TitanJob("fast", "etl/extract.py")
        deep_dag = [TitanJob("deep_a", "etl/extract.py"), TitanJob("deep_b", "ml/train.py", parents=["deep_a"])]
        """
    assert run(workers, project, given, SWITCH).startswith(said)
    assert workers.wait_state(job).state == "COMPLETED"


def test_the_self_healing_loop(workers: Cluster, project: Path) -> None:
    given = """
        from titan import TitanClient, TitanJob
        client = TitanClient()
        job_id = "crasher"
        client.submit_job(TitanJob(job_id, "etl/crashes.sh", retries=0)).wait(60, check=False)
        """
    assert run(workers, project, given, HEALER) == " CRITICAL ERROR in crasher. Deploying Patch...\n"
    assert workers.wait_state("crasher_fix").state == "COMPLETED"
    assert workers.log("crasher_fix") == b"safe\n"
