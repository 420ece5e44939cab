"""The core taken up from its journal: what was durable is as it was."""

from __future__ import annotations

import pytest

from titan_core.scheduling.core.events import WorkerSilent
from titan_core.scheduling.core.scheduler_core import CoreLimits
from titan_sdk.errors import Conflict
from titan_test_suite.pytests.core_world import World, job, service


@pytest.fixture
def world() -> World:
    return World()


def test_every_state_comes_back(world: World):
    world.register("w", slots=2)
    world.submit(job("done"))
    world.end("done")
    world.submit(service("db"), job("user", "db"))
    world.ready("db")
    world.submit(job("queued"), job("behind", "queued"))
    world.submit(job("delayed", delay_ms=5000))
    world.submit(job("bad", retries=0, priority=-1))
    before = [world.core.job_info(info.key) for info in world.core.list_jobs().jobs]
    held = (world.lease("db"), world.lease("user"))
    world.restart()
    world.register("w", slots=2, holding=held)
    assert world.dispatched() == []
    assert [world.core.job_info(info.key) for info in world.core.list_jobs().jobs] == before


def test_running_jobs_go_on_and_their_results_count_once(world: World):
    world.register("w")
    world.submit(job("a"), job("b", "a"))
    lease = world.lease("a")
    world.restart()
    assert world.core.workers()[0].state == "away"
    assert world.core.workers()[0].host == "10.0.0.1"
    assert world.state("a") == "RUNNING"
    assert world.register("w", holding=(lease,)) == ()
    assert world.lease("a") == lease
    world.end("a")
    assert world.states("a", "b") == ["COMPLETED", "RUNNING"]


def test_a_worker_that_does_not_come_back_is_lost(world: World):
    world.register("w")
    world.submit(job("a"))
    world.restart()
    world.do(WorkerSilent("w", "", "did not come back"))
    assert world.state("a") == "PENDING"
    assert world.journal.jobs["run1/a"].losses == 1


def test_a_worker_that_comes_back_without_the_job_has_lost_it(world: World):
    world.register("w")
    world.submit(job("a"))
    world.restart()
    world.register("w")
    assert world.journal.jobs["run1/a"].losses == 1
    assert world.lease("a").attempt == 2


def test_a_cancellation_under_way_goes_on(world: World):
    world.register("w")
    world.submit(job("a"))
    lease = world.lease("a")
    world.cancel("a")
    world.restart()
    world.register("w", holding=(lease,))
    assert [end.lease for end in world.ends_asked()] == [lease]
    world.end("a", "failed")
    assert world.state("a") == "CANCELLED"


def test_a_delay_goes_on_where_it_was(world: World):
    world.submit(job("a", delay_ms=10_000))
    world.pass_time(4)
    world.restart()
    world.pass_time(5.9)
    assert world.state("a") == "DELAYED"
    world.pass_time(0.1)
    assert world.state("a") == "PENDING"


@pytest.mark.parametrize(("jump_ms", "remaining_s"), [(-3_600_000, 10.0), (3_600_000, 0.0)])
def test_a_wall_clock_that_jumps_makes_no_delay_longer(world: World, jump_ms, remaining_s):
    world.submit(job("a", delay_ms=10_000))
    world.pass_time(4)
    world.restart(wall_jump_ms=jump_ms)
    assert world.alarm == pytest.approx(world.now.monotonic + remaining_s)


def test_a_retry_waits_no_longer_than_its_backoff(world: World):
    world.register("w")
    world.submit(job("a", delay_ms=600_000))
    world.pass_time(600)
    world.end("a", "failed")
    world.restart(wall_jump_ms=-3_600_000)
    assert world.alarm == pytest.approx(world.now.monotonic + 1.0)


def test_sequences_go_on(world: World):
    world.register("w", slots=1)
    world.submit(job("a"))
    world.submit(job("b"))
    world.end("a")
    epoch = world.lease("b").epoch
    world.restart()
    world.submit(job("c"))
    assert world.journal.jobs["run3/c"].seq == 3
    assert world.journal.runs["run3"].seq == 3
    world.register("w", slots=2, boot="boot2")
    assert {world.lease("b").epoch, world.lease("c").epoch} == {epoch + 1, epoch + 2}


def test_order_survives(world: World):
    for number, priority in enumerate((0, 5, 0, 5)):
        world.submit(job(f"j{number}", priority=priority))
    world.restart()
    world.register("w", slots=4)
    assert world.dispatched_ids() == ["j1", "j3", "j0", "j2"]


def test_idempotency_keys_and_active_ids_survive(world: World):
    world.submit(job("a"), key="k", run_id="r")
    world.restart()
    assert world.submit(job("a"), key="k") == "r"
    with pytest.raises(Conflict):
        world.submit(job("a"))


def test_the_history_of_a_worker_survives(world: World):
    world.register("w")
    for number in range(3):
        world.submit(job(f"j{number}"))
        world.pass_time(1)
        world.end(f"j{number}")
    before = world.core.stats_json()["workers"][0]["history"]
    world.restart()
    world.register("w")
    assert world.core.stats_json()["workers"][0]["history"] == before
    assert len(before) == 3


def test_only_so_much_of_the_past_comes_back():
    world = World(CoreLimits(finished_jobs_in_memory=2, executions_per_job=2))
    world.register("w")
    for number in range(4):
        world.submit(job(f"j{number}"))
        world.end(f"j{number}")
    world.submit(job("retried", retries=9))
    for _ in range(4):
        world.end("retried", "failed")
        world.pass_time(60)
    world.restart()
    assert [world.core.find_key(f"j{number}") for number in range(4)] == [None, None, "run3/j2", "run4/j3"]
    assert [execution.attempt for execution in world.core.job_info("retried").executions] == [4, 5]


def test_a_parent_that_has_completed_gets_no_children_back():
    world = World()
    world.register("w")
    world.submit(job("a"), job("b"), job("c", "a", "b"))
    world.end("a")
    world.restart()  # which checks that a final job has none
    world.register("w", holding=(world.lease("b"),))
    world.end("b")
    assert world.state("c") == "RUNNING"
