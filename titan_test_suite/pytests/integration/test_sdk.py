"""The SDK against real clusters: submitting, waiting, following, uploading; with masters that die meanwhile."""

from __future__ import annotations

import http.client
import io
import os
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from titan_sdk import steady
from titan_sdk.client import TitanClient
from titan_sdk.connection import RpcClient
from titan_sdk.errors import (
    ConfigError,
    Conflict,
    ConnectFailed,
    ConnectionLost,
    JobFailed,
    NotFound,
    PipelineError,
    TitanError,
    Unauthorized,
    WaitTimeout,
)
from titan_sdk.job import TitanJob
from titan_sdk.messages import JOBS_IN_ANSWER, GetJob, WatchRun
from titan_test_suite.pytests.cluster import ROOT, Cluster, wait_until


class Script:
    """Writes scripts into a folder, and makes jobs of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, job_id: str, source: str, **fields: Any) -> TitanJob:
        path = self.folder / f"{job_id}.py"
        path.write_text(source, encoding="utf-8")
        return TitanJob(job_id, path, **fields)


@pytest.fixture
def script(tmp_path: Path) -> Script:
    folder = tmp_path / "scripts"
    folder.mkdir()
    return Script(folder)


def client_of(cluster: Cluster, **fields: Any) -> TitanClient:
    return TitanClient("127.0.0.1", cluster.port, token=cluster.token, **fields)


@pytest.fixture
def client(shared_cluster: Cluster) -> Iterator[TitanClient]:
    with client_of(shared_cluster) as client:
        yield client


@pytest.fixture
def alone(cluster: Cluster) -> Iterator[TitanClient]:
    """The client of a master that has no worker: what is submitted stays PENDING."""
    cluster.start_master()
    with client_of(cluster) as client:
        yield client


class Background:
    """A call on a thread of its own; ``answer`` gives what it returned or raised."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._answer: object = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._answer = self._call()
        except Exception as error:
            self._answer = error

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def answer(self, deadline: float = 30.0) -> Any:
        self._thread.join(deadline)
        assert not self.running, "it did not end"
        return self._answer


def gate(path: Path) -> str:
    """A line of Python that waits until ``path`` exists."""
    return f"import os, time\nwhile not os.path.exists({str(path)!r}): time.sleep(0.01)\n"


# --- jobs -----------------------------------------------------------------------------------------------------------


def test_a_job_from_submission_to_result(client: TitanClient, script: Script) -> None:
    job = client.submit_job(script("hello", "import sys\nprint('hello', *sys.argv[1:])", args=["a b", "c;d"]))
    assert job.result(30) == "hello a b c;d\n"
    assert job.status() == "COMPLETED"
    info = job.wait()
    assert (info.id, info.exit_code, info.attempt, info.key) == ("hello", 0, 1, job.key)
    assert (job.job_id, job.run_id) == ("hello", info.run_id)
    assert client.fetch_logs("hello") == client.fetch_logs(job.key) == job.logs() == "hello a b c;d\n"
    assert client.job("hello").wait().key == job.key
    assert not job.cancel(), "there is nothing left to cancel"


def test_a_failed_job_says_how(client: TitanClient, script: Script) -> None:
    job = client.submit_job(script("fails", "print('before'); raise SystemExit(7)", retries=0))
    with pytest.raises(JobFailed) as caught:
        job.wait(30)
    assert (caught.value.job_id, caught.value.state, caught.value.exit_code) == (job.key, "DEAD", 7)
    assert job.wait(check=False).exit_code == 7
    with pytest.raises(JobFailed):
        job.result(30)
    assert job.logs() == "before\n"


