"""What a job's environment costs its worker: it does not grow with the variables that are as they always are."""

from __future__ import annotations

from pathlib import Path

import pytest

from titan_core.tasks.launcher import _difference
from titan_core.tasks.process_registry import MARK
from titan_core.tasks.script_executor_handler import ScriptExecutorHandler
from titan_sdk.messages import JobSpec, Lease
from titan_test_suite.pytests.unit.test_core_scale import lines_of

LEASE = Lease(job="run/job", attempt=1, epoch=1)
SPEC = JobSpec(id="job", file="a.py")


def environment(variables: int) -> dict[str, str]:
    return {f"VARIABLE_{number}": str(number) for number in range(variables)}


def warm(scripts: ScriptExecutorHandler, env: dict[str, str]) -> bool:
    return scripts.launch_request(
        LEASE, SPEC, script=Path("/x/a.py"), cwd=Path("/x"), log=Path("/x/job.log"), env=env
    ).warm


@pytest.mark.parametrize("changed", [{}, {"TITAN_JOB_ID": "job", "VARIABLE_1": "other"}])
def test_the_cost_of_an_environment_is_that_of_its_changes(changed: dict[str, str]) -> None:
    costs = set()
    for size in (10, 1_000):
        base = environment(size)
        scripts = ScriptExecutorHandler(environment=base)
        difference = lines_of(lambda: _difference(base, base | changed))  # noqa: B023 - called at once
        costs.add((difference, lines_of(lambda: warm(scripts, base | changed))))  # noqa: B023
    assert len(costs) == 1


def test_the_difference_makes_one_environment_of_the_other() -> None:
    base = {"SAME": "1", "OTHER": "1", "GONE": "1", MARK: "mark"}
    wanted = {"SAME": "1", "OTHER": "2", "NEW": "\udcff"}
    changed, removed = _difference(base, wanted)
    assert changed == {b"OTHER": b"2", b"NEW": b"\xff"} and removed == (b"GONE",)


@pytest.mark.parametrize("name", ["PYTHONHASHSEED", "LD_PRELOAD", "LC_ALL", "LANG"])
def test_what_only_a_new_interpreter_obeys_asks_for_one(name: str) -> None:
    base = {"HOME": "/x", "SAME": "1"}
    scripts = ScriptExecutorHandler(environment=base)
    assert warm(scripts, {**base, "TITAN_JOB_ID": "job"})
    assert not warm(scripts, {**base, name: "1"})
    set_already = ScriptExecutorHandler(environment={**base, name: "1"})
    assert warm(set_already, {**base, name: "1"})
    assert not warm(set_already, {**base, name: "2"}) and not warm(set_already, base)
