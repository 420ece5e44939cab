"""The worker's account of its attempts: each dispatch runs once, each result is kept until its verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from titan_core.tasks import attempt_reporter
from titan_core.tasks.alarms import Alarms
from titan_core.tasks.attempt import Attempt
from titan_core.tasks.attempt_reporter import AttemptReporter
from titan_core.tasks.job_runner import JobRunner
from titan_core.tasks.result_spool import ResultSpool
from titan_sdk.errors import ConnectionLost, Saturated, TitanError
from titan_sdk.messages import JobReport, JobSpec, Lease, LogPiece, LogState, Message, Request, Verdict

SPEC = JobSpec(id="a", file="a.py")


def lease(number: int) -> Lease:
    return Lease(job=f"run/{number}", attempt=1, epoch=number)


class Uplink:
    """Keeps what is sent; ``verdict`` answers the oldest."""

    def __init__(self) -> None:
        self.connected = True
        self.sent: list[tuple[Request[Any], Callable[[Any], None]]] = []

    def send(self, request: Request[Any], on_answer: Callable[[Any], None]) -> None:
        self.sent.append((request, on_answer))

    def send_log(self, piece: LogPiece, on_answer: Callable[[LogState | TitanError], None]) -> None:
        raise AssertionError("no log is sent here")

    def answer(self, answer: Message | TitanError) -> None:
        self.sent.pop(0)[1](answer)


class Runner:
    """Takes everything, unless it is full."""

    def __init__(self) -> None:
        self.taken: list[Lease] = []
        self.full = False

    def take(self, lease: Lease, spec: JobSpec, owner: object) -> None:
        if self.full:
            raise Saturated("full")
        self.taken.append(lease)

    def release(self, attempt: Attempt) -> None:
        pass

    def end(self, *args: object) -> bool:
        return True


class Parts:
    def __init__(self, folder: Path) -> None:
        self.uplink = Uplink()
        self.runner = Runner()
        self.spool = ResultSpool(folder)
        self.spool.open()
        self.reporter = AttemptReporter(
            self.uplink, cast(JobRunner, self.runner), self.spool, Alarms("alarms"), grace_s=1.0
        )

    def end(self, number: int) -> None:
        attempt = Attempt(lease(number), SPEC, 0, self.reporter)
        self.reporter.ended(attempt, JobReport(lease=lease(number), outcome="completed"))

    def spooled(self) -> int:
        return len(self.spool.open())


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path / "spool")


def test_a_dispatch_that_comes_twice_runs_once(parts: Parts) -> None:
    parts.reporter.dispatch(lease(1), SPEC)
    parts.reporter.dispatch(lease(1), SPEC)
    parts.end(1)
    parts.reporter.dispatch(lease(1), SPEC)
    parts.uplink.answer(Verdict(stale=False))
    parts.reporter.dispatch(lease(1), SPEC)
    assert parts.runner.taken == [lease(1)]
    assert parts.reporter.holding() == []


def test_on_a_new_connection_a_lease_is_new(parts: Parts) -> None:
    """A master restored from a backup may give the same lease once more."""
    parts.reporter.dispatch(lease(1), SPEC)
    parts.end(1)
    parts.uplink.answer(Verdict(stale=False))
    parts.reporter.disconnected()
    parts.reporter.dispatch(lease(1), SPEC)
    assert parts.runner.taken == [lease(1), lease(1)]


def test_only_so_many_leases_are_remembered(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_reporter, "REMEMBERED_LEASES", 3)
    for number in range(1, 6):
        parts.reporter.dispatch(lease(number), SPEC)
        parts.end(number)
        parts.uplink.answer(Verdict(stale=False))
    parts.reporter.dispatch(lease(5), SPEC)
    assert len(parts.runner.taken) == 5
    parts.reporter.dispatch(lease(1), SPEC)
    assert len(parts.runner.taken) == 6


def test_what_is_refused_is_not_held(parts: Parts) -> None:
    parts.runner.full = True
    with pytest.raises(Saturated):
        parts.reporter.dispatch(lease(1), SPEC)
    assert parts.reporter.holding() == []


def test_a_result_is_kept_until_its_verdict(parts: Parts) -> None:
    parts.reporter.dispatch(lease(1), SPEC)
    parts.end(1)
    assert parts.spooled() == 1
    parts.uplink.connected = False
    parts.uplink.answer(ConnectionLost("cut"))
    assert parts.spooled() == 1 and parts.reporter.holding() == [lease(1)]
    parts.uplink.connected = True
    parts.reporter.connected([])
    parts.uplink.answer(Verdict(stale=False))
    assert parts.spooled() == 0 and parts.reporter.holding() == []


def test_a_result_that_is_stale_is_dropped(parts: Parts) -> None:
    parts.reporter.dispatch(lease(1), SPEC)
    parts.end(1)
    parts.reporter.connected([lease(1)])
    assert parts.spooled() == 0 and parts.reporter.holding() == []
