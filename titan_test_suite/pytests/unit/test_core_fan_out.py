"""Fan-out: an ``each`` job becomes as many instances as its list has elements, and is one job to all others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from titan_core.scheduling.core.events import RunSubmitted
from titan_sdk.errors import SubmissionRefused
from titan_sdk.messages import Budget, FlowSpec, JobSpec, RunOptions
from titan_test_suite.pytests.core_world import World, job, service


@pytest.fixture
def world() -> World:
    world = World()
    world.register("w1", slots=16)
    return world


def each(job_id: str, items: str, *parents: str, **fields: Any) -> JobSpec:
    return job(job_id, *parents, flow=FlowSpec(each=items, **fields.pop("flow", {})), **fields)


def again(world: World) -> None:
    """The master is killed and started again; the worker still runs what it did."""
    running = [info.key for info in world.core.list_jobs(("RUNNING",)).jobs]
    world.restart()
    world.register("w1", slots=16, holding=tuple(map(world.lease, running)))


ITEMS = "parents.split.items"


@pytest.mark.parametrize("restarted", [False, True])
def test_one_instance_for_each_element_and_lists_of_what_they_left(world: World, restarted: bool) -> None:
    load = each(
        "load", ITEMS, "split", flow={"templates": True}, args=("${item.name}", "${parents.split.of}"), retries=0
    )
    world.submit(job("split"), load, job("merge", "load"))
    world.end("split", outputs={"items": [{"name": "a"}, {"name": "b"}, {"name": "c"}], "of": 3})
    commands = {command.spec.id: command.spec for command in world.dispatched()}
    assert {name: spec.args for name, spec in commands.items()} == {
        "load.0": ("a", "3"),
        "load.1": ("b", "3"),
        "load.2": ("c", "3"),
    }
    flow = commands["load.1"].flow
    assert flow is not None and flow.given is not None
    assert (flow.given.item, flow.given.index) == (b'{"name":"b"}', 1)
    assert world.core.explain("load").summary == "It waits for 3 of its 3 instances."
    for number, outputs in enumerate(({"n": 10}, None, {"n": 12, "x": "y"})):
        if restarted:
            again(world)
        assert world.states("load", "merge") == ["WAITING", "WAITING"]
        world.end(f"load.{number}", outputs=outputs)
    assert world.states("load", "merge") == ["COMPLETED", "RUNNING"]
    assert json.loads(world.core.job_info("load").outputs) == {"n": [10, None, 12], "x": [None, None, "y"]}
    assert [spec.id for spec in world.core.specs("run1").jobs] == ["split", "load", "merge"]


def test_an_instance_that_fails_leaves_the_others_alone_and_its_reason_counts(world: World) -> None:
    world.submit(job("split"), each("load", ITEMS, "split", retries=0), job("merge", "load"))
    world.end("split", outputs={"items": [1, 2]})
    world.end("load.0", "failed", exit_code=3)
    assert world.states("load", "load.1") == ["WAITING", "RUNNING"]
    world.end("load.1")
    assert world.states("load", "merge") == ["DEAD", "DEAD"]
    assert world.core.job_info("load").reason == ("1 of 2 instances did not complete; load.0 ended DEAD (exit code 3)")


def test_an_empty_list_skips_it(world: World) -> None:
    world.submit(job("split"), each("load", ITEMS, "split"), job("merge", "load", flow=FlowSpec(trigger="none_failed")))
    world.end("split", outputs={"items": []})
    assert world.states("load", "merge") == ["SKIPPED", "RUNNING"]


def test_a_list_may_be_a_parameter_and_a_condition_comes_before_it(world: World) -> None:
    event = RunSubmitted(
        "r1",
        "test",
        (each("load", "params.regions"), each("other", "params.regions", flow={"when": "params.regions == ''"})),
        options=RunOptions(params={"regions": '["eu", "us"]'}),
    )
    world.do(event)
    assert world.states("load.0", "load.1", "other") == ["RUNNING", "RUNNING", "SKIPPED"]


@pytest.mark.parametrize(
    ("items", "why"),
    [
        ("text", "each: a list is wanted, not the text 'text'"),
        (3, "each: a list is wanted, not 3"),
        ("[" * 101 + "]" * 101, "over 100 deep in one another"),
        ([1, "x" * 40_000], "element 1 is of 40002 bytes; 32768 at most"),
        (list(range(1001)), "over the limit of 1000"),
        ([1, 2, 3, 4, 5], "the budget of run r1 is 6 jobs"),
    ],
)
def test_what_cannot_be_unfolded_is_dead_and_says_why(world: World, items: object, why: str) -> None:
    options = RunOptions(budget=Budget(max_jobs=6))
    world.do(RunSubmitted("r1", "test", (job("split"), each("load", ITEMS, "split")), options=options))
    world.end("split", outputs={"items": items})
    assert world.state("load") == "DEAD"
    assert why in world.core.job_info("load").reason


def test_what_instances_left_may_be_more_than_one_job_may_leave(world: World) -> None:
    sums = job("sums", "load", flow=FlowSpec(when="len(parents.load.rows) == 3"))
    world.submit(job("split"), each("load", ITEMS, "split"), sums)
    world.end("split", outputs={"items": [1, 2, 3]})
    for number in range(3):
        world.end(f"load.{number}", outputs={"rows": "x" * 200_000})
    assert world.states("load", "sums") == ["COMPLETED", "RUNNING"]


def test_lists_for_ever_so_many_names_are_not_made(world: World) -> None:
    world.submit(job("split"), each("load", ITEMS, "split"))
    world.end("split", outputs={"items": list(range(1000))})
    for number in range(1000):
        world.end(f"load.{number}", outputs={f"n{number}_{more}": 0 for more in range(10)})
    assert world.state("load") == "DEAD"
    assert "lists of 1000 values for 10000 outputs" in world.core.job_info("load").reason


def test_an_id_that_is_taken_elsewhere(world: World) -> None:
    world.submit(job("load.1"))
    world.submit(job("split"), each("load", ITEMS, "split"))
    world.end("split", outputs={"items": [1, 2]})
    assert world.state("load") == "DEAD"
    assert "load.1 is still RUNNING in run run1" in world.core.job_info("load").reason


def test_a_service_that_is_lost_meanwhile_is_none_of_its_business(world: World) -> None:
    world.submit(service("db"), job("split"), each("load", ITEMS, "split", "db"))
    world.ready("db")
    world.end("split", outputs={"items": [1]})
    world.end("db", "failed")
    again(world)
    world.end("load.0")
    assert world.state("load") == "COMPLETED"


def test_cancelling_it_cancels_its_instances(world: World) -> None:
    run = world.submit(job("split"), each("load", ITEMS, "split"), job("merge", "load"))
    world.end("split", outputs={"items": [1, 2]})
    assert world.cancel("load") == [f"{run}/load", f"{run}/load.0", f"{run}/load.1"]
    assert world.states("load", "merge") == ["CANCELLED", "DEAD"]
    world.end("load.0", "cancelled")
    world.end("load.1", "cancelled")
    assert world.core.run_info(run).finished


@pytest.mark.parametrize(
    ("jobs", "why"),
    [
        ([each("a", "parents.b.x")], "b is no parent"),
        ([each("a", "params.x")], "the run has no parameter x"),
        ([each("a", "[1]"), job("a.7")], "this id is for an instance of a"),
        ([service("a", flow=FlowSpec(each="[1]"))], "of type service"),
        ([job("b"), each("a", "[1]", "b", flow={"trigger": "one_failed"})], "cannot have the trigger one_failed"),
        ([each("a", "[1]", flow={"when": "item == 1"})], "when speaks of an item"),
        ([job("a", flow=FlowSpec(instance_of="b"))], "is for the master to say"),
    ],
)
def test_mistakes(world: World, jobs: Sequence[JobSpec], why: str) -> None:
    with pytest.raises(SubmissionRefused, match=why):
        world.submit(*jobs)


def test_it_unfolds_once_when_its_parents_ended_long_ago(world: World) -> None:
    world.do(RunSubmitted("r1", "test", (job("split"),), options=RunOptions(open=True)))
    world.end("split", outputs={"items": [1, 2]})
    world.add("r1", each("load", ITEMS, "split"))
    assert world.states("load", "load.0", "load.1") == ["WAITING", "RUNNING", "RUNNING"]
    kept = RunOptions(kept={"split": "r0/split"}, kept_outputs={"split": b'{"items":[1,2]}'})
    world.core.handle(RunSubmitted("r2", "test", (each("more", ITEMS, "split"),), options=kept), world.now)
    assert world.states("more", "more.0", "more.1") == ["WAITING", "RUNNING", "RUNNING"]


@pytest.mark.parametrize("depth", [102, 500, *range(900, 1000, 3)])
def test_a_list_from_a_text_is_not_too_deep_for_whoever_reads_its_elements(world: World, depth: int) -> None:
    load = each("load", "params.items", flow={"templates": True}, args=("${item}",))
    options = RunOptions(params={"items": "[" * depth + "]" * depth})
    world.core.handle(RunSubmitted("r1", "test", (load,), options=options), world.now)
    info = world.core.job_info("load")
    assert info.state == "DEAD" and ("deep in one another" in info.reason or "a list is wanted" in info.reason)
