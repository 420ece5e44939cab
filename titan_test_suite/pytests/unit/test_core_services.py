"""The core: services. Restarted after their end, moved, scaled, replaced, and stopped when nobody needs them."""

from __future__ import annotations

import pytest

from titan_core.scheduling.core.commands import Answer, SetAlarm
from titan_core.scheduling.core.events import TimePassed, WorkerSilent
from titan_core.scheduling.core.scheduler_core import CoreLimits
from titan_sdk.errors import Conflict, NotFound, SubmissionRefused
from titan_sdk.messages import ServiceSpec
from titan_test_suite.pytests.core_world import World, job, service

AUTO = ServiceSpec(auto_port=True)


@pytest.fixture
def world() -> World:
    world = World()
    world.register("w", slots=8)
    return world


def crash(world: World, name: str, times: int = 1) -> list[float]:
    """Let a service end as soon as it runs, again and again; the seconds between each end and the next attempt."""
    pauses = []
    for _ in range(times):
        world.end(name, "failed", 1)
        assert world.alarm is not None
        pauses.append(round(world.alarm - world.now.monotonic, 3))
        world.pass_time(pauses[-1])
        assert world.state(name) == "RUNNING"
    return pauses


# --- restarts ---


@pytest.mark.parametrize(
    ("policy", "outcome", "state"),
    [
        ("always", "completed", "DELAYED"),
        ("always", "failed", "DELAYED"),
        ("always", "timed_out", "DELAYED"),
        ("on-failure", "completed", "COMPLETED"),
        ("on-failure", "failed", "DELAYED"),
        ("never", "completed", "COMPLETED"),
        ("never", "failed", "DEAD"),
    ],
)
def test_the_policy_says_what_the_end_of_a_process_means(world: World, policy, outcome, state):
    world.submit(service("s", service=ServiceSpec(restart=policy)))
    world.end("s", outcome)
    assert world.state("s") == state
    assert world.core.job_info("s").restarts == (state == "DELAYED")


def test_a_worker_that_is_a_job_is_started_again_unless_it_ended_in_order(world: World):
    world.submit(job("w2", kind="worker", port=8085, retries=0), job("w3", kind="worker", port=8086))
    world.end("w2", "failed")
    world.end("w3", "completed")
    assert world.states("w2", "w3") == ["DELAYED", "COMPLETED"]


def test_the_wait_doubles_up_to_a_minute(world: World):
    world.submit(service("s"))
    assert crash(world, "s", 9) == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert world.core.job_info("s").restarts == 9


def test_a_life_of_a_minute_makes_the_past_forgotten(world: World):
    world.submit(service("s"))
    crash(world, "s", 4)
    world.ready("s")
    world.pass_time(61)
    assert crash(world, "s", 3) == [1, 1, 2]


def test_what_is_never_ready_has_not_lived(world: World):
    """However long its start deadline is."""
    world.submit(service("s", service=ServiceSpec(auto_port=True, start_s=100)))
    for pause in (1, 2, 4):
        world.pass_time(100)
        world.end("s", "timed_out", -15, "not ready within 100 s: port 1 was not opened")
        world.pass_time(pause)
        assert world.state("s") == "RUNNING"
    assert world.core.services("s", 0)[0].status == "crash loop"


def test_a_crash_loop_is_called_one_until_the_service_is_ready(world: World):
    world.submit(service("s"))
    crash(world, "s")
    assert world.core.job_info("s").reason == ""
    crash(world, "s", 2)
    reason = "crash loop: exit code 1; ended 3 times in a row, 4 s between tries"
    assert (world.core.job_info("s").reason, world.core.services("", 0)[0].status) == (reason, "crash loop")
    world.ready("s")
    assert (world.core.job_info("s").reason, world.core.services("", 0)[0].status) == ("", "ready")


def test_what_keeps_a_service_from_being_ready_is_shown(world: World):
    world.submit(service("s", port=80), job("a"))
    world.not_ready("s", "port 80 was not opened")
    world.not_ready("a", "this is no service")
    assert [world.core.job_info(name).reason for name in "sa"] == ["port 80 was not opened", ""]
    world.ready("s")
    world.not_ready("s", "too late")
    assert world.core.job_info("s").reason == ""
    world.stop("s")
    world.not_ready("s", "too late")
    assert world.core.job_info("s").reason == "stopped on request"


