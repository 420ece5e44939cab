"""The core's read side: names, lists, explanations, and the monitor of PROTOCOL.md section 6."""

from __future__ import annotations

import pytest

from titan_core.model.run import SMALL
from titan_test_suite.pytests.core_world import World, job, service


@pytest.fixture
def world() -> World:
    return World()


def test_the_text_monitor_is_the_one_of_the_protocol(world: World):
    world.register("w1", port=8080)
    world.register("w2", "GPU", "HIGH_MEM", port=8081, slots=8)
    world.submit(service("DAG-step-4-server"), job("crunch"), job("blocked", "crunch"))
    assert world.core.stats_text().splitlines() == [
        "--- TITAN SYSTEM MONITOR ---",
        "Active Workers:    2",
        "Execution Queue:   0 jobs",
        "Delayed (Time):    0 jobs",
        "Blocked (DAG):     1 jobs",
        "Dead Letter (DLQ): 0 jobs",
        "-------------------------------",
        "Worker Status:",
        " • [8080] Load: 2/4 (50%)    | Skills: [GENERAL]",
        "    └── ⚙️ Service ID: DAG-step-4-server",
        " • [8081] Load: 0/8 (0%)     | Skills: [GPU, HIGH_MEM]",
    ]


def test_the_monitor_counts_every_state(world: World):
    world.submit(job("queued"))
    world.submit(job("delayed", delay_ms=1000), job("blocked", "delayed"))
    text = world.core.stats_text()
    for line in ("Active Workers:    0", "Execution Queue:   1 jobs", "Delayed (Time):    1 jobs"):
        assert line in text
    world.register("w")
    world.submit(job("bad", retries=0))
    world.end("bad", "failed")
    assert "Dead Letter (DLQ): 1 jobs" in world.core.stats_text()


def test_the_json_monitor_has_every_key_of_the_protocol(world: World):
    world.register("w", "GENERAL", "GPU")
    world.submit(job("a"))
    world.pass_time(0.012)
    world.end("a")
    world.submit(service("s"), job("b"))
    stats = world.core.stats_json()
    assert (stats["active_workers"], stats["queue_size"]) == (1, 0)
    [worker] = stats["workers"]
    wanted = {
        "port": 8080,
        "capabilities": "[GENERAL, GPU]",
        "load": "2/4",
        "active_job": "b",
        "history": [{"id": "a", "status": "COMPLETED", "time": "12ms", "completed_at": world.now.wall}],
        "services": ["s"],
    }
    assert {key: worker[key] for key in wanted} == wanted
    world.end("b")
    assert world.core.stats_json()["workers"][0]["active_job"] is None


def test_history_is_bounded_newest_last_and_speaks_of_what_ended(world: World):
    world.register("w")
    for number in range(30):
        world.submit(job(f"j{number}"))
        world.end(f"j{number}")
    world.submit(job("bad", retries=0), job("back"), job("gone"), service("s"))
    world.end("back", "handed_back")
    world.end("bad", "timed_out")
    world.cancel("gone")
    world.end("gone", "cancelled")
    world.stop("s")
    world.end("s", "cancelled")
    history = world.core.stats_json()["workers"][0]["history"]
    assert len(history) == 20
    assert [(past["id"], past["status"]) for past in history[-4:]] == [
        ("j29", "COMPLETED"),
        ("bad", "FAILED"),
        ("gone", "CANCELLED"),
        ("s", "COMPLETED"),
    ]


def test_dead_workers_are_listed_but_are_no_part_of_the_monitor(world: World):
    world.register("w")
    world.silence("w")
    assert world.core.stats_json()["workers"] == []
    assert "[8080]" not in world.core.stats_text()
    assert [worker.state for worker in world.core.workers()] == ["dead"]


def test_a_name_is_a_key_a_run_or_an_id_with_or_without_the_classic_prefix(world: World):
    run = world.submit(job("DAG-extract"), job("load", "DAG-extract"), run_id="r1")
    assert world.core.find_key("extract") == "r1/DAG-extract"
    assert world.core.find_key("DAG-extract") == "r1/DAG-extract"
    assert world.core.find_key("DAG-load") == "r1/load"
    assert world.core.find_key("r1/load") == "r1/load"
    assert world.core.find_key("r1") is None
    for name in ("r1", "load", "DAG-load", "r1/load"):
        assert world.core.run_info(name).run_id == run
    assert [info.id for info in world.core.run_info("r1").jobs] == ["DAG-extract", "load"]


def test_the_exact_id_goes_before_the_prefixed_one(world: World):
    world.submit(job("x"), run_id="r1")
    world.submit(job("DAG-x"), run_id="r2")
    assert world.core.find_key("x") == "r1/x"
    assert world.core.find_key("DAG-x") == "r2/DAG-x"


