"""The benchmarks still run: cheap ones, at their smallest."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from titan_test_suite.benchmarks.bench import BENCHES
from titan_test_suite.benchmarks.measuring import Goal, Result, Samples, percentile
from titan_test_suite.pytests.cluster import ROOT, wait_until

BENCH = ROOT / "titan_test_suite" / "benchmarks" / "bench.py"


def command(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(BENCH), "--quick", "--folder", str(folder), *arguments]


def bench(folder: Path, *arguments: str) -> str:
    done = subprocess.run(command(folder, *arguments), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    return done.stdout


def test_cheap_benchmarks_measure_what_they_say(tmp_path):
    found = json.loads(bench(tmp_path, "--json", "--repeat", "2", *("--only", "fan-out", "--only", "status")))
    assert found["rounds"] == 2 and found["quick"] is True
    assert {item["bench"] for item in found["results"]} == {"fan-out", "status"}
    for item in found["results"]:
        for side in (item["ours"], item["theirs"]):
            assert len(side["samples"]) == 2
            assert 0 < side["min"] <= side["median"] <= side["max"]
        assert item["times_as_good"] > 0


def test_the_costs_of_the_master_are_measured_with_a_worker_that_runs_nothing(tmp_path):
    table = bench(tmp_path, "--only", "dag", "--only", "simulation")
    assert "a DAG of 100" in table and "simulated" in table


def test_an_interrupted_benchmark_ends_what_it_started(tmp_path):
    with subprocess.Popen(command(tmp_path, "--only", "queue", "--repeat", "50"), stderr=subprocess.PIPE) as process:
        wait_until(lambda: psutil.Process(process.pid).children(), 30.0, "it starts a master")
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    wait_until(lambda: not any(each.is_running() for each in started), 10.0, "its programs end")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", BENCHES)
def test_the_readme_tells_of_every_benchmark(name):
    assert f"`{name}`" in (BENCH.parent / "README.md").read_text(encoding="utf-8")


def test_ratios_and_goals():
    ours, theirs = Samples((1.0, 2.0, 4.0)), Samples((4.0, 8.0, 12.0))
    faster = Result("x", "x", "s", ours, theirs, goal=Goal("ratio", 4))
    assert faster.ratio == 4.0 and faster.met
    slower = Result("x", "x", "1/s", ours, theirs, goal=Goal("ratio", 4), more_is_better=True)
    assert slower.ratio == 0.25 and not slower.met
    assert Result("x", "x", "ms", ours, goal=Goal("most", 2.0)).met
    assert Result("x", "x", "ms", ours).met is None
    assert percentile(range(1, 101), 99) == 99 and percentile([7.0], 50) == 7.0
