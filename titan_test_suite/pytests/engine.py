"""A Scheduler with the real core and the real store, and ends of worker links that only take notes."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from titan_core.scheduling.clock import SystemClock
from titan_core.scheduling.core.commands import Record
from titan_core.scheduling.core.events import AttemptEnded, RunSubmitted, WorkerRegistered
from titan_core.scheduling.core.scheduler_core import CoreLimits, SchedulerCore
from titan_core.scheduling.scheduler import Scheduler
from titan_core.storage.sqlite_store import SqliteStore
from titan_sdk.messages import GENERAL, JobSpec, Lease

DEADLINE_S = 20.0


@dataclass(frozen=True)
class Settings:
    lease_seconds: float = 30.0
    grace_seconds: float = 10.0
    finished_jobs_in_memory: int = 10_000


class GatedStore(SqliteStore):
    """A store whose commits wait while its gate is shut, and fail when told to."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self.gate = threading.Event()
        self.gate.set()
        self.reached = threading.Semaphore(0)
        """Released each time a commit stands before the gate."""
        self.commits: list[int] = []
        """Number of records of each."""
        self.failure: Exception | None = None

    def shut(self) -> None:
        """Shut the gate, and forget the commits that reached it before; none may be under way."""
        while self.reached.acquire(blocking=False):
            pass
        self.gate.clear()

    def apply(self, records: Sequence[Record]) -> list[Any]:
        self.reached.release()
        assert self.gate.wait(DEADLINE_S)
        if self.failure:
            raise self.failure
        self.commits.append(len(records))
        return super().apply(records)


class Link:
    """The master's end of a link: notes what the Dispatcher delivers."""

    def __init__(self, link_id: int) -> None:
        self.link_id = link_id
        self.delivered: queue.Queue[tuple[str, Any]] = queue.Queue()

    def dispatch(self, lease: Lease, spec: JobSpec) -> None:
        self.delivered.put(("dispatch", lease))

    def end_attempt(self, lease: Lease, reason: str) -> None:
        self.delivered.put(("end", lease))

    def decommission(self, reason: str) -> None:
        self.delivered.put(("decommission", reason))

    def close(self, reason: str) -> None:
        self.delivered.put(("close", reason))

    def next(self, what: str) -> Any:
        kind, value = self.delivered.get(timeout=DEADLINE_S)
        assert kind == what
        return value

    def silent(self) -> bool:
        return self.delivered.empty()


class Engine:
    """One life of a master's engine on a data directory."""

    def __init__(self, data_dir: Path, settings: Settings | None = None, limits: CoreLimits | None = None) -> None:
        self.failures: queue.Queue[str] = queue.Queue()
        self.store = GatedStore(data_dir)
        self.store.open()
        self.scheduler = Scheduler(
            SchedulerCore(limits or CoreLimits()),
            self.store,
            SystemClock(),
            settings=settings or Settings(),
            fail=self.failures.put,
        )
        self.scheduler.start()

    def close(self) -> None:
        self.store.gate.set()
        assert self.scheduler.stop(DEADLINE_S)
        self.store.close()

    def worker(self, worker_id: str, link_id: int, *, holding: Sequence[Lease] = (), slots: int = 4) -> Link:
        """Register a worker of ``boot`` process with a new link, and wait until that is durable."""
        link = Link(link_id)
        self.scheduler.attach(worker_id, link)
        self.scheduler.call(registration(worker_id, link_id, holding=holding, slots=slots))
        return link

    def version(self, run_id: str) -> int:
        version = self.scheduler.read(lambda core: core.run_version(run_id))
        assert version is not None
        return version

    def state(self, name: str) -> str:
        return self.scheduler.read(lambda core: core.job_info(name)).state

    def wait_for_state(self, name: str, state: str) -> None:
        end = time.monotonic() + DEADLINE_S
        while self.state(name) != state:
            assert time.monotonic() < end, f"{name} is {self.state(name)}, not {state}"
            time.sleep(0.002)

    def check(self) -> None:
        self.scheduler.read(lambda core: core.check_invariants())


def registration(
    worker_id: str, link_id: int, *, boot: str = "boot", holding: Sequence[Lease] = (), slots: int = 4
) -> WorkerRegistered:
    return WorkerRegistered(
        worker_id, boot, link_id, "127.0.0.1", 8080, frozenset({GENERAL}), slots, True, holding=tuple(holding)
    )


def run_of(run_id: str, *jobs: str | JobSpec, key: str = "") -> RunSubmitted:
    specs = tuple(JobSpec(id=job, file="a.py") if isinstance(job, str) else job for job in jobs)
    return RunSubmitted(run_id, run_id, specs, key)


def completed(worker_id: str, lease: Lease) -> AttemptEnded:
    return AttemptEnded(worker_id, lease, "completed", 0, "", 1, 2, 0)


class Answers:
    """Collects what is called back, in order."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[object, Any]] = queue.Queue()

    def note(self, name: object) -> Callable[[Any], None]:
        return lambda answer: self._queue.put((name, answer))

    def signal(self, name: object) -> Callable[[], None]:
        return lambda: self._queue.put((name, None))

    def next(self) -> tuple[object, Any]:
        return self._queue.get(timeout=DEADLINE_S)

    def empty(self) -> bool:
        return self._queue.empty()