def test_how_far_the_wait_has_come_outlives_the_master(world: World):
    world.submit(service("s"))
    crash(world, "s", 4)
    world.end("s", "failed")
    world.restart()
    assert world.alarm is not None and 15 < world.alarm - world.now.monotonic <= 16
    world.register("w")
    world.pass_time(16)
    assert crash(world, "s") == [32]


def test_many_deaths_of_workers_in_a_long_life_are_no_quarrel(world: World):
    """Each loss comes after a long life, so the service is not what kills its workers."""
    world.submit(service("s"))
    for number in range(8):
        world.pass_time(61)
        world.silence("w", boot=f"boot{number + 1}")
        world.register("w", boot=f"boot{number + 2}")
        assert world.state("s") == "RUNNING"
    for number in range(8, 13):
        world.silence("w", boot=f"boot{number + 1}")
        world.register("w", boot=f"boot{number + 2}")
    assert world.state("s") == "DEAD"
    assert "5 workers died" in world.core.job_info("s").reason


# --- where ---


def test_it_comes_back_where_it_was(world: World):
    world.submit(service("s"))
    world.register("idle", slots=8, port=8081)
    world.submit(job("load"), job("more"))
    assert world.worker_of("s") == "w"
    crash(world, "s")
    assert world.worker_of("s") == "w"


def test_after_five_ends_another_worker_is_tried(world: World):
    world.submit(service("s"))
    world.register("other", port=8081)
    crash(world, "s", 4)
    assert world.worker_of("s") == "w"
    crash(world, "s")
    assert world.worker_of("s") == "other"
    crash(world, "s", 4)
    assert world.worker_of("s") == "other"


def test_ends_far_apart_move_nothing(world: World):
    world.submit(service("s"))
    world.register("other", port=8081)
    for _ in range(6):
        world.pass_time(300)
        crash(world, "s")
    assert world.worker_of("s") == "w"


def test_the_only_worker_is_taken_however_often_it_failed_there(world: World):
    world.submit(service("s"))
    world.register("other", "GPU", port=8081)
    crash(world, "s", 7)
    assert world.worker_of("s") == "w"


def test_a_service_moves_when_its_worker_dies(world: World):
    world.submit(service("s"), job("user", "s"))
    world.ready("s")
    world.register("other", port=8081)
    world.silence("w")
    assert (world.worker_of("s"), world.core.job_info("s").ready) == ("other", False)


# --- ports ---


def test_the_port_that_a_worker_picked_is_published_and_durable(world: World):
    world.submit(service("s", service=AUTO))
    assert world.core.job_info("s").url == ""
    world.ready("s", port=40_001)
    assert world.core.job_info("s").url == "http://10.0.0.1:40001"
    world.restart()
    assert world.core.job_info("s").url == "http://10.0.0.1:40001"
    world.register("w", holding=(world.lease("s"),))
    world.end("s", "failed")
    assert world.core.job_info("s").url == ""


def test_a_worker_of_ipv6_has_brackets_in_its_urls():
    world = World()
    world.register("w", host="fe80::1")
    world.submit(service("s", port=80))
    world.ready("s", port=80)
    assert world.core.job_info("s").url == "http://[fe80::1]:80"


# --- restart on request ---


def test_a_restart_on_request_waits_for_nothing_and_counts_as_no_crash(world: World):
    world.submit(service("s"))
    crash(world, "s", 4)
    assert world.restart_service("s") == ["run1/s"]
    assert [command.lease for command in world.ends_asked()] == [world.lease("s")]
    attempt = world.core.job_info("s").attempt
    world.end("s", "cancelled", -15)
    assert (world.state("s"), world.core.job_info("s").attempt) == ("RUNNING", attempt + 1)
    assert crash(world, "s") == [1]


def test_a_restart_ends_the_wait_of_one_that_crashed(world: World):
    world.submit(service("s"))
    world.end("s", "failed")
    assert world.state("s") == "DELAYED"
    world.restart_service("s")
    assert world.dispatched_ids() == ["s"]
    world.pass_time(10)
    assert crash(world, "s") == [2]


def test_a_restart_does_not_take_back_a_stop(world: World):
    world.submit(service("s"))
    world.stop("s")
    assert world.restart_service("s") == []
    world.end("s", "cancelled")
    assert world.state("s") == "COMPLETED"


