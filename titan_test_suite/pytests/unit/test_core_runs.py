"""Runs as wholes in the pure core: their options, trees of them, budgets, and runs that grow."""

from __future__ import annotations

from functools import partial

import pytest

from titan_core.scheduling.core.events import AddRequested, Event, Instant, RunSubmitted
from titan_core.scheduling.core.scheduler_core import CoreLimits, SchedulerCore
from titan_sdk.errors import BudgetExceeded, Conflict, NotFound, SubmissionRefused
from titan_sdk.messages import Budget, FlowSpec, RunOptions, ServiceSpec, TriggerRule
from titan_sdk.run_rules import MAX_DEPTH, option_problems
from titan_test_suite.pytests.core_world import World, job, service
from titan_test_suite.pytests.unit.test_core_scale import lines_of


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
        (RunOptions(kept={"a/b": "r/a"}), "'a/b' holds '/'"),
        (RunOptions(kept={"a": "r/a"}, kept_outputs={"a": b"[]"}), "what is kept of 'a': these outputs are no JSON"),
        (RunOptions(kept_outputs={"a": b"{}"}), "outputs of 'a' are kept, but not the job"),
    ],
)
def test_options_that_cannot_be(options: RunOptions, text: str):
    (problem,) = option_problems(options)
    assert text in problem
    assert not list(option_problems(RunOptions(open=True, idle_s=5, budget=Budget(max_depth=0))))


# --- trees ------------------------------------------------------------------------------------------------------------


def family(world: World) -> None:
    """run ``r``: a and other; a submitted ``c`` (b), b submitted ``g`` (d, e after d); other submitted ``o`` (p)."""
    world.register("w", slots=8)
    world.submit(job("a"), job("other"), run_id="r")
    world.submit(job("b"), parent="r/a", run_id="c")
    world.submit(job("d"), job("e", "d"), parent="c/b", run_id="g")
    world.submit(job("p"), parent="r/other", run_id="o")


def test_a_run_is_cancelled_with_all_that_it_started(world: World):
    family(world)
    assert sorted(world.cancel("r", children=True)) == ["c/b", "g/d", "g/e", "o/p", "r/a", "r/other"]
    assert world.states("e") == ["CANCELLED"]
    for name in ("a", "other", "b", "d", "p"):
        assert world.journal.jobs[world.lease(name).job].ending == "cancel"
        world.end(name, "cancelled")


def test_a_job_is_cancelled_with_what_it_started(world: World):
    family(world)
    world.end("b")
    assert sorted(world.cancel("r/a", children=True)) == ["g/d", "g/e", "r/a"]
    assert world.states("other", "p", "b") == ["RUNNING", "RUNNING", "COMPLETED"]
    assert world.cancel("p") == ["o/p"]
    assert world.states("other") == ["RUNNING"]


def test_without_being_asked_nothing_that_a_run_started_is_cancelled(world: World):
    family(world)
    assert sorted(world.cancel("r")) == ["r/a", "r/other"]


def test_a_job_that_is_being_cancelled_starts_nothing_more(world: World):
    family(world)
    world.cancel("r", children=True)
    for parent in ("r/a", "c/b"):
        with pytest.raises(Conflict, match=f"job {parent} is cancelled and starts nothing more: cancelled on request"):
            world.submit(job("late"), parent=parent)
    world.restart()
    with pytest.raises(Conflict, match="starts nothing more"):
        world.submit(job("late"), parent="c/b")
    with pytest.raises(Conflict, match="starts nothing more"):
        world.add("r", job("late"), parent="r/a")


def test_a_tree_is_known_when_what_is_between_has_left_memory():
    world = World(CoreLimits(finished_jobs_in_memory=1))
    family(world)
    for name in ("a", "other", "b", "p"):
        world.end(name)
    for number in range(3):
        world.submit(job(f"x{number}"))
        world.end(f"x{number}")
    assert world.core.run_version("r") is None
    assert world.core.run_version("c") is None
    assert sorted(world.cancel("r", children=True)) == ["g/d", "g/e"]
    world.restart()
    world.register("w", holding=(world.lease("d"),))
    assert world.cancel("r", children=True) == ["g/d"]
    world.end("d", "cancelled")
    world.submit(job("y"))
    world.end("y")
    world.submit(job("z"))
    world.end("z")
    with pytest.raises(NotFound):
        world.cancel("r", children=True)


# --- budgets ----------------------------------------------------------------------------------------------------------


