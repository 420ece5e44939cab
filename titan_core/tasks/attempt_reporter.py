"""Tells the master how the attempts it dispatched go, and keeps at it until the master knows."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

import msgspec

from titan_core.tasks.alarms import Alarms
from titan_core.tasks.attempt import Attempt
from titan_core.tasks.job_runner import JobRunner
from titan_core.tasks.log_batcher import LogBatcher, LogUplink
from titan_core.tasks.log_streamer import LogStreamer
from titan_core.tasks.result_spool import ResultSpool, SpooledResult
from titan_sdk.errors import TitanError, TransportError
from titan_sdk.messages import JobReport, JobSpec, JobStarted, Lease, Message, Request, Verdict

log = logging.getLogger(__name__)

TINY_S: Final = 0.05
"""A job that has ended by then is not announced as started: its report says when it did, and costs one message less."""
RETRY_S: Final = 1.0
"""Before a report that the master refused (its disk is full, it is stopping) is sent again."""

REMEMBERED_LEASES: Final = 4096
"""That are over: a dispatch that comes twice (a proxy in between may repeat frames) does not run its job twice."""

A = TypeVar("A", bound=Message)


class Uplink(LogUplink, Protocol):
    """The connection to the master. ``send`` does not block and never raises; ``on_answer`` is called exactly once."""

    @property
    def connected(self) -> bool:
        """Whether what is sent has a chance to arrive. Set before AttemptReporter.connected is called."""
        ...

    def send(self, request: Request[A], on_answer: Callable[[A | TitanError], None]) -> None: ...


@dataclass(slots=True, eq=False)
class _Dispatched:
    """A lease that is ours until the master has its report, or says that it is stale.

    Attributes:
        announced: the master was told that it runs, or is to be told again after a reconnect.
        logging: the batcher has its log.
        report: how it ended.
        shipped: the log before the report's piece of it is at the master, so the report may go.
        sending: the report is under way.
    """

    lease: Lease
    attempt: Attempt | None = None
    pid: int = 0
    port: int = 0
    started_at: int = 0
    announced: bool = False
    ready: bool = False
    trouble: str = ""
    logging: bool = False
    report: JobReport | None = None
    shipped: bool = False
    sending: bool = False


class AttemptReporter:
    """Owner of the attempts that come over the link. Any thread may call.

    An attempt that ended is spooled to disk first, then reported, and forgotten when the verdict has come. What was not
    answered is sent again after every reconnect. An attempt that the master calls stale is ended and not reported.

    The lock guards the table of leases and who sends a report; nothing else is called with it held.
    """

    def __init__(
        self, uplink: Uplink, runner: JobRunner, spool: ResultSpool, alarms: Alarms, *, grace_s: float
    ) -> None:
        self._uplink = uplink
        self._runner = runner
        self._spool = spool
        self._alarms = alarms
        self._grace_s = grace_s
        self._logs = LogBatcher(uplink, alarms, self._stale)
        self.streamer = LogStreamer(alarms)
        self._changed = threading.Condition()
        self._leases: dict[Lease, _Dispatched] = {}
        self._over: dict[Lease, None] = {}

    def recover(self, results: Iterable[SpooledResult]) -> None:
        """Before the first connection: results that an earlier process of this worker could not deliver."""
        for result in results:
            report = result.report
            log.info("the result of %s waits for the master since the last run", report.lease.job)
            dispatched = self._leases[report.lease] = _Dispatched(report.lease, report=report)
            if report.log_offset and _file_size(result.log_path) == report.log_size:
                dispatched.logging = True
                self._logs.open(report.lease, result.log_path)
            self._ship(dispatched, report)

    def dispatch(self, lease: Lease, spec: JobSpec) -> None:
        """Take an attempt; nothing happens when it is or was here already.

        Raises:
            Saturated, Unavailable: it was not taken.
        """
        with self._changed:
            if lease in self._leases or lease in self._over:
                return
            self._leases[lease] = _Dispatched(lease)
        try:
            self._runner.take(lease, spec, self)
        except TitanError:
            self._forget(lease)
            raise

    def holding(self) -> list[Lease]:
        """Every lease that runs here, or has a result the master has not answered for."""
        with self._changed:
            return list(self._leases)

    def connected(self, stale: Iterable[Lease]) -> None:
        """The master took our registration; ``stale`` are leases of ``holding`` that are not ours any more."""
        for lease in stale:
            self._stale(lease)
        self._logs.resume()
        with self._changed:
            leases = list(self._leases.values())
        for dispatched in leases:
            if dispatched.report is not None:
                self._send_report(dispatched)
            elif dispatched.announced:
                self._announce(dispatched)

    def disconnected(self) -> None:
        """The link is down; what was under way fails by itself."""
        self._logs.pause()
        with self._changed:
            # A frame is repeated on its own connection; and a master restored from a backup counts its epochs anew.
            self._over.clear()

    def wait_reported(self, timeout_s: float) -> bool:
        """Wait until the master has answered for every lease."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._leases, timeout_s)

    # --- what the runner tells ------------------------------------------------------------------------------------

    def started(self, attempt: Attempt, pid: int, started_at: int) -> None:
        dispatched = self._leases.get(attempt.lease)
        if dispatched is None:
            return
        dispatched.pid = pid
        dispatched.port = attempt.spec.port
        dispatched.started_at = started_at
        if attempt.spec.kind == "run":
            self._alarms.call_later(TINY_S, partial(self._announce, dispatched))
        else:
            self._announce(dispatched)

    def ready(self, attempt: Attempt) -> None:
        dispatched = self._leases.get(attempt.lease)
        if dispatched is not None:
            dispatched.ready = True
            self._announce(dispatched)

    def not_ready(self, attempt: Attempt, why: str) -> None:
        dispatched = self._leases.get(attempt.lease)
        if dispatched is not None:
            dispatched.trouble = why
            self._announce(dispatched)

    def grew(self, attempt: Attempt, size: int) -> None:
        dispatched = self._leases.get(attempt.lease)
        if dispatched is not None:
            self._open_log(dispatched, attempt)
            self._logs.grew(attempt.lease, size)
            if attempt.sandbox is not None:
                self.streamer.grew(attempt.lease, str(attempt.sandbox.log), size, attempt.log_segment)

    def ended(self, attempt: Attempt, report: JobReport) -> None:
        dispatched = self._leases.get(attempt.lease)
        if dispatched is None:  # stale: nobody wants to hear of it
            self._runner.release(attempt)
            return
        try:
            self._spool.put(SpooledResult(report=report, log_path=str(attempt.sandbox.log) if attempt.sandbox else ""))
        except OSError as error:
            # It still goes to the master now; only a crash before that would cost another run of the job.
            log.error("the result of %s cannot be spooled: %s", report.lease.job, error)
        if attempt.sandbox is not None:
            self.streamer.grew(attempt.lease, str(attempt.sandbox.log), report.log_size, attempt.log_segment)
        dispatched.attempt = attempt
        dispatched.report = report
        if report.log_offset:
            self._open_log(dispatched, attempt)
        self._ship(dispatched, report)

    # --- what is told to the master -------------------------------------------------------------------------------

    def _announce(self, dispatched: _Dispatched) -> None:
        if dispatched.report is not None or dispatched.lease not in self._leases:
            return
        dispatched.announced = True
        started = JobStarted(
            lease=dispatched.lease,
            pid=dispatched.pid,
            started_at=dispatched.started_at,
            ready=dispatched.ready,
            port=dispatched.port,
            trouble="" if dispatched.ready else dispatched.trouble,
        )

        def on_answer(answer: Verdict | TitanError) -> None:
            if isinstance(answer, TitanError):
                self._try_again(answer, partial(self._announce, dispatched))
            elif answer.stale:
                self._stale(dispatched.lease)

        self._uplink.send(started, on_answer)

    def _open_log(self, dispatched: _Dispatched, attempt: Attempt) -> None:
        if not dispatched.logging and attempt.sandbox is not None:
            dispatched.logging = True
            self._logs.open(attempt.lease, str(attempt.sandbox.log), attempt.log_segment)

    def _ship(self, dispatched: _Dispatched, report: JobReport) -> None:
        """Send what the report cannot carry of the log, then the report."""
        if dispatched.logging:
            self._logs.finish(report.lease, report.log_offset, partial(self._log_shipped, dispatched, report))
        else:
            self._log_shipped(dispatched, report, 0)

    def _log_shipped(self, dispatched: _Dispatched, report: JobReport, acked: int) -> None:
        known = acked - report.log_offset
        if known > 0:
            dispatched.report = msgspec.structs.replace(report, log_offset=acked, log_tail=report.log_tail[known:])
        dispatched.shipped = True
        if dispatched.attempt is not None:
            self._runner.release(dispatched.attempt)
        self._send_report(dispatched)

    def _send_report(self, dispatched: _Dispatched) -> None:
        with self._changed:
            report = dispatched.report
            if report is None or not dispatched.shipped or dispatched.sending or dispatched.lease not in self._leases:
                return
            dispatched.sending = True
        self._uplink.send(report, partial(self._judged, dispatched))

    def _judged(self, dispatched: _Dispatched, answer: Verdict | TitanError) -> None:
        if isinstance(answer, TitanError):
            with self._changed:
                dispatched.sending = False
            self._try_again(answer, partial(self._send_report, dispatched))
            return
        if answer.stale:
            log.info("the result of %s is not wanted any more", dispatched.lease.job)
        self._spool.remove(dispatched.lease)
        self._forget(dispatched.lease)

    def _try_again(self, error: TitanError, action: Callable[[], None]) -> None:
        """After a failed request: at the next connection, which ``connected`` sees to, or soon on this one."""
        if isinstance(error, TransportError) and not self._uplink.connected:
            return
        log.warning("the master did not take what it was told: %s", error)
        self._alarms.call_later(RETRY_S, action)

    def _stale(self, lease: Lease) -> None:
        """The attempt is not ours any more: end what runs of it, and forget it."""
        dispatched = self._forget(lease)
        if dispatched is None:
            return
        log.warning("attempt %d of %s is not ours any more", lease.attempt, lease.job)
        self._spool.remove(lease)
        self._logs.forget(lease)
        if dispatched.attempt is not None and not dispatched.shipped:
            self._runner.release(dispatched.attempt)
        self._runner.end(lease, "cancelled", "the master gave it to somebody else", self._grace_s)

    def _forget(self, lease: Lease) -> _Dispatched | None:
        with self._changed:
            dispatched = self._leases.pop(lease, None)
            self._over[lease] = None
            if len(self._over) > REMEMBERED_LEASES:
                del self._over[next(iter(self._over))]
            if not self._leases:
                self._changed.notify_all()
            return dispatched


def _file_size(path: str) -> int:
    """Bytes, or -1 when there is no such file."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
