"""Python functions as jobs on a real cluster: shipped, called, chained, and their results and exceptions back."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import titan_sdk
from titan_sdk import InvalidName, JobFailed, TitanClient, WaitTimeout, task_runner, tasks
from titan_sdk.messages import WatchRun
from titan_sdk.tasks import RemoteTraceback, task
from titan_test_suite.pytests.cluster import ROOT, Cluster, wait_until


@pytest.fixture(scope="module")
def workers(shared_cluster: Cluster) -> Cluster:
    """The shared cluster, whose jobs import the SDK of this repository."""
    return shared_cluster


@pytest.fixture
def client(workers: Cluster) -> Iterator[TitanClient]:
    with TitanClient("127.0.0.1", workers.port, token=workers.token) as client:
        yield client


def module(folder: Path, name: str, source: str) -> Path:
    path = folder / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(source))
    return path


def program(workers: Cluster, folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    """A program of a user's own, in a folder of its own, with the cluster in its environment."""
    main = module(folder, "main", source)
    return subprocess.run(
        [sys.executable, str(main)],
        env=workers.environment(PYTHONPATH=str(ROOT)),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        stdin=subprocess.DEVNULL,
    )


def test_lambdas_closures_and_calls_of_calls(client: TitanClient) -> None:
    offset = 7

    @task(client=client)
    def add(*numbers: float, scale: int = 1) -> float:
        return (sum(numbers) + offset) * scale

    total = task(client=client, name="total")(sum)
    assert add(1, 2) == 10, "called, it runs here"
    parts = [add.call(number) for number in range(3)]
    call = total.call([*parts, 100])
    handle = call.submit()
    assert handle.result(60) == 7 + 8 + 9 + 100
    run = client.run(handle.job.run_id).info()
    assert len(run.jobs) == 4 and sorted(len(job.parents) for job in run.jobs) == [0, 0, 0, 3], "one run with its edges"
    twice = add.submit(handle, scale=2)
    assert twice.result(60) == (124 + 7) * 2, "what has ended may be in another run"
    assert add.options(priority=9).submit(0).wait(60).priority == 9
    with pytest.raises(TypeError, match="wrong"):
        add.submit(1, wrong=2)
    with pytest.raises(TypeError, match="retrys"):
        task(retrys=3)(len)


def test_one_run_for_a_map_and_results_in_order(client: TitanClient) -> None:
    squares = client.map(lambda number: number * number, range(8), name="squares")
    assert [handle.result(60) for handle in squares] == [number * number for number in range(8)]
    assert len({handle.job.run_id for handle in squares}) == 1
    assert {handle.result() for handle in titan_sdk.as_completed(squares, 60)} == {n * n for n in range(8)}
    powers = task(client=client)(pow).map([2, 3], [5, 2])
    assert [handle.result(60) for handle in powers] == [32, 9]
    assert client.map(lambda number: number, []) == []

    async def gather() -> list[int]:
        return list(await asyncio.gather(*squares))

    assert asyncio.run(gather()) == [number * number for number in range(8)]


def test_a_script_is_mapped_over_items(client: TitanClient, tmp_path: Path) -> None:
    script = module(tmp_path, "greet", "import sys\nprint('hello', *sys.argv[1:])")
    jobs = client.map(script, ["you", ("a b", 3)], priority=4)
    assert [job.result(60) for job in jobs] == ["hello you\n", "hello a b 3\n"]
    assert [job.job_id for job in jobs] == ["greet-0", "greet-1"] and jobs[0].info().priority == 4