def test_a_budget_of_jobs_holds_for_the_whole_tree(world: World):
    world.register("w", slots=9)
    world.submit(job("a"), options=RunOptions(budget=Budget(max_jobs=4)), run_id="r")
    world.submit(job("b"), job("c"), parent="r/a", run_id="r2")
    text = "the budget of run r is 4 jobs, of which 3 are used, and this would be 2 more"
    for parent in ("r/a", "r2/b"):
        with pytest.raises(BudgetExceeded, match=text):
            world.submit(job("d"), job("e"), parent=parent)
    with pytest.raises(BudgetExceeded, match=text):
        world.add("r2", job("d"), job("e"), parent="r2/b")
    world.end("c")
    world.restart()  # what has ended was used all the same
    world.register("w", slots=9, holding=(world.lease("a"), world.lease("b")))
    world.submit(job("d"), parent="r2/b")
    with pytest.raises(BudgetExceeded, match="of which 4 are used"):
        world.submit(job("e"), parent="r/a")
    world.submit(job("e"))


def test_a_budget_of_its_own_does_not_free_a_run_from_those_above(world: World):
    world.register("w", slots=9)
    world.submit(job("a"), options=RunOptions(budget=Budget(max_jobs=3)), run_id="r")
    with pytest.raises(BudgetExceeded, match="its own budget is 1 job, and it has 2"):
        world.submit(job("b"), job("c"), parent="r/a", options=RunOptions(budget=Budget(max_jobs=1)))
    world.submit(job("b"), parent="r/a", options=RunOptions(budget=Budget(max_jobs=100)), run_id="r2")
    world.submit(job("c"), parent="r2/b", run_id="r3")
    with pytest.raises(BudgetExceeded, match="the budget of run r is 3 jobs"):
        world.submit(job("d"), parent="r3/c")


def test_a_budget_of_depth(world: World):
    world.register("w", slots=9)
    world.submit(job("a"), options=RunOptions(budget=Budget(max_depth=2)), run_id="r")
    world.submit(job("b"), parent="r/a", run_id="r2")
    world.submit(job("c"), parent="r2/b", run_id="r3")
    world.restart()
    with pytest.raises(BudgetExceeded, match=r"run r is a depth of 2, and this would be generation 3 below it"):
        world.submit(job("d"), parent="r3/c")
    world.submit(job("d"), parent="r/a")


def test_generations_without_end_are_refused(world: World):
    world.register("w")
    parent = ""
    for number in range(MAX_DEPTH + 1):
        run_id = world.submit(job("next" + str(number)), parent=parent)
        if parent:
            world.end(parent.partition("/")[2])
        parent = f"{run_id}/next{number}"
    with pytest.raises(BudgetExceeded, match="more than 1000 generations"):
        world.submit(job("last"), parent=parent)


@pytest.mark.parametrize("jump", [-3_600_000, 3_600_000])
def test_the_wall_time_of_a_tree_ends_it_whatever_happens_to_the_clock(world: World, jump: int):
    world.register("w", slots=2)
    world.submit(job("a"), options=RunOptions(budget=Budget(wall_s=60)), run_id="r")
    world.submit(job("b"), job("c", "b"), parent="r/a", run_id="r2")
    world.submit(job("bystander"))
    world.pass_time(20)
    world.now = world.now._replace(wall=world.now.wall + jump)
    world.submit(job("x", priority=-1))  # any event makes the master see it
    world.restart()
    world.register("w", slots=2, holding=(world.lease("a"), world.lease("b")))
    world.pass_time(39)
    assert world.journal.jobs["r/a"].ending == ""
    world.pass_time(2)
    reason = "the wall time of 60 s that run r was given is over"
    assert [world.journal.jobs[key].ending for key in ("r/a", "r2/b")] == ["cancel", "cancel"]
    assert (world.state("c"), world.core.job_info("c").reason) == ("CANCELLED", reason)
    with pytest.raises((BudgetExceeded, Conflict), match="is over"):
        world.submit(job("late"), parent="r2/b")
    world.end("a", "cancelled")
    assert world.core.job_info("a").reason == reason
    assert world.state("bystander") == "RUNNING"


def test_wall_time_goes_on_while_there_is_no_master_and_is_never_longer(world: World):
    world.submit(job("a"), options=RunOptions(budget=Budget(wall_s=60)))
    world.restart(wall_jump_ms=-10_000_000)
    world.pass_time(59)
    assert world.state("a") == "PENDING"
    world.pass_time(2)
    assert world.state("a") == "CANCELLED"
    world.submit(job("b"), options=RunOptions(budget=Budget(wall_s=60)))
    world.restart(wall_jump_ms=61_000)
    world.pass_time(0.1)
    assert world.state("b") == "CANCELLED"


# --- runs that grow ---------------------------------------------------------------------------------------------------

OPEN = RunOptions(open=True)


