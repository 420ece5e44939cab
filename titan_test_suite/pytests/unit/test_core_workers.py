"""The core: who gets what, and what becomes of jobs when workers come, break, refuse, die and leave."""

from __future__ import annotations

from collections import deque

import pytest

from titan_core.model.worker import Worker
from titan_core.scheduling.core.commands import CloseLink, DecommissionWorker
from titan_core.scheduling.core.events import (
    AttemptEnded,
    AttemptStarted,
    CordonRequested,
    LinkBroken,
    WorkerLeft,
    WorkerSilent,
)
from titan_core.scheduling.core.scheduler_core import CoreLimits
from titan_sdk.errors import Conflict, NotFound
from titan_sdk.messages import Lease
from titan_test_suite.pytests.core_world import World, job, service


@pytest.fixture
def world() -> World:
    return World()


def busy(world: World) -> dict[str, int]:
    return {worker.worker_id: worker.busy for worker in world.core.workers()}


# --- routing ---


def test_all_capabilities_must_be_on_one_worker(world: World):
    world.register("gpu", "GPU")
    world.register("mem", "HIGH_MEM")
    world.submit(job("both", requirement=("GPU", "HIGH_MEM")))
    assert world.dispatched() == []
    world.register("all", "HIGH_MEM", "GENERAL", "GPU")
    assert world.worker_of("both") == "all"


def test_a_gpu_only_worker_takes_no_general_jobs(world: World):
    world.register("gpu", "GPU")
    world.submit(job("a"))
    info = world.core.job_info("a")
    assert (info.state, info.reason) == ("PENDING", "no worker with GENERAL")
    world.submit(job("anywhere", requirement=()))
    assert world.worker_of("anywhere") == "gpu"


def test_work_that_cannot_run_holds_up_nothing(world: World):
    world.submit(*(job(f"gpu{number}", requirement=("GPU",), priority=100) for number in range(50)))
    world.submit(job("a"))
    world.register("w")
    assert world.dispatched_ids() == ["a"]
    assert world.core.job_info("gpu0").reason == "no worker with GPU"


def test_least_connections_counts_load_over_slots(world: World):
    world.register("big", slots=8)
    world.register("small", slots=2)
    world.submit(*(job(f"j{number}") for number in range(10)))
    assert busy(world) == {"big": 8, "small": 2}
    world.end("j0")
    world.end(next(name for name in (f"j{number}" for number in range(1, 10)) if world.worker_of(name) == "small"))
    world.submit(job("next"))  # 7 of 8 against 1 of 2
    assert world.worker_of("next") == "small"


def test_among_equals_the_special_worker_is_spared(world: World):
    world.register("gpu", "GENERAL", "GPU")
    world.register("plain")
    world.submit(job("a"))
    assert world.worker_of("a") == "plain"


def test_affinity_prefers_the_worker_of_the_parent_that_finished_last(world: World):
    world.register("w1", slots=2)
    world.register("w2", slots=2)
    world.submit(job("a"), job("b"), job("c", "a", "b", affinity=True), job("d", "a", "b", affinity=True))
    world.submit(job("filler"))
    assert [world.worker_of(name) for name in ("a", "b", "filler")] == ["w1", "w2", "w1"]
    world.end("a")
    world.pass_time(1)
    world.end("b")
    assert [world.worker_of(name) for name in "cd"] == ["w2", "w2"]


def test_a_preferred_worker_is_not_waited_for(world: World):
    world.register("w1", slots=1)
    world.submit(job("a"), job("b", "a", affinity=True))
    world.register("w2", slots=1)
    world.submit(job("urgent", priority=9))
    assert world.worker_of("urgent") == "w2"
    world.submit(job("more_urgent", priority=10))
    world.end("a")
    assert world.worker_of("more_urgent") == "w1"
    world.end("urgent")
    assert world.worker_of("b") == "w2"


