"""The Scheduler and its threads around the real core, on a real database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from titan_core.scheduling import run_watchers, scheduler
from titan_core.scheduling.core.commands import KvAddMember, KvPut
from titan_core.scheduling.core.events import AttemptStarted, CancelRequested, LinkBroken, WorkerLeft
from titan_core.scheduling.core.scheduler_core import CoreLimits
from titan_core.storage.store import StoreError, StoreFull
from titan_sdk.errors import Conflict, DeadlineExceeded, NotFound, SubmissionRefused, TransportError, Unavailable
from titan_sdk.messages import Accepted, JobSpec, Lease
from titan_test_suite.pytests.engine import (
    DEADLINE_S,
    Answers,
    Engine,
    Link,
    Settings,
    completed,
    registration,
    run_of,
)

Start = Callable[..., Engine]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts an engine on the test's data directory; all are stopped at the end and have not failed."""
    engines: list[Engine] = []

    def start(settings: Settings | None = None, limits: CoreLimits | None = None, folder: str = "data") -> Engine:
        engines.append(Engine(tmp_path / folder, settings, limits))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()
        assert engine.failures.empty(), engine.failures.get()


@pytest.fixture
def engine(start: Start) -> Engine:
    return start()


# --- durable first ----------------------------------------------------------------------------------------------------


def test_an_acknowledged_run_is_in_the_database(engine: Engine) -> None:
    answer = engine.scheduler.call(run_of("r1", "a", JobSpec(id="b", file="b.sh", parents=("a",))))
    assert answer == Accepted(run_id="r1", jobs=["r1/a", "r1/b"])
    stored = engine.store.find_run("r1")
    assert stored and [spec.parents for spec, _ in stored.jobs] == [(), ("a",)]


def test_nothing_is_sent_or_answered_before_it_is_durable(engine: Engine) -> None:
    link = engine.worker("w", 1)
    answers = Answers()
    engine.store.shut()
    engine.scheduler.post(run_of("r1", "a"), answers.note("submitted"))
    engine.scheduler.post(CancelRequested("nobody"), answers.note("refused"))
    engine.scheduler.read_durable(lambda core: core.job_info("a").state, answers.note("read"))
    engine.scheduler.watch("r1", -1, 60, answers.signal("watched"))
    assert engine.store.reached.acquire(timeout=DEADLINE_S)
    assert engine.state("a") == "RUNNING"  # decided, and yet
    assert link.silent()
    assert answers.empty()
    engine.store.gate.set()
    assert link.next("dispatch").job == "r1/a"
    assert answers.next() == ("submitted", Accepted(run_id="r1", jobs=["r1/a"]))
    name, refusal = answers.next()
    assert name == "refused" and isinstance(refusal, NotFound)
    assert answers.next() == ("read", "RUNNING")
    assert answers.next() == ("watched", None)


def test_what_queues_up_becomes_one_commit(engine: Engine) -> None:
    answers = Answers()
    engine.store.shut()
    engine.scheduler.post(run_of("r0", "j0"), answers.note(0))
    assert engine.store.reached.acquire(timeout=DEADLINE_S)
    for n in range(1, 50):
        engine.scheduler.post(run_of(f"r{n}", f"j{n}"), answers.note(n))
    engine.store.gate.set()
    assert [answers.next()[0] for _ in range(50)] == list(range(50))
    assert engine.store.commits == [2, 98]


def test_refusals_are_raised_as_what_they_are(engine: Engine) -> None:
    engine.scheduler.call(run_of("r1", "a"))
    with pytest.raises(Conflict):
        engine.scheduler.call(run_of("r2", "a"))
    with pytest.raises(SubmissionRefused) as refused:
        engine.scheduler.call(run_of("r3", JobSpec(id="b", file="b.py", parents=("nobody",))))
    assert refused.value.problems
    with pytest.raises(NotFound):
        engine.scheduler.call(CancelRequested("nobody"))
    assert engine.store.find_run("r3") is None


def test_call_gives_up_at_its_timeout_and_the_event_still_counts(engine: Engine) -> None:
    engine.store.shut()
    with pytest.raises(DeadlineExceeded):
        engine.scheduler.call(run_of("r1", "a"), timeout=0.05)
    engine.store.gate.set()
    engine.scheduler.call(run_of("r2", "b"))
    assert engine.store.find_run("r1")


def test_key_value_writes_share_the_journal(engine: Engine) -> None:
    answers = Answers()
    engine.scheduler.write([KvPut("k", b"v"), KvAddMember("s", "m"), KvAddMember("s", "m")], answers.note("written"))
    assert answers.next() == ("written", [None, True, False])
    assert engine.store.kv_get("k") == b"v"


