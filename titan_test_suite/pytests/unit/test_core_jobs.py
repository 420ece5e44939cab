"""The core: what becomes of jobs. Submissions, order, delays, retries, dependents, ends asked for."""

from __future__ import annotations

import pytest

from titan_core.model.job import Job
from titan_core.model.rows import RunRow
from titan_core.model.run import Run
from titan_core.model.states import FINAL, INITIAL, TRANSITIONS, Cause, IllegalMove, JobState
from titan_core.scheduling.core.events import RunSubmitted, TimePassed
from titan_core.scheduling.core.scheduler_core import CoreLimits
from titan_sdk.errors import Conflict, NotFound, SubmissionRefused, Unavailable
from titan_sdk.messages import ServiceSpec
from titan_test_suite.pytests.core_world import World, job, service


@pytest.fixture
def world() -> World:
    return World()


# --- the table ---


def test_every_state_is_reached_and_every_state_but_the_final_is_left():
    origins = {origin for origin, _ in TRANSITIONS}
    targets = set(TRANSITIONS.values()) | INITIAL
    assert origins == set(JobState) - FINAL
    assert targets == set(JobState)


def test_every_cause_moves_something():
    assert {cause for _, cause in TRANSITIONS} == set(Cause)


def test_an_illegal_move_tells_the_story():
    run = Run(RunRow("r", 1, "", 0, "", "", ""), version=0)
    done = Job(job("a"), run, 1, JobState.COMPLETED)
    with pytest.raises(IllegalMove, match=r"'leased to a worker' does not move a job that is COMPLETED\. r/a \(seq"):
        done.move(Cause.DISPATCHED)
    assert done.state is JobState.COMPLETED


# --- submissions ---


def test_a_job_runs_to_its_end(world: World):
    world.register("w")
    run = world.submit(job("a"))
    assert world.dispatched_ids() == ["a"]
    world.end("a")
    info = world.core.job_info("a")
    assert (info.key, info.state, info.exit_code, info.worker) == (f"{run}/a", "COMPLETED", 0, "10.0.0.1:8080")
    assert [(execution.attempt, execution.outcome) for execution in info.executions] == [(1, "completed")]
    assert world.core.run_info(run).finished


def test_problems_refuse_the_whole_run(world: World):
    world.register("w")
    with pytest.raises(SubmissionRefused) as refusal:
        world.submit(job("a"), job("b", "nobody"))
    assert any("nobody" in str(problem) for problem in refusal.value.problems)
    assert world.core.list_jobs().total == 0


def test_a_run_without_jobs_is_refused(world: World):
    with pytest.raises(SubmissionRefused):
        world.submit()


def test_a_cycle_is_refused(world: World):
    with pytest.raises(SubmissionRefused):
        world.submit(job("a", "b"), job("b", "a"))


def test_an_active_id_is_refused_with_its_run(world: World):
    first = world.submit(job("a"), job("b", "a"))
    with pytest.raises(Conflict, match=f"job b is still WAITING in run {first}; end it with `cancel b`$"):
        world.submit(job("c"), job("b"))
    assert world.core.find_key("c") is None
    with pytest.raises(Conflict, match=f"job a is still PENDING in run {first}; end them with `cancel {first}`$"):
        world.submit(job("a"), job("b", "a"))


def test_an_id_may_recur_once_its_job_has_ended(world: World):
    world.register("w")
    first = world.submit(job("a"))
    world.end("a")
    second = world.submit(job("a"))
    assert world.core.find_key("a") == f"{second}/a"
    assert world.core.job_info(f"{first}/a").state == "COMPLETED"
    assert world.state("a") == "RUNNING"


def test_a_run_id_is_not_used_twice(world: World):
    world.submit(job("a"), run_id="r")
    with pytest.raises(Conflict):
        world.submit(job("b"), run_id="r")


def test_repeating_an_idempotency_key_answers_the_same_run(world: World):
    jobs = (job("a", env={"X": "1", "Y": "2"}), job("b", "a"))
    first = world.do(RunSubmitted("r1", "n", jobs, idempotency_key="k"))
    again = (job("a", env={"Y": "2", "X": "1"}), job("b", "a"))
    second = world.do(RunSubmitted("r2", "n", again, idempotency_key="k"))
    assert (second.run_id, second.jobs, second.repeated) == ("r1", first.jobs, True)
    assert not first.repeated
    assert world.core.list_jobs().total == 2


def test_an_idempotency_key_is_not_for_other_jobs(world: World):
    world.submit(job("a"), key="k")
    with pytest.raises(Conflict, match="'k' was used for other jobs"):
        world.submit(job("b"), key="k")