def test_a_stop_goes_before_a_restart(world: World):
    world.submit(service("s"))
    world.restart_service("s")
    world.stop("s")
    world.end("s", "cancelled")
    assert world.state("s") == "COMPLETED"


def test_a_service_that_has_ended_is_started_anew(world: World):
    world.submit(job("build"), service("s", "build", delay_ms=5000, service=AUTO))
    world.end("build")
    world.pass_time(5)
    world.stop("s")
    world.end("s", "cancelled")
    (key,) = world.restart_service("s")
    assert (world.core.find_key("s"), world.state("s")) == (key, "RUNNING")
    assert world.core.job_info("s").parents == ()


def test_only_services_are_restarted(world: World):
    run = world.submit(job("a"), service("s"))
    with pytest.raises(Conflict, match="is no service"):
        world.restart_service("a")
    with pytest.raises(NotFound):
        world.restart_service("nobody")
    assert world.restart_service(run) == [f"{run}/s"]


def test_a_stop_between_two_attempts_completes(world: World):
    world.submit(service("s"), job("after", "s"))
    world.end("s", "failed")
    world.stop("s")
    assert world.states("s", "after") == ["COMPLETED", "RUNNING"]
    world.submit(service("t", requirement=("GPU",)))
    world.register("gpu", "GPU", port=8081)
    world.silence("gpu")
    assert world.state("t") == "PENDING"
    world.stop("t")
    assert world.state("t") == "COMPLETED"


# --- scaling ---


def test_replicas_come_and_go(world: World):
    world.submit(service("api", service=AUTO))
    started, stopped = world.scale("api", 3)
    assert ([key.partition("/")[2] for key in started], stopped) == (["api.2", "api.3"], [])
    assert world.states("api", "api.2", "api.3") == ["RUNNING"] * 3
    assert world.scale("api", 3) == ([], [])
    _, stopped = world.scale("api", 1)
    assert [key.partition("/")[2] for key in stopped] == ["api.2", "api.3"]
    with pytest.raises(Conflict, match=r"api\.2 is still being stopped"):
        world.scale("api", 2)
    world.end("api.2", "cancelled")
    world.end("api.3", "cancelled")
    assert len(world.scale("api", 2)[0]) == 1
    assert len(world.scale("api", 0)[1]) == 2


def test_replicas_are_durable(world: World):
    world.submit(service("api", service=AUTO))
    world.scale("api", 2)
    world.restart()
    assert world.states("api", "api.2") == ["RUNNING", "RUNNING"]


def test_what_cannot_be_scaled(world: World):
    world.submit(service("api", port=8000), job("a"))
    with pytest.raises(
        Conflict, match="fixed port 8000, and each replica needs a machine of its own for it; 1 machine"
    ):
        world.scale("api", 2)
    with pytest.raises(Conflict, match="is no service"):
        world.scale("a", 2)
    with pytest.raises(NotFound):
        world.scale("nobody", 2)
    with pytest.raises(SubmissionRefused, match="out of range"):
        world.scale("api", 101)
    assert world.scale("api", 1) == ([], [])


# --- replacing ---


def test_the_old_version_is_stopped_when_the_new_one_is_ready(world: World):
    old = world.submit(service("api", service=AUTO))
    world.ready("api", port=4001)
    new = world.submit(service("api", file="v2.py", service=AUTO), replace=True)
    world.do(TimePassed())
    assert world.core.find_key("api") == f"{old}/api"
    assert not world.ends_asked()
    assert [(info.job.run_id, info.replaces) for info in world.core.services("api", 0)] == [
        (old, ""),
        (new, f"{old}/api"),
    ]
    world.ready(f"{new}/api", port=4002)
    assert world.core.find_key("api") == f"{new}/api"
    assert [command.lease.job for command in world.ends_asked()] == [f"{old}/api"]
    world.end(f"{old}/api", "cancelled")
    info = world.core.job_info(f"{old}/api")
    assert (info.state, info.reason) == ("COMPLETED", f"replaced by {new}/api")
    assert world.core.job_info("api").url == "http://10.0.0.1:4002"