def test_jobs_are_listed_newest_first(world: World):
    world.register("w", slots=1)
    for number in range(5):
        world.submit(job(f"j{number}"))
    world.end("j0")
    newest = world.core.list_jobs(limit=2)
    assert ([info.id for info in newest.jobs], newest.total) == (["j4", "j3"], 5)
    queued = world.core.list_jobs(["PENDING", "RUNNING"], 10)
    assert ([info.id for info in queued.jobs], queued.total) == (["j4", "j3", "j2", "j1"], 4)
    assert world.core.list_jobs(["DEAD"]).total == 0


def test_a_pending_job_says_what_is_missing(world: World):
    world.submit(job("a", requirement=("GPU", "HIGH_MEM")))
    world.register("w", "GPU")
    assert world.core.job_info("a").reason == "no worker with GPU and HIGH_MEM"
    assert world.core.list_jobs().jobs[0].reason == "no worker with GPU and HIGH_MEM"
    world.register("both", "GPU", "HIGH_MEM", slots=0)
    assert world.core.job_info("a").reason == ""


def test_the_dialect_is_named_where_a_classic_worker_lacks_nothing_else(world: World):
    world.submit(job("a", env={"A": "1"}))
    assert world.core.job_info("a").reason == "no worker with GENERAL"
    world.register("gpu", "GPU", classic=True)
    assert world.core.job_info("a").reason == "no worker with GENERAL"
    world.register("original", "GENERAL", classic=True)
    assert world.core.job_info("a").reason == "no worker with GENERAL and the structured dialect, which this job needs"


def test_versions_grow_with_every_visible_change_and_over_restarts(world: World):
    world.register("w")
    run = world.submit(job("a"), job("b", "a"))
    versions = [world.core.run_info(run).version]
    for step in (lambda: world.end("a"), lambda: world.cancel("b"), lambda: world.end("b", "cancelled")):
        step()
        versions.append(world.core.run_version(run) or 0)
    world.pass_time(5)
    world.restart()
    versions.append(world.core.run_info(run).version)
    assert versions == sorted(set(versions))


def test_the_current_lease_is_that_of_a_running_job(world: World):
    run = world.submit(job("a"))
    assert world.core.current_lease(f"{run}/a") is None
    world.register("w")
    lease = world.core.current_lease(f"{run}/a")
    assert lease is not None and (lease.job, lease.attempt, lease.epoch) == (f"{run}/a", 1, 1)
    world.end("a")
    assert world.core.current_lease(f"{run}/a") is None
    assert world.core.current_lease("no/job") is None


def test_a_run_is_settled_when_only_services_that_are_ready_are_left(world: World):
    world.register("w")
    run = world.submit(service("s"), job("a"), job("b", "s"))
    settled = world.core.is_settled
    assert not any(settled(name) for name in (run, f"{run}/s", f"{run}/a"))
    world.ready("s")
    assert settled(f"{run}/s") and not settled(run)
    world.end("a")
    world.end("b")
    assert settled(run) and not world.core.run_info(run).finished
    world.restart()
    assert settled(run), "what is ready is so durably"
    world.register("w")
    world.stop("s")
    world.end("s", "cancelled")
    assert settled(run) and world.core.run_info(run).finished
    assert not settled("no/job")


def test_a_run_can_be_told_in_parts(world: World):
    run = world.submit(*(job(f"j{number}") for number in range(5)))
    part = world.core.run_info(run, 1, 2)
    assert ([info.id for info in part.jobs], part.total) == (["j1", "j2"], 5)
    assert [info.id for info in world.core.run_info(run, 3).jobs] == ["j3", "j4"]
    assert world.core.run_info(run, 9, 2).jobs == []


def test_a_big_run_is_counted_once_and_then_followed():
    world = World()
    run_id = world.submit(*(job(f"j{number}") for number in range(SMALL + 10)))
    world.register("w", slots=4)
    run = world.core.list_runs(1).runs[0]
    assert run.states == {"PENDING": SMALL + 6, "RUNNING": 4} and run.ended_at == 0
    for name in ("j0", "j1"):
        world.end(name, "completed", exit_code=0)  # the invariants are checked after each
    world.pass_time(5)
    world.cancel("j40")
    run = world.core.list_runs(1).runs[0]
    assert run.run_id == run_id and run.total == SMALL + 10
    assert run.states == {"PENDING": SMALL + 3, "RUNNING": 4, "COMPLETED": 2, "CANCELLED": 1}
    assert run.ended_at == world.core.job_info("j40").ended_at