def test_more_unfinished_jobs_than_the_master_takes_are_refused():
    world = World(CoreLimits(open_jobs=3))
    world.submit(job("a"), job("b"))
    with pytest.raises(Unavailable):
        world.submit(job("c"), job("d"))
    world.submit(job("c"))
    world.cancel("a")
    world.submit(job("d"))


# --- order ---


def test_higher_priority_first_then_first_in_first_out(world: World):
    for job_id, priority in (("low1", 0), ("high1", 9), ("low2", 0), ("negative", -5), ("high2", 9)):
        world.submit(job(job_id, priority=priority))
    world.register("w", slots=1)
    order = []
    for _ in range(5):
        [started] = world.dispatched_ids()
        order.append(started)
        world.end(started)
    assert order == ["high1", "high2", "low1", "low2", "negative"]


def test_a_job_that_comes_back_keeps_its_place(world: World):
    world.register("w", slots=1)
    world.submit(job("first"))
    world.submit(job("second"))
    world.refuse("first")
    world.pass_time(2)
    assert world.states("first", "second") == ["RUNNING", "PENDING"]


# --- delays ---


def test_a_delay_counts_from_acceptance_without_parents(world: World):
    world.register("w")
    world.submit(job("a", delay_ms=1500))
    world.pass_time(1.4)
    assert world.state("a") == "DELAYED"
    world.pass_time(0.1)
    assert world.state("a") == "RUNNING"


def test_a_delay_counts_from_when_the_parents_are_done(world: World):
    world.register("w")
    world.submit(job("a"), job("b", "a", delay_ms=1500))
    world.pass_time(10)
    assert world.state("b") == "WAITING"
    world.end("a")
    assert world.core.job_info("b").due_at == world.now.wall + 1500
    world.pass_time(1.4)
    assert world.state("b") == "DELAYED"
    world.pass_time(0.1)
    assert world.state("b") == "RUNNING"


def test_the_alarm_is_brought_forward_by_a_shorter_delay(world: World):
    world.register("w")
    world.submit(job("long", delay_ms=60_000))
    world.submit(job("short", delay_ms=1_000))
    assert world.alarm == world.now.monotonic + 1
    world.pass_time(1)
    assert world.states("short", "long") == ["RUNNING", "DELAYED"]
    world.pass_time(59)
    assert world.state("long") == "RUNNING"


# --- retries ---


def test_three_retries_after_one_two_and_four_seconds_then_dead(world: World):
    world.register("w")
    world.submit(job("a"), job("child", "a"))
    for backoff in (1, 2, 4):
        world.end("a", "failed", 7)
        assert world.core.job_info("a").reason == "exit code 7"
        world.pass_time(backoff - 0.1)
        assert world.state("a") == "DELAYED"
        world.pass_time(0.1)
        assert world.state("a") == "RUNNING"
    world.end("a", "failed", 7)
    info = world.core.job_info("a")
    assert (info.state, info.reason, info.exit_code, info.attempt) == ("DEAD", "exit code 7; failed 4 times", 7, 4)
    assert [execution.outcome for execution in info.executions] == ["failed"] * 4
    child = world.core.job_info("child")
    assert (child.state, child.reason) == ("DEAD", "not started: a ended DEAD (exit code 7; failed 4 times)")


def test_the_backoff_has_a_ceiling():
    limits = CoreLimits()
    assert [limits.backoff(failures) for failures in (1, 2, 3, 4, 7, 5000)] == [1, 2, 4, 8, 60, 60]


def test_a_timeout_is_a_failure_and_retries_may_be_none(world: World):
    world.register("w")
    world.submit(job("a", retries=0))
    world.end("a", "timed_out", -9)
    info = world.core.job_info("a")
    assert (info.state, info.reason, info.exit_code) == ("DEAD", "timed out", -9)


def test_a_signal_is_named(world: World):
    world.register("w")
    world.submit(job("a", retries=0))
    world.end("a", "failed", -11)
    assert world.core.job_info("a").reason == "signal 11"


def test_a_refusal_and_a_job_handed_back_charge_nothing(world: World):
    world.register("w")
    world.submit(job("a", retries=0))
    world.refuse("a")
    world.pass_time(1)
    world.end("a", "handed_back", reason="draining")
    world.pass_time(1)
    info = world.core.job_info("a")
    assert (info.state, info.attempt, info.retries_left) == ("RUNNING", 3, 0)
    world.end("a")
    assert world.state("a") == "COMPLETED"


# --- dependents ---


