"""Repairs in the core: what failed for good is handed to another job, changed as that proposes, and tried again."""

from __future__ import annotations

from typing import Any

import pytest

from titan_core.scheduling.core.events import RunSubmitted
from titan_sdk.errors import SubmissionRefused
from titan_sdk.messages import ApproveSpec, Budget, FlowSpec, JobSpec, Mends, RepairSpec, RunOptions
from titan_test_suite.pytests.core_world import World, job

OLD, NEW = "a" * 64, "b" * 64
FIX = {"titan_repair": {"sha256": NEW, "size": 7, "note": "a typo"}}


def breaking(job_id: str = "a", *parents: str, **fields: Any) -> JobSpec:
    repair = RepairSpec(file="fix.py", sha256="c" * 64, **fields)
    return job(job_id, *parents, sha256=OLD, size=5, args=("in.csv",), retries=1, flow=FlowSpec(repair=repair))


@pytest.fixture
def world() -> World:
    world = World()
    world.register("w1", slots=2)
    return world


def fail_for_good(world: World, name: str = "a") -> None:
    world.end(name, "failed", 3)
    world.pass_time(1)
    world.end(name, "failed", 3)


def test_it_is_repaired_after_its_retries_and_then_has_all_of_them_again(world: World) -> None:
    world.submit(breaking(), job("child", "a"))
    world.end("a", "failed", 3)
    assert world.state("a") == "DELAYED"  # an ordinary retry comes first
    world.pass_time(1)
    world.end("a", "failed", 3)
    assert world.states("a", "child", "a.repair-1") == ["HELD", "WAITING", "RUNNING"]
    mends = world.journal.specs["run1/a.repair-1"].flow.mends  # type: ignore[union-attr]
    assert mends is not None and (mends.attempt, mends.exit_code, mends.args) == (2, 3, ("in.csv",))
    world.end("a.repair-1", outputs=FIX)
    assert world.state("a") == "RUNNING"
    dispatched = world.dispatched()[0].spec
    assert (dispatched.sha256, dispatched.size, dispatched.args) == (NEW, 7, ("in.csv",))
    world.end("a", "failed", 3)
    assert world.state("a") == "DELAYED"
    world.pass_time(1)
    world.end("a")
    assert world.states("a", "child") == ["COMPLETED", "RUNNING"]
    info = world.core.job_info("a")
    assert [each.sha256 for each in info.executions] == [OLD, OLD, NEW, NEW]
    assert [(each.number, each.state, each.attempt) for each in info.repairs] == [(1, "applied", 2)]
    assert [row.kind for row in world.journal.events] == ["worker-joined", "repair-begun", "repair-applied"]


def test_arguments_and_variables_may_change_alone(world: World) -> None:
    world.submit(breaking())
    fail_for_good(world)
    world.end("a.repair-1", outputs={"titan_repair": {"args": ["-x", "out.csv"], "env": {"SAFE": "1"}}})
    spec = world.dispatched()[0].spec
    assert (spec.sha256, spec.args, spec.env) == (OLD, ("-x", "out.csv"), {"SAFE": "1"})


@pytest.mark.parametrize(
    ("outcome", "outputs", "why"),
    [
        ("completed", None, "it proposed nothing"),
        ("completed", {"titan_repair": {"note": "no idea"}}, "it proposed nothing"),
        ("completed", {"titan_repair": {"args": 5}}, "cannot be used"),
        ("completed", {"titan_repair": {"sha256": "../etc"}}, "no digest"),
        ("completed", {"titan_repair": {"sha256": NEW, "size": 10**30}}, "out of range"),
        ("completed", {"titan_repair": {"args": ["a\0b"]}}, "holds a NUL"),
        ("completed", {"titan_repair": {"env": {"=": "x"}}}, "cannot name a variable"),
        ("failed", None, "a.repair-1 ended DEAD"),
    ],
)
def test_a_repair_that_comes_to_nothing_is_the_end(world: World, outcome: Any, outputs: Any, why: str) -> None:
    world.submit(breaking(max=2), job("child", "a"))
    fail_for_good(world)
    world.end("a.repair-1", outcome, outputs=outputs)
    info = world.core.job_info("a")
    assert info.state == "DEAD" and "exit code 3" in info.reason and why in info.reason
    assert world.state("child") == "DEAD" and info.repairs[0].state == "failed"