def test_what_it_raised_is_raised_here_with_the_traceback_there(client: TitanClient) -> None:
    def divide(by: int) -> float:
        print("dividing")  # noqa: T201
        return 1 / by

    handle = task(client=client)(divide).submit(0)
    with pytest.raises(ZeroDivisionError) as caught:
        handle.result(60)
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "in divide" in str(caught.value.__cause__) and "task_runner" not in str(caught.value.__cause__)
    assert handle.status() == "DEAD" and handle.wait().attempt == 1, "no retries unless asked for"
    assert handle.logs().startswith("dividing\n") and handle.logs().endswith("ZeroDivisionError: division by zero\n")
    assert isinstance(handle.exception(), ZeroDivisionError)

    class Odd(Exception):
        def __init__(self, left: int, right: int) -> None:
            super().__init__("odd")

    def odd() -> None:
        raise Odd(1, 2)  # made again with one argument, which does not work

    def leave() -> None:
        raise SystemExit(0)

    def leave_with_three() -> None:
        raise SystemExit(3)

    def die() -> None:
        import os

        os.kill(os.getpid(), 9)

    with pytest.raises(JobFailed, match="Odd: odd") as failed:
        task(client=client)(odd).submit().result(60)
    assert isinstance(failed.value.__cause__, RemoteTraceback)
    with pytest.raises(RuntimeError, match=r"sys\.exit"):
        task(client=client)(leave).submit().result(60)
    handle_of_three = task(client=client)(leave_with_three).submit()
    with pytest.raises(JobFailed, match=r"SystemExit: 3"):  # it ends that process, and not this one
        handle_of_three.result(60)
    assert isinstance(handle_of_three.exception(), JobFailed)
    with pytest.raises(JobFailed, match=r"StopIteration"):
        task(client=client)(lambda: next(iter(()))).submit().result(60)
    with pytest.raises(JobFailed, match=r"SIGKILL|signal 9|-9"):
        task(client=client)(die).submit().result(60)
    parent = task(client=client)(divide).call(0)
    with pytest.raises(JobFailed, match="not started: divide"):
        task(client=client, name="after")(lambda value: value).call(parent).submit().result(60)


def test_large_arguments_and_results_go_through_the_content_store(client: TitanClient) -> None:
    data = bytes(range(256)) * 8192  # 2 MiB
    reverse = task(client=client)(lambda data: data[::-1])
    handle = reverse.submit(data)
    assert handle.result(60) == data[::-1]
    row = client.kv.entry(f"titan-task/{handle.key}/1")
    assert row is not None and row.expires_at and len(client.kv_get(row.key) or b"") < 100


def test_modules_of_ones_own_travel_as_source(workers: Cluster, tmp_path: Path) -> None:
    """Whole packages, relative and late imports too; a package of the same name on the worker has no chance."""
    module(tmp_path / "shop", "__init__", "from .prices import VAT\n")
    module(tmp_path / "shop", "prices", "VAT = 19\n")
    module(
        tmp_path / "shop",
        "orders",
        """
        from titan_sdk import task
        from . import VAT

        class Refused(Exception):
            pass

        @task
        def gross(net):
            from late import rounded
            if net < 0:
                raise Refused(net)
            return rounded(net * (100 + VAT) / 100)
        """,
    )
    module(tmp_path, "late", "def rounded(value):\n    return round(value, 1)\n")
    done = program(
        workers,
        tmp_path,
        """
        import shop.orders
        from shop.orders import gross
        from titan_sdk import task

        @task
        def twice(net):
            return gross(net) * 2

        if __name__ == "__main__":
            print(gross.submit(10).result(60), twice.submit(10).result(60))
            try:
                gross.submit(-1).result(60)
            except shop.orders.Refused as error:
                print("refused", error, "raise Refused(net)" in str(error.__cause__))
        """,
    )
    assert done.stdout == "11.9 23.8\nrefused -1 True\n", done.stderr


