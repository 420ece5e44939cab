"""Scaling, look by look: who starts a worker and where, who is sent away, and what is said of it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from titan_core.scheduling.core.commands import DecommissionWorker, RequestMachines
from titan_core.scheduling.core.events import (
    AttemptEnded,
    CordonRequested,
    LinkBroken,
    LoadMeasured,
    WorkerLeft,
    WorkerLoad,
)
from titan_core.scheduling.core.scheduler_core import CoreLimits
from titan_sdk.messages import CHILD_WORKERS
from titan_test_suite.pytests.core_world import World, job

IDLE = WorkerLoad(5.0, 16 << 30)
BUSY = WorkerLoad(99.0, 16 << 30)


class Cluster(World):
    """A world with looks of the scaler, and workers that come when they were started."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(CoreLimits(**{"busy_percent": 90.0, **limits}))
        self.loads: dict[str, WorkerLoad] = {}
        self.looks = 0

    def look(self, after: float = 15.0) -> list[str]:
        """Time passes, and the scaler looks: the workers that are to start another one, a name for each start."""
        self.pass_time(after)
        self.looks += 1
        loads = {worker.worker_id: self.loads.get(worker.worker_id, IDLE) for worker in self.core.workers()}
        self.do(LoadMeasured(loads, f"run-scale{self.looks}"))
        return [command.worker_id for command in self.dispatched() if command.spec.kind == "worker"]

    def fill(self, count: int, **fields: Any) -> None:
        """A run of so many jobs."""
        self.submit(*(job(f"fill{self._runs}-{number}", **fields) for number in range(count)))

    def come(self, name: str, port: int = 8085, **fields: Any) -> str:
        """The worker of the newest job of kind worker registers; the job's key."""
        starts = [info for info in self.core.list_jobs(("RUNNING",)).jobs if info.kind == "worker" and not info.ready]
        key = starts[0].key
        capabilities = self.journal.specs[key].requirement
        self.register(name, *capabilities, port=port, job=key, **fields)
        return key

    def finish_all(self) -> None:
        """Every job that runs and is no worker completes, and those that take their places."""
        while running := [info for info in self.core.list_jobs(("RUNNING",)).jobs if info.kind == "run"]:
            for info in running:
                self.end(info.key)

    def kinds(self) -> list[str]:
        return [row.kind for row in self.journal.events]

    def text(self, kind: str) -> str:
        return next(row.text for row in self.journal.events if row.kind == kind)


def test_a_saturated_pool_grows_and_at_most_doubles():
    world = Cluster(max_workers=9)
    world.register("root")
    world.fill(100)
    assert world.look() == ["root"]
    assert world.look() == ["root"], "the one that is coming cannot do it all"
    world.come("a")
    world.come("b", 8086)
    starts = world.look()
    assert (len(starts) == 3 and "100 jobs" in world.text("scale-up")) or "jobs wait for GENERAL" in world.text(
        "scale-up"
    )


def test_what_is_coming_counts():
    world = Cluster()
    world.register("root")
    world.fill(4 + 5)
    assert world.look() == ["root"]
    assert world.look() == ["root"], "five wait, the one that is coming has four slots"
    assert world.look() == []


def test_a_short_queue_must_last():
    world = Cluster()
    world.register("root")
    world.fill(6)
    assert world.look() == []
    world.finish_all()
    world.fill(6)
    assert world.look() == [], "it was empty in between"
    assert world.look() == ["root"]


def test_the_machine_that_is_least_busy_is_chosen():
    world = Cluster(max_workers=3)
    world.register("busy", machine="one", cores=8)
    world.register("idle", machine="two", cores=8, port=8081)
    world.loads = {"busy": WorkerLoad(60.0, 8 << 30)}
    world.fill(50)
    assert world.look() == ["idle"]
    assert "two has room (processors 5 % busy, 16 GB of memory free)" in world.text("scale-up")