def test_an_open_run_takes_jobs_until_it_is_closed(world: World):
    world.register("w")
    world.submit(job("a"), options=OPEN, run_id="r")
    world.end("a")
    info = world.core.run_info("r")
    assert (info.open, info.finished, world.core.is_settled("r")) == (True, False, False)
    assert world.add("r", job("b", "a"), job("c", "b")) == ["r/b", "r/c"]
    assert world.states("b", "c") == ["RUNNING", "WAITING"]
    world.restart()
    world.register("w", holding=(world.lease("b"),))
    world.end("b")
    world.add("r", job("d", "c", delay_ms=1000), job("e", "b", delay_ms=1000))
    assert world.states("c", "d", "e") == ["RUNNING", "WAITING", "DELAYED"]
    assert world.close("r")
    assert not world.close("r")
    with pytest.raises(Conflict, match="run r is closed: only its own jobs may add to it, while they run"):
        world.add("r", job("f"))
    world.pass_time(1)
    for name in ("c", "e"):
        world.end(name)
    world.pass_time(1)
    world.end("d")
    info = world.core.run_info("r")
    assert (info.open, info.finished, info.total) == (False, True, 5)
    assert [each.id for each in info.jobs] == ["a", "b", "c", "d", "e"]


def test_a_run_may_begin_empty_and_end_so(world: World):
    run_id = world.submit(options=OPEN)
    world.restart()
    assert not world.core.run_info(run_id).finished
    world.close(run_id)
    assert world.core.run_info(run_id).finished
    with pytest.raises(SubmissionRefused, match="at least one job"):
        world.submit()


def test_what_is_added_behind_a_failed_parent_does_not_start(world: World):
    world.register("w")
    world.submit(job("a", retries=0), options=OPEN, run_id="r")
    world.end("a", "failed", exit_code=3)
    world.add("r", job("b", "a"), job("c", "b"), job("d"))
    assert world.states("b", "c", "d") == ["DEAD", "DEAD", "RUNNING"]
    assert world.core.job_info("c").reason == "not started: b ended DEAD (not started: a ended DEAD (exit code 3))"
    world.restart()


@pytest.mark.parametrize(
    ("trigger", "state"),
    [
        ("all_success", "DEAD"),
        ("none_failed", "DEAD"),
        ("all_done", "RUNNING"),
        ("one_failed", "RUNNING"),
        ("one_success", "RUNNING"),
        ("always", "RUNNING"),
    ],
)
def test_what_is_added_goes_by_its_trigger_rule(world: World, trigger: TriggerRule, state: str):
    world.register("w")
    world.submit(job("bad", retries=0), job("good"), options=OPEN, run_id="r")
    world.end("bad", "failed")
    world.end("good")
    world.add("r", job("a", "bad", "good", flow=FlowSpec(trigger=trigger)), job("b", "a"))
    assert world.states("a", "b") == [state, "WAITING" if state == "RUNNING" else "DEAD"]


def test_some_rules_decide_before_all_parents_have_ended(world: World):
    world.register("w")
    world.submit(job("bad", retries=0), job("slow"), options=OPEN, run_id="r")
    world.end("bad", "failed")
    world.add(
        "r",
        job("a", "bad", "slow"),
        job("b", "slow", "bad", flow=FlowSpec(trigger="one_failed")),
        job("c", "bad", "slow", flow=FlowSpec(trigger="all_done")),
    )
    assert world.states("a", "b", "c") == ["DEAD", "RUNNING", "WAITING"]
    world.end("slow")
    assert world.states("c") == ["RUNNING"]


def test_adding_is_all_or_nothing(world: World):
    world.register("w")
    world.submit(job("a"), options=OPEN, run_id="r")
    world.submit(job("taken"))
    with pytest.raises(SubmissionRefused, match="its parent 'nope' is not a job of this run"):
        world.add("r", job("b"), job("c", "nope"))
    with pytest.raises(SubmissionRefused, match="a: the run has a job of this id already"):
        world.add("r", job("b"), job("a"))
    with pytest.raises(Conflict, match="job taken is still RUNNING"):
        world.add("r", job("b"), job("taken"))
    with pytest.raises(NotFound):
        world.add("nope", job("b"))
    assert world.core.run_info("r").total == 1


def test_an_addition_is_repeated_without_doing_it_twice(world: World):
    world.register("w")
    world.submit(job("a"), options=OPEN, run_id="r", key="k")
    assert world.add("r", job("b"), key="k1") == world.add("r", job("b"), key="k1") == ["r/b"]
    world.close("r")
    world.restart()
    assert world.add("r", job("b"), key="k1") == ["r/b"]
    with pytest.raises(Conflict, match="'k1' was used for other jobs of r"):
        world.add("r", job("c"), key="k1")
    assert world.do(RunSubmitted("x", "test", (job("a"),), "k", options=OPEN)).jobs == ["r/a"]