def test_a_version_that_crashes_goes_and_the_old_one_stays(world: World):
    old = world.submit(service("api", service=AUTO))
    world.ready("api")
    new = world.submit(service("api", service=AUTO), replace=True)
    crash(world, f"{new}/api", 2)
    world.end(f"{new}/api", "failed", 1)
    info = world.core.job_info(f"{new}/api")
    assert info.state == "CANCELLED"
    assert info.reason.startswith(f"rolled back, {old}/api stays: crash loop: exit code 1")
    assert (world.core.find_key("api"), world.core.job_info("api").ready) == (f"{old}/api", True)
    world.submit(service("api", service=AUTO), replace=True)


def test_a_version_that_is_never_ready_is_given_up_in_time(world: World):
    old = world.submit(service("api", service=AUTO))
    new = world.submit(service("api", requirement=("GPU",), service=AUTO), replace=True)
    world.pass_time(179)
    assert world.state(f"{new}/api") == "PENDING"
    world.pass_time(1)
    info = world.core.job_info(f"{new}/api")
    assert (info.state, info.reason) == ("CANCELLED", f"rolled back, {old}/api stays: it is still PENDING")


def test_a_rollout_goes_on_after_the_master_was_killed(world: World):
    old = world.submit(service("api", service=AUTO))
    new = world.submit(service("api", service=AUTO), replace=True)
    leases = tuple(world.lease(f"{run}/api") for run in (old, new))
    world.restart()
    assert world.core.find_key("api") == f"{old}/api"
    assert any(isinstance(command, SetAlarm) for command in world.commands)
    world.register("w", holding=leases)
    world.ready(f"{new}/api")
    assert world.core.find_key("api") == f"{new}/api"
    world.restart()
    assert world.core.find_key("api") == f"{new}/api"


def test_replicas_are_replaced_with_their_service(world: World):
    world.submit(service("api", service=AUTO))
    world.scale("api", 3)
    new = world.submit(service("api", file="v2.py", service=AUTO), replace=True)
    for name, waits in (("api", "api.2"), ("api.2", "api.3"), ("api.3", "")):
        assert not waits or world.state(f"{new}/{waits}") == "WAITING", "one after the other"
        world.ready(f"{new}/{name}")
    assert {world.core.find_key(name) for name in ("api", "api.2", "api.3")} == {
        f"{new}/{name}" for name in ("api", "api.2", "api.3")
    }


def test_no_replica_is_replaced_when_the_first_is_never_ready(world: World):
    old = world.submit(service("api", service=AUTO))
    ((replica,), _) = world.scale("api", 2)
    new = world.submit(service("api", file="broken.py", service=AUTO), replace=True)
    crash(world, f"{new}/api", 2)
    world.end(f"{new}/api", "failed", 1)
    assert world.states(f"{new}/api", f"{new}/api.2") == ["CANCELLED", "CANCELLED"]
    assert [row.kind for row in world.journal.events[-1:]] == ["service-rolled-back"]
    assert (world.core.find_key("api"), world.core.find_key("api.2")) == (f"{old}/api", replica)
    assert world.states("api", "api.2") == ["RUNNING", "RUNNING"]


def test_a_new_version_may_wait_for_what_builds_it(world: World):
    old = world.submit(service("api", service=AUTO))
    new = world.submit(job("build"), service("api", "build", service=AUTO), replace=True)
    world.pass_time(1000)
    assert world.core.find_key("api") == f"{old}/api"
    world.end("build")
    world.ready(f"{new}/api")
    assert world.core.find_key("api") == f"{new}/api"
    world.end(f"{old}/api", "cancelled")
    other = world.submit(job("build", retries=0), service("api", "build", service=AUTO), replace=True)
    assert world.state(f"{other}/build") == "RUNNING"
    world.end("build", "failed")
    assert (world.state(f"{other}/api"), world.core.find_key("api")) == ("DEAD", f"{new}/api")


def test_stopping_the_name_stops_both_versions(world: World):
    old = world.submit(service("api", service=AUTO))
    new = world.submit(service("api", service=AUTO), replace=True)
    assert world.stop("api") == [f"{old}/api", f"{new}/api"]
    for run in (new, old):
        world.end(f"{run}/api", "cancelled")
    assert world.core.services("", 0) == []


def test_the_name_goes_to_the_new_version_when_the_old_one_ends(world: World):
    old = world.submit(service("api", service=ServiceSpec(auto_port=True, restart="never")))
    new = world.submit(service("api", service=AUTO), replace=True)
    world.end(f"{old}/api", "failed")
    assert world.core.find_key("api") == f"{new}/api"
    world.pass_time(600)
    assert world.state("api") == "RUNNING"


