"""The chaos suite's marks and its dice.

TITAN_CHAOS_ROUNDS says how hard it tries (1: the short profile of a normal test run), TITAN_CHAOS_SEED replays a run.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from titan_test_suite.pytests.chaos.table import TALLY
from titan_test_suite.pytests.chaos.tally import ROUNDS, Tally, dice_for

_HERE = Path(__file__).parent
_SECONDS_PER_ROUND = 120
"""A test's time limit grows with the rounds."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.chaos)
            item.add_marker(pytest.mark.timeout(_SECONDS_PER_ROUND * ROUNDS))


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """The table of this test run."""
    return request.config.stash.setdefault(TALLY, Tally())


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """The test's random numbers, from the seed and its name."""
    return dice_for(request.node.name)
