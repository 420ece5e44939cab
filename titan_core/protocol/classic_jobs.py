"""The jobs and services that an original master starts on this worker."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from titan_core.protocol.classic_master import ClassicMaster
from titan_core.tasks.alarms import Alarms
from titan_core.tasks.attempt import Attempt
from titan_core.tasks.job_runner import JobRunner
from titan_sdk.errors import Conflict, LaunchFailed
from titan_sdk.messages import JobReport, JobSpec, Lease

log = logging.getLogger(__name__)

CALLBACK_THREADS: Final = 8
"""Calls to the master at once; each waits for its answer, and for the next try."""
LINGER_S: Final = 0.1
"""Lines wait so long for more: the original's batches are about so long too."""
BATCH_BYTES: Final = 256 * 1024
MAX_OUTPUT_BYTES: Final = 1024 * 1024
"""Of the end of a job's output in its result; all of it goes to the master as lines too."""
START_S: Final = 15.0
"""For a service's process to start, and for one that is stopped to end."""


@dataclass(slots=True, eq=False)
class _ClassicJob:
    """``settled`` is set when it has started or ended. ``sent``: bytes of its log that went to the master as lines."""

    lease: Lease
    spec: JobSpec
    settled: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    pid: int = 0
    failure: str = ""
    sent: int = 0
    shipping: threading.Lock = field(default_factory=threading.Lock)
    scheduled: bool = False


