"""Schedules in the core: misfires, overlaps, clocks that are set, restarts."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from titan_core.model.states import JobState
from titan_core.scheduling.core.events import (
    AttemptEnded,
    RunSubmitted,
    ScheduleDeleted,
    SchedulePaused,
    SchedulePut,
    ScheduleTriggered,
    TimePassed,
)
from titan_core.scheduling.core.scheduler_core import CoreLimits, SchedulerCore
from titan_core.scheduling.core.schedules import HORIZON_S, MAX_WAITING, SCHEDULES_PER_EVENT
from titan_sdk.errors import Conflict, NotFound, SubmissionRefused
from titan_sdk.messages import (
    FiringInfo,
    FlowSpec,
    JobSpec,
    Recurrence,
    RunOptions,
    ScheduleInfo,
    ScheduleSpec,
    ServiceSpec,
)
from titan_test_suite.pytests.core_world import WALL_START, World

JOBS = (JobSpec(id="a", file="a.py"), JobSpec(id="b", file="b.py", parents=("a",)))


def put(world: World, name: str = "s", *jobs: JobSpec, options: RunOptions | None = None, **when: Any) -> Any:
    spec = ScheduleSpec(
        name=name,
        jobs=jobs or JOBS,
        when=Recurrence(**(when if "cron" in when else {"every_ms": 60_000, **when})),
        options=options,
    )
    return world.do(SchedulePut(spec))


def info(world: World, name: str = "s") -> ScheduleInfo:
    return world.core.schedules(name, 0, 1)[0][0][0]


def firings(world: World, outcome: str = "") -> list[FiringInfo]:
    return [each for each in world.journal.firings.values() if not outcome or each.outcome == outcome]


def finish(world: World) -> None:
    """Let everything that is dispatched complete."""
    while world.core.counts()["RUNNING"]:
        for row in world.journal.in_state(JobState.RUNNING):
            lease = world.core.current_lease(row.key)
            assert lease is not None
            world.do(AttemptEnded(row.worker_id, lease, "completed", 0))


def minutes(firings_: list[FiringInfo]) -> list[float]:
    return [(each.due_at - WALL_START) / 60_000 for each in firings_]


def test_a_due_time_becomes_a_run_that_knows_what_it_is_for() -> None:
    world = World()
    world.register("w")
    assert put(world, options=RunOptions(params={"region": "eu"}), every_ms=60_000) == (True, True)
    world.pass_time(59)
    assert not firings(world)
    world.pass_time(1)
    (firing,) = firings(world, "fired")
    assert firing.due_at == WALL_START + 60_000 and world.core.run_info(firing.run_id).name == "s"
    spec = world.journal.specs[f"{firing.run_id}/a"]
    assert spec.env == {
        "TITAN_SCHEDULE": "s",
        "TITAN_DUE_AT": "2027-01-15T08:01:00+00:00",
        "TITAN_PARAM_REGION": "eu",
    }
    assert info(world).last_run == replace(firing, state="RUNNING")
    finish(world)
    last_run = info(world).last_run
    assert last_run is not None and last_run.state == "COMPLETED" and last_run.ended_at
    assert world.journal.firings[1, 1] == last_run


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    ("misfire", "fired", "missed"),
    [("latest", [5], 4), ("skip", [], 5), ("all", [1, 2, 3, 4, 5], 0)],
)
def test_what_was_missed_is_up_to_the_misfire_policy(
    misfire: str, fired: list[int], missed: int, restarted: bool
) -> None:
    world = World()
    world.register("w")
    put(world, every_ms=60_000, misfire=misfire)
    if restarted:
        world.restart(wall_jump_ms=5 * 60_000 + 20_000)
        world.register("w")
    else:
        world.do(SchedulePaused("s"))
        world.pass_time(5 * 60 + 20)
        world.do(SchedulePaused("s", undo=True))
    world.pass_time(0)
    for _ in range(6):
        finish(world)
    assert minutes(firings(world, "fired")) == fired
    assert info(world).missed == missed == sum(each.count for each in firings(world, "missed"))
    world.pass_time(40)
    assert minutes(firings(world, "fired")) == [*fired, 6]


def test_all_goes_back_as_far_as_its_window_and_a_bound() -> None:
    world = World()
    put(world, every_ms=60_000, misfire="all", misfire_window_ms=600_000)
    put(world, "long", JobSpec(id="x", file="x.py"), every_ms=60_000, misfire="all", misfire_window_ms=10**9)
    world.restart(wall_jump_ms=500 * 60_000)
    world.pass_time(0)
    assert len(info(world).waiting) + info(world).fired == 11 and info(world).missed == 489
    assert len(info(world, "long").waiting) + 1 == MAX_WAITING


def test_missed_for_years_costs_no_more_than_missed_for_days() -> None:
    world = World()
    put(world, cron="* * * * *")
    put(world, "second", JobSpec(id="x", file="x.py"), every_ms=1000)
    world.restart(wall_jump_ms=3 * 366 * 86_400_000)
    world.pass_time(0)
    for name in ("s", "second"):
        assert info(world, name).fired == 1 and info(world, name).missed == 1499
        assert world.now.wall - info(world, name).last_run.due_at < 60_000  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("overlap", "active", "waiting", "skipped"),
    [("skip", [1], [], 2), ("queue", [1], [2, 3], 0), ("allow", [1, 2, 3], [], 0)],
)
def test_an_unfinished_run_is_up_to_the_overlap_policy(
    overlap: str, active: list[int], waiting: list[int], skipped: int
) -> None:
    world = World()
    world.register("w")
    put(world, overlap=overlap, every_ms=60_000)
    world.pass_time(200)
    state = info(world)
    assert minutes(firings(world, "fired")) == active
    assert [(due - WALL_START) / 60_000 for due in state.waiting] == waiting and state.skipped == skipped
    world.restart()
    world.register("w")
    for _ in range(3):
        finish(world)
    assert not info(world).active and not info(world).waiting
    assert minutes(firings(world, "fired")) == sorted({*active, *waiting})
    ids = {key.partition("/")[2] for key in world.journal.jobs}
    assert len(ids) == (6 if overlap == "allow" else 2)


def test_cancel_ends_the_former_run_and_starts_when_it_is_gone() -> None:
    world = World()
    world.register("w")
    put(world, overlap="cancel", every_ms=60_000)
    world.pass_time(120)
    first, *rest = firings(world)
    assert not rest and info(world).waiting == [WALL_START + 120_000]
    assert world.journal.jobs[f"{first.run_id}/b"].state is JobState.CANCELLED
    lease = world.core.current_lease(f"{first.run_id}/a")
    assert lease is not None
    world.do(AttemptEnded("w", lease, "cancelled"))
    assert minutes(firings(world, "fired")) == [1, 2]
    assert world.journal.firings[1, 1].state == "CANCELLED"


def test_cancel_of_what_is_not_running_starts_at_once() -> None:
    world = World()
    put(world, overlap="cancel", every_ms=60_000)
    world.pass_time(180)
    assert minutes(firings(world, "fired")) == [1, 2, 3] and len(info(world).active) == 1


def test_a_clock_set_back_fires_nothing_twice_and_one_set_forward_is_a_misfire() -> None:
    world = World()
    put(world, "s", JobSpec(id="a", file="a.py"), overlap="cancel", every_ms=60_000)
    world.pass_time(60)
    world.now = world.now._replace(wall=world.now.wall - 150_000)
    world.pass_time(150)
    assert minutes(firings(world)) == [1]  # Journal asserts too that no due time is decided twice
    world.pass_time(60)
    assert minutes(firings(world, "fired")) == [1, 2]
    world.now = world.now._replace(wall=world.now.wall + 3_600_000)
    world.pass_time(HORIZON_S)
    assert minutes(firings(world, "fired")) == [1, 2, 62] and info(world).missed == 59


def test_a_refused_run_is_told_of_and_stops_nothing() -> None:
    world = World()
    world.submit(JobSpec(id="a", file="a.py"))
    put(world, every_ms=60_000)
    world.pass_time(60)
    (firing,) = firings(world)
    assert firing.outcome == "refused" and "still PENDING" in firing.reason and info(world).last == firing
    assert any(row.kind == "schedule-refused" and "still PENDING" in row.text for row in world.journal.events)
    world.cancel("a")
    world.pass_time(60)
    assert [each.outcome for each in firings(world)] == ["refused", "fired"]


def test_a_master_that_takes_nothing_new_refuses_what_is_due() -> None:
    world = World()
    put(world)
    world.now = world.now._replace(wall=world.now.wall + 60_000)
    world.do(TimePassed("the disk is full"))
    assert [(each.outcome, each.reason) for each in firings(world)] == [("refused", "the disk is full")]


def test_jitter_is_the_same_after_a_restart_and_another_for_each_due_time() -> None:
    lateness = []
    for restarted in (False, True):
        world = World()
        put(world, "s", JobSpec(id="a", file="a.py"), every_ms=600_000, jitter_ms=300_000, overlap="cancel")
        for _ in range(5):
            world.pass_time(599)
            if restarted:
                world.restart()
        lateness.append([each.at - each.due_at for each in firings(world, "fired")])
    assert lateness[0][:4] == lateness[1][:4] and len(set(lateness[0])) >= 4
    assert all(0 <= late <= 300_000 for late in lateness[0])


def test_another_version_keeps_history_and_pause_and_fires_nothing_of_the_past() -> None:
    world = World()
    put(world, every_ms=60_000, overlap="cancel")
    world.pass_time(90)
    world.do(SchedulePaused("s"))
    world.pass_time(300)
    assert put(world, every_ms=60_000, overlap="cancel") == (False, False)
    assert put(world, cron="*/10 * * * *", overlap="cancel") == (False, True)
    assert info(world).paused and info(world).fired == 1
    world.do(SchedulePaused("s", undo=True))
    world.pass_time(0)
    assert info(world).fired == 1
    world.pass_time(600)
    assert minutes(firings(world, "fired")) == [1, 10] and not info(world).missed


def test_a_trigger_fires_a_paused_one_and_obeys_the_overlap_policy() -> None:
    world = World()
    put(world)
    world.do(SchedulePaused("s"))
    run_id = world.do(ScheduleTriggered("s"))
    assert world.core.run_info(run_id).name == "s" and info(world).active == [run_id]
    with pytest.raises(Conflict, match=run_id):
        world.do(ScheduleTriggered("s"))
    put(world, overlap="queue")
    assert world.do(ScheduleTriggered("s")) == ""
    world.cancel(run_id)
    assert [each.manual for each in firings(world, "fired")] == [True, True]


def test_a_schedule_that_is_deleted_is_forgotten_and_its_run_goes_on() -> None:
    world = World()
    world.register("w")
    put(world)
    world.pass_time(60)
    world.do(ScheduleDeleted("s"))
    assert not world.journal.schedules and not world.journal.firings
    for event in (ScheduleDeleted("s"), ScheduleTriggered("s"), SchedulePaused("s")):
        with pytest.raises(NotFound):
            world.do(event)
    finish(world)
    world.restart()
    world.pass_time(600)
    assert len(world.core.list_runs(10).runs) == 1
    put(world)
    assert list(world.journal.schedules) == [2]


def test_start_and_end() -> None:
    world = World()
    put(world, every_ms=60_000, overlap="cancel", start_at=WALL_START + 90_000, end_at=WALL_START + 215_000)
    world.pass_time(600)
    assert minutes(firings(world, "fired")) == [1.5, 2.5, 3.5]
    assert world.journal.events[-1].kind == "schedule-ended" and world.alarm is None


@pytest.mark.parametrize(
    ("jobs", "when", "said"),
    [
        (JOBS, {"cron": "61 * * * *"}, "bad minute"),
        (JOBS, {"cron": "* * * *"}, "five fields"),
        (JOBS, {"cron": "0 0 30 2 *"}, "30 2"),
        (JOBS, {"cron": "* * * * *", "timezone": "Mars/Base"}, "no time zone 'Mars/Base'"),
        (JOBS, {"every_ms": 10}, "out of range"),
        (JOBS, {}, "a cron expression or an interval"),
        (JOBS, {"cron": "* * * * *", "every_ms": 1000}, "not both"),
        ((), {"every_ms": 1000}, "no jobs"),
        ((JobSpec(id="s", file="s.py", kind="service"),), {"every_ms": 1000}, "lifetime run"),
        ((JobSpec(id="a", file="a.py", parents=("nobody",)),), {"every_ms": 1000}, "nobody"),
    ],
)
def test_what_cannot_be_scheduled_is_refused(jobs: tuple[JobSpec, ...], when: dict[str, Any], said: str) -> None:
    world = World()
    with pytest.raises(SubmissionRefused, match=said):
        world.do(SchedulePut(ScheduleSpec(name="s", jobs=jobs, when=Recurrence(**when))))
    assert not world.journal.schedules and world.alarm is None


def test_a_service_that_ends_with_its_run_may_be_scheduled() -> None:
    service = JobSpec(id="db", file="db.py", kind="service", service=ServiceSpec(lifetime="run"))
    world = World()
    assert put(world, "s", service, JobSpec(id="a", file="a.py", parents=("db",)), every_ms=1000) == (True, True)


def test_ten_thousand_schedules_are_a_heap_and_come_in_portions() -> None:
    limits = CoreLimits()
    world = World(limits)
    core, now = SchedulerCore(limits), world.now
    for number in range(10_000):
        job = JobSpec(id=f"j{number}", file="a.py")
        core.handle(SchedulePut(ScheduleSpec(name=f"s{number}", jobs=(job,), when=Recurrence(every_ms=60_000))), now)
    asked = 0
    heap = core._schedules.book
    original = heap.next_fire

    def counted() -> int | None:
        nonlocal asked
        asked += 1
        return original()

    heap.next_fire = counted  # type: ignore[method-assign]
    core.handle(RunSubmitted("r", "r", (JobSpec(id="other", file="a.py"),)), now)
    assert asked == 1  # an event that is about none of them asks the heap once
    later = now._replace(monotonic=now.monotonic + 60, wall=now.wall + 60_000)
    before = core.counts()["PENDING"]
    core.handle(TimePassed(), later)
    assert core.counts()["PENDING"] - before == SCHEDULES_PER_EVENT


def test_a_run_that_ends_as_it_begins_is_over_for_its_schedule() -> None:
    world = World()
    never = JobSpec(id="a", file="a.py", flow=FlowSpec(when="params.region == 'us'"))
    put(world, "s", never, options=RunOptions(params={"region": "eu"}), every_ms=60_000)
    world.pass_time(121)
    assert [(each.outcome, each.state) for each in firings(world)] == [("fired", "COMPLETED")] * 2
    assert not info(world).active


def test_a_run_that_waited_for_another_and_skips_its_jobs_has_its_handlers_at_once() -> None:
    world = World()
    world.register("w", slots=4)
    never = JobSpec(id="a", file="a.py", flow=FlowSpec(when="params.region == 'us'"))
    last = JobSpec(id="last", file="b.py", flow=FlowSpec(handler="finally"))
    put(world, "s", never, last, options=RunOptions(params={"region": "eu"}), every_ms=3_600_000, overlap="queue")
    first, second = (world.do(ScheduleTriggered("s")) for _ in range(2))
    assert first and not second
    (row,) = world.journal.in_state(JobState.RUNNING)
    lease = world.core.current_lease(row.key)
    assert lease is not None
    world.do(AttemptEnded(row.worker_id, lease, "completed", 0))
    assert [row.key for row in world.journal.in_state(JobState.RUNNING)] == [f"{firings(world)[1].run_id}/last"]


def test_what_jobs_say_of_each_other_follows_their_ids_when_runs_may_overlap() -> None:
    world = World()
    world.register("w", slots=4)
    flow = FlowSpec(when="parents.a-1.n > 1 and states['a-1'] == 'COMPLETED'", templates=True)
    child = JobSpec(id="b", file="b.py", parents=("a-1",), args=("n=${parents.a-1.n}", "$${x}"), flow=flow)
    put(world, "s", JobSpec(id="a-1", file="a.py"), child, every_ms=60_000, overlap="allow")
    world.pass_time(60)
    world.end("a-1.20270115T080100", outputs={"n": 2})
    assert world.dispatched()[0].spec.args == ("n=2", "${x}")


@pytest.mark.parametrize(
    ("job", "overlap", "said"),
    [
        (JobSpec(id="a", file="a.py", flow=FlowSpec(when="params.x == 1")), "skip", "the run has no parameter x"),
        (JobSpec(id="a" * 195, file="a.py"), "allow", "is longer than|bytes"),
    ],
)
def test_what_every_firing_would_be_refused_for_is_refused_at_once(job: JobSpec, overlap: str, said: str) -> None:
    with pytest.raises(SubmissionRefused, match=said):
        put(World(), "s", job, overlap=overlap)
