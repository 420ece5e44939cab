"""The worker's slots, and the attempts in them from dispatch to end."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from titan_core.filesys.content_store import ContentStore
from titan_core.filesys.workspace_manager import Sandbox, WorkspaceManager
from titan_core.tasks.attempt import Attempt, AttemptOwner, EndRequest, Phase
from titan_core.tasks.content_fetcher import ContentFetcher
from titan_core.tasks.job_flow import with_outputs
from titan_core.tasks.launch import Exited, LaunchEvent, LaunchRequest, Output, Started
from titan_core.tasks.launcher import Launcher
from titan_core.tasks.repair_kit import RepairKits
from titan_core.tasks.service_handler import ServiceHandler
from titan_sdk.errors import Saturated, TitanError, Unavailable
from titan_sdk.messages import JobReport, JobSpec, Lease, Outcome

log = logging.getLogger(__name__)

PREPARE_THREADS: Final = 4
"""Sandboxes that take long (projects to unpack, large files) are made on this many threads."""
CANNOT_BEGIN: Final = 2
"""Exit code of a worker that cannot begin; its last line says why."""
QUICK_BYTES: Final = 1024 * 1024
"""A script up to this size is put in place at once, by the thread that took the job."""

GPU_VARIABLE: Final = "CUDA_VISIBLE_DEVICES"
"""Tells a program which GPUs are its own; AMD's libraries obey it too."""

MakeRequest = Callable[[Lease, JobSpec, Sandbox], LaunchRequest]
"""How an attempt is run; raises TitanError when it cannot be."""


