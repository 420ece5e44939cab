"""DAGs under every fault, one after the other on one cluster, then a look at what is left of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_test_suite.pytests.chaos.storm import FAULTS, Storm
from titan_test_suite.pytests.chaos.tally import ROUNDS, Tally
from titan_test_suite.pytests.cluster import Cluster

JOBS = 16 if ROUNDS == 1 else 30
_HALF = len(FAULTS) // 2


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
    for name in trials:
        fault, late_starts = FAULTS[name]
        with tally.trial(name) as violations:
            violations.extend(storm.trial(fault, JOBS, late_starts=late_starts))
    with tally.trial("after the storm") as violations:
        violations.extend(storm.check_all())
        violations.extend(storm.slots_work())