def test_versions_that_do_not_fit_are_told_as_such(client: TitanClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    call = task(client=client, name="future")(lambda: 1)
    call.script()
    monkeypatch.undo()
    with pytest.raises(task_runner.VersionMismatch, match=r"pickled by Python 3\.99.*this worker runs 3\."):
        call.submit().result(60)
    from titan_sdk import task_pickling

    monkeypatch.setattr(task_pickling, "FORMAT", 99)
    call = task(client=client, name="newer")(lambda: 1)
    call.script()
    monkeypatch.undo()
    with pytest.raises(task_runner.VersionMismatch, match="format 99"):
        call.submit().result(60)


def test_what_cannot_be_pickled_is_refused_before_anything_is_sent(client: TitanClient) -> None:
    import threading

    lock = threading.Lock()
    before = len(client.jobs())
    with pytest.raises(InvalidName, match=r"arguments of .* cannot be pickled.*lock"):
        task(client=client)(lambda value: value).submit(lock)
    with pytest.raises(InvalidName, match=r"function .* cannot be pickled.*lock"):
        task(client=client)(lambda: lock).submit()

    async def later() -> int:
        return 1

    def one_by_one() -> Iterator[int]:
        yield 1

    for function in (later, one_by_one):
        with pytest.raises(TypeError, match="async or a generator"):
            task(client=client)(function)
    open_ = task(client=client)(lambda: __import__("time").sleep(600)).submit()
    with pytest.raises(ValueError, match=r"has not ended; make a call of it with call\(\)"):
        task(client=client)(lambda value: value).submit(open_)
    with pytest.raises(WaitTimeout):
        open_.result(0.05)
    assert open_.cancel()
    with pytest.raises(JobFailed, match="CANCELLED"):
        open_.result(60)
    assert len(client.jobs()) == before + 1


def test_leaving_early_cancels_what_is_open(client: TitanClient) -> None:
    sleepers = task(client=client)(lambda number: __import__("time").sleep(600)).map(range(3))
    with pytest.raises(KeyboardInterrupt), titan_sdk.cancelling(sleepers):
        raise KeyboardInterrupt
    assert [handle.wait(60).state for handle in sleepers] == ["CANCELLED"] * 3
    done = titan_sdk.wait(sleepers, 60).done
    assert done == sleepers


def test_a_function_submits_more_from_inside(client: TitanClient) -> None:
    leaf = task(name="leaf")(lambda number: number + 1)

    @task(client=client)
    def branch(numbers: list[int]) -> Any:
        return [handle.result(60) for handle in leaf.map(numbers)]

    handle = branch.submit([1, 2])
    assert handle.result(60) == [2, 3]
    assert not tasks._default, "nothing here has needed a client of its own"
    child = next(job for job in client.jobs() if job.id.startswith("leaf-"))
    assert client._caller.call(WatchRun(id=child.run_id)).parent == handle.key


def test_calls_join_a_run_that_is_open_behind_those_that_go_on(client: TitanClient, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    path = str(gate)

    @task(client=client)
    def held(value: int) -> int:
        import os
        import time

        while not os.path.exists(path):
            time.sleep(0.01)
        return value

    add = task(client=client, name="add")(lambda *numbers: sum(numbers))
    with client.open_run("growing") as run:
        first, second = titan_sdk.submit([held.call(1), held.call(2)], run=run)
        (total,) = titan_sdk.submit([add.call(first, second, add.call(10))], run=run)
        assert total.status() == "WAITING" and total.job.run_id == first.job.run_id == run.run_id
        gate.touch()
        assert total.result(60) == 13
    assert len(run.info().jobs) == 4


def test_a_master_that_is_away_at_the_end_of_a_call_costs_it_nothing(cluster: Cluster, tmp_path: Path) -> None:
    begun, gate = str(tmp_path / "begun"), str(tmp_path / "gate")

    def work() -> int:
        import time
        from pathlib import Path

        import titan_sdk

        Path(begun).touch()
        while not Path(gate).exists():
            time.sleep(0.01)
        titan_sdk.publish("note.txt", b"of the time without a master")
        return 5

    master = cluster.start_master()
    cluster.start_worker()
    with TitanClient("127.0.0.1", cluster.port, token=cluster.token) as client:
        handle = task(client=client)(work).submit()
        wait_until(Path(begun).exists, 30)
        master.kill()
        Path(gate).touch()
        log = cluster.workspace / "jobs" / handle.job_id / f"{handle.job_id}.log"
        wait_until(lambda: "waiting for the master" in log.read_text(), 30)
        cluster.start_master()
        assert handle.result(60) == 5
        assert handle.wait().attempt == 1
        assert [each.name for each in handle.job.artifacts()] == ["note.txt"]