def test_preference_is_no_substitute_for_capability(world: World):
    world.register("gpu", "GPU")
    run = world.submit(job("a", requirement=("GPU",)), job("b", "a", affinity=True))
    world.submit(job("c"), parent=f"{run}/a")
    world.end("a")
    assert world.states("b", "c") == ["PENDING", "PENDING"]
    world.register("w")
    assert [world.worker_of(name) for name in "bc"] == ["w", "w"]


def test_what_a_job_submits_prefers_the_jobs_own_worker(world: World):
    world.register("w1", slots=3)
    world.register("w2", slots=3)
    world.submit(job("first"))
    run = world.submit(job("agent"))
    assert world.worker_of("agent") == "w2"
    world.submit(job("child1"), parent=f"{run}/agent")
    world.submit(job("child2"), parent=f"{run}/agent")
    world.submit(job("child3"), parent=f"{run}/agent")
    assert [world.worker_of(name) for name in ("child1", "child2", "child3")] == ["w2", "w2", "w1"]


def test_a_parent_that_is_not_known_is_no_obstacle(world: World):
    world.register("w")
    world.submit(job("a"), parent="gone/job")
    assert world.state("a") == "RUNNING"


def test_a_new_worker_may_be_started_by_any_of_ours_but_no_classic_one(world: World):
    world.register("java", "GENERAL", classic=True)
    world.submit(job("new", file="TitanWorker.py", kind="worker", port=8085, requirement=("TPU",)))
    assert world.core.job_info("new").reason == "no worker with a place for another worker"
    world.register("ours", "GPU")
    assert world.worker_of("new") == "ours"


@pytest.mark.parametrize(
    "fields",
    [{"env": {"A": "1"}}, {"timeout_s": 5}, {"python": "/usr/bin/python3"}, {"args": ("a b",)}, {"args": ("|",)}],
)
def test_what_classic_cannot_say_goes_to_no_classic_worker(world: World, fields):
    world.register("java", "GENERAL", classic=True)
    world.submit(job("rich", **fields))
    world.submit(job("plain", args=("--rate", "0.5")))
    assert world.states("rich", "plain") == ["PENDING", "RUNNING"]
    world.register("ours")
    assert world.worker_of("rich") == "ours"


def test_needs_that_come_and_go_are_forgotten_and_met_again():
    world = World(CoreLimits(idle_lanes=4))
    names = [f"CAP{number}" for number in range(12)]
    world.register("w", *names)
    for _ in range(2):
        for name in names:
            world.submit(job(f"for-{name}", requirement=(name,)))
            world.end(f"for-{name}")
    for number, name in enumerate(names):
        world.submit(job(f"none{number}", requirement=("NONE", name)))
    world.submit(*(job(f"last-{name}", requirement=(name,)) for name in names[:4]))
    assert world.dispatched_ids() == [f"last-{name}" for name in names[:4]]
    world.register("x", "NONE", *names, slots=20)
    assert len(world.dispatched()) == 12


# --- refusals ---


def test_a_worker_that_refused_is_left_alone_for_a_moment(world: World):
    world.register("w", slots=4)
    world.submit(job("a"))
    world.refuse("a")
    world.submit(job("b"))
    assert world.states("a", "b") == ["PENDING", "PENDING"]
    world.pass_time(0.9)
    assert world.state("a") == "PENDING"
    world.pass_time(0.1)
    assert world.states("a", "b") == ["RUNNING", "RUNNING"]


def test_a_refused_job_goes_to_another_worker_at_once(world: World):
    world.register("w1")
    world.register("w2")
    world.submit(job("a"))
    world.refuse("a")
    assert world.worker_of("a") == "w2"


def test_a_worker_that_finishes_something_has_a_slot_after_all(world: World):
    world.register("w", slots=4)
    world.submit(job("a"), job("b"))
    world.refuse("b")
    assert world.state("b") == "PENDING"
    world.end("a")
    assert world.state("b") == "RUNNING"