def test_a_child_waits_for_all_its_parents(world: World):
    world.register("w")
    world.submit(job("a"), job("b"), job("c", "a", "b"), job("d", "c"))
    world.end("b")
    assert world.dispatched_ids() == []
    assert world.core.job_info("c").reason == "waits for 1 of its 2 parents"
    world.end("a")
    assert world.dispatched_ids() == ["c"]
    world.end("c")
    assert world.dispatched_ids() == ["d"]


def test_all_that_waits_for_a_dead_job_is_dead_however_deep():
    world = World()
    world.register("w")
    depth = 3_000  # far beyond Python's recursion limit
    chain = [job("j0", retries=0), *(job(f"j{number}", f"j{number - 1}") for number in range(1, depth))]
    world.submit(*chain, job("bystander"))
    world.end("j0", "failed")
    last = world.core.job_info(f"j{depth - 1}")
    assert (last.state, last.reason) == ("DEAD", "not started: j0 ended DEAD (exit code 1)")
    assert world.state("bystander") == "RUNNING"
    assert world.core.stats_json()["dead"] == depth


def test_a_service_that_is_ready_releases_its_dependents(world: World):
    world.register("w")
    world.submit(service("db", port=5432), job("a"), job("b", "db", "a"))
    world.ready("db")
    world.ready("db")
    assert world.state("b") == "WAITING"
    world.end("a")
    assert world.states("db", "b") == ["RUNNING", "RUNNING"]
    world.end("b")
    assert not world.core.run_info("b").finished
    assert world.stop("db") != []
    world.end("db", "cancelled", -15)
    assert world.core.run_info("b").finished


def test_a_service_that_breaks_down_is_waited_for_again(world: World):
    world.register("w")
    world.submit(service("db"), job("a"), job("b", "db", "a"))
    world.ready("db")
    world.end("db", "failed", 1)
    world.end("a")
    assert world.state("b") == "WAITING"
    world.pass_time(1)
    assert world.states("db", "b") == ["RUNNING", "WAITING"]
    world.ready("db")
    assert world.state("b") == "RUNNING"


def test_ready_means_nothing_for_a_job_that_is_no_service(world: World):
    world.register("w")
    world.submit(job("a"), job("b", "a"))
    world.ready("a")
    assert world.state("b") == "WAITING"


def test_a_service_that_is_done_when_it_ends_well(world: World):
    world.register("w")
    world.submit(service("db", service=ServiceSpec(restart="on-failure")), job("b", "db"))
    world.end("db", "failed", 1)
    assert world.state("db") == "DELAYED"
    world.pass_time(1)
    world.end("db", "completed", 0)
    assert world.states("db", "b") == ["COMPLETED", "RUNNING"]


# --- ends asked for ---


def test_cancelling_what_does_not_run_ends_it_at_once(world: World):
    world.register("w", slots=1)
    world.submit(job("running"))
    world.submit(job("queued"))
    world.submit(job("delayed", delay_ms=5000))
    run = world.submit(job("parent"), job("waiting", "parent"), job("below", "waiting"))
    for name in ("queued", "delayed", "waiting"):
        assert len(world.cancel(name)) == 1
        assert world.state(name) == "CANCELLED"
    assert world.core.job_info("below").reason == "not started: waiting ended CANCELLED (cancelled on request)"
    assert world.state("parent") == "PENDING"
    world.end("running")
    assert world.dispatched_ids() == ["parent"]
    world.pass_time(10)
    assert world.dispatched_ids() == []
    assert world.cancel("waiting") == []
    assert world.cancel(run) == [f"{run}/parent"]


def test_a_running_job_stays_so_until_its_worker_says_it_is_gone(world: World):
    world.register("w", slots=1)
    world.submit(job("a"), job("child", "a"))
    world.submit(job("next"))
    world.cancel("a")
    [end] = world.ends_asked()
    assert (end.worker_id, end.lease) == ("w", world.lease("a"))
    assert world.states("a", "child", "next") == ["RUNNING", "WAITING", "PENDING"]
    world.end("a", "cancelled", -15)
    assert world.states("a", "child", "next") == ["CANCELLED", "DEAD", "RUNNING"]
    assert world.core.job_info("a").reason == "cancelled on request"


def test_asking_again_sends_the_request_again(world: World):
    world.register("w")
    world.submit(job("a"))
    world.cancel("a")
    world.cancel("a")
    assert len(world.ends_asked()) == 1


@pytest.mark.parametrize("outcome", ["failed", "timed_out", "handed_back", "cancelled"])
def test_however_a_cancelled_job_ends_it_is_cancelled(world: World, outcome):
    world.register("w")
    world.submit(job("a"))
    world.cancel("a")
    world.end("a", outcome)
    assert world.state("a") == "CANCELLED"