def test_a_run_goes_through_its_edges(client: TitanClient, script: Script, tmp_path: Path) -> None:
    order = tmp_path / "order"
    note = f"import os; open({str(order)!r}, 'a').write(os.environ['TITAN_JOB_ID'] + ' ')"
    first = script("first", note)
    run = client.submit_dag("edges", [script("last", note, parents=["first", "middle"]), first,
                                      script("middle", note, parents=first)])  # fmt: skip
    info = run.wait(30)
    assert (info.finished, info.name, info.total) == (True, "edges", 3)
    assert run.status() == "COMPLETED"
    assert order.read_text() == "first middle last "
    assert [job.job_id for job in run.jobs()] == ["last", "first", "middle"], "as they were submitted"
    assert run.job("middle").status() == "COMPLETED"
    with pytest.raises(NotFound):
        run.job("absent")
    again = client.run(run.run_id)
    assert again == run and again.jobs() == run.jobs()


def test_a_run_that_fails_names_the_job_where_it_began(client: TitanClient, script: Script) -> None:
    jobs = [
        script("child", "", parents=["bad"]),
        script("bad", "raise SystemExit(3)", retries=0),
        script("good", "print('done')"),
    ]
    run = client.submit_dag("failing", jobs)
    with pytest.raises(JobFailed) as caught:
        run.wait(30)
    assert (caught.value.job_id, caught.value.exit_code) == (f"{run.run_id}/bad", 3)
    states = {job.id: job.state for job in run.wait(check=False).jobs}
    assert states == {"child": "DEAD", "bad": "DEAD", "good": "COMPLETED"}, "what could run has run"
    assert run.status() == "DEAD"


def test_watching_shows_every_job_to_its_end(client: TitanClient, script: Script) -> None:
    run = client.submit_dag("watched", [script("w1", "print(1)"), script("w2", "print(2)", parents=["w1"])])
    seen = list(run.watch(30))
    versions = [info.version for info in seen]
    assert versions == sorted(set(versions))
    assert [job.state for job in seen[-1].jobs] == ["COMPLETED", "COMPLETED"]


def test_many_threads_share_a_client(client: TitanClient, script: Script) -> None:
    jobs = [script(f"thread-{number}", f"print({number})") for number in range(24)]

    def one(job: TitanJob) -> str:
        return client.submit_job(job).result(60)

    with ThreadPoolExecutor(12) as threads:
        assert list(threads.map(one, jobs)) == [f"{number}\n" for number in range(24)]


def test_inside_a_job_the_client_finds_its_cluster_and_says_who_submits(
    client: TitanClient, shared_cluster: Cluster, script: Script
) -> None:
    inner = script.folder / "inner.py"
    inner.write_text("print('from inside')", encoding="utf-8")
    source = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from titan_sdk import TitanClient, TitanJob
with TitanClient() as client:
    job = client.submit_job(TitanJob("inner", {str(inner)!r}))
    print(job.run_id, job.result(60))
