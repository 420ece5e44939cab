"""The black-box programs beside this folder, each run as a user would, against one cluster; and that they can fail."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_test_suite.pytests.cluster import ROOT, Cluster

PROGRAMS = sorted((ROOT / "titan_test_suite" / "pytests").glob("*_test.py"))


@pytest.fixture(scope="module")
def two_workers(shared_cluster: Cluster) -> Iterator[Cluster]:
    shared_cluster.start_worker(name="second", capabilities="GENERAL,GPU")
    yield shared_cluster


def run(cluster: Cluster, program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(program), *arguments],
        env=cluster.environment(),
        cwd=cluster.root,
        capture_output=True,
        text=True,
        timeout=110,
        stdin=subprocess.DEVNULL,
    )


def test_they_are_all_here_and_in_the_readme() -> None:
    names = [path.name for path in PROGRAMS]
    assert "complex_dag_test.py" in names and len(names) == 7
    readme = (ROOT / "README.md").read_text()
    assert all(f"`{name}`" in readme for name in names)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_the_cluster_passes(two_workers: Cluster, program: Path) -> None:
    done = run(two_workers, program, "--host", "127.0.0.1", "--port", str(two_workers.port))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("  ok      ") >= 2 and done.stdout.endswith("all is well\n")


def test_what_is_not_as_it_should_be_makes_them_fail(cluster: Cluster) -> None:
    """A master whose jobs are all cancelled, none at all, and one without workers."""
    program = PROGRAMS[[path.stem for path in PROGRAMS].index("fanout_test")]
    cluster.port = 1
    nobody = run(cluster, program)
    assert nobody.returncode == 2 and "no master to ask" in nobody.stderr
    cluster.port = 0
    cluster.start_master()
    idle = run(cluster, program)
    assert idle.returncode == 2 and "no worker is there" in idle.stdout
    worker = cluster.start_worker()
    worker.freeze()
    stuck = run(cluster, program, "--timeout", "0.5")
    worker.thaw()
    assert stuck.returncode == 1 and "FAILED  WaitTimeout" in stuck.stdout and stuck.stdout.endswith("1 failed\n")
    assert run(cluster, program, "--nonsense").returncode == 2
