"""Waiting for many handles at once, on a real cluster: what comes when, and how little is asked for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import titan_sdk
from titan_sdk import FIRST_COMPLETED, FIRST_EXCEPTION, JobFailed, NotFound, TitanClient, TitanJob, WaitTimeout
from titan_sdk.connection import RpcClient
from titan_sdk.handles import JobHandle
from titan_sdk.messages import WatchSettled
from titan_test_suite.pytests.cluster import Cluster


@pytest.fixture
def client(shared_cluster: Cluster) -> Iterator[TitanClient]:
    with TitanClient("127.0.0.1", shared_cluster.port, token=shared_cluster.token) as client:
        yield client


class Doors:
    """Jobs that wait until their door is opened, by a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = folder / "door.py"
        self.script.write_text(
            f"import os, sys, time\nwhile not os.path.exists(os.path.join({str(folder)!r}, sys.argv[1])):"
            " time.sleep(0.01)\nsys.exit(int(sys.argv[2]))\n"
        )

    def job(self, name: str, code: int = 0, **fields: Any) -> TitanJob:
        return TitanJob(name, self.script, args=[name, code], retries=0, **fields)

    def open(self, *names: str) -> None:
        for name in names:
            (self.folder / name).touch()


@pytest.fixture
def doors(tmp_path: Path) -> Doors:
    return Doors(tmp_path)


