"""Runs as wholes in the pure core: their options, trees of them, budgets, and runs that grow."""

from __future__ import annotations

import pytest

from titan_sdk.errors import Conflict
from titan_sdk.messages import Budget, RunOptions
from titan_sdk.run_rules import option_problems
from titan_test_suite.pytests.core_world import World, job


@pytest.fixture
def world() -> World:
    return World()


# --- options ----------------------------------------------------------------------------------------------------------


def test_jobs_find_what_their_run_was_given(world: World):
    world.register("w")
    options = RunOptions(params={"region": "eu", "n": "3"}, agent_run_id="agent-7")
    world.submit(job("a", env={"TITAN_PARAM_N": "mine"}), options=options, run_id="r")
    world.restart()
    assert world.core.specs("r").jobs[0].env == {
        "TITAN_PARAM_REGION": "eu",
        "TITAN_PARAM_N": "mine",
        "TITAN_AGENT_RUN_ID": "agent-7",
    }
    assert world.core.run_info("r").options == options


def test_a_run_from_inside_takes_over_the_agent_run(world: World):
    world.submit(job("a"), options=RunOptions(agent_run_id="A"), run_id="r")
    world.submit(job("b"), parent="r/a", run_id="r2")
    world.submit(job("c"), parent="r/a", options=RunOptions(agent_run_id="B"), run_id="r3")
    world.submit(job("d"), run_id="r4")
    runs = {run.run_id: run.agent_run_id for run in world.core.list_runs(9).runs}
    assert runs == {"r": "A", "r2": "A", "r3": "B", "r4": ""}
    assert world.core.specs("r2").jobs[0].env == {"TITAN_AGENT_RUN_ID": "A"}


def test_an_idempotency_key_is_not_for_other_options(world: World):
    world.submit(job("a"), key="k", options=RunOptions(params={"n": "1"}), run_id="r")
    assert world.submit(job("a"), key="k", options=RunOptions(params={"n": "1"})) == "r"
    with pytest.raises(Conflict, match="'k' was used for other jobs"):
        world.submit(job("a"), key="k", options=RunOptions(params={"n": "2"}))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (RunOptions(params={"1st": ""}), "'1st' is not a parameter's name"),
        (RunOptions(params={"a": "", "A": ""}), "the parameters a and A would both be TITAN_PARAM_A"),
        (RunOptions(params={"a": "\0"}), "holds a NUL"),
        (RunOptions(params={"a": "x" * 70_000}), "characters at most"),
        (RunOptions(agent_run_id="a/b"), "agent run id 'a/b' holds '/'"),
        (RunOptions(idle_s=5), "an idle time is for open runs"),
        (RunOptions(open=True, idle_s=-1), "an idle time of -1 s is out of range"),
        (RunOptions(budget=Budget(max_jobs=-1)), "a budget of -1 jobs is below 0"),
        (RunOptions(budget=Budget(max_depth=1001)), "a depth of 1001 is out of range"),
        (RunOptions(budget=Budget(wall_s=float("nan"))), "a wall time of nan s is out of range"),
    ],
)
def test_options_that_cannot_be(options: RunOptions, text: str):
    (problem,) = option_problems(options)
    assert text in problem
    assert not list(option_problems(RunOptions(open=True, idle_s=5, budget=Budget(max_depth=0))))
