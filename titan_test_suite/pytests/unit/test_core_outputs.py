"""Outputs in the core: counted once, kept over restarts, and told to the children."""

from __future__ import annotations

import json

from titan_core.scheduling.core.scheduler_core import CoreLimits
from titan_sdk.job_outputs import MAX_RUN_OUTPUT_BYTES
from titan_sdk.messages import FlowSpec, Given
from titan_test_suite.pytests.core_world import World, job


def given(world: World, name: str) -> Given | None:
    found = {command.spec.id: command.spec for command in world.dispatched()}
    flow = found[name].flow
    return flow.given if flow else None


def told(world: World, name: str) -> dict[str, object]:
    found = given(world, name)
    return json.loads(found.inputs) if found is not None and found.inputs else {}


def test_children_are_told_what_their_parents_left_and_nobody_else_is() -> None:
    world = World()
    world.register("w1")
    world.submit(job("a"), job("b"), job("other"), job("child", "a", "b"), job("grandchild", "child"))
    world.end("a", outputs={"n": 1, "items": ["x"]})
    world.end("other", outputs={"n": 2})
    world.end("b")
    assert told(world, "child") == {"a": {"n": 1, "items": ["x"]}}
    world.end("child")
    assert given(world, "grandchild") is None
    assert json.loads(world.core.job_info("a").outputs) == {"n": 1, "items": ["x"]}
    assert world.core.job_info("b").outputs == ""


def test_only_the_attempt_that_completed_counts_and_a_killed_master_forgets_nothing() -> None:
    world = World()
    world.register("w1")
    world.submit(job("a"), job("child", "a"))
    world.end("a", "failed", outputs={"n": 1})
    world.pass_time(2)
    world.end("a", outputs={"n": 2})
    world.restart()
    world.register("w1")  # the dispatch of the child never arrived
    assert told(world, "child") == {"a": {"n": 2}}
    world.end("child", "failed")
    world.pass_time(2)
    assert told(world, "child") == {"a": {"n": 2}}, "a retry is told again"


def test_a_run_has_room_for_so_much_and_no_more() -> None:
    world = World()
    world.register("w1", slots=40)
    jobs = [job(f"j{number}", retries=0) for number in range(20)]
    world.submit(*jobs)
    value = "x" * (MAX_RUN_OUTPUT_BYTES // 16 - 100)
    for each in jobs:
        world.end(each.id, outputs={"v": value})
    ends = [world.core.job_info(each.id) for each in jobs]
    assert [info.state for info in ends] == ["COMPLETED"] * 16 + ["DEAD"] * 4
    assert "over the limit of 4194304" in ends[-1].reason


def test_finished_runs_with_large_outputs_leave_memory() -> None:
    world = World(CoreLimits(output_bytes_in_memory=1000))
    world.register("w1")
    for number in range(3):
        world.submit(job(f"j{number}"))
        world.end(f"j{number}", outputs={"v": "x" * 600})
    assert [info.id for info in world.core.list_jobs().jobs] == ["j2"]


def test_a_job_that_runs_after_failures_knows_of_which() -> None:
    world = World()
    world.register("w1")
    world.submit(
        job("a", retries=0),
        job("b"),
        job("c", retries=0),
        job("clean", "a", "b", "c", flow=FlowSpec(trigger="all_done")),
    )
    world.end("a", "failed", exit_code=3)
    world.end("b", outputs={"n": 1})
    world.end("c", "failed", reason="no luck")
    found = given(world, "clean")
    assert found == Given(inputs=b'{"b":{"n": 1}}', failed=("a", "c"), failure="a: exit code 3; c: no luck")