# --- the life of a job ------------------------------------------------------------------------------------------------


def test_a_dag_runs_to_its_end(engine: Engine) -> None:
    link = engine.worker("w", 1, slots=1)
    specs = [JobSpec(id="b", file="b", parents=("a",)), JobSpec(id="c", file="c", parents=("a", "b"))]
    engine.scheduler.call(run_of("r", "a", *specs))
    for job in ("a", "b", "c"):
        lease = link.next("dispatch")
        assert lease.job == f"r/{job}"
        assert link.silent()
        assert engine.scheduler.call(AttemptStarted("w", lease, 1)) is False
        assert engine.scheduler.call(completed("w", lease)) is False
        assert engine.scheduler.call(completed("w", lease)) is True  # once more: stale
    info = engine.scheduler.read(lambda core: core.run_info("r"))
    assert info.finished and {job.state for job in info.jobs} == {"COMPLETED"}
    engine.check()


def test_a_delayed_job_is_dispatched_when_it_is_due(engine: Engine) -> None:
    link = engine.worker("w", 1)
    begin = time.monotonic()
    engine.scheduler.call(run_of("late", JobSpec(id="late", file="a", delay_ms=300)))
    engine.scheduler.call(run_of("soon", JobSpec(id="soon", file="a", delay_ms=100)))
    assert link.next("dispatch").job == "soon/soon"
    assert 0.1 <= time.monotonic() - begin < 5
    assert link.next("dispatch").job == "late/late"
    assert time.monotonic() - begin >= 0.3


def test_cancelling_a_running_job_asks_its_worker(engine: Engine) -> None:
    link = engine.worker("w", 1)
    engine.scheduler.call(run_of("r", "a"))
    lease = link.next("dispatch")
    assert engine.scheduler.call(CancelRequested("a")) == ["r/a"]
    assert link.next("end") == lease


# --- links ------------------------------------------------------------------------------------------------------------


def test_a_worker_is_answered_before_it_gets_work(engine: Engine) -> None:
    engine.scheduler.call(run_of("r", "a"))
    order = Answers()
    link = Link(1)
    link.delivered.put = order.note("delivered")  # type: ignore[method-assign, assignment]
    engine.scheduler.attach("w", link)
    engine.scheduler.post(registration("w", 1), order.note("registered"))
    assert [order.next()[0], order.next()[0]] == ["registered", "delivered"]


def test_what_was_meant_for_a_broken_link_does_not_reach_the_next_one(engine: Engine) -> None:
    """A dispatch that was not delivered is taken back by the registration; the new link gets the next attempt alone."""
    first = engine.worker("w", 1)
    engine.store.shut()
    engine.scheduler.post(run_of("r", "a"))
    assert engine.store.reached.acquire(timeout=DEADLINE_S)
    engine.scheduler.detach("w", 1)
    engine.scheduler.post(LinkBroken("w", 1, "cut"))
    second = Link(2)
    engine.scheduler.attach("w", second)
    engine.scheduler.post(registration("w", 2))
    engine.store.gate.set()
    assert second.next("dispatch") == Lease(job="r/a", attempt=2, epoch=2)
    assert second.silent() and first.silent()
    engine.check()


def test_a_link_that_raises_harms_nobody_else(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Link):
        def dispatch(self, lease: Lease, spec: JobSpec) -> None:
            super().dispatch(lease, spec)
            raise TransportError("gone") if spec.id == "a" else ZeroDivisionError("a fault of ours")

    link = Broken(1)
    engine.scheduler.attach("w", link)
    engine.scheduler.call(registration("w", 1))
    for job in ("a", "b", "c"):
        engine.scheduler.call(run_of(f"run-{job}", job))
        assert link.next("dispatch").job == f"run-{job}/{job}"
    assert "a fault of ours" in caplog.text


def test_a_second_registration_closes_the_first_link(engine: Engine) -> None:
    first = engine.worker("w", 1)
    engine.worker("w", 2)
    assert first.next("close")


# --- silence ----------------------------------------------------------------------------------------------------------


def test_the_jobs_of_a_silent_worker_go_to_another(start: Start) -> None:
    engine = start(Settings(lease_seconds=0.5))
    silent = engine.worker("silent", 1)
    engine.scheduler.call(run_of("r", "a"))
    lease = silent.next("dispatch")
    alive = engine.worker("alive", 2)
    end = time.monotonic() + DEADLINE_S
    while alive.silent() and time.monotonic() < end:
        engine.scheduler.sign_of_life("alive")
        time.sleep(0.01)
    again = alive.next("dispatch")
    assert (again.job, again.attempt) == ("r/a", 2)
    assert again.epoch > lease.epoch
    assert silent.next("close")
    assert engine.scheduler.call(completed("silent", lease)) is True
    assert engine.scheduler.call(completed("alive", again)) is False
    engine.check()