def test_registering_again_ends_the_hold(world: World):
    world.register("w")
    world.submit(job("a"))
    world.refuse("a")
    world.register("w")
    assert world.state("a") == "RUNNING"


def test_refusing_again_within_the_same_moment_does_no_harm(world: World):
    world.register("w")
    world.submit(job("a"), job("b"), job("c"))
    world.refuse("a")
    world.end("c")  # free again, and dispatched to again, all at one instant
    world.refuse("a")
    world.refuse("b")
    world.pass_time(1)
    assert world.states("a", "b") == ["RUNNING", "RUNNING"]


# --- links and deaths ---


def test_a_broken_link_gets_nothing_and_loses_nothing(world: World):
    world.register("w")
    world.submit(job("a"))
    lease = world.lease("a")
    world.do(LinkBroken("w", world.link, "reset by peer"))
    world.submit(job("b"))
    assert world.states("a", "b") == ["RUNNING", "PENDING"]
    assert world.core.workers()[0].state == "away"
    assert world.register("w", holding=(lease,)) == ()
    assert world.lease("a") == lease
    assert world.state("b") == "RUNNING"


def test_the_end_of_an_older_link_means_nothing(world: World):
    world.register("w")
    old = world.link
    world.register("w")
    assert [command for command in world.commands if isinstance(command, CloseLink)] == [
        CloseLink("w", old, "the worker has a new connection")
    ]
    world.do(LinkBroken("w", old, "closed"))
    assert world.core.workers()[0].state == "alive"
    world.submit(job("a"))
    assert world.state("a") == "RUNNING"


def test_what_never_reached_its_worker_goes_back_uncharged(world: World):
    world.register("w")
    world.submit(job("a", retries=0), job("b"))
    kept = world.lease("b")
    before = world.lease("a")
    world.register("w", holding=(kept,))
    assert world.lease("b") == kept
    assert world.lease("a") == Lease(job=before.job, attempt=2, epoch=kept.epoch + 1)
    assert world.journal.jobs[before.job].losses == 0


def test_a_worker_started_anew_has_lost_what_it_does_not_hold(world: World):
    world.register("w")
    world.submit(job("a"), job("b"))
    reported = world.lease("b")  # its result was on the worker's disk
    world.register("w", boot="boot2", holding=(reported,))
    assert world.journal.jobs[world.lease("a").job].losses == 1
    assert world.lease("b") == reported
    world.end("b")
    assert world.state("b") == "COMPLETED"


def test_stale_leases_are_named_at_registration(world: World):
    world.register("w1", slots=1)
    world.submit(job("a"))
    old = world.lease("a")
    world.register("w2", slots=1)
    world.silence("w1")
    assert world.worker_of("a") == "w2"
    never = Lease(job="no/job", attempt=1, epoch=99)
    assert world.register("w1", holding=(old, never)) == (old, never)


def test_silence_moves_the_jobs_to_others_and_charges_no_retry(world: World):
    world.register("w1", slots=1)
    world.submit(job("a", retries=0))
    old = world.lease("a")
    world.register("w2", slots=1)
    world.silence("w1")
    assert [type(command) for command in world.commands].count(CloseLink) == 1
    assert world.worker_of("a") == "w2"
    info = world.core.job_info("a")
    assert [(execution.outcome, execution.reason) for execution in info.executions] == [
        ("lost", "its worker died: no sign of life for 30 s"),
        ("", ""),
    ]
    # The dead one was not so dead: what it says is stale and changes nothing.
    assert world.do(AttemptStarted("w1", old, 5)) is True
    assert world.do(AttemptEnded("w1", old, "completed", 0)) is True
    assert world.state("a") == "RUNNING"


def test_silence_of_another_process_means_nothing(world: World):
    world.register("w", boot="boot2")
    world.submit(job("a"))
    world.silence("w", boot="boot1")
    assert world.state("a") == "RUNNING"