class ClassicJobs:
    """Owner of the attempts that a classic master asks for. Any thread may call.

    They have leases of this worker's own making, with epochs below zero, where no master's are.

    Args:
        grace_s: between TERM and KILL for what is stopped or cancelled.
    """

    def __init__(self, runner: JobRunner, master: ClassicMaster, alarms: Alarms, *, grace_s: float) -> None:
        self._runner = runner
        self._master = master
        self._alarms = alarms
        self._grace_s = grace_s
        self._lock = threading.Lock()
        self._jobs: dict[str, _ClassicJob] = {}
        self._epochs = itertools.count(-1, -1)
        self._callbacks = ThreadPoolExecutor(CALLBACK_THREADS, "classic-callback")
        self._stopped = False

    @property
    def runner(self) -> JobRunner:
        return self._runner

    def start(self, spec: JobSpec) -> None:
        """Run a job; how it ends is told to the master.

        Raises:
            Saturated, Unavailable: no slot, or draining.
            Conflict: a job of that id runs here.
        """
        self._start(spec)

    def start_service(self, spec: JobSpec) -> int:
        """Run a service; its pid once its process runs.

        Raises:
            LaunchFailed: it did not start.
            Saturated, Unavailable, Conflict: as ``start``.
        """
        job = self._start(spec)
        if not job.settled.wait(START_S):
            raise LaunchFailed(f"{spec.id} did not start within {START_S:g} s")
        if not job.pid:
            raise LaunchFailed(f"{spec.id} did not start: {job.failure}")
        return job.pid

    def end(self, job_id: str, reason: str, *, wait: bool) -> bool:
        """End a job or service and everything it started; False when there is none of that id.

        With ``wait``, return when it is gone (or START_S after its grace).
        """
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None or not self._runner.end(job.lease, "cancelled", reason, self._grace_s):
            return False
        if wait:
            job.over.wait(self._grace_s + START_S)
        return True

    def stop(self, deadline_s: float) -> None:
        """Wait for callbacks under way, without further tries when the deadline is over."""
        end = time.monotonic() + deadline_s
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            job.over.wait(max(0.0, end - time.monotonic()))
        self._master.stop()
        with self._lock:
            self._stopped = True
        self._callbacks.shutdown(wait=False, cancel_futures=True)

    def _start(self, spec: JobSpec) -> _ClassicJob:
        job = _ClassicJob(Lease(job=f"classic/{spec.id}", attempt=1, epoch=next(self._epochs)), spec)
        with self._lock:
            if spec.id in self._jobs:
                raise Conflict(f"{spec.id} runs here already")
            self._jobs[spec.id] = job
        try:
            self._runner.take(job.lease, spec, self)
        except BaseException:
            self._forget(job)
            raise
        return job

    def _find(self, attempt: Attempt) -> _ClassicJob:
        with self._lock:
            return self._jobs[attempt.spec.id]

    def _forget(self, job: _ClassicJob) -> None:
        with self._lock:
            self._jobs.pop(job.spec.id, None)

    # --- what the runner tells ------------------------------------------------------------------------------------

    def started(self, attempt: Attempt, pid: int, started_at: int) -> None:
        job = self._find(attempt)
        job.pid = pid
        job.settled.set()

    def ready(self, attempt: Attempt) -> None:
        """The original does not ask."""

    def grew(self, attempt: Attempt, size: int) -> None:
        job = self._find(attempt)
        if not job.scheduled and attempt.sandbox is not None:
            job.scheduled = True
            path = attempt.sandbox.log
            self._alarms.call_later(LINGER_S, lambda: self._later(job, path))

    def ended(self, attempt: Attempt, report: JobReport) -> None:
        job = self._find(attempt)
        job.failure = report.reason
        job.settled.set()
        self._call_back(self._tell_end, job, attempt, report)

    def _call_back(self, task: Callable[..., None], *args: object) -> None:
        """Do it on a callback thread; nothing after ``stop``, when lines or an end may still come in."""
        with self._lock:
            if not self._stopped:
                self._callbacks.submit(task, *args)

    # --- on the callback threads ----------------------------------------------------------------------------------

    def _later(self, job: _ClassicJob, path: Path) -> None:
        job.scheduled = False
        self._call_back(self._ship_lines, job, path, False)

    def _ship_lines(self, job: _ClassicJob, path: Path, last: bool) -> None:
        """Send the lines that are complete; with ``last`` the rest too. One at a time for each job, in order."""
        with job.shipping:
            try:
                with path.open("rb") as file:
                    while True:
                        file.seek(job.sent)
                        lines = _whole_lines(file.read(BATCH_BYTES), last)
                        if not lines:
                            return
                        job.sent += len(lines)
                        self._master.lines(job.spec.id, lines.decode("utf-8", "replace").removesuffix("\n"))
            except OSError as error:
                log.warning("the log of %s cannot be read: %s", job.spec.id, error)

    def _tell_end(self, job: _ClassicJob, attempt: Attempt, report: JobReport) -> None:
        try:
            output = b""
            if attempt.sandbox is not None:
                self._ship_lines(job, attempt.sandbox.log, True)
                output = _tail(attempt.sandbox.log, report)
                self._runner.release(attempt)
            self._forget(job)
            job.over.set()
            if job.spec.kind == "run":
                self._master.completed(job.spec.id, report.outcome == "completed", _result(report, output))
            else:
                self._master.service_ended(job.spec.id)
        except Exception:
            log.exception("the end of %s could not be told", job.spec.id)


def _whole_lines(data: bytes, last: bool) -> bytes:
    """What of a batch may be sent: up to its last line break, or all when it has none and is full, or is the last."""
    full = len(data) == BATCH_BYTES
    cut = data.rfind(b"\n") + 1
    if (last and not full) or (full and not cut):
        cut = len(data)
    return data[:cut]


def _result(report: JobReport, output: bytes) -> str:
    if report.exit_code is None or report.outcome not in ("completed", "failed"):
        return f"ERROR: {report.reason}"
    word = "COMPLETED" if report.outcome == "completed" else "FAILED"
    return f"{word}|{report.exit_code}|{output.decode('utf-8', 'replace')}"


def _tail(path: Path, report: JobReport) -> bytes:
    """The end of a log, MAX_OUTPUT_BYTES at most."""
    if not report.log_offset:
        return report.log_tail
    try:
        with path.open("rb") as file:
            file.seek(max(0, report.log_size - MAX_OUTPUT_BYTES))
            return file.read(MAX_OUTPUT_BYTES)
    except OSError:
        return report.log_tail