def test_a_worker_that_comes_back_within_the_grace_keeps_its_jobs(start: Start) -> None:
    engine = start(Settings(grace_seconds=0.3))
    first = engine.worker("w", 1)
    engine.scheduler.call(run_of("r", "a"))
    lease = first.next("dispatch")
    engine.scheduler.detach("w", 1)
    engine.scheduler.post(LinkBroken("w", 1, "cut"))
    second = engine.worker("w", 2, holding=[lease])
    other = engine.worker("other", 3)
    engine.scheduler.detach("other", 3)
    engine.scheduler.post(LinkBroken("other", 3, "cut"))
    end = time.monotonic() + DEADLINE_S
    while {w.worker_id: w.state for w in engine.scheduler.read(lambda core: core.workers())}["other"] != "dead":
        assert time.monotonic() < end
        time.sleep(0.005)
    # The grace of the one that stayed away is over, and so would be that of the one that came back.
    assert engine.scheduler.call(completed("w", lease)) is False
    assert second.silent() and other.silent()


def test_one_that_left_is_not_missed(start: Start) -> None:
    engine = start(Settings(lease_seconds=0.2))
    engine.worker("w", 1)
    engine.scheduler.call(run_of("r", "a"))
    engine.scheduler.call(WorkerLeft("w", "boot", "done"))
    assert engine.scheduler.silence("w") == 0.0
    assert engine.state("a") == "PENDING"


# --- restarts ---------------------------------------------------------------------------------------------------------


def test_a_restart_goes_on_where_it_was(start: Start) -> None:
    engine = start()
    link = engine.worker("w", 1, slots=1)
    blocked = JobSpec(id="child", file="c", parents=("running",))
    engine.scheduler.call(run_of("r", "running", blocked))
    engine.scheduler.call(run_of("q", "queued", JobSpec(id="delayed", file="d", delay_ms=150)))
    lease = link.next("dispatch")
    engine.close()

    again = start()
    states = {name: again.state(name) for name in ("running", "child", "queued", "delayed")}
    assert states == {"running": "RUNNING", "child": "WAITING", "queued": "PENDING", "delayed": "DELAYED"}
    link = again.worker("w", 7, holding=[lease])
    assert again.scheduler.call(completed("w", lease)) is False
    dispatched = []
    for _ in range(3):
        next_lease = link.next("dispatch")
        assert next_lease.epoch > lease.epoch
        dispatched.append(next_lease.job)
        again.scheduler.call(completed("w", next_lease))
    assert sorted(dispatched) == ["q/delayed", "q/queued", "r/child"]
    again.check()


def test_a_worker_that_does_not_return_after_a_restart_loses_its_jobs(start: Start) -> None:
    engine = start()
    link = engine.worker("gone", 1)
    engine.scheduler.call(run_of("r", "a"))
    link.next("dispatch")
    engine.close()

    again = start(Settings(lease_seconds=0.3))
    begin = time.monotonic()
    again.wait_for_state("a", "PENDING")
    assert time.monotonic() - begin > 0.1
    again.check()


def test_an_idempotency_key_is_known_for_ever(start: Start) -> None:
    """Also when the run has long left memory, and the master was restarted since."""
    limits = CoreLimits(finished_jobs_in_memory=1)
    engine = start(Settings(finished_jobs_in_memory=1), limits)
    link = engine.worker("w", 1)
    first = engine.scheduler.call(run_of("r0", "j0", key="key 0"))
    assert engine.scheduler.call(run_of("other", "j0", key="key 0")) == Accepted(
        run_id="r0", jobs=["r0/j0"], repeated=True
    )
    for n in range(1, 6):
        engine.scheduler.call(completed("w", link.next("dispatch")))
        engine.scheduler.call(run_of(f"r{n}", f"j{n}", key=f"key {n}"))
    assert not first.repeated
    engine.close()
    again = start(Settings(finished_jobs_in_memory=1), limits)
    assert again.scheduler.read(lambda core: core.run_version("r0")) is None
    answer = again.scheduler.call(run_of("new", "j0", key="key 0"))
    assert answer == Accepted(run_id="r0", jobs=["r0/j0"], repeated=True)
    with pytest.raises(Conflict):
        again.scheduler.call(run_of("new", "different", key="key 0"))