def test_five_losses_quarantine_a_job(world: World):
    world.submit(job("killer"), job("child", "killer"))
    for number in range(5):
        assert world.core.job_info("killer").state == "PENDING"
        world.register(f"w{number}")
        world.silence(f"w{number}")
    info = world.core.job_info("killer")
    assert info.state == "DEAD"
    assert (
        info.reason == "5 workers died or lost it while running it; the last: its worker died: no sign of life for 30 s"
    )
    assert info.retries_left == 3
    assert world.state("child") == "DEAD"


def test_a_dead_worker_that_registers_again_takes_part(world: World):
    world.register("w")
    world.silence("w")
    assert world.core.workers()[0].state == "dead"
    world.register("w")
    world.submit(job("a"))
    assert world.worker_of("a") == "w"


def test_the_dead_workers_listed_are_bounded():
    world = World(CoreLimits(dead_workers=2))
    for number in range(4):
        world.register(f"w{number}")
        world.silence(f"w{number}")
    assert [worker.worker_id for worker in world.core.workers()] == ["w2", "w3"]


def test_a_report_counts_once(world: World):
    world.register("w")
    world.submit(job("a"))
    lease = world.lease("a")
    assert world.do(AttemptEnded("w", lease, "completed", 0)) is False
    assert world.do(AttemptEnded("w", lease, "failed", 1)) is True
    assert world.do(AttemptStarted("w", lease, 1)) is True
    assert world.state("a") == "COMPLETED"


def test_only_the_holder_is_believed(world: World):
    world.register("w1", slots=1)
    world.submit(job("a"))
    world.register("w2")
    assert world.do(AttemptEnded("w2", world.lease("a"), "completed", 0)) is True
    assert world.do(AttemptEnded("nobody", world.lease("a"), "completed", 0)) is True
    assert world.state("a") == "RUNNING"


def test_an_earlier_attempt_is_not_believed_although_its_worker_has_the_current_one(world: World):
    world.register("w")
    world.submit(job("a"))
    old = world.lease("a")
    world.register("w", boot="boot2")
    current = world.lease("a")
    assert (current.job, current.attempt) == (old.job, 2) and world.worker_of("a") == "w"
    for lease in (old, Lease(job=old.job, attempt=2, epoch=old.epoch), Lease(old.job, 1, current.epoch)):
        assert world.do(AttemptStarted("w", lease, 1)) is True
        assert world.do(AttemptEnded("w", lease, "completed", 0)) is True
    assert world.state("a") == "RUNNING"
    assert world.do(AttemptEnded("w", current, "completed", 0)) is False


def test_an_end_asked_for_while_the_link_was_broken_is_asked_for_again(world: World):
    world.register("w")
    world.submit(job("a"))
    lease = world.lease("a")
    world.do(LinkBroken("w", world.link, "reset"))
    world.cancel("a")
    world.register("w", holding=(lease,))
    assert [(end.worker_id, end.lease, end.reason) for end in world.ends_asked()] == [
        ("w", lease, "cancelled on request")
    ]


def test_fewer_slots_than_jobs_after_a_new_registration(world: World):
    world.register("w", slots=3)
    world.submit(job("a"), job("b"), job("c"), job("d"))
    held = tuple(world.lease(name) for name in "abc")
    world.register("w", slots=2, holding=held)
    world.end("a")
    assert world.state("d") == "PENDING"
    world.end("b")
    assert world.state("d") == "RUNNING"


# --- leaving ---


def test_a_draining_worker_gets_nothing_more_and_is_told_to_go(world: World):
    world.register("w")
    world.submit(job("a"))
    assert world.drain() == "w"
    assert DecommissionWorker("w", "decommissioned on request") in world.commands
    world.submit(job("b"))
    world.end("a")
    assert world.state("b") == "PENDING"
    assert world.core.job_info("b").reason == "no worker with GENERAL"
    world.do(WorkerLeft("w", "boot1", "drained"))
    assert world.core.workers() == []