def test_a_job_adds_to_its_own_run_while_it_runs(world: World):
    world.register("w")
    world.submit(job("a"), job("b", "a"), run_id="r")
    with pytest.raises(Conflict, match="run r was not submitted open"):
        world.add("r", job("c"))
    assert world.add("r", job("c"), job("d", "a", "c"), parent="r/a") == ["r/c", "r/d"]
    world.end("c")
    assert world.states("a", "b", "c", "d") == ["RUNNING", "WAITING", "COMPLETED", "WAITING"]
    world.end("a")
    assert world.states("b", "d") == ["RUNNING", "RUNNING"]
    with pytest.raises(Conflict):
        world.add("r", job("e"), parent="r/a")


def test_an_open_run_is_closed_when_the_job_that_made_it_has_ended(world: World):
    world.register("w")
    world.submit(job("a", retries=1), run_id="r")
    world.submit(job("b"), options=OPEN, parent="r/a", run_id="r2")
    world.end("a", "failed")
    world.restart()
    world.register("w", holding=(world.lease("b"),))
    assert world.core.run_info("r2").open
    world.pass_time(1)
    world.end("a", "failed")
    assert not world.core.run_info("r2").open
    late = world.submit(job("c"), options=OPEN, parent="r/a")
    assert not world.core.run_info(late).open


def test_an_open_run_that_lies_idle_is_closed(world: World):
    world.register("w")
    run_id = world.submit(job("a"), options=RunOptions(open=True, idle_s=30))
    world.pass_time(100)
    world.end("a")
    world.pass_time(29)
    world.add(run_id, job("b"))
    world.pass_time(100)
    world.end("b")
    world.pass_time(29)
    assert world.core.run_info(run_id).open
    world.pass_time(2)
    assert world.core.run_info(run_id).finished


def test_cancelling_an_open_run_closes_it(world: World):
    run_id = world.submit(job("a"), options=OPEN)
    world.cancel(run_id)
    assert world.core.run_info(run_id).finished
    empty = world.submit(options=OPEN)
    assert world.cancel(empty) == []
    assert world.core.run_info(empty).finished


def test_a_service_for_an_open_run_stays_until_that_is_closed(world: World):
    world.register("w")
    spec = service("s", service=ServiceSpec(lifetime="run"))
    run_id = world.submit(spec, job("a", "s"), options=OPEN)
    world.ready("s")
    world.end("a")
    world.add(run_id, job("b", "a"))
    world.end("b")
    assert world.state("s") == "RUNNING"
    world.close(run_id)
    assert [command.lease.job for command in world.ends_asked()] == [f"{run_id}/s"]


def test_the_cost_of_adding_does_not_grow_with_the_run():
    costs = []
    for size in (100, 3_000):
        core = SchedulerCore(CoreLimits())

        def do(event: Event, core: SchedulerCore = core) -> None:
            core.handle(event, Instant(1.0, 1_800_000_000_000))

        do(RunSubmitted("r", "n", (job("first"),), options=OPEN))
        for number in range(size):
            do(AddRequested("r", (job(f"j{number}", "first"),), f"k{number}"))
        costs.append(lines_of(partial(do, AddRequested("r", (job("last", "first"),), "k"))))
    assert costs[1] < 1.25 * costs[0]


# --- what an earlier run has done -------------------------------------------------------------------------------------


def test_jobs_that_an_earlier_run_completed_count_as_parents(world: World):
    world.register("w")
    kept = RunOptions(rerun_of="old", kept={"a": "old/a"})
    world.submit(job("b", "a"), job("c", "a", "b"), options=kept, run_id="r")
    assert world.states("b", "c") == ["RUNNING", "WAITING"]
    world.restart()
    world.register("w", holding=(world.lease("b"),))
    world.end("b")
    assert world.states("c") == ["RUNNING"]


def test_idle_times_that_were_cut_short_do_not_stay(world: World):
    world.register("w")
    world.submit(options=RunOptions(open=True, idle_s=12 * 3600))  # the first to end: those behind it are not met
    run_id = world.submit(options=RunOptions(open=True, idle_s=24 * 3600))
    for number in range(200):
        world.add(run_id, job(f"j{number}"))
        world.end(f"j{number}")
        world.pass_time(1)
    assert len(world.core._growth._idle) < 100
    world.pass_time(24 * 3600)
    assert world.core.run_info(run_id).finished