def test_no_more_repairs_than_asked_for(world: World) -> None:
    world.submit(breaking(max=2))
    for number in (1, 2):
        fail_for_good(world)
        assert world.state("a") == "HELD"
        world.end(f"a.repair-{number}", outputs=FIX)
    fail_for_good(world)
    assert world.state("a") == "DEAD" and [each.state for each in world.core.job_info("a").repairs] == ["applied"] * 2


@pytest.mark.parametrize("approve", [True, False])
def test_a_person_may_decide_on_the_change(world: World, approve: bool) -> None:
    world.submit(breaking(approve=ApproveSpec(message="Apply?")))
    fail_for_good(world)
    world.end("a.repair-1", outputs=FIX)
    assert world.state("a") == "HELD" and "Apply?" in world.core.job_info("a").reason
    world.restart()
    world.register("w1", slots=2)
    world.decide("a", approve, "hm", by="ann")
    info = world.core.job_info("a")
    if approve:
        assert info.state == "RUNNING" and world.dispatched()[0].spec.sha256 == NEW
    else:
        assert info.state == "DEAD" and "rejected by ann: hm" in info.reason and info.repairs[0].state == "rejected"


def test_a_restart_at_every_step_changes_nothing(world: World) -> None:
    def again() -> None:
        leases = [world.lease(row.key) for row in world.journal.jobs.values() if row.state.value == "RUNNING"]
        world.restart()
        world.register("w1", slots=2, holding=tuple(leases))

    world.submit(breaking())
    fail_for_good(world)
    again()
    assert world.states("a", "a.repair-1") == ["HELD", "RUNNING"]
    world.end("a.repair-1", outputs=FIX)
    again()
    assert world.journal.specs["run1/a"].sha256 == NEW
    world.end("a")
    again()
    info = world.core.job_info("a")
    assert info.state == "COMPLETED" and [each.sha256 for each in info.executions] == [OLD, OLD, NEW]


def test_cancelling_ends_the_repair_too(world: World) -> None:
    world.submit(breaking())
    fail_for_good(world)
    world.cancel("a")
    assert world.state("a") == "CANCELLED" and [each.lease.job for each in world.ends_asked()] == ["run1/a.repair-1"]
    world.end("a.repair-1", "cancelled")
    assert world.states("a", "a.repair-1") == ["CANCELLED", "CANCELLED"]
    assert world.core.job_info("a").repairs[0].state == "withdrawn"


def test_a_cancelled_repair_is_a_failed_one(world: World) -> None:
    world.submit(breaking())
    fail_for_good(world)
    world.cancel("a.repair-1")
    world.end("a.repair-1", "cancelled")
    assert world.state("a") == "DEAD" and "CANCELLED" in world.core.job_info("a").reason


def test_what_was_submitted_is_shown_without_the_repairs(world: World) -> None:
    run_id = world.submit(breaking())
    fail_for_good(world)
    assert [spec.id for spec in world.core.specs(run_id).jobs] == ["a"]


def test_only_the_master_makes_repair_jobs(world: World) -> None:
    mends = Mends(key="r/a", number=1, attempt=1, exit_code=1, reason="", file="a.py", sha256=OLD, size=1)
    with pytest.raises(SubmissionRefused, match="mends is for the master to say"):
        world.submit(job("x", flow=FlowSpec(mends=mends)))


def test_no_budget_counts_what_repairs(world: World) -> None:
    options = RunOptions(budget=Budget(max_jobs=1))
    world.do(RunSubmitted("run1", "test", (breaking(),), options=options))
    fail_for_good(world)
    world.end("a.repair-1", outputs=FIX)
    world.end("a")
    assert world.states("a.repair-1", "a") == ["COMPLETED", "COMPLETED"]