def test_what_a_worker_leaves_behind_goes_back_uncharged(world: World):
    world.register("w1")
    world.submit(job("a", retries=0))
    world.register("w2")
    world.do(WorkerLeft("w1", "boot1", "SIGTERM"))
    assert world.worker_of("a") == "w2"
    assert world.journal.jobs[world.lease("a").job].losses == 0


def test_a_job_handed_back_is_not_offered_to_the_same_worker_at_once(world: World):
    world.register("w1", slots=1)
    world.submit(job("a"))
    world.end("a", "handed_back", reason="draining")
    assert world.state("a") == "PENDING"
    world.register("w2", slots=1)
    assert world.worker_of("a") == "w2"


def test_draining_lasts_as_long_as_the_process(world: World):
    world.register("w")
    world.drain()
    world.register("w")
    assert any(isinstance(command, DecommissionWorker) for command in world.commands)
    world.submit(job("a"))
    assert world.state("a") == "PENDING"
    world.register("w", boot="boot2")
    assert world.state("a") == "RUNNING"


def test_a_permanent_worker_stays(world: World):
    world.register("w", permanent=True)
    with pytest.raises(Conflict, match="permanent"):
        world.drain()
    with pytest.raises(NotFound):
        world.drain(port=1)


def test_a_classic_worker_is_told_to_go_when_its_jobs_are_done(world: World):
    world.register("java", "GENERAL", classic=True)
    world.submit(job("a"), service("s"))
    world.drain()
    assert not any(isinstance(command, DecommissionWorker) for command in world.commands)
    world.end("a")
    assert any(isinstance(command, DecommissionWorker) for command in world.commands)


def test_registering_a_classic_worker_again_adds_a_capability(world: World):
    world.register("java", "GENERAL", classic=True, permanent=True)
    world.submit(job("a"))
    world.register("java", "GPU", classic=True)
    [worker] = world.core.workers()
    assert (worker.capabilities, worker.permanent, worker.busy) == (("GENERAL", "GPU"), True, 1)
    world.submit(job("both", requirement=("GPU", "GENERAL")))
    assert world.worker_of("both") == "java"


def test_the_loopback_address_has_several_names():
    worker = Worker("w", 1, deque())
    worker.host, worker.port = "127.0.0.1", 8080
    assert worker.is_at("localhost", 8080) and worker.is_at("::1", 8080)
    assert not worker.is_at("localhost", 8081) and not worker.is_at("10.0.0.1", 8080)


def test_a_cordon_lasts_until_it_is_taken_back():
    world = World()
    world.register("w")
    world.do(CordonRequested("10.0.0.1", 8080))
    world.submit(job("a"))
    world.register("w", boot="boot2")
    assert world.state("a") == "PENDING", "its process was started anew"
    world.restart()
    world.register("w", boot="boot2")
    assert world.state("a") == "PENDING", "the master was started anew"
    world.do(WorkerSilent("w", "boot2", "no sign of life"))
    world.register("w", boot="boot3")
    assert world.state("a") == "PENDING", "it was taken for dead"
    world.do(WorkerLeft("w", "boot3", "SIGTERM"))
    world.do(CordonRequested("10.0.0.1", 8080, undo=True))
    assert not world.journal.cordons
    world.register("w", boot="boot4")
    assert world.state("a") == "RUNNING"
    with pytest.raises(NotFound):
        world.do(CordonRequested("10.0.0.1", 8081, undo=True))


def test_what_ran_an_attempt_is_lost_and_its_worker_goes_on():
    world = World()
    world.register("w")
    world.submit(job("a", retries=0))
    for _ in range(4):
        world.do(AttemptEnded("w", world.lease("a"), "lost", reason="its supervisor died"))
        assert world.state("a") == "RUNNING"
    world.do(AttemptEnded("w", world.lease("a"), "lost", reason="its supervisor died"))
    assert world.state("a") == "DEAD", "a job may be what kills them"
