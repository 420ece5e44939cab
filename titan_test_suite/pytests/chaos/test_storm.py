"""DAGs under every fault, one after the other on one cluster, then a look at what is left of it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_test_suite.pytests.chaos.storm import FAULTS, LEASE_S, MASTER, Storm
from titan_test_suite.pytests.chaos.tally import ROUNDS, Tally
from titan_test_suite.pytests.cluster import Cluster

JOBS = 16 if ROUNDS == 1 else 30
FAULTS_PER_DAG = 2 if ROUNDS == 1 else 1
"""The short profile saves time; the long one shows which fault it was."""
_HALF = len(FAULTS) // 2

AGAIN = ("SIGKILL of the master, again and again", "SIGSTOP of workers, again and again")


@pytest.fixture
def storm(cluster: Cluster, tmp_path: Path, dice: random.Random) -> Iterator[Storm]:
    storm = Storm(cluster, tmp_path / "ledger", dice)
    try:
        yield storm
    finally:
        storm.stop()


@pytest.mark.parametrize("faults", [list(FAULTS)[:_HALF], list(FAULTS)[_HALF:]], ids=["processes", "links"])
def test_dags_under_faults(faults: list[str], storm: Storm, tally: Tally, dice: random.Random) -> None:
    trials = [fault for fault in faults for _ in range(ROUNDS)]
    dice.shuffle(trials)
    for start in range(0, len(trials), FAULTS_PER_DAG):
        names = trials[start : start + FAULTS_PER_DAG]
        with tally.trial(*names) as violations:
            late_starts = any(FAULTS[name][1] for name in names)
            violations.extend(storm.trial([FAULTS[name][0] for name in names], JOBS, late_starts=late_starts))
    with tally.trial("after the storm") as violations:
        violations.extend(storm.check_all())
        violations.extend(storm.slots_work())


@pytest.mark.parametrize("fault", AGAIN[: 1 if ROUNDS == 1 else 2])
def test_one_large_dag(fault: str, storm: Storm, tally: Tally, dice: random.Random) -> None:
    """A DAG of hundreds of jobs that hardly gets a quiet moment; kills meet masters that are not up yet, too."""
    trials = 3 if ROUNDS == 1 else 5 * ROUNDS
    run_id = storm.submit(storm.random_dag(min(500, 40 * ROUNDS)))
    with tally.trial(fault, count=trials) as violations:
        for _ in range(trials):
            if fault.startswith("SIGKILL"):
                storm.master.kill()
                storm.master = storm.cluster.start_master(*MASTER, wait=False)
                time.sleep(dice.choice((0.0, dice.uniform(0.0, 0.5), dice.uniform(0.0, 2.0))))
            else:
                worker = dice.choice(storm.workers).program
                worker.freeze()
                time.sleep(dice.uniform(0.0, 2 * LEASE_S))
                worker.thaw()
        violations.extend(storm.finished(run_id, late_starts=True))
        violations.extend(storm.check_all())