@pytest.mark.slow
def test_restarting_costs_the_same_for_each_open_job_however_many_there_are(start: Start) -> None:
    """In processor time, which others on the machine hardly change. Looking at all jobs for each would make it 10."""
    few, many = cost_of_restart(start, "few", 5_000), cost_of_restart(start, "many", 50_000)
    assert many < 4 * few


def cost_of_restart(start: Start, folder: str, jobs: int) -> float:
    """Seconds of processor time for each of so many open jobs."""
    engine = start(folder=folder)
    answers = Answers()
    runs = jobs // 500
    for run in range(runs):
        specs = [JobSpec(id=f"j{run}-{n}", file="a.py", sha256="f" * 64, size=1000) for n in range(500)]
        engine.scheduler.post(run_of(f"r{run}", *specs), answers.note(run))
    for _ in range(runs):
        assert isinstance(answers.next()[1], Accepted)
    engine.close()

    begin = time.process_time()
    again = start(folder=folder)
    spent = time.process_time() - begin
    assert again.scheduler.read(lambda core: core.list_jobs(("PENDING",), 0)).total == jobs
    again.close()
    return spent / jobs


# --- watching ---------------------------------------------------------------------------------------------------------


def test_a_watch_fires_once_for_a_change(engine: Engine) -> None:
    engine.scheduler.call(run_of("r", "a"))
    version = engine.version("r")
    answers = Answers()
    engine.scheduler.watch("r", version, 60, answers.signal("changed"))
    engine.scheduler.call(run_of("other", "b"))
    assert answers.empty()
    engine.scheduler.call(CancelRequested("a"))
    assert answers.next() == ("changed", None)
    engine.scheduler.call(run_of("again", "c"))
    assert answers.empty()
    assert len(engine.scheduler._clock_watcher) == 0  # its timeout is gone with it


def test_a_watch_ignores_what_its_asker_knows_already(engine: Engine) -> None:
    """The change is not delivered yet, but the version asked with is the one after it."""
    answers = Answers()
    engine.store.shut()
    engine.scheduler.post(run_of("r", "a"))
    assert engine.store.reached.acquire(timeout=DEADLINE_S)
    version = engine.version("r")
    engine.scheduler.watch("r", version, 60, answers.signal("changed"))
    engine.store.gate.set()
    engine.scheduler.call(run_of("other", "b"))
    assert answers.empty()
    engine.scheduler.call(CancelRequested("a"))
    assert answers.next() == ("changed", None)


def test_a_watch_ends_when_its_time_is_over(engine: Engine) -> None:
    engine.scheduler.call(run_of("r", "a"))
    version = engine.version("r")
    answers = Answers()
    begin = time.monotonic()
    engine.scheduler.watch("r", version, 0.1, answers.signal("over"))
    assert answers.next() == ("over", None)
    assert time.monotonic() - begin >= 0.1
    engine.scheduler.call(CancelRequested("a"))
    assert answers.empty()


def test_a_watch_may_be_cancelled_and_unknown_runs_are_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.scheduler.call(run_of("r", "a"))
    version = engine.version("r")
    answers = Answers()
    monkeypatch.setattr(run_watchers, "MAX_WATCHES", 1)
    watch = engine.scheduler.watch("r", version, 60, answers.signal("cancelled"))
    with pytest.raises(Unavailable):
        engine.scheduler.watch("r", version, 60, answers.signal("too many"))
    watch.cancel()
    watch.cancel()
    engine.scheduler.watch("r", version, 60, answers.signal("changed"))
    engine.scheduler.call(CancelRequested("a"))
    assert answers.next() == ("changed", None)
    assert answers.empty()
    with pytest.raises(NotFound):
        engine.scheduler.watch("nobody", 0, 60, answers.signal("never"))


# --- too much, and the end --------------------------------------------------------------------------------------------