class JobRunner:
    """Takes attempts into slots, prepares, starts and ends them, and tells their owners. Any thread may call.

    The lock guards the slots and each attempt's phase; it is never held while another part is called.

    Args:
        slots: attempts at once. children: attempts of kind ``worker`` at once, beside those; their supervisors are the
            launcher's last ones.
        devices: the GPUs that jobs may ask for, as CUDA_VISIBLE_DEVICES names them.
        launcher: runs the processes; its events go to ``on_launch_event``.
        fetcher: brings contents that ``contents`` lacks.
        make_request: turns an attempt and its sandbox into what the launcher is asked.
        services: sees when those that are services are ready.
        repair_kits: what a repair job finds of the failed one; None: none is taken.
    """

    def __init__(
        self,
        slots: int,
        *,
        launcher: Launcher,
        workspace: WorkspaceManager,
        contents: ContentStore,
        fetcher: ContentFetcher,
        make_request: MakeRequest,
        services: ServiceHandler,
        children: int = 0,
        devices: Sequence[str] = (),
        repair_kits: RepairKits | None = None,
    ) -> None:
        self.slots = slots
        self._launcher = launcher
        self._workspace = workspace
        self._contents = contents
        self._fetcher = fetcher
        self._make_request = make_request
        self._services = services
        self._repair_kits = repair_kits
        self._changed = threading.Condition()
        self._free = list(range(slots - 1, -1, -1))
        self._free_for_workers = list(range(slots + children - 1, slots - 1, -1))
        self._devices = list(devices)
        """In the order they are given out."""
        self._free_devices = set(devices)
        self._attempts: dict[Lease, Attempt] = {}
        self._draining = ""
        self._pool = ThreadPoolExecutor(PREPARE_THREADS, "prepare")

    @property
    def busy(self) -> int:
        """Slots in use."""
        return self.slots - len(self._free)

    def take(self, lease: Lease, spec: JobSpec, owner: AttemptOwner) -> None:
        """Run an attempt; its owner hears how it goes. One that is here already is not started twice.

        Raises:
            Saturated: no slot is free.
            Unavailable: the worker is draining.
        """
        with self._changed:
            if lease in self._attempts:
                return
            if self._draining:
                raise Unavailable(self._draining)
            free = self._places(spec)
            if not free:
                what = "places for workers" if spec.kind == "worker" else "slots"
                raise Saturated(f"all {what} are taken")
            devices = [device for device in self._devices if device in self._free_devices][: spec.gpus]
            if len(devices) < spec.gpus:
                raise Saturated(f"{len(devices)} of {len(self._devices)} GPUs are free")
            spec = self._services.with_port(lease, spec)
            attempt = self._attempts[lease] = Attempt(lease, spec, free.pop(), owner, devices=tuple(devices))
            self._free_devices.difference_update(devices)
        if spec.sha256 and self._content(spec) is None:
            self._fetcher.fetch(spec.sha256, lambda failure: self._fetched(attempt, failure))
        elif _takes_long(spec):
            self._pool.submit(self._prepare, attempt)
        else:
            self._prepare(attempt)

    def end(self, lease: Lease, outcome: Outcome, reason: str, grace_s: float) -> bool:
        """Have an attempt's processes ended, TERM first, KILL after ``grace_s``; False when it is not here.

        Its owner hears of the end with ``outcome``, unless it ends by itself at this moment. May be repeated with less
        grace.
        """
        with self._changed:
            attempt = self._attempts.get(lease)
            if attempt is None:
                return False
            wanted = attempt.end_request
            if wanted is None or outcome == "cancelled":
                wanted = attempt.end_request = EndRequest(outcome, reason, grace_s)
            phase = attempt.phase
        if phase is Phase.RUNNING:
            self._launcher.end(attempt.slot, lease, reason, grace_s)
        elif phase is Phase.PREPARING:
            self._end_unlaunched(attempt, wanted.outcome, wanted.reason)
        return True

    def drain(self, reason: str) -> None:
        """Take nothing more."""
        with self._changed:
            self._draining = reason

    def attempts(self) -> list[Attempt]:
        """What holds a slot at the moment."""
        with self._changed:
            return list(self._attempts.values())

    def wait_idle(self, timeout_s: float, unless: Callable[[], bool] = lambda: False) -> bool:
        """Wait until no slot is in use, or ``unless`` says so, which is asked again at every ``wake``."""
        with self._changed:
            self._changed.wait_for(lambda: not self._attempts or unless(), timeout_s)
            return not self._attempts

    def wake(self) -> None:
        """Let waiters look again."""
        with self._changed:
            self._changed.notify_all()

    def release(self, attempt: Attempt) -> None:
        """The owner needs the folder of an attempt that is over no more."""
        if attempt.sandbox is not None:
            self._workspace.release(attempt.sandbox.job_dir)

    def stop(self) -> None:
        """Prepare nothing more. The launcher is stopped by its owner."""
        if self._repair_kits is not None:
            self._repair_kits.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _places(self, spec: JobSpec) -> list[int]:
        return self._free_for_workers if spec.kind == "worker" else self._free

    def _content(self, spec: JobSpec) -> Path | bytes | None:
        """The job's script, or where it or its archive lies; None when it has to be fetched."""
        if not spec.archive:
            script = self._contents.small(spec.sha256, spec.size)
            if script is not None:
                return script
        return self._contents.path(spec.sha256) if self._contents.has(spec.sha256) else None

    # --- before the launch ----------------------------------------------------------------------------------------

    def _fetched(self, attempt: Attempt, failure: Exception | None) -> None:
        if failure is None and _takes_long(attempt.spec):  # it may want more, and others wait for this thread
            self._pool.submit(self._prepare, attempt)
        elif failure is None:
            self._prepare(attempt)
        else:
            self._end_unlaunched(attempt, "failed", f"its content cannot be had: {failure}")

    def _prepare(self, attempt: Attempt) -> None:
        """Make the sandbox and launch, unless the attempt was ended meanwhile; what goes wrong fails the attempt."""
        try:
            self._launch(attempt)
        except Exception as error:
            log.exception("launching %s failed", attempt.lease.job)
            self._end_unlaunched(attempt, "failed", f"it cannot be started: {type(error).__name__}: {error}")

    def _launch(self, attempt: Attempt) -> None:
        spec = attempt.spec
        sandbox: Sandbox | None = None
        try:
            content = self._content(spec) if spec.sha256 else None
            sandbox = self._workspace.prepare(attempt.lease, spec, content)
            if attempt.devices:
                spec = replace(spec, env={**spec.env, GPU_VARIABLE: ",".join(attempt.devices)})
            if spec.flow is not None and spec.flow.mends is not None and self._repair_kits is not None:
                made = self._repair_kits.make(spec.flow.mends, sandbox.job_dir)
                spec = replace(spec, env={**spec.env, **made})
            request = self._make_request(attempt.lease, spec, sandbox)
        except Exception as error:
            if not isinstance(error, (TitanError, OSError)):
                log.exception("preparing %s failed", attempt.lease.job)
            if sandbox is not None:
                self._workspace.release(sandbox.job_dir)
            self._end_unlaunched(attempt, "failed", f"it cannot be started: {error}")
            return
        with self._changed:
            given_up = attempt.phase is Phase.OVER
            if not given_up:
                attempt.phase = Phase.HANDED_OVER
                attempt.sandbox = sandbox
                attempt.log_segment = request.log_bytes if request.log_files else 0
        if given_up:
            self._workspace.release(sandbox.job_dir)
            return
        self._launcher.run(attempt.slot, request)
        with self._changed:
            wanted = None
            if attempt.phase is Phase.HANDED_OVER:
                attempt.phase = Phase.RUNNING
                wanted = attempt.end_request
        if wanted is not None:
            self._launcher.end(attempt.slot, attempt.lease, wanted.reason, wanted.grace_s)

    def _end_unlaunched(self, attempt: Attempt, outcome: Outcome, reason: str) -> None:
        now = int(time.time() * 1000)
        self._over(attempt, JobReport(lease=attempt.lease, outcome=outcome, reason=reason, ended_at=now))

    # --- what the launcher tells ----------------------------------------------------------------------------------

    def on_launch_event(self, event: LaunchEvent) -> None:
        """For the launcher's thread."""
        attempt = self._attempts.get(event.lease)
        if attempt is None:
            log.error("the launcher speaks of %s, which is not here", event.lease)
        elif isinstance(event, Output):
            attempt.owner.grew(attempt, event.size)
        elif isinstance(event, Started):
            attempt.owner.started(attempt, event.pid, event.started_at)
            if attempt.spec.kind == "service":  # of a worker the master itself sees that it is ready
                self._services.started(attempt, event.pid)
        else:
            why = ""
            if attempt.spec.kind == "service":
                why = self._services.ended(attempt, failed=event.cause == "exit" and event.exit_code != 0)
            elif attempt.spec.kind == "worker" and event.cause == "exit" and event.exit_code == CANNOT_BEGIN:
                why = last_words(event.log_tail)
            report = report_of(event, attempt.end_request, why)
            if attempt.spec.kind == "run" and attempt.sandbox is not None:
                report = with_outputs(report, attempt.sandbox.job_dir)
            self._over(attempt, report)

    def _over(self, attempt: Attempt, report: JobReport) -> None:
        with self._changed:
            if attempt.phase is Phase.OVER:
                return
            attempt.phase = Phase.OVER
            del self._attempts[attempt.lease]
            self._places(attempt.spec).append(attempt.slot)
            self._free_devices.update(attempt.devices)
            self._changed.notify_all()
        attempt.owner.ended(attempt, report)