"""
    outer = client.submit_job(script("outer", source))
    run_id, text = outer.result(60).split(" ", 1)
    assert text == "from inside\n\n"
    assert client.run(run_id).info().parent == outer.key


def test_a_service_is_waited_for_until_it_is_ready(client: TitanClient, script: Script) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    source = "import os, http.server as s\ns.HTTPServer(('127.0.0.1', int(os.environ['PORT'])),"
    source += " s.SimpleHTTPRequestHandler).serve_forever()\n"
    run = client.submit_dag(
        "serving", [script("server", source, port=port), script("user", "print('used')", parents=["server"])]
    )
    info = run.wait(60)
    assert {job.id: (job.state, job.ready) for job in info.jobs} == {
        "server": ("RUNNING", True),
        "user": ("COMPLETED", False),
    }
    assert (info.finished, run.status()) == (False, "RUNNING")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("HEAD", "/")
    assert connection.getresponse().status == 200
    connection.close()
    server = run.job("server")
    assert server.wait(5).ready
    assert server.stop()
    wait_until(lambda: server.status() == "COMPLETED", 20)
    assert run.status() == "COMPLETED"


# --- logs -----------------------------------------------------------------------------------------------------------


def test_a_log_is_followed_as_it_grows_to_its_last_byte(client: TitanClient, script: Script, tmp_path: Path) -> None:
    opened = tmp_path / "open"
    every = bytes(range(256)) * 20_000
    source = "import sys\nprint('first', flush=True)\n" + gate(opened)
    source += "sys.stdout.buffer.write(bytes(range(256)) * 20_000)\nsys.stdout.flush()\nprint('last', end='')\n"
    job = client.submit_job(script("growing", source))
    pieces = job.log_bytes(follow=True, timeout=60)
    assert next(pieces) == b"first\n", "while the job runs"
    opened.touch()
    assert b"".join(pieces) == every + b"last"
    assert job.log_bytes() == client.fetch_log_bytes("growing") == b"first\n" + every + b"last"
    assert job.status() == "COMPLETED"


def test_text_is_whole_whatever_the_pieces(client: TitanClient, script: Script, tmp_path: Path) -> None:
    opened = tmp_path / "open"
    source = f"import sys\nout = sys.stdout.buffer\nout.write('a€'.encode()[:2])\nout.flush()\n{gate(opened)}"
    source += "out.write('a€'.encode()[2:] + b'\\xff|')\n"
    job = client.submit_job(script("cut", source))
    pieces = job.logs(follow=True)
    assert next(pieces) == "a", "half a character is kept back"
    opened.touch()
    assert "".join(pieces) == "€\N{REPLACEMENT CHARACTER}|"


def test_following_goes_on_through_a_retry(client: TitanClient, script: Script) -> None:
    source = (
        "import os, sys\nprint('attempt', os.environ['TITAN_ATTEMPT'])\nsys.exit(os.environ['TITAN_ATTEMPT'] == '1')"
    )
    job = client.submit_job(script("retried", source))
    assert "".join(job.logs(follow=True, timeout=60)) == "attempt 1\nattempt 2\n"
    assert job.status() == "COMPLETED"
    assert job.logs() == "attempt 2\n", "of the latest attempt"


def test_following_ends_with_a_job_that_never_ran(alone: TitanClient, script: Script) -> None:
    job = alone.submit_job(script("never", ""))
    with pytest.raises(WaitTimeout):
        next(job.logs(follow=True, timeout=0.2))
    following = Background(lambda: list(job.logs(follow=True)))
    assert job.cancel()
    assert following.answer() == []
    assert job.logs() == ""


# --- waiting --------------------------------------------------------------------------------------------------------


def test_waiting_ends_with_its_time_and_tells_what_is_missing(alone: TitanClient, script: Script) -> None:
    run = alone.submit_dag("stuck", [script("a", "", requirement="GPU"), script("b", "", parents=["a"])])
    began = time.monotonic()
    with pytest.raises(WaitTimeout) as caught:
        run.wait(0.3)
    assert 0.3 <= time.monotonic() - began < 5
    assert "2 of 2 jobs" in str(caught.value) and "no worker with GPU" in str(caught.value)
    with pytest.raises(WaitTimeout, match="is PENDING"):
        run.job("a").wait(0)
    with pytest.raises(WaitTimeout):
        list(run.watch(0.1))


def test_cancelling_ends_every_wait_at_once(alone: TitanClient, script: Script) -> None:
    run = alone.submit_dag("doomed", [script("a", ""), script("b", "", parents=["a"])])
    waits = [Background(run.wait), Background(run.job("b").wait), Background(lambda: run.wait(check=False))]
    assert run.cancel()
    of_run, of_job, unchecked = [wait.answer(10) for wait in waits]
    assert isinstance(of_run, JobFailed) and (of_run.job_id, of_run.state) == (f"{run.run_id}/a", "CANCELLED")
    assert isinstance(of_job, JobFailed)
    assert unchecked.finished
    assert run.status() in ("CANCELLED", "DEAD")


def test_waiting_asks_once_however_much_changes(
    client: TitanClient, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    call = RpcClient.call

    def counting(self: RpcClient, request: Any, timeout: float | None = None) -> Any:
        asked.append(request)
        return call(self, request, timeout)

    chain = [script(f"link-{number}", "", parents=[f"link-{number - 1}"] if number else []) for number in range(10)]
    run = client.submit_dag("chain", chain)
    monkeypatch.setattr(RpcClient, "call", counting)
    run.wait(60)
    assert [type(request) for request in asked] == [WatchRun]
    asked.clear()
    run.job("link-9").wait(60)
    assert [type(request) for request in asked] == [GetJob]


def test_a_run_larger_than_one_answer(alone: TitanClient, script: Script) -> None:
    wanted = JOBS_IN_ANSWER + 10
    job = script("big", "")
    jobs = [TitanJob(f"big-{number}", job.filename, delay=3600) for number in range(wanted)]
    run = alone.submit_dag("big", jobs)
    info = alone.run(run.run_id).info()
    assert [job.id for job in info.jobs] == [job.job_id for job in jobs]
    assert len(alone.run(run.run_id).jobs()) == info.total == wanted
    waiting = Background(lambda: run.wait(check=False))
    run.cancel()
    assert len(waiting.answer().jobs) == wanted


def test_a_run_that_has_left_the_masters_memory(cluster: Cluster, script: Script) -> None:
    cluster.start_master("--finished-jobs-in-memory", "0")
    with client_of(cluster) as client:
        old = client.submit_job(script("old", ""))
        old.cancel()
        client.submit_job(script("new", "")).cancel()  # the newest stays whatever the bound
        assert old.wait(5, check=False).state == "CANCELLED"
        run = client.run(old.run_id)
        assert run.wait(5, check=False).finished
        assert [info.version for info in run.watch(5)]
        assert [job.key for job in run.jobs()] == [old.key]
        assert not old.cancel()
        assert list(old.logs(follow=True, timeout=5)) == []


def test_closing_the_client_ends_its_waits(cluster: Cluster, script: Script) -> None:
    cluster.start_master()
    client = client_of(cluster)
    waiting = Background(client.submit_job(script("a", "")).wait)
    client.close()
    assert isinstance(waiting.answer(10), ConnectionLost)
    with pytest.raises(ConnectionLost):
        client.jobs()


# --- a master that is away ------------------------------------------------------------------------------------------


def test_waiting_and_following_outlive_a_master_that_is_killed(
    small_cluster: Cluster, script: Script, tmp_path: Path
) -> None:
    opened = tmp_path / "open"
    with client_of(small_cluster) as client:
        source = "print('before', flush=True)\n" + gate(opened) + "print('after')\n"
        run = client.submit_dag("through", [script("a", source), script("b", "print('b')", parents=["a"])])
        pieces = run.job("a").logs(follow=True, timeout=90)
        assert next(pieces) == "before\n"
        rest = Background(lambda: "".join(pieces))
        waits = [Background(lambda: run.wait(90)), Background(lambda: run.job("b").result(90))]
        watched = Background(lambda: list(run.watch(90)))
        (master,) = [program for program in small_cluster.programs if program.name == "master"]
        master.kill()
        opened.touch()
        small_cluster.start_master()
        assert rest.answer(90) == "after\n"
        assert [job.state for job in waits[0].answer(90).jobs] == ["COMPLETED", "COMPLETED"]
        assert waits[1].answer(90) == "b\n"
        assert watched.answer(90)[-1].finished


def test_a_graceful_restart_is_no_end_either(cluster: Cluster, script: Script) -> None:
    master = cluster.start_master()
    with client_of(cluster) as client:
        job = client.submit_job(script("a", ""))
        waiting = Background(lambda: job.wait(60, check=False))
        assert master.terminate() == 0
        assert waiting.running
        cluster.start_master()
        assert job.cancel()
        assert waiting.answer().state == "CANCELLED"


def test_a_master_that_stays_away_costs_no_more_than_the_time(cluster: Cluster, script: Script) -> None:
    master = cluster.start_master()
    with client_of(cluster) as client:
        job = client.submit_job(script("a", ""))
        master.kill()
        began = time.monotonic()
        with pytest.raises(WaitTimeout, match="away"):
            job.wait(0.5)
        assert time.monotonic() - began < 10
        with pytest.raises(ConnectFailed):
            job.status()


def test_a_frozen_master_costs_no_more_than_the_time(cluster: Cluster, script: Script) -> None:
    master = cluster.start_master()
    with client_of(cluster) as client:
        job = client.submit_job(script("a", ""))
        master.freeze()
        began = time.monotonic()
        with pytest.raises(WaitTimeout):
            job.wait(0.5)
        assert time.monotonic() - began < 0.5 + steady.GRACE_S + 5
        master.thaw()
        assert job.status() == "PENDING"


class Proxy:
    """Between clients and a master. Armed, it cuts a connection in the place of the master's next answer, once."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.armed = False
        self.cuts = 0
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            self._sockets += [near, far]
            for source, target in ((near, far), (far, near)):
                thread = threading.Thread(target=self._forward, args=(source, target, source is far))
                self._threads.append(thread)
                thread.start()

    def _forward(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if answers and self.armed:
                    self.armed = False
                    self.cuts += 1
                    break
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for each in self._sockets:
            each.close()


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Proxy]:
    cluster.start_master()
    proxy = Proxy(cluster.port)
    yield proxy
    proxy.close()


