"""The engine of a master that is to be killed: works as fast as it can and says on stdout what it was told.

Usage: python -m titan_test_suite.pytests.crashing_master DATA_DIR ROUND

Each line is a fact as JSON, written only after the Scheduler has acknowledged it.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from titan_core.scheduling.clock import SystemClock
from titan_core.scheduling.core.commands import KvAddMember, KvPut, Record
from titan_core.scheduling.core.events import AttemptEnded, AttemptStarted, RunSubmitted
from titan_core.scheduling.core.scheduler_core import CoreLimits, SchedulerCore
from titan_core.scheduling.scheduler import Scheduler
from titan_core.storage.sqlite_store import SqliteStore
from titan_sdk.messages import JobSpec, Lease, Outcome
from titan_test_suite.pytests.engine import Link, Settings, registration

DELAY_MS = 3_600_000
SUBMITTERS = 3


def jobs_of(run_id: str) -> tuple[JobSpec, ...]:
    """A DAG: one that succeeds, one that fails for good, what hangs on them, one due in an hour, one that runs on."""
    return (
        JobSpec(id=f"good-{run_id}", file="a.py", args=("x|y", run_id)),
        JobSpec(id=f"bad-{run_id}", file="b.py", retries=0),
        JobSpec(id=f"after-good-{run_id}", file="c.py", parents=(f"good-{run_id}",), priority=5),
        JobSpec(id=f"after-bad-{run_id}", file="d.py", parents=(f"good-{run_id}", f"bad-{run_id}")),
        JobSpec(id=f"late-{run_id}", file="e.py", delay_ms=DELAY_MS),
        JobSpec(id=f"endless-{run_id}", file="f.py", requirement=("GENERAL",), priority=-1),
    )


def say(**fact: Any) -> None:
    # One write below PIPE_BUF: a line is there in whole or not at all.
    os.write(1, (json.dumps(fact) + "\n").encode())


class Worker(Link):
    """Reports an end for all but the endless jobs, from the Dispatcher's thread."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__(1)
        self._scheduler = scheduler

    def dispatch(self, lease: Lease, spec: JobSpec) -> None:
        say(dispatched=lease.job, attempt=lease.attempt, epoch=lease.epoch)
        self._scheduler.post(AttemptStarted("w", lease, 1))
        if spec.id.startswith("endless"):
            return
        outcome: Outcome = "failed" if spec.id.startswith("bad") else "completed"
        code = 3 if outcome == "failed" else 0

        def acknowledged(stale: bool) -> None:
            if not stale:
                say(ended=lease.job, attempt=lease.attempt, code=code, epoch=lease.epoch)

        self._scheduler.post(AttemptEnded("w", lease, outcome, code, "", 1, 2, 77), acknowledged)


def submit(scheduler: Scheduler, name: str) -> None:
    written = threading.Semaphore(0)
    for n in itertools.count():
        run_id = f"{name}-{n}"
        scheduler.call(RunSubmitted(run_id, run_id, jobs_of(run_id), f"key {run_id}"))
        say(accepted=run_id)
        records: list[Record] = [KvPut(name, str(n).encode()), KvAddMember("runs", run_id)]
        scheduler.write(records, lambda _: written.release())
        written.acquire()
        say(kv=name, value=n, member=run_id)


def main() -> None:
    store = SqliteStore(Path(sys.argv[1]))
    store.open()
    scheduler = Scheduler(SchedulerCore(CoreLimits()), store, SystemClock(), settings=Settings())
    scheduler.start()
    scheduler.read(lambda core: core.check_invariants())
    say(term=store.term)
    worker = Worker(scheduler)
    scheduler.attach("w", worker)
    scheduler.call(registration("w", 1, boot=f"boot {store.term}", slots=1_000))
    for n in range(SUBMITTERS):
        threading.Thread(target=submit, args=(scheduler, f"r{sys.argv[2]}-{n}")).start()


if __name__ == "__main__":
    main()