def _takes_long(spec: JobSpec) -> bool:
    """Whether making its sandbox does."""
    return bool(spec.archive) or spec.size > QUICK_BYTES or (spec.flow is not None and spec.flow.mends is not None)


def gpu_names(count: int, environ: Mapping[str, str]) -> list[str]:
    """Names for so many GPUs: those that this process may see, in that order, else their numbers."""
    visible = [name.strip() for name in environ.get(GPU_VARIABLE, "").split(",") if name.strip()]
    return (visible if len(visible) >= count else [str(number) for number in range(count)])[:count]


def last_words(log_tail: bytes) -> str:
    """The last line that a program printed."""
    lines = log_tail.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip() if lines else ""


def report_of(event: Exited, wanted: EndRequest | None, why: str = "") -> JobReport:
    """What is reported of an attempt that was launched. ``why``: what is known beyond its exit code when it failed."""
    outcome: Outcome = "failed"
    reason = event.reason
    if event.cause == "exit":
        outcome = "completed" if event.exit_code == 0 else "failed"
        reason = "; ".join(text for text in (why, reason or _exit_reason(event.exit_code)) if text)
    elif event.cause == "ended" and wanted is not None:
        outcome, reason = wanted.outcome, wanted.reason
    elif event.cause == "timeout":
        outcome = "timed_out"
    return JobReport(
        lease=event.lease,
        outcome=outcome,
        exit_code=event.exit_code,
        reason=reason,
        started_at=event.started_at,
        ended_at=event.ended_at,
        log_size=event.log_size,
        log_offset=event.log_tail_offset,
        log_tail=event.log_tail,
        lost=event.cause == "supervisor_lost" and wanted is None,
    )


def _exit_reason(exit_code: int | None) -> str:
    if not exit_code:
        return ""
    if exit_code > 0:
        return f"exit code {exit_code}"
    try:
        return f"ended by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"ended by signal {-exit_code}"