def test_a_submission_whose_answer_was_lost_is_made_once(cluster: Cluster, proxy: Proxy, script: Script) -> None:
    with TitanClient("127.0.0.1", proxy.port, token=cluster.token) as client:
        first = script("first", "print()")
        client.submit_job(first)  # from here on the master has the content, and only the run itself is sent
        proxy.armed = True
        job = client.submit_job(TitanJob("second", first.filename))
        assert proxy.cuts == 1
        assert [each.id for each in client.jobs()] == ["second", "first"]
        assert job.status() == "PENDING"


def test_an_upload_whose_answers_are_lost_gets_there(cluster: Cluster, proxy: Proxy, tmp_path: Path) -> None:
    data = os.urandom(3_500_000)
    (tmp_path / "data.bin").write_bytes(data)

    def progress(sent: int, total: int) -> None:
        if proxy.cuts < 3:
            proxy.armed = True

    with TitanClient("127.0.0.1", proxy.port, token=cluster.token) as client:
        client.upload_file(tmp_path / "data.bin", progress=progress)
    assert proxy.cuts == 3
    assert (cluster.perm_files / "data.bin").read_bytes() == data


# --- what is refused ------------------------------------------------------------------------------------------------


def test_a_dag_is_accepted_whole_or_not_at_all(alone: TitanClient, script: Script) -> None:
    good = script("good", "")
    mended = TitanJob("mended", good.filename, base_dir=good.base_dir, on_failure={"repair": "no/fix.py"})
    bad = [
        good,
        mended,
        TitanJob("lost", "no/such.py"),
        script("x", "", parents=["y"]),
        script("y", "", parents=["x", "z"]),
    ]
    with pytest.raises(PipelineError) as caught:
        alone.submit_dag("bad", bad)
    said = {problem.where: problem.text for problem in caught.value.problems}
    assert "no/such.py" in said["lost"] and "perm_files" in said["lost"]
    assert "no/fix.py" in said["mended"] and "fix.py in perm_files" in said["mended"]
    assert any("a cycle" in problem.text for problem in caught.value.problems)
    assert any("'z' is not a job" in problem.text for problem in caught.value.problems)
    with pytest.raises(PipelineError, match="no jobs"):
        alone.submit_dag("empty", [])
    assert alone.jobs() == []
    alone.submit_job(good)
    with pytest.raises(Conflict):
        alone.submit_dag("taken", [script("other", ""), good])
    assert [job.id for job in alone.jobs()] == ["good"], "nothing of a refused run was queued"