def test_old_and_new_may_end_and_leave_memory_at_once():
    world = World(CoreLimits(finished_jobs_in_memory=1))
    old = world.submit(service("api", service=AUTO))
    new = world.submit(service("api", service=AUTO), replace=True)
    world.cancel("api")
    world.core.check_invariants()
    assert world.core.find_key(f"{old}/api") is None
    assert world.state(f"{new}/api") == "CANCELLED"
    world.register("w")
    world.submit(service("api", service=AUTO))
    assert world.state("api") == "RUNNING"


def test_what_cannot_be_replaced_is_refused(world: World):
    world.submit(job("a"))
    with pytest.raises(Conflict, match="only a service is replaced"):
        world.submit(service("a"), replace=True)
    world.submit(service("api", port=8000))
    world.submit(service("api", port=8001), replace=True)
    with pytest.raises(Conflict, match="is being replaced already"):
        world.submit(service("api", port=8002), replace=True)
    with pytest.raises(Conflict, match="is still RUNNING"):
        world.submit(service("api", port=8002))


def test_a_version_that_was_given_up_is_out_of_the_way_first(world: World):
    old = world.submit(service("api", service=AUTO))
    new = world.submit(service("api", service=AUTO), replace=True)
    world.pass_time(180)
    assert world.state(f"{new}/api") == "RUNNING" and world.core.find_key("api") == f"{old}/api"
    with pytest.raises(Conflict, match="is still being stopped"):
        world.submit(service("api", service=AUTO), replace=True)
    world.cancel(f"{old}/api")
    world.end(f"{old}/api", "cancelled")
    assert world.core.find_key("api") == f"{new}/api", "it still runs, and so has its id"
    with pytest.raises(Conflict, match="is still RUNNING"):
        world.submit(service("api", service=AUTO))
    world.end(f"{new}/api", "cancelled")
    world.submit(service("api", service=AUTO))
    assert world.state("api") == "RUNNING"


@pytest.mark.parametrize("restarted", [False, True])
def test_a_version_that_is_cancelled_replaces_nothing_though_it_gets_ready(world: World, restarted: bool):
    old = world.submit(service("api", service=AUTO))
    new = world.submit(service("api", service=AUTO), replace=True)
    leases = tuple(world.lease(f"{run}/api") for run in (old, new))
    world.cancel(f"{new}/api")
    if restarted:
        world.restart()
        world.register("w", holding=leases)
    world.ready(f"{new}/api")
    assert world.core.find_key("api") == f"{old}/api" and not world.journal.jobs[f"{old}/api"].ending
    world.end(f"{new}/api", "cancelled")
    assert world.state("api") == "RUNNING"


def test_the_same_port_is_taken_on_another_machine(world: World):
    world.submit(service("api", port=8000))
    world.register("near", slots=9, port=8081)
    world.register("far", slots=1, port=8080, host="10.0.0.2")
    new = world.submit(service("api", port=8000), replace=True)
    assert world.worker_of(f"{new}/api") == "far"


def test_the_only_machine_hands_its_port_over(world: World):
    """The old one ends first; the new one takes its slot before what waited longer."""
    world.register("w", slots=1)
    old = world.submit(service("api", port=8000))
    world.ready("api")
    world.submit(job("queued"))
    new = world.submit(service("api", port=8000), replace=True)
    notes = [command.value.notes for command in world.commands if isinstance(command, Answer)]
    assert len(notes) == 1 and "no other machine has port 8000" in notes[0][0] and "a gap" in notes[0][0]
    assert [command.lease.job for command in world.ends_asked()] == [f"{old}/api"]
    assert world.state(f"{new}/api") == "PENDING"
    world.end(f"{old}/api", "cancelled")
    assert world.states(f"{old}/api", f"{new}/api", "queued") == ["DELAYED", "RUNNING", "PENDING"]
    world.ready(f"{new}/api")
    assert world.states(f"{old}/api", f"{new}/api") == ["COMPLETED", "RUNNING"]
    assert world.core.find_key("api") == f"{new}/api"
    kinds = [row.kind for row in world.journal.events if row.kind.startswith("service-")]
    assert kinds == ["service-handover", "service-replaced"]


