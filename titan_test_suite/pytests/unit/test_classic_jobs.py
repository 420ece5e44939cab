"""The jobs of an original master, when the worker stops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from titan_core.filesys.workspace_manager import Sandbox
from titan_core.protocol.classic_jobs import ClassicJobs
from titan_core.protocol.classic_master import ClassicMaster
from titan_core.tasks.alarms import Alarms
from titan_core.tasks.attempt import Attempt, AttemptOwner
from titan_core.tasks.job_runner import JobRunner
from titan_sdk.messages import JobReport, JobSpec, Lease


class Runner:
    """Takes attempts, and does nothing with them."""

    def __init__(self, folder: Path) -> None:
        self.attempts: list[Attempt] = []
        self._folder = folder

    def take(self, lease: Lease, spec: JobSpec, owner: AttemptOwner) -> None:
        log = self._folder / "job.log"
        log.write_bytes(b"a line\n")
        sandbox = Sandbox(self._folder, self._folder / spec.file, self._folder, log)
        self.attempts.append(Attempt(lease, spec, 0, owner, sandbox=sandbox))

    def release(self, attempt: Attempt) -> None:
        pass


class Later:
    """Alarms that go off when the test says so."""

    def __init__(self) -> None:
        self.actions: list[Callable[[], None]] = []

    def call_later(self, delay_s: float, action: Callable[[], None]) -> None:
        self.actions.append(action)


def test_what_is_due_after_the_stop_does_no_harm(tmp_path: Path) -> None:
    """Lines wait a moment for more, and their job may be over, and the worker stopped, by then."""
    runner, later = Runner(tmp_path), Later()
    master = ClassicMaster("127.0.0.1", 1)
    jobs = ClassicJobs(cast(JobRunner, runner), master, cast(Alarms, cast(Any, later)), grace_s=1.0)
    jobs.start(JobSpec(id="job", file="job.py"))
    (attempt,) = runner.attempts
    jobs.grew(attempt, 7)
    jobs.stop(0.0)
    for action in later.actions:
        action()
    jobs.ended(attempt, JobReport(lease=attempt.lease, outcome="completed", exit_code=0))
    assert later.actions
