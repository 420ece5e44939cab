"""Conditions and references in the core: judged once the parents are settled, by what the journal has."""

from __future__ import annotations

import pytest

from titan_core.scheduling.core.events import RunSubmitted
from titan_sdk.errors import SubmissionRefused
from titan_sdk.messages import FlowSpec, JobSpec, RunOptions
from titan_test_suite.pytests.core_world import World, job


@pytest.fixture
def world() -> World:
    world = World()
    world.register("w1", slots=8)
    return world


def when(job_id: str, condition: str, *parents: str, **fields: object) -> JobSpec:
    return job(job_id, *parents, flow=FlowSpec(when=condition), **fields)


def submit(world: World, *jobs: JobSpec, **params: str) -> str:
    event = RunSubmitted("r1", "test", jobs, options=RunOptions(params=params))
    return str(world.do(event).run_id)


def test_a_condition_is_judged_by_the_outputs_and_the_rest_follows(world: World) -> None:
    submit(
        world,
        job("count"),
        when("many", "parents.count.rows > 100", "count"),
        when("few", "parents.count.rows <= 100", "count"),
        job("after-many", "many"),
        job("after-both", "many", "few", flow=FlowSpec(trigger="none_failed")),
    )
    world.end("count", outputs={"rows": 3})
    assert world.states("many", "few", "after-many") == ["SKIPPED", "RUNNING", "SKIPPED"]
    reason = world.core.job_info("many").reason
    assert reason == "its condition does not hold: parents.count.rows > 100"
    world.end("few")
    assert world.state("after-both") == "RUNNING"


def test_what_cannot_be_told_is_dead_and_says_why(world: World) -> None:
    submit(world, job("count"), when("next", "parents.count.rows > 1", "count"), job("below", "next"))
    world.end("count")
    assert world.states("next", "below") == ["DEAD", "DEAD"]
    assert world.core.job_info("next").reason == "not started: 'parents.count.rows > 1': parents.count has no 'rows'"


def test_conditions_on_parameters_alone_are_judged_at_once(world: World) -> None:
    submit(
        world,
        when("eu", "params.region == 'eu'"),
        when("us", "params.region == 'us'", delay_ms=1000),
        job("after-eu", "eu"),
        region="us",
    )
    assert world.states("eu", "us", "after-eu") == ["SKIPPED", "DELAYED", "SKIPPED"]


def test_states_of_parents_and_trigger_rules_go_together(world: World) -> None:
    flow = FlowSpec(trigger="all_done", when="states.a == 'DEAD' and states.b == 'COMPLETED'")
    submit(world, job("a", retries=0), job("b"), job("c", "a", "b", flow=flow))
    world.end("a", "failed")
    world.end("b")
    assert world.state("c") == "RUNNING"


def test_references_are_replaced_also_after_a_restart_and_the_spec_stays(world: World) -> None:
    spec = job(
        "use",
        "count",
        args=("--rows", "${parents.count.rows}", "${HOME}"),
        env={"WHERE": "${params.region}/${parents.count.names}"},
        flow=FlowSpec(templates=True),
    )
    submit(world, job("count"), spec, region="eu")
    world.end("count", outputs={"rows": 3, "names": ["a"]})
    world.restart()
    world.register("w1")
    (command,) = world.dispatched()
    assert command.spec.args == ("--rows", "3", "${HOME}") and command.spec.env["WHERE"] == 'eu/["a"]'
    assert world.core.specs("use").jobs[0].args == spec.args


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (when("a", "parents.b.x"), "when: 'parents.b.x': b is no parent of this job; its parents are: none"),
        (when("a", "1 +"), "when: '1 \\+' is not an expression"),
        (when("a", "params.colour == 'x'"), "when: the run has no parameter colour; it has region"),
        (job("a", args=("${parents.b.x}",), flow=FlowSpec(templates=True)), "args: .*b is no parent"),
        (job("a", env={"X": "${item}"}, flow=FlowSpec(templates=True)), "env X speaks of an item"),
    ],
)
def test_mistakes_are_found_at_submission(world: World, spec: JobSpec, why: str) -> None:
    with pytest.raises(SubmissionRefused, match=why):
        submit(world, spec, region="eu")