@pytest.mark.parametrize("restarted", [False, True])
def test_who_stepped_aside_comes_back_when_the_new_one_is_never_ready(world: World, restarted: bool):
    old = world.submit(service("api", port=8000))
    world.ready("api")
    new = world.submit(service("api", port=8000, service=ServiceSpec(start_s=5)), replace=True)
    world.end(f"{old}/api", "cancelled")
    if restarted:
        lease = world.lease(f"{new}/api")
        world.restart()
        world.register("w", holding=(lease,))
    world.pass_time(world.limits.rollout_s + 11)
    assert [command.lease.job for command in world.ends_asked()] == [f"{new}/api"]
    assert world.core.find_key("api") == f"{old}/api"
    world.end(f"{new}/api", "cancelled")
    assert world.states(f"{old}/api", f"{new}/api") == ["RUNNING", "CANCELLED"]


def test_both_versions_of_a_handover_are_stopped_by_their_name(world: World):
    old = world.submit(service("api", port=8000))
    new = world.submit(service("api", port=8000), replace=True)
    world.stop("api")
    world.end(f"{old}/api", "cancelled")
    assert world.states(f"{old}/api", f"{new}/api") == ["COMPLETED", "CANCELLED"]
    world.core.check_invariants()


def test_a_new_version_waits_for_the_machine_where_the_port_is_free(world: World):
    world.submit(service("api", port=8000))
    world.register("far", slots=1, host="10.0.0.2")
    world.submit(job("a"), job("b"), job("c"), job("d"))
    far = next(name for name in "abcd" if world.worker_of(name) == "far")
    new = world.submit(service("api", port=8000), replace=True)
    assert not world.ends_asked() and world.state(f"{new}/api") == "PENDING"
    world.end(far)
    assert world.worker_of(f"{new}/api") == "far"


def test_a_port_is_held_once_on_each_machine(world: World):
    world.submit(service("one", port=8000))
    world.register("beside", port=8081)
    world.submit(service("two", port=8000))
    assert world.state("two") == "PENDING"
    assert "waits for port 8000, which run1/one has" in world.core.job_info("two").reason
    assert "port 8000 of its machine is held by run1/one" in {each.text for each in world.core.explain("two").workers}
    world.stop("one")
    world.end("one", "cancelled")
    assert world.state("two") == "RUNNING"


def test_workers_of_one_machine_share_its_ports_whatever_it_is_called(world: World):
    world.register("w", machine="box")
    world.submit(service("one", port=8000))
    world.register("alias", host="box.example.org", port=8081, machine="box")
    world.submit(service("two", port=8000))
    assert world.state("two") == "PENDING"
    world.register("alias", host="box.example.org", port=8081, machine="other")
    assert world.worker_of("two") == "alias"


def test_replicas_of_a_fixed_port_go_to_a_machine_each(world: World):
    world.submit(service("api", port=8000))
    world.register("far", host="10.0.0.2")
    world.scale("api", 2)
    assert {world.worker_of("api"), world.worker_of("api.2")} == {"w", "far"}
    with pytest.raises(Conflict, match="2 machines could run it"):
        world.scale("api", 3)


def test_a_stop_by_name_stops_the_replicas_too(world: World):
    world.submit(service("api", service=AUTO), service("api.3"))
    world.scale("api", 2)
    assert world.stop("api.2") == ["run2/api.2"]
    world.end("api.2", "cancelled")
    world.scale("api", 2)
    assert sorted(world.stop("api")) == ["run1/api", "run3/api.2"]
    assert world.state("api.3") == "RUNNING", "it only sounds like a replica"


def test_a_service_that_lost_its_worker_leaves_events(world: World):
    world.submit(service("api", port=8000))
    world.register("other", host="10.0.0.2")
    world.do(WorkerSilent("w", "boot1", "no sign of life"))
    assert world.worker_of("api") == "other"
    assert [row.kind for row in world.journal.events[-3:]] == ["worker-died", "service-lost", "service-moved"]
    assert "from 10.0.0.1:8080 to 10.0.0.2:8080" in world.journal.events[-1].text


def test_a_new_service_may_be_submitted_as_a_replacement(world: World):
    world.submit(service("api"), replace=True)
    assert world.state("api") == "RUNNING"


# --- as long as a run needs it ---