def test_a_success_that_came_before_the_cancellation_could_is_a_success(world: World):
    world.register("w")
    world.submit(job("a"), job("child", "a"))
    world.cancel("a")
    world.end("a", "completed")
    assert world.states("a", "child") == ["COMPLETED", "RUNNING"]
    assert world.core.job_info("a").reason == "completed before it could be cancelled"


def test_a_lost_worker_ends_a_cancelled_job(world: World):
    world.register("w")
    world.submit(job("a"))
    world.cancel("a")
    world.silence("w")
    assert world.state("a") == "CANCELLED"


def test_an_end_nobody_here_asked_for_is_a_cancellation(world: World):
    world.register("w")
    world.submit(job("a"))
    world.end("a", "cancelled", reason="killed at the worker")
    info = world.core.job_info("a")
    assert (info.state, info.reason) == ("CANCELLED", "killed at the worker")


def test_cancelling_a_run_cancels_its_children_rather_than_burying_them(world: World):
    world.register("w", slots=1)
    run = world.submit(job("a"), job("b", "a"), job("c"), job("d", "c", delay_ms=10))
    assert world.cancel(run) == [f"{run}/{name}" for name in "abcd"]
    assert world.states("b", "c", "d") == ["CANCELLED"] * 3
    world.end("a", "cancelled")
    assert world.core.run_info(run).finished


def test_a_stopped_service_has_done_its_work(world: World):
    world.register("w")
    world.submit(service("db"), job("after", "db"))
    assert world.stop("db") != []
    world.end("db", "cancelled", -15)
    info = world.core.job_info("db")
    assert (info.state, info.reason) == ("COMPLETED", "stopped on request")
    assert world.state("after") == "RUNNING"


def test_stopping_a_job_or_a_service_that_does_not_run_cancels_it(world: World):
    world.register("w", slots=1)
    world.submit(job("a"))
    world.submit(service("db"))
    world.stop("a")
    world.stop("db")
    world.end("a", "cancelled")
    assert world.states("a", "db") == ["CANCELLED", "CANCELLED"]


def test_a_cancellation_is_not_taken_back_by_a_stop(world: World):
    world.register("w")
    world.submit(service("db"))
    world.cancel("db")
    world.stop("db")
    world.end("db", "cancelled")
    assert world.state("db") == "CANCELLED"


def test_nobody_of_that_name(world: World):
    for ask in (world.cancel, world.stop, world.core.job_info, world.core.run_info):
        with pytest.raises(NotFound):
            ask("nobody")


# --- memory ---


def test_finished_runs_leave_memory_whole_and_oldest_first():
    world = World(CoreLimits(finished_jobs_in_memory=4))
    world.register("w", slots=8)
    world.submit(job("still"), run_id="open")
    for number in range(4):
        world.submit(job(f"a{number}"), job(f"b{number}", f"a{number}"), run_id=f"r{number}")
        world.end(f"a{number}")
        world.end(f"b{number}")
    assert [world.core.find_key(f"b{number}") for number in range(4)] == [None, None, "r2/b2", "r3/b3"]
    assert world.core.find_key("still") == "open/still"
    assert world.core.list_jobs().total == 5


def test_a_finished_run_larger_than_the_bound_stays_until_the_next():
    world = World(CoreLimits(finished_jobs_in_memory=1))
    world.register("w")
    world.submit(job("a"), job("b"), run_id="big")
    world.end("a")
    world.end("b")
    assert world.core.run_info("big").finished
    world.submit(job("c"))
    world.end("c")
    assert world.core.find_key("a") is None


def test_finished_runs_leave_memory_when_they_are_old():
    world = World(CoreLimits(finished_ms_in_memory=60_000))
    world.register("w")
    world.submit(job("old"), run_id="r1")
    world.end("old")
    world.submit(job("open"), run_id="r2")
    world.pass_time(40)
    world.submit(job("new"), run_id="r3")
    world.end("new")
    assert world.core.find_key("old") == "r1/old"
    world.pass_time(40)
    world.do(TimePassed())
    assert world.core.find_key("old") is None
    assert (world.core.find_key("open"), world.core.find_key("new")) == ("r2/open", "r3/new")


def test_the_attempts_kept_of_a_job_are_bounded():
    world = World(CoreLimits(executions_per_job=3))
    world.register("w")
    world.submit(job("a", retries=9))
    for _ in range(5):
        world.end("a", "failed")
        world.pass_time(60)
    assert [execution.attempt for execution in world.core.job_info("a").executions] == [4, 5, 6]