def test_an_idempotency_key_names_one_run(alone: TitanClient, script: Script) -> None:
    job = script("a", "")
    first = alone.submit_job(job, idempotency_key="nightly")
    assert alone.submit_job(job, idempotency_key="nightly") == first
    with pytest.raises(Conflict):
        alone.submit_job(script("a", "print('other')"), idempotency_key="nightly")
    first.cancel()
    assert alone.submit_job(job) != first, "without a key it is a run of its own"
    assert len(alone.jobs("pending")) == 1 and len(alone.jobs(["PENDING", "CANCELLED"])) == 2


def test_what_is_not_there_is_not_found(alone: TitanClient) -> None:
    job, run = alone.job("absent"), alone.run("run-0")
    calls: list[Callable[[], object]] = [
        job.status, job.wait, job.logs, job.cancel, job.stop, run.info, run.wait, run.jobs, run.cancel, run.status,
        lambda: list(job.logs(follow=True)), lambda: list(run.watch()),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(NotFound):
            call()


def test_no_master_and_a_wrong_token(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITAN_HOME", str(tmp_path / "nobody"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with TitanClient("127.0.0.1", port) as client, pytest.raises(ConnectFailed, match=str(port)):
        client.job("a").wait()
    cluster.start_master()
    for token, source in (("wrong", "given by the program"), (None, f"there is no {tmp_path / 'nobody' / 'token'}")):
        with TitanClient("localhost", cluster.port, token=token) as client, pytest.raises(Unauthorized, match=source):
            client.jobs()
    monkeypatch.setenv("TITAN_HOME", str(cluster.home))
    monkeypatch.setenv("TITAN_PORT", str(cluster.port))
    monkeypatch.delenv("TITAN_TOKEN", raising=False)
    monkeypatch.delenv("TITAN_HOST", raising=False)
    with TitanClient() as client:
        assert client.jobs() == []
    monkeypatch.setenv("TITAN_PORT", "x")
    with pytest.raises(ConfigError, match="TITAN_PORT"):
        TitanClient()


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_file_of_any_size_is_uploaded_in_pieces(client: TitanClient, shared_cluster: Cluster, tmp_path: Path) -> None:
    data = os.urandom(5_300_000)
    (tmp_path / "data set.bin").write_bytes(data)
    seen: list[tuple[int, int]] = []
    report = lambda sent, total: seen.append((sent, total))  # noqa: E731
    assert client.upload_file(tmp_path / "data set.bin", progress=report) == "data set.bin"
    assert (shared_cluster.perm_files / "data set.bin").read_bytes() == data
    assert len(seen) == 6 and seen == sorted(seen) and seen[-1] == (len(data), len(data))
    seen.clear()
    assert client.upload_file(tmp_path / "data set.bin", name="again.bin", progress=report) == "again.bin"
    assert seen == [], "what the master has does not travel"
    assert (shared_cluster.perm_files / "again.bin").read_bytes() == data
    (tmp_path / "empty").touch()
    client.upload_file(str(tmp_path / "empty"), progress=True)
    assert (shared_cluster.perm_files / "empty").read_bytes() == b""


def test_files_that_cannot_be_uploaded(client: TitanClient, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        client.upload_file(tmp_path / "absent")
    with pytest.raises(OSError):
        client.upload_file(tmp_path)
    (tmp_path / "a").touch()
    with pytest.raises(TitanError, match="plain name"):
        client.upload_file(tmp_path / "a", name="../a")
    with pytest.raises(TitanError, match="plain name"):
        client.upload_project_folder(tmp_path, "up/there")


def test_large_scripts_of_one_run_travel_side_by_side(alone: TitanClient, script: Script) -> None:
    def large(number: int) -> str:
        return f"# {number}\n" + "# " + "x" * 1_500_000

    seen: list[tuple[int, int]] = []
    jobs = [script(f"large-{number}", large(number)) for number in range(5)]
    jobs.append(TitanJob("same-as-0", jobs[0].filename))
    run = alone.submit_dag("large", jobs, progress=lambda sent, total: seen.append((sent, total)))
    sizes = [Path(job.filename).stat().st_size for job in jobs[:5]]
    assert seen[-1] == (sum(sizes), sum(sizes)) and seen == sorted(seen)
    assert len(run.jobs()) == 6


def test_a_file_that_changes_while_it_is_uploaded_is_refused(
    alone: TitanClient, cluster: Cluster, tmp_path: Path
) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(b"a" * 2_500_000)

    def grow(sent: int, total: int) -> None:
        path.write_bytes(b"b" * 2_500_000)

    with pytest.raises(PipelineError, match="changed while it was uploaded"):
        alone.upload_file(path, progress=grow)
    assert not (cluster.perm_files / "log.txt").exists()


def project(folder: Path) -> Path:
    (folder / "pkg").mkdir(parents=True)
    (folder / "pkg" / "__init__.py").write_text("NAME = 'the package'\n", encoding="utf-8")
    (folder / "main.py").write_text("from pkg import NAME\nprint(NAME)\n", encoding="utf-8")
    return folder


def test_an_uploaded_project_runs_by_its_name(client: TitanClient, shared_cluster: Cluster, tmp_path: Path) -> None:
    assert client.upload_project_folder(project(tmp_path / "work"), "shipped") == "shipped.zip"
    with zipfile.ZipFile(io.BytesIO((shared_cluster.perm_files / "shipped.zip").read_bytes())) as opened:
        assert set(opened.namelist()) == {"main.py", "pkg/__init__.py"}
    job = client.submit_job(TitanJob("by-name", "shipped.zip/main.py", is_archive=True, base_dir=tmp_path))
    assert job.result(30) == "the package\n"


def test_a_folder_travels_with_the_jobs_that_need_it(client: TitanClient, tmp_path: Path) -> None:
    project(tmp_path / "work")
    jobs = [TitanJob(f"part-{n}", "work/main.py", is_archive=True, base_dir=tmp_path) for n in range(3)]
    run = client.submit_dag("folder", jobs)
    run.wait(30)
    assert [job.logs() for job in run.jobs()] == ["the package\n"] * 3


def test_a_file_of_perm_files_runs_by_its_name(client: TitanClient, shared_cluster: Cluster, tmp_path: Path) -> None:
    (shared_cluster.perm_files / "there.py").write_text("print('from perm_files')", encoding="utf-8")
    assert client.submit_job(TitanJob("there", "there.py", base_dir=tmp_path)).result(30) == "from perm_files\n"


def test_a_master_on_other_data_gets_the_contents_again(cluster: Cluster, script: Script) -> None:
    master = cluster.start_master()
    with client_of(cluster) as client:
        client.submit_job(script("a", ""))
        assert master.terminate() == 0
        cluster.data_dir = cluster.root / "other_data"
        cluster.start_master()
        assert client.submit_job(script("a", "")).status() == "PENDING"


# --- the rest -------------------------------------------------------------------------------------------------------


def test_statistics_and_lists(client: TitanClient, script: Script) -> None:
    job = client.submit_job(script("counted", "print()"))
    job.wait(30)
    assert client.stats()["active_workers"] == 1
    assert "TITAN SYSTEM MONITOR" in client.stats_text()
    (worker,) = client.workers()
    assert (worker.state, worker.slots) == ("alive", 4)
    assert client.jobs(limit=1)[0].key == job.key


def test_the_key_value_store(alone: TitanClient) -> None:
    assert alone.kv_get("k") is None
    alone.kv_set("k", b"\x00\xff")
    alone.kv_set("text", "grün")
    with pytest.raises(TypeError, match="a value is bytes or str, not int; as text it would be '5'"):
        alone.kv_set("k", 5)  # type: ignore[arg-type]
    assert (alone.kv_get("k"), alone.kv_get("text")) == (b"\x00\xff", "grün".encode())
    assert alone.kv_add("set", "a") and not alone.kv_add("set", "a") and alone.kv_add("set", "b")
    assert alone.kv_members("set") == {"a", "b"} and alone.kv_members("none") == set()