@pytest.mark.parametrize(
    ("fields", "load", "why"),
    [
        ({"cores": 8}, BUSY, "the processors of m are busy at 99 %"),
        ({"cores": 8}, WorkerLoad(5.0, 100 << 20), "m has 100 MB of free memory"),
        ({"cores": 2}, WorkerLoad(80.0, 8 << 30, 17.0), "m has 17 processes that want to run on 2 cores"),
        ({"cores": 1, "slots": 12}, IDLE, "m has 12 slots for 1 cores"),
    ],
)
def test_a_machine_without_room(fields: dict[str, Any], load: WorkerLoad, why: str):
    world = Cluster()
    world.register("root", machine="m", **fields)
    world.loads = {"root": load}
    world.fill(50)
    assert world.look() == []
    (wanted,) = [command for command in world.commands if isinstance(command, RequestMachines)]
    assert wanted.capabilities == ("GENERAL",) and why in wanted.reason
    world.look()
    assert world.kinds().count("machines-wanted") == 1, "not asked again at once"
    for _ in range(3):
        world.look()
    assert world.kinds().count("machines-wanted") == 2


def test_a_capability_that_nobody_has_is_asked_for_and_no_machine_pretends_to_have_it():
    world = Cluster()
    world.register("root")
    world.submit(job("train", requirement=("GPU",)))
    assert world.look() == world.look() == []
    (wanted,) = [row for row in world.journal.events if row.kind == "machines-wanted"]
    assert wanted.subject == "GPU" and "no worker offers it" in wanted.text


def test_a_pool_is_helped_by_its_own():
    world = Cluster()
    world.register("general")
    world.register("gpu", "GPU", slots=1, port=8081)
    world.fill(3, requirement=("GPU",))
    assert world.look() == ["gpu"]
    key = world.come("another")
    assert world.journal.specs[key].requirement == ("GPU",)
    assert world.core.workers()[-1].scaled


def test_gpus_that_are_all_handed_out_are_not_multiplied():
    world = Cluster()
    world.register("gpu", "GPU", gpus=1)
    world.fill(9, requirement=("GPU",), gpus=1)
    assert world.look() == []
    assert "no further GPUs" in world.text("machines-wanted")


def test_no_more_workers_than_allowed_and_it_is_said_once():
    world = Cluster(max_workers=2)
    world.register("root")
    world.fill(50)
    assert world.look() == ["root"]
    world.come("a")
    assert world.look() == world.look() == []
    assert world.kinds().count("scale-limit") == 1


def test_a_worker_starts_no_more_than_it_has_places_for():
    world = Cluster(max_workers=20)
    world.register("root", slots=1)
    world.fill(500)
    for _ in range(10):
        world.look()
    root = world.core.workers()[0]
    assert root.children == CHILD_WORKERS and root.busy == 1


def test_an_idle_worker_that_scaling_started_goes_the_highest_port_first():
    world = Cluster(max_workers=3, idle_s=45.0)
    world.register("root")
    world.fill(100)
    world.look()
    world.come("a", 8085)
    world.look()
    world.come("b", 8086)
    world.finish_all()
    assert [row for row in world.kinds() if row == "scale-down"] == []
    world.look(30.0)
    assert not [command for command in world.commands if isinstance(command, DecommissionWorker)]
    world.look(15.0)
    assert [command.worker_id for command in world.commands if isinstance(command, DecommissionWorker)] == ["b"]
    world.look(15.0)
    assert [command.worker_id for command in world.commands if isinstance(command, DecommissionWorker)] == ["a"]
    world.look(600.0)
    assert not [command for command in world.commands if isinstance(command, DecommissionWorker)]
    assert "idle for 45 s" in world.text("scale-down")


def test_what_a_person_started_stays_however_idle():
    world = Cluster()
    world.register("root")
    world.submit(job("by-hand", file="Worker.jar", kind="worker", requirement=("GPU",)))
    world.register("deployed", "GPU", port=8085, job=world.lease("by-hand").job)
    world.register("claims", port=8090, job="run-of-nobody/scale")
    world.look(10_000.0)
    assert not [command for command in world.commands if isinstance(command, DecommissionWorker)]
    assert [worker.scaled for worker in world.core.workers()] == [False, False, False]


