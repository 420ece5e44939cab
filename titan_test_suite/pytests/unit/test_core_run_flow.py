"""What a run does about failures as a whole: handlers for its end, and fail_fast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from titan_core.scheduling.core.events import AddRequested, CloseRequested, RunSubmitted
from titan_sdk.errors import SubmissionRefused
from titan_sdk.messages import FlowSpec, Given, Handler, JobSpec, RunOptions, TriggerRule
from titan_test_suite.pytests.core_world import World, job, service


@pytest.fixture
def world() -> World:
    world = World()
    world.register("w1", slots=16)
    return world


def handler(job_id: str, kind: Handler, **flow: Any) -> JobSpec:
    return job(job_id, flow=FlowSpec(handler=kind, **flow))


def submit(world: World, *jobs: JobSpec, **options: Any) -> str:
    return str(world.do(RunSubmitted("r1", "test", jobs, options=RunOptions(**options))).run_id)


HANDLERS = (handler("alarm", "on_failure"), handler("tidy", "finally"))


def again(world: World, *running: str) -> None:
    """The master is killed and started again; the worker still runs these."""
    world.restart()
    world.register("w1", slots=16, holding=tuple(map(world.lease, running)))


def test_when_all_went_well_only_what_is_for_any_end_runs(world: World) -> None:
    submit(world, job("a"), *HANDLERS, job("b", "a"))
    assert world.core.explain("tidy").summary == "It is for the end of its run (finally), which has not come."
    assert world.core.job_info("alarm").reason == "waits for the end of its run"
    world.end("a")
    again(world)
    assert world.states("alarm", "tidy") == ["WAITING", "WAITING"]
    world.end("b")
    assert world.states("alarm", "tidy") == ["SKIPPED", "RUNNING"]
    assert world.core.job_info("alarm").reason == "nothing has failed"
    assert not world.core.run_info("a").finished
    world.end("tidy")
    assert world.core.run_info("a").finished


def test_after_a_failure_the_handlers_run_one_kind_after_the_other_and_know_of_it(world: World) -> None:
    submit(world, job("a", retries=0), job("below", "a"), job("b"), *HANDLERS)
    world.end("a", "failed", exit_code=3)
    assert world.states("below", "alarm", "tidy") == ["DEAD", "WAITING", "WAITING"]
    again(world, "b")
    world.end("b")
    given = Given(failed=("a",), failure="a: exit code 3")
    (alarm,) = world.dispatched()
    assert (alarm.spec.id, alarm.spec.flow and alarm.spec.flow.given) == ("alarm", given)
    again(world, "alarm")
    assert world.state("tidy") == "WAITING"
    world.end("alarm", "failed")
    world.pass_time(1)
    world.end("alarm")
    (tidy,) = world.dispatched()
    assert (tidy.spec.id, tidy.spec.flow and tidy.spec.flow.given) == ("tidy", given)


def test_a_cancelled_run_is_tidied_up_and_cancelled_again_it_is_not(world: World) -> None:
    run = submit(world, job("a"), job("b", "a"), *HANDLERS)
    assert world.cancel(run) == [f"{run}/a", f"{run}/b", f"{run}/alarm"]
    world.end("a", "cancelled")
    assert world.states("b", "alarm", "tidy") == ["CANCELLED", "CANCELLED", "RUNNING"]
    assert world.cancel(run) == [f"{run}/tidy"]


def test_the_end_of_an_open_run_comes_when_it_is_closed(world: World) -> None:
    submit(world, job("a"), handler("tidy", "finally"), open=True)
    world.end("a")
    assert world.state("tidy") == "WAITING"
    world.do(AddRequested("r1", (job("b"), handler("last", "finally"))))
    with pytest.raises(SubmissionRefused, match="'last' is for the end of the run"):
        world.do(AddRequested("r1", (job("c", "last"),)))
    world.do(CloseRequested("r1"))
    assert world.states("tidy", "last") == ["WAITING", "WAITING"]
    world.end("b")
    assert world.states("tidy", "last") == ["RUNNING", "RUNNING"]


def test_an_open_run_that_lies_idle_is_closed_and_tidied_up(world: World) -> None:
    submit(world, job("a"), handler("tidy", "finally"), open=True, idle_s=5.0)
    world.end("a")
    again(world)
    world.pass_time(4)
    assert world.state("tidy") == "WAITING"
    world.pass_time(2)
    assert world.state("tidy") == "RUNNING"


def test_a_ready_service_does_not_keep_a_run_from_its_end(world: World) -> None:
    submit(world, service("db"), job("a", "db"), handler("tidy", "finally"))
    world.ready("db")
    world.end("a")
    assert world.states("db", "tidy") == ["RUNNING", "RUNNING"]


def test_conditions_hold_for_handlers_too(world: World) -> None:
    submit(world, job("a"), handler("tidy", "finally", when="params.keep != 'yes'"), params={"keep": "yes"})
    world.end("a")
    assert world.state("tidy") == "SKIPPED"


@pytest.mark.parametrize("trigger", ["one_failed", "all_done", "always"])
def test_fail_fast_ends_everything_but_what_is_for_failures(world: World, trigger: TriggerRule) -> None:
    submit(
        world,
        job("a", retries=0),
        job("running"),
        job("waiting", "running"),
        job("late", delay_ms=60_000),
        job("care", "a", "running", flow=FlowSpec(trigger=trigger)),
        *HANDLERS,
        fail_fast=True,
    )
    world.end("a", "failed")
    assert [each.lease.job for each in world.ends_asked()] == ["r1/running"]
    assert world.states("waiting", "late") == ["CANCELLED", "CANCELLED"]
    assert world.core.job_info("waiting").reason == "fail_fast: a ended DEAD"
    again(world, *[name for name in ("running", "care") if world.state(name) == "RUNNING"])
    world.end("running", "cancelled")
    assert world.states("running", "care") == ["CANCELLED", "RUNNING"]
    world.end("care")
    assert world.states("alarm", "tidy") == ["RUNNING", "WAITING"]


def test_without_it_independent_jobs_go_on(world: World) -> None:
    submit(world, job("a", retries=0), job("b"), job("c", "b"))
    world.end("a", "failed")
    world.end("b")
    assert world.state("c") == "RUNNING"


@pytest.mark.parametrize(
    ("jobs", "why"),
    [
        ([job("a"), handler("tidy", "finally"), job("b", "tidy")], "'tidy' is for the end of the run"),
        ([job("a"), job("tidy", "a", flow=FlowSpec(handler="finally"))], "waits for no other jobs"),
        ([job("a"), service("tidy", flow=FlowSpec(handler="finally"))], "ends by itself, and this is of type service"),
        ([handler("tidy", "finally")], "only jobs for the end of the run"),
    ],
)
def test_mistakes(world: World, jobs: Sequence[JobSpec], why: str) -> None:
    with pytest.raises(SubmissionRefused, match=why):
        submit(world, *jobs)
