"""JobRunner: what goes wrong before a launch ends the attempt, and frees its slot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from titan_core.tasks.job_runner import JobRunner
from titan_core.tasks.service_handler import ServiceHandler
from titan_sdk.messages import JobReport, JobSpec, Lease


class Owner:
    def __init__(self) -> None:
        self.reports: list[JobReport] = []

    def ended(self, attempt: Any, report: JobReport) -> None:
        self.reports.append(report)


class BrokenLauncher:
    def run(self, slot: int, request: Any) -> None:
        raise ValueError("no such thing")


def test_a_launch_that_fails_by_our_own_fault_fails_the_attempt() -> None:
    sandbox = SimpleNamespace(job_dir="/nowhere")
    runner = JobRunner(
        1,
        launcher=BrokenLauncher(),  # type: ignore[arg-type]
        workspace=SimpleNamespace(prepare=lambda *_: sandbox, release=lambda _: None),  # type: ignore[arg-type]
        contents=SimpleNamespace(),  # type: ignore[arg-type]
        fetcher=SimpleNamespace(),  # type: ignore[arg-type]
        make_request=lambda *_: SimpleNamespace(log_bytes=1, log_files=0),  # type: ignore[arg-type]
        services=ServiceHandler(lambda *_: None),
    )
    owner = Owner()
    runner.take(Lease(job="r/a", attempt=1, epoch=1), JobSpec(id="a", file="a.py"), owner)  # type: ignore[arg-type]
    (report,) = owner.reports
    assert (report.outcome, report.reason) == ("failed", "it cannot be started: ValueError: no such thing")
    assert runner.busy == 0
    runner.stop()