def names(handles: list[Any]) -> list[str]:
    return [handle.job_id for handle in handles]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every request that is sent, in order."""
    found: list[Any] = []
    call, send = RpcClient.call, RpcClient.send

    def note_call(self: RpcClient, request: Any, timeout: float | None = None) -> Any:
        found.append(request)
        return call(self, request, timeout)

    def note_send(self: RpcClient, request: Any, on_answer: Callable[[Any], None]) -> None:
        found.append(request)
        send(self, request, on_answer)

    monkeypatch.setattr(RpcClient, "call", note_call)
    monkeypatch.setattr(RpcClient, "send", note_send)
    return found


def test_jobs_of_several_runs_come_as_they_end(client: TitanClient, doors: Doors) -> None:
    one = client.submit_job(doors.job("one"))
    pair = client.submit_dag("pair", [doors.job("two"), doors.job("three")])
    coming = iter(titan_sdk.as_completed([one, *pair.jobs(), pair, one], timeout=60))
    doors.open("three")
    assert next(coming) == pair.job("three")
    doors.open("one")
    assert next(coming) is one
    doors.open("two")
    assert next(coming) == pair.job("two") and next(coming) is pair
    assert next(coming, None) is None, "what is given twice comes once"
    ended = list(titan_sdk.as_completed([*pair.jobs(), one, client.job("two")], timeout=60))
    assert names(ended) == ["three", "one", "two", "two"], "also when they ended before, in the order of their ends"


def test_wait_says_who_is_done_and_how_much_is_enough(client: TitanClient, doors: Doors) -> None:
    jobs = [client.submit_job(doors.job(name, code)) for name, code in (("a", 0), ("b", 3), ("c", 0))]
    assert titan_sdk.wait(jobs, timeout=0) == ([], jobs)
    doors.open("c")
    done, open_ = titan_sdk.wait(jobs, 60, FIRST_COMPLETED)
    assert (done, open_) == ([jobs[2]], jobs[:2])
    doors.open("b")
    done, open_ = titan_sdk.wait(jobs, 60, FIRST_EXCEPTION)
    assert (done, open_) == (jobs[1:], jobs[:1])
    with pytest.raises(JobFailed):
        jobs[1].wait()
    with pytest.raises(WaitTimeout, match="1 of 1 have not ended"):
        list(titan_sdk.as_completed(jobs[:1], timeout=0.05))
    doors.open("a")
    assert titan_sdk.wait(jobs, 60).not_done == []
    assert titan_sdk.wait([]) == ([], [])
    with pytest.raises(NotFound):
        titan_sdk.wait([client.job("never-heard-of")])
    with pytest.raises(ValueError, match="FIRST_LAST"):
        titan_sdk.wait(jobs, return_when="FIRST_LAST")  # type: ignore[arg-type]


def test_a_service_is_waited_for_until_it_is_ready(client: TitanClient, tmp_path: Path) -> None:
    script = tmp_path / "serve.py"
    script.write_text("import time\nprint('up', flush=True)\ntime.sleep(600)\n")
    service = client.deploy(TitanJob("waited-service", script, type="service", health={"log": "up"}))
    assert titan_sdk.wait([service], 60).done == [service]
    assert service.info().ready
    service.stop()
    service.wait()


def test_hundreds_of_jobs_cost_one_question_at_a_time(
    client: TitanClient, doors: Doors, asked: list[Any], shared_cluster: Cluster
) -> None:
    """As many as jobs at most, and only of the watching kind; a busy stretch is answered in one go."""
    run = client.submit_dag("many", [doors.job(f"job-{number}") for number in range(60)])
    single = [client.submit_job(doors.job(f"single-{number}")) for number in range(30)]
    handles = [*run.jobs(), *single]
    del asked[:]
    doors.open(*names(handles))
    assert {handle.key for handle in titan_sdk.as_completed(handles, 100)} == {handle.key for handle in handles}
    looks = [request for request in asked if not isinstance(request, WatchSettled)]
    assert len(looks) == 31, "one at the run, one at each job alone"
    assert len(asked) - len(looks) <= len(handles) + 2
    threads = [thread.name for thread in threading.enumerate() if "reader" in thread.name]
    assert len(threads) <= 2, "one connection for all of them, beside the cluster's own"


def test_one_connection_and_no_thread_for_hundreds_that_are_awaited(client: TitanClient, doors: Doors) -> None:
    run = client.submit_dag("awaited", [doors.job(f"await-{number}") for number in range(12)])
    fails = client.submit_job(doors.job("await-fails", 4))

    async def follow() -> list[str]:
        before = threading.active_count()
        waiting = [asyncio.ensure_future(handle.wait_async()) for handle in run.jobs()]
        everything = asyncio.ensure_future(titan_sdk.wait_async([run, fails], 60))
        await asyncio.sleep(0)
        seen = []
        doors.open("await-0")
        async for handle in titan_sdk.as_completed(run.jobs(), timeout=60):
            seen.append(handle.job_id)
            doors.open(*(f"await-{number}" for number in range(12)), "await-fails")
            assert threading.active_count() <= before + 1, "the one that dials"
        assert [info.state for info in await asyncio.gather(*waiting)] == ["COMPLETED"] * 12
        assert (await everything).not_done == []
        assert (await run).finished and (await run.job("await-3")).id == "await-3"
        with pytest.raises(JobFailed):
            await fails
        with pytest.raises(WaitTimeout):
            await client.submit_job(doors.job("await-closed")).wait_async(0.05)
        doors.open("await-closed")
        return seen

    seen = asyncio.run(follow())
    assert seen[0] == "await-0" and sorted(seen) == sorted(f"await-{number}" for number in range(12))


def test_a_wait_that_is_cancelled_leaves_the_client_usable(client: TitanClient, doors: Doors) -> None:
    job = client.submit_job(doors.job("given-up"))

    async def give_up() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(job.wait_async(), 0.05)
        assert job.status() in ("PENDING", "RUNNING")

    asyncio.run(give_up())
    doors.open("given-up")
    assert job.wait(60).state == "COMPLETED"


def test_it_goes_on_through_a_restart_of_the_master(cluster: Cluster, doors: Doors) -> None:
    """Which forgets what settled before, so that everything is looked at anew; nothing comes twice, nothing is lost."""
    master = cluster.start_master()
    cluster.start_worker()
    with TitanClient("127.0.0.1", cluster.port, token=cluster.token) as client:
        run = client.submit_dag("through", [doors.job(name) for name in ("r1", "r2", "r3")])
        coming = iter(titan_sdk.as_completed([*run.jobs(), run], timeout=100))
        doors.open("r2")
        assert next(coming) == run.job("r2")
        master.kill()
        doors.open("r1")
        cluster.start_master()
        assert next(coming) == run.job("r1")
        doors.open("r3")
        assert list(coming) == [run.job("r3"), run]


def test_an_open_run_has_ended_when_it_is_closed_too(client: TitanClient, doors: Doors) -> None:
    empty, done, growing = (client.open_run(name) for name in ("empty", "done", "growing"))
    (job,) = done.add([doors.job("open-done")])
    growing.add([doors.job("open-grows")])
    coming = iter(titan_sdk.as_completed([empty, done, growing, job], timeout=60))
    doors.open("open-done")
    assert next(coming) == job
    assert titan_sdk.wait([empty, done, growing], timeout=0.1).done == [], "jobs may still be added"
    done.close()
    assert next(coming) is done
    empty.close()
    assert next(coming) is empty
    (late,) = growing.add([doors.job("open-late")])
    growing.close()
    doors.open("open-grows", "open-late")
    assert next(coming) is growing and late.status() == "COMPLETED"


def test_handles_of_two_clusters_are_refused() -> None:
    from titan_sdk.steady import SteadyCaller

    callers = SteadyCaller("127.0.0.1", 1), SteadyCaller("127.0.0.1", 2)
    with pytest.raises(ValueError, match="several clusters"):
        titan_sdk.wait([JobHandle(caller, "r/a") for caller in callers])
