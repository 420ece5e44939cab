"""Human gates in the core: a job waits for a person, once, without a slot, and goes on or ends as was said."""

from __future__ import annotations

import pytest

from titan_sdk.errors import Conflict, NotFound
from titan_sdk.messages import ApproveSpec, FlowSpec, JobSpec, OnTimeout
from titan_test_suite.pytests.core_world import World, job


def gated(job_id: str, *parents: str, timeout_s: float | None = None, on_timeout: OnTimeout = "reject") -> JobSpec:
    asked = ApproveSpec(message="Ship it?", timeout_s=timeout_s, on_timeout=on_timeout)
    return job(job_id, *parents, flow=FlowSpec(approve=asked))


@pytest.fixture
def world() -> World:
    world = World()
    world.register("w1", slots=1)
    return world


def kinds(world: World) -> list[str]:
    return [row.kind for row in world.journal.events if row.kind.startswith("approval")]


def test_it_is_asked_once_its_parents_are_done_and_holds_no_slot(world: World) -> None:
    world.submit(job("build"), gated("ship", "build"), job("tell", "ship"))
    assert world.states("build", "ship", "tell") == ["RUNNING", "WAITING", "WAITING"]
    assert world.core.approvals("", 9).total == 0
    world.end("build")
    assert world.states("ship", "tell") == ["HELD", "WAITING"]
    (asked,) = world.core.approvals("", 9).approvals
    assert (asked.key, asked.message, asked.decision) == ("run1/ship", "Ship it?", "")
    world.submit(job("other"))
    assert world.state("other") == "RUNNING"
    world.end("other")
    row = world.decide("ship", True, "looks good", by="ann")
    assert (row.decision, row.by, row.comment, row.decided_at) == ("approved", "ann", "looks good", world.now.wall)
    assert world.state("ship") == "RUNNING" and kinds(world) == ["approval-asked", "approval-given"]
    world.end("ship")
    assert world.state("tell") == "RUNNING"


def test_a_rejection_is_the_end_and_says_why(world: World) -> None:
    world.submit(gated("ship"), job("tell", "ship"))
    world.decide("ship", False, "not on a Friday", by="ann")
    info = world.core.job_info("ship")
    assert (info.state, info.reason, info.attempt) == ("DEAD", "rejected by ann: not on a Friday", 0)
    assert world.state("tell") == "DEAD" and "not on a Friday" in world.core.job_info("tell").reason
    assert info.approvals[0].decision == "rejected" and kinds(world)[-1] == "approval-refused"


def test_the_second_decision_is_refused_and_a_repeated_request_is_not(world: World) -> None:
    world.submit(gated("ship"), job("plain"))
    first = world.decide("ship", True, "fine", by="ann", request_id="r")
    assert world.decide("ship", True, "fine", by="ann", request_id="r") == first
    with pytest.raises(Conflict, match=r"run1/ship was approved by ann already: fine"):
        world.decide("ship", False, by="bob", request_id="s")
    with pytest.raises(Conflict, match="run1/plain needs no approval"):
        world.decide("plain", True)
    with pytest.raises(NotFound):
        world.decide("nobody", True)


def test_nobody_decides_before_it_is_asked(world: World) -> None:
    world.submit(job("build"), gated("ship", "build"))
    with pytest.raises(Conflict, match="is WAITING, and not asked about"):
        world.decide("ship", True)


@pytest.mark.parametrize(("on_timeout", "state"), [("reject", "DEAD"), ("approve", "RUNNING")])
def test_the_clock_decides_when_nobody_does(world: World, on_timeout: OnTimeout, state: str) -> None:
    world.submit(gated("ship", timeout_s=60, on_timeout=on_timeout))
    world.pass_time(59)
    assert world.state("ship") == "HELD"
    world.pass_time(1)
    assert world.state("ship") == state and kinds(world) == ["approval-asked", "approval-expired"]
    with pytest.raises(Conflict, match="by timeout already"):
        world.decide("ship", True)


def test_a_night_and_a_restart_are_nothing_to_it(world: World) -> None:
    world.submit(gated("ship", timeout_s=8 * 3600), gated("never"))
    world.pass_time(7 * 3600)
    world.restart(wall_jump_ms=-3_600_000)  # a clock that was set back makes no time longer than it was
    world.register("w1", slots=1)
    assert world.states("ship", "never") == ["HELD", "HELD"] and world.core.approvals("", 9).total == 2
    world.pass_time(2 * 3600)
    assert world.states("ship", "never") == ["DEAD", "HELD"]
    world.restart()
    world.register("w1", slots=1)
    assert "by timeout" in world.core.job_info("ship").reason
    world.decide("never", True)
    assert world.state("never") == "RUNNING"


def test_the_delay_begins_when_it_is_approved(world: World) -> None:
    world.submit(JobSpec(id="ship", file="s.py", delay_ms=1000, flow=FlowSpec(approve=ApproveSpec(message="?"))))
    world.pass_time(5)
    world.decide("ship", True)
    assert world.state("ship") == "DELAYED"
    world.pass_time(1)
    assert world.state("ship") == "RUNNING"


def test_cancelling_withdraws_the_question(world: World) -> None:
    run_id = world.submit(gated("ship"))
    world.cancel(run_id)
    assert world.state("ship") == "CANCELLED" and world.core.approvals("", 9).total == 0
    assert world.core.job_info("ship").approvals[0].decision == "withdrawn"
    with pytest.raises(Conflict, match="withdrawn"):
        world.decide("ship", True)


def test_a_retry_is_not_asked_about_again(world: World) -> None:
    world.submit(gated("ship"))
    world.decide("ship", True)
    world.end("ship", "failed")
    world.pass_time(1)
    assert world.state("ship") == "RUNNING" and kinds(world) == ["approval-asked", "approval-given"]


def test_explanations_name_the_question(world: World) -> None:
    world.submit(gated("ship"))
    assert "Ship it?" in world.core.explain("ship").summary and "Ship it?" in world.core.job_info("ship").reason


def test_answered_questions_do_not_stay_until_they_would_have_expired(world: World) -> None:
    for number in range(200):
        world.submit(gated(f"g{number}", timeout_s=7 * 24 * 3600))
        world.decide(f"g{number}", False)
    world.submit(gated("last", timeout_s=60, on_timeout="approve"))
    assert len(world.core._approvals._deadlines) < 100
    world.pass_time(60)
    assert world.state("last") == "RUNNING"