def test_submitters_wait_for_room_and_reports_do_not(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    link = engine.worker("w", 1)
    engine.scheduler.call(run_of("r", "a"))
    lease = link.next("dispatch")
    monkeypatch.setattr(scheduler, "MAX_QUEUED_RECORDS", 100)
    answers = Answers()
    engine.store.shut()
    engine.scheduler.post(run_of("big", *(f"big-{n}" for n in range(101))), answers.note("big"))

    def submit() -> None:
        engine.scheduler.post(run_of("late", "late"), answers.note("late"))

    waiting = threading.Thread(target=submit)
    waiting.start()
    end = time.monotonic() + DEADLINE_S
    while not engine.scheduler._waiting_for_room and time.monotonic() < end:
        time.sleep(0.001)
    engine.scheduler.post(completed("w", lease), answers.note("report"))  # returns, though nothing is written
    assert engine.scheduler.read(lambda core: core.run_version("late")) is None

    monkeypatch.setattr(scheduler, "WAIT_FOR_ROOM_S", 0.05)
    with pytest.raises(Unavailable, match="busy"):
        engine.scheduler.call(run_of("refused", "refused"))

    engine.store.gate.set()
    assert [answers.next()[0] for _ in range(3)] == ["big", "report", "late"]
    waiting.join(DEADLINE_S)
    assert engine.scheduler.read(lambda core: core.run_version("refused")) is None


def test_a_nearly_full_disk_takes_nothing_new_and_finishes_the_old(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = engine.worker("w", 1)
    engine.scheduler.call(run_of("r", "a"))
    lease = link.next("dispatch")
    monkeypatch.setattr("titan_core.scheduling.disk_reserve.LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(engine.scheduler._reserve, "_free_bytes", lambda: 5 << 20)
    with pytest.raises(Unavailable, match="nearly full"):
        engine.scheduler.call(run_of("new", "new"))
    answers = Answers()
    engine.scheduler.write([KvPut("k", b"v")], answers.note("kv"))
    assert isinstance(answers.next()[1], Unavailable)
    assert engine.scheduler.call(completed("w", lease)) is False
    monkeypatch.setattr(engine.scheduler._reserve, "_free_bytes", engine.store.free_bytes)
    engine.scheduler.call(run_of("new", "new"))


@pytest.mark.parametrize("error", [StoreFull("no space"), StoreError("fsync failed")])
def test_a_failed_commit_ends_the_process_and_tells_nobody(tmp_path: Path, error: StoreError) -> None:
    engine = Engine(tmp_path)
    link = engine.worker("w", 1)
    answers = Answers()
    engine.store.failure = error
    engine.scheduler.post(run_of("r", "a"), answers.note("submitted"))
    assert "journal" in engine.failures.get(timeout=DEADLINE_S)
    engine.close()
    assert link.silent()
    assert answers.empty()


def test_a_core_that_breaks_its_rules_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(tmp_path)

    def handle(*_: object) -> None:
        raise AssertionError("an illegal move")

    with monkeypatch.context() as patch:
        patch.setattr(engine.scheduler._core, "handle", handle)
        with pytest.raises(AssertionError):
            engine.scheduler.post(run_of("r", "a"))
    assert "could not handle" in engine.failures.get(timeout=DEADLINE_S)
    engine.close()


def test_stop_finishes_what_was_accepted_and_refuses_the_rest(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "data")
    engine.scheduler.call(run_of("r", "a"))
    version = engine.version("r")
    answers = Answers()
    engine.scheduler.watch("r", version, 60, answers.signal("watch"))
    engine.store.shut()
    for n in range(20):
        engine.scheduler.post(run_of(f"r{n}", f"j{n}"), answers.note(n))
    assert not engine.scheduler.stop(0.05)  # the disk does not answer: it says so instead of hanging
    assert answers.next()[0] == "watch"
    with pytest.raises(Unavailable):
        engine.scheduler.call(run_of("late", "late"))
    with pytest.raises(Unavailable):
        engine.scheduler.watch("r", version, 60, answers.signal("late watch"))
    engine.store.gate.set()
    assert [answers.next()[0] for _ in range(20)] == list(range(20))
    engine.close()
    assert answers.empty()
    again = Engine(tmp_path / "data")
    assert again.state("j19") == "PENDING"
    again.close()


def test_many_threads_at_once(engine: Engine) -> None:
    """Sixteen submitters and a worker that answers at once: every job runs exactly once, the core stays in order."""

    class Worker(Link):
        def dispatch(self, lease: Lease, spec: JobSpec) -> None:
            engine.scheduler.post(AttemptStarted("w", lease, 1))
            engine.scheduler.post(completed("w", lease), self.done)

        def done(self, stale: bool) -> None:
            self.delivered.put(("done", stale))

    link = Worker(1)
    engine.scheduler.attach("w", link)
    engine.scheduler.call(registration("w", 1))

    def submit(thread: int) -> None:
        for n in range(25):
            engine.scheduler.call(run_of(f"r-{thread}-{n}", f"j-{thread}-{n}"))

    threads = [threading.Thread(target=submit, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    assert [link.next("done") for _ in range(400)] == [False] * 400
    for thread in threads:
        thread.join(DEADLINE_S)
    engine.check()
    stored = [job for run in engine.store.load(1000) for _, job in run.jobs]
    assert len(stored) == 400
    assert {(job.state.value, job.attempt) for job in stored} == {("COMPLETED", 1)}
    assert len({job.epoch for job in stored}) == 400