def test_a_service_of_a_run_is_stopped_after_the_last_that_needs_it(world: World):
    tied = ServiceSpec(lifetime="run")
    world.submit(
        service("db", service=tied), job("load", "db"), job("query", "load"), service("api", "db", service=tied),
        job("test", "api"), job("bystander"), service("other"),
    )  # fmt: skip
    world.ready("db")
    world.ready("api")
    world.end("load")
    world.end("query", "failed")
    world.pass_time(1)
    world.end("test")
    assert [command.lease.job for command in world.ends_asked()] == ["run1/api"]
    world.end("api", "cancelled")
    assert not world.ends_asked()
    world.end("query")
    assert [command.lease.job for command in world.ends_asked()] == ["run1/db"]
    world.end("db", "cancelled")
    assert world.states("db", "api", "bystander", "other") == ["COMPLETED", "COMPLETED", "RUNNING", "RUNNING"]


def test_it_is_stopped_after_a_restart_of_the_master_too(world: World):
    world.submit(service("db", service=ServiceSpec(lifetime="run")), job("a", "db"))
    world.ready("db")
    leases = (world.lease("db"), world.lease("a"))
    world.restart()
    world.register("w", holding=leases)
    world.end("a")
    assert [command.lease.job for command in world.ends_asked()] == ["run1/db"]


def test_it_is_stopped_when_those_that_wait_are_cancelled(world: World):
    world.submit(service("db", service=ServiceSpec(lifetime="run")), job("a", "db"))
    world.end("db", "failed")
    world.cancel("a")
    assert world.state("db") == "COMPLETED"


def test_a_lifetime_that_would_be_over_at_once_is_refused(world: World):
    with pytest.raises(SubmissionRefused, match="none depends on this one"):
        world.submit(service("db", service=ServiceSpec(lifetime="run")), job("a"))


def test_the_list_of_services(world: World):
    world.submit(service("api", service=AUTO), job("a"), job("w2", kind="worker", port=8085))
    world.submit(service("waiting", requirement=("GPU",)))
    world.ready("api", port=4000)
    world.pass_time(5)
    found = world.core.services("", world.now.wall)
    assert [(info.job.id, info.status, info.uptime_s) for info in found] == [
        ("api", "ready", 5),
        ("waiting", "waiting", 0),
    ]
    assert found[1].job.reason == "no worker with GPU"
    world.scale("api", 2)
    assert [info.job.id for info in world.core.services("api", 0)] == ["api", "api.2"]
    world.stop("api")
    assert world.core.services("api", 0)[0].status == "stopping"


def test_early_looks_do_no_harm(world: World):
    world.submit(service("api", service=AUTO))
    world.submit(service("api", service=AUTO), replace=True)
    world.do(TimePassed())
    assert len(world.core.services("api", 0)) == 2


def test_the_attempts_that_are_remembered_bound_the_count():
    world = World(CoreLimits(executions_per_job=3))
    world.register("w")
    world.submit(service("s"))
    assert crash(world, "s", 5) == [1, 2, 4, 4, 4]


def test_restarts_and_crash_loops_are_events(world: World):
    world.submit(service("s"))
    crash(world, "s", world.limits.crash_loop_after)
    kinds = [(row.kind, row.subject) for row in world.journal.events if row.kind.startswith("service-")]
    key = world.lease("s").job
    assert kinds == [("service-restarting", key)] * (world.limits.crash_loop_after - 1) + [("service-crash-loop", key)]
    assert "exit code 1" in world.journal.events[-1].text


def test_a_service_with_an_id_that_was_made_up_is_found_by_its_file(world: World):
    world.submit(service("SVC-app-1a2b3c4d"), service("SVC-app-v2-1a2b3c4d"))
    assert world.core.find_key("app") == world.core.find_key("app.py") == "run1/SVC-app-1a2b3c4d"
    world.submit(service("SVC-app-99999999"))
    assert world.core.find_key("app") is None, "which one?"
    world.submit(job("app"))
    assert world.core.find_key("app") == "run3/app"


def test_what_has_not_run_is_replaced_at_once(world: World):
    world.submit(service("other", port=8000))
    old = world.submit(service("api", port=8000))
    new = world.submit(service("api", port=8000), replace=True)
    assert world.states(f"{old}/api", f"{new}/api") == ["CANCELLED", "PENDING"]
