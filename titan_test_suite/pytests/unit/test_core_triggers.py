"""Trigger rules: what becomes of a job when its parents have ended one way or another."""

from __future__ import annotations

import pytest

from titan_core.scheduling.core.events import RunSubmitted
from titan_sdk.errors import SubmissionRefused
from titan_sdk.messages import FlowSpec, JobSpec, RunOptions, TriggerRule
from titan_test_suite.pytests.core_world import World, job, service

OK, FAILED, SKIPPED = "completed", "failed", "skipped"


def ruled(job_id: str, trigger: TriggerRule, *parents: str, **fields: object) -> JobSpec:
    return job(job_id, *parents, flow=FlowSpec(trigger=trigger), **fields)


@pytest.fixture
def world() -> World:
    world = World()
    world.register("w1", slots=16)
    return world


@pytest.mark.parametrize(
    ("trigger", "ends", "state"),
    [
        ("all_success", (OK, OK), "RUNNING"),
        ("all_success", (OK, FAILED), "DEAD"),
        ("all_success", (OK, SKIPPED), "SKIPPED"),
        ("all_done", (OK, FAILED), "RUNNING"),
        ("all_done", (SKIPPED, FAILED), "RUNNING"),
        ("always", (FAILED, FAILED), "RUNNING"),
        ("one_success", (FAILED, OK), "RUNNING"),
        ("one_success", (FAILED, SKIPPED), "DEAD"),
        ("one_success", (SKIPPED, SKIPPED), "SKIPPED"),
        ("one_failed", (OK, FAILED), "RUNNING"),
        ("one_failed", (OK, SKIPPED), "SKIPPED"),
        ("none_failed", (OK, SKIPPED), "RUNNING"),
        ("none_failed", (SKIPPED, SKIPPED), "RUNNING"),
        ("none_failed", (SKIPPED, FAILED), "DEAD"),
    ],
)
@pytest.mark.parametrize("restarted", [False, True])
def test_what_the_ends_of_two_parents_make_of_a_job(
    world: World, trigger: TriggerRule, ends: tuple[str, str], state: str, restarted: bool
) -> None:
    """A parent is skipped by waiting for the failure of one that completes. The master may be killed in between."""
    parents = [
        ruled(f"p{number}", "one_failed", "fine") if end is SKIPPED else job(f"p{number}", retries=0)
        for number, end in enumerate(ends)
    ]
    world.submit(job("fine"), *parents, ruled("child", trigger, "p0", "p1"))
    for number, end in enumerate(ends):
        if restarted:
            world.restart()
            world.register("w1", slots=16, holding=tuple(map(world.lease, running(world))))
        if end is SKIPPED:
            if world.state("fine") == "RUNNING":
                world.end("fine")
        else:
            world.end(f"p{number}", "failed" if end is FAILED else "completed")
    assert world.state("child") == state


def running(world: World) -> list[str]:
    return [info.key for info in world.core.list_jobs(("RUNNING",)).jobs]


@pytest.mark.parametrize(("trigger", "end"), [("one_success", "completed"), ("one_failed", "failed")])
def test_one_parent_is_enough(world: World, trigger: TriggerRule, end: str) -> None:
    world.submit(job("a", retries=0), job("b", retries=0), ruled("child", trigger, "a", "b"))
    world.end("b", "failed" if end == "failed" else "completed")
    assert world.states("a", "child") == ["RUNNING", "RUNNING"]
    world.end("a", "failed")
    assert world.state("child") == "RUNNING"


def test_reasons_name_what_it_was(world: World) -> None:
    world.submit(
        job("a", retries=0),
        job("next", "a"),
        job("last", "next"),
        ruled("alarm", "one_failed", "a"),
        job("after-alarm", "alarm"),
        ruled("cleanup", "all_done", "last"),
    )
    world.end("a", "failed", exit_code=3)
    reasons = {name: world.core.job_info(name).reason for name in ("next", "last")}
    assert reasons == dict.fromkeys(reasons, "not started: a ended DEAD (exit code 3)")
    assert world.states("alarm", "cleanup") == ["RUNNING", "RUNNING"]
    world.submit(job("good"), ruled("unneeded", "one_failed", "good"), job("below", "unneeded"))
    world.end("good")
    assert world.states("unneeded", "below") == ["SKIPPED", "SKIPPED"]
    assert world.core.job_info("unneeded").reason == "no parent failed"
    assert world.core.job_info("below").reason == "unneeded ended SKIPPED (no parent failed)"
    assert world.core.run_info("unneeded").finished
    assert world.core.explain("below").summary.startswith("It has ended SKIPPED: unneeded")


def test_why_a_job_with_a_rule_waits(world: World) -> None:
    world.submit(job("a"), job("b"), ruled("child", "all_done", "a", "b"))
    world.end("a")
    assert world.core.explain("child").summary == "It waits for b (RUNNING). Its trigger rule is all_done."


def test_a_ready_service_counts_as_settled_once(world: World) -> None:
    world.submit(
        service("db"),
        job("a", retries=0),
        ruled("report", "all_done", "db", "a"),
        ruled("alarm", "one_failed", "db", "a"),
    )
    world.ready("db")
    assert world.state("report") == "WAITING"
    world.end("a")
    assert world.states("report", "alarm") == ["RUNNING", "SKIPPED"]


def test_the_end_of_a_service_that_was_ready_is_news_for_who_waits_for_a_failure(world: World) -> None:
    world.submit(
        service("db"), job("a"), ruled("alarm", "one_failed", "db", "a"), ruled("report", "all_done", "db", "a")
    )
    world.ready("db")
    world.cancel("db")
    world.end("db", "cancelled")
    assert world.states("db", "alarm", "report") == ["CANCELLED", "RUNNING", "WAITING"]
    world.end("a")
    assert world.state("report") == "RUNNING"


def test_cancelling_a_run_leaves_what_runs_always_and_doing_it_again_does_not(world: World) -> None:
    run = world.submit(job("a"), job("b", "a"), ruled("cleanup", "always", "b"), ruled("report", "all_done", "b"))
    assert world.cancel(run) == [f"{run}/a", f"{run}/b", f"{run}/report"]
    assert world.states("b", "report", "cleanup") == ["CANCELLED", "CANCELLED", "RUNNING"]
    run = world.submit(job("c"), job("d"), ruled("tidy", "always", "c", "d"))
    world.cancel(run)
    assert world.state("tidy") == "WAITING"
    assert world.cancel(run) == [f"{run}/c", f"{run}/d", f"{run}/tidy"]
    assert world.state("tidy") == "CANCELLED"


def test_a_rule_without_parents_is_refused(world: World) -> None:
    with pytest.raises(SubmissionRefused, match="trigger all_done is about the parents of a job, and this has none"):
        world.submit(ruled("alone", "all_done"))


def test_a_classic_worker_is_not_asked_for_it(world: World) -> None:
    world.silence("w1")
    world.register("old", classic=True)
    world.submit(job("a"), ruled("child", "all_done", "a"))
    world.end("a")
    assert world.state("child") == "PENDING"


def test_a_kept_success_is_enough_whatever_the_other_parents_come_to(world: World) -> None:
    skipped = job("skipped", flow=FlowSpec(when="false"))
    options = RunOptions(kept={"k": "r0/k"}, open=True)
    world.do(RunSubmitted("r1", "test", (skipped, ruled("next", "one_success", "k", "skipped")), options=options))
    world.add("r1", ruled("later", "one_success", "skipped", "k"))
    assert world.states("skipped", "next", "later") == ["SKIPPED", "RUNNING", "RUNNING"]