def test_one_that_has_work_or_hosts_another_is_not_idle():
    world = Cluster(max_workers=4)
    world.register("root")
    world.fill(100)
    world.look()
    world.come("a")
    world.finish_all()
    world.submit(*(job(f"long{number}") for number in range(5)))
    assert "a" in {world.worker_of(f"long{number}") for number in range(5)}
    world.look(1000.0)
    assert "scale-down" not in world.kinds()


def test_after_a_start_that_failed_there_is_a_pause_that_grows():
    world = Cluster()
    world.register("root")
    world.fill(100)
    assert world.look() == ["root"]
    failures = []
    for _ in range(60):
        for info in world.core.list_jobs(("RUNNING",)).jobs:
            if info.kind == "worker":
                world.end(info.key, "failed", 2, "cannot listen on 127.0.0.1:8085")
                failures.append(world.now.monotonic)
        world.look()
    pauses = [after - before for before, after in pairwise(failures)]
    assert pauses == sorted(pauses) and pauses[0] < 61 and len(pauses) < 8
    assert "cannot listen" in world.text("scale-up-failed")


def test_one_that_never_comes_is_ended_and_counts_as_failed():
    world = Cluster()
    world.register("root")
    world.fill(100)
    assert world.look() == ["root"]
    world.look(61.0)
    assert [command.reason for command in world.ends_asked()] == ["it did not register within 60 s"]
    (starting,) = [info for info in world.core.list_jobs(("RUNNING",)).jobs if info.kind == "worker"][-1:]
    world.end(starting.key, "cancelled")
    world.look()
    assert "scale-up-failed" in world.kinds()


def test_a_start_is_not_repeated_elsewhere_when_its_host_dies():
    world = Cluster()
    world.register("root")
    world.register("other", port=8081)
    world.fill(9)
    world.look()
    (host,) = world.look()
    (start,) = [info for info in world.core.list_jobs(("RUNNING",)).jobs if info.kind == "worker"]
    world.silence(host)
    assert world.state(start.key) == "CANCELLED"


def test_nothing_is_decided_while_a_worker_is_away():
    world = Cluster()
    world.register("root")
    world.fill(100)
    world.restart()
    assert world.look() == []
    world.register("root", boot="boot2")
    assert world.look() == ["root"]


def test_after_a_restart_of_the_master_it_is_known_who_was_started_by_scaling():
    world = Cluster()
    world.register("root")
    world.fill(9)
    world.look()
    key = world.come("a")
    world.finish_all()
    holding = (world.lease(key),)
    world.restart()
    world.register("root", holding=holding)
    world.register("a", port=8085, job=key)
    world.look(100.0)
    assert [command.worker_id for command in world.commands if isinstance(command, DecommissionWorker)] == ["a"]
    world.do(WorkerLeft("a", "boot1", "decommissioned"))
    world.do(AttemptEnded("root", holding[0], "completed", 0))
    assert world.state(key) == "COMPLETED"


def test_a_cordoned_worker_starts_nobody():
    world = Cluster()
    world.register("root")
    world.fill(100)
    world.do(CordonRequested("10.0.0.1", 8080))
    assert world.look() == []
    assert "is cordoned" in world.text("machines-wanted")


def test_a_worker_that_comes_after_its_end_was_asked_for_gets_nothing_and_goes():
    world = Cluster()
    world.register("root", slots=1)
    world.submit(job("late", file="Worker.jar", kind="worker"))
    world.fill(3)
    key = world.lease("late").job
    world.stop("late")
    world.register("w", port=8085, job=key)
    assert [command.worker_id for command in world.commands if isinstance(command, DecommissionWorker)] == ["w"]
    assert not world.dispatched()


def test_a_worker_that_is_away_holds_growth_back_for_one_look():
    world = Cluster(max_workers=3)
    world.register("root", slots=1)
    world.register("away", slots=1, port=8081)
    world.do(LinkBroken("away", world.link, "reset"))
    world.fill(9)
    assert world.look() == []
    assert world.look() == ["root"]
